#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeSet;

use super::*;
use crate::history::{History, Schema};

/// The CRI's own list of changes: the release, the pull requests that it names, and the features here that they brought.
const LISTED: &[(&str, &[u32], &[&str])] = &[
    ("1.20", &[96387], &["v1"]),
    ("1.22", &[99576], &["windows-host-process"]),
    ("1.22", &[102578], &["cgroup-unified"]),
    ("1.22", &[102823], &["swap-limit"]),
    ("1.23", &[102789], &["pod-stats"]),
    ("1.23", &[104886], &["sandbox-resources"]),
    ("1.23", &[103299], &["pinned-images"]),
    ("1.24", &[104620], &["ambient-capabilities"]),
    ("1.24", &[108894], &["windows-rootfs-size"]),
    ("1.25", &[110535], &["user-namespaces"]),
    ("1.25", &[104907], &["checkpoint-container"]),
    ("1.25", &[111642], &["events"]),
    ("1.25", &[111645], &["resize"]),
    ("1.26", &[110754], &["windows-stats"]),
    ("1.26", &[112961], &["windows-host-network"]),
    ("1.26", &[113047], &["supplemental-groups-documented"]),
    ("1.26", &[111384], &["event-statuses"]),
    ("1.26", &[], &["v1alpha2-removed"]),
    ("1.27", &[115891], &["cdi-devices"]),
    ("1.27", &[116377], &["idmapped-mounts"]),
    ("1.28", &[115704], &["propagation-private"]),
    ("1.28", &[118652], &["user-specified-image"]),
    ("1.28", &[118770], &["runtime-config"]),
    ("1.28", &[118865], &["swap-usage"]),
    ("1.28", &[119238], &["windows-commit-memory"]),
    ("1.29", &[121121], &["image-runtime-handler"]),
    ("1.29", &[120914], &["container-filesystems"]),
    ("1.30", &[123272], &["recursive-read-only"]),
    ("1.30", &[123356], &["user-namespaces-handshake"]),
    ("1.30", &[123508, 123583], &["image-id"]),
    ("1.31", &[125470], &["runtime-features"]),
    ("1.31", &[117842], &["supplemental-groups-policy"]),
    ("1.31", &[125659], &["image-volumes"]),
    ("1.32", &[124285], &["windows-cpu-affinity"]),
    ("1.33", &[130512], &["host-port-zero"]),
    ("1.33", &[130135], &["image-sub-path"]),
    ("1.33", &[128123], &["update-pod-resources"]),
    ("1.33", &[130250], &["windows-host-network-withdrawn"]),
    ("1.33", &[130701], &["pressure-stall"]),
    ("1.33", &[130556], &["stop-signal"]),
    ("1.34.9, 1.35.6, 1.36.2", &[139132], &["env-bytes"]),
    ("1.36", &[], &["streaming-lists", "image-ref", "user-namespaces-host-network"]),
    ("1.37", &[], &["pod-checkpoints", "mount-options", "signal-names"]),
];

/// What that list leaves out, though it is in the schema.
const UNLISTED: &[&str] = &["metrics"];

fn overlay() -> &'static Overlay {
    Overlay::embedded().unwrap()
}

fn schemas() -> [&'static Schema; 2] {
    let history = History::embedded().unwrap();
    [&history.v1, &history.v1alpha2]
}

fn feature(id: &str) -> &'static Feature {
    overlay().features.iter().find(|feature| feature.id == id).unwrap()
}

fn release(text: &str) -> Release {
    text.parse().unwrap()
}

#[test]
fn every_listed_change_has_features_and_every_feature_is_listed() {
    for (since, prs, ids) in LISTED {
        for id in *ids {
            let feature = feature(id);
            let named: Vec<_> = feature.since.iter().map(ToString::to_string).collect();
            assert_eq!(named.join(", "), *since, "{id}");
            assert!(prs.iter().all(|pr| feature.prs.contains(pr)), "{id}");
        }
    }
    let listed: Vec<&str> = LISTED.iter().flat_map(|(_, _, ids)| *ids).chain(UNLISTED).copied().collect();
    let ids: BTreeSet<&str> = overlay().features.iter().map(|feature| feature.id.as_str()).collect();
    assert_eq!((listed.len(), ids.len()), (overlay().features.len(), overlay().features.len()));
    assert_eq!(listed.into_iter().collect::<BTreeSet<_>>(), ids);
}

