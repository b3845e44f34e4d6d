//! Adding to a message what nobody knows.

use prost::encoding::{self, encode_varint};

use super::{Message, WireType, fields::Fields, shapes::Kind};

impl Message<'_> {
    /// The message with `fields`, encoded, behind its own, and behind those of every message in it: what a newer schema's
    /// message looks like. Entries of maps, which have a key and a value in every schema, are left alone. Bytes that are no
    /// message get nothing.
    pub fn with_fields(&self, bytes: &[u8], fields: &[u8]) -> Vec<u8> {
        self.with(bytes, &|_| fields.to_vec())
    }

    /// The message with this value in every enum of it and of the messages in it, set or not: what a newer schema's
    /// message looks like that says something no older one has a word for. Of two values of a field the last counts.
    pub fn with_values(&self, bytes: &[u8], value: i32) -> Vec<u8> {
        self.with(bytes, &|message: &Message<'_>| {
            let mut out = Vec::new();
            for (number, _) in message.shape.slots().filter(|(_, slot)| matches!(slot.kind, Kind::Enum(_))) {
                encoding::int32::encode(number, &value, &mut out);
            }
            out
        })
    }

    fn with(&self, bytes: &[u8], more: &impl Fn(&Message<'_>) -> Vec<u8>) -> Vec<u8> {
        let mut read = Fields::of(bytes);
        let mut out = Vec::with_capacity(bytes.len());
        for field in read.by_ref() {
            let nested = match self.shape.slot(field.number).map(|slot| &slot.kind) {
                Some(Kind::Message(index)) if field.wire_type == WireType::Length => self.nested(*index),
                _ => None,
            };
            match nested {
                Some(nested) if !nested.shape.is_entry => {
                    let value = nested.with(field.value, more);
                    out.extend_from_slice(field.tag);
                    encode_varint(value.len() as u64, &mut out);
                    out.extend_from_slice(&value);
                }
                _ => out.extend_from_slice(field.whole),
            }
        }
        if read.rest().is_empty() {
            out.extend_from_slice(&more(self));
        }
        out.extend_from_slice(read.rest());
        out
    }
}
