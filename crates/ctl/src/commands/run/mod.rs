//! `corten run`

mod bring_up;
mod image;
mod wait;

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
    process::ExitCode,
    time::Duration,
};

use self::bring_up::{BringUp, Made};
use crate::{
    args::Run,
    commands::{exec::exit_code, interrupt::Interrupt, pull},
    error::Error,
    manifest::{self, Pod, schema::RestartPolicy},
    output,
    pod::{Directories, NamedPod, volumes},
    runtime::Runtime,
};

/// What a shell expects of a program ended by Ctrl-C.
const INTERRUPTED: u8 = 130;

/// Runs every pod of a manifest. If one does not come up, what was made for all of them is removed.
pub async fn run(endpoint: &str, timeout: Option<Duration>, args: Run) -> Result<ExitCode, Error> {
    let pods = read(&args.manifest)?;
    pods.iter().for_each(warn);
    let auth = pull::credentials(&args.credentials)?;
    let runtime = Runtime::connect(endpoint, timeout).await?;
    let interrupt = Interrupt::listen()?;
    let bring_up = BringUp {
        runtime: &runtime,
        interrupt: &interrupt,
        directories: Directories::from(args.places),
        cgroup_parent: args.cgroup_parent,
        auth,
        memory_capacity: volumes::memory_capacity()?,
        host_resolv_conf: std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default(),
    };
    let mut made = Vec::new();
    if let Err(error) = all(&bring_up, pods, &mut made, args.quiet).await {
        undo(&bring_up, &made).await;
        return Err(error);
    }
    if !args.wait && !args.rm {
        return Ok(ExitCode::SUCCESS);
    }
    let ended = wait::for_all(&runtime, &interrupt, &made).await;
    if args.rm {
        undo(&bring_up, &made).await;
    }
    Ok(ended?.map_or(ExitCode::from(INTERRUPTED), exit_code))
}

async fn all(bring_up: &BringUp<'_>, pods: Vec<Pod>, made: &mut Vec<Made>, quiet: bool) -> Result<(), Error> {
    for pod in pods {
        let named = NamedPod::new(pod, volumes::fresh_uid()?);
        bring_up.pod(named, made).await?;
        if let Some(pod) = made.last() {
            print(pod, quiet)?;
        }
    }
    Ok(())
}

fn print(pod: &Made, quiet: bool) -> Result<(), Error> {
    let id = pod.id.as_deref().unwrap_or_default();
    if quiet {
        return output::line(id);
    }
    output::line(&format!("pod {} {id}", pod.named.name()))?;
    pod.containers
        .iter()
        .try_for_each(|container| output::line(&format!("container {} {}", container.name, container.id)))
}

/// Removes what was made, the newest first; reports every failure and goes on.
async fn undo(bring_up: &BringUp<'_>, made: &[Made]) {
    for pod in made.iter().rev() {
        for error in bring_up.remove(pod).await {
            output::note(&format!("removing pod {}: {error}", pod.named.name()));
        }
    }
}

fn warn(pod: &Pod) {
    if let Some(policy @ (RestartPolicy::Always | RestartPolicy::OnFailure)) = pod.spec.restart_policy {
        output::note(&format!("pod {}: restartPolicy {policy:?}: nothing is restarted here", pod.metadata.name));
    }
}

fn read(path: &Path) -> Result<Vec<Pod>, Error> {
    let standard_input = path == Path::new("-");
    let name = if standard_input { Path::new("standard input") } else { path };
    let failed = |source| Error::File { operation: "read", path: name.to_owned(), source };
    let reader: Box<dyn Read> =
        if standard_input { Box::new(io::stdin()) } else { Box::new(File::open(path).map_err(failed)?) };
    let mut text = String::new();
    reader.take(manifest::MAX_SIZE + 1).read_to_string(&mut text).map_err(failed)?;
    if text.len() as u64 > manifest::MAX_SIZE {
        return Err(failed(io::Error::other(format!("it is larger than {} bytes", manifest::MAX_SIZE))));
    }
    manifest::parse(&text).map_err(|source| Error::Manifest { path: name.to_owned(), source })
}
