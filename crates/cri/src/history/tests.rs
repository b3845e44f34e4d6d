#![allow(clippy::unwrap_used, clippy::panic)]

mod compiled;

use super::*;

fn history() -> &'static History {
    History::embedded().unwrap()
}

fn release(text: &str) -> Release {
    text.parse().unwrap()
}

fn type_of(at: &str, message: &str, number: i32) -> Option<String> {
    let snapshot = history().v1.in_release(release(at)).unwrap();
    snapshot.messages.get(message)?.get(&number).map(|field| format!("{} {}", field.field_type, field.name))
}

#[test]
fn the_newest_release_has_43_rpcs_175_messages_and_478_fields() {
    let newest = history().v1.in_release(history().v1.newest().unwrap()).unwrap();
    assert_eq!(newest.release, release("1.37.0"));
    assert_eq!((newest.rpcs.len(), newest.messages.len(), newest.field_count()), (43, 175, 478));
}

#[test]
fn a_patch_release_can_change_a_type() {
    for at in ["1.20.0", "1.34.8", "1.35.0", "1.35.5", "1.36.1"] {
        assert_eq!(type_of(at, "KeyValue", 2).as_deref(), Some("string value"), "{at}");
    }
    // 1.34.99 has not been released; the range says it will have the change.
    for at in ["1.34.9", "1.34.99", "1.35.6", "1.36.2", "1.37.0"] {
        assert_eq!(type_of(at, "KeyValue", 2).as_deref(), Some("bytes value"), "{at}");
    }
}

#[test]
fn a_number_can_come_to_mean_another_field() {
    let field = |at| type_of(at, "ContainerEventResponse", 4);
    assert_eq!(field("1.24.17"), None);
    assert_eq!(field("1.25.16").as_deref(), Some("PodSandboxMetadata pod_sandbox_metadata"));
    assert_eq!(field("1.26.0").as_deref(), Some("PodSandboxStatus pod_sandbox_status"));
}

#[test]
fn no_release_has_two_fields_or_values_of_one_number() {
    for schema in [&history().v1, &history().v1alpha2] {
        for at in &schema.releases {
            let has = |ranges: &[Range]| ranges.iter().any(|range| range.contains(*at));
            let snapshot = schema.in_release(*at).unwrap();
            for (name, fields) in &snapshot.messages {
                let all = schema.messages[*name].fields.iter().filter(|field| has(&field.ranges)).count();
                assert_eq!(fields.len(), all, "{name} in {at}");
            }
            for (name, values) in &snapshot.enums {
                let all = schema.enums[*name].values.iter().filter(|value| has(&value.ranges)).count();
                assert_eq!(values.len(), all, "{name} in {at}");
            }
        }
    }
}

#[test]
fn v1alpha2_lacks_the_two_rpcs_of_1_25() {
    let alpha = history().v1alpha2.in_release(release("1.25.16")).unwrap();
    let v1 = history().v1.in_release(release("1.25.16")).unwrap();
    let missing: Vec<_> = v1.rpcs.keys().filter(|name| !alpha.rpcs.contains_key(*name)).collect();
    assert_eq!(missing, [&"RuntimeService/CheckpointContainer", &"RuntimeService/GetContainerEvents"]);
}

#[test]
fn a_release_the_table_does_not_know_is_an_error() {
    let error = history().v1.in_release(release("1.99.0")).unwrap_err();
    assert_eq!(error.to_string(), "the CRI history has no release 1.99.0; it goes from 1.20 to 1.37");
    assert!(history().v1.in_release(release("2.30.0")).is_err());
    assert!(history().v1alpha2.in_release(release("1.26.0")).is_err());
}

#[test]
fn what_is_not_a_release_is_refused() {
    for text in ["", "1", "1.2", "1.2.3.4", "1.2.x", "v1.2.3", "1.-2.3", "1.2.*"] {
        assert!(text.parse::<Release>().is_err(), "{text:?}");
    }
    for text in ["1.*", ".*", "1.2.3.*", "x.y.*"] {
        assert!(Through::try_from(text.to_owned()).is_err(), "{text:?}");
    }
}

