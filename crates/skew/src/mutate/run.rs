//! Running the checks against a runtime with a fault, one fault after the other.

use std::{collections::BTreeMap, fmt, io, path::Path, sync::PoisonError, time::Duration};

use corten_cri::{client, socket::ListenError};
use corten_validate::{
    report::{self, Outcome},
    run::{self as checks},
};
use tokio::sync::oneshot;

use super::{
    catalog::{Mutation, catalog},
    change::Change,
    clean::Clean,
    outcome::{End, Finished, Report},
    stage::{Mutate, Note},
};
use crate::proxy::{Proxy, Setup, Stage};

/// How long something may take to come about: no longer than a check needs on a good runtime, as a wrong one is waited for in vain.
const PATIENCE: Duration = Duration::from_secs(3);

/// How long one check may take.
const LIMIT: Duration = Duration::from_secs(30);

/// How many checks are tried before all others.
const PREFERRED: usize = 2;

/// The checks that are only run on what all others have not noticed: they take long.
const LAST: &str = "random/";

/// What to run.
#[derive(Debug, Clone)]
pub struct Options {
    /// The runtime's socket: one that nobody else uses meanwhile.
    pub endpoint: String,
    /// A part of the names of the mutations to run; all if it is empty.
    pub only: String,
    /// Of every so many mutations that there are, one is run; 1 for all.
    pub every: usize,
    /// How many of them are left out at the beginning: with `every`, to share them among several runtimes.
    pub from: usize,
}

/// Why it cannot be told how strong the checks are.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no connection.
    #[error(transparent)]
    Connect(#[from] client::Error),
    /// The proxy cannot listen.
    #[error(transparent)]
    Proxy(#[from] ListenError),
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

/// Runs the checks once without a fault, and then those that use the RPC of each mutation with it, until one fails. A check that fails is run
/// again without the mutation, through the same kind of proxy: only if it passes then, the mutation is caught. `each` is told every end as it
/// comes.
///
/// # Errors
/// [`Error`]: it cannot be told.
pub async fn run(options: &Options, mut each: impl FnMut(&Finished)) -> Result<Report, Error> {
    let channel = client::connect(&options.endpoint).await?;
    let clean = Clean::new(client::runtime(channel.clone()), client::images(channel)).await?;
    let directory = tempfile::tempdir()?;
    let suite = Suite { endpoint: options.endpoint.clone(), directory: directory.path(), clean: &clean };

    let note = Note::default();
    let seen = note.seen();
    let baseline = suite.checks(note, Vec::new()).await??;
    clean.clean().await?;
    if let Some(failed) = failed(&baseline) {
        return Err(Error::Failing(failed.to_string()));
    }
    let seen = seen.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let has = |rpc: &str, path: &[u32], change| match seen.get(rpc).and_then(|paths| paths.get(path)) {
        Some(set) => *set || change == Change::Changed,
        None => false,
    };
    let mut users = users(&baseline);
    let places = places();
    let is_ours = |mutation: &Mutation| {
        let past = places.get(&mutation.name).and_then(|place| place.checked_sub(options.from));
        mutation.name.contains(&options.only) && past.is_some_and(|past| past.is_multiple_of(options.every.max(1)))
    };
    let mut report = Report::default();
    for mutation in catalog(has).into_iter().filter(is_ours) {
        let users = users.entry(mutation.rpc.clone()).or_default();
        let end = suite.end(&mutation, users).await?;
        if let End::Caught(by) = &end {
            prefer(users, by);
        }
        let finished = Finished { mutation, end };
        each(&finished);
        report.finished.push(finished);
    }
    Ok(report)
}

/// Where mutations are in the list of all that there are: not in the list of one run, as what answers have differs from run to run, and
/// runs that share the work would leave some out and do others twice.
fn places() -> BTreeMap<String, usize> {
    let all = catalog(|_, _, _| true).into_iter().enumerate();
    all.map(|(place, mutation)| (mutation.name, place)).collect()
}

/// Puts the check that has noticed a fault of an RPC first: it is likely to notice the next.
fn prefer(users: &mut Vec<String>, by: &str) {
    if let Some(place) = users.iter().position(|name| name == by) {
        let name = users.remove(place);
        users.insert(0, name);
    }
}

/// The checks to run one group after the other: the two that are preferred, all others, and those that take long.
fn groups(users: &[String]) -> [Vec<String>; 3] {
    let (late, early): (Vec<String>, Vec<String>) = users.iter().cloned().partition(|name| name.starts_with(LAST));
    let (first, others) = early.split_at(early.len().min(PREFERRED));
    [first.to_vec(), others.to_vec(), late]
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

/// What a run has to complain of.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Failed {
    /// A check.
    Check {
        /// Its name.
        name: String,
        /// What is wrong.
        why: String,
    },
    /// Something could not be removed.
    Left(String),
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Check { name, why } => write!(f, "{name}: {why}"),
            Self::Left(what) => write!(f, "something is left: {what}"),
        }
    }
}

