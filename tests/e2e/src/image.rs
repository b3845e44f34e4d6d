//! Making images: layers, configurations, manifests, indexes and OCI archives.

use std::{
    io::{self, Write},
    path::Path,
    process::Command,
    sync::OnceLock,
};

use flate2::{Compression as Level, write::GzEncoder};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tar::{EntryType, Header};

use crate::programs;

/// The digest of some bytes, as images name them: `sha256:<64 hex digits>`.
pub fn digest(bytes: &[u8]) -> String {
    let hex: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

/// A layer in the making: a tar stream. Paths and link targets are written as they are given, so that hostile ones can be.
pub struct Layer {
    tar: tar::Builder<Vec<u8>>,
}

/// One entry of a layer.
#[derive(Clone)]
pub struct Entry<'a> {
    /// Its path, at most 100 bytes.
    pub path: &'a str,
    /// What it is.
    pub kind: EntryType,
    /// Permissions.
    pub mode: u32,
    /// Owner and group.
    pub owner: (u64, u64),
    /// The target of a symbolic or hard link.
    pub link: &'a str,
    /// A file's content.
    pub data: &'a [u8],
    /// Major and minor number of a device.
    pub device: (u32, u32),
    /// Extended attributes.
    pub xattrs: &'a [(&'a str, &'a [u8])],
}

impl Default for Entry<'_> {
    fn default() -> Self {
        Self {
            path: "",
            kind: EntryType::Regular,
            mode: 0o644,
            owner: (0, 0),
            link: "",
            data: b"",
            device: (0, 0),
            xattrs: &[],
        }
    }
}

impl Default for Layer {
    fn default() -> Self {
        Self { tar: tar::Builder::new(Vec::new()) }
    }
}

impl Layer {
    /// An empty layer.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an entry.
    pub fn entry(mut self, entry: &Entry<'_>) -> Self {
        if !entry.xattrs.is_empty() {
            let names: Vec<String> = entry.xattrs.iter().map(|(name, _)| format!("SCHILY.xattr.{name}")).collect();
            let pairs = names.iter().map(String::as_str).zip(entry.xattrs.iter().map(|(_, value)| *value));
            self.tar.append_pax_extensions(pairs).expect("write to memory");
        }
        self.tar.append(&header(entry), entry.data).expect("write to memory");
        self
    }

    /// Adds a directory.
    pub fn dir(self, path: &str, mode: u32) -> Self {
        self.entry(&Entry { path, kind: EntryType::Directory, mode, ..Entry::default() })
    }

    /// Adds a file of root's.
    pub fn file(self, path: &str, mode: u32, data: &[u8]) -> Self {
        self.entry(&Entry { path, mode, data, ..Entry::default() })
    }

    /// Adds a symbolic link.
    pub fn symlink(self, path: &str, link: &str) -> Self {
        self.entry(&Entry { path, kind: EntryType::Symlink, link, ..Entry::default() })
    }

    /// Adds a hard link to an earlier path.
    pub fn hardlink(self, path: &str, link: &str) -> Self {
        self.entry(&Entry { path, kind: EntryType::Link, link, ..Entry::default() })
    }

    /// The finished tar stream.
    pub fn finish(self) -> Vec<u8> {
        self.tar.into_inner().expect("write to memory")
    }
}

fn header(entry: &Entry<'_>) -> Header {
    let mut header = Header::new_ustar();
    let name = &mut header.as_old_mut().name;
    name[..entry.path.len()].copy_from_slice(entry.path.as_bytes());
    let link = &mut header.as_old_mut().linkname;
    link[..entry.link.len()].copy_from_slice(entry.link.as_bytes());
    header.set_entry_type(entry.kind);
    header.set_mode(entry.mode);
    header.set_uid(entry.owner.0);
    header.set_gid(entry.owner.1);
    header.set_mtime(1_700_000_000);
    header.set_size(entry.data.len() as u64);
    header.set_device_major(entry.device.0).expect("a ustar header has devices");
    header.set_device_minor(entry.device.1).expect("a ustar header has devices");
    header.set_cksum();
    header
}

/// How a layer is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// gzip.
    Gzip,
    /// zstd.
    Zstd,
}

/// Which media types a manifest uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// The OCI image specification's.
    Oci,
    /// Docker's image manifest version 2, schema 2. It has no zstd.
    Docker,
}

