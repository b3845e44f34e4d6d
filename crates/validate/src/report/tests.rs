#![allow(clippy::unwrap_used)]

use super::*;

fn finished(name: &'static str, outcome: Outcome) -> Finished {
    Finished {
        name,
        says: "what <it> says",
        since: "1.20.0".parse().ok(),
        outcome,
        duration: Duration::from_millis(1500),
        calls: ["RuntimeService/Version"].into(),
    }
}

fn report() -> Report {
    let failure = Failure { what: "the \"state\"".into(), expected: "1 & 2".into(), seen: "3\n\u{1b}[0m".into() };
    Report {
        runtime: "cortend 0.1.0".into(),
        release: None,
        seed: 7,
        checks: vec![
            finished("a/one", Outcome::Passed),
            finished("a/two", Outcome::Failed(failure)),
            finished("b/three", Outcome::NotSupported("too old".into())),
        ],
        duration: Duration::from_secs(3),
        interrupted: false,
        kept: None,
        leftover: None,
    }
}

#[test]
fn json_has_every_check_and_the_counts() {
    let value = json(&report());
    assert_eq!((&value["passed"], &value["failed"], &value["notSupported"]), (&1.into(), &1.into(), &1.into()));
    assert_eq!(value["checks"][0]["since"], "1.20.0");
    assert_eq!(value["checks"][0]["calls"][0], "RuntimeService/Version");
    assert_eq!(value["checks"][1]["failure"]["expected"], "1 & 2");
    assert_eq!(value["checks"][2]["reason"], "too old");
}

#[test]
fn junit_is_well_formed_whatever_is_in_it() {
    let xml = junit(&report());
    assert!(xml.contains("tests=\"3\" failures=\"1\" errors=\"0\" skipped=\"1\""), "{xml}");
    assert!(xml.contains("the &quot;state&quot;: expected 1 &amp; 2, saw 3&#10;\u{fffd}[0m"), "{xml}");
    assert!(xml.contains("<testcase classname=\"b\" name=\"three\" time=\"1.500\"><skipped message=\"too old\"/>"));
    assert!(!xml.contains('\u{1b}'));
}

#[test]
fn text_says_what_was_expected_and_seen() {
    let report = report();
    assert_eq!(line(&report.checks[0]), "passed         a/one (1.50 s)");
    assert!(line(&report.checks[1]).contains("expected 1 & 2\n"));
    assert!(line(&report.checks[1]).contains("the CRI: what <it> says"));
    assert_eq!(summary(&report), "1 passed, 1 failed, 1 not supported in 3.0 s: cortend 0.1.0, seed 7\n");
    assert!(!report.is_good());
}
