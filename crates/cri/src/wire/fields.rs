//! The fields of a message as they are on the wire: tags and values, nothing decoded.

/// How a value is laid out, the low three bits of a tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum WireType {
    /// A number of up to ten bytes: integers, booleans and enums.
    Varint,
    /// Eight bytes: `double` and its kin.
    Fixed64,
    /// A length and that many bytes: strings, bytes, messages, maps and packed numbers.
    Length,
    /// Fields up to the end of the group; proto3 has none.
    Group,
    /// Four bytes.
    Fixed32,
}

impl WireType {
    /// The name in the specification of the encoding.
    pub fn name(self) -> &'static str {
        match self {
            Self::Varint => "VARINT",
            Self::Fixed64 => "I64",
            Self::Length => "LEN",
            Self::Group => "SGROUP",
            Self::Fixed32 => "I32",
        }
    }
}

/// The tag that ends a group.
const END_GROUP: u32 = 4;

/// How deep groups may be in one another: as deep as prost follows them.
const GROUP_DEPTH: usize = 100;

/// One field of a message.
#[derive(Debug, Clone, Copy)]
pub(super) struct Field<'a> {
    pub(super) number: u32,
    pub(super) wire_type: WireType,
    /// The tag's own bytes.
    pub(super) tag: &'a [u8],
    /// What the value holds: of [`WireType::Length`] without the length.
    pub(super) value: &'a [u8],
    /// All of it, tag included.
    pub(super) whole: &'a [u8],
}

/// The fields of a message in their order. Ends at the end or where the bytes are no message any more.
pub(super) struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    pub(super) fn of(message: &'a [u8]) -> Self {
        Self { rest: message }
    }

    /// What has not been read: empty at the end of a well-formed message.
    pub(super) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    fn read(&self) -> Option<(Field<'a>, &'a [u8])> {
        let start = self.rest;
        let (number, bits, after_tag) = tag(start)?;
        let (wire_type, value, rest) = match bits {
            0 => {
                let (_, rest) = varint(after_tag)?;
                (WireType::Varint, upto(after_tag, rest)?, rest)
            }
            1 => after_tag.split_at_checked(8).map(|(value, rest)| (WireType::Fixed64, value, rest))?,
            2 => {
                let (length, content) = varint(after_tag)?;
                let (value, rest) = content.split_at_checked(usize::try_from(length).ok()?)?;
                (WireType::Length, value, rest)
            }
            3 => {
                let rest = after_group(after_tag, number)?;
                (WireType::Group, upto(after_tag, rest)?, rest)
            }
            5 => after_tag.split_at_checked(4).map(|(value, rest)| (WireType::Fixed32, value, rest))?,
            _ => return None,
        };
        let (tag, whole) = (upto(start, after_tag)?, upto(start, rest)?);
        Some((Field { number, wire_type, tag, value, whole }, rest))
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Field<'a>;

    fn next(&mut self) -> Option<Field<'a>> {
        let (field, rest) = self.read()?;
        self.rest = rest;
        Some(field)
    }
}

/// What of `all` is before `rest`, its end.
fn upto<'a>(all: &'a [u8], rest: &[u8]) -> Option<&'a [u8]> {
    all.get(..all.len().checked_sub(rest.len())?)
}

/// A field's number and the bits of its wire type, and what follows.
fn tag(bytes: &[u8]) -> Option<(u32, u32, &[u8])> {
    let (tag, rest) = varint(bytes)?;
    let tag = u32::try_from(tag).ok()?;
    (tag >> 3 != 0).then_some((tag >> 3, tag & 7, rest))
}

/// A number of up to 64 bits, and what follows.
pub(super) fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut number = 0;
    for (index, byte) in bytes.iter().enumerate().take(10) {
        // The tenth byte holds the 64th bit and nothing else.
        if index == 9 && *byte > 1 {
            return None;
        }
        number |= u64::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return bytes.get(index + 1..).map(|rest| (number, rest));
        }
    }
    None
}

/// What follows a group that has begun.
fn after_group(bytes: &[u8], number: u32) -> Option<&[u8]> {
    let (mut open, mut rest) = (vec![number], bytes);
    while let Some(innermost) = open.last() {
        let (number, bits, after_tag) = tag(rest)?;
        rest = match bits {
            0 => varint(after_tag)?.1,
            1 => after_tag.get(8..)?,
            2 => {
                let (length, content) = varint(after_tag)?;
                content.get(usize::try_from(length).ok()?..)?
            }
            3 if open.len() < GROUP_DEPTH => {
                open.push(number);
                after_tag
            }
            END_GROUP if *innermost == number => {
                open.pop();
                after_tag
            }
            5 => after_tag.get(4..)?,
            _ => return None,
        };
    }
    Some(rest)
}
