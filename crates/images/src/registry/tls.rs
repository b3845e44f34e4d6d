//! HTTP clients, one for each way to trust a server.

mod client_certificates;
mod verify;

use std::{
    error::Error as StdError,
    fmt, io,
    path::PathBuf,
    sync::{Arc, OnceLock},
    time::Duration,
};

use client_certificates::ClientCertificates;
use reqwest::{Client, Proxy, Url, redirect};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, pem::PemObject},
};
use verify::Nothing;

use crate::Error;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
/// What is not in use does not stay for long after its pull.
const IDLE_TIMEOUT: Duration = Duration::from_secs(15);

/// A client's certificate and its key, as PEM files; without the second the key is in the same file.
pub(crate) type KeyPair = (PathBuf, Option<PathBuf>);

/// The URL of a proxy. User and password in it are not shown.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct ProxyUrl(pub Url);

impl fmt::Debug for ProxyUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Without user and password.
impl fmt::Display for ProxyUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let port = self.0.port().map(|port| format!(":{port}")).unwrap_or_default();
        write!(f, "{}://{}{port}", self.0.scheme(), self.0.host_str().unwrap_or_default())
    }
}

/// How to connect to a host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Tls {
    /// More certificate authorities, as PEM files.
    pub ca: Vec<PathBuf>,
    /// What to show a server that wants to know who asks: the first that it takes.
    pub client: Vec<KeyPair>,
    /// Whether any certificate is as good as a valid one.
    pub skip_verify: bool,
    /// Instead of the usual time to connect.
    pub dial_timeout: Option<Duration>,
    /// Instead of the proxy of the environment.
    pub proxy: Option<ProxyUrl>,
}

impl Tls {
    /// Whether there is anything about TLS itself.
    pub fn is_about_tls(&self) -> bool {
        !self.ca.is_empty() || !self.client.is_empty() || self.skip_verify
    }

    /// How long to try to connect.
    pub fn time_to_connect(&self) -> Duration {
        self.dial_timeout.unwrap_or(CONNECT_TIMEOUT)
    }

    /// What holds for other hosts, to which this one redirects or where its tokens are: they must prove who they are, and
    /// do not learn who we are.
    fn elsewhere(&self) -> Self {
        Self { client: Vec::new(), skip_verify: false, ..self.clone() }
    }
}

/// The clients for a host.
#[derive(Clone)]
pub(super) struct Clients {
    /// For the host itself.
    pub own: Client,
    /// For any other.
    pub other: Client,
}

/// Clients that trust accordingly. Reads files. The client without special settings is shared.
pub(super) fn clients(tls: &Tls) -> Result<Clients, Error> {
    let (own, elsewhere) = (client(tls)?, tls.elsewhere());
    let other = if elsewhere == *tls { own.clone() } else { client(&elsewhere)? };
    Ok(Clients { own, other })
}

fn client(tls: &Tls) -> Result<Client, Error> {
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
    let failed = |why: String| Error::Task { operation: "set up the HTTP client", why };
    let mut builder = Client::builder()
        .user_agent(concat!("corten/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(tls.time_to_connect())
        .pool_idle_timeout(IDLE_TIMEOUT)
        // With HTTP/2 all ranges of a blob would share one connection.
        .http1_only()
        .redirect(redirect::Policy::none())
        .tls_backend_preconfigured(config(tls)?);
    if let Some(proxy) = &tls.proxy {
        builder = builder.proxy(Proxy::all(proxy.0.clone()).map_err(|error| failed(super::answer::describe(&error)))?);
    }
    builder.build().map_err(|error| failed(super::answer::describe(&error)))
}

fn config(tls: &Tls) -> Result<ClientConfig, Error> {
    let failed = |error: rustls::Error| Error::Task { operation: "set up TLS", why: error.to_string() };
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone());
    let builder = builder.with_safe_default_protocol_versions().map_err(failed)?;
    let builder = if tls.skip_verify {
        builder.dangerous().with_custom_certificate_verifier(Arc::new(Nothing::new(&provider)))
    } else {
        builder.with_root_certificates(authorities(&tls.ca)?)
    };
    let mut config = if tls.client.is_empty() {
        builder.with_no_client_auth()
    } else {
        builder.with_client_cert_resolver(Arc::new(certificates(&tls.client, &provider)?))
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

fn certificates(pairs: &[KeyPair], provider: &CryptoProvider) -> Result<ClientCertificates, Error> {
    let read_pair = |(certificate, key): &KeyPair| {
        let pem = read(certificate)?;
        let key_pem = key.as_ref().map(read).transpose()?;
        client_certificates::load(&pem, key_pem.as_ref().unwrap_or(&pem), provider)
            .map_err(|why| Error::HostsFile { path: certificate.clone(), why })
    };
    Ok(ClientCertificates::new(pairs.iter().map(read_pair).collect::<Result<_, _>>()?))
}

/// The system's authorities and the configured ones. A machine without any can still talk plain HTTP.
fn authorities(ca: &[PathBuf]) -> Result<RootCertStore, Error> {
    static SYSTEM: OnceLock<RootCertStore> = OnceLock::new();
    let system = SYSTEM.get_or_init(|| {
        let found = rustls_native_certs::load_native_certs();
        for error in &found.errors {
            tracing::debug!(%error, "system certificate left out");
        }
        let mut store = RootCertStore::empty();
        // Old or odd ones are left out.
        store.add_parsable_certificates(found.certs);
        store
    });
    let mut store = system.clone();
    for path in ca {
        let failed = |why: String| Error::HostsFile { path: path.clone(), why };
        let pem = read(path)?;
        let certificates: Vec<_> = CertificateDer::pem_slice_iter(&pem)
            .collect::<Result<_, _>>()
            .map_err(|error| failed(format!("not PEM: {error}")))?;
        if certificates.is_empty() {
            return Err(failed("no certificate in it (want PEM)".to_owned()));
        }
        for certificate in certificates {
            store.add(certificate).map_err(|error| failed(error.to_string()))?;
        }
    }
    Ok(store)
}

fn read(path: &PathBuf) -> Result<Vec<u8>, Error> {
    std::fs::read(path).map_err(|error| Error::HostsFile { path: path.clone(), why: error.to_string() })
}

/// Whether a server that speaks TLS was not trusted, or did not trust us.
pub(super) fn is_refusal(error: &reqwest::Error) -> bool {
    let mut cause: Option<&(dyn StdError + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(tls) = error.downcast_ref::<rustls::Error>() {
            return !matches!(tls, rustls::Error::InvalidMessage(_));
        }
        // What an `io::Error` was made of is not its source, but itself.
        let made_of = error.downcast_ref::<io::Error>().and_then(|error| error.get_ref());
        cause = made_of.map(|error| error as _).or_else(|| error.source());
    }
    false
}
