//! Manifests, indexes and configurations: OCI image specification, and Docker's image manifest version 2, schema 2.

use std::collections::BTreeMap;

use oci_spec::image::ImageConfiguration;
use serde::Deserialize;

use crate::{Limits, digest::Digest, platform};

pub(crate) const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub(crate) const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
pub(crate) const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
const CONFIGS: [&str; 2] =
    ["application/vnd.oci.image.config.v1+json", "application/vnd.docker.container.image.v1+json"];

/// A piece of content: its digest and size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Content {
    pub digest: Digest,
    pub size: u64,
}

/// A reference to content as manifests write it; what it says is checked where it is used, to name the field.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Descriptor {
    #[serde(default)]
    pub media_type: String,
    pub digest: String,
    pub size: u64,
    #[serde(default)]
    pub platform: Option<Platform>,
    #[serde(default)]
    pub annotations: Option<BTreeMap<String, String>>,
}

/// What an image in an index runs on.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(crate) struct Platform {
    pub os: String,
    pub architecture: String,
    #[serde(default)]
    pub variant: Option<String>,
}

/// An index of images, also that of an image layout.
#[derive(Debug, Deserialize)]
pub(crate) struct ImageIndex {
    pub manifests: Vec<Descriptor>,
}

#[derive(Debug, Deserialize)]
struct ImageManifest {
    config: Descriptor,
    layers: Vec<Descriptor>,
    #[serde(default)]
    annotations: Option<serde_json::Value>,
}

/// What to call a manifest or an index that was read before: its own word for it, else OCI's.
pub(crate) fn media_type(bytes: &[u8]) -> &'static str {
    let form: Option<Form> = serde_json::from_slice(bytes).ok();
    let (said, index) = form.map_or((None, false), |form| (form.media_type, form.manifests.is_some()));
    let known = [OCI_MANIFEST, OCI_INDEX, DOCKER_MANIFEST, DOCKER_LIST];
    let known = known.into_iter().find(|known| said.as_deref() == Some(known));
    known.unwrap_or(if index { OCI_INDEX } else { OCI_MANIFEST })
}

/// What a manifest's bytes mean.
#[derive(Debug)]
pub(crate) enum Manifest {
    /// Several images, of which this one runs here.
    Index(Content),
    Image {
        config: Content,
        layers: Vec<Content>,
        /// What the manifest says of the image.
        annotations: BTreeMap<String, String>,
    },
}

/// What tells the forms apart.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Form {
    schema_version: u32,
    media_type: Option<String>,
    #[serde(default)]
    manifests: Option<serde_json::Value>,
    #[serde(default)]
    layers: Option<serde_json::Value>,
    #[serde(default)]
    fs_layers: Option<serde_json::Value>,
    #[serde(default)]
    artifact_type: Option<String>,
}

/// The most bytes of an image's annotations. An image with more has none: they are kept in memory, and are in every list.
const MAX_ANNOTATIONS: usize = 64 << 10;

/// Those that are text, as all should be.
fn annotations(value: Option<serde_json::Value>) -> BTreeMap<String, String> {
    let Some(serde_json::Value::Object(entries)) = value else { return BTreeMap::new() };
    let text = |(key, value): (String, serde_json::Value)| Some((key, value.as_str()?.to_owned()));
    let found: BTreeMap<_, _> = entries.into_iter().filter_map(text).collect();
    match found.iter().map(|(key, value)| key.len() + value.len()).sum::<usize>() {
        0..=MAX_ANNOTATIONS => found,
        _ => BTreeMap::new(),
    }
}

impl Manifest {
    /// Reads a manifest. `content_type` is what the registry said it is; an error says what is wrong.
    pub fn parse(bytes: &[u8], content_type: Option<&str>, limits: &Limits) -> Result<Self, String> {
        let form: Form = serde_json::from_slice(bytes).map_err(|error| format!("malformed manifest: {error}"))?;
        form.check(content_type)?;
        if form.manifests.is_some() { Self::index(bytes) } else { Self::image(bytes, form.artifact_type, limits) }
    }

    fn index(bytes: &[u8]) -> Result<Self, String> {
        let index: ImageIndex =
            serde_json::from_slice(bytes).map_err(|error| format!("malformed image index: {error}"))?;
        let (number, image) = platform::choose(&index.manifests)?;
        content(image, &format!("manifests[{number}]")).map(Self::Index)
    }

