//! `corten skew`, as one uses it: no runtime is asked for anything.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::process::{Command, Output};

use serde_json::{Value, json};

fn skew(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_corten"));
    command.arg("skew").args(arguments).env("CONTAINER_RUNTIME_ENDPOINT", "unix:///nowhere.sock").output().unwrap()
}

/// What a command prints that ends with this code.
fn printed(code: i32, arguments: &[&str]) -> String {
    let output = skew(arguments);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {output:?}");
    String::from_utf8(if code == 2 { output.stderr } else { output.stdout }).unwrap()
}

#[test]
fn history_is_printed_release_by_release() {
    let text = printed(0, &["history", "--since", "1.34", "--until", "1.35", "--message", "KeyValue"]);
    let lines: Vec<&str> = text.lines().collect();
    let change = "  changed  KeyValue.value = 2: string value became bytes value";
    assert_eq!((lines[0], lines[1], lines[3], lines[4]), ("1.34.9", change, "1.35.6", change));
    assert!(lines[2].starts_with("  missing  values of variables are bytes (fails; "), "{text}");
    assert_eq!(printed(0, &["history", "--since", "1.34.0", "--until", "1.34.8"]), "nothing changed\n");
}

#[test]
fn history_is_json_for_programs() {
    let text = printed(0, &["history", "--message", "Mount", "--since", "1.37", "-o", "json"]);
    let found: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(found["api"], "v1");
    assert_eq!(found["releases"][0]["release"], "1.37.0");
    let change = json!({"element": "field", "message": "Mount", "name": "mount_options", "number": 11,
        "change": "came", "definition": "repeated string"});
    assert_eq!(found["releases"][0]["changes"], json!([change]));
    assert_eq!(found["releases"][0]["features"][0]["handshake"]["kind"], "status_feature");
}

#[test]
fn what_nobody_knows_is_refused_with_what_there_is() {
    let unknown = printed(2, &["history", "--since", "1.12"]);
    assert!(unknown.contains("no release 1.12; it goes from 1.20 to 1.37"), "{unknown}");
    assert!(printed(2, &["history", "--message", "mounts"]).contains("it has Mount"));
    assert!(printed(2, &["history", "--since", "yesterday"]).contains("not a release (1.33 or 1.33.2)"));
}

#[test]
fn lint_tells_the_known_breach_of_a_release() {
    let text = printed(1, &["lint", "1.25", "1.26"]);
    assert!(text.starts_with("error: ContainerEventResponse.pod_sandbox_metadata = 4: "), "{text}");
    assert!(text.ends_with("1 error, 0 warnings\n"), "{text}");
    let signals = printed(1, &["lint", "1.36", "1.37"]);
    assert!(
        signals.contains("(and 65 more of its values)") && signals.ends_with("0 errors, 66 warnings\n"),
        "{signals}"
    );
    assert_eq!(printed(0, &["lint", "1.36", "1.37", "--fail-on", "error"]), signals);
    assert_eq!(printed(0, &["lint", "1.31", "1.32"]), "0 errors, 0 warnings\n");
    let notes = printed(0, &["lint", "1.31", "1.32", "--verbose"]);
    assert!(notes.starts_with("note: WindowsContainerResources.affinity_cpus = 6: a new field: "), "{notes}");
}

#[test]
fn lint_reads_files() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str, text: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let old = path("old.proto", "syntax = \"proto3\"; message A { string a = 1; }");
    let new = path("new.proto", "syntax = \"proto3\"; message A { int32 b = 1; }");
    let found: Value = serde_json::from_str(&printed(1, &["lint", &old, &new, "-o", "json"])).unwrap();
    assert_eq!(found["errors"], 1);
    assert_eq!(found["findings"][0]["rule"], "number-reused");
    assert_eq!(found["findings"][0]["element"], "A.a = 1");
    let broken = path("broken.proto", "syntax = \"proto3\";\nmessage A { string }");
    let error = printed(2, &["lint", &old, &broken]);
    assert!(error.contains("broken.proto: ") && error.contains(":2:"), "{error}");
    assert!(printed(2, &["lint", &old, "1.99"]).contains("it goes from 1.20 to 1.37"));
    assert!(printed(2, &["lint", &old, "nothing"]).contains("neither a release"));
}
