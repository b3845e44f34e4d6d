//! Images made by the tests.

use std::io::Write;

use corten_images::Digest;
use serde_json::{Value, json};

/// The two families of media types.
#[derive(Clone, Copy)]
pub enum Form {
    Oci,
    Docker,
}

impl Form {
    pub fn manifest(self) -> &'static str {
        match self {
            Self::Oci => "application/vnd.oci.image.manifest.v1+json",
            Self::Docker => "application/vnd.docker.distribution.manifest.v2+json",
        }
    }

    pub fn index(self) -> &'static str {
        match self {
            Self::Oci => "application/vnd.oci.image.index.v1+json",
            Self::Docker => "application/vnd.docker.distribution.manifest.list.v2+json",
        }
    }

    fn config(self) -> &'static str {
        match self {
            Self::Oci => "application/vnd.oci.image.config.v1+json",
            Self::Docker => "application/vnd.docker.container.image.v1+json",
        }
    }

    fn layer(self, packing: Packing) -> &'static str {
        match (self, packing) {
            (Self::Oci, Packing::Plain) => "application/vnd.oci.image.layer.v1.tar",
            (Self::Oci, Packing::Gzip) => "application/vnd.oci.image.layer.v1.tar+gzip",
            (Self::Oci, Packing::Zstd) => "application/vnd.oci.image.layer.v1.tar+zstd",
            (Self::Docker, Packing::Plain) => "application/vnd.docker.image.rootfs.diff.tar",
            (Self::Docker, Packing::Gzip) => "application/vnd.docker.image.rootfs.diff.tar.gzip",
            (Self::Docker, Packing::Zstd) => "application/vnd.docker.image.rootfs.diff.tar.zstd",
        }
    }
}

#[derive(Clone, Copy)]
pub enum Packing {
    Plain,
    Gzip,
    Zstd,
}

impl Packing {
    fn pack(self, archive: &[u8]) -> Vec<u8> {
        match self {
            Self::Plain => archive.to_vec(),
            Self::Gzip => {
                let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
                encoder.write_all(archive).unwrap();
                encoder.finish().unwrap()
            }
            Self::Zstd => zstd::encode_all(archive, 1).unwrap(),
        }
    }
}

/// A layer's archive with these files, each a path and its content.
pub fn archive(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (path, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, path, *content).unwrap();
    }
    tar.into_inner().unwrap()
}

/// A layer as it is in an image.
#[derive(Clone)]
pub struct BuiltLayer {
    pub blob: Vec<u8>,
    pub diff_id: Digest,
    pub packing: Packing,
}

impl BuiltLayer {
    pub fn new(archive: &[u8], packing: Packing) -> Self {
        Self { blob: packing.pack(archive), diff_id: Digest::of(archive), packing }
    }
}

/// A whole image.
#[derive(Clone)]
pub struct Built {
    pub layers: Vec<BuiltLayer>,
    pub config: Vec<u8>,
}

impl Built {
    pub fn new(layers: Vec<BuiltLayer>) -> Self {
        Self::for_architecture(architecture(), layers)
    }

    pub fn for_architecture(architecture: &str, layers: Vec<BuiltLayer>) -> Self {
        let diff_ids: Vec<_> = layers.iter().map(|layer| layer.diff_id.to_string()).collect();
        let config = json!({
            "os": "linux", "architecture": architecture, "config": {"User": "1000", "Env": ["A=b"], "Cmd": ["/bin/sh"]},
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        });
        Self { layers, config: config.to_string().into_bytes() }
    }

    /// One gzip layer with one file.
    pub fn simple(path: &str, content: &[u8]) -> Self {
        Self::new(vec![BuiltLayer::new(&archive(&[(path, content)]), Packing::Gzip)])
    }

    pub fn id(&self) -> String {
        Digest::of(&self.config).to_string()
    }

    pub fn blobs(&self) -> Vec<Vec<u8>> {
        self.layers.iter().map(|layer| layer.blob.clone()).chain([self.config.clone()]).collect()
    }

    pub fn manifest(&self, form: Form) -> Vec<u8> {
        self.manifest_value(form).to_string().into_bytes()
    }

    pub fn manifest_value(&self, form: Form) -> Value {
        let layers: Vec<_> =
            self.layers.iter().map(|layer| descriptor(form.layer(layer.packing), &layer.blob)).collect();
        json!({
            "schemaVersion": 2, "mediaType": form.manifest(), "config": descriptor(form.config(), &self.config),
            "layers": layers,
        })
    }
}

pub fn descriptor(media_type: &str, bytes: &[u8]) -> Value {
    json!({"mediaType": media_type, "digest": Digest::of(bytes).to_string(), "size": bytes.len()})
}

/// An index of manifests, each with its architecture.
pub fn index(form: Form, manifests: &[(&str, &[u8])]) -> Vec<u8> {
    let manifests: Vec<_> = manifests
        .iter()
        .map(|(architecture, bytes)| {
            let mut descriptor = descriptor(form.manifest(), bytes);
            descriptor["platform"] = json!({"os": "linux", "architecture": architecture});
            descriptor
        })
        .collect();
    json!({"schemaVersion": 2, "mediaType": form.index(), "manifests": manifests}).to_string().into_bytes()
}

/// Go's name of this machine's architecture.
pub fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// An OCI image layout in a tar, with the name of its image.
pub fn layout(image: &Built, name: &str) -> Vec<u8> {
    let manifest = image.manifest(Form::Oci);
    let mut entry = descriptor(Form::Oci.manifest(), &manifest);
    entry["annotations"] = json!({"org.opencontainers.image.ref.name": name});
    let index = json!({"schemaVersion": 2, "manifests": [entry]}).to_string();
    let mut files = vec![
        ("oci-layout".to_owned(), br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec()),
        ("index.json".to_owned(), index.into_bytes()),
    ];
    for blob in image.blobs().into_iter().chain([manifest]) {
        files.push((format!("blobs/sha256/{}", Digest::of(&blob).hex()), blob));
    }
    let files: Vec<_> = files.iter().map(|(name, content)| (name.as_str(), content.as_slice())).collect();
    archive(&files)
}
