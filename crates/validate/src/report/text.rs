//! A report for people.

use std::fmt::Write;

use super::{Finished, Outcome, Report};

/// A check, as it has ended: a line, and two more if it failed.
pub fn line(finished: &Finished) -> String {
    let seconds = finished.duration.as_secs_f64();
    match &finished.outcome {
        Outcome::Passed => format!("passed         {} ({seconds:.2} s)", finished.name),
        Outcome::NotSupported(why) => format!("not supported  {}: {why}", finished.name),
        Outcome::Failed(failure) => format!(
            "FAILED         {} ({seconds:.2} s): {}\n               expected {}\n               saw {}\n               the CRI: {}",
            finished.name, failure.what, failure.expected, failure.seen, finished.says
        ),
    }
}

/// The last lines of a report.
pub fn summary(report: &Report) -> String {
    let mut text = String::new();
    let counts = report.counts();
    // Writing to a string does not fail.
    let _ = writeln!(
        text,
        "{} passed, {} failed, {} not supported in {:.1} s: {}{}, seed {}",
        counts.passed,
        counts.failed,
        counts.not_supported,
        report.duration.as_secs_f64(),
        report.runtime,
        report.release.map(|release| format!(" as of the CRI {release}")).unwrap_or_default(),
        report.seed,
    );
    if report.interrupted {
        let _ = writeln!(text, "interrupted before the end");
    }
    if let Some(leftover) = &report.leftover {
        let _ = writeln!(text, "not everything could be removed: {leftover}");
    }
    if let Some(kept) = &report.kept {
        let _ = writeln!(text, "what failed checks made was left; their files are in {}", kept.display());
    }
    text
}
