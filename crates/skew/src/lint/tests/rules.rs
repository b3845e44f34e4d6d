//! Each rule by itself.

use super::{super::*, file, findings};

/// A change of the fields of one message.
fn fields(old: &str, new: &str) -> Vec<String> {
    let around = |fields: &str| {
        format!(
            "message M {{ {fields} }} message X {{ string a = 1; }} message Y {{ string b = 1; }} message Z {{ int32 a = 1; }}
             enum E {{ E_ZERO = 0; }} enum F {{ F_ZERO = 0; }}"
        )
    };
    findings(&around(old), &around(new))
}

fn values(old: &str, new: &str) -> Vec<String> {
    findings(&format!("enum E {{ ZERO = 0; {old} }}"), &format!("enum E {{ ZERO = 0; {new} }}"))
}

fn rpcs(old: &str, new: &str) -> Vec<String> {
    let around = |rpcs: &str| {
        format!(
            "service S {{ {rpcs} }} message A {{ string a = 1; }} message B {{ string b = 1; }} message C {{ int32 c = 1; }}"
        )
    };
    findings(&around(old), &around(new))
}

/// The severity and rule of the only finding.
#[track_caller]
fn only(findings: &[String], severity: &str, rule: &str) {
    let expected = |line: &String| line.starts_with(&format!("{severity}: ")) && line.ends_with(&format!(" [{rule}]"));
    assert!(findings.len() == 1 && expected(&findings[0]), "expected one {severity} of {rule}: {findings:?}");
}

#[test]
fn the_same_is_the_same_and_what_is_new_is_a_note() {
    let old = "message M { string a = 1; map<string, int64> b = 2; oneof c { string d = 3; } optional int32 e = 4; }
               enum E { ZERO = 0; } service S { rpc R(M) returns (M); }";
    let new = "message M { string a = 1; map<string, int64> b = 2; oneof c { string d = 3; } optional int32 e = 4; string f = 5; }
               message N {} enum E { ZERO = 0; ONE = 1; } enum F { F_ZERO = 0; }
               service S { rpc R(M) returns (M); rpc Q(M) returns (M); }";
    assert_eq!(compare(&file(old), &file(old)), []);
    let notes = compare(&file(old), &file(new));
    assert!(notes.iter().all(|note| note.severity == Severity::Note && note.rule == Rule::Added), "{notes:?}");
    let elements: Vec<_> = notes.iter().map(|note| note.element.as_str()).collect();
    assert_eq!(elements, ["S/Q", "M.f = 5", "message N", "enum E.ONE = 1", "enum F"]);
}

#[test]
fn a_number_is_not_used_for_another_field() {
    only(&fields("string a = 1;", "X b = 1;"), "error", "number-reused");
    only(&fields("X a = 1;", "Z b = 1;"), "error", "number-reused");
    only(&fields("string a = 1;", "int32 b = 1;"), "error", "number-reused");
    let swapped = fields("string a = 1; string b = 2;", "string b = 1; string a = 2;");
    assert_eq!(swapped.iter().filter(|line| line.ends_with("[number-reused]")).count(), 2, "{swapped:?}");
}

#[test]
fn a_field_keeps_its_number() {
    only(&fields("string a = 1;", "string a = 2;"), "error", "number-changed");
    only(&values("A = 1;", "A = 2;"), "error", "number-changed");
}

#[test]
fn types_are_the_same_on_the_wire_or_not() {
    for (was, is) in [
        ("string", "bytes"),
        ("bytes", "string"),
        ("int32", "int64"),
        ("bool", "uint32"),
        ("sint32", "sint64"),
        ("fixed32", "sfixed32"),
        ("sfixed64", "fixed64"),
        ("E", "int32"),
        ("uint64", "E"),
        ("E", "F"),
        ("X", "Y"),
        ("repeated string", "repeated bytes"),
        ("map<string, string>", "map<string, bytes>"),
    ] {
        only(&fields(&format!("{was} a = 1;"), &format!("{is} a = 1;")), "warning", "type-changed");
    }
    for (was, is) in [
        ("int32", "sint32"),
        ("int32", "fixed32"),
        ("float", "fixed32"),
        ("double", "float"),
        ("string", "int32"),
        ("string", "X"),
        ("bytes", "X"),
        ("X", "Z"),
        ("E", "string"),
        ("sint32", "E"),
    ] {
        only(&fields(&format!("{was} a = 1;"), &format!("{is} a = 1;")), "error", "type-changed");
    }
}

#[test]
fn bytes_need_not_be_utf_8() {
    let found = fields("string a = 1;", "bytes a = 1;");
    assert!(found[0].contains("need not be UTF-8") && found[0].contains("JSON"), "{found:?}");
}

