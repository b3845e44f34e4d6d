//! How much memory a message takes when it is decoded.

use super::{Message, WireType, fields::Fields, shapes::Kind};

/// What an element of a list of messages takes at most, beside its text and what lists are in it; in bytes.
pub const ELEMENT: usize = 2048;

/// What an entry of a map takes beside its text.
const ENTRY: usize = 128;

/// What a text takes beside its bytes.
const TEXT: usize = 64;

/// What a number in a list takes, however it is packed.
const NUMBER: usize = 16;

impl Message<'_> {
    /// How much memory the message takes at most when it is decoded, in bytes. On the wire an element of a list may be two
    /// bytes, in memory it is a struct.
    pub fn memory(&self, bytes: &[u8]) -> usize {
        let mut all = 0usize;
        for field in Fields::of(bytes) {
            let Some(slot) = self.shape.slot(field.number) else { continue };
            let takes = match (&slot.kind, field.wire_type) {
                (Kind::Message(index), WireType::Length) => {
                    let Some(nested) = self.nested(*index) else { continue };
                    let own = match (slot.repeated, nested.shape.is_entry) {
                        (_, true) => ENTRY,
                        (true, false) => ELEMENT,
                        (false, false) => 0,
                    };
                    nested.memory(field.value).saturating_add(own)
                }
                (Kind::Text | Kind::Bytes, WireType::Length) => field.value.len().saturating_add(TEXT),
                (_, WireType::Length) => field.value.len().saturating_mul(NUMBER),
                _ if slot.repeated => NUMBER,
                _ => 0,
            };
            all = all.saturating_add(takes);
        }
        all
    }
}
