//! What the registry has, and how often it was asked for.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU64, Ordering},
};

use bytes::Bytes;

use super::Account;
use crate::image::{Access, Entry, Image, Manifest};

/// Everything there is to serve.
#[derive(Debug)]
pub struct Content {
    images: Vec<Entry>,
    account: Account,
    manifest_requests: BTreeMap<String, AtomicU64>,
    downloads: BTreeMap<String, AtomicU64>,
}

impl Content {
    pub fn new(images: Vec<Entry>, account: Account) -> Self {
        let manifest_requests = images.iter().map(|entry| (entry.repository.clone(), AtomicU64::new(0))).collect();
        let blobs = images.iter().flat_map(|entry| &entry.image.blobs);
        let downloads = blobs.map(|blob| (blob.digest.clone(), AtomicU64::new(0))).collect();
        Self { images, account, manifest_requests, downloads }
    }

    pub fn account(&self) -> &Account {
        &self.account
    }

    pub fn image(&self, repository: &str, tag: &str) -> Option<&Image> {
        self.repository(repository).find(|entry| entry.tag == tag).map(|entry| &entry.image)
    }

    fn repository(&self, name: &str) -> impl Iterator<Item = &Entry> {
        self.images.iter().filter(move |entry| entry.repository == name)
    }

    /// Who may read a repository, if there is such a one.
    pub fn access(&self, repository: &str) -> Option<Access> {
        self.repository(repository).next().map(|entry| entry.access)
    }

    /// A manifest by tag or digest.
    pub fn manifest(&self, repository: &str, reference: &str) -> Option<&Manifest> {
        let tagged = self.image(repository, reference).map(|image| &image.manifest);
        let all =
            || self.repository(repository).flat_map(|entry| entry.image.members.iter().chain([&entry.image.manifest]));
        let found = tagged.or_else(|| all().find(|manifest| manifest.blob.digest == reference));
        if let (Some(_), Some(count)) = (found, self.manifest_requests.get(repository)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        found
    }

    /// A blob of a repository.
    pub fn blob(&self, repository: &str, digest: &str) -> Option<Bytes> {
        let mut blobs = self.repository(repository).flat_map(|entry| &entry.image.blobs);
        blobs.find(|blob| blob.digest == digest)?.content.clone()
    }

    /// Counts a download.
    pub fn downloaded(&self, digest: &str) {
        if let Some(count) = self.downloads.get(digest) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub fn manifest_requests(&self, repository: &str) -> u64 {
        self.manifest_requests.get(repository).map_or(0, |count| count.load(Ordering::Relaxed))
    }

    pub fn downloads(&self, digest: &str) -> u64 {
        self.downloads.get(digest).map_or(0, |count| count.load(Ordering::Relaxed))
    }
}
