//! Decoding as others do it: what they check, in which order, and their words.

use prost::encoding::decode_varint;

use crate::history::{Field, FieldType, Scalar, Snapshot, TypeName};

/// Whose ways a decoder has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flavour {
    /// gogo/protobuf: the wire type is checked, a text is not.
    Gogo,
    /// google.golang.org/protobuf: a known field of another wire type is skipped.
    Go,
    /// prost: both are checked, but the wire type of a map's entry is not.
    Prost,
}

pub struct Decoder {
    pub flavour: Flavour,
    pub snapshot: Snapshot<'static>,
}

type Decoded<T> = Result<T, String>;

const VARINT: u64 = 0;
const FIXED64: u64 = 1;
const LENGTH: u64 = 2;
const FIXED32: u64 = 5;

impl Decoder {
    pub fn decode(&self, message: &str, bytes: &[u8]) -> Decoded<()> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let key = self.varint(&mut rest)?;
            let (number, wire) = (i32::try_from(key >> 3).unwrap(), key & 7);
            if number == 0 {
                return Err(self.tag(message));
            }
            let field = self.snapshot.messages.get(message).and_then(|fields| fields.get(&number));
            let is_map = field.is_some_and(|field| matches!(field.field_type, FieldType::Map(..)));
            let wire = if is_map && self.flavour == Flavour::Prost { LENGTH } else { wire };
            let is_wrong = field.is_some_and(|field| !self.expected(&field.field_type).contains(&wire));
            match (field, is_wrong, self.flavour) {
                (Some(field), true, Flavour::Gogo) => {
                    return Err(format!("proto: wrong wireType = {wire} for field {}", field.name));
                }
                (Some(field), true, Flavour::Prost) => {
                    let at = format!("{message}.{}", field.name);
                    return Err(format!("failed to decode Protobuf message: {at}: invalid wire type: X (expected Y)"));
                }
                (Some(field), false, _) => {
                    let value = self.take(wire, &mut rest)?;
                    self.value(field, wire, value)?;
                }
                _ => drop(self.take(wire, &mut rest)?),
            }
        }
        Ok(())
    }

    fn value(&self, field: &Field, wire: u64, value: &[u8]) -> Decoded<()> {
        if wire != LENGTH {
            return Ok(());
        }
        match &field.field_type {
            FieldType::Map(..) => self.entry(value),
            FieldType::Single(name) | FieldType::Repeated(name) => match name {
                TypeName::Scalar(Scalar::String) => self.text(value),
                TypeName::Scalar(Scalar::Bytes) => Ok(()),
                TypeName::Named(name) if self.snapshot.messages.contains_key(name.as_str()) => self.decode(name, value),
                _ => self.packed(value),
            },
        }
    }

    /// A map of texts: the CRI has others, in which the survey puts nothing.
    fn entry(&self, bytes: &[u8]) -> Decoded<()> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let key = self.varint(&mut rest)?;
            if key >> 3 == 0 {
                return Err(self.tag("entry"));
            }
            let value = self.take(key & 7, &mut rest)?;
            self.text(value)?;
        }
        Ok(())
    }

    fn packed(&self, bytes: &[u8]) -> Decoded<()> {
        let mut rest = bytes;
        while !rest.is_empty() {
            self.varint(&mut rest)?;
        }
        Ok(())
    }

    fn text(&self, bytes: &[u8]) -> Decoded<()> {
        match (self.flavour, std::str::from_utf8(bytes)) {
            (Flavour::Gogo, _) | (_, Ok(_)) => Ok(()),
            (Flavour::Go, Err(_)) => Err("proto: string field contains invalid UTF-8".into()),
            (Flavour::Prost, Err(_)) => Err("X.y: invalid string value: data is not UTF-8 encoded".into()),
        }
    }

    fn expected(&self, field_type: &FieldType) -> Vec<u64> {
        let one = |name: &TypeName| match name {
            TypeName::Scalar(Scalar::String | Scalar::Bytes) => LENGTH,
            TypeName::Scalar(Scalar::Double) => FIXED64,
            TypeName::Named(name) if self.snapshot.messages.contains_key(name.as_str()) => LENGTH,
            _ => VARINT,
        };
        match field_type {
            FieldType::Map(..) => vec![LENGTH],
            FieldType::Single(name) => vec![one(name)],
            FieldType::Repeated(name) => vec![one(name), LENGTH],
        }
    }

    fn take<'b>(&self, wire: u64, rest: &mut &'b [u8]) -> Decoded<&'b [u8]> {
        let length = match wire {
            VARINT => return self.varint(rest).map(|_| &[][..]),
            FIXED64 => 8,
            LENGTH => usize::try_from(self.varint(rest)?).unwrap(),
            FIXED32 => 4,
            other => panic!("wire type {other}"),
        };
        let (value, after) = rest.split_at_checked(length).ok_or_else(|| self.form())?;
        *rest = after;
        Ok(value)
    }

    fn varint(&self, rest: &mut &[u8]) -> Decoded<u64> {
        decode_varint(rest).map_err(|_| self.form())
    }

    fn tag(&self, message: &str) -> String {
        match self.flavour {
            Flavour::Gogo => format!("proto: {message}: illegal tag 0 (wire type 0)"),
            Flavour::Go => self.form(),
            Flavour::Prost => "failed to decode Protobuf message: invalid tag value: 0".into(),
        }
    }

    fn form(&self) -> String {
        match self.flavour {
            Flavour::Gogo => "unexpected EOF".into(),
            Flavour::Go => "proto: cannot parse invalid wire-format data".into(),
            Flavour::Prost => "failed to decode Protobuf message: invalid varint".into(),
        }
    }
}
