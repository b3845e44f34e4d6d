//! Image archives: an OCI image layout in a tar (OCI image specification, image-layout.md), or what `docker save`
//! writes. The archive's files are put aside under numbers, so that its names never become paths.

pub(crate) mod write;

use std::{
    collections::HashMap,
    fs::File,
    io::{self, BufReader, Read},
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::{Bytes, BytesMut};
use serde::Deserialize;
use tar::EntryType;
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::{
    Error, Limits,
    digest::{Digest, Hasher},
    disk::{Trash, Workspace},
    layer::{self, Blob, Bounded, LayerError, Members},
    manifest::{Content, Descriptor, ImageIndex, OCI_MANIFEST},
    reference::Reference,
    registry::Fetched,
};

const CHUNK: usize = 128 << 10;
const CHUNKS: usize = 16;
const MAX_FILES: usize = 100_000;
/// Bytes of all names and link targets.
const NAMES_BYTES: usize = 32 << 20;
/// Names of the images of what `docker save` writes.
const MAX_IMAGES: usize = 10_000;
const NAMES: [&str; 2] = ["io.containerd.image.name", "org.opencontainers.image.ref.name"];

/// A file of the archive.
#[derive(Debug, Clone)]
struct Member {
    path: PathBuf,
    size: u64,
}

/// An archive that was read.
pub(crate) struct Layout {
    members: HashMap<String, Member>,
    /// Whether its index and manifests were made here.
    adopted: bool,
    /// Holds the members' files.
    _workspace: Workspace,
}

/// One image of what `docker save` writes.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DockerImage {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

fn bad(why: impl Into<String>) -> Error {
    Error::Archive { why: why.into() }
}

impl Layout {
    /// Reads an archive, plain or compressed, to its end.
    pub async fn read(
        trash: Arc<Trash>,
        mut archive: impl AsyncRead + Unpin + Send,
        limits: Limits,
    ) -> Result<Self, Error> {
        let (sender, blob) = Blob::channel(CHUNKS);
        let reading = tokio::task::spawn_blocking(move || Self::unpack(&trash, blob, &limits));
        loop {
            let mut chunk = BytesMut::with_capacity(CHUNK);
            let length = archive.read_buf(&mut chunk).await.map_err(|error| bad(format!("cannot be read: {error}")))?;
            if length == 0 || sender.send(chunk.freeze()).await.is_err() {
                break;
            }
        }
        drop(sender);
        reading.await.map_err(|error| Error::Task { operation: "read an image archive", why: error.to_string() })?
    }

    /// Reads an archive on a thread that may block.
    pub(crate) fn unpack(trash: &Arc<Trash>, archive: impl Read, limits: &Limits) -> Result<Self, Error> {
        let mut layout = Self { members: HashMap::new(), adopted: false, _workspace: trash.workspace()? };
        let directory = layout._workspace.path().to_owned();
        let mut links = Vec::new();
        let unreadable = |error: LayerError| bad(error.to_string());
        let mut archive = BufReader::new(archive);
        let archive = layer::decompress(&mut archive).map_err(unreadable)?;
        let (archive, headers) = Bounded::new(archive, limits.layer_bytes);
        let mut members = Members::new(archive);
        let mut names = Names { left: NAMES_BYTES, limit: limits.path_bytes };
        for number in 0.. {
            headers.begin();
            let Some(member) = members.next().map_err(unreadable)? else { break };
            headers.end();
            if number >= MAX_FILES {
                return Err(bad(format!("more than {MAX_FILES} entries")));
            }
            let name = names.check(&member.path)?.trim_start_matches("./").to_owned();
            match member.header.entry_type() {
                EntryType::Regular => {
                    let file = put_aside(&mut members, directory.join(number.to_string()), limits)?;
                    layout.members.insert(name, file);
                }
                EntryType::Symlink | EntryType::Link => {
                    let target = names.check(&member.link.unwrap_or_default())?;
                    links.push((name, target));
                }
                // Its holes would cost time and nothing else.
                EntryType::GNUSparse => return Err(bad(format!("{name:?} is a sparse file"))),
                _ => {}
            }
            members.skip().map_err(unreadable)?;
        }
        // Older `docker save` links a layer that several images share.
        for (name, target) in links {
            if let Some(member) = layout.members.get(&linked(&name, &target)).cloned() {
                layout.members.insert(name, member);
            }
        }
        layout.adopt_docker_images(&directory, limits)?;
        Ok(layout)
    }

    /// Describes the images of `docker save` as an image layout would.
    fn adopt_docker_images(&mut self, directory: &Path, limits: &Limits) -> Result<(), Error> {
        if self.members.contains_key("index.json") || !self.members.contains_key("manifest.json") {
            return Ok(());
        }
        self.adopted = true;
        let bytes = self.small("manifest.json", limits.manifest_bytes)?;
        let images: Vec<DockerImage> =
            serde_json::from_slice(&bytes).map_err(|error| bad(format!("manifest.json: {error}")))?;
        let (mut descriptors, mut hashes) = (Vec::new(), Hashes::default());
        for image in images {
            if image.layers.len() > limits.layers {
                let (layers, limit) = (image.layers.len(), limits.layers);
                return Err(bad(format!("manifest.json: {layers} layers are more than the limit of {limit}")));
            }
            let manifest = self.docker_manifest(&image, &mut hashes)?;
            let digest = self.add(directory, &manifest)?;
            for tag in image.repo_tags.unwrap_or_default().iter().map(Some).chain([None]) {
                let annotations = tag.map(|tag| serde_json::json!({NAMES[0]: tag})).unwrap_or_default();
                descriptors.push(serde_json::json!({
                    "mediaType": OCI_MANIFEST, "digest": digest, "size": manifest.len(), "annotations": annotations,
                }));
            }
            if descriptors.len() > MAX_IMAGES {
                return Err(bad(format!("manifest.json: more than {MAX_IMAGES} images and names")));
            }
        }
        let index = serde_json::json!({"schemaVersion": 2, "manifests": descriptors}).to_string();
        let digest = self.add(directory, index.as_bytes())?;
        if let Some(member) = self.members.get(&blob_name(&digest)).cloned() {
            self.members.insert("index.json".to_owned(), member);
        }
        Ok(())
    }

    fn docker_manifest(&mut self, image: &DockerImage, hashes: &mut Hashes) -> Result<Vec<u8>, Error> {
        let mut describe = |layout: &mut Self, name: &str, media_type: &str| -> Result<serde_json::Value, Error> {
            let missing = || bad(format!("manifest.json names {name:?}, which is not there"));
            let member = layout.members.get(name).cloned().ok_or_else(missing)?;
            let digest = hashes.of(&member.path)?;
            let size = member.size;
            layout.members.insert(blob_name(&digest), member);
            Ok(serde_json::json!({"mediaType": media_type, "digest": digest, "size": size}))
        };
        let config = describe(self, &image.config, "application/vnd.oci.image.config.v1+json")?;
        let layers = image.layers.iter();
        let layers = layers
            .map(|layer| describe(self, layer, "application/vnd.oci.image.layer.v1.tar"))
            .collect::<Result<Vec<_>, _>>()?;
        let manifest =
            serde_json::json!({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": layers});
        Ok(manifest.to_string().into_bytes())
    }

    /// Adds a blob of our own.
    fn add(&mut self, directory: &Path, bytes: &[u8]) -> Result<Digest, Error> {
        let digest = Digest::of(bytes);
        let path = directory.join(format!("own-{}", digest.hex()));
        std::fs::write(&path, bytes).map_err(Error::io("write", &path))?;
        self.members.insert(blob_name(&digest), Member { path, size: bytes.len() as u64 });
        Ok(digest)
    }

    /// Whether its manifests came with it: what `docker save` writes has none.
    pub fn has_originals(&self) -> bool {
        !self.adopted
    }

    /// The images of the archive that run here, and their names.
    pub fn images(&self, limits: &Limits) -> Result<Vec<(Digest, Option<Reference>)>, Error> {
        let bytes = self.small("index.json", limits.manifest_bytes)?;
        let index: ImageIndex = serde_json::from_slice(&bytes).map_err(|error| bad(format!("index.json: {error}")))?;
        let (here, elsewhere): (Vec<_>, Vec<_>) =
            index.manifests.iter().partition(|image| image.platform.is_none() || runs_here(image));
        if here.is_empty() {
            return Err(match elsewhere.is_empty() {
                true => bad("index.json names no image"),
                false => bad("index.json names only images for other platforms"),
            });
        }
        here.into_iter().map(named).collect()
    }

    fn small(&self, name: &str, limit: u64) -> Result<Vec<u8>, Error> {
        let member = self.members.get(name).ok_or_else(|| bad(format!("{name} is missing: not an image archive")))?;
        if member.size > limit {
            return Err(bad(format!("{name}: {} bytes are more than the limit of {limit}", member.size)));
        }
        std::fs::read(&member.path).map_err(Error::io("read", &member.path))
    }

    /// A manifest, verified.
    pub async fn manifest(&self, digest: Digest, limit: u64) -> Result<Fetched, Error> {
        let bytes = self.small(&blob_name(&digest), limit)?;
        verify(&bytes, digest)?;
        Ok(Fetched { bytes, digest, content_type: None })
    }

    /// A small blob, verified.
    pub async fn blob(&self, content: &Content, limit: u64, shown: &str) -> Result<Vec<u8>, Error> {
        let bytes = self.small(&blob_name(&content.digest), limit)?;
        if bytes.len() as u64 != content.size {
            let why = format!("{} has {} bytes, want {}", content.digest, bytes.len(), content.size);
            return Err(Error::Image { reference: shown.to_owned(), why });
        }
        verify(&bytes, content.digest)?;
        Ok(bytes)
    }

    /// Opens a blob for streaming. Who reads it verifies it.
    pub async fn open(&self, content: &Content) -> Result<BlobFile, Error> {
        let name = blob_name(&content.digest);
        let member = self.members.get(&name).ok_or_else(|| bad(format!("{name} is missing")))?;
        let file = tokio::fs::File::open(&member.path).await.map_err(Error::io("open", &member.path))?;
        Ok(BlobFile { file, path: member.path.clone() })
    }
}

/// What the names in an archive may take: they are held in memory.
struct Names {
    left: usize,
    limit: usize,
}

impl Names {
    fn check(&mut self, name: &[u8]) -> Result<String, Error> {
        if name.len() > self.limit {
            return Err(bad(format!("a name is longer than the limit of {} bytes", self.limit)));
        }
        let over = || bad(format!("all names are longer than the limit of {NAMES_BYTES} bytes"));
        self.left = self.left.checked_sub(name.len()).ok_or_else(over)?;
        Ok(String::from_utf8_lossy(name).into_owned())
    }
}

/// The digests of files that stay as they are: many images may name the same one.
#[derive(Default)]
struct Hashes(HashMap<PathBuf, Digest>);

impl Hashes {
    fn of(&mut self, path: &Path) -> Result<Digest, Error> {
        if let Some(digest) = self.0.get(path) {
            return Ok(*digest);
        }
        let digest = hash(path)?;
        self.0.insert(path.to_owned(), digest);
        Ok(digest)
    }
}

/// A blob of an archive as a stream.
pub(crate) struct BlobFile {
    file: tokio::fs::File,
    path: PathBuf,
}

impl BlobFile {
    /// The next bytes, nothing at the end.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, Error> {
        let mut chunk = BytesMut::with_capacity(CHUNK);
        let length = self.file.read_buf(&mut chunk).await.map_err(Error::io("read", &self.path))?;
        Ok((length > 0).then(|| chunk.freeze()))
    }
}

fn put_aside(entry: &mut impl Read, path: PathBuf, limits: &Limits) -> Result<Member, Error> {
    let mut file = File::create_new(&path).map_err(Error::io("create", &path))?;
    let size = io::copy(&mut entry.take(limits.layer_bytes.saturating_add(1)), &mut file)
        .map_err(|error| bad(format!("cannot be put aside: {error}")))?;
    if size > limits.layer_bytes {
        return Err(bad(format!("a file of more than {} bytes", limits.layer_bytes)));
    }
    Ok(Member { path, size })
}

/// A link's target from the archive's top.
fn linked(name: &str, target: &str) -> String {
    let mut path: Vec<&str> = name.split('/').collect();
    path.pop();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(path.pop()),
            part => path.push(part),
        }
    }
    path.join("/")
}

