//! Compiles the protocol buffers without protoc: protox parses them, tonic-prost-build writes the Rust.

use std::{error::Error, fs, path::PathBuf};

use prost::Message;

const PROTOS: [&str; 2] = ["runtime/v1/api.proto", "corten/v1/node.proto"];

/// Fields of type `bytes` that are nearly always text: written to JSON as text where they are.
const TEXT_FIELDS: [&str; 3] =
    [".runtime.v1.KeyValue.value", ".runtime.v1.ExecSyncResponse.stdout", ".runtime.v1.ExecSyncResponse.stderr"];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=proto");
    let descriptors = protox::compile(PROTOS, ["proto"])?;
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    fs::write(out.join("descriptors.bin"), descriptors.encode_to_vec())?;

    let mut builder = tonic_prost_build::configure()
        .type_attribute(".", "#[derive(::serde::Serialize, ::serde::Deserialize)]")
        .message_attribute(".", "#[serde(default)]")
        .btree_map(".");
    for field in TEXT_FIELDS {
        builder = builder.field_attribute(field, "#[serde(with = \"crate::text_or_bytes\")]");
    }
    builder.compile_fds(descriptors)?;
    Ok(())
}
