//! How long it takes to pull and unpack an image, what processor time and writing it costs, compared in turns between
//! runtimes, so that whatever else happens on the machine happens to all.

mod content;

use std::{
    collections::BTreeMap,
    error::Error,
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use clap::Parser;
use content::Packing;
use corten_e2e::{
    cri::{Cri, until},
    image::Image,
    registry::Registry,
};
use nix::{
    sys::socket::{getsockopt, sockopt::PeerCredentials},
    unistd::{SysconfVar, sysconf},
};

/// Times PullImage of an image of 375 MB, as gzip and as zstd, from a registry on loopback.
#[derive(Parser)]
struct Arguments {
    /// The runtimes' sockets.
    #[arg(required = true)]
    sockets: Vec<PathBuf>,
    /// How many times each of them pulls each.
    #[arg(long, short, default_value_t = 5)]
    rounds: usize,
    /// Where the registry keeps the image.
    #[arg(long)]
    registry: PathBuf,
}

/// What one pull cost.
#[derive(Debug, Clone, Copy)]
struct Cost {
    took: Duration,
    /// Processor time of the daemon and of the programs that it ran.
    processor: Duration,
    /// Bytes that the daemon wrote to disk.
    written: u64,
}

/// A runtime that takes part.
struct Runtime {
    socket: PathBuf,
    cri: Cri,
    pid: i32,
    costs: BTreeMap<&'static str, Vec<Cost>>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::parse();
    fs::create_dir_all(&arguments.registry)?;
    let registry = Registry::start(&arguments.registry);
    let images = publish(&registry).await?;
    let mut runtimes = Vec::new();
    for socket in &arguments.sockets {
        let pid = getsockopt(&std::os::unix::net::UnixStream::connect(socket)?, PeerCredentials)?.pid();
        let cri = Cri::connect(socket).await;
        runtimes.push(Runtime { socket: socket.clone(), cri, pid, costs: BTreeMap::new() });
    }
    for round in 0..arguments.rounds {
        for (tag, reference) in &images {
            runtimes.rotate_left(1);
            for runtime in &mut runtimes {
                let cost = runtime.pull(reference).await?;
                eprintln!("round {}, {tag}, {}: {}", round + 1, runtime.socket.display(), shown(cost));
                runtime.costs.entry(tag).or_default().push(cost);
            }
        }
    }
    runtimes.sort_by_key(|runtime| arguments.sockets.iter().position(|socket| *socket == runtime.socket));
    for (tag, _) in &images {
        report(tag, &runtimes);
    }
    Ok(())
}

/// Pushes the image in every packing; tags and references.
async fn publish(registry: &Registry) -> Result<Vec<(&'static str, String)>, Box<dyn Error>> {
    let (image, unpacked) = content::image();
    let on_disk = content::on_disk(&image)?;
    println!("{} MB of archives in {} layers take {} MB on disk", mega(unpacked), image.layers.len(), mega(on_disk));
    let mut images = Vec::new();
    for (packing, tag) in Packing::ALL {
        let blobs = image.layers.iter().map(|layer| packing.pack(layer)).collect::<Result<Vec<_>, _>>()?;
        let packed: usize = blobs.iter().map(Vec::len).sum();
        println!("{tag}: {} MB", mega(packed));
        let built = Image {
            layers: image.layers.clone(),
            config: image.config.clone(),
            compression: packing.compression(),
            ..image
        }
        .assemble(blobs);
        images.push((tag, registry.push("bench/big", tag, &built).await));
    }
    Ok(images)
}

fn mega(bytes: usize) -> usize {
    bytes / 1_000_000
}

impl Runtime {
    /// Pulls an image that it does not have, and removes it again.
    async fn pull(&self, reference: &str) -> Result<Cost, Box<dyn Error>> {
        self.settle().await?;
        let (processor, written) = (self.processor()?, self.written()?);
        let begun = Instant::now();
        self.cri.pull(reference).await?;
        let took = begun.elapsed();
        let cost = Cost { took, processor: self.processor()? - processor, written: self.written()? - written };
        self.cri.remove_image(reference).await?;
        Ok(cost)
    }

    /// Waits until what went before is on disk and the daemon rests.
    async fn settle(&self) -> Result<(), Box<dyn Error>> {
        rustix::fs::sync();
        let mut before = self.processor()?;
        until("the daemon to rest", async || {
            tokio::time::sleep(Duration::from_millis(500)).await;
            let now = self.processor().ok()?;
            (std::mem::replace(&mut before, now) == now).then_some(())
        })
        .await;
        rustix::fs::sync();
        Ok(())
    }

    /// The daemon's processor time and that of the programs it waited for (proc(5), `/proc/PID/stat`).
    fn processor(&self) -> Result<Duration, Box<dyn Error>> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid))?;
        let fields = stat.rsplit_once(") ").ok_or("no name in stat")?.1.split(' ');
        let ticks: u64 = fields.skip(11).take(4).filter_map(|field| field.parse::<u64>().ok()).sum();
        let a_second = sysconf(SysconfVar::CLK_TCK)?.ok_or("no clock ticks")?;
        Ok(Duration::from_secs_f64(ticks as f64 / a_second as f64))
    }

    fn written(&self) -> Result<u64, Box<dyn Error>> {
        let text = fs::read_to_string(format!("/proc/{}/io", self.pid))?;
        let line = text.lines().find_map(|line| line.strip_prefix("write_bytes: "));
        Ok(line.ok_or("no write_bytes in io")?.parse()?)
    }
}

fn report(tag: &str, runtimes: &[Runtime]) {
    println!(
        "{tag}: medians, with the ratio to {}",
        runtimes.first().map_or(Path::new(""), |first| &first.socket).display()
    );
    println!("  {:<44} {:>8} {:>14} {:>16} {:>11}", "", "fastest", "seconds", "processor s", "written MB");
    let mut base = None;
    for runtime in runtimes {
        let Some(costs) = runtime.costs.get(tag).filter(|costs| !costs.is_empty()) else { continue };
        let median = |of: &dyn Fn(&Cost) -> f64| {
            let mut all: Vec<f64> = costs.iter().map(of).collect();
            all.sort_by(f64::total_cmp);
            all.get(all.len() / 2).copied().unwrap_or_default()
        };
        let fastest = costs.iter().map(|cost| cost.took).min().unwrap_or_default().as_secs_f64();
        let (took, processor) = (median(&|cost| cost.took.as_secs_f64()), median(&|cost| cost.processor.as_secs_f64()));
        let written = median(&|cost| cost.written as f64 / 1e6);
        let (base_took, base_processor) = *base.get_or_insert((took, processor));
        println!(
            "  {:<44} {fastest:>8.2} {took:>8.2} x{:<4.1} {processor:>10.2} x{:<4.1} {written:>11.0}",
            runtime.socket.display(),
            took / base_took,
            processor / base_processor,
        );
    }
}

fn shown(cost: Cost) -> String {
    let (took, processor) = (cost.took.as_secs_f64(), cost.processor.as_secs_f64());
    format!("{took:.2} s, {processor:.2} s of processor, {} MB written", cost.written / 1_000_000)
}
