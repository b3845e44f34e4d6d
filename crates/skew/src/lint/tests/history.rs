//! The known breaches, and the CRI's history pair by pair.

use super::super::*;

const STRING_TO_BYTES: &[&str] = &[
    "warning: KeyValue.value = 2: string became bytes: JSON has it in base64 or not, code has another type, and bytes \
    need not be UTF-8 [type-changed]",
];

/// What releases broke of the one before; the others broke nothing.
const BREACHES: &[(&str, &str, &[&str])] = &[
    (
        "1.25.16",
        "1.26.15",
        &["error: ContainerEventResponse.pod_sandbox_metadata = 4: the number of PodSandboxMetadata \
        pod_sandbox_metadata means PodSandboxStatus pod_sandbox_status now [number-reused]"],
    ),
    ("1.34.8", "1.34.9", STRING_TO_BYTES),
    ("1.33.13", "1.34.10", STRING_TO_BYTES),
    ("1.35.5", "1.35.6", STRING_TO_BYTES),
    ("1.36.1", "1.36.2", STRING_TO_BYTES),
    (
        "1.36.3",
        "1.37.0",
        &["warning: enum Signal.RUNTIME_DEFAULT = 0: it is called SIGNAL_RUNTIME_DEFAULT now: JSON and code \
        that know it by name break [renamed] (and 65 more of its values)"],
    ),
];

fn between(old: &str, new: &str) -> Vec<String> {
    let found = lint(&old.parse().unwrap(), &new.parse().unwrap()).unwrap();
    lines(&found.into_iter().filter(|finding| finding.severity != Severity::Note).collect::<Vec<_>>())
}

#[test]
fn the_known_breaches_are_found() {
    assert!(between("1.25", "1.26")[0].starts_with("error: ContainerEventResponse.pod_sandbox_metadata = 4: "));
    assert_eq!(between("1.36.1", "1.36.2"), STRING_TO_BYTES);
    assert!(between("1.36", "1.37")[0].starts_with("warning: enum Signal.RUNTIME_DEFAULT = 0: "));
    let signals = lint(&"1.36".parse().unwrap(), &"1.37".parse().unwrap()).unwrap();
    assert_eq!(signals.iter().filter(|finding| finding.rule == Rule::Renamed).count(), 66);
}

#[test]
fn each_release_broke_exactly_what_is_known() {
    let found = breaches().unwrap();
    assert_eq!(found.len(), 20, "18 minors one after another, and three patch releases");
    let found = found.iter().filter(|breach| !breach.findings.is_empty());
    let found: Vec<_> =
        found.map(|breach| (breach.old.to_string(), breach.new.to_string(), lines(&breach.findings))).collect();
    let known: Vec<_> = BREACHES
        .iter()
        .map(|(old, new, lines)| {
            ((*old).to_owned(), (*new).to_owned(), lines.iter().map(|line| (*line).to_owned()).collect())
        })
        .collect();
    assert_eq!(found, known);
}

#[test]
fn v1alpha2_is_another_package_and_lacks_two_rpcs_of_1_25() {
    let found = between("1.25", "v1alpha2@1.25");
    assert!(found[0].starts_with("error: package: package runtime.v1 became runtime.v1alpha2"), "{found:?}");
    let gone: Vec<_> = found.iter().filter(|line| line.ends_with("[rpc-removed]")).collect();
    assert_eq!(gone.len(), 2, "{found:?}");
    assert_eq!(between("v1alpha2@1.23", "v1alpha2@1.25"), Vec::<String>::new());
}

#[test]
fn our_own_file_is_the_newest_release() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../cri/proto/runtime/v1/api.proto");
    assert_eq!(lint(&"1.37".parse().unwrap(), &file.parse().unwrap()).unwrap(), []);
    assert_eq!(lint(&file.parse().unwrap(), &"1.37".parse().unwrap()).unwrap(), []);
}
