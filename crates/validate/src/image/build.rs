//! Manifests and configs, by the OCI image specification.

use std::iter;

use bytes::Bytes;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::layer::Packed;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

/// The digest of some bytes, as images name them: `sha256:` and 64 hex digits.
#[must_use]
pub fn digest(bytes: &[u8]) -> String {
    let hex: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

/// Some content by its digest.
#[derive(Debug, Clone)]
pub struct Blob {
    /// The digest by which it is asked for.
    pub digest: String,
    /// What is served: for a broken image, not what the digest says; nothing if it cannot be had.
    pub content: Option<Bytes>,
    /// Its length according to those who refer to it.
    pub size: usize,
}

impl Blob {
    /// Content that is what it says.
    pub fn new(content: impl Into<Bytes>) -> Self {
        let content = content.into();
        Self { digest: digest(&content), size: content.len(), content: Some(content) }
    }

    /// The same digest and length with other bytes.
    #[must_use]
    pub fn corrupted(&self) -> Self {
        let content = self.content.as_ref().map(|content| content.iter().map(|byte| !byte).collect());
        Self { content, ..self.clone() }
    }

    /// The same digest with nothing behind it.
    #[must_use]
    pub fn absent(&self) -> Self {
        Self { content: None, ..self.clone() }
    }

    fn descriptor(&self, media_type: &str) -> Value {
        json!({"mediaType": media_type, "digest": self.digest, "size": self.size})
    }
}

/// A manifest or an index.
#[derive(Debug, Clone)]
pub struct Manifest {
    /// Its content.
    pub blob: Blob,
    /// Its media type.
    pub media_type: &'static str,
}

/// An image, or an index of images, as a registry keeps it.
#[derive(Debug, Clone)]
pub struct Image {
    /// The manifest or index.
    pub manifest: Manifest,
    /// The manifests that an index lists.
    pub members: Vec<Manifest>,
    /// Configs and layers.
    pub blobs: Vec<Blob>,
    config: String,
}

impl Image {
    /// An image of these layers, lowest first, with this `config` object.
    #[must_use]
    pub fn new(layers: &[Packed], config: &Value) -> Self {
        let diff_ids: Vec<&str> = layers.iter().map(|layer| layer.diff_id.as_str()).collect();
        let text = json!({
            "architecture": architecture(),
            "os": "linux",
            "created": "2026-01-01T00:00:00Z",
            "config": config,
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        });
        let config = Blob::new(text.to_string());
        let text = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": config.descriptor(CONFIG),
            "layers": layers.iter().map(|layer| layer.blob.descriptor(LAYER)).collect::<Vec<_>>(),
        });
        let id = config.digest.clone();
        let blobs = iter::once(config).chain(layers.iter().map(|layer| layer.blob.clone())).collect();
        Self { manifest: Manifest::new(text.to_string(), MANIFEST), members: Vec::new(), blobs, config: id }
    }

    /// An index of images, each with the architecture (in Go's spelling) it is for.
    #[must_use]
    pub fn index(members: &[(&str, &Self)]) -> Self {
        let list = members.iter().map(|(architecture, image)| {
            let mut entry = image.manifest.blob.descriptor(image.manifest.media_type);
            entry["platform"] = json!({"os": "linux", "architecture": architecture});
            entry
        });
        let text = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": list.collect::<Vec<_>>()});
        Self {
            manifest: Manifest::new(text.to_string(), INDEX),
            members: members.iter().map(|(_, image)| image.manifest.clone()).collect(),
            blobs: members.iter().flat_map(|(_, image)| image.blobs.clone()).collect(),
            config: members.last().map(|(_, image)| image.config.clone()).unwrap_or_default(),
        }
    }

    /// The same image with another manifest text.
    #[must_use]
    pub fn with_manifest(self, text: String) -> Self {
        Self { manifest: Manifest::new(text, MANIFEST), ..self }
    }

    /// The digest of the manifest or index.
    #[must_use]
    pub fn digest(&self) -> &str {
        &self.manifest.blob.digest
    }

    /// The digest of the config, which runtimes use as the image's id. For an index, this platform's image's, which is its
    /// last one.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.config
    }

    /// The bytes of the layers as they are downloaded.
    #[must_use]
    pub fn layers(&self) -> &[Blob] {
        self.blobs.get(1..).unwrap_or_default()
    }
}

impl Manifest {
    fn new(text: impl Into<Bytes>, media_type: &'static str) -> Self {
        Self { blob: Blob::new(text), media_type }
    }
}

/// This machine's architecture in Go's spelling, as images have it.
pub fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        "powerpc64" => "ppc64le",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]

    use super::*;
    use crate::image::Layer;

    fn image() -> Image {
        let layer = Layer::new().file("a", 0o644, b"text").unwrap().pack().unwrap();
        Image::new(&[layer], &json!({"User": "alice"}))
    }

    #[test]
    fn a_manifest_names_config_and_layers_by_what_they_hold() {
        let image = image();
        let text: Value = serde_json::from_slice(image.manifest.blob.content.as_ref().unwrap()).unwrap();
        let [config, layer] = &image.blobs[..] else { panic!("{} blobs", image.blobs.len()) };
        assert_eq!(text["config"]["digest"], digest(config.content.as_ref().unwrap()));
        assert_eq!(text["layers"][0]["digest"], digest(layer.content.as_ref().unwrap()));
        assert_eq!(text["layers"][0]["size"], layer.content.as_ref().unwrap().len());
        assert_eq!(image.id(), config.digest);
    }

    #[test]
    fn the_config_names_the_uncompressed_layer() {
        let image = image();
        let config: Value = serde_json::from_slice(image.blobs[0].content.as_ref().unwrap()).unwrap();
        let mut tar = Vec::new();
        let gzip = image.blobs[1].content.clone().unwrap();
        std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(&gzip[..]), &mut tar).unwrap();
        assert_eq!(config["rootfs"]["diff_ids"][0], digest(&tar));
        assert_eq!(config["config"]["User"], "alice");
    }

    #[test]
    fn a_corrupted_blob_keeps_its_length_and_loses_its_digest() {
        let blob = Blob::new("content");
        let corrupted = blob.corrupted();
        assert_eq!((&corrupted.digest, corrupted.size), (&blob.digest, blob.size));
        let content = corrupted.content.unwrap();
        assert_eq!(content.len(), blob.size);
        assert_ne!(digest(&content), blob.digest);
    }
}
