//! What came out of a matrix.

use std::fmt::Write;

use corten_cri::ApiVersion;
use corten_validate::report::{Counts, Outcome, Report, suite};
use serde_json::{Value, json};

use super::cells::{Cell, Side};

/// One pair, tried.
#[derive(Debug)]
pub struct Tried {
    /// The pair.
    pub cell: Cell,
    /// What the checks said, or why there were none.
    pub result: Result<Report, String>,
}

/// All pairs.
#[derive(Debug, Default)]
pub struct Matrix {
    /// In the order tried.
    pub tried: Vec<Tried>,
    /// Whether it was ended early from outside.
    pub interrupted: bool,
}

impl Tried {
    /// Whether checks were run, none failed, and nothing was left behind.
    pub fn is_good(&self) -> bool {
        self.result.as_ref().is_ok_and(Report::is_good)
    }

    /// One line: the pair and how many checks passed, failed and were not supported.
    pub fn line(&self) -> String {
        match &self.result {
            Ok(report) => {
                let Counts { passed, failed, not_supported } = report.counts();
                format!("{}: {passed} passed, {failed} failed, {not_supported} not supported", self.cell)
            }
            Err(why) => format!("{}: {why}", self.cell),
        }
    }

    /// What is wrong, a line each.
    pub fn faults(&self) -> Vec<String> {
        let report = match &self.result {
            Ok(report) => report,
            Err(why) => return vec![why.clone()],
        };
        let failures = report.checks.iter().filter_map(|check| match &check.outcome {
            Outcome::Failed(failure) => Some(format!("{}: {failure}", check.name)),
            Outcome::Passed | Outcome::NotSupported(_) => None,
        });
        failures.chain(report.leftover.iter().map(|what| format!("left behind: {what}"))).collect()
    }
}

impl Matrix {
    /// Whether every pair is good and nobody ended it early.
    pub fn is_good(&self) -> bool {
        !self.interrupted && self.tried.iter().all(Tried::is_good)
    }

    /// A table for people: a row a kubelet, a column a runtime, `passed/failed/not supported` where they meet; below it
    /// what is wrong.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for api in ApiVersion::ALL {
            let tried: Vec<_> = self.tried.iter().filter(|one| one.cell.api == api).collect();
            if !tried.is_empty() {
                table(&mut text, api, &tried);
            }
        }
        for one in self.tried.iter().filter(|one| !one.is_good()) {
            // Writing to a string does not fail.
            let _ = writeln!(text, "{}", one.cell);
            for fault in one.faults() {
                let _ = writeln!(text, "  {fault}");
            }
        }
        if self.interrupted {
            text.push_str("ended early\n");
        }
        text
    }

    /// The same for programs.
    pub fn json(&self) -> Value {
        let cells: Vec<_> = self.tried.iter().map(cell).collect();
        json!({ "good": self.is_good(), "interrupted": self.interrupted, "pairs": cells })
    }

    /// The same for continuous integration: JUnit's XML, a test suite a pair.
    pub fn junit(&self) -> String {
        let mut text =
            String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites name=\"corten skew test\">\n");
        for one in &self.tried {
            let name = one.cell.to_string();
            text.push_str(&match &one.result {
                Ok(report) => suite(&name, report),
                Err(why) => corten_validate::report::broken_suite(&name, why),
            });
        }
        text.push_str("</testsuites>\n");
        text
    }
}

fn cell(tried: &Tried) -> Value {
    let mut value = json!({ "pair": tried.cell, "good": tried.is_good(), "faults": tried.faults() });
    if let Ok(report) = &tried.result {
        let Counts { passed, failed, not_supported } = report.counts();
        let lacking = report.checks.iter().filter_map(|check| match &check.outcome {
            Outcome::NotSupported(why) => Some(json!({ "check": check.name, "why": why })),
            Outcome::Passed | Outcome::Failed(_) => None,
        });
        value["passed"] = passed.into();
        value["failed"] = failed.into();
        value["not_supported"] = not_supported.into();
        value["lacking"] = lacking.collect();
        value["seconds"] = report.duration.as_secs_f64().into();
    }
    value
}

/// Different sides in the order they come.
fn sides(tried: &[&Tried], side: impl Fn(&Cell) -> Side) -> Vec<Side> {
    let mut sides = Vec::new();
    for one in tried {
        let side = side(&one.cell);
        if !sides.contains(&side) {
            sides.push(side);
        }
    }
    sides
}

fn table(text: &mut String, api: ApiVersion, tried: &[&Tried]) {
    let kubelets = sides(tried, |cell| cell.kubelet);
    let mut runtimes = sides(tried, |cell| cell.runtime);
    // The first kubelet meets only some of them.
    let place = |side: &Side| match side {
        Side::Release(release) => (0, release.minor),
        Side::Newer(minors) => (1, *minors),
    };
    runtimes.sort_by_key(place);
    let _ = write!(text, "{:<20}", format!("{api}: kubelet\\runtime"));
    for runtime in &runtimes {
        let _ = write!(text, " {:>9}", runtime.to_string());
    }
    text.push('\n');
    for kubelet in kubelets {
        let _ = write!(text, "{:<20}", kubelet.to_string());
        for runtime in &runtimes {
            let met = tried.iter().find(|one| one.cell.kubelet == kubelet && one.cell.runtime == *runtime);
            let _ = write!(text, " {:>9}", met.map(|one| short(one)).unwrap_or_default());
        }
        text.push('\n');
    }
    text.push('\n');
}

fn short(tried: &Tried) -> String {
    tried.result.as_ref().map_or_else(
        |_| "broken".to_owned(),
        |report| {
            let Counts { passed, failed, not_supported } = report.counts();
            format!("{passed}/{failed}/{not_supported}")
        },
    )
}