#[test]
fn fields_occur_as_often_as_they_did() {
    for (was, is) in [
        ("string", "repeated string"),
        ("repeated X", "X"),
        ("map<string, string>", "map<int32, string>"),
        ("repeated string", "map<string, string>"),
        ("optional string", "repeated string"),
    ] {
        only(&fields(&format!("{was} a = 1;"), &format!("{is} a = 1;")), "error", "cardinality-changed");
    }
    only(&fields("string a = 1;", "optional string a = 1;"), "warning", "cardinality-changed");
    only(&fields("optional E a = 1;", "E a = 1;"), "warning", "cardinality-changed");
    let required =
        |label| parse(&format!("syntax = \"proto2\"; package p; message M {{ {label} string a = 1; }}")).unwrap();
    let found = lines(&compare(&required("optional"), &required("required")));
    only(&found, "error", "cardinality-changed");
}

#[test]
fn fields_keep_their_oneof() {
    let pair = fields("string a = 1; string b = 2;", "oneof o { string a = 1; string b = 2; }");
    assert!(
        pair.len() == 2 && pair.iter().all(|line| line.starts_with("error: ") && line.ends_with("[oneof-changed]")),
        "{pair:?}"
    );
    only(
        &fields("oneof o { string a = 1; } string b = 2;", "oneof o { string a = 1; string b = 2; }"),
        "error",
        "oneof-changed",
    );
    only(
        &fields("oneof o { string a = 1; string b = 2; }", "oneof o { string a = 1; } string b = 2;"),
        "error",
        "oneof-changed",
    );
    only(&fields("string a = 1;", "oneof o { string a = 1; }"), "warning", "oneof-changed");
    only(&fields("oneof o { string a = 1; }", "string a = 1;"), "warning", "oneof-changed");
    only(&fields("oneof o { string a = 1; }", "oneof p { string a = 1; }"), "warning", "oneof-changed");
}

#[test]
fn names_stay() {
    only(&fields("string a = 1;", "string b = 1;"), "warning", "renamed");
    only(&fields("string a = 1;", "string a = 1 [json_name = \"b\"];"), "warning", "json-name-changed");
    only(&values("A = 1;", "B = 1;"), "warning", "renamed");
    let many = values("A = 1; B = 2; C = 3;", "X = 1; Y = 2; W = 3;");
    only(&[many[0].replace(" (and 2 more of its values)", "")], "warning", "renamed");
    let both = fields("string a = 1;", "bytes b = 1;");
    assert_eq!(both.len(), 2, "{both:?}");
}

#[test]
fn nothing_goes_and_what_goes_is_reserved() {
    only(&fields("string a = 1;", ""), "error", "removed");
    only(&fields("string a = 1;", "reserved 1;"), "warning", "removed");
    only(&fields("string a = 1;", "reserved \"a\";"), "error", "removed");
    only(&fields("string a = 5;", "reserved 2 to 9; reserved \"a\";"), "warning", "removed");
    only(&values("A = 1;", ""), "error", "removed");
    only(&values("A = 1;", "reserved 1; reserved \"A\";"), "warning", "removed");
    only(&findings("message A {}", ""), "warning", "removed");
    only(&findings("enum A { ZERO = 0; }", ""), "warning", "removed");
    let alias = "option allow_alias = true; A = 1;";
    only(&values(&format!("{alias} B = 1;"), "A = 1;"), "warning", "removed");
}

#[test]
fn what_is_reserved_stays_so() {
    only(&fields("reserved 1;", "string a = 1;"), "error", "reserved-used");
    only(&fields("reserved \"a\", \"b\";", "reserved \"b\"; string a = 1;")[..1], "warning", "reserved-used");
    only(&values("reserved 5 to max;", "A = 7; reserved 5, 6, 8 to max;")[..1], "error", "reserved-used");
    only(&fields("reserved 1 to 3, 5;", "reserved 1, 2, 5;"), "warning", "reservation-dropped");
    assert_eq!(fields("reserved 1 to 3;", "reserved 1, 3, 2;"), Vec::<String>::new());
}

#[test]
fn rpcs_stay() {
    only(&rpcs("rpc R(A) returns (A);", ""), "error", "rpc-removed");
    only(&rpcs("rpc R(A) returns (A);", "rpc R(C) returns (A);"), "error", "rpc-changed");
    only(&rpcs("rpc R(A) returns (A);", "rpc R(A) returns (B);"), "warning", "rpc-changed");
    only(&rpcs("rpc R(A) returns (A);", "rpc R(A) returns (stream A);"), "error", "streaming-changed");
    only(&rpcs("rpc R(stream A) returns (A);", "rpc R(A) returns (A);"), "error", "streaming-changed");
}

#[test]
fn the_package_stays() {
    let in_package = |name: &str| {
        parse(&format!("syntax = \"proto3\"; package {name}; message A {{ A a = 1; E e = 2; }} enum E {{ Z = 0; }}"))
            .unwrap()
    };
    only(&lines(&compare(&in_package("runtime.v1"), &in_package("runtime.v2"))), "error", "package-changed");
}

#[test]
fn what_is_nested_is_compared_by_its_full_name() {
    let nested =
        |fields: &str| format!("message A {{ message B {{ {fields} enum E {{ Z = 0; }} }} B b = 1; B.E e = 2; }}");
    let found = findings(&nested("string a = 1;"), &nested("int32 a = 1;"));
    only(&found, "error", "type-changed");
    assert!(found[0].starts_with("error: A.B.a = 1: "), "{found:?}");
}
