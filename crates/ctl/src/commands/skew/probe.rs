//! `corten skew probe`

use std::process::ExitCode;

use corten_skew::probe::{probe, text};

use super::json;
use crate::{
    args::{Probe, Report},
    error::Error,
    output,
    table::printable,
};

/// Asks the runtime, and prints what it is.
pub async fn run(endpoint: &str, args: &Probe) -> Result<ExitCode, Error> {
    let report = probe(endpoint, args.kubelet).await.map_err(|error| Error::condition("probe", error.to_string()))?;
    match args.output {
        // What the runtime calls itself could be anything.
        Report::Text => text(&report).lines().try_for_each(|line| output::line(&printable(line)))?,
        Report::Json => json(&report)?,
    }
    Ok(if report.fits() { ExitCode::SUCCESS } else { ExitCode::from(1) })
}
