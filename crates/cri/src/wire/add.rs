//! Adding to a message what nobody knows.

use super::{
    Message, WireType,
    fields::{Fields, put_varint},
    shapes::Kind,
};

impl Message<'_> {
    /// The message with `fields`, encoded, behind its own, and behind those of every message in it: what a newer schema's
    /// message looks like. Entries of maps, which have a key and a value in every schema, are left alone. Bytes that are no
    /// message get nothing.
    pub fn with_fields(&self, bytes: &[u8], fields: &[u8]) -> Vec<u8> {
        let mut read = Fields::of(bytes);
        let mut out = Vec::with_capacity(bytes.len() + fields.len());
        for field in read.by_ref() {
            let nested = match self.shape.slot(field.number).map(|slot| &slot.kind) {
                Some(Kind::Message(index)) if field.wire_type == WireType::Length => self.nested(*index),
                _ => None,
            };
            match nested {
                Some(nested) if !nested.shape.is_entry => {
                    let value = nested.with_fields(field.value, fields);
                    out.extend_from_slice(field.tag);
                    put_varint(&mut out, value.len() as u64);
                    out.extend_from_slice(&value);
                }
                _ => out.extend_from_slice(field.whole),
            }
        }
        if read.rest().is_empty() {
            out.extend_from_slice(fields);
        }
        out.extend_from_slice(read.rest());
        out
    }
}
