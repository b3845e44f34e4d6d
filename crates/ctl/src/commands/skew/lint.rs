//! `corten skew lint`

use std::process::ExitCode;

use corten_skew::lint::{self, Finding, Severity};
use serde_json::json;

use super::json;
use crate::{
    args::{FailOn, Lint, Report},
    error::Error,
    output,
    table::printable,
};

/// Prints what the newer interface breaks of the older one; 1 if that is too much.
pub fn run(args: &Lint) -> Result<ExitCode, Error> {
    let found = lint::lint(&args.old, &args.new).map_err(|error| Error::condition("skew lint", error.to_string()))?;
    let count = |severity| found.iter().filter(|finding| finding.severity == severity).count();
    let (errors, warnings) = (count(Severity::Error), count(Severity::Warning));
    let shown: Vec<Finding> =
        found.into_iter().filter(|finding| args.verbose || finding.severity != Severity::Note).collect();
    match args.output {
        Report::Text => output::print(&text(&shown, errors, warnings))?,
        Report::Json => json(&json!({
            "old": args.old.to_string(),
            "new": args.new.to_string(),
            "errors": errors,
            "warnings": warnings,
            "findings": shown,
        }))?,
    }
    let failures = match args.fail_on {
        FailOn::Error => errors,
        FailOn::Warning => errors + warnings,
    };
    Ok(if failures == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn text(findings: &[Finding], errors: usize, warnings: usize) -> String {
    let counted = |count, name| format!("{count} {name}{}", if count == 1 { "" } else { "s" });
    let lines = lint::lines(findings).into_iter();
    let sum = format!("{}, {}", counted(errors, "error"), counted(warnings, "warning"));
    lines.chain([sum]).map(|line| printable(&line) + "\n").collect()
}
