//! What was asked of plugins for each pod, so that it can be taken back: one file for each sandbox.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::config::{Conflist, PluginConf, Version};
use super::error::Error;
use crate::whole_file;

const VERSION: u32 = 1;

/// An attachment: written before the first ADD, completed after the last, removed after every DEL.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Attachment {
    version: u32,
    pub(super) id: String,
    pub(super) netns: PathBuf,
    pub(super) args: String,
    pub(super) capabilities: Map<String, Value>,
    network: Network,
    /// The last plugin's result, once there is one.
    #[serde(default)]
    pub(super) result: Option<Value>,
}

/// The network configuration as it was at ADD: DEL uses the same, whatever is in the directory by then.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Network {
    name: String,
    cni_version: String,
    disable_check: bool,
    plugins: Vec<Map<String, Value>>,
}

impl Attachment {
    pub(super) fn new(
        id: &str,
        netns: &Path,
        args: String,
        capabilities: Map<String, Value>,
        conflist: &Conflist,
    ) -> Self {
        let network = Network {
            name: conflist.name.clone(),
            cni_version: conflist.version.as_str().to_owned(),
            disable_check: conflist.disable_check,
            plugins: conflist.plugins.iter().map(|plugin| plugin.object.clone()).collect(),
        };
        let (id, netns) = (id.to_owned(), netns.to_owned());
        Attachment { version: VERSION, id, netns, args, capabilities, network, result: None }
    }

    /// The configuration as it was at ADD.
    pub(super) fn conflist(&self) -> Result<Conflist, String> {
        let network = &self.network;
        let version = Version::parse(&network.cni_version).ok_or("its cni_version is not known")?;
        let plugin = |object: &Map<String, Value>| {
            let kind = object.get("type").and_then(Value::as_str).ok_or("a plugin has no type")?.to_owned();
            Ok::<_, String>(PluginConf { kind, object: object.clone() })
        };
        let plugins = network.plugins.iter().map(plugin).collect::<Result<Vec<_>, _>>()?;
        let (name, disable_check) = (network.name.clone(), network.disable_check);
        Ok(Conflist { name, version, disable_check, disable_gc: false, plugins })
    }
}

/// The directory of attachments.
#[derive(Debug)]
pub(super) struct Cache {
    directory: PathBuf,
}

impl Cache {
    pub(super) fn new(directory: &Path) -> Self {
        Cache { directory: directory.to_owned() }
    }

    pub(super) fn path(&self, id: &str) -> PathBuf {
        self.directory.join(format!("{id}.json"))
    }

    pub(super) fn get(&self, id: &str) -> Result<Option<Attachment>, Error> {
        let path = self.path(id);
        let bytes = match fs::read(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            bytes => bytes.map_err(failed("read", &path))?,
        };
        let attachment: Attachment =
            serde_json::from_slice(&bytes).map_err(|e| failed("read", &path)(io::Error::other(e)))?;
        if attachment.version != VERSION {
            let reason = format!("version {} is not known, expected {VERSION}", attachment.version);
            return Err(failed("read", &path)(io::Error::other(reason)));
        }
        Ok(Some(attachment))
    }

    pub(super) fn put(&self, attachment: &Attachment) -> Result<(), Error> {
        fs::create_dir_all(&self.directory).map_err(failed("create", &self.directory))?;
        let path = self.path(&attachment.id);
        let bytes = serde_json::to_vec(attachment).map_err(|e| failed("write", &path)(e.into()))?;
        whole_file::write(&path, bytes).map_err(failed("write", &path))
    }

    pub(super) fn remove(&self, id: &str) -> Result<(), Error> {
        let path = self.path(id);
        whole_file::remove(&path).map_err(failed("remove", &path))
    }

    /// The ids of every attachment.
    pub(super) fn ids(&self) -> Result<Vec<String>, Error> {
        let mut ids = Vec::new();
        let entries = match fs::read_dir(&self.directory) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(ids),
            entries => entries.map_err(failed("list", &self.directory))?,
        };
        for entry in entries {
            let path = entry.map_err(failed("list", &self.directory))?.path();
            if path.extension().is_some_and(|extension| extension == "json") {
                ids.extend(path.file_stem().and_then(|stem| stem.to_str()).map(str::to_owned));
            }
        }
        ids.sort();
        Ok(ids)
    }
}

fn failed(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Cache { operation, path, source }
}