#[test]
fn every_change_of_the_schema_is_covered_by_one_feature() {
    let mut wrong = Vec::new();
    for (release, changes) in schemas().into_iter().flat_map(Schema::changes) {
        for change in changes {
            let count = overlay().features.iter().filter(|feature| feature.explains(release, &change.element)).count();
            if count != 1 {
                wrong.push(format!("{release} {}: {count}", change.element));
            }
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}

#[test]
fn every_feature_covers_changes_of_its_release_and_concerns_what_is_there() {
    let v1 = schemas()[0];
    let changes = v1.changes();
    let mut wrong = Vec::new();
    for feature in &overlay().features {
        for first in feature.since.iter().map(|since| since.first()) {
            let changed: BTreeSet<String> =
                changes.get(&first).into_iter().flatten().map(|change| change.element.path()).collect();
            let snapshot = v1.in_release(first).unwrap();
            let has_field = |message: &str, name: &str| {
                snapshot.messages.get(message).is_some_and(|fields| fields.values().any(|field| field.name == name))
            };
            let is_there = |name: &str| match name.split_once('.') {
                Some((message, field)) => has_field(message, field),
                None if name.contains('/') => snapshot.rpcs.contains_key(name),
                None => snapshot.messages.contains_key(name) || snapshot.enums.contains_key(name),
            };
            // A field of a message that is new has no change of its own.
            let is_new = |name: &str| name.split_once('.').is_some_and(|(message, _)| changed.contains(message));
            let covered = |name: &str| changed.contains(name) || is_new(name) && is_there(name);
            wrong.extend(feature.covers.iter().filter(|name| !covered(name)).map(|name| (first, name.clone())));
            wrong.extend(feature.concerns.iter().filter(|name| !is_there(name)).map(|name| (first, name.clone())));
        }
        assert!(!feature.covers.is_empty() || !feature.concerns.is_empty(), "{}", feature.id);
        for text in [&feature.title, &feature.kubelet, &feature.runtime, &feature.pod, &feature.source] {
            assert!(!text.is_empty() && !text.contains('|'), "{}: {text:?}", feature.id);
        }
    }
    assert_eq!(wrong, []);
}

#[test]
fn handshakes_name_fields_that_there_are() {
    let v1 = schemas()[0];
    let newest = v1.in_release(v1.newest().unwrap()).unwrap();
    let has = |message: &str, name: &str| newest.messages[message].values().any(|field| field.name == name);
    for feature in &overlay().features {
        match &feature.handshake {
            Handshake::StatusFeature { field, .. } => assert!(has("RuntimeFeatures", field), "{}", feature.id),
            Handshake::RuntimeHandlerFeature { field, .. } => {
                assert!(has("RuntimeHandlerFeatures", field), "{}", feature.id);
            }
            Handshake::Unimplemented => assert!(feature.covers.iter().any(|name| name.contains('/')), "{}", feature.id),
            _ => {}
        }
    }
    let announced =
        newest.messages["RuntimeFeatures"].values().chain(newest.messages["RuntimeHandlerFeatures"].values());
    for field in announced.map(|field| &field.name) {
        let reads = |feature: &Feature| {
            matches!(&feature.handshake, Handshake::StatusFeature { field: name, .. }
            | Handshake::RuntimeHandlerFeature { field: name, .. } if name == field)
        };
        assert!(overlay().features.iter().any(reads), "nothing is announced by {field}");
    }
}

#[test]
fn a_feature_of_patch_releases_is_where_its_minor_has_it() {
    let bytes = feature("env-bytes");
    for at in ["1.34.9", "1.34.10", "1.35.6", "1.36.2", "1.37.0"] {
        assert!(bytes.is_in(release(at)), "{at}");
    }
    for at in ["1.33.13", "1.34.8", "1.35.0", "1.35.5", "1.36.1"] {
        assert!(!bytes.is_in(release(at)), "{at}");
    }
}

#[test]
fn what_is_missing_depends_on_who_is_younger() {
    let missing = |kubelet: &str, runtime: &str| -> Vec<&str> {
        overlay().missing_between(release(kubelet), release(runtime)).map(|feature| feature.id.as_str()).collect()
    };
    assert_eq!(missing("1.33.13", "1.33.13"), Vec::<&str>::new());
    let newer_kubelet = missing("1.33.0", "1.32.0");
    assert!(newer_kubelet.contains(&"stop-signal") && newer_kubelet.contains(&"host-port-zero"), "{newer_kubelet:?}");
    assert_eq!(missing("1.32.0", "1.33.0"), ["host-port-zero", "windows-host-network-withdrawn"]);
    assert_eq!(missing("1.34.8", "1.34.9"), ["env-bytes"]);
    assert_eq!(missing("1.34.9", "1.34.8"), ["env-bytes"]);
    assert!(missing("1.30.0", "1.25.0").contains(&"windows-host-network"));
    assert!(!missing("1.33.0", "1.25.0").contains(&"windows-host-network"), "kubelets no longer ask for it");
}

#[test]
fn a_kubelet_that_does_not_look_is_told_apart() {
    let namespaces = feature("user-namespaces");
    assert_eq!(namespaces.severity_with(release("1.29.0")), Severity::Wrong);
    assert_eq!(namespaces.severity_with(release("1.30.0")), Severity::Fails);
    assert!(Severity::Harmless < Severity::Degraded && Severity::Fails < Severity::Wrong);
}

#[test]
fn a_broken_overlay_is_an_error() {
    for text in ["feature = 1", "[[feature]]\nid = \"x\"", "[[feature]]\nunknown = true"] {
        assert!(matches!(Overlay::parse(text), Err(Error::Overlay { .. })), "{text}");
    }
}