impl Format {
    fn manifest(self) -> &'static str {
        match self {
            Self::Oci => "application/vnd.oci.image.manifest.v1+json",
            Self::Docker => "application/vnd.docker.distribution.manifest.v2+json",
        }
    }

    fn config(self) -> &'static str {
        match self {
            Self::Oci => "application/vnd.oci.image.config.v1+json",
            Self::Docker => "application/vnd.docker.container.image.v1+json",
        }
    }

    fn index(self) -> &'static str {
        match self {
            Self::Oci => "application/vnd.oci.image.index.v1+json",
            Self::Docker => "application/vnd.docker.distribution.manifest.list.v2+json",
        }
    }

    fn layer(self, compression: Compression) -> &'static str {
        match (self, compression) {
            (Self::Oci, Compression::None) => "application/vnd.oci.image.layer.v1.tar",
            (Self::Oci, Compression::Gzip) => "application/vnd.oci.image.layer.v1.tar+gzip",
            (Self::Oci, Compression::Zstd) => "application/vnd.oci.image.layer.v1.tar+zstd",
            (Self::Docker, Compression::None) => "application/vnd.docker.image.rootfs.diff.tar",
            (Self::Docker, _) => "application/vnd.docker.image.rootfs.diff.tar.gzip",
        }
    }
}

/// An image in the making.
pub struct Image {
    /// The layers' tar streams, lowest first.
    pub layers: Vec<Vec<u8>>,
    /// The `config` object of the image's configuration: `Env`, `Cmd`, `User`, ...
    pub config: Value,
    /// How the layers are compressed.
    pub compression: Compression,
    /// Which media types the manifest uses.
    pub format: Format,
}

/// An image, or an index of images, as a registry keeps it.
#[derive(Debug, Clone)]
pub struct Built {
    /// The manifest or index.
    pub manifest: Vec<u8>,
    /// Its media type.
    pub media_type: &'static str,
    /// Configuration and layers. For an index: nothing.
    pub blobs: Vec<Vec<u8>>,
    /// The images an index lists.
    pub members: Vec<Built>,
    format: Format,
}

impl Image {
    /// An OCI image of these layers, gzipped, with an empty configuration.
    pub fn of(layers: Vec<Vec<u8>>) -> Self {
        Self { layers, config: json!({}), compression: Compression::Gzip, format: Format::Oci }
    }

    /// The same with this `config` object.
    pub fn config(self, config: Value) -> Self {
        Self { config, ..self }
    }

    /// Compresses, hashes and writes the manifest.
    pub fn build(&self) -> Built {
        self.assemble(self.layers.iter().map(|tar| compress(tar, self.compression)).collect())
    }

    /// Writes the manifest of the image with its layers compressed already.
    pub fn assemble(&self, layers: Vec<Vec<u8>>) -> Built {
        let config = self.config_blob();
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": self.format.manifest(),
            "config": descriptor(self.format.config(), &config),
            "layers": layers
                .iter()
                .map(|layer| descriptor(self.format.layer(self.compression), layer))
                .collect::<Vec<_>>(),
        });
        let blobs = std::iter::once(config).chain(layers).collect();
        Built {
            manifest: manifest.to_string().into_bytes(),
            media_type: self.format.manifest(),
            blobs,
            members: Vec::new(),
            format: self.format,
        }
    }

    fn config_blob(&self) -> Vec<u8> {
        let diff_ids: Vec<String> = self.layers.iter().map(|tar| digest(tar)).collect();
        json!({
            "architecture": architecture(),
            "os": "linux",
            "created": "2026-01-01T00:00:00Z",
            "config": self.config,
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        })
        .to_string()
        .into_bytes()
    }
}

impl Built {
    /// The manifest's digest.
    pub fn digest(&self) -> String {
        digest(&self.manifest)
    }

    /// The image's id: the digest of its configuration.
    ///
    /// # Panics
    /// For an index.
    pub fn id(&self) -> String {
        digest(self.blobs.first().expect("an image has a configuration"))
    }

    /// An index of images with the platforms they are for (architecture names of Go's).
    pub fn index(format: Format, members: Vec<(&str, Built)>) -> Self {
        let manifests: Vec<Value> = members
            .iter()
            .map(|(architecture, built)| {
                let mut entry = descriptor(built.media_type, &built.manifest);
                entry["platform"] = json!({"os": "linux", "architecture": architecture});
                entry
            })
            .collect();
        let index = json!({"schemaVersion": 2, "mediaType": format.index(), "manifests": manifests});
        Self {
            manifest: index.to_string().into_bytes(),
            media_type: format.index(),
            blobs: Vec::new(),
            members: members.into_iter().map(|(_, built)| built).collect(),
            format,
        }
    }

