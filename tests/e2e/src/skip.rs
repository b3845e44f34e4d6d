//! Tests that this machine cannot run.

use std::io::Write;

/// Says that a test was skipped, by name and with the reason, where it is seen also when the test passes.
pub fn skip(test: &str, reason: &str) {
    // Not `eprintln!`, which the test harness keeps to itself.
    let _ = writeln!(std::io::stderr(), "corten: SKIPPED {test}: {reason}");
}
