//! `docs/skew.md` says what the history, the overlay and the lint say. `make docs` writes those parts.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::{fmt::Write as _, fs, path::Path};

use corten_cri::history::{Change, Element, Feature, Overlay, Severity, What, overlay::Younger};
use corten_skew::{
    history::{Entry, Selection, embedded, select},
    lint::{breaches, lines},
};

/// The text with one part replaced.
fn with_part(text: &str, name: &str, part: &str) -> String {
    let (head, rest) = text.split_once(&format!("<!-- {name}: written by `make docs` -->\n")).unwrap();
    let (_, tail) = rest.split_once("<!-- end -->").unwrap();
    format!("{head}<!-- {name}: written by `make docs` -->\n{part}<!-- end -->{tail}")
}

#[test]
fn the_document_is_the_data() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/skew.md");
    let written = fs::read_to_string(&file).unwrap();
    let parts = [("history", history()), ("missing", missing()), ("breaches", known_breaches())];
    let text = parts.iter().fold(written.clone(), |text, (name, part)| with_part(&text, name, part));
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&file, &text).unwrap();
    } else {
        assert!(written == text, "docs/skew.md is not what the data says: `make docs` writes it");
    }
}

fn history() -> String {
    let entries = select(embedded(false).unwrap(), &Selection::default()).unwrap();
    let mut text = String::new();
    for entry in &entries {
        writeln!(text, "\n### {}\n", entry.release).unwrap();
        for feature in &entry.features {
            writeln!(text, "- **{}**{}{}", feature.title, pull_requests(feature), elements(entry, feature)).unwrap();
        }
    }
    text + "\n"
}

fn pull_requests(feature: &Feature) -> String {
    let numbers: Vec<_> = feature.prs.iter().map(ToString::to_string).collect();
    if numbers.is_empty() { String::new() } else { format!(" ({})", numbers.join(", ")) }
}

/// What a feature did to the schema.
fn elements(entry: &Entry<'_>, feature: &Feature) -> String {
    let changes = || entry.changes.iter().filter(|change| feature.explains(entry.release, &change.element));
    let renamed = changes().filter(|change| matches!(change.what, What::Renamed { .. })).count();
    let mut told: Vec<String> =
        changes().filter(|change| !matches!(change.what, What::Renamed { .. })).map(element).collect();
    if renamed > 0 {
        told.push(format!("{renamed} values of `{}` renamed", feature.covers.join("`, `")));
    }
    let quoted = |names: &[String]| names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    match (told.is_empty(), feature.covers.is_empty()) {
        (false, _) => format!(": {}", told.join(", ")),
        // What came with its message is no change by itself.
        (true, false) => format!(": {}", quoted(&feature.covers)),
        (true, true) => format!(": no change of the schema; it is about {}", quoted(&feature.concerns)),
    }
}

fn element(change: &Change<'_>) -> String {
    let name = match &change.element {
        Element::Field { message, name, number } => format!("`{message}.{name}` = {number}"),
        other => format!("`{}`", other.path()),
    };
    match &change.what {
        What::Changed { from, to } => format!("{name} (`{from}` became `{to}`)"),
        What::Gone => format!("{name} is gone"),
        What::Came { .. } | What::Renamed { .. } => name,
    }
}

fn missing() -> String {
    let mut text =
        "\n| feature | since | the kubelet learns it by | the kubelet without the runtime | the runtime without \
                    the kubelet | the pod | from |\n|---|---|---|---|---|---|---|\n"
            .to_owned();
    let overlay = Overlay::embedded().unwrap();
    for severity in [Severity::Wrong, Severity::Fails, Severity::Degraded, Severity::Harmless] {
        writeln!(text, "| **{severity}** | | | | | | |").unwrap();
        for feature in overlay.features.iter().filter(|feature| feature.severity == severity) {
            let Feature { title, handshake, kubelet, runtime, pod, source, .. } = feature;
            let since: Vec<_> = feature.since.iter().map(ToString::to_string).collect();
            let either = if feature.younger == Younger::Either { " (either side)" } else { "" };
            let since = since.join(", ") + either;
            writeln!(text, "| {title} | {since} | {handshake} | {kubelet} | {runtime} | {pod} | {source} |").unwrap();
        }
    }
    text + "\n"
}

fn known_breaches() -> String {
    let mut text = "\n| releases | findings |\n|---|---|\n".to_owned();
    for breach in breaches().unwrap().iter().filter(|breach| !breach.findings.is_empty()) {
        let found = lines(&breach.findings).join("<br>");
        writeln!(text, "| {} to {} | {found} |", breach.old, breach.new).unwrap();
    }
    text + "\n"
}
