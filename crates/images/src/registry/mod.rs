//! The registry client (OCI distribution specification 1.1, pull side), through the hosts that `hosts.toml` names.

mod answer;
mod auth;
mod credentials;
mod download;
mod endpoint;
pub(crate) mod explain;
mod hosts;
mod settings;
mod tls;

use std::sync::Arc;

use answer::Trouble;
pub use auth::Auth;
use credentials::Keyring;
pub(crate) use download::Download;
use download::Sources;
use endpoint::Endpoint;
pub use explain::{Answer, Explanation, HostExplanation, Place};
use hosts::Capability;
pub use settings::{Credentials, HostsBlocks, Login, Secret};

use crate::{
    Config, Downloads, Error, Limits,
    digest::Digest,
    error::blocking,
    manifest::Content,
    reference::{Reference, Version},
};

/// A manifest as it came.
pub(crate) struct Fetched {
    pub bytes: Vec<u8>,
    pub digest: Digest,
    pub content_type: Option<String>,
}

/// One image's conversation with the hosts that may have it, in the order in which to ask them.
pub(crate) struct Session {
    reference: Reference,
    endpoints: Vec<Arc<Endpoint>>,
    settings: Arc<Downloads>,
}

impl Session {
    /// Finds the hosts for a reference.
    pub async fn open(config: &Config, reference: Reference, auth: Option<Auth>) -> Result<Self, Error> {
        let keyring = Arc::new(Keyring::new(auth, config.clone(), reference.clone()));
        let (config, settings) = (config.clone(), Arc::new(config.download.clone()));
        blocking("read the registry configuration", move || {
            let hosts = hosts::find(&config, reference.domain())?.into_iter();
            let endpoint = |host| Endpoint::new(host, &reference, keyring.clone(), settings.clone()).map(Arc::new);
            let endpoints = hosts.map(endpoint).collect::<Result<_, _>>()?;
            Ok(Self { reference, endpoints, settings })
        })
        .await
    }

    /// The registry that is meant.
    pub fn registry(&self) -> &str {
        self.reference.domain()
    }

    /// How many hosts there are to get content from.
    pub fn sources(&self) -> usize {
        self.endpoints(Capability::Pull).count()
    }

    /// Fetches a manifest, verified against the digest asked for. One host is asked after the other; the last one's answer
    /// counts: it is the registry itself, mirrors come before.
    pub async fn manifest(&self, version: &Version, limits: &Limits) -> Result<Fetched, Error> {
        let capability = match version {
            Version::Tag(_) => Capability::Resolve,
            Version::Digest(_) => Capability::Pull,
        };
        let mut last = self.no_host();
        for endpoint in self.endpoints(capability) {
            match endpoint.manifest(version, limits.manifest_bytes).await {
                Ok(manifest) => return Ok(manifest),
                Err(trouble) => last = self.error(endpoint, trouble),
            }
            tracing::debug!(error = %last, "host failed");
        }
        Err(last)
    }

    /// Fetches a small blob, verified, from the first host that has it.
    pub async fn blob(&self, content: &Content, limit: u64) -> Result<Vec<u8>, Error> {
        let mut last = self.no_host();
        for source in 0..self.sources() {
            let mut download = self.download(source, content)?;
            if content.size > limit {
                let (digest, size) = (content.digest, content.size);
                return Err(download.wrong(format!("blob {digest}: {size} bytes are more than the limit of {limit}")));
            }
            match small(&mut download, content).await? {
                Ok(blob) => return Ok(blob),
                // Another host may have the right content. Whether one has any was found out already.
                Err(wrong) => last = wrong,
            }
            tracing::debug!(error = %last, "host failed");
        }
        Err(last)
    }

    /// Starts to fetch a blob from the `source`th host, and from those after it what that does not give. Who reads it
    /// verifies it.
    pub fn download(&self, source: usize, content: &Content) -> Result<Download, Error> {
        let endpoints: Vec<_> = self.endpoints(Capability::Pull).skip(source).cloned().collect();
        if endpoints.is_empty() {
            return Err(self.no_host());
        }
        let (reference, settings) = (self.reference.to_string(), self.settings.clone());
        Ok(Download::new(Sources::new(reference, *content, endpoints, settings)))
    }

    fn endpoints(&self, capability: Capability) -> impl Iterator<Item = &Arc<Endpoint>> {
        self.endpoints.iter().filter(move |endpoint| endpoint.can(capability))
    }

    fn no_host(&self) -> Error {
        let why = "hosts.toml names no host with this capability".to_owned();
        Error::Registry { reference: self.reference.to_string(), host: self.reference.domain().to_owned(), why }
    }

    fn error(&self, endpoint: &Endpoint, trouble: Trouble) -> Error {
        error(&self.reference.to_string(), endpoint.host(), trouble)
    }
}

/// What a host's failure means for the image.
fn error(reference: &str, host: &str, trouble: Trouble) -> Error {
    let (reference, host) = (reference.to_owned(), host.to_owned());
    match trouble {
        Trouble::NotFound(answer) => Error::NotInRegistry { reference, host, answer },
        Trouble::Denied(answer) => Error::Denied { reference, host, answer },
        Trouble::Unavailable(why, _) => Error::Unavailable { reference, host, why },
        Trouble::Broken(why) => Error::Registry { reference, host, why },
    }
}

/// A whole blob, or how it is another than the one described.
async fn small(download: &mut Download, content: &Content) -> Result<Result<Vec<u8>, Error>, Error> {
    let Content { digest, size } = content;
    let mut bytes = Vec::new();
    while let Some(chunk) = download.chunk().await? {
        bytes.extend_from_slice(&chunk);
        if bytes.len() as u64 > *size {
            break;
        }
    }
    let got = Digest::of(&bytes);
    if bytes.len() as u64 == *size && got == *digest {
        return Ok(Ok(bytes));
    }
    let got = format!("{} bytes with digest {got}", bytes.len());
    Ok(Err(download.wrong(format!("blob {digest}: got {got}, want {size} bytes"))))
}
