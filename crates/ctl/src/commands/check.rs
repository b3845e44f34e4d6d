//! `corten check`

use std::{
    io::{self, IsTerminal, Write},
    process::ExitCode,
};

use corten_cri::node::{CheckFound, CheckImagesRequest, CheckProgress, CheckVerdict, check_images_response::What};
use serde_json::{Value, json};

use crate::{
    args::Check,
    error::Error,
    output::{self, Format},
    runtime::Runtime,
    table::short_id,
};

/// Verifies, prints what was found, and is a failure if something is broken and stays so.
pub async fn run(runtime: &Runtime, args: Check) -> Result<ExitCode, Error> {
    let request = CheckImagesRequest { images: args.images, repair: args.repair };
    let mut answers = runtime.check_images(request).await?;
    let (mut progress, mut counts, mut all) = (Progress::new(), Counts::default(), Vec::new());
    while let Some(what) = answers.next().await? {
        match what {
            What::Progress(now) => progress.show(&now),
            What::Found(found) => {
                counts.add(&found);
                if args.output == Format::Table {
                    progress.clear();
                    tell(&found)?;
                } else {
                    all.push(value(&found));
                }
            }
        }
    }
    progress.clear();
    match args.output {
        Format::Table => output::line(&counts.text())?,
        format => output::value(&json!({ "found": all, "broken": counts.broken() }), format)?,
    }
    Ok(if counts.broken() == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// How many of each there are.
#[derive(Default)]
struct Counts {
    good: u64,
    /// Found broken, also if it was repaired then.
    found_broken: u64,
    not_recorded: u64,
    repaired: u64,
    /// Found broken, repaired since.
    mended: u64,
    /// What is found before a repair is told before it.
    last_broken: bool,
}

impl Counts {
    fn add(&mut self, found: &CheckFound) {
        let was_broken = std::mem::take(&mut self.last_broken);
        match found.verdict() {
            CheckVerdict::Good => self.good += 1,
            CheckVerdict::Broken => {
                self.found_broken += 1;
                self.last_broken = true;
            }
            CheckVerdict::NotRecorded => self.not_recorded += 1,
            CheckVerdict::Repaired => {
                self.repaired += 1;
                if was_broken { self.mended += 1 } else { self.not_recorded = self.not_recorded.saturating_sub(1) }
            }
            CheckVerdict::NotRepaired | CheckVerdict::Unspecified => {}
        }
    }

    /// What is broken now.
    fn broken(&self) -> u64 {
        self.found_broken.saturating_sub(self.mended)
    }

    fn text(&self) -> String {
        let (good, repaired, broken, not_recorded) = (self.good, self.repaired, self.broken(), self.not_recorded);
        format!("{good} good, {repaired} repaired, {broken} broken, {not_recorded} not recorded")
    }
}

fn tell(found: &CheckFound) -> Result<(), Error> {
    let what = match (found.layer.as_str(), found.blob.as_str()) {
        ("", "") => "image".to_owned(),
        ("", blob) => format!("kept blob {}", short_id(blob)),
        (layer, _) => format!("layer {}", short_id(layer)),
    };
    let verdict = match found.verdict() {
        // Thousands of layers are good.
        CheckVerdict::Good => return Ok(()),
        CheckVerdict::Broken => format!("broken ({})", found.findings_count),
        CheckVerdict::NotRecorded => "not recorded".to_owned(),
        CheckVerdict::Repaired => "repaired".to_owned(),
        CheckVerdict::NotRepaired => format!("not repaired: {}", found.why),
        CheckVerdict::Unspecified => "unknown".to_owned(),
    };
    output::line(&format!("{what} of {}: {verdict}", found.images.join(", ")))?;
    for finding in &found.findings {
        let path = if finding.path.is_empty() { "." } else { &finding.path };
        output::line(&format!("  {path:?} {}", finding.what))?;
    }
    match found.findings_count.saturating_sub(found.findings.len() as u64) {
        0 => Ok(()),
        more => output::line(&format!("  and {more} more")),
    }
}

fn value(found: &CheckFound) -> Value {
    let verdict = match found.verdict() {
        CheckVerdict::Good => "good",
        CheckVerdict::Broken => "broken",
        CheckVerdict::NotRecorded => "notRecorded",
        CheckVerdict::Repaired => "repaired",
        CheckVerdict::NotRepaired => "notRepaired",
        CheckVerdict::Unspecified => "unknown",
    };
    let findings = found.findings.iter().map(|finding| json!({ "path": finding.path, "what": finding.what }));
    let mut value = json!({ "images": found.images, "verdict": verdict });
    let mut add = |key: &str, part: Value| drop(value.as_object_mut().map(|value| value.insert(key.to_owned(), part)));
    if !found.layer.is_empty() {
        add("layer", json!(found.layer));
    }
    if !found.blob.is_empty() {
        add("blob", json!(found.blob));
    }
    if found.findings_count > 0 {
        add("findings", findings.collect());
        add("findingsCount", json!(found.findings_count));
    }
    if !found.why.is_empty() {
        add("why", json!(found.why));
    }
    value
}

/// One line on a terminal that is written over.
struct Progress {
    terminal: bool,
    shown: bool,
}

impl Progress {
    fn new() -> Self {
        Self { terminal: io::stderr().is_terminal(), shown: false }
    }

    fn show(&mut self, now: &CheckProgress) {
        if !self.terminal {
            return;
        }
        let CheckProgress { layer, number, layers, files_done, files } = now;
        let text = format!("layer {number} of {layers} ({}): {files_done} of {files} files", short_id(layer));
        // If that cannot be written there is nobody to tell.
        let _ = write!(io::stderr().lock(), "\r\x1b[K{text}");
        self.shown = true;
    }

    fn clear(&mut self) {
        if std::mem::take(&mut self.shown) {
            let _ = write!(io::stderr().lock(), "\r\x1b[K");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(verdict: CheckVerdict) -> CheckFound {
        CheckFound { verdict: verdict.into(), ..CheckFound::default() }
    }

    #[test]
    fn what_was_repaired_is_broken_no_more() {
        let mut counts = Counts::default();
        for verdict in [
            CheckVerdict::Good,
            CheckVerdict::Broken,
            CheckVerdict::Repaired,
            CheckVerdict::Broken,
            CheckVerdict::NotRepaired,
            CheckVerdict::NotRecorded,
            CheckVerdict::Repaired,
            CheckVerdict::NotRecorded,
            CheckVerdict::NotRepaired,
        ] {
            counts.add(&found(verdict));
        }
        assert_eq!(counts.text(), "1 good, 2 repaired, 1 broken, 1 not recorded");
    }
}
