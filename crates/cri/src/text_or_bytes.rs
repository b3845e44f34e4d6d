//! Serde for `bytes` fields that are nearly always text: a string where they are UTF-8, else an array of numbers.
//! Lossless either way, and a person can read the record.

use serde::{Deserialize, Deserializer, Serializer};

pub(crate) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    match std::str::from_utf8(bytes) {
        Ok(text) => serializer.serialize_str(text),
        Err(_) => serializer.collect_seq(bytes),
    }
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Either {
        Text(String),
        Bytes(Vec<u8>),
    }
    Ok(match Either::deserialize(deserializer)? {
        Either::Text(text) => text.into_bytes(),
        Either::Bytes(bytes) => bytes,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use crate::v1::KeyValue;

    fn round_trip(value: &[u8]) -> String {
        let before = KeyValue { key: "k".into(), value: value.to_vec() };
        let json = serde_json::to_string(&before).unwrap();
        assert_eq!(serde_json::from_str::<KeyValue>(&json).unwrap(), before);
        json
    }

    #[test]
    fn text_is_text_and_anything_else_survives() {
        assert_eq!(round_trip(b"caf\xc3\xa9"), r#"{"key":"k","value":"café"}"#);
        assert_eq!(round_trip(b"\xff\x00"), r#"{"key":"k","value":[255,0]}"#);
        assert_eq!(round_trip(b""), r#"{"key":"k","value":""}"#);
    }

    #[test]
    fn a_record_without_the_field_reads_as_empty() {
        assert_eq!(serde_json::from_str::<KeyValue>("{}").unwrap(), KeyValue::default());
    }
}
