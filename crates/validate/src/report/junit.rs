//! A report for continuous integration: JUnit's XML, one test suite, `skipped` for what is not supported.

use std::fmt::Write;

use super::{Finished, Outcome, Report};

/// The report as JUnit's XML.
pub fn junit(report: &Report) -> String {
    format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n{}", suite("corten validate", report))
}

/// One test suite: what a report of several is made of.
pub fn suite(name: &str, report: &Report) -> String {
    let counts = report.counts();
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = writeln!(
        text,
        "<testsuite name=\"{}\" tests=\"{}\" failures=\"{}\" errors=\"0\" skipped=\"{}\" time=\"{:.3}\">",
        escaped(name),
        report.checks.len(),
        counts.failed,
        counts.not_supported,
        report.duration.as_secs_f64(),
    );
    let _ = writeln!(
        text,
        "  <properties><property name=\"runtime\" value=\"{}\"/></properties>",
        escaped(&report.runtime)
    );
    for check in &report.checks {
        text.push_str(&case(check));
    }
    text.push_str("</testsuite>\n");
    text
}

/// A test suite that could not be run.
pub fn broken_suite(name: &str, why: &str) -> String {
    let (name, why) = (escaped(name), escaped(why));
    format!(
        "<testsuite name=\"{name}\" tests=\"1\" failures=\"0\" errors=\"1\" skipped=\"0\">\n  \
         <testcase classname=\"\" name=\"run\"><error message=\"{why}\"/></testcase>\n</testsuite>\n"
    )
}

fn case(finished: &Finished) -> String {
    let (area, name) = finished.name.split_once('/').unwrap_or(("", finished.name));
    let head = format!(
        "  <testcase classname=\"{}\" name=\"{}\" time=\"{:.3}\"",
        escaped(area),
        escaped(name),
        finished.duration.as_secs_f64()
    );
    match &finished.outcome {
        Outcome::Passed => format!("{head}/>\n"),
        Outcome::NotSupported(why) => format!("{head}><skipped message=\"{}\"/></testcase>\n", escaped(why)),
        Outcome::Failed(failure) => format!(
            "{head}><failure message=\"{}\">{}</failure></testcase>\n",
            escaped(&failure.to_string()),
            escaped(&format!("the CRI: {}", finished.says))
        ),
    }
}

/// Text as XML's content or attribute. What XML cannot have at all is replaced.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\n' => out.push_str("&#10;"),
            '\t' | '\r' => out.push(' '),
            '\u{fffe}' | '\u{ffff}' => out.push('\u{fffd}'),
            control if control < ' ' => out.push('\u{fffd}'),
            other => out.push(other),
        }
    }
    out
}
