//! Whether the tests that the table names exist.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// A file of the repository.
pub fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)
}

/// The Rust sources below a directory of the repository, but for files of tests alone.
pub fn sources(directory: &str) -> Vec<PathBuf> {
    let (mut found, mut open) = (Vec::new(), vec![repository(directory)]);
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            match path.file_name().unwrap().to_str().unwrap() {
                "tests" | "tests.rs" => {}
                _ if path.is_dir() => open.push(path),
                name if name.ends_with(".rs") => found.push(path),
                _ => {}
            }
        }
    }
    assert!(found.len() > 50, "{found:?}");
    found
}

/// What is wrong with a proof; nothing if there is such a test.
pub fn missing(proof: &str) -> Option<String> {
    let (place, function) = proof.rsplit_once("::")?;
    let file = match place.starts_with("crates/") {
        true => repository(place),
        false => repository(&format!("tests/e2e/tests/{}.rs", place.replace("::", "/"))),
    };
    let file = if file.exists() { file } else { file.with_extension("").join("main.rs") };
    let Ok(text) = fs::read_to_string(&file) else { return Some(format!("{proof}: there is no {}", file.display())) };
    match is_test(&text, function) {
        true => None,
        false => Some(format!("{proof}: {} has no such test", file.display())),
    }
}

/// Whether a source has a test of this name: by its attribute, or in the list of a macro that makes tests of functions.
fn is_test(text: &str, function: &str) -> bool {
    let Some(at) = text.find(&format!("fn {function}(")) else { return false };
    let before = text[..at].trim_end().trim_end_matches("async").trim_end();
    let listed = text.split("for_each_").skip(1).filter_map(|rest| rest.split_once("!(")?.1.split_once(')'));
    before.ends_with("test]") || listed.flat_map(|(names, _)| names.split(',')).any(|name| name.trim() == function)
}

#[test]
fn a_test_is_told_from_another_function() {
    let text = "for_each_launcher!(\n    listed,\n);\nfn listed(setup: Setup) {}\nfn helper() {}\n#[test]\nfn own() {}\n\
                #[tokio::test]\nasync fn later() {}";
    for (name, expected) in [("listed", true), ("helper", false), ("own", true), ("later", true), ("none", false)] {
        assert_eq!(is_test(text, name), expected, "{name}");
    }
}
