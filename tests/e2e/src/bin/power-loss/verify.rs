//! Looking at the disk: the store's directories and its index, by nothing of Corten's.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::Command,
};

use redb::{ReadableDatabase, ReadableTable, TableDefinition};
use rustix::fs::{lgetxattr, llistxattr, major, minor};
use serde_json::Value;

use crate::images::{Expected, Images, Kind, Tree};

const TABLES: [TableDefinition<'_, &str, &[u8]>; 2] = [TableDefinition::new("images"), TableDefinition::new("layers")];
const REFERENCES: TableDefinition<'_, &str, &str> = TableDefinition::new("references");

/// A file system of the guest's that is mounted here. Unmounted when dropped.
pub struct Mounted(PathBuf);

impl Mounted {
    /// Mounts a copy of the disk: its journal is replayed.
    pub fn new(image: &Path, kind: &str, at: &Path) -> Result<Self, String> {
        fs::create_dir_all(at).map_err(|error| error.to_string())?;
        let options = if kind == "xfs" { "loop,nouuid" } else { "loop" };
        let output = Command::new("mount").args(["-t", kind, "-o", options]).arg(image).arg(at).output();
        let output = output.map_err(|error| error.to_string())?;
        match output.status.success() {
            true => Ok(Self(at.to_owned())),
            false => Err(format!("cannot mount the disk: {}", String::from_utf8_lossy(&output.stderr))),
        }
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

/// What the index has.
struct Index {
    /// Ids with the digests of their layers.
    images: BTreeMap<String, Vec<String>>,
    layers: BTreeMap<String, Value>,
    /// Names with the ids that they mean.
    references: BTreeMap<String, String>,
}

/// Everything that is wrong with a store: with every image of its index, every layer, and what it should not have.
/// `listed` is what the daemon says that it has: names with ids.
pub fn store(root: &Path, images: &Images, listed: &BTreeMap<String, String>) -> Result<Vec<String>, String> {
    let mut wrong = Vec::new();
    let index = index(&root.join("index.redb")).map_err(|error| format!("cannot read the index: {error}"))?;
    let tags = index.references.iter().filter(|(name, _)| !name.contains('@'));
    let tags: BTreeMap<_, _> = tags.map(|(name, id)| (name.clone(), id.clone())).collect();
    if tags != *listed {
        wrong.push(format!("the daemon lists {listed:?}, the index has {tags:?}"));
    }
    let mut used = BTreeSet::new();
    for (id, layers) in &index.images {
        match images.all.iter().find(|image| image.id == *id) {
            Some(image) if image.layers == *layers => {}
            _ => wrong.push(format!("image {id} with layers {layers:?} was never made")),
        }
        used.extend(layers);
    }
    let dangling = index.references.iter().filter(|(_, id)| !index.images.contains_key(*id));
    wrong.extend(dangling.map(|(name, id)| format!("{name} means {id}, which is not there")));
    let missing = used.iter().filter(|layer| !index.layers.contains_key(**layer));
    wrong.extend(missing.map(|layer| format!("layer {layer} is used and not there")));
    let mut places = BTreeSet::new();
    for (digest, record) in &index.layers {
        if !used.contains(digest) {
            wrong.push(format!("layer {digest} is in the index and no image has it"));
        }
        if !record["broken"].is_null() {
            wrong.push(format!("layer {digest} counts as broken: {}", record["broken"]));
        }
        if record["previous"].as_array().is_some_and(|previous| !previous.is_empty()) {
            wrong.push(format!("layer {digest} has former directories: {}", record["previous"]));
        }
        let place = record["directory"].to_string();
        let Some(tree) = images.layers.get(digest) else {
            wrong.push(format!("layer {digest} was never made"));
            continue;
        };
        let found = layer(&root.join("l").join(&place), tree).map_err(|error| format!("layer {digest}: {error}"))?;
        wrong.extend(found.into_iter().map(|what| format!("layer {digest} in {place}: {what}")));
        places.extend([format!("{place}.files"), place]);
    }
    let there = names(&root.join("l"))?;
    wrong.extend(there.difference(&places).map(|name| format!("l/{name} is no layer's")));
    wrong.extend(places.difference(&there).map(|name| format!("l/{name} is missing")));
    wrong.extend(names(&root.join("t"))?.iter().map(|name| format!("t/{name} was left")));
    Ok(wrong)
}

fn names(directory: &Path) -> Result<BTreeSet<String>, String> {
    let read = || -> io::Result<BTreeSet<String>> {
        let name = |entry: io::Result<fs::DirEntry>| Ok(entry?.file_name().to_string_lossy().into_owned());
        fs::read_dir(directory)?.map(name).collect()
    };
    read().map_err(|error| format!("{}: {error}", directory.display()))
}

fn index(path: &Path) -> Result<Index, Box<dyn std::error::Error>> {
    let database = redb::Database::open(path)?;
    let transaction = database.begin_read()?;
    let mut tables = TABLES.iter().map(|table| {
        let mut rows = BTreeMap::new();
        for row in transaction.open_table(*table)?.iter()? {
            let (key, value) = row?;
            rows.insert(key.value().to_owned(), serde_json::from_slice::<Value>(value.value())?);
        }
        Ok::<_, Box<dyn std::error::Error>>(rows)
    });
    let images = tables.next().ok_or("no table")??;
    let layers = tables.next().ok_or("no table")??;
    let of = |record: &Value| {
        let layers = record["layers"].as_array().into_iter().flatten();
        layers.map(|layer| layer["diff_id"].as_str().unwrap_or_default().to_owned()).collect()
    };
    let images = images.iter().map(|(id, record)| (id.clone(), of(record))).collect();
    let mut references = BTreeMap::new();
    for row in transaction.open_table(REFERENCES)?.iter()? {
        let (key, value) = row?;
        references.insert(key.value().to_owned(), value.value().to_owned());
    }
    Ok(Index { images, layers, references })
}

/// What is wrong with a layer's directory.
fn layer(directory: &Path, tree: &Tree) -> io::Result<Vec<String>> {
    let mut wrong = Vec::new();
    let mut found = BTreeSet::new();
    let mut left = vec![PathBuf::new()];
    while let Some(parent) = left.pop() {
        let entries = match fs::read_dir(directory.join(&parent)) {
            Ok(entries) => entries,
            Err(error) => {
                wrong.push(format!("{}: {error}", parent.display()));
                continue;
            }
        };
        for entry in entries {
            let path = parent.join(entry?.file_name());
            let Some(expected) = tree.entries.get(&path) else {
                wrong.push(format!("{} should not be there", path.display()));
                continue;
            };
            let seen = observe(&directory.join(&path), expected)?;
            if seen != *expected {
                wrong.push(format!("{} is {seen:?}, not {expected:?}", path.display()));
            }
            if seen.kind == Kind::Directory {
                left.push(path.clone());
            }
            found.insert(path);
        }
    }
    let missing = tree.entries.keys().filter(|path| !found.contains(*path));
    wrong.extend(missing.map(|path| format!("{} is missing", path.display())));
    for (path, other) in &tree.same {
        let number = |path: &Path| fs::symlink_metadata(directory.join(path)).map(|file| file.ino()).ok();
        if number(path) != number(other) {
            wrong.push(format!("{} is not the same file as {}", path.display(), other.display()));
        }
    }
    Ok(wrong)
}

fn observe(path: &Path, expected: &Expected) -> io::Result<Expected> {
    let file = fs::symlink_metadata(path)?;
    let kind = if file.is_dir() {
        Kind::Directory
    } else if file.is_symlink() {
        Kind::Symlink(fs::read_link(path)?)
    } else if file.is_file() {
        Kind::File(fs::read(path)?)
    } else {
        Kind::Device(major(file.rdev()), minor(file.rdev()))
    };
    // A symbolic link's are not its own.
    let mode = if file.is_symlink() || expected.modified.is_none() { expected.mode } else { file.mode() & 0o7777 };
    let modified = expected.modified.map(|_| file.mtime());
    Ok(Expected { kind, mode, owner: (file.uid(), file.gid()), modified, xattrs: xattrs(path)? })
}

fn xattrs(path: &Path) -> io::Result<BTreeMap<String, Vec<u8>>> {
    let mut names = vec![0; 4096];
    let length = llistxattr(path, &mut names[..])?;
    let names = names.get(..length).unwrap_or_default().split(|byte| *byte == 0).filter(|name| !name.is_empty());
    let read = |name: &[u8]| {
        let name = String::from_utf8_lossy(name).into_owned();
        let mut value = vec![0; 4096];
        let length = lgetxattr(path, name.as_str(), &mut value[..])?;
        value.truncate(length);
        Ok((name, value))
    };
    names.map(read).collect()
}