#[test]
fn field_types_read_back_as_they_were_written() {
    for text in ["string", "repeated Mount", "map<string, string>", "SecurityProfile.ProfileType", "uint64"] {
        assert_eq!(FieldType::try_from(text.to_owned()).unwrap().to_string(), text);
    }
    for text in ["", "fixed32", "repeated", "repeated map<string, string>", "map<Mount, string>", "map<string>", "A B"]
    {
        assert!(FieldType::try_from(text.to_owned()).is_err(), "{text:?}");
    }
}

#[test]
fn a_broken_table_is_an_error() {
    let empty = r#"{"releases": [], "rpcs": {}, "messages": {}, "enums": {}}"#;
    let table = format!(r#"{{"v1": {empty}, "v1alpha2": {empty}}}"#);
    assert!(matches!(History::parse(&table), Err(Error::NoReleases)));
    assert!(matches!(History::parse("{}"), Err(Error::Table(_))));
    assert!(matches!(History::parse(&table.replace("rpcs", "rcps")), Err(Error::Table(_))));
}

#[test]
fn people_name_minors_and_patch_releases() {
    let schema = &history().v1;
    let named = |text: &str| schema.release(text.parse().unwrap()).map(|release| release.to_string());
    assert_eq!(named("1.34").unwrap(), "1.34.10");
    assert_eq!(named("1.34.2").unwrap(), "1.34.2");
    for text in ["1.19", "1.38", "1.99.1", "2.30"] {
        let error = named(text).unwrap_err().to_string();
        assert_eq!(error, format!("the CRI history has no release {text}; it goes from 1.20 to 1.37"));
    }
    for text in ["", "1", "1.", ".1", "1.2.3.4", "v1.33", "1.33.x", "1.-3", "1.33 "] {
        assert!(text.parse::<ReleaseName>().is_err(), "{text:?}");
    }
}

#[test]
fn changes_lead_from_each_release_to_the_next() {
    for schema in [&history().v1, &history().v1alpha2] {
        let changes = schema.changes();
        let came = |of: &dyn Fn(&Element<'_>) -> bool| {
            changes.values().flatten().filter(|c| matches!(c.what, What::Came { .. }) && of(&c.element)).count()
        };
        let (first, last) = (schema.releases[0], schema.newest().unwrap());
        let (first, last) = (schema.in_release(first).unwrap(), schema.in_release(last).unwrap());
        assert_eq!(first.rpcs.len() + came(&|e| matches!(e, Element::Rpc { .. })), last.rpcs.len());
        assert_eq!(first.messages.len() + came(&|e| matches!(e, Element::Message { .. })), last.messages.len());
        assert_eq!(first.enums.len() + came(&|e| matches!(e, Element::Enum { .. })), last.enums.len());
    }
}

#[test]
fn what_goes_is_a_change_too() {
    let table = r#"{"releases": ["1.30.2", "1.31.2"], "rpcs": {}, "enums": {"E": {"in": [{"from": "1.30.0"}], "values": [
        {"name": "OLD", "number": 0, "in": [{"from": "1.30.0", "through": "1.30.*"}]}]}}, "messages": {
        "M": {"in": [{"from": "1.30.0", "through": "1.31.1"}], "fields": [
            {"name": "f", "number": 1, "type": "string", "in": [{"from": "1.30.0", "through": "1.31.1"}]}]}}}"#;
    let schema: Schema = serde_json::from_str(table).unwrap();
    let changes = schema.changes();
    let gone: Vec<_> = changes.iter().map(|(at, changes)| format!("{at} {}", changes[0].element)).collect();
    assert_eq!(gone, ["1.31.0 E.OLD = 0", "1.31.2 message M"]);
    assert!(changes.values().flatten().all(|change| change.what == What::Gone));
}
