#![allow(clippy::unwrap_used, clippy::panic)]

use super::*;

fn told(alpha: bool, selection: &Selection) -> Vec<(String, Vec<String>)> {
    let entries = select(embedded(alpha).unwrap(), selection).unwrap();
    entries.iter().map(|entry| (entry.release.to_string(), lines(&entry.changes))).collect()
}

fn of(message: &str) -> Vec<(String, Vec<String>)> {
    told(false, &Selection { message: Some(message.to_owned()), ..Selection::default() })
}

fn entry(release: &str, line: &str) -> (String, Vec<String>) {
    (release.to_owned(), vec![line.to_owned()])
}

#[test]
fn a_change_of_patch_releases_is_told_at_each_of_them_and_nowhere_else() {
    let changed = "changed  KeyValue.value = 2: string value became bytes value";
    assert_eq!(of("KeyValue"), ["1.34.9", "1.35.6", "1.36.2"].map(|release| entry(release, changed)));
}

#[test]
fn renamed_values_are_one_line() {
    let expected = [
        entry("1.33.0", "new      enum Signal: 66 values"),
        entry(
            "1.37.0",
            "renamed  66 values of enum Signal, as RUNTIME_DEFAULT to SIGNAL_RUNTIME_DEFAULT; the numbers are the same",
        ),
    ];
    assert_eq!(of("Signal"), expected);
}

#[test]
fn a_number_used_again_is_a_change() {
    let entries = of("ContainerEventResponse");
    assert_eq!(entries.len(), 2);
    let line = "changed  ContainerEventResponse.pod_sandbox_status = 4: PodSandboxMetadata pod_sandbox_metadata became \
                PodSandboxStatus pod_sandbox_status";
    assert!(entries[1].0 == "1.26.0" && entries[1].1.contains(&line.to_owned()), "{entries:?}");
}

#[test]
fn both_ends_are_whole_minors_or_patch_releases() {
    let releases = |since: &str, until: &str| {
        let selection =
            Selection { since: Some(since.parse().unwrap()), until: Some(until.parse().unwrap()), message: None };
        told(false, &selection).into_iter().map(|(release, _)| release).collect::<Vec<_>>()
    };
    assert_eq!(releases("1.33", "1.34"), ["1.33.0", "1.34.9"]);
    assert_eq!(releases("1.34.9", "1.34.9"), ["1.34.9"]);
    assert_eq!(releases("1.33.1", "1.34.8"), Vec::<String>::new());
    assert_eq!(releases("1.35", "1.36.1"), ["1.35.6", "1.36.0"]);
}

#[test]
fn v1alpha2_has_a_history_of_its_own() {
    let releases: Vec<_> = told(true, &Selection::default()).into_iter().map(|(release, _)| release).collect();
    assert_eq!(releases, ["1.20.0", "1.22.0", "1.23.0", "1.24.0", "1.25.0", "1.26.0"]);
    let error =
        select(embedded(true).unwrap(), &Selection { since: Some("1.33".parse().unwrap()), ..Selection::default() })
            .unwrap_err();
    assert_eq!(error.to_string(), "the CRI history has no release 1.33; it goes from 1.20 to 1.25");
}

#[test]
fn unknown_names_are_told_with_those_like_them() {
    let error = |name: &str| {
        let selection = Selection { message: Some(name.to_owned()), ..Selection::default() };
        select(embedded(false).unwrap(), &selection).unwrap_err().to_string()
    };
    let mounts = error("mount");
    assert!(mounts.starts_with("the CRI never had a message or enum \"mount\"; it has Mount, "), "{mounts}");
    assert_eq!(error("Zzz"), "the CRI never had a message or enum \"Zzz\"");
    assert!(error("ContainerStat").contains("; it has ContainerStat"), "{}", error("ContainerStat"));
}

#[test]
fn what_a_missing_feature_means_is_told_with_its_release() {
    let meanings_of = |alpha: bool, message: &str, release: &str| {
        let selection = Selection { message: Some(message.to_owned()), ..Selection::default() };
        let entries = select(embedded(alpha).unwrap(), &selection).unwrap();
        let entry = entries.into_iter().find(|entry| entry.release.to_string() == release).unwrap();
        meanings(&entry.features).join("\n")
    };
    let groups = meanings_of(false, "RuntimeFeatures", "1.37.0");
    let told = "missing  options of bind mounts (fails; handshake: Status feature mount_options, read since kubelet 1.37). \
                Kubelet: Refuses pods with bindMountOptions. Pod: Does not start.";
    assert_eq!(groups, told);
    assert!(meanings_of(true, "UserNamespace", "1.25.0").contains("user namespaces (fails; "));
    assert!(meanings_of(false, "MountPropagation", "1.28.0").starts_with("words    comment of PROPAGATION_PRIVATE."));
}
