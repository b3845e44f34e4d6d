//! The registry client (OCI distribution specification 1.1, pull side), through the hosts that `hosts.toml` names.

mod auth;
mod endpoint;
mod hosts;
mod tls;

use std::path::PathBuf;

pub use auth::Auth;
use endpoint::{Endpoint, Kind, Trouble};
use hosts::Capability;

use crate::{
    Error, Limits,
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

/// A blob as it comes.
pub(crate) struct Download {
    response: reqwest::Response,
    reference: String,
    host: String,
}

impl Download {
    /// The next bytes, nothing at the end.
    pub async fn chunk(&mut self) -> Result<Option<bytes::Bytes>, Error> {
        self.response.chunk().await.map_err(|error| Error::Unavailable {
            reference: self.reference.clone(),
            host: self.host.clone(),
            why: endpoint::describe(&error),
        })
    }
}

/// One image's conversation with the hosts that may have it, in the order in which to ask them.
pub(crate) struct Session {
    reference: Reference,
    endpoints: Vec<Endpoint>,
}

impl Session {
    /// Finds the hosts for a reference.
    pub async fn open(config_path: Vec<PathBuf>, reference: Reference, auth: Option<Auth>) -> Result<Self, Error> {
        blocking("read the registry configuration", move || {
            let hosts = hosts::find(&config_path, reference.domain())?.into_iter();
            let endpoints =
                hosts.map(|host| Endpoint::new(host, &reference, auth.as_ref())).collect::<Result<_, _>>()?;
            Ok(Self { reference, endpoints })
        })
        .await
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
        for endpoint in self.endpoints(Capability::Pull) {
            match endpoint.blob(content, limit).await {
                Ok(blob) => return Ok(blob),
                Err(trouble) => last = self.error(endpoint, trouble),
            }
            tracing::debug!(error = %last, "host failed");
        }
        Err(last)
    }

    /// Starts to fetch a blob from the `source`th host. Who reads it verifies it.
    pub async fn download(&self, source: usize, content: &Content) -> Result<Download, Error> {
        let endpoint = self.endpoints(Capability::Pull).nth(source).ok_or_else(|| self.no_host())?;
        let response = endpoint.get(Kind::Blob, &content.digest.to_string()).await;
        let response = response.map_err(|trouble| self.error(endpoint, trouble))?;
        Ok(Download { response, reference: self.reference.to_string(), host: endpoint.host().to_owned() })
    }

    fn endpoints(&self, capability: Capability) -> impl Iterator<Item = &Endpoint> {
        self.endpoints.iter().filter(move |endpoint| endpoint.can(capability))
    }

    fn no_host(&self) -> Error {
        let why = "hosts.toml names no host with this capability".to_owned();
        Error::Registry { reference: self.reference.to_string(), host: self.reference.domain().to_owned(), why }
    }

    fn error(&self, endpoint: &Endpoint, trouble: Trouble) -> Error {
        let (reference, host) = (self.reference.to_string(), endpoint.host().to_owned());
        match trouble {
            Trouble::NotFound(answer) => Error::NotInRegistry { reference, host, answer },
            Trouble::Denied(answer) => Error::Denied { reference, host, answer },
            Trouble::Unavailable(why) => Error::Unavailable { reference, host, why },
            Trouble::Broken(why) => Error::Registry { reference, host, why },
        }
    }
}
