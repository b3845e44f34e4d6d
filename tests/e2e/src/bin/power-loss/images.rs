//! The images that are pulled, and what their layers have in them: read from the archives, by nothing of Corten's.

use std::{
    collections::BTreeMap,
    io::{self, Read},
    path::PathBuf,
};

use corten_e2e::{
    image::{Compression, Entry, Format, Image, Layer, busybox_config, digest},
    registry::Registry,
};
use tar::EntryType;

use crate::chance::Chance;

/// What an entry of a layer is to be on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expected {
    /// What kind of file it is.
    pub kind: Kind,
    /// Permissions.
    pub mode: u32,
    /// Owner and group.
    pub owner: (u32, u32),
    /// Seconds; a whiteout has none.
    pub modified: Option<i64>,
    /// Extended attributes.
    pub xattrs: BTreeMap<String, Vec<u8>>,
}

/// A file, and what is in it.
#[derive(Clone, PartialEq, Eq)]
pub enum Kind {
    /// A directory.
    Directory,
    /// A file with this content.
    File(Vec<u8>),
    /// A symbolic link.
    Symlink(PathBuf),
    /// A character device.
    Device(u32, u32),
}

impl std::fmt::Debug for Kind {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Directory => write!(out, "directory"),
            Self::File(content) => write!(out, "file of {} bytes, {}", content.len(), digest(content)),
            Self::Symlink(target) => write!(out, "link to {}", target.display()),
            Self::Device(major, minor) => write!(out, "device {major}:{minor}"),
        }
    }
}

/// A layer's entries by their paths, and the paths that are one file.
#[derive(Debug, Default)]
pub struct Tree {
    /// Every entry but the root directory.
    pub entries: BTreeMap<PathBuf, Expected>,
    /// Hard links, with what they are to be the same as.
    pub same: BTreeMap<PathBuf, PathBuf>,
}

/// An image at the registry.
pub struct Published {
    /// `repository:tag`.
    pub name: String,
    /// Its id.
    pub id: String,
    /// Its layers' digests, uncompressed, lowest first.
    pub layers: Vec<String>,
}

/// All images, and their layers by their digests.
pub struct Images {
    /// The images.
    pub all: Vec<Published>,
    /// The layers.
    pub layers: BTreeMap<String, Tree>,
}

/// Makes the images and pushes them. They share layers, whose blobs are packed differently.
pub async fn publish(registry: &Registry) -> io::Result<Images> {
    let mut chance = Chance::new(1);
    let base = special(files(Layer::new(), "base", 180, 28_000, &mut chance)).finish();
    let shared = files(Layer::new(), "shared", 70, 30_000, &mut chance).finish();
    let many = files(Layer::new(), "many", 450, 700, &mut chance).finish();
    let large = files(Layer::new(), "large", 3, 1_200_000, &mut chance).finish();
    let changes = files(Layer::new(), "base", 12, 9_000, &mut chance);
    let changes = changes.file("base/0/.wh.file20", 0o644, b"").dir("special", 0o755);
    let changes = changes.file("special/.wh..wh..opq", 0o644, b"").file("special/new", 0o600, b"new\n").finish();
    let mut images = Images { all: Vec::new(), layers: BTreeMap::new() };
    for (name, compression, layers) in [
        ("plain", Compression::Gzip, vec![&base, &many]),
        ("shares", Compression::Zstd, vec![&base, &shared]),
        ("changes", Compression::Gzip, vec![&base, &shared, &changes]),
        ("large", Compression::Zstd, vec![&shared, &large]),
        ("copied", Compression::None, vec![&many, &changes]),
    ] {
        for layer in &layers {
            images.layers.entry(digest(layer)).or_insert(read(layer)?);
        }
        let digests = layers.iter().map(|layer| digest(layer)).collect();
        let layers = layers.into_iter().cloned().collect();
        let image = Image { layers, config: busybox_config(), compression, format: Format::Oci }.build();
        registry.push(&format!("power/{name}"), "1", &image).await;
        images.all.push(Published { name: format!("power/{name}:1"), id: image.id(), layers: digests });
    }
    Ok(images)
}

