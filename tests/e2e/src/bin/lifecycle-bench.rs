//! How long a pod's life takes, call by call, through the CRI, and what a skew proxy adds to a call. What is compared is
//! measured in turns, so that whatever else happens on the machine happens to all.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use clap::Parser;
use corten_cri::v1::*;
use corten_e2e::cri::{Cri, spec};
use tonic::Status;

/// Times RunPodSandbox, CreateContainer, StartContainer, ExecSync, StopPodSandbox and RemovePodSandbox.
#[derive(Parser)]
struct Arguments {
    /// The runtimes' sockets.
    #[arg(required = true)]
    sockets: Vec<PathBuf>,
    /// An image that has `sleep` and `true`; the runtimes must have it.
    #[arg(long)]
    image: String,
    /// How many pods to run on each.
    #[arg(long, short, default_value_t = 30)]
    rounds: u32,
    /// The directory of the pods' logs.
    #[arg(long, default_value = "/tmp/lifecycle-bench")]
    logs: PathBuf,
    /// The cgroup to run the pods in.
    #[arg(long, default_value = "/lifecycle-bench")]
    cgroup_parent: String,
    /// Skew proxies in front of the first runtime: Version is called there and through each of them, in turns.
    #[arg(long, value_name = "SOCKET")]
    proxy: Vec<PathBuf>,
    /// How many Version calls to make on each.
    #[arg(long, default_value_t = 5000)]
    calls: u32,
}

/// The times of each call, by its name.
type Times = BTreeMap<&'static str, Vec<Duration>>;

/// The calls in the order they are made.
const CALLS: [&str; 6] =
    ["RunPodSandbox", "CreateContainer", "StartContainer", "ExecSync", "StopPodSandbox", "RemovePodSandbox"];

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments = Arguments::parse();
    let mut runtimes = Vec::new();
    for socket in &arguments.sockets {
        runtimes.push((socket, Cri::connect(socket).await, Times::new()));
    }
    for round in 0..=arguments.rounds {
        for (_, cri, times) in &mut runtimes {
            let mut once = Times::new();
            live(cri, &arguments, round, &mut once).await?;
            // The first round warms caches.
            if round > 0 {
                for (call, took) in once {
                    times.entry(call).or_default().extend(took);
                }
            }
        }
    }
    for (socket, _, times) in runtimes {
        report(socket, times);
    }
    if let (Some(direct), false) = (arguments.sockets.first(), arguments.proxy.is_empty()) {
        through_proxies(direct, &arguments.proxy, arguments.calls).await?;
    }
    Ok(())
}

/// Times Version at a runtime and through proxies, one call each in turns, and says what the proxies add.
async fn through_proxies(direct: &Path, proxies: &[PathBuf], calls: u32) -> Result<(), Status> {
    let mut ways = Vec::new();
    for socket in [direct].into_iter().chain(proxies.iter().map(PathBuf::as_path)) {
        ways.push((socket, Cri::connect(socket).await.runtime(), Vec::new()));
    }
    for call in 0..calls.saturating_add(calls / 10) {
        for (_, runtime, times) in &mut ways {
            let begun = Instant::now();
            runtime.version(VersionRequest::default()).await?;
            // The first tenth warms caches.
            if call >= calls / 10 {
                times.push(begun.elapsed());
            }
        }
    }
    println!("Version, {calls} calls each in turns");
    println!("  {:<40} {:>9} {:>9} {:>9}", "microseconds", "median", "p90", "added");
    let mut base = None;
    for (socket, _, mut times) in ways {
        times.sort();
        let at = |share: usize| times.get(times.len() * share / 100).copied().unwrap_or_default().as_secs_f64() * 1e6;
        let median = at(50);
        let added = median - *base.get_or_insert(median);
        println!("  {:<40} {median:>9.0} {:>9.0} {added:>9.0}", socket.display(), at(90));
    }
    Ok(())
}

/// One pod's life.
async fn live(cri: &Cri, arguments: &Arguments, round: u32, times: &mut Times) -> Result<(), Status> {
    let config = pod(arguments, round);
    let pod = timed(times, "RunPodSandbox", cri.run_pod(&config, "")).await?;
    let container = container(&arguments.image);
    let id = timed(times, "CreateContainer", cri.create(&pod, &config, &container)).await?;
    timed(times, "StartContainer", cri.start(&id)).await?;
    timed(times, "ExecSync", cri.exec_sync(&id, &["true"], 10)).await?;
    timed(times, "StopPodSandbox", cri.stop_pod(&pod)).await?;
    timed(times, "RemovePodSandbox", cri.remove_pod(&pod)).await
}

async fn timed<T>(
    times: &mut Times,
    call: &'static str,
    work: impl Future<Output = Result<T, Status>>,
) -> Result<T, Status> {
    let begun = Instant::now();
    let result = work.await;
    times.entry(call).or_default().push(begun.elapsed());
    result
}

fn pod(arguments: &Arguments, round: u32) -> PodSandboxConfig {
    let name = format!("bench-{}-{round}", std::process::id());
    PodSandboxConfig {
        metadata: Some(PodSandboxMetadata { uid: name.clone(), name, namespace: "bench".into(), attempt: 0 }),
        hostname: "bench".into(),
        log_directory: arguments.logs.display().to_string(),
        linux: Some(LinuxPodSandboxConfig { cgroup_parent: arguments.cgroup_parent.clone(), ..Default::default() }),
        ..Default::default()
    }
}

fn container(image: &str) -> ContainerConfig {
    ContainerConfig {
        metadata: Some(ContainerMetadata { name: "sleep".into(), attempt: 0 }),
        image: Some(spec(image)),
        command: vec!["sleep".into(), "1000".into()],
        log_path: "sleep.log".into(),
        linux: Some(LinuxContainerConfig::default()),
        ..Default::default()
    }
}

fn report(socket: &Path, mut times: Times) {
    println!("{}", socket.display());
    println!("  {:<18} {:>9} {:>9} {:>9}", "milliseconds", "median", "p90", "max");
    let mut total = Duration::ZERO;
    for call in CALLS {
        let took = times.entry(call).or_default();
        took.sort();
        let at = |share: usize| took.get((took.len() * share / 100).min(took.len().saturating_sub(1))).copied();
        let [median, p90, max] = [at(50), at(90), at(100)].map(Option::unwrap_or_default);
        total += median;
        println!("  {call:<18} {:>9.2} {:>9.2} {:>9.2}", millis(median), millis(p90), millis(max));
    }
    println!("  {:<18} {:>9.2}", "sum of medians", millis(total));
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
