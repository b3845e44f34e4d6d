//! What came out of a run.

mod json;
mod junit;
mod text;

use std::{collections::BTreeSet, path::PathBuf, time::Duration};

use corten_cri::history::Release;

pub use self::{
    json::json,
    junit::{broken_suite, junit, suite},
    text::{line, summary},
};
use crate::{
    run::Options,
    verdict::{Failure, Stop},
};

/// How a check ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The runtime does what the CRI documents.
    Passed,
    /// It does not.
    Failed(Failure),
    /// It does not have what the check is about, and need not.
    NotSupported(String),
}

impl From<Stop> for Outcome {
    fn from(stop: Stop) -> Self {
        match stop {
            Stop::Failed(failure) => Self::Failed(failure),
            Stop::NotSupported(why) => Self::NotSupported(why),
        }
    }
}

/// A check that was run.
#[derive(Debug, Clone)]
pub struct Finished {
    /// Its name.
    pub name: &'static str,
    /// What the CRI documents.
    pub says: &'static str,
    /// The release that introduced what it needs.
    pub since: Option<Release>,
    /// How it ended.
    pub outcome: Outcome,
    /// How long it took, its clean-up excluded.
    pub duration: Duration,
    /// The RPCs it called, as `Service/Method`.
    pub calls: BTreeSet<&'static str>,
}

impl Finished {
    /// Whether what it made is left.
    pub(crate) fn is_kept(&self, options: &Options) -> bool {
        options.keep_on_failure && matches!(self.outcome, Outcome::Failed(_))
    }
}

/// A whole run.
#[derive(Debug, Clone)]
pub struct Report {
    /// The runtime's name and version.
    pub runtime: String,
    /// The release of the CRI that it was taken to implement, if any.
    pub release: Option<Release>,
    /// The seed of what was random.
    pub seed: u64,
    /// The checks by name.
    pub checks: Vec<Finished>,
    /// How long it took.
    pub duration: Duration,
    /// Whether it was ended early from outside.
    pub interrupted: bool,
    /// Where the files of failed checks are, if they were to be kept.
    pub kept: Option<PathBuf>,
    /// What could not be removed, if anything.
    pub leftover: Option<String>,
}

/// How many checks ended how.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// As documented.
    pub passed: usize,
    /// Otherwise.
    pub failed: usize,
    /// Not to be expected of the runtime.
    pub not_supported: usize,
}

impl Report {
    /// How many checks ended how.
    pub fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for check in &self.checks {
            match check.outcome {
                Outcome::Passed => counts.passed += 1,
                Outcome::Failed(_) => counts.failed += 1,
                Outcome::NotSupported(_) => counts.not_supported += 1,
            }
        }
        counts
    }

    /// Whether nothing failed, everything was removed, and nobody ended the run early.
    pub fn is_good(&self) -> bool {
        self.counts().failed == 0 && self.leftover.is_none() && !self.interrupted
    }
}

#[cfg(test)]
mod tests;
