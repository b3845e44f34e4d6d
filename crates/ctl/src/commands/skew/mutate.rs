//! `corten skew mutate`: how strong the checks are. 0 if they have noticed at least 95 of 100 faults that were applied; with none it
//! cannot be told.

use std::process::ExitCode;

use corten_skew::mutate::{self, End, Finished, Options};

use crate::{args::Mutate, error::Error, output};

/// Runs the mutations, and tells of each, and of the survivors once more.
pub async fn run(endpoint: &str, args: Mutate) -> Result<ExitCode, Error> {
    let options = Options {
        endpoint: endpoint.to_owned(),
        only: args.only,
        every: usize::from(args.every),
        from: usize::from(args.from),
    };
    let mut lost = None;
    let each = |finished: &Finished| {
        if lost.is_none() {
            lost = output::line(&finished.to_string()).err();
        }
    };
    let report = mutate::run(&options, each).await;
    let report = report.map_err(|error| Error::condition("skew mutate", error.to_string()))?;
    lost.map_or(Ok(()), Err)?;
    let counts = report.counts();
    for (kind, of) in report.by_kind() {
        output::line(&format!("{kind}: {} caught of {} applied", of.caught, of.applied()))?;
    }
    output::line(&format!(
        "{} caught, {} survived, {} not applied; {} applied, to {} RPCs",
        counts.caught,
        counts.survived,
        counts.not_applied,
        counts.applied(),
        report.rpcs().len()
    ))?;
    for survivor in report.finished.iter().filter(|one| matches!(one.end, End::Survived | End::Doubtful(_))) {
        output::line(&survivor.to_string())?;
    }
    let none = || Error::condition("skew mutate", "no mutation was applied: of the checks' strength nothing is known");
    let enough = counts.is_enough().ok_or_else(none)?;
    Ok(if enough { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