/// Files of about `size` bytes, forty to a directory; no zeros are in them.
fn files(mut layer: Layer, top: &str, count: usize, size: u64, chance: &mut Chance) -> Layer {
    layer = layer.dir(top, 0o755);
    for file in 0..count {
        let directory = format!("{top}/{}", file / 40);
        if file % 40 == 0 {
            layer = layer.dir(&directory, 0o750);
        }
        let length = chance.below(2 * size) as usize;
        let mut content = Vec::with_capacity(length + 16);
        while content.len() < length {
            let word = chance.next().to_le_bytes().map(|byte| byte | 1);
            // Some of it can be compressed.
            (0..1 + chance.below(3)).for_each(|_| content.extend_from_slice(&word));
        }
        content.truncate(length);
        layer = layer.file(&format!("{directory}/file{file}"), 0o644, &content);
    }
    layer
}

/// One of everything that is not simply a file.
fn special(layer: Layer) -> Layer {
    let attributes = [("user.note", &b"kept"[..])];
    layer
        .dir("special", 0o1777)
        .entry(&Entry { path: "special/set-id", mode: 0o4755, owner: (7, 8), data: b"program\n", ..Entry::default() })
        .entry(&Entry { path: "special/noted", data: b"noted\n", xattrs: &attributes, ..Entry::default() })
        .file("special/empty", 0o400, b"")
        .symlink("special/link", "../base/0/file0")
        .hardlink("special/same", "special/noted")
        .entry(&Entry { path: "special/null", kind: EntryType::Char, mode: 0o666, device: (1, 3), ..Entry::default() })
}

/// What an archive has in it, as overlayfs wants it on disk.
fn read(archive: &[u8]) -> io::Result<Tree> {
    let mut tree = Tree::default();
    for entry in tar::Archive::new(archive).entries()? {
        let mut entry = entry?;
        let path = entry.path()?.into_owned();
        let path: PathBuf = path.components().collect();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name == ".wh..wh..opq" {
            let parent = path.parent().map(PathBuf::from).unwrap_or_default();
            if let Some(directory) = tree.entries.get_mut(&parent) {
                directory.xattrs.insert("trusted.overlay.opaque".into(), b"y".to_vec());
            }
            continue;
        }
        if let Some(hidden) = name.strip_prefix(".wh.") {
            let whiteout =
                Expected { kind: Kind::Device(0, 0), mode: 0, owner: (0, 0), modified: None, xattrs: BTreeMap::new() };
            tree.entries.insert(path.with_file_name(hidden), whiteout);
            continue;
        }
        let mut xattrs = BTreeMap::new();
        if let Some(extensions) = entry.pax_extensions()? {
            for extension in extensions {
                let extension = extension?;
                let name = extension.key().map_err(io::Error::other)?.strip_prefix("SCHILY.xattr.");
                xattrs.extend(name.map(|name| (name.to_owned(), extension.value_bytes().to_vec())));
            }
        }
        let header = entry.header().clone();
        let kind = match header.entry_type() {
            EntryType::Directory => Kind::Directory,
            EntryType::Symlink => Kind::Symlink(entry.link_name()?.unwrap_or_default().into_owned()),
            EntryType::Char => {
                Kind::Device(header.device_major()?.unwrap_or_default(), header.device_minor()?.unwrap_or_default())
            }
            EntryType::Link => {
                let target: PathBuf = entry.link_name()?.unwrap_or_default().into_owned();
                if let Some(linked) = tree.entries.get(&target).cloned() {
                    tree.entries.insert(path.clone(), linked);
                }
                tree.same.insert(path, target);
                continue;
            }
            _ => {
                let mut content = Vec::new();
                entry.read_to_end(&mut content)?;
                Kind::File(content)
            }
        };
        let owner = (u32::try_from(header.uid()?), u32::try_from(header.gid()?));
        let owner = (owner.0.map_err(io::Error::other)?, owner.1.map_err(io::Error::other)?);
        let modified = i64::try_from(header.mtime()?).ok();
        tree.entries.insert(path, Expected { kind, mode: header.mode()?, owner, modified, xattrs });
    }
    Ok(tree)
}
