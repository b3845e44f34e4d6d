//! The table as a document.

use std::{collections::BTreeMap, fmt::Write as _};

use super::table::{ALL, Message, Row, State};

const HEAD: &str = "\
<!-- Written by `make docs` from tests/e2e/tests/coverage. Change it there. -->

# What Corten does with the CRI, field by field

Every RPC and every field that a request or response of the CRI v1 schema (1.37, `crates/cri/proto/runtime/v1/api.proto`) can have.

- **implemented**: it does what the CRI says. The tests named look at its effect: `file::function` is one of
  `tests/e2e/tests`, run with a real daemon; the others are named by their path.
- **refused**: a request that sets it fails, naming the field, before anything is created.
- **not applicable**: it means nothing on this node, for the reason given.

What a field cannot be is refused with `InvalidArgument` and a text that names field and value. What needs a feature of the
kernel that is not there is refused with `Unimplemented`, naming field and feature.
";

/// The whole document.
pub fn text(table: &[(&'static str, &'static [Message])], schema: &BTreeMap<String, Vec<String>>) -> String {
    let mut text = HEAD.to_owned();
    let all: Vec<State> = table
        .iter()
        .flat_map(|(_, messages)| *messages)
        .flat_map(|m| states(m, schema))
        .map(|(_, state)| state)
        .collect();
    let count = |kind: &str| all.iter().filter(|state| word(state) == kind).count();
    let (done, refused, other) = (count("implemented"), count("refused"), count("not applicable"));
    writeln!(
        text,
        "\nOf {} fields and RPCs {done} are implemented, {refused} refused, {other} not applicable.",
        all.len()
    )
    .unwrap();
    for (title, messages) in table {
        writeln!(text, "\n## {title}").unwrap();
        for message in *messages {
            writeln!(text, "\n### {}\n\n| field | | |\n|---|---|---|", message.name).unwrap();
            for (field, state) in states(message, schema) {
                writeln!(text, "| `{field}` | {} | {} |", word(&state), words(&state)).unwrap();
            }
        }
    }
    text
}

/// Each field of a message, in the schema's order, with what is said of it.
fn states(message: &Message, schema: &BTreeMap<String, Vec<String>>) -> Vec<(String, State)> {
    let fields = schema.get(message.name).into_iter().flatten();
    let of = |field: &str| message.rows.iter().find(|row| says(row, field)).map(|row| row.state);
    fields.filter_map(|field| Some((field.clone(), of(field)?))).collect()
}

/// Whether a row is about a field.
pub fn says(row: &Row, field: &str) -> bool {
    row.fields == ALL || row.fields.contains(&field)
}

const fn word(state: &State) -> &'static str {
    match state {
        State::Implemented { .. } => "implemented",
        State::Refused { .. } => "refused",
        State::NotApplicable { .. } => "not applicable",
    }
}

fn words(state: &State) -> String {
    let named = |proofs: &[&str]| proofs.iter().map(|proof| format!("`{proof}`")).collect::<Vec<_>>().join(", ");
    match state {
        State::Implemented { proofs, note: "" } => named(proofs),
        State::Implemented { proofs, note } => format!("{note}: {}", named(proofs)),
        State::Refused { why, proofs } => format!("{}: {}", why.text(), named(proofs)),
        State::NotApplicable { reason } => (*reason).to_owned(),
    }
}
