//! `corten skew test`: every pair of releases that the policy lets meet, with a few of the checks (all of them by hand:
//! docs/skew.md).

use corten_e2e::{daemon::Setup, lab, programs};
use serde_json::Value;
use tokio::process::Command;

/// Checks that are quick and see fields that came and went between the releases.
const CHECKS: [&str; 6] = [
    "version/*",
    "status/*",
    "runtime-config/*",
    "sandboxes/status-gives-back-the-config",
    "sandboxes/list-filters-combine",
    "containers/states-and-times",
];

#[test]
fn every_pair_of_releases_works_together() {
    lab::test(Setup::default(), async |lab| {
        let junit = lab.paths.dir.join("junit.xml");
        let mut command = Command::new(programs::built("corten"));
        command.args(["--endpoint", &format!("unix://{}", lab.paths.socket().display()), "skew", "test", "-o", "json"]);
        command.args(["--from", "1.31", "--patience", "30s", "--junit"]).arg(&junit);
        command.args(CHECKS.iter().flat_map(|check| ["--only", *check]));
        let output = command.output().await.unwrap();
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        let matrix: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{told}"));
        let pairs = matrix["pairs"].as_array().unwrap();
        let bad: Vec<_> = pairs.iter().filter(|pair| pair["good"] != true).collect();
        assert!(bad.is_empty(), "{bad:#?}");
        assert_eq!((output.status.code(), matrix["good"].as_bool()), (Some(0), Some(true)));
        // 37 pairs of 1.31 to 1.37, 12 with a newer side, 3 of v1alpha2.
        assert_eq!(pairs.len(), 52);
        assert!(pairs.iter().all(|pair| pair["passed"].as_u64() > Some(4)), "{pairs:#?}");
        let lacking = |pair: &&Value| pair["not_supported"].as_u64() > Some(0);
        assert!(pairs.iter().any(|pair| lacking(&pair)) && !pairs.iter().all(|pair| lacking(&pair)), "{pairs:#?}");
        let xml = std::fs::read_to_string(&junit).unwrap();
        assert_eq!((xml.matches("<testsuite ").count(), xml.matches("<failure").count()), (52, 0), "{xml}");
        // Pods, containers and filters with values that nobody knows: of the six newer kubelets.
        assert_eq!(xml.matches("unknown-values-in-").count(), 3 * 6, "{xml}");
        std::fs::remove_file(&junit).unwrap();
    });
}
