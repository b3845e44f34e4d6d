//! What an image archive that we write consists of.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Write,
    path::Path,
};

use serde_json::{Value, json};

use super::{NAMES, blob_name};
use crate::{
    Error,
    digest::Digest,
    layer::{self, Entry},
    manifest::{Content, OCI_INDEX, OCI_MANIFEST, media_type},
};

const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// The form of an archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// An image layout (OCI image specification, image-layout.md).
    Oci,
    /// As older versions of Docker write and read it.
    Docker,
}

/// An image, its layers measured.
pub(crate) struct Image {
    pub config: String,
    /// Lowest first.
    pub layers: Vec<Content>,
    /// Full names with tags.
    pub names: Vec<String>,
    pub annotations: BTreeMap<String, String>,
    /// The indexes and the manifest, in this order, that it came with. Without, it gets a manifest.
    pub documents: Vec<Vec<u8>>,
}

/// One file of an archive.
pub(crate) enum Part {
    Bytes(String, Vec<u8>),
    /// A layer's archive is the content.
    Layer(String, Content),
}

/// The files, in order: what describes comes before what it describes.
pub(crate) fn parts(images: &[Image], form: Form) -> Vec<Part> {
    let mut parts = match form {
        Form::Oci => layout(images),
        Form::Docker => docker(images),
    };
    let mut written = BTreeSet::new();
    for layer in images.iter().flat_map(|image| &image.layers) {
        if written.insert(layer.digest) {
            parts.push(Part::Layer(layer_name(layer, form), *layer));
        }
    }
    parts
}

fn layer_name(layer: &Content, form: Form) -> String {
    match form {
        Form::Oci => blob_name(&layer.digest),
        Form::Docker => format!("{}.tar", layer.digest.hex()),
    }
}

fn layout(images: &[Image]) -> Vec<Part> {
    let (mut descriptors, mut blobs) = (Vec::new(), BTreeMap::new());
    for image in images {
        let made = || vec![manifest(image).to_string().into_bytes()];
        let documents = if image.documents.is_empty() { made() } else { image.documents.clone() };
        let top = documents.first().map(Vec::as_slice).unwrap_or_default();
        let (digest, media_type) = (Digest::of(top), media_type(top));
        let describe = |annotations: Value| {
            let mut descriptor = json!({"mediaType": media_type, "digest": digest, "size": top.len()});
            if documents.len() == 1 {
                descriptor["platform"] = platform(&image.config);
            }
            if !annotations.is_null() {
                descriptor["annotations"] = annotations;
            }
            descriptor
        };
        match image.names.is_empty() {
            true => descriptors.push(describe(Value::Null)),
            false => descriptors.extend(image.names.iter().map(|name| {
                let tag = name.rsplit(':').next().unwrap_or_default();
                describe(json!({NAMES[0]: name, NAMES[1]: tag}))
            })),
        }
        blobs.extend(documents.into_iter().map(|document| (Digest::of(&document), document)));
        blobs.insert(Digest::of(image.config.as_bytes()), image.config.clone().into_bytes());
    }
    let index = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": descriptors});
    let version = json!({"imageLayoutVersion": "1.0.0"});
    let blobs = blobs.into_iter().map(|(digest, bytes)| Part::Bytes(blob_name(&digest), bytes));
    [("oci-layout", version), ("index.json", index)]
        .into_iter()
        .map(|(name, value)| Part::Bytes(name.to_owned(), value.to_string().into_bytes()))
        .chain(blobs)
        .collect()
}

fn manifest(image: &Image) -> Value {
    let describe =
        |media_type: &str, digest: Digest, size: u64| json!({"mediaType": media_type, "digest": digest, "size": size});
    let config = describe(CONFIG, Digest::of(image.config.as_bytes()), image.config.len() as u64);
    let layers: Vec<_> = image.layers.iter().map(|layer| describe(LAYER, layer.digest, layer.size)).collect();
    let mut manifest = json!({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": layers});
    if !image.annotations.is_empty() {
        manifest["annotations"] = json!(image.annotations);
    }
    manifest
}

fn platform(config: &str) -> Value {
    let config: Value = serde_json::from_str(config).unwrap_or_default();
    let fields = ["architecture", "os", "variant"].into_iter();
    fields.filter_map(|field| Some((field.to_owned(), config.get(field)?.clone()))).collect()
}

fn docker(images: &[Image]) -> Vec<Part> {
    let (mut described, mut configs) = (Vec::new(), BTreeMap::new());
    for image in images {
        let config = format!("{}.json", Digest::of(image.config.as_bytes()).hex());
        let layers: Vec<_> = image.layers.iter().map(|layer| layer_name(layer, Form::Docker)).collect();
        described.push(json!({"Config": config, "RepoTags": image.names, "Layers": layers}));
        configs.insert(config, image.config.clone().into_bytes());
    }
    let manifest = Part::Bytes("manifest.json".to_owned(), Value::from(described).to_string().into_bytes());
    std::iter::once(manifest).chain(configs.into_iter().map(|(name, bytes)| Part::Bytes(name, bytes))).collect()
}

/// Writes a file of the archive.
pub(crate) fn member(name: &str, bytes: &[u8], out: &mut impl Write) -> Result<(), Error> {
    let size = bytes.len() as u64;
    begin(name, size, out)?;
    out.write_all(bytes).map_err(Error::io("write", Path::new(name)))?;
    end(size, out)
}

/// Begins a file, whose content the caller writes.
pub(crate) fn begin(name: &str, size: u64, out: &mut impl Write) -> Result<(), Error> {
    Entry::new(name.as_bytes(), 0o644, size).write(out).map_err(Error::io("write", Path::new(name)))
}

/// Ends a file of this size.
pub(crate) fn end(size: u64, out: &mut impl Write) -> Result<(), Error> {
    layer::pad(out, size).map_err(Error::io("write", Path::new("an image archive")))
}

/// Ends the archive.
pub(crate) fn finish(out: &mut impl Write) -> Result<(), Error> {
    layer::finish(out).map_err(Error::io("write", Path::new("an image archive")))
}
