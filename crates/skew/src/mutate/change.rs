//! Changing one field of a message.

use std::fmt;

use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, ReflectMessage, Value};

/// What becomes of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Change {
    /// It is not there.
    Lost,
    /// It has another value.
    Changed,
    /// The last element is not there.
    LastLost,
    /// The first element is there twice.
    FirstTwice,
    /// The first two elements have each other's id.
    Swapped,
}

impl Change {
    /// Those that a field of this kind can undergo.
    pub fn of(field: &FieldDescriptor) -> Vec<Self> {
        let is_message = matches!(field.kind(), Kind::Message(_));
        if field.is_map() {
            return vec![Self::Lost, Self::LastLost, Self::Changed];
        }
        if field.is_list() {
            let mut changes = vec![Self::Lost, Self::LastLost, Self::FirstTwice];
            if id_of(field).is_some() {
                changes.push(Self::Swapped);
            }
            return changes;
        }
        match field.kind() {
            _ if is_message => vec![Self::Lost],
            Kind::Bool | Kind::Enum(_) => vec![Self::Changed],
            _ => vec![Self::Lost, Self::Changed],
        }
    }

    /// Changes the field at the end of a path in a message, everywhere where there is one. Whether there was.
    pub fn apply(self, message: &mut DynamicMessage, path: &[u32]) -> bool {
        let Some((number, rest)) = path.split_first() else { return false };
        let Some(field) = message.descriptor().get_field(*number) else { return false };
        if rest.is_empty() {
            return self.field(message, &field);
        }
        if !message.has_field(&field) {
            return false;
        }
        match message.get_field_mut(&field) {
            Value::Message(inner) => self.apply(inner, rest),
            Value::List(elements) => {
                let mut any = false;
                for element in elements {
                    if let Value::Message(inner) = element {
                        any |= self.apply(inner, rest);
                    }
                }
                any
            }
            _ => false,
        }
    }

    fn field(self, message: &mut DynamicMessage, field: &FieldDescriptor) -> bool {
        // Of these the default value is one like any other.
        let plain = !field.is_list() && !field.is_map() && !field.supports_presence();
        let counts = plain && self == Self::Changed && !matches!(field.kind(), Kind::String | Kind::Bytes);
        if !message.has_field(field) && !counts {
            return false;
        }
        match (self, message.get_field_mut(field)) {
            (Self::Lost, _) => {
                message.clear_field(field);
                true
            }
            (Self::Changed, Value::Map(entries)) => {
                entries.values_mut().fold(false, |any, value| any | other(value, field))
            }
            (Self::Changed, value) => other(value, field),
            (Self::LastLost, Value::List(elements)) => elements.pop().is_some(),
            (Self::LastLost, Value::Map(entries)) => {
                let first = entries.keys().next().cloned();
                first.is_some_and(|key| entries.remove(&key).is_some())
            }
            (Self::FirstTwice, Value::List(elements)) => {
                let first = elements.first().cloned();
                elements.extend(first);
                !elements.is_empty()
            }
            (Self::Swapped, Value::List(elements)) => swap(elements, field),
            _ => false,
        }
    }
}

/// Another value in place of one.
fn other(value: &mut Value, field: &FieldDescriptor) -> bool {
    match value {
        Value::String(text) => text.push_str("-mutated"),
        Value::Bytes(bytes) => *bytes = [&bytes[..], b"-mutated"].concat().into(),
        Value::Bool(is) => *is = !*is,
        Value::I32(number) => *number = number.wrapping_add(1),
        Value::U32(number) => *number = number.wrapping_add(1),
        Value::U64(number) => *number = number.wrapping_add(DAY),
        Value::I64(number) if is_small(field) => *number = number.wrapping_add(1),
        // A time in nanoseconds: a day later.
        Value::I64(number) => *number = number.wrapping_add(DAY.cast_signed()),
        Value::EnumNumber(number) => {
            let Kind::Enum(kind) = field.kind() else { return false };
            let Some(another) = kind.values().map(|value| value.number()).find(|known| known != number) else {
                return false;
            };
            *number = another;
        }
        _ => return false,
    }
    true
}

const DAY: u64 = 24 * 60 * 60 * 1_000_000_000;

/// Whether a signed number is no time.
fn is_small(field: &FieldDescriptor) -> bool {
    !field.name().ends_with("_at") && field.name() != "timestamp"
}

/// The field that a list's elements are told apart by.
fn id_of(field: &FieldDescriptor) -> Option<FieldDescriptor> {
    match field.kind() {
        Kind::Message(element) => element.get_field_by_name("id").filter(|id| id.kind() == Kind::String),
        _ => None,
    }
}

fn swap(elements: &mut [Value], field: &FieldDescriptor) -> bool {
    let (Some(id), [Value::Message(first), Value::Message(second), ..]) = (id_of(field), elements) else {
        return false;
    };
    let one = first.get_field(&id).into_owned();
    let two = second.get_field(&id).into_owned();
    first.set_field(&id, two);
    second.set_field(&id, one);
    true
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Lost => "lost",
            Self::Changed => "changed",
            Self::LastLost => "one-lost",
            Self::FirstTwice => "one-twice",
            Self::Swapped => "ids-swapped",
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use corten_cri::v1::{Container, ListContainersResponse};
    use prost_reflect::prost::Message;

    use super::*;
    use crate::mutate::schema;

    fn mutated(change: Change, path: &[u32], ids: &[&str]) -> (bool, Vec<String>) {
        let container = |id: &&str| Container { id: (*id).to_owned(), ..Default::default() };
        let before = ListContainersResponse { containers: ids.iter().map(container).collect() };
        let rpc = schema::rpc("RuntimeService/ListContainers").unwrap();
        let mut message = schema::response(&rpc, &before.encode_to_vec().into()).unwrap();
        let applied = change.apply(&mut message, path);
        let after = ListContainersResponse::decode(message.encode_to_vec().as_slice()).unwrap();
        (applied, after.containers.into_iter().map(|container| container.id).collect())
    }

    #[test]
    fn elements_are_lost_doubled_swapped_and_changed() {
        type Case = (Change, &'static [u32], &'static [&'static str], (bool, &'static [&'static str]));
        let cases: [Case; 7] = [
            (Change::LastLost, &[1], &["a", "b"], (true, &["a"])),
            (Change::FirstTwice, &[1], &["a", "b"], (true, &["a", "b", "a"])),
            (Change::Swapped, &[1], &["a", "b"], (true, &["b", "a"])),
            (Change::Lost, &[1], &["a", "b"], (true, &[])),
            (Change::Changed, &[1, 1], &["a", "b"], (true, &["a-mutated", "b-mutated"])),
            (Change::Swapped, &[1], &["a"], (false, &["a"])),
            (Change::Lost, &[1], &[], (false, &[])),
        ];
        for (change, path, before, (applied, after)) in cases {
            let after: Vec<String> = after.iter().map(|id| (*id).to_owned()).collect();
            assert_eq!(mutated(change, path, before), (applied, after), "{change} {path:?}");
        }
    }
}
