#![allow(clippy::unwrap_used, clippy::panic)]

use oci_spec::runtime::LinuxDeviceCgroup;

use super::*;

fn rule(json: &str) -> Result<Rule, Error> {
    Rule::of(&serde_json::from_str::<LinuxDeviceCgroup>(json).unwrap())
}

#[test]
fn rules_are_written_as_the_kernel_wants_them() {
    for (json, text) in [
        (r#"{"allow": false, "access": "rwm"}"#, "a"),
        (r#"{"allow": true, "type": "a", "major": 1, "access": "r"}"#, "a"),
        (r#"{"allow": true, "type": "c", "major": 1, "minor": 3, "access": "mrw"}"#, "c 1:3 rwm"),
        (r#"{"allow": true, "type": "u", "major": 136, "access": "rw"}"#, "c 136:* rw"),
        (r#"{"allow": true, "type": "b", "major": -1, "minor": -1, "access": "m"}"#, "b *:* m"),
        (r#"{"allow": true, "type": "b"}"#, "b *:* rwm"),
    ] {
        assert_eq!(rule(json).unwrap().to_string(), text, "{json}");
    }
}

#[test]
fn rules_that_make_no_sense_are_refused() {
    for json in [
        r#"{"allow": true, "type": "c", "major": 1, "minor": 3, "access": "x"}"#,
        r#"{"allow": true, "type": "c", "major": 1, "minor": 3, "access": "rw\nb 8:0 rwm"}"#,
        r#"{"allow": true, "type": "p", "access": "r"}"#,
        r#"{"allow": true, "type": "c", "major": -2, "access": "r"}"#,
        r#"{"allow": true, "type": "c", "major": 4294967296, "access": "r"}"#,
    ] {
        assert!(matches!(rule(json), Err(Error::BadValue { field: "devices", .. })), "{json}");
    }
}

#[test]
fn a_policy_is_what_the_v1_controller_makes_of_the_rules() {
    let of = |rules: &[&str]| Policy::of(&rules.iter().map(|r| rule(r).unwrap()).collect::<Vec<_>>());
    let (deny_all, allow_all) = (r#"{"allow": false}"#, r#"{"allow": true}"#);
    let null = r#"{"allow": true, "type": "c", "major": 1, "minor": 3, "access": "r"}"#;
    let null_too = r#"{"allow": true, "type": "c", "major": 1, "minor": 3, "access": "w"}"#;
    let no_null = r#"{"allow": false, "type": "c", "major": 1, "minor": 3, "access": "r"}"#;

    let policy = of(&[deny_all, null, null_too]);
    assert!(!policy.allow);
    let [(devices, access)] = policy.exceptions.as_slice() else { panic!("{policy:?}") };
    assert_eq!((devices.major, devices.minor, access.bits()), (Some(1), Some(3), Access::READ | Access::WRITE));

    let policy = of(&[deny_all, null, null_too, no_null]);
    assert_eq!(policy.exceptions.first().unwrap().1.bits(), Access::WRITE);
    assert_eq!(of(&[deny_all, null, no_null]), of(&[deny_all]));
    assert_eq!(of(&[deny_all, null, allow_all]), of(&[]));
    assert!(of(&[no_null]).allow, "exceptions from allowing everything");
    assert_eq!(of(&[no_null, null]), of(&[]));
}
