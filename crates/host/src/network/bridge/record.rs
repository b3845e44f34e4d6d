//! What is allocated to whom: one file for each pod, mirrored in memory.

use std::collections::BTreeMap;
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::super::{HostPort, PodNetwork};
use super::Error;
use crate::whole_file;

const VERSION: u32 = 1;

/// What one pod has, or is about to have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    version: u32,
    pub(super) id: String,
    pub(super) pod: String,
    pub(super) netns: PathBuf,
    pub(super) link: String,
    pub(super) ips: Vec<IpAddr>,
    pub(super) host_ports: Vec<HostPort>,
    pub(super) phase: Phase,
}

/// Where a pod is between attach and the end of its veth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Phase {
    /// It has its addresses and host ports.
    Attached,
    /// It is detached; its addresses and host ports are free when its veth is gone.
    Leaving,
}

impl Record {
    pub(super) fn new(pod: &PodNetwork, link: String, ips: Vec<IpAddr>, host_ports: Vec<HostPort>) -> Self {
        let (id, netns) = (pod.id.clone(), pod.netns.clone());
        let pod = format!("{}/{}", pod.namespace, pod.name);
        Record { version: VERSION, id, pod, netns, link, ips, host_ports, phase: Phase::Attached }
    }
}

/// Every record, and the addresses that were given out last.
#[derive(Debug)]
pub(super) struct Store {
    pods: PathBuf,
    last_file: PathBuf,
    records: BTreeMap<String, Record>,
    last: Vec<IpAddr>,
}

impl Store {
    pub(super) fn open(directory: &Path) -> Result<Self, Error> {
        let (pods, last_file) = (directory.join("pods"), directory.join("last.json"));
        fs::create_dir_all(&pods).map_err(Error::io("create", &pods))?;
        let records = read_all(&pods)?;
        whole_file::remove_interrupted(&last_file).map_err(Error::io("remove", &last_file))?;
        // Where the last addresses cannot be read the search starts over: no harm is done.
        let last = fs::read(&last_file).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
        Ok(Store { pods, last_file, records, last })
    }

    pub(super) fn get(&self, id: &str) -> Option<&Record> {
        self.records.get(id)
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Record> {
        self.records.values()
    }

    pub(super) fn last(&self) -> &[IpAddr] {
        &self.last
    }

    /// Writes a record, in one piece, and then remembers it.
    pub(super) fn put(&mut self, record: &Record) -> Result<(), Error> {
        write(&self.pods.join(format!("{}.json", record.id)), record)?;
        if record.phase == Phase::Attached {
            write(&self.last_file, &record.ips)?;
            self.last.clone_from(&record.ips);
        }
        self.records.insert(record.id.clone(), record.clone());
        Ok(())
    }

    pub(super) fn remove(&mut self, id: &str) -> Result<(), Error> {
        let path = self.pods.join(format!("{id}.json"));
        whole_file::remove(&path).map_err(Error::io("remove", &path))?;
        self.records.remove(id);
        Ok(())
    }
}

/// Ids become file names and parts of link names.
pub(super) fn validate_id(id: &str) -> Result<(), Error> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if !id.is_empty() && id.len() <= 100 && id.chars().all(allowed) {
        return Ok(());
    }
    let reason = "expected 1 to 100 letters, digits, - and _".to_owned();
    Err(Error::Invalid { key: "sandbox id", value: id.to_owned(), reason })
}

fn read_all(directory: &Path) -> Result<BTreeMap<String, Record>, Error> {
    let mut records = BTreeMap::new();
    for entry in fs::read_dir(directory).map_err(Error::io("list", directory))? {
        let path = entry.map_err(Error::io("list", directory))?.path();
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("json") => {
                let record = read(&path)?;
                records.insert(record.id.clone(), record);
            }
            // A write that was interrupted: what it would have replaced still counts.
            _ => fs::remove_file(&path).map_err(Error::io("remove", &path))?,
        }
    }
    Ok(records)
}

fn read(path: &Path) -> Result<Record, Error> {
    let bytes = fs::read(path).map_err(Error::io("read", path))?;
    let invalid = |reason: String| Error::Record { path: path.to_owned(), reason };
    let record: Record = serde_json::from_slice(&bytes).map_err(|e| invalid(e.to_string()))?;
    if record.version != VERSION {
        return Err(invalid(format!("version {} is not known, expected {VERSION}", record.version)));
    }
    if path.file_stem().and_then(|stem| stem.to_str()) != Some(record.id.as_str()) {
        return Err(invalid(format!("it is about sandbox `{}`", record.id)));
    }
    Ok(record)
}

/// Writes a file in one piece.
pub(super) fn write(path: &Path, value: &impl Serialize) -> Result<(), Error> {
    let bytes = serde_json::to_vec(value).map_err(|e| Error::io("write", path)(e.into()))?;
    whole_file::write(path, bytes).map_err(Error::io("write", path))
}
