#![allow(clippy::unwrap_used, clippy::panic)]

use std::fs;

use proptest::prelude::*;

use super::*;

#[test]
fn limits_are_numbers_or_max() {
    assert_eq!(parse_limit("max\n"), Some(None));
    assert_eq!(parse_limit("17\n"), Some(Some(17)));
    assert_eq!(parse_limit("seventeen"), None);
}

#[test]
fn a_file_that_is_no_number_is_named() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("pids.max"), "max").unwrap();
    fs::write(dir.path().join("pids.current"), "many").unwrap();
    let error = pids(dir.path()).unwrap_err().to_string();
    assert!(error.contains("pids.current") && error.contains("many"), "{error}");
}

#[test]
fn oom_kills_are_found_in_both_versions() {
    assert_eq!(value_of("oom_kill_disable 0\nunder_oom 0\noom_kill 3\n", "oom_kill"), Some(3));
    assert_eq!(value_of("low 0\nhigh 0\nmax 9\noom 2\noom_kill 2\noom_group_kill 0\n", "oom_kill"), Some(2));
}

proptest! {
    #[test]
    fn no_text_makes_the_parsers_panic(text in "(?s).{0,200}") {
        pairs(&text).count();
        parse_limit(&text);
    }
}
