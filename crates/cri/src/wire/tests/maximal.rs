//! A message with everything set, lowered to every release, loses exactly what the table says.

use std::collections::BTreeSet;

use prost::Message as _;
use prost_reflect::{DescriptorPool, DynamicMessage, FieldDescriptor, Kind, MapKey, MessageDescriptor, Value};

use super::*;
use crate::{DESCRIPTORS, history::Snapshot};

/// Every field set; of an enum the value with the highest number.
fn maximal(descriptor: &MessageDescriptor) -> DynamicMessage {
    let mut message = DynamicMessage::new(descriptor.clone());
    for field in descriptor.fields() {
        let value = if field.is_map() {
            let Kind::Message(entry) = field.kind() else { panic!("{field:?}") };
            let value = one(&entry.map_entry_value_field());
            Value::Map([(MapKey::String("key".into()), value)].into())
        } else if field.is_list() {
            Value::List(vec![one(&field)])
        } else {
            one(&field)
        };
        message.set_field(&field, value);
    }
    message
}

fn one(field: &FieldDescriptor) -> Value {
    match field.kind() {
        Kind::Bool => Value::Bool(true),
        Kind::Bytes => Value::Bytes(b"bytes".as_slice().into()),
        Kind::Double => Value::F64(0.5),
        Kind::Enum(values) => Value::EnumNumber(values.values().map(|value| value.number()).max().unwrap()),
        Kind::Int32 => Value::I32(-5),
        Kind::Int64 => Value::I64(i64::MIN),
        Kind::Message(nested) => Value::Message(maximal(&nested)),
        Kind::String => Value::String("text".into()),
        Kind::Uint32 => Value::U32(u32::MAX),
        Kind::Uint64 => Value::U64(u64::MAX),
        other => panic!("{other:?} in the CRI"),
    }
}

/// The paths of all fields that are set.
fn set_fields(message: &DynamicMessage, path: &str, found: &mut BTreeSet<String>) {
    assert_eq!(message.unknown_fields().count(), 0, "{path}");
    for (field, value) in message.fields() {
        let path = format!("{path}.{}", field.name());
        match value {
            Value::Message(nested) => set_fields(nested, &path, found),
            Value::List(list) => list.iter().filter_map(Value::as_message).for_each(|m| set_fields(m, &path, found)),
            Value::Map(map) => map.values().filter_map(Value::as_message).for_each(|m| set_fields(m, &path, found)),
            _ => {}
        }
        found.insert(path);
    }
}

/// The paths a release has of a maximal message of now, from the table alone.
fn expected(descriptor: &MessageDescriptor, at: &Snapshot<'_>, path: &str, found: &mut BTreeSet<String>) {
    for field in descriptor.fields() {
        let Some(then) = at.messages[descriptor.name()].get(&i32::try_from(field.number()).unwrap()) else { continue };
        let path = format!("{path}.{}", field.name());
        match field.kind() {
            Kind::Message(nested) if !field.is_map() => {
                if !then.field_type.to_string().ends_with(nested.name()) {
                    continue;
                }
                expected(&nested, at, &path, found);
            }
            Kind::Enum(values) => {
                let name = values.full_name().trim_start_matches("runtime.v1.");
                let highest = values.values().map(|value| value.number()).max().unwrap();
                if !at.enums.get(name).is_some_and(|values| values.contains_key(&highest)) {
                    continue;
                }
            }
            _ => {}
        }
        found.insert(path);
    }
}

#[test]
fn every_message_lowered_to_every_release_loses_exactly_what_the_table_says() {
    let pool = DescriptorPool::decode(DESCRIPTORS).unwrap();
    let v1 = &History::embedded().unwrap().v1;
    let mut lost_something = 0;
    for at in &v1.releases {
        let (snapshot, shapes) = (v1.in_release(*at).unwrap(), common(*at));
        for name in snapshot.messages.keys() {
            let Some(descriptor) = pool.get_message_by_name(&format!("runtime.v1.{name}")) else { continue };
            let all = maximal(&descriptor);
            let lowered = shapes.message(name).unwrap().lower(&all.encode_to_vec()).into_owned();
            let (mut seen, mut should, mut before) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
            set_fields(&DynamicMessage::decode(descriptor.clone(), &*lowered).unwrap(), name, &mut seen);
            expected(&descriptor, &snapshot, name, &mut should);
            set_fields(&all, name, &mut before);
            assert_eq!(seen, should, "{name} at {at}");
            lost_something += usize::from(before != seen);
        }
    }
    assert!(lost_something > 100, "{lost_something}");
}
