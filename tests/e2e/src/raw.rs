//! Fields as bytes, for messages that no type of ours can hold.

/// A field of wire type LEN below others: the fields' numbers from the outermost, and what the innermost holds. Appended
/// to a message it adds to what is there, as the encoding says of a message that comes twice.
pub fn nested(numbers: &[u32], content: &[u8]) -> Vec<u8> {
    numbers.iter().rev().fold(content.to_vec(), |inner, number| {
        let mut outer = Vec::new();
        prost::encoding::encode_key(*number, prost::encoding::WireType::LengthDelimited, &mut outer);
        prost::encoding::encode_varint(inner.len() as u64, &mut outer);
        [outer, inner].concat()
    })
}

/// A field of wire type VARINT.
pub fn varint(number: u32, value: u64) -> Vec<u8> {
    let mut field = Vec::new();
    prost::encoding::uint64::encode(number, &value, &mut field);
    field
}
