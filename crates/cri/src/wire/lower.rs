//! Taking out of a message what a schema does not have.

use std::borrow::Cow;

use prost::encoding::encode_varint;

use super::{
    Message, WireType,
    fields::{Field, Fields, varint},
    shapes::Kind,
};

/// What becomes of a field.
enum Fate<'a> {
    Stays,
    Goes,
    Becomes(Cow<'a, [u8]>),
}

impl Message<'_> {
    /// The message without the fields and the values of enums that the schema does not have, at any depth. What stays is
    /// byte for byte as it was. Bytes that are no message stay too, for the decoder to refuse.
    pub fn lower<'b>(&self, bytes: &'b [u8]) -> Cow<'b, [u8]> {
        let mut fields = Fields::of(bytes);
        let mut kept = 0;
        let mut out: Option<Vec<u8>> = None;
        for field in fields.by_ref() {
            match self.fate(&field) {
                Fate::Stays => {
                    if let Some(out) = &mut out {
                        out.extend_from_slice(field.whole);
                    }
                }
                changed => {
                    let out = out.get_or_insert_with(|| bytes.get(..kept).unwrap_or_default().to_vec());
                    if let Fate::Becomes(value) = changed {
                        out.extend_from_slice(field.tag);
                        encode_varint(value.len() as u64, out);
                        out.extend_from_slice(&value);
                    }
                }
            }
            kept += field.whole.len();
        }
        match out {
            None => Cow::Borrowed(bytes),
            Some(mut out) => {
                out.extend_from_slice(fields.rest());
                Cow::Owned(out)
            }
        }
    }

    fn fate<'a>(&self, field: &Field<'a>) -> Fate<'a> {
        let Some(slot) = self.shape.slot(field.number) else { return Fate::Goes };
        match (&slot.kind, field.wire_type) {
            (Kind::Message(index), WireType::Length) => {
                match self.nested(*index).map(|nested| nested.lower(field.value)) {
                    Some(Cow::Owned(lowered)) => Fate::Becomes(Cow::Owned(lowered)),
                    _ => Fate::Stays,
                }
            }
            (Kind::Enum(values), WireType::Varint) => match varint(field.value) {
                Some((value, _)) if !has(values, value) => Fate::Goes,
                _ => Fate::Stays,
            },
            (Kind::Enum(values), WireType::Length) => packed(values, field.value),
            _ => Fate::Stays,
        }
    }
}

/// Whether an enum has a value; as a decoder does, only the lower half of the number counts.
fn has(values: &[i32], value: u64) -> bool {
    let [a, b, c, d, ..] = value.to_le_bytes();
    values.binary_search(&i32::from_le_bytes([a, b, c, d])).is_ok()
}

/// A packed list of an enum's values.
fn packed<'a>(values: &[i32], list: &'a [u8]) -> Fate<'a> {
    let (mut rest, mut out, mut all) = (list, Vec::new(), true);
    while !rest.is_empty() {
        let Some((value, next)) = varint(rest) else { return Fate::Stays };
        if has(values, value) {
            encode_varint(value, &mut out);
        } else {
            all = false;
        }
        rest = next;
    }
    if all { Fate::Stays } else { Fate::Becomes(Cow::Owned(out)) }
}
