//! A report for programs.

use serde_json::{Value, json};

use super::{Finished, Outcome, Report};

/// The report as JSON.
pub fn json(report: &Report) -> Value {
    let counts = report.counts();
    json!({
        "runtime": report.runtime,
        "release": report.release.map(|release| release.to_string()),
        "seed": report.seed,
        "seconds": report.duration.as_secs_f64(),
        "passed": counts.passed,
        "failed": counts.failed,
        "notSupported": counts.not_supported,
        "interrupted": report.interrupted,
        "leftover": report.leftover,
        "kept": report.kept,
        "checks": report.checks.iter().map(check).collect::<Vec<_>>(),
    })
}

fn check(finished: &Finished) -> Value {
    let (result, failure, reason) = match &finished.outcome {
        Outcome::Passed => ("passed", None, None),
        Outcome::Failed(failure) => ("failed", Some(failure), None),
        Outcome::NotSupported(why) => ("notSupported", None, Some(why)),
    };
    json!({
        "name": finished.name,
        "says": finished.says,
        "since": finished.since.map(|since| since.to_string()),
        "result": result,
        "failure": failure,
        "reason": reason,
        "seconds": finished.duration.as_secs_f64(),
        "calls": finished.calls,
    })
}
