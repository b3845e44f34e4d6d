//! The streaming server's certificate, read again when it changes.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::error::{Error, Result};
use crate::operation::lock;

/// The configuration for new connections.
#[derive(Debug)]
pub struct Tls {
    certificate: PathBuf,
    key: PathBuf,
    loaded: Mutex<Loaded>,
}

#[derive(Debug)]
struct Loaded {
    stamps: [Stamp; 2],
    config: Arc<ServerConfig>,
}

/// What tells a file from what it was.
type Stamp = Option<(u64, u64, i64, i64, u64)>;

impl Tls {
    /// Reads a certificate chain and its key.
    ///
    /// # Errors
    /// [`Error::Invalid`] naming the key of the configuration.
    pub fn open(certificate: &Path, key: &Path) -> Result<Self> {
        let stamps = [stamp(certificate), stamp(key)];
        let loaded = Mutex::new(Loaded { stamps, config: load(certificate, key)? });
        Ok(Self { certificate: certificate.to_owned(), key: key.to_owned(), loaded })
    }

    /// The configuration of the files as they are now. If they cannot be used, the last good one stays. Blocks for the time
    /// of two stat(2), and of reading them if they have changed.
    pub fn current(&self) -> Arc<ServerConfig> {
        let stamps = [stamp(&self.certificate), stamp(&self.key)];
        let mut loaded = lock(&self.loaded);
        if loaded.stamps != stamps {
            loaded.stamps = stamps;
            match load(&self.certificate, &self.key) {
                Ok(config) => {
                    tracing::info!(certificate = %self.certificate.display(), "the streaming server has a new certificate");
                    loaded.config = config;
                }
                Err(error) => tracing::error!(%error, "the streaming server keeps its certificate"),
            }
        }
        loaded.config.clone()
    }
}

fn stamp(path: &Path) -> Stamp {
    let found = fs::metadata(path).ok()?;
    Some((found.dev(), found.ino(), found.mtime(), found.mtime_nsec(), found.size()))
}

fn load(certificate: &Path, key: &Path) -> Result<Arc<ServerConfig>> {
    let bad = |setting: &'static str, path: &Path| {
        let path = path.display().to_string();
        move |why: &dyn std::fmt::Display| Error::invalid(setting, path.clone(), why.to_string())
    };
    let bad_certificate = bad("streaming.tls_cert", certificate);
    let chain = CertificateDer::pem_file_iter(certificate).map_err(|error| bad_certificate(&error))?;
    let chain = chain.collect::<Result<Vec<_>, _>>().map_err(|error| bad_certificate(&error))?;
    if chain.is_empty() {
        return Err(bad_certificate(&"it has no certificate"));
    }
    let bad_key = bad("streaming.tls_key", key);
    let key = PrivateKeyDer::from_pem_file(key).map_err(|error| bad_key(&error))?;
    let versions = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::node("TLS", error))?;
    let mut config =
        versions.with_no_client_auth().with_single_cert(chain, key).map_err(|error| bad_certificate(&error))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}