/// The first check that failed.
fn failed(report: &report::Report) -> Option<Failed> {
    let failed = report.checks.iter().find_map(|check| match &check.outcome {
        Outcome::Failed(failure) => Some(Failed::Check { name: check.name.to_owned(), why: failure.to_string() }),
        _ => None,
    });
    failed.or_else(|| report.leftover.clone().map(Failed::Left))
}

/// The checks, run through a proxy.
struct Suite<'a> {
    endpoint: String,
    directory: &'a Path,
    clean: &'a Clean,
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

    /// How a mutation ends, given the checks that use its RPC.
    async fn end(&self, mutation: &Mutation, users: &[String]) -> Result<End, Error> {
        let mut end = End::NotApplied;
        for mut names in groups(users) {
            while !names.is_empty() {
                let one = self.mutated(mutation, &names).await?;
                self.clean.clean().await?;
                let Tried::Failed { name, with } = one else {
                    if one == Tried::Passed && end == End::NotApplied {
                        end = End::Survived;
                    }
                    break;
                };
                if self.passes(with).await? {
                    return Ok(End::Caught(name));
                }
                names.retain(|other| *other != name);
                // Without a check to leave out the rest would end in the same way.
                let is_a_check = users.contains(&name);
                end = End::Doubtful(name);
                if !is_a_check {
                    break;
                }
            }
        }
        Ok(end)
    }

    /// Runs checks with a mutation.
    async fn mutated(&self, mutation: &Mutation, names: &[String]) -> Result<Tried, Error> {
        let Some((stage, shared)) = Mutate::new(mutation) else { return Ok(Tried::NotApplied) };
        let report = self.checks(stage, names.to_vec()).await?;
        if !shared.is_applied() {
            return Ok(Tried::NotApplied);
        }
        Ok(match report.map(|report| failed(&report)) {
            Err(error) => Tried::Failed {
                name: format!("no check could be run: {error}"),
                with: names.iter().take(1).cloned().collect(),
            },
            Ok(Some(Failed::Check { name, .. })) => Tried::Failed { with: vec![name.clone()], name },
            Ok(Some(Failed::Left(_))) => Tried::Failed { name: "something is left".to_owned(), with: names.to_vec() },
            Ok(None) => Tried::Passed,
        })
    }

    /// Whether checks pass with nothing changed.
    async fn passes(&self, names: Vec<String>) -> Result<bool, Error> {
        let report = self.checks(Note::default(), names).await?;
        self.clean.clean().await?;
        Ok(report.is_ok_and(|report| failed(&report).is_none()))
    }
}

/// What came of checks with a mutation.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Tried {
    /// It changed nothing.
    NotApplied,
    /// It changed something and all of them passed.
    Passed,
    /// Something failed.
    Failed {
        /// The check, or what else.
        name: String,
        /// What has to pass without the mutation for this to count.
        with: Vec<String>,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_noticed_a_fault_is_tried_first_and_what_takes_long_last() {
        let mut users = ["a/one", "a/two", "random/sequences", "a/three"].map(str::to_owned).to_vec();
        prefer(&mut users, "a/three");
        prefer(&mut users, "no check could be run");
        assert_eq!(
            groups(&users),
            [vec!["a/three", "a/one"], vec!["a/two"], vec!["random/sequences"]]
                .map(|names| { names.into_iter().map(str::to_owned).collect::<Vec<_>>() })
        );
    }
}
