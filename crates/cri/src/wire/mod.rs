//! Messages as bytes, read by a schema without being decoded.
//!
//! Decoding loses what this build does not know: prost drops it in silence. What has to see it, or must not lose it,
//! works here: the server looks for fields it does not know before it decodes, and the skew proxy takes out of a message
//! what a release did not have.
//!
//! Bytes that are no message are nobody's business here: reading ends there, and whoever decodes them refuses them.
//! What is read is bounded by the input: the CRI's messages do not contain themselves, so the depth is the schema's.

mod add;
mod fields;
mod lower;
mod memory;
mod shapes;
mod unknown;

use self::{
    fields::Fields,
    shapes::{Kind, Shape},
};
pub use self::{
    fields::WireType,
    memory::ELEMENT,
    shapes::Shapes,
    unknown::{MAX_UNKNOWN, Unknown, UnknownFields},
};

/// A message of some [`Shapes`].
#[derive(Debug, Clone, Copy)]
pub struct Message<'s> {
    shapes: &'s Shapes,
    shape: &'s Shape,
}

impl<'s> Message<'s> {
    /// The message's name.
    pub fn name(&self) -> &'s str {
        &self.shape.name
    }

    /// The path of the first text of these bytes that is not UTF-8: what a Go server refuses as `string field contains
    /// invalid UTF-8`.
    pub fn invalid_text(&self, bytes: &[u8]) -> Option<String> {
        for field in Fields::of(bytes).filter(|field| field.wire_type == WireType::Length) {
            let Some(slot) = self.shape.slot(field.number) else { continue };
            let found = match &slot.kind {
                Kind::Text => std::str::from_utf8(field.value).is_err().then(String::new),
                Kind::Message(index) => self.nested(*index).and_then(|nested| nested.invalid_text(field.value)),
                Kind::Varint | Kind::Enum(_) | Kind::Fixed64 | Kind::Bytes => None,
            };
            if let Some(below) = found {
                let dot = if below.is_empty() { "" } else { "." };
                return Some(format!("{}{dot}{below}", slot.name));
            }
        }
        None
    }

    fn nested(&self, index: usize) -> Option<Self> {
        self.shapes.at(index).map(|shape| Self { shapes: self.shapes, shape })
    }
}

#[cfg(test)]
mod tests;
