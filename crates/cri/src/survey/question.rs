//! Requests that no decoder takes.

use prost::encoding::{WireType, encode_key, encode_varint};

use super::route::Routes;
use crate::history::{Field, FieldType, Scalar, Schema, TypeName};

/// A tag of number 0, which no message may have: how every question ends.
pub(super) const UNDECODABLE: [u8; 1] = [0];

/// What is no text in UTF-8.
const NO_TEXT: [u8; 1] = [0xff];

/// The beginning of a varint that does not end.
const NO_VARINT: [u8; 1] = [0x80];

/// What a decoder expects of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A message.
    Message,
    /// A map, whose keys are texts.
    Map,
    /// A text.
    Text,
    /// A text in some releases and bytes in others.
    TextOrBytes,
    /// Several numbers in one value.
    Packed,
    /// Bytes, or one number.
    Plain,
}

/// A question for one field.
#[derive(Debug)]
pub(super) struct Question {
    /// The RPC that it is asked by.
    pub(super) rpc: &'static str,
    /// The message that the field is in.
    pub(super) message: &'static str,
    /// The fields of the history that have the number: one, but for what changed its type.
    pub(super) fields: Vec<&'static Field>,
    pub(super) kind: Kind,
    /// The fields down to the message.
    down: Vec<i32>,
    /// The fields down to a text that the runtime is sure to know. It gets what is no text, for decoders that do not
    /// tell a bad message from a bad end.
    pub(super) text: Option<Vec<i32>>,
}

/// A question for every number that a message of a request ever had.
pub(super) fn all(schema: &'static Schema, routes: &Routes) -> Vec<Question> {
    let mut questions: Vec<Question> = Vec::new();
    for (message, route) in &routes.to {
        let fields = schema.messages.get(*message).map(|message| message.fields.as_slice()).unwrap_or_default();
        let mut numbers: Vec<i32> = fields.iter().map(|field| field.number).collect();
        numbers.sort_unstable();
        numbers.dedup();
        questions.extend(numbers.into_iter().filter_map(|number| {
            let fields: Vec<&Field> = fields.iter().filter(|field| field.number == number).collect();
            let kind = kind(schema, &fields)?;
            let text = matches!(kind, Kind::Message | Kind::Packed).then(|| routes.text(route.rpc)).flatten();
            let (down, text) = (route.numbers.clone(), text.map(<[i32]>::to_vec));
            Some(Question { rpc: route.rpc, message, fields, kind, down, text })
        }));
    }
    questions
}

/// The kind of the fields of one number; nothing if they have nothing in common.
fn kind(schema: &Schema, fields: &[&Field]) -> Option<Kind> {
    let kinds: Vec<Kind> = fields.iter().map(|field| kind_of(schema, &field.field_type)).collect();
    match kinds.as_slice() {
        [only] => Some(*only),
        [Kind::Text, Kind::Plain] | [Kind::Plain, Kind::Text] => Some(Kind::TextOrBytes),
        [first, rest @ ..] if rest.iter().all(|kind| kind == first) => Some(*first),
        _ => None,
    }
}

fn kind_of(schema: &Schema, field_type: &FieldType) -> Kind {
    match field_type {
        FieldType::Map(..) => Kind::Map,
        FieldType::Single(TypeName::Scalar(Scalar::String)) | FieldType::Repeated(TypeName::Scalar(Scalar::String)) => {
            Kind::Text
        }
        FieldType::Single(TypeName::Named(name)) | FieldType::Repeated(TypeName::Named(name))
            if schema.messages.contains_key(name) =>
        {
            Kind::Message
        }
        FieldType::Repeated(TypeName::Scalar(Scalar::Bytes)) | FieldType::Single(_) => Kind::Plain,
        FieldType::Repeated(_) => Kind::Packed,
    }
}

impl Question {
    /// The request.
    pub(super) fn bytes(&self) -> Vec<u8> {
        let number = self.fields.first().map_or(0, |field| field.number);
        let mut asked = Vec::new();
        match self.kind {
            // prost takes a map's entry whatever its wire type is; the key comes first there.
            Kind::Map => {
                length(number, &length_of(1, &NO_TEXT), &mut asked);
                fixed32(number, &mut asked);
            }
            // Here the text itself is the question; that the number is known is beyond doubt.
            Kind::TextOrBytes => length(number, &NO_TEXT, &mut asked),
            Kind::Message => {
                fixed32(number, &mut asked);
                length(number, &UNDECODABLE, &mut asked);
            }
            Kind::Text => {
                fixed32(number, &mut asked);
                length(number, &NO_TEXT, &mut asked);
            }
            Kind::Packed => {
                fixed32(number, &mut asked);
                length(number, &NO_VARINT, &mut asked);
            }
            Kind::Plain => fixed32(number, &mut asked),
        }
        let mut request = nested(&self.down, asked);
        if let Some(text) = &self.text {
            request.extend(nested_text(text));
        }
        request.extend(UNDECODABLE);
        request
    }
}

/// A wire type that no field of the CRI has.
fn fixed32(number: i32, to: &mut Vec<u8>) {
    encode_key(number.unsigned_abs(), WireType::ThirtyTwoBit, to);
    to.extend([0; 4]);
}

fn length(number: i32, content: &[u8], to: &mut Vec<u8>) {
    encode_key(number.unsigned_abs(), WireType::LengthDelimited, to);
    encode_varint(content.len() as u64, to);
    to.extend(content);
}

fn length_of(number: i32, content: &[u8]) -> Vec<u8> {
    let mut field = Vec::new();
    length(number, content, &mut field);
    field
}

fn nested(down: &[i32], content: Vec<u8>) -> Vec<u8> {
    down.iter().rev().fold(content, |inner, number| length_of(*number, &inner))
}

fn nested_text(down: &[i32]) -> Vec<u8> {
    nested(down, NO_TEXT.to_vec())
}
