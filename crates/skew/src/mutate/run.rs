//! Running the checks against a runtime with a fault, one fault after the other.

use std::{collections::BTreeMap, fmt, io, path::Path, sync::PoisonError, time::Duration};

use corten_cri::client;
use corten_validate::{
    report::{self, Outcome},
    run::{self as checks},
};
use tokio::sync::oneshot;

use super::{
    catalog::{Mutation, catalog},
    change::Change,
    clean::Clean,
    stage::{Mutate, Note},
};
use crate::proxy::{self, Proxy, Setup, Stage};

/// How long something may take to come about: no longer than a check needs on a good runtime, as a wrong one is waited for in vain.
const PATIENCE: Duration = Duration::from_secs(3);

/// How long one check may take.
const LIMIT: Duration = Duration::from_secs(30);

/// The checks that are only run on what all others have not noticed: they take long.
const LAST: &str = "random/";

/// What to run.
#[derive(Debug, Clone)]
pub struct Options {
    /// The runtime's socket: one that nobody else uses meanwhile.
    pub endpoint: String,
    /// A part of the names of the mutations to run; all if it is empty.
    pub only: String,
    /// Every so many mutations, one is run; 1 for all.
    pub every: usize,
}

/// Why it cannot be told how strong the checks are.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no connection.
    #[error(transparent)]
    Connect(#[from] client::Error),
    /// The proxy cannot listen.
    #[error(transparent)]
    Proxy(#[from] proxy::Error),
    /// There is no place for its socket.
    #[error("make a directory: {0}")]
    Directory(#[from] io::Error),
    /// The checks cannot be run.
    #[error(transparent)]
    Checks(#[from] checks::Error),
    /// The runtime does not pass the checks as it is.
    #[error("the checks fail without any mutation: {0}")]
    Failing(String),
    /// What checks have left cannot be removed.
    #[error("clean up: {0}")]
    Clean(#[from] tonic::Status),
}

/// How a mutation ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// This check noticed it.
    Caught(String),
    /// No check noticed it.
    Survived,
    /// It never changed anything.
    NotApplied,
}

/// A mutation that was run.
#[derive(Debug, Clone)]
pub struct Finished {
    /// The mutation.
    pub mutation: Mutation,
    /// How it ended.
    pub end: End,
}

impl fmt::Display for Finished {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.end {
            End::Caught(by) => write!(f, "caught       {} ({by})", self.mutation),
            End::Survived => write!(f, "SURVIVED     {}", self.mutation),
            End::NotApplied => write!(f, "not applied  {}", self.mutation),
        }
    }
}

/// What came of all.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// The mutations, in their order.
    pub finished: Vec<Finished>,
}

impl Report {
    /// How many were caught, how many survived, and how many changed nothing.
    pub fn counts(&self) -> (usize, usize, usize) {
        let count = |wanted: fn(&End) -> bool| self.finished.iter().filter(|one| wanted(&one.end)).count();
        (
            count(|end| matches!(end, End::Caught(_))),
            count(|end| *end == End::Survived),
            count(|end| *end == End::NotApplied),
        )
    }
}

/// Runs the checks once without a fault, and then those that use the RPC of each mutation with it, until one fails. `each` is told every
/// end as it comes.
///
/// # Errors
/// [`Error`]: it cannot be told.
pub async fn run(options: &Options, mut each: impl FnMut(&Finished)) -> Result<Report, Error> {
    let channel = client::connect(&options.endpoint).await?;
    let clean = Clean::new(client::runtime(channel.clone()), client::images(channel)).await?;
    let directory = tempfile::tempdir()?;
    let suite = Suite { endpoint: options.endpoint.clone(), directory: directory.path() };

    let note = Note::default();
    let seen = note.seen();
    let baseline = suite.checks(note, Vec::new()).await??;
    clean.clean().await?;
    if let Some(failed) = failed(&baseline) {
        return Err(Error::Failing(failed));
    }
    let seen = seen.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let has = |rpc: &str, path: &[u32], change| match seen.get(rpc).and_then(|paths| paths.get(path)) {
        Some(set) => *set || change == Change::Changed,
        None => false,
    };
    let users = users(&baseline);
    let mutations = catalog(has).into_iter().filter(|mutation| mutation.name.contains(&options.only));
    let mut report = Report::default();
    for mutation in mutations.step_by(options.every.max(1)) {
        let (first, last): (Vec<String>, Vec<String>) =
            users.get(&mutation.rpc).cloned().unwrap_or_default().into_iter().partition(|name| !name.starts_with(LAST));
        let mut end = End::NotApplied;
        for names in [first, last] {
            if !matches!(end, End::Caught(_)) && !names.is_empty() {
                end = suite.mutated(&mutation, names).await?.max_with(end);
                clean.clean().await?;
            }
        }
        let finished = Finished { mutation, end };
        each(&finished);
        report.finished.push(finished);
    }
    Ok(report)
}

impl End {
    /// Of two runs what says more.
    fn max_with(self, other: Self) -> Self {
        if self == Self::NotApplied { other } else { self }
    }
}

/// The names of the checks that call each RPC.
fn users(baseline: &report::Report) -> BTreeMap<String, Vec<String>> {
    let mut users: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for check in &baseline.checks {
        for rpc in &check.calls {
            users.entry((*rpc).to_owned()).or_default().push(check.name.to_owned());
        }
    }
    users
}

/// The first check that failed.
fn failed(report: &report::Report) -> Option<String> {
    let failed = report.checks.iter().find(|check| matches!(check.outcome, Outcome::Failed(_)));
    let failed = failed.map(|check| format!("{}: {:?}", check.name, check.outcome));
    failed.or_else(|| report.leftover.as_ref().map(|left| format!("something is left: {left}")))
}

/// The checks, run through a proxy.
struct Suite<'a> {
    endpoint: String,
    directory: &'a Path,
}

impl Suite<'_> {
    /// Runs checks (all if none are named) with a stage in between.
    async fn checks(
        &self,
        stage: impl Stage + 'static,
        only: Vec<String>,
    ) -> Result<Result<report::Report, checks::Error>, Error> {
        let socket = self.directory.join("proxy.sock");
        let upstream = client::socket_path(&self.endpoint)?;
        let proxy = Proxy::bind(Setup { stages: vec![Box::new(stage)], ..Setup::plain(&socket, upstream) })?;
        let (end, ended) = oneshot::channel::<()>();
        let serving = tokio::spawn(proxy.serve(async move {
            // Dropped is as good as told.
            let _ = ended.await;
        }));
        let fail_fast = !only.is_empty();
        let options = checks::Options {
            only,
            fail_fast,
            patience: if fail_fast { PATIENCE } else { 3 * PATIENCE },
            limit: LIMIT,
            sequences: 3,
            ..checks::Options::new(format!("unix://{}", socket.display()))
        };
        let report = checks::run(&options, |_| {}, std::future::pending()).await;
        drop(end);
        let _ = serving.await;
        Ok(report)
    }

    async fn mutated(&self, mutation: &Mutation, names: Vec<String>) -> Result<End, Error> {
        let Some((stage, shared)) = Mutate::new(mutation) else { return Ok(End::NotApplied) };
        let report = self.checks(stage, names).await?;
        if !shared.is_applied() {
            return Ok(End::NotApplied);
        }
        Ok(match report.map(|report| failed(&report)) {
            Err(error) => End::Caught(format!("no check could be run: {error}")),
            Ok(Some(failed)) => End::Caught(failed.split(':').next().unwrap_or_default().to_owned()),
            Ok(None) => End::Survived,
        })
    }
}
