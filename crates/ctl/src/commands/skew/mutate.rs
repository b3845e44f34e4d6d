//! `corten skew mutate`: how strong the checks are. 0 if they have noticed at least 95 of 100 faults.

use std::process::ExitCode;

use corten_skew::mutate::{self, End, Finished, Options};

use crate::{args::Mutate, error::Error, output};

/// How many of a hundred faults the checks have to notice.
const ENOUGH: usize = 95;

/// Runs the mutations, and tells of each, and of the survivors once more.
pub async fn run(endpoint: &str, args: Mutate) -> Result<ExitCode, Error> {
    let options = Options { endpoint: endpoint.to_owned(), only: args.only, every: usize::from(args.every) };
    let mut lost = None;
    let each = |finished: &Finished| {
        if lost.is_none() {
            lost = output::line(&finished.to_string()).err();
        }
    };
    let report = mutate::run(&options, each).await;
    let report = report.map_err(|error| Error::condition("skew mutate", error.to_string()))?;
    lost.map_or(Ok(()), Err)?;
    let (caught, survived, not_applied) = report.counts();
    output::line(&format!("{caught} caught, {survived} survived, {not_applied} not applied"))?;
    for survivor in report.finished.iter().filter(|finished| finished.end == End::Survived) {
        output::line(&survivor.to_string())?;
    }
    let enough = caught * 100 >= (caught + survived) * ENOUGH;
    Ok(if enough { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
