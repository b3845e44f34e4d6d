//! Random sequences of calls against a small model of what the CRI documents.
//!
//! A sequence is made from a seed: calls in any order, about a few pods, containers and images, with wrong ids, duplicates,
//! things removed long ago, and two calls at once. Each answer is held against the model. A sequence with a breach is
//! shrunk: calls are taken out for as long as the same breach remains. Everything is removed after every run.

mod call;
mod clean;
mod crowd;
mod draw;
mod generate;
mod model;
mod perform;
mod sequence;
mod shrink;
#[cfg(test)]
mod tests;
mod world;

use std::{
    collections::BTreeMap,
    fmt,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use corten_cri::client::{ImageClient, RuntimeClient};

use crate::registry::TestRegistry;
use draw::Draw;
use model::Breach;
use sequence::{Step, Trouble};
use world::World;

/// Every RPC that is called, as `Service/Method`.
pub const RPCS: [&str; 29] = [
    "RuntimeService/Version",
    "RuntimeService/Status",
    "RuntimeService/RunPodSandbox",
    "RuntimeService/StopPodSandbox",
    "RuntimeService/RemovePodSandbox",
    "RuntimeService/PodSandboxStatus",
    "RuntimeService/ListPodSandbox",
    "RuntimeService/PodSandboxStats",
    "RuntimeService/ListPodSandboxStats",
    "RuntimeService/UpdatePodSandboxResources",
    "RuntimeService/PortForward",
    "RuntimeService/CreateContainer",
    "RuntimeService/StartContainer",
    "RuntimeService/StopContainer",
    "RuntimeService/RemoveContainer",
    "RuntimeService/ContainerStatus",
    "RuntimeService/ListContainers",
    "RuntimeService/UpdateContainerResources",
    "RuntimeService/ReopenContainerLog",
    "RuntimeService/ExecSync",
    "RuntimeService/Exec",
    "RuntimeService/Attach",
    "RuntimeService/ContainerStats",
    "RuntimeService/ListContainerStats",
    "ImageService/PullImage",
    "ImageService/RemoveImage",
    "ImageService/ImageStatus",
    "ImageService/ListImages",
    "ImageService/ImageFsInfo",
];

/// Where the calls go.
#[derive(Debug, Clone)]
pub struct Target {
    /// The runtime's RuntimeService.
    pub runtime: RuntimeClient,
    /// The runtime's ImageService.
    pub images: ImageClient,
    /// The registry that the images come from.
    pub registry: Arc<TestRegistry>,
    /// A directory on the node for logs.
    pub directory: PathBuf,
    /// The runtime handler; empty for the default.
    pub handler: String,
    /// A part of every name, so that nothing of another run is meant.
    pub nonce: String,
    /// Labels that every pod and container gets besides those of its sequence.
    pub labels: BTreeMap<String, String>,
}

/// What is run.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The first sequence's seed. The others have the numbers after it.
    pub seed: u64,
    /// How many sequences.
    pub sequences: u64,
    /// How many calls each has.
    pub calls: usize,
    /// How long it may take before no other sequence is begun.
    pub budget: Duration,
    /// Whether clients are run side by side, too, every fourth time in place of one alone.
    pub crowds: bool,
}

/// What came of it.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// How many sequences were run to their end or to a finding.
    pub sequences: u64,
    /// How many calls were made, those of shrinking left out.
    pub calls: u64,
    /// What was found, each kind once.
    pub findings: Vec<Finding>,
}

/// A breach, and how to come to it.
#[derive(Debug, Clone)]
pub struct Finding {
    seed: u64,
    breach: Breach,
    steps: Vec<Step>,
    length: usize,
}

impl Finding {
    /// The seed of its sequence.
    #[must_use]
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// What it is about, on one line.
    #[must_use]
    pub fn subject(&self) -> String {
        format!("{}: {}", self.breach.rpc, self.breach.about)
    }

    /// What the runtime may do.
    #[must_use]
    pub fn expected(&self) -> &str {
        &self.breach.expected
    }

    /// What it did.
    #[must_use]
    pub fn seen(&self) -> &str {
        &self.breach.seen
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.subject())?;
        writeln!(f, "  expected: {}", self.breach.expected)?;
        writeln!(f, "  seen:     {}", self.breach.seen)?;
        writeln!(f, "  seed {}: {} of {} calls are enough:", self.seed, self.steps.len(), self.length)?;
        for (number, step) in self.steps.iter().enumerate() {
            writeln!(f, "  {:3}. {step}", number + 1)?;
        }
        Ok(())
    }
}

/// Runs sequences.
pub async fn run(target: &Target, plan: &Plan) -> Report {
    // Without it every pull takes longer, and that is all.
    let _ = clean::keep_base(target).await;
    let report = sequences(target, plan).await;
    let _ = clean::drop_base(target).await;
    report
}

async fn sequences(target: &Target, plan: &Plan) -> Report {
    let deadline = Instant::now() + plan.budget;
    let mut report = Report::default();
    let mut known: Vec<Breach> = Vec::new();
    for seed in (plan.seed..).take(usize::try_from(plan.sequences).unwrap_or(usize::MAX)) {
        if Instant::now() >= deadline {
            break;
        }
        report.sequences += 1;
        let mut draw = Draw::new(seed);
        if plan.crowds && draw.once_in(4) {
            let (calls, found) = crowd::run(target, seed, draw, plan.calls, &known).await;
            report.calls += calls;
            note(found, &mut known, &mut report);
            continue;
        }
        let calls = generate::sequence(&mut draw, plan.calls);
        // Each breach that is new is found, and then the sequence is run again without minding it.
        for _ in 0..8 {
            let world = World::new(format!("{}-{seed}", target.nonce), target, 0);
            let (made, trouble) = sequence::run(target, &world, &calls, &known).await;
            report.calls += made;
            let Some(trouble) = trouble else { break };
            let Trouble { breach, steps } = shrink::shrink(target, seed, &calls, trouble, &known, deadline).await;
            note(Some(Finding { seed, breach, steps, length: calls.len() }), &mut known, &mut report);
            if Instant::now() >= deadline {
                break;
            }
        }
    }
    report
}

fn note(found: Option<Finding>, known: &mut Vec<Breach>, report: &mut Report) {
    if let Some(finding) = found {
        known.push(finding.breach.clone());
        report.findings.push(finding);
    }
}

/// Whether a breach is one of these.
fn is_known(breach: &Breach, known: &[Breach]) -> bool {
    known.iter().any(|known| known.rpc == breach.rpc && known.about == breach.about)
}
