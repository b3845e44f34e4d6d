//! Which subnets the bridge serves: those that new pods get addresses from, and former ones that pods still live in.

use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::record::{self, Store};
use super::{Error, Subnet};
use crate::whole_file;

/// The subnets, as they are also written to `subnets.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Subnets {
    /// What the configuration said when this was written: a configuration changed since wins.
    configured: Vec<Subnet>,
    /// Where new pods' addresses come from.
    pub(super) current: Vec<Subnet>,
    /// Where there are still addresses from.
    pub(super) former: Vec<Subnet>,
}

impl Subnets {
    /// Those that an earlier daemon left, or the configured ones.
    pub(super) fn open(directory: &Path, configured: &[Subnet], store: &Store) -> Result<Self, Error> {
        let path = directory.join("subnets.json");
        whole_file::remove_interrupted(&path).map_err(Error::io("remove", &path))?;
        let fresh = Self { configured: configured.to_vec(), current: configured.to_vec(), former: Vec::new() };
        let left: Self = match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map_err(|e| Error::Record { path: path.clone(), reason: e.to_string() })?,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(fresh),
            Err(e) => return Err(Error::io("read", path)(e)),
        };
        let wanted = if left.configured == configured { left.current.clone() } else { configured.to_vec() };
        Ok(Self { configured: configured.to_vec(), ..left.moved_to(&wanted, store) })
    }

    /// New pods get addresses from these; the subnets that pods still live in are kept as former ones.
    pub(super) fn moved_to(&self, wanted: &[Subnet], store: &Store) -> Self {
        let lived_in = |subnet: &Subnet| addresses(store).any(|ip| subnet.contains(ip));
        let before = self.current.iter().chain(&self.former);
        let former = before.filter(|subnet| !wanted.contains(subnet) && lived_in(subnet)).copied().collect();
        Self { configured: self.configured.clone(), current: wanted.to_vec(), former }
    }

    /// All of them, current ones first.
    pub(super) fn served(&self) -> Vec<Subnet> {
        self.current.iter().chain(&self.former).copied().collect()
    }

    pub(super) fn write(&self, directory: &Path) -> Result<(), Error> {
        record::write(&directory.join("subnets.json"), self)
    }
}

/// The pods' addresses.
pub(super) fn addresses(store: &Store) -> impl Iterator<Item = IpAddr> {
    store.all().flat_map(|record| record.ips.iter().copied())
}
