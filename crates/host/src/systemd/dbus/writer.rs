//! Marshalling: values as bytes, each aligned to its size.

/// A value in a variant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// `b`
    Bool(bool),
    /// `t`
    U64(u64),
    /// `s`
    Text(String),
    /// `ay`
    Bytes(Vec<u8>),
    /// `au`
    Numbers(Vec<u32>),
}

impl Value {
    fn signature(&self) -> &'static str {
        match self {
            Self::Bool(_) => "b",
            Self::U64(_) => "t",
            Self::Text(_) => "s",
            Self::Bytes(_) => "ay",
            Self::Numbers(_) => "au",
        }
    }
}

/// Bytes in the making; little-endian.
#[derive(Debug, Default)]
pub struct Writer(Vec<u8>);

impl Writer {
    /// The bytes so far.
    pub fn finish(self) -> Vec<u8> {
        self.0
    }

    /// Zeroes up to the next multiple.
    pub fn align(&mut self, to: usize) {
        self.0.resize(self.0.len().next_multiple_of(to), 0);
    }

    /// `y`
    pub fn byte(&mut self, value: u8) {
        self.0.push(value);
    }

    /// `u`
    pub fn number(&mut self, value: u32) {
        self.align(4);
        self.0.extend(value.to_le_bytes());
    }

    /// `b`
    pub fn bool(&mut self, value: bool) {
        self.number(value.into());
    }

    /// `s`, `o`
    pub fn text(&mut self, text: &str) {
        // What is sent here is of our own making and short.
        self.number(text.len() as u32);
        self.0.extend(text.as_bytes());
        self.0.push(0);
    }

    /// `g`
    pub fn signature(&mut self, signature: &str) {
        self.0.push(signature.len() as u8);
        self.0.extend(signature.as_bytes());
        self.0.push(0);
    }

    /// `v`
    pub fn variant(&mut self, value: &Value) {
        self.signature(value.signature());
        match value {
            Value::Bool(value) => self.bool(*value),
            Value::U64(value) => {
                self.align(8);
                self.0.extend(value.to_le_bytes());
            }
            Value::Text(text) => self.text(text),
            Value::Bytes(bytes) => self.array(1, |writer| writer.0.extend(bytes)),
            Value::Numbers(numbers) => self.array(4, |writer| numbers.iter().for_each(|number| writer.number(*number))),
        }
    }

    /// An array of elements with this alignment. Its length counts from the first one, which may be after some padding.
    pub fn array(&mut self, alignment: usize, elements: impl FnOnce(&mut Self)) {
        self.number(0);
        let length_at = self.0.len() - size_of::<u32>();
        self.align(alignment);
        let begin = self.0.len();
        elements(self);
        let length = (self.0.len() - begin) as u32;
        self.0[length_at..length_at + size_of::<u32>()].copy_from_slice(&length.to_le_bytes());
    }

    /// `a(sv)`
    pub fn properties(&mut self, properties: &[(&str, Value)]) {
        self.array(8, |writer| {
            for (name, value) in properties {
                writer.align(8);
                writer.text(name);
                writer.variant(value);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_aligned_and_arrays_count_from_their_first_element() {
        let mut writer = Writer::default();
        writer.byte(7);
        writer.text("ab");
        assert_eq!(writer.finish(), b"\x07\0\0\0\x02\0\0\0ab\0");
        let mut writer = Writer::default();
        writer.properties(&[("P", Value::U64(5))]);
        assert_eq!(writer.finish(), b"\x18\0\0\0\0\0\0\0\x01\0\0\0P\0\x01t\0\0\0\0\0\0\0\0\x05\0\0\0\0\0\0\0");
    }

    #[test]
    fn an_empty_array_of_structures_is_padded_all_the_same() {
        let mut writer = Writer::default();
        writer.properties(&[]);
        assert_eq!(writer.finish(), [0; 8]);
    }

    #[test]
    fn arrays_of_numbers_and_bytes() {
        let mut writer = Writer::default();
        writer.variant(&Value::Numbers(vec![1, 2]));
        assert_eq!(writer.finish(), b"\x02au\0\x08\0\0\0\x01\0\0\0\x02\0\0\0");
        let mut writer = Writer::default();
        writer.variant(&Value::Bytes(vec![3, 0]));
        assert_eq!(writer.finish(), b"\x02ay\0\x02\0\0\0\x03\0");
    }
}