    /// An OCI archive (a tar of an OCI image layout) that gives the image this name.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write_archive(&self, name: &str, out: impl Write) -> io::Result<()> {
        let mut entry = descriptor(self.media_type, &self.manifest);
        entry["annotations"] = json!({"org.opencontainers.image.ref.name": name, "io.containerd.image.name": name});
        let index = json!({"schemaVersion": 2, "mediaType": self.format.index(), "manifests": [entry]});
        let mut tar = tar::Builder::new(out);
        append(&mut tar, "oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        append(&mut tar, "index.json", index.to_string().as_bytes())?;
        for blob in self.all_blobs() {
            append(&mut tar, &format!("blobs/{}", digest(blob).replace(':', "/")), blob)?;
        }
        tar.finish()
    }

    fn all_blobs(&self) -> Vec<&Vec<u8>> {
        let members = self.members.iter().flat_map(Built::all_blobs);
        std::iter::once(&self.manifest).chain(&self.blobs).chain(members).collect()
    }
}

fn append(tar: &mut tar::Builder<impl Write>, path: &str, data: &[u8]) -> io::Result<()> {
    tar.append(&header(&Entry { path, data, ..Entry::default() }), data)
}

fn descriptor(media_type: &str, blob: &[u8]) -> Value {
    json!({"mediaType": media_type, "digest": digest(blob), "size": blob.len()})
}

/// Compresses a layer.
pub fn compress(tar: &[u8], compression: Compression) -> Vec<u8> {
    match compression {
        Compression::None => tar.to_vec(),
        Compression::Gzip => {
            let mut encoder = GzEncoder::new(Vec::new(), Level::fast());
            encoder.write_all(tar).expect("write to memory");
            encoder.finish().expect("write to memory")
        }
        Compression::Zstd => zstd::encode_all(tar, 1).expect("write to memory"),
    }
}

/// This machine's architecture in Go's spelling, as image indexes have it.
pub fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// A layer with busybox and all its applets, `/etc/passwd` and `/etc/group` (see [`PASSWD`]), `/tmp` and a web page.
pub fn busybox_layer() -> &'static [u8] {
    static LAYER: OnceLock<Vec<u8>> = OnceLock::new();
    LAYER.get_or_init(|| make_busybox_layer(&programs::busybox()))
}

/// The accounts of the busybox image: `alice` is 1000:1000 and also in group `staff` (50) and `wheel` (998).
pub const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n\
                          alice:x:1000:1000:Alice:/home/alice:/bin/sh\n";
const GROUP: &str = "root:x:0:\nstaff:x:50:alice\nwheel:x:998:alice\nalice:x:1000:\nnogroup:x:65534:\n";

fn make_busybox_layer(busybox: &Path) -> Vec<u8> {
    let program = std::fs::read(busybox).expect("read busybox");
    let applets = Command::new(busybox).arg("--list").output().expect("list busybox's applets").stdout;
    let mut layer = Layer::new();
    for (dir, mode) in [
        ("bin", 0o755),
        ("etc", 0o755),
        ("root", 0o700),
        ("tmp", 0o1777),
        ("var", 0o755),
        ("www", 0o755),
        ("home", 0o755),
    ] {
        layer = layer.dir(dir, mode);
    }
    layer = layer.file("bin/busybox", 0o755, &program);
    for applet in String::from_utf8_lossy(&applets).lines().filter(|applet| *applet != "busybox") {
        layer = layer.symlink(&format!("bin/{applet}"), "/bin/busybox");
    }
    layer
        .entry(&Entry {
            path: "home/alice",
            kind: EntryType::Directory,
            mode: 0o755,
            owner: (1000, 1000),
            ..Entry::default()
        })
        .file("etc/passwd", 0o644, PASSWD.as_bytes())
        .file("etc/group", 0o644, GROUP.as_bytes())
        .file("www/index.html", 0o644, b"served by Corten\n")
        .finish()
}

/// The busybox image: [`busybox_layer`], `PATH` set, running a shell.
pub fn busybox() -> &'static Built {
    static IMAGE: OnceLock<Built> = OnceLock::new();
    IMAGE.get_or_init(|| Image::of(vec![busybox_layer().to_vec()]).config(busybox_config()).build())
}

/// The busybox image's `config`.
pub fn busybox_config() -> Value {
    json!({"Env": ["PATH=/bin", "FROM_IMAGE=yes"], "Cmd": ["sh"], "WorkingDir": "/"})
}
