#![allow(clippy::unwrap_used, clippy::panic)]

use http::HeaderMap;
use proptest::prelude::*;

use super::*;

fn fault(text: &str) -> Fault {
    text.parse().unwrap()
}

#[test]
fn a_fault_is_read_as_it_is_written() {
    let all =
        r#"RuntimeService/StopContainer: error=Unavailable "no, \"not\" now", rate=0.5, count=3, skip=1, delay=500ms"#;
    let expected = Fault {
        target: Target::Rpc("RuntimeService/StopContainer".into()),
        error: Some((Code::Unavailable, "no, \"not\" now".into())),
        delay: Some(Duration::from_millis(500)),
        rate: 0.5,
        count: 3,
        skip: 1,
        at: At::Request,
    };
    assert_eq!(fault(all), expected);
    let short = fault("ImageService/*:delay=1m,at=answer");
    assert_eq!((short.target, short.at), (Target::Service("ImageService".into()), At::Answer));
    assert_eq!(fault("*: error=Internal").error.unwrap().1, "injected by corten skew proxy");
}

#[test]
fn what_is_wrong_is_said() {
    for (text, why) in [
        ("RuntimeService/Version", "must be RPC: WHAT, as in RuntimeService/Version: delay=1s"),
        (
            "RuntimeService/Versoin: delay=1s",
            "no release of the CRI has an RPC \"RuntimeService/Versoin\"; is RuntimeService/Version meant?",
        ),
        ("Service/*: delay=1s", "no service \"Service\""),
        ("*: rate=1", "needs an error or a delay"),
        ("*: error=Ok", "\"Ok\" is no code of gRPC's, as NotFound or Unavailable are"),
        ("*: error=Internal text", "the text of an error is in quotes: text"),
        ("*: error=Internal \"text", "a text has no end"),
        ("*: error=Internal \"", "a text has no end"),
        ("*: delay=-1s", "delay \"-1s\" must be like 500ms or 2s"),
        ("*: delay=1s, rate=2", "rate \"2\" must be from 0 to 1"),
        ("*: delay=1s, rate=NaN", "rate \"NaN\" must be from 0 to 1"),
        ("*: delay=1s, count=-1", "count \"-1\" must be a number"),
        ("*: delay=1s, delay=2s", "delay is said twice"),
        ("*: delay=1s,", "\"\" is not KEY=VALUE"),
        ("*: delay=1s, at=once", "at \"once\" must be request or answer"),
        ("*: pause=1s", "\"pause\" is none of error, delay, rate, count, skip, at"),
    ] {
        assert_eq!(text.parse::<Fault>().unwrap_err().to_string(), format!("fault {text:?}: {why}"));
    }
}

fn hits(faults: &Faults, path: &str) -> bool {
    matches!(faults.begin(&mut Call::parse(path, HeaderMap::new()).unwrap()), Begin::Follow(_))
}

#[test]
fn a_fault_is_for_its_calls_alone_and_for_so_many() {
    let faults = Faults::new([fault("RuntimeService/Version: error=Internal, skip=1, count=2")], 0);
    for path in ["/runtime.v1.RuntimeService/Status", "/corten.v1.Node/Version", "/runtime.v1.ImageService/Version"] {
        assert!(!hits(&faults, path), "{path}");
    }
    let path = "/runtime.v1alpha2.RuntimeService/Version";
    assert_eq!([(); 5].map(|()| hits(&faults, path)), [false, true, true, false, false]);
}

#[test]
fn a_rate_is_kept_and_a_seed_repeats_it() {
    let row = |seed| {
        let faults = Faults::new([fault("*: delay=1s, rate=0.25")], seed);
        (0..4000).map(|_| hits(&faults, "/runtime.v1.RuntimeService/Version")).collect::<Vec<_>>()
    };
    assert_eq!(row(7), row(7));
    assert_ne!(row(7), row(8));
    let hit = row(7).iter().filter(|hit| **hit).count();
    assert!((900..1100).contains(&hit), "{hit}");
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "\\PC*", items in "[a-z=\\\\\", 0-9]*") {
        let _ = text.parse::<Fault>();
        let _ = format!("*:{items}").parse::<Fault>();
    }
}
