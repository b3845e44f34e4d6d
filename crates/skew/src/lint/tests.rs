#![allow(clippy::unwrap_used, clippy::panic)]

mod history;
mod rules;

use proptest::prelude::*;

use super::*;

/// A proto file with these declarations.
fn file(declarations: &str) -> Interface {
    parse(&format!("syntax = \"proto3\"; package runtime.v1; {declarations}")).unwrap()
}

/// The findings of one change, as text, notes left out.
fn findings(old: &str, new: &str) -> Vec<String> {
    let found = compare(&file(old), &file(new));
    lines(&found.into_iter().filter(|finding| finding.severity != Severity::Note).collect::<Vec<_>>())
}

#[test]
fn arguments_are_releases_or_paths() {
    let source = |text: &str| text.parse::<Source>();
    for text in ["1.25", "1.25.3", "v1@1.25", "v1alpha2@1.23"] {
        assert!(matches!(source(text), Ok(Source::Release { .. })), "{text}");
    }
    for text in ["api.proto", "./1.25", "a/b", "/tmp/x.proto"] {
        assert!(matches!(source(text), Ok(Source::File(_))), "{text}");
    }
    for text in ["", "1", "v2@1.25", "v1@", "nothing"] {
        assert!(matches!(source(text), Err(Error::Source { .. })), "{text:?}");
    }
    assert!(matches!(source("1.99").unwrap().load(), Err(Error::History(_))));
    assert!(matches!(source("v1alpha2@1.26").unwrap().load(), Err(Error::History(_))));
    let missing = source("/nowhere/api.proto").unwrap().load().unwrap_err().to_string();
    assert!(missing.starts_with("read /nowhere/api.proto: "), "{missing}");
}

#[test]
fn broken_files_are_errors_that_say_where() {
    let long = "message A {".repeat(100_000);
    let options = format!("option a = {};", "{ a: ".repeat(100_000));
    let types = "message A { ".to_owned() + &"map<string, ".repeat(100_000);
    for (text, expected) in [
        ("message", "expected"),
        ("message A { string a = 1; string b = 1; }", "1"),
        ("message A { string a = 1; int32 a = 2; }", "a"),
        ("message A { Missing a = 1; }", "Missing"),
        ("message A { string a = 0; }", "0"),
        ("message A { string a = 99999999999999999999; }", "too large"),
        ("enum A { B = 1; }", "must be 0"),
        ("message A {} message A {}", "A"),
        ("service S { rpc R(A) returns (A); }", "A"),
        ("\u{1}", ""),
        (&long, ""),
        (&options, ""),
        (&types, ""),
    ] {
        let error = parse(&format!("syntax = \"proto3\";\n{text}")).unwrap_err();
        let shown: String = text.chars().take(60).collect();
        assert!(error.contains(expected) && error.len() < 10_000, "{shown}: {error}");
    }
    assert!(parse("syntax = \"proto3\";\nmessage A { Missing a = 1; }").unwrap_err().contains("api.proto:2:13"));
}

#[test]
fn what_cannot_be_read_is_an_error() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("api.proto");
    std::fs::write(&path, [0xff, 0xfe]).unwrap();
    let load = || Source::File(path.clone()).load();
    assert!(matches!(load(), Err(Error::File { .. })));
    std::fs::write(&path, " ".repeat((4 << 20) + 1)).unwrap();
    assert!(matches!(load(), Err(Error::Proto { .. })));
    assert!(matches!(Source::File(directory.path().into()).load(), Err(Error::File { .. })));
}

#[test]
fn imports_of_others_and_their_options_are_left_out() {
    let text = r#"
        syntax = "proto3";
        package runtime.v1;
        import "github.com/gogo/protobuf/gogoproto/gogo.proto";
        import "google/protobuf/timestamp.proto";
        option go_package = "v1";
        option (gogoproto.marshaler_all) = true;
        message A {
            option (gogoproto.equal) = true;
            string name = 1 [deprecated = true, (gogoproto.customname) = "N"];
            google.protobuf.Timestamp at = 2 [json_name = "when"];
        }
        enum E { option allow_alias = true; A_ZERO = 0 [(gogoproto.x) = 1]; B_ZERO = 0; }
        service S { rpc R(A) returns (stream A) { option (x.y) = { a: 1 }; } }
    "#;
    let found = parse(text).unwrap();
    let fields: Vec<_> = found.messages["A"].fields.values().map(ToString::to_string).collect();
    assert_eq!(fields, ["string name", "google.protobuf.Timestamp at"]);
    assert_eq!(found.messages["A"].fields[&2].json_name, "when");
    assert_eq!(found.enums["E"].values[&0].len(), 2);
    assert!(found.rpcs["S/R"].server_streaming && !found.rpcs["S/R"].client_streaming);
}

#[test]
fn names_in_json_are_as_protoc_makes_them() {
    for (name, json) in [
        ("pod_sandbox_id", "podSandboxId"),
        ("uidMappings", "uidMappings"),
        ("CDI_devices", "CDIDevices"),
        ("a__b_1_c", "aB1C"),
        ("_a_", "A"),
    ] {
        assert_eq!(schema::Field::default_json_name(name), json, "{name}");
        let found = file(&format!("message A {{ string {name} = 1; }}"));
        assert_eq!(found.messages["A"].fields[&1].json_name, json, "{name}");
    }
}

const SAMPLE: &str = r#"syntax = "proto3"; package runtime.v1; import "a.proto"; option (a.b) = { c: 1 };
service S { rpc R(A) returns (stream A) {} } enum E { option allow_alias = true; Z = 0; Y = 0; X = -5; reserved 2 to 9; reserved "W"; }
message A { map<string, E> a = 1; oneof b { string c = 2; A d = 3; } message N { repeated N n = 1 [json_name = "m"]; } N e = 4;
  reserved 5, 7 to max; reserved "f"; optional bytes g = 6 [deprecated = true]; }"#;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// A piece of the file is taken out or put somewhere else: it is read or refused, and can be compared.
    #[test]
    fn no_file_makes_it_panic(from in 0..SAMPLE.len(), length in 0..60usize, to in 0..SAMPLE.len(), keep: bool) {
        let end = from.saturating_add(length).min(SAMPLE.len());
        let (piece, mut text) = (&SAMPLE[from..end], SAMPLE.to_owned());
        if !keep {
            text.replace_range(from..end, "");
        }
        text.insert_str(to.min(text.len()), piece);
        let sample = parse(SAMPLE).unwrap();
        if let Ok(other) = parse(&text) {
            compare(&sample, &other);
            compare(&other, &sample);
        }
    }

    #[test]
    fn no_argument_makes_it_panic(text in "\\PC{0,20}|[v0-9@.*]{0,12}") {
        let _ = text.parse::<Source>();
    }
}
