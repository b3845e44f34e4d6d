//! HTTP clients, one for each way to trust a server.

use std::{path::PathBuf, sync::OnceLock, time::Duration};

use reqwest::{Certificate, Client, Identity, redirect};

use crate::Error;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
/// Between two pieces of a body: a slow registry is fine, a silent one is not.
const STALL_TIMEOUT: Duration = Duration::from_secs(60);

/// What `hosts.toml` says about TLS.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Tls {
    /// More certificate authorities, as PEM files.
    pub ca: Vec<PathBuf>,
    /// Client certificate and key, as PEM files; the key may be in the same file.
    pub client: Option<(PathBuf, Option<PathBuf>)>,
    pub skip_verify: bool,
    /// Instead of the usual time to connect.
    pub dial_timeout: Option<Duration>,
}

/// A client that trusts accordingly. The one without special settings is shared.
pub(super) fn client(tls: &Tls) -> Result<Client, Error> {
    static SHARED: OnceLock<Client> = OnceLock::new();
    if *tls != Tls::default() {
        return build(tls);
    }
    if let Some(client) = SHARED.get() {
        return Ok(client.clone());
    }
    let client = build(tls)?;
    Ok(SHARED.get_or_init(|| client).clone())
}

fn build(tls: &Tls) -> Result<Client, Error> {
    // Fails if one is there already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut builder = Client::builder()
        .user_agent(concat!("corten/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(tls.dial_timeout.unwrap_or(CONNECT_TIMEOUT))
        .read_timeout(STALL_TIMEOUT)
        .redirect(redirect::Policy::none())
        .tls_certs_only(authorities(tls)?);
    if tls.skip_verify {
        builder = builder.tls_danger_accept_invalid_certs(true);
    }
    if let Some((certificate, key)) = &tls.client {
        builder = builder.identity(identity(certificate, key.as_ref())?);
    }
    builder
        .build()
        .map_err(|error| Error::Task { operation: "set up the HTTP client", why: super::endpoint::describe(&error) })
}

/// The system's authorities and the configured ones. A machine without any can still talk plain HTTP.
fn authorities(tls: &Tls) -> Result<Vec<Certificate>, Error> {
    static SYSTEM: OnceLock<Vec<Certificate>> = OnceLock::new();
    let system = SYSTEM.get_or_init(|| {
        let found = rustls_native_certs::load_native_certs();
        for error in &found.errors {
            tracing::debug!(%error, "system certificate left out");
        }
        let mut store = rustls::RootCertStore::empty();
        // Old or odd ones are left out here, where they would fail the client later.
        let usable = found.certs.into_iter().filter(|certificate| store.add(certificate.clone()).is_ok());
        usable.filter_map(|certificate| Certificate::from_der(&certificate).ok()).collect()
    });
    let mut all = system.clone();
    for path in &tls.ca {
        let pem = read(path)?;
        let bundle = Certificate::from_pem_bundle(&pem);
        all.extend(bundle.map_err(|error| Error::HostsFile { path: path.clone(), why: error.to_string() })?);
    }
    Ok(all)
}

fn identity(certificate: &PathBuf, key: Option<&PathBuf>) -> Result<Identity, Error> {
    let mut pem = read(certificate)?;
    if let Some(key) = key {
        pem.push(b'\n');
        pem.extend(read(key)?);
    }
    Identity::from_pem(&pem).map_err(|error| Error::HostsFile { path: certificate.clone(), why: error.to_string() })
}

fn read(path: &PathBuf) -> Result<Vec<u8>, Error> {
    std::fs::read(path).map_err(|error| Error::HostsFile { path: path.clone(), why: error.to_string() })
}
