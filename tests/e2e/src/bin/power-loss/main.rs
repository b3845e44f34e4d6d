//! What a power loss does to the image store: a guest under qemu pulls and removes images, its power is cut at random
//! instants, and after each start everything that the daemon lists is compared with what the layers' archives have.
//! docs/testing.md tells more.

mod chance;
mod disk;
mod guest;
mod images;
mod round;
mod verify;

use std::{
    collections::{BTreeMap, BTreeSet},
    error::Error,
    path::PathBuf,
    process::ExitCode,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Instant, SystemTime},
};

use clap::Parser;
use corten_e2e::registry::Registry;
use guest::Machine;
use round::{Cut, Lane};

/// A lane that fails so often is given up.
const FAILURES: usize = 3;

/// Cuts the power of a guest that pulls and removes images, and looks what is left.
#[derive(Parser)]
struct Arguments {
    /// The guest's kernel.
    #[arg(long)]
    kernel: PathBuf,
    /// The guest's initramfs, with cortend and corten.
    #[arg(long)]
    initramfs: PathBuf,
    /// An empty directory for this run.
    #[arg(long)]
    directory: PathBuf,
    /// Where the disks of failed rounds are kept.
    #[arg(long)]
    keep: PathBuf,
    /// How many cuts.
    #[arg(long, default_value_t = 20)]
    rounds: usize,
    /// How many guests run at once.
    #[arg(long, default_value_t = 1)]
    guests: u64,
    /// The guest's file system: ext4 or xfs.
    #[arg(long, default_value = "ext4")]
    filesystem: String,
    /// Chooses what is done and when it is cut. It does not decide how far the guest is then.
    #[arg(long)]
    seed: Option<u64>,
}

/// What came of it.
#[derive(Default)]
struct Outcome {
    cuts: Vec<Cut>,
    failures: Vec<String>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<ExitCode, Box<dyn Error>> {
    let arguments = Arguments::parse();
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_secs();
    let seed = arguments.seed.unwrap_or(now);
    println!("seed {seed}, {} rounds on {}, {} guests", arguments.rounds, arguments.filesystem, arguments.guests);
    let registry = Registry::start(&arguments.directory);
    let images = Arc::new(images::publish(&registry).await?);
    let port = registry.host().rsplit_once(':').ok_or("the registry has no port")?.1.parse()?;
    let machine = Machine {
        kernel: arguments.kernel.clone(),
        initramfs: arguments.initramfs.clone(),
        directory: arguments.directory.clone(),
    };
    let mut lanes = Vec::new();
    for number in 0..arguments.guests {
        let lane_seed = seed.wrapping_add(number << 32);
        let name = format!("guest{number}");
        let lane = Lane::new(machine.clone(), &name, &arguments.filesystem, images.clone(), lane_seed);
        lanes.push(lane.map_err(|stop| format!("{stop:?}"))?);
    }
    let first = lanes.first().ok_or("no guests")?;
    let begun = Instant::now();
    machine.boot(first.disk(), &round::configuration(port)).map_err(|stop| format!("cannot boot: {stop:?}"))?;
    println!("booted in {:.1} s", begun.elapsed().as_secs_f64());
    let (outcome, next, begun) = (Mutex::default(), AtomicUsize::new(0), Instant::now());
    thread::scope(|scope| {
        for lane in &mut lanes {
            scope.spawn(|| run(lane, &arguments, &next, &outcome));
        }
    });
    let outcome = outcome.into_inner().unwrap_or_else(PoisonError::into_inner);
    report(&outcome, begun);
    let mended: usize = lanes.iter().map(Lane::mended).sum();
    println!("{mended} times the file system could be mounted only after e2fsck had mended it");
    Ok(if outcome.failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn run(lane: &mut Lane, arguments: &Arguments, next: &AtomicUsize, outcome: &Mutex<Outcome>) {
    let outcome = || outcome.lock().unwrap_or_else(PoisonError::into_inner);
    let mut failures = 0;
    loop {
        let round = next.fetch_add(1, Ordering::Relaxed);
        let last = round >= arguments.rounds;
        let begun = Instant::now();
        let failure = if last {
            lane.finish().err()
        } else {
            match lane.round() {
                Ok(cut) => {
                    println!("round {round}, {:.1} s: {}", begun.elapsed().as_secs_f64(), shown(&cut));
                    outcome().cuts.push(cut);
                    None
                }
                Err(failure) => Some(failure),
            }
        };
        if let Some(failure) = failure {
            failures += 1;
            let kept = arguments.keep.join(format!("round-{round}"));
            println!("round {round} FAILED: {failure}\n  the disk is kept in {}", kept.display());
            outcome().failures.push(format!("round {round}: {failure}"));
            if let Err(stop) = lane.keep(&kept) {
                println!("  it is not: {stop:?}");
                return;
            }
        }
        if last || failures == FAILURES {
            return;
        }
    }
}

fn shown(cut: &Cut) -> String {
    format!(
        "{} images {}; cut in {:?} after {} answers, {} writes, {} flushes; {} writes ({} KiB) not flushed: {:?}",
        cut.listed,
        if cut.verified { "whole" } else { "not looked at" },
        cut.phase,
        cut.answered,
        cut.traffic.writes,
        cut.traffic.flushes,
        cut.lost.unflushed,
        cut.lost.bytes >> 10,
        cut.survival,
    )
}

fn report(outcome: &Outcome, begun: Instant) {
    let cuts = &outcome.cuts;
    let instants: BTreeSet<_> = cuts.iter().map(|cut| (cut.phase, cut.answered, cut.traffic)).collect();
    let with_cache = cuts.iter().filter(|cut| cut.lost.unflushed > 0).count();
    let verified = cuts.iter().filter(|cut| cut.verified).count();
    println!("{} cuts in {} s, {} failures", cuts.len(), begun.elapsed().as_secs(), outcome.failures.len());
    println!("{} different instants (phase, answers, writes and flushes in it)", instants.len());
    println!("{verified} times everything was compared before the next cut, the rest together with the one after it");
    println!("{with_cache} cuts with writes in the disk's cache");
    count("phase", cuts.iter().map(|cut| format!("{:?}", cut.phase)));
    count("cache", cuts.iter().map(|cut| format!("{:?}", cut.survival)));
    count("answers in the phase", cuts.iter().map(|cut| cut.answered.to_string()));
    outcome.failures.iter().for_each(|failure| println!("FAILED {failure}"));
}

fn count(what: &str, of: impl Iterator<Item = String>) {
    let mut counts = BTreeMap::<String, usize>::new();
    of.for_each(|name| *counts.entry(name).or_default() += 1);
    let counts: Vec<_> = counts.iter().map(|(name, count)| format!("{name} {count}")).collect();
    println!("by {what}: {}", counts.join(", "));
}
