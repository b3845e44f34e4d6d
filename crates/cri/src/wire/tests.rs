#![allow(clippy::unwrap_used, clippy::panic)]

mod maximal;

use proptest::prelude::*;
use prost::Message as _;

use super::*;
use crate::{
    history::{History, Release},
    v1,
};

fn release(text: &str) -> Release {
    text.parse().unwrap()
}

fn shapes(at: &str) -> Shapes {
    Shapes::of(&History::embedded().unwrap().v1.in_release(release(at)).unwrap())
}

/// What a release and the newest have in common: what the proxy lowers by.
fn common(at: Release) -> Shapes {
    let v1 = &History::embedded().unwrap().v1;
    let newest = v1.in_release(v1.newest().unwrap()).unwrap();
    Shapes::common(&v1.in_release(at).unwrap(), &[&newest])
}

fn create(mount: v1::Mount) -> v1::CreateContainerRequest {
    let config = v1::ContainerConfig { mounts: vec![mount], ..Default::default() };
    v1::CreateContainerRequest { pod_sandbox_id: "pod".into(), config: Some(config), ..Default::default() }
}

fn mount() -> v1::Mount {
    v1::Mount { container_path: "/data".into(), recursive_read_only: true, readonly: true, ..Default::default() }
}

#[test]
fn what_a_release_has_is_left_byte_for_byte() {
    let bytes = create(mount()).encode_to_vec();
    let newest = Shapes::compiled().unwrap();
    assert!(matches!(newest.message("CreateContainerRequest").unwrap().lower(&bytes), std::borrow::Cow::Borrowed(_)));
}

#[test]
fn a_younger_field_goes_at_any_depth() {
    let bytes = create(mount()).encode_to_vec();
    let lowered = shapes("1.29.15").message("CreateContainerRequest").unwrap().lower(&bytes).into_owned();
    let expected = create(v1::Mount { recursive_read_only: false, ..mount() });
    assert_eq!(lowered, expected.encode_to_vec());
}

#[test]
fn a_younger_value_of_an_enum_goes_alone_or_in_a_list() {
    let history = r#"{"v1": V, "v1alpha2": V}"#.replace(
        'V',
        r#"{"releases": ["1.20.0", "1.21.0"], "rpcs": {}, "messages": {"M": {"in": [{"from": "1.20.0"}], "fields": [
            {"name": "one", "number": 1, "type": "E", "in": [{"from": "1.20.0"}]},
            {"name": "list", "number": 2, "type": "repeated E", "in": [{"from": "1.20.0"}]}]}},
          "enums": {"E": {"in": [{"from": "1.20.0"}], "values": [
            {"name": "A", "number": 0, "in": [{"from": "1.20.0"}]},
            {"name": "B", "number": -1, "in": [{"from": "1.20.0"}]},
            {"name": "C", "number": 300, "in": [{"from": "1.21.0"}]}]}}}"#,
    );
    let history = History::parse(&history).unwrap();
    let shapes = Shapes::of(&history.v1.in_release(release("1.20.0")).unwrap());
    let message = shapes.message("M").unwrap();
    let minus_one = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
    let single = |value: &[u8]| [&[0x08], value].concat();
    assert!(message.lower(&single(&[0xac, 0x02])).is_empty());
    assert_eq!(*message.lower(&single(&minus_one)), single(&minus_one));
    let list = |values: &[u8]| [&[0x12, u8::try_from(values.len()).unwrap()], values].concat();
    let lowered = message.lower(&list(&[&[0x00, 0xac, 0x02][..], &minus_one].concat())).into_owned();
    assert_eq!(lowered, list(&[&[0x00][..], &minus_one].concat()));
    assert_eq!(*message.lower(&[0x10, 0xac, 0x02, 0x10, 0x00]), [0x10, 0x00]);
}

#[test]
fn a_number_that_meant_another_message_goes() {
    let event = v1::ContainerEventResponse {
        container_id: "c".into(),
        pod_sandbox_status: Some(v1::PodSandboxStatus { id: "p".into(), ..Default::default() }),
        ..Default::default()
    };
    let shapes = common(release("1.25.16"));
    let lowered = shapes.message("ContainerEventResponse").unwrap().lower(&event.encode_to_vec()).into_owned();
    assert_eq!(lowered, v1::ContainerEventResponse { pod_sandbox_status: None, ..event }.encode_to_vec());
}

#[test]
fn text_that_is_not_utf8_is_found_where_a_release_has_text() {
    let config = v1::ContainerConfig {
        envs: vec![v1::KeyValue { key: "K".into(), value: b"\xff".to_vec() }],
        ..Default::default()
    };
    let bytes = v1::CreateContainerRequest { config: Some(config), ..Default::default() }.encode_to_vec();
    let found = |at: &str| shapes(at).message("CreateContainerRequest").unwrap().invalid_text(&bytes);
    assert_eq!(found("1.36.1").as_deref(), Some("config.envs.value"));
    assert_eq!(found("1.36.2"), None);
}

#[test]
fn unknown_fields_are_told_with_their_path_number_and_type() {
    let mut bytes = create(mount()).encode_to_vec();
    bytes.extend([0xa8, 0x06, 0x01]); // 101: a number
    let older = shapes("1.29.15");
    let found = older.message("CreateContainerRequest").unwrap().unknown(&bytes);
    let told: Vec<_> = found.fields.iter().map(|f| (f.path.as_str(), f.number, f.wire_type.name(), f.count)).collect();
    assert_eq!(
        told,
        [("CreateContainerRequest.config.mounts", 8, "VARINT", 1), ("CreateContainerRequest", 101, "VARINT", 1),]
    );
    assert_eq!(found.fields[0].within, ["CreateContainerRequest", "ContainerConfig", "Mount"]);
    assert!(Shapes::compiled().unwrap().message("CreateContainerRequest").unwrap().unknown(&[]).is_empty());
}

