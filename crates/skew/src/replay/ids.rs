//! Ids that a runtime gives, and those it gave when the calls were recorded.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;
use prost::Message;
use prost_reflect::{DynamicMessage, MapKey, MessageDescriptor, MethodDescriptor, Value};

use crate::recording::Recorded;

/// Where a runtime says an id of its own making: the message and the field.
const GIVEN: [(&str, &str); 3] = [
    ("RunPodSandboxResponse", "pod_sandbox_id"),
    ("CreateContainerResponse", "container_id"),
    ("PullImageResponse", "image_ref"),
];

/// The shortest id that is looked for within a longer text.
const SHORTEST_PART: usize = 12;

/// By the recorded id the new one.
#[derive(Debug, Default)]
pub(super) struct Ids(BTreeMap<String, String>);

impl Ids {
    /// Notes the id that an answer gives.
    pub(super) fn learn(&mut self, call: &Recorded, responses: &[Bytes], method: Option<&MethodDescriptor>) {
        let Some(output) = method.map(MethodDescriptor::output) else { return };
        let Some((_, field)) = GIVEN.into_iter().find(|(message, _)| *message == output.name()) else { return };
        let (Some(recorded), Some(now)) = (call.responses.first(), responses.first()) else { return };
        let id = |bytes: &[u8]| {
            let message = DynamicMessage::decode(output.clone(), bytes).ok()?;
            message.get_field_by_name(field)?.as_str().filter(|id| !id.is_empty()).map(str::to_owned)
        };
        if let (Some(recorded), Some(now)) = (id(&recorded.bytes), id(now)) {
            self.0.insert(recorded, now);
        }
    }

    /// A text with the new ids.
    pub(super) fn text(&self, text: &str) -> String {
        if let Some(now) = self.0.get(text) {
            return now.clone();
        }
        let long = self.0.iter().filter(|(recorded, _)| recorded.len() >= SHORTEST_PART);
        long.fold(text.to_owned(), |text, (recorded, now)| text.replace(recorded, now))
    }

    /// A message with the new ids; the bytes as they were if there is none in it.
    pub(super) fn replaced(&self, bytes: &[u8], of: Option<MessageDescriptor>) -> Bytes {
        let as_it_was = || Bytes::copy_from_slice(bytes);
        let decoded = of.and_then(|descriptor| DynamicMessage::decode(descriptor, bytes).ok());
        let Some(mut message) = decoded else { return as_it_was() };
        if self.in_message(&mut message) { message.encode_to_vec().into() } else { as_it_was() }
    }

    fn in_message(&self, message: &mut DynamicMessage) -> bool {
        message.fields_mut().fold(false, |changed, (_, value)| self.in_value(value) | changed)
    }

    fn in_value(&self, value: &mut Value) -> bool {
        match value {
            Value::String(text) => {
                let now = self.text(text);
                let changed = now != *text;
                *text = now;
                changed
            }
            Value::Message(message) => self.in_message(message),
            Value::List(list) => list.iter_mut().fold(false, |changed, value| self.in_value(value) | changed),
            Value::Map(map) => self.in_map(map),
            _ => false,
        }
    }

    fn in_map(&self, map: &mut HashMap<MapKey, Value>) -> bool {
        map.values_mut().fold(false, |changed, value| self.in_value(value) | changed)
    }
}
