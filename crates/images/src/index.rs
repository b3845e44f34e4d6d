//! The durable record of what is whole: images, references and layers, in one redb file.
//!
//! Values are JSON with a version, so that a person and a later release can read them.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition, TableError};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{Error, Usage, check::Sum, digest::Digest, image::ImageLayer};

const IMAGES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("images");
const REFERENCES: TableDefinition<'_, &str, &str> = TableDefinition::new("references");
const LAYERS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("layers");
/// Made with the first blob that is kept; releases that keep none do not look at it.
const BLOBS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("blobs");
const VERSION: u32 = 1;

/// An image, under the digest of its configuration.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ImageRecord {
    version: u32,
    /// The configuration, byte for byte.
    pub config: String,
    /// Bytes of manifest, configuration and compressed layers.
    pub size: u64,
    /// Lowest first.
    pub layers: Vec<ImageLayer>,
    /// Directories whose attributes a layer above covers, each with the layer that has them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub covered: BTreeMap<String, Digest>,
    /// What the manifest says of the image.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// What it came as, if that is kept, the latest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub originals: Vec<Original>,
}

impl ImageRecord {
    pub fn new(config: String, size: u64, layers: Vec<ImageLayer>, covered: BTreeMap<String, Digest>) -> Self {
        let (annotations, originals) = (BTreeMap::new(), Vec::new());
        Self { version: VERSION, config, size, layers, covered, annotations, originals }
    }
}

/// What an image came as: blobs that are kept, as long as none of them is found damaged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Original {
    /// The indexes that led to it, if any, and last its manifest.
    pub documents: Vec<Digest>,
    /// Its layers' blobs, lowest first.
    pub layers: Vec<Digest>,
}

impl Original {
    /// Everything of it.
    pub fn blobs(&self) -> impl Iterator<Item = &Digest> {
        self.documents.iter().chain(&self.layers)
    }
}

/// A kept blob, under its digest.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct BlobRecord {
    version: u32,
    /// In bytes.
    pub size: u64,
    pub usage: Usage,
}

impl BlobRecord {
    pub fn new(size: u64, usage: Usage) -> Self {
        Self { version: VERSION, size, usage }
    }
}

/// A layer, under its diff id.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct LayerRecord {
    version: u32,
    /// The name of its directory.
    pub directory: u64,
    pub usage: Usage,
    /// Whether the archive describes the root directory.
    pub has_root: bool,
    /// Directories that the archive uses but does not describe.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub implied: Vec<String>,
    /// How the record of its files can be verified; earlier releases made none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files: Option<Sum>,
    /// What is wrong with the layer, if it is known to be broken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub broken: Option<String>,
    /// The directories that it had before it was pulled anew, as long as containers show them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub previous: Vec<Previous>,
}

/// A directory that a layer had.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Previous {
    pub directory: u64,
    /// The snapshots that were there then.
    pub snapshots: Vec<String>,
}

impl LayerRecord {
    pub fn new(directory: u64, usage: Usage, has_root: bool, implied: Vec<String>, files: Sum) -> Self {
        let (files, broken, previous) = (Some(files), None, Vec::new());
        Self { version: VERSION, directory, usage, has_root, implied, files, broken, previous }
    }

    /// Every directory that is the layer's.
    pub fn directories(&self) -> impl Iterator<Item = u64> {
        std::iter::once(self.directory).chain(self.previous.iter().map(|previous| previous.directory))
    }
}

/// One step of a change; a change is all of its steps or none.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    PutImage(Digest, ImageRecord),
    DropImage(Digest),
    PutReference(String, Digest),
    DropReference(String),
    PutLayer(Digest, LayerRecord),
    DropLayer(Digest),
    PutBlob(Digest, BlobRecord),
    DropBlob(Digest),
}

/// Everything in the index.
#[derive(Debug, Default)]
pub(crate) struct Contents {
    pub images: BTreeMap<Digest, ImageRecord>,
    pub references: BTreeMap<String, Digest>,
    pub layers: BTreeMap<Digest, LayerRecord>,
    pub blobs: BTreeMap<Digest, BlobRecord>,
}

/// The open index.
pub(crate) struct Index {
    database: Database,
    path: PathBuf,
}