#[test]
fn a_field_of_a_maps_entry_is_unknown_too() {
    // A label whose entry has a third field.
    let entry = [0x0a, 0x01, b'k', 0x12, 0x01, b'v', 0x18, 0x01];
    let config = [&[0x32, 0x08][..], &entry].concat();
    let found = Shapes::compiled().unwrap().message("PodSandboxConfig").unwrap().unknown(&config);
    assert_eq!(found.fields.len(), 1);
    assert_eq!((found.fields[0].path.as_str(), found.fields[0].number), ("PodSandboxConfig.labels", 3));
}

#[test]
fn what_nobody_knows_is_added_to_every_message_and_found_again() {
    let message = Shapes::compiled().unwrap().message("CreateContainerRequest").unwrap();
    let mut request = create(mount());
    request.sandbox_config =
        Some(v1::PodSandboxConfig { labels: [("k".into(), "v".into())].into(), ..Default::default() });
    let bytes = request.encode_to_vec();
    let added = message.with_fields(&bytes, &[0xa8, 0x06, 0x01]);
    let found = message.unknown(&added).fields;
    let paths: Vec<_> = found.iter().map(|field| (field.path.as_str(), field.number)).collect();
    let root = "CreateContainerRequest";
    let expected = [".config.mounts", ".config", ".sandbox_config", ""].map(|path| (format!("{root}{path}"), 101));
    assert_eq!(paths, expected.each_ref().map(|(path, number)| (path.as_str(), *number)));
    assert_eq!(*message.lower(&added), bytes);
    assert_eq!(v1::CreateContainerRequest::decode(&added[..]).unwrap(), request);
    assert_eq!(message.with_fields(&[0x00], &[0xa8, 0x06, 0x01]), [0x00]);
}

#[test]
fn values_are_put_into_every_enum_and_nowhere_else() {
    let message = Shapes::compiled().unwrap().message("CreateContainerRequest").unwrap();
    let mut request = create(mount());
    let added = message.with_values(&request.encode_to_vec(), 100);
    let config = request.config.as_mut().unwrap();
    (config.stop_signal, config.mounts[0].propagation) = (100, 100);
    assert_eq!(v1::CreateContainerRequest::decode(&added[..]).unwrap(), request);
    // What no schema has goes where a release does not have it.
    let lowered = v1::CreateContainerRequest::decode(&*message.lower(&added)).unwrap();
    assert_eq!(lowered, create(mount()));
    assert_eq!(message.with_values(&[0x00], 100), [0x00]);
}

#[test]
fn a_flood_of_unknown_fields_is_counted() {
    let mut bytes = Vec::new();
    for number in 1000..2000u64 {
        prost::encoding::encode_varint(number << 3, &mut bytes);
        bytes.push(0);
    }
    let twice = [bytes.clone(), bytes].concat();
    let found = Shapes::compiled().unwrap().message("VersionRequest").unwrap().unknown(&twice);
    assert_eq!((found.fields.len(), found.more), (MAX_UNKNOWN, 2 * (1000 - MAX_UNKNOWN as u64)));
    assert!(found.fields.iter().all(|field| field.count == 2));
}

#[test]
fn what_is_no_message_is_kept_for_the_decoder_to_refuse() {
    let shapes = shapes("1.29.15");
    let message = shapes.message("VersionRequest").unwrap();
    let unknown = [0xa8, 0x06, 0x01];
    let broken: [&[u8]; 7] = [&[0x00], &[0x0a, 0x05, b'x'], &[0x80], &[0x0e], &[0x0c], &[0x0b, 0x14], &[0x09, 1, 2, 3]];
    for tail in broken {
        assert_eq!(*message.lower(&[&unknown, tail].concat()), *tail, "{tail:?}");
        assert!(v1::VersionRequest::decode(tail).is_err(), "{tail:?}");
    }
}

#[test]
fn a_group_is_one_unknown_field() {
    let shapes = Shapes::compiled().unwrap();
    let message = shapes.message("VersionRequest").unwrap();
    let group = [0x2b, 0x08, 0x01, 0x33, 0x12, 0x01, b'x', 0x34, 0x2c]; // 5 { 1: 1, 6 { 2: "x" } }
    let found = message.unknown(&group);
    assert_eq!((found.fields.len(), found.fields[0].number, found.fields[0].wire_type), (1, 5, WireType::Group));
    assert!(message.lower(&group).is_empty());
    let deep = [vec![0x2b; 1000], vec![0x2c; 1000]].concat();
    assert_eq!(*message.lower(&deep), *deep);
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic_and_lowering_is_idempotent(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let shapes = common(release("1.25.16"));
        for name in ["CreateContainerRequest", "PodSandboxConfig", "ContainerEventResponse", "StatusResponse"] {
            let message = shapes.message(name).unwrap();
            let once = message.lower(&bytes).into_owned();
            prop_assert_eq!(&*message.lower(&once), &once[..]);
            prop_assert!(message.unknown(&once).is_empty());
            message.unknown(&bytes);
            message.invalid_text(&bytes);
        }
    }

    #[test]
    fn what_prost_decodes_is_decoded_alike_after_lowering_by_the_newest(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        let message = Shapes::compiled().unwrap().message("PodSandboxConfig").unwrap();
        if let Ok(decoded) = v1::PodSandboxConfig::decode(&bytes[..]) {
            let lowered = v1::PodSandboxConfig::decode(&*message.lower(&bytes)).unwrap();
            prop_assert_eq!(lowered.encode_to_vec().len(), decoded.encode_to_vec().len());
        }
    }
}
