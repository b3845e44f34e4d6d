//! What is done about every field of the CRI: the table behind `docs/cri-coverage.md`, held against the schema, the tests
//! and the document. `make docs` writes the document.

mod document;
mod proofs;
mod rows;
mod schema;
mod table;

use std::{collections::BTreeMap, fs};

use table::{Message, Row, State};

fn messages() -> impl Iterator<Item = &'static Message> {
    rows::TABLE.iter().flat_map(|(_, messages)| *messages)
}

fn rows() -> impl Iterator<Item = (&'static str, &'static Row)> {
    messages().flat_map(|message| message.rows.iter().map(|row| (message.name, row)))
}

#[test]
fn every_field_of_the_schema_has_one_row_and_no_row_is_about_anything_else() {
    let mut schema = schema::reachable();
    let mut wrong = Vec::new();
    for message in messages() {
        let Some(fields) = schema.remove(message.name) else {
            wrong.push(format!("{}: not in the schema, or there twice", message.name));
            continue;
        };
        for field in &fields {
            let count = message.rows.iter().filter(|row| document::says(row, field)).count();
            if count != 1 {
                wrong.push(format!("{}.{field}: {count} rows", message.name));
            }
        }
        let named = message.rows.iter().filter(|row| row.fields != table::ALL).flat_map(|row| row.fields);
        let unknown = named.filter(|name| !fields.iter().any(|field| field == *name));
        wrong.extend(unknown.map(|name| format!("{}.{name}: not in the schema", message.name)));
    }
    wrong.extend(schema.into_keys().map(|name| format!("{name}: no rows")));
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_field_that_is_implemented_or_refused_has_tests_that_exist() {
    let mut wrong = Vec::new();
    for (message, row) in rows() {
        let proofs = match row.state {
            State::Implemented { proofs, .. } | State::Refused { proofs, .. } => proofs,
            State::NotApplicable { reason } => {
                assert!(!reason.is_empty(), "{message}: {:?}", row.fields);
                continue;
            }
        };
        if proofs.is_empty() {
            wrong.push(format!("{message}: {:?} has no test", row.fields));
        }
        wrong.extend(proofs.iter().filter_map(|proof| proofs::missing(proof)));
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// What stands between braces of which the first is open, without what is in braces itself.
fn within(text: &str) -> String {
    let mut depth = 0usize;
    let mut found = String::new();
    for letter in text.chars() {
        match letter {
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            '{' => depth += 1,
            _ if depth == 0 => found.push(letter),
            _ => {}
        }
    }
    found
}

/// A field that is new must not go unnoticed: neither one of a request, nor one of an answer.
#[test]
fn messages_are_taken_apart_and_put_together_whole() {
    let mut wrong = Vec::new();
    for file in proofs::sources("crates/node/src") {
        let text = fs::read_to_string(&file).unwrap();
        // Tests make messages as they need them.
        let text = text.split("#[cfg(test)]").next().unwrap_or_default();
        for (at, _) in text.match_indices("v1::") {
            let Some((name, rest)) = text[at..].split_once(" {") else { continue };
            let before = text[..at].trim_end();
            let message = name["v1::".len()..].chars().all(char::is_alphanumeric);
            // A function that returns one, or an implementation for one.
            if !message || ["->", "impl", "for"].iter().any(|word| before.ends_with(word)) {
                continue;
            }
            let fields = within(rest);
            if fields.contains("..") {
                wrong.push(format!("{}: {name} {{{fields}}}", file.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_document_is_the_tables() {
    let schema: BTreeMap<_, _> = schema::reachable();
    let text = document::text(rows::TABLE, &schema);
    let file = proofs::repository("docs/cri-coverage.md");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&file, &text).unwrap();
    }
    let written = fs::read_to_string(&file).unwrap_or_default();
    assert!(written == text, "docs/cri-coverage.md is not what the table says: `make docs` writes it");
}
