//! Writing answers: text, or JSON and YAML in the protobuf mapping other CRI tools use.

use std::io::{self, Write};

use clap::ValueEnum;
use prost_reflect::{DescriptorPool, DynamicMessage, SerializeOptions};
use serde_json::Value;

use crate::error::Error;

/// How to write an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Table,
    /// For programs.
    Json,
    /// For both.
    Yaml,
}

/// Writes text to standard output as it is.
///
/// # Errors
/// [`Error::Output`], also when nobody reads it any more.
pub fn print(text: &str) -> Result<(), Error> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}

/// Writes a line to standard output.
///
/// # Errors
/// As [`print()`].
pub fn line(text: &str) -> Result<(), Error> {
    print(&format!("{text}\n"))
}

/// Writes a note to standard error; if that cannot be written there is nobody to tell.
pub fn note(text: &str) {
    let _ = writeln!(io::stderr().lock(), "corten: {text}");
}

/// Writes a value.
///
/// # Errors
/// As [`print()`].
pub fn value(value: &Value, format: Format) -> Result<(), Error> {
    match format {
        Format::Json | Format::Table => {
            line(&serde_json::to_string_pretty(value).map_err(|error| Error::Show(error.to_string()))?)
        }
        Format::Yaml => print(&serde_saphyr::to_string(value).map_err(|error| Error::Show(error.to_string()))?),
    }
}

/// A message of the package `runtime.v1` as JSON: fields in camel case, enums by name.
///
/// # Errors
/// [`Error::Show`] when there is no such message.
pub fn message(name: &str, message: &impl prost::Message) -> Result<Value, Error> {
    in_package("runtime.v1", name, message)
}

/// A message of a package as JSON, as by [`message()`].
///
/// # Errors
/// As [`message()`].
pub fn in_package(package: &str, name: &str, message: &impl prost::Message) -> Result<Value, Error> {
    convert(&format!("{package}.{name}"), &message.encode_to_vec()).map_err(|why| Error::Show(format!("{name}: {why}")))
}

fn convert(name: &str, bytes: &[u8]) -> Result<Value, String> {
    let pool = DescriptorPool::decode(corten_cri::DESCRIPTORS).map_err(|error| error.to_string())?;
    let descriptor = pool.get_message_by_name(name).ok_or("no such message")?;
    let dynamic = DynamicMessage::decode(descriptor, bytes).map_err(|error| error.to_string())?;
    let options = SerializeOptions::new().skip_default_fields(false).stringify_64_bit_integers(false);
    dynamic.serialize_with_options(serde_json::value::Serializer, &options).map_err(|error| error.to_string())
}

/// The verbose `info` of a status, whose values are usually JSON themselves.
pub fn unfold_info(mut status: Value) -> Value {
    if let Some(info) = status.get_mut("info").and_then(Value::as_object_mut) {
        for value in info.values_mut() {
            let parsed = value.as_str().and_then(|text| serde_json::from_str(text).ok());
            if let Some(parsed) = parsed {
                *value = parsed;
            }
        }
    }
    status
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use corten_cri::v1;
    use serde_json::json;

    use super::*;

    #[test]
    fn messages_are_in_the_protobuf_mapping() {
        let status = v1::ContainerStatus {
            id: "c".into(),
            state: v1::ContainerState::ContainerRunning.into(),
            created_at: 5,
            ..v1::ContainerStatus::default()
        };
        let value = message("ContainerStatus", &status).unwrap();
        assert_eq!(value["state"], json!("CONTAINER_RUNNING"));
        assert_eq!(value["createdAt"], json!(5));
        assert_eq!(value["exitCode"], json!(0), "defaults are shown");
    }

    #[test]
    fn info_is_unfolded_where_it_is_json() {
        let status = json!({"info": {"a": "{\"pid\": 7}", "b": "not json"}});
        assert_eq!(unfold_info(status), json!({"info": {"a": {"pid": 7}, "b": "not json"}}));
    }

    #[test]
    fn a_message_nobody_knows_is_an_error() {
        assert!(message("Nothing", &v1::Image::default()).is_err());
    }
}