fn blob_name(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

fn hash(path: &Path) -> Result<Digest, Error> {
    let mut file = File::open(path).map_err(Error::io("open", path))?;
    let (mut hasher, mut buffer) = (Hasher::default(), vec![0; CHUNK]);
    loop {
        let length = file.read(&mut buffer).map_err(Error::io("read", path))?;
        if length == 0 {
            return Ok(hasher.finish().0);
        }
        hasher.update(buffer.get(..length).unwrap_or_default());
    }
}

fn verify(bytes: &[u8], digest: Digest) -> Result<(), Error> {
    let got = Digest::of(bytes);
    if got == digest { Ok(()) } else { Err(bad(format!("{} has the digest {got}", blob_name(&digest)))) }
}

fn runs_here(image: &Descriptor) -> bool {
    crate::platform::choose(std::slice::from_ref(image)).is_ok()
}

/// An image's name, if the archive gives it one: a mere tag is none.
fn named(image: &Descriptor) -> Result<(Digest, Option<Reference>), Error> {
    let digest = image.digest.parse().map_err(|error| bad(format!("index.json: {error}")))?;
    let annotations = image.annotations.as_ref();
    let name = NAMES.iter().find_map(|key| annotations?.get(*key)).filter(|name| name.contains(['/', ':']));
    let name = name.map(|name| name.parse().map_err(|error| bad(format!("index.json: {error}")))).transpose()?;
    Ok((digest, name))
}

#[cfg(test)]
mod tests;