    fn image(bytes: &[u8], artifact_type: Option<String>, limits: &Limits) -> Result<Self, String> {
        let manifest: ImageManifest =
            serde_json::from_slice(bytes).map_err(|error| format!("malformed image manifest: {error}"))?;
        let config_type = manifest.config.media_type.clone();
        if !CONFIGS.contains(&config_type.as_str()) {
            let what = artifact_type.unwrap_or(config_type);
            return Err(format!("this is an artifact of type {what:?} and not a container image"));
        }
        if manifest.layers.len() > limits.layers {
            return Err(format!("{} layers are more than the limit of {}", manifest.layers.len(), limits.layers));
        }
        let config = content(&manifest.config, "config")?;
        let layers = manifest.layers.iter().enumerate().map(|(number, layer)| {
            let field = format!("layers[{number}]");
            if !is_layer(&layer.media_type) {
                return Err(format!("{field}: media type {:?} is not a layer's", layer.media_type));
            }
            content(layer, &field)
        });
        let layers = layers.collect::<Result<_, _>>()?;
        Ok(Self::Image { config, layers, annotations: annotations(manifest.annotations) })
    }
}

impl Form {
    fn check(&self, content_type: Option<&str>) -> Result<(), String> {
        if self.schema_version == 1 || self.fs_layers.is_some() {
            return Err("Docker image manifest version 2, schema 1 is no longer supported; push the image again".into());
        }
        if self.schema_version != 2 {
            return Err(format!("schemaVersion is {}, want 2", self.schema_version));
        }
        if self.manifests.is_some() == self.layers.is_some() {
            return Err("neither an image manifest nor an index: want either layers or manifests".into());
        }
        let media_type = self.media_type.as_deref().or(content_type);
        let expected =
            if self.manifests.is_some() { [OCI_INDEX, DOCKER_LIST] } else { [OCI_MANIFEST, DOCKER_MANIFEST] };
        match media_type {
            // Registries serve files of unknown type so, and the content says what it is.
            None | Some("application/json" | "text/plain" | "application/octet-stream") => Ok(()),
            Some(media_type) if expected.contains(&media_type) => Ok(()),
            Some(media_type) => Err(format!("mediaType is {media_type:?}, want {:?}", expected[0])),
        }
    }
}

fn content(descriptor: &Descriptor, field: &str) -> Result<Content, String> {
    let digest = descriptor.digest.parse().map_err(|error| format!("{field}: {error}"))?;
    if i64::try_from(descriptor.size).is_err() {
        return Err(format!("{field}: size {} cannot be", descriptor.size));
    }
    Ok(Content { digest, size: descriptor.size })
}

/// Archives, plain or compressed, of either family, also those that were not meant to be distributed.
fn is_layer(media_type: &str) -> bool {
    let oci = media_type
        .strip_prefix("application/vnd.oci.image.layer.nondistributable.v1.")
        .or_else(|| media_type.strip_prefix("application/vnd.oci.image.layer.v1."))
        .is_some_and(|form| matches!(form, "tar" | "tar+gzip" | "tar+zstd"));
    let docker = media_type
        .strip_prefix("application/vnd.docker.image.rootfs.")
        .map(|form| form.strip_prefix("foreign.").unwrap_or(form))
        .is_some_and(|form| matches!(form, "diff.tar" | "diff.tar.gzip" | "diff.tar.zstd"));
    oci || docker
}

/// Reads an image's configuration and checks it against the machine and the number of layers.
pub(crate) fn parse_config(bytes: &[u8], layers: usize) -> Result<(ImageConfiguration, Vec<Digest>), String> {
    let malformed = |error: serde_json::Error| format!("malformed image configuration: {error}");
    let config: ImageConfiguration = serde_json::from_slice(bytes).map_err(malformed)?;
    // A list of an object's fields deserializes as the object, but is none.
    let fields: BTreeMap<String, serde_json::Value> = serde_json::from_slice(bytes).map_err(malformed)?;
    if !fields.get("rootfs").is_some_and(serde_json::Value::is_object) {
        return Err("malformed image configuration: rootfs is not an object".to_owned());
    }
    let (os, architecture) = (config.os().to_string(), config.architecture().to_string());
    let suits = |is: &str, want: &str| is.is_empty() || is == want;
    if !suits(&os, "linux") || !suits(&architecture, platform::architecture()) {
        return Err(format!("the image is for {os}/{architecture}, this node is linux/{}", platform::architecture()));
    }
    let diff_ids = config.rootfs().diff_ids().iter().enumerate();
    let diff_ids = diff_ids
        .map(|(number, id)| id.parse().map_err(|error| format!("rootfs.diff_ids[{number}]: {error}")))
        .collect::<Result<Vec<Digest>, _>>()?;
    if diff_ids.len() != layers {
        return Err(format!("the manifest has {layers} layers, the configuration {}", diff_ids.len()));
    }
    Ok((config, diff_ids))
}

#[cfg(test)]
mod tests;
