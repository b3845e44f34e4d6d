//! `corten validate`: the whole suite against cortend, and what it prints. That nothing is left behind is the lab's to see.

use std::{
    fs,
    process::{Command, Output},
};

use corten_e2e::{daemon::Setup, lab, lab::Lab, programs};
use serde_json::Value;

fn validate(lab: &Lab, arguments: &[&str]) -> Output {
    let socket = format!("unix://{}", lab.paths.socket().display());
    let mut command = Command::new(programs::built("corten"));
    command.args(["--endpoint", &socket, "validate"]).args(arguments);
    command.output().unwrap_or_else(|e| panic!("start corten validate: {e}"))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The checks that ended so, with what is said of each.
fn ended<'a>(report: &'a Value, result: &str) -> Vec<(&'a str, &'a Value)> {
    let checks = report["checks"].as_array().unwrap().iter().filter(|check| check["result"] == result);
    checks.map(|check| (check["name"].as_str().unwrap(), check)).collect()
}

#[test]
fn cortend_does_what_the_cri_documents() {
    lab::test(Setup::default(), async |lab| {
        let junit = lab.paths.dir.join("junit.xml");
        let output = validate(lab, &["-o", "json", "--patience", "60s", "--junit", junit.to_str().unwrap()]);
        let report: Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|e| panic!("{e}: {} {}", text(&output.stdout), text(&output.stderr)));
        assert_eq!(ended(&report, "failed"), vec![]);
        assert_eq!(ended(&report, "notSupported"), vec![]);
        assert_eq!(output.status.code(), Some(0), "{report}");

        let passed = ended(&report, "passed");
        assert_eq!(report["passed"], passed.len());
        assert!(passed.iter().all(|(_, check)| check["since"].is_string() && check["says"].is_string()), "{report}");
        let xml = fs::read_to_string(&junit).unwrap();
        assert_eq!(xml.matches("<testcase ").count(), passed.len(), "{xml}");
        assert!(xml.contains("failures=\"0\"") && xml.contains("skipped=\"0\""), "{xml}");
        fs::remove_file(&junit).unwrap();
    });
}
