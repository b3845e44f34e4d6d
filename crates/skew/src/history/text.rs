//! A release's changes as lines of text.

use corten_cri::history::{Change, Element, Feature, Handshake, Severity, What};

/// One line per change, but for the values of an enum that were all renamed alike.
pub fn lines(changes: &[Change<'_>]) -> Vec<String> {
    changes.chunk_by(same_renaming).map(group).collect()
}

/// What it means that the features are missing, one line each.
pub fn meanings(features: &[&Feature]) -> Vec<String> {
    features.iter().map(|feature| meaning(feature)).collect()
}

fn meaning(feature: &Feature) -> String {
    let Feature { title, severity, handshake, kubelet, pod, .. } = feature;
    match (severity, handshake) {
        (Severity::Harmless, Handshake::Documentation) => format!("words    {title}. {kubelet}"),
        _ => format!("missing  {title} ({severity}; handshake: {handshake}). Kubelet: {kubelet} Pod: {pod}"),
    }
}

/// Whether both are renamed values of one enum.
fn same_renaming(a: &Change<'_>, b: &Change<'_>) -> bool {
    let of = |change: &Change<'_>| match (&change.element, &change.what) {
        (Element::Value { of, .. }, What::Renamed { .. }) => Some(change.element.container().unwrap_or(of).to_owned()),
        _ => None,
    };
    of(a).is_some() && of(a) == of(b)
}

fn group(changes: &[Change<'_>]) -> String {
    match changes {
        [first, .., _] => renamed(first, changes.len()),
        [only] => line(only),
        [] => String::new(),
    }
}

fn renamed(example: &Change<'_>, count: usize) -> String {
    match (&example.element, &example.what) {
        (Element::Value { of, name, .. }, What::Renamed { from }) => {
            format!("renamed  {count} values of enum {of}, as {from} to {name}; the numbers are the same")
        }
        _ => line(example),
    }
}

fn line(change: &Change<'_>) -> String {
    let element = change.element;
    match &change.what {
        What::Gone => format!("gone     {element}"),
        What::Renamed { from } => format!("renamed  {element}, was {from}"),
        What::Changed { from, to } => format!("changed  {element}: {from} became {to}"),
        What::Came { definition } if definition.is_empty() => format!("new      {element}"),
        What::Came { definition } => format!("new      {}", with_definition(element, definition)),
    }
}

fn with_definition(element: Element<'_>, definition: &str) -> String {
    /// An enum with more values is not told value by value.
    const MANY: usize = 12;
    let count = definition.split(", ").count();
    match element {
        Element::Rpc { name } => format!("{name}{definition}"),
        Element::Enum { .. } if count > MANY => format!("{element}: {count} values"),
        Element::Message { .. } | Element::Enum { .. } => format!("{element}: {definition}"),
        Element::Field { .. } | Element::Value { .. } => format!("{element}, {definition}"),
    }
}