impl Index {
    /// Opens the index, making it where it is missing.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let fail = failure(path, "open");
        let database = Database::create(path).map_err(|error| fail(&error))?;
        let index = Self { database, path: path.to_owned() };
        index.apply(&[])?;
        Ok(index)
    }

    /// Makes a change durable.
    pub fn apply(&self, steps: &[Step]) -> Result<(), Error> {
        self.try_apply(steps).map_err(|error| failure(&self.path, "write")(&error))
    }

    fn try_apply(&self, steps: &[Step]) -> Result<(), redb::Error> {
        let transaction = self.database.begin_write()?;
        {
            let mut images = transaction.open_table(IMAGES)?;
            let mut references = transaction.open_table(REFERENCES)?;
            let mut layers = transaction.open_table(LAYERS)?;
            for step in steps {
                match step {
                    Step::PutImage(id, image) => {
                        images.insert(id.to_string().as_str(), json(image)?.as_slice())?;
                    }
                    Step::DropImage(id) => drop(images.remove(id.to_string().as_str())?),
                    Step::PutReference(name, id) => {
                        references.insert(name.as_str(), id.to_string().as_str())?;
                    }
                    Step::DropReference(name) => drop(references.remove(name.as_str())?),
                    Step::PutLayer(id, layer) => {
                        layers.insert(id.to_string().as_str(), json(layer)?.as_slice())?;
                    }
                    Step::DropLayer(id) => drop(layers.remove(id.to_string().as_str())?),
                    Step::PutBlob(id, blob) => {
                        let mut blobs = transaction.open_table(BLOBS)?;
                        blobs.insert(id.to_string().as_str(), json(blob)?.as_slice())?;
                    }
                    Step::DropBlob(id) => drop(transaction.open_table(BLOBS)?.remove(id.to_string().as_str())?),
                }
            }
        }
        transaction.commit()?;
        Ok(())
    }

    /// Reads everything. A record that cannot be read is logged and left out: its image has to be pulled again.
    pub fn load(&self) -> Result<Contents, Error> {
        self.try_load().map_err(|error| failure(&self.path, "read")(&error))
    }

    fn try_load(&self) -> Result<Contents, redb::Error> {
        let transaction = self.database.begin_read()?;
        let mut contents = Contents::default();
        for row in transaction.open_table(IMAGES)?.iter()? {
            let (key, value) = row?;
            contents.images.extend(record(key.value(), value.value()));
        }
        for row in transaction.open_table(LAYERS)?.iter()? {
            let (key, value) = row?;
            contents.layers.extend(record(key.value(), value.value()));
        }
        for row in transaction.open_table(REFERENCES)?.iter()? {
            let (key, value) = row?;
            if let Ok(id) = value.value().parse() {
                contents.references.insert(key.value().to_owned(), id);
            }
        }
        let blobs = match transaction.open_table(BLOBS) {
            Err(TableError::TableDoesNotExist(_)) => return Ok(contents),
            blobs => blobs?,
        };
        for row in blobs.iter()? {
            let (key, value) = row?;
            contents.blobs.extend(record(key.value(), value.value()));
        }
        Ok(contents)
    }
}

fn json(value: &impl Serialize) -> Result<Vec<u8>, redb::Error> {
    serde_json::to_vec(value).map_err(|error| redb::Error::Io(error.into()))
}

fn record<T: DeserializeOwned>(key: &str, value: &[u8]) -> Option<(Digest, T)> {
    #[derive(Deserialize)]
    struct Versioned {
        version: u32,
    }
    let read = || -> Result<(Digest, T), String> {
        let id = key.parse::<Digest>().map_err(|error| error.to_string())?;
        let Versioned { version } = serde_json::from_slice(value).map_err(|error| error.to_string())?;
        if version != VERSION {
            return Err(format!("version {version} is not {VERSION}"));
        }
        Ok((id, serde_json::from_slice(value).map_err(|error| error.to_string())?))
    };
    read().inspect_err(|error| tracing::warn!(key, error, "image index: record left out")).ok()
}

fn failure(path: &Path, operation: &'static str) -> impl Fn(&dyn std::error::Error) -> Error {
    let path = path.to_owned();
    move |error| Error::Index { operation, path: path.clone(), why: error.to_string() }
}
