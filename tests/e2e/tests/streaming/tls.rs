//! The streaming server over TLS.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr},
    path::{Path, PathBuf},
    sync::Arc,
};

use corten_cri::v1::PodSandboxState;
use corten_e2e::{
    daemon::Setup,
    lab::{self, Lab},
    streaming::{OUTPUT, PIPES, TRANSPORTS, dial, put, to_end, uri},
};
use corten_streaming::{
    client::{self, Transport},
    remote_command::Outcome,
};
use rcgen::{CertifiedKey, KeyPair, generate_simple_self_signed};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, ServerName},
};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::sleeping;

/// Where a daemon finds its certificate.
struct Files {
    dir: TempDir,
}

impl Files {
    fn new() -> Self {
        Self { dir: tempfile::Builder::new().prefix("ce-tls-").tempdir_in("/tmp").unwrap() }
    }

    fn certificate(&self) -> PathBuf {
        self.dir.path().join("tls.crt")
    }

    fn key(&self) -> PathBuf {
        self.dir.path().join("tls.key")
    }

    fn setup(&self) -> Setup {
        let extra = format!("[streaming]\ntls_cert = {:?}\ntls_key = {:?}", self.certificate(), self.key());
        Setup { extra, ..Setup::default() }
    }

    /// Puts a pair in place, each file at once.
    fn write(&self, made: &CertifiedKey<KeyPair>) {
        replace(&self.key(), made.signing_key.serialize_pem().as_bytes());
        replace(&self.certificate(), made.cert.pem().as_bytes());
    }
}

/// Replaces a file by another, as certificate managers do.
fn replace(path: &Path, content: &[u8]) {
    let new = path.with_extension("new");
    fs::write(&new, content).unwrap();
    fs::rename(new, path).unwrap();
}

fn make() -> CertifiedKey<KeyPair> {
    generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap()
}

/// TLS with the server of a URL, trusting only this certificate.
async fn connect(url: &str, trusted: &CertifiedKey<KeyPair>) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(trusted.cert.der().to_vec())).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::IpAddress(IpAddr::V4(Ipv4Addr::LOCALHOST).into());
    TlsConnector::from(Arc::new(config)).connect(name, dial(url).await).await
}

/// Runs `echo hello` over TLS.
async fn assert_works(lab: &Lab, container: &str, trusted: &CertifiedKey<KeyPair>, transport: Transport) {
    let url = lab.cri.exec_url(container, &["sh", "-c", "cat; exit 9"], PIPES).await.unwrap();
    assert!(url.starts_with("https://127.0.0.1:"), "{url}");
    let io = connect(&url, trusted).await.unwrap();
    let mut session = client::remote_command(io, &uri(&url), transport, PIPES).await.unwrap();
    let stdin = session.stdin.take();
    let ((), said) = tokio::join!(put(stdin, b"hello"), to_end(session));
    assert_eq!((said.text().as_str(), said.outcome), ("hello", Outcome::Exited(9)));
}

/// Asserts that the server has another certificate.
async fn assert_not_trusted(lab: &Lab, container: &str, other: &CertifiedKey<KeyPair>) {
    let url = lab.cri.exec_url(container, &["true"], OUTPUT).await.unwrap();
    let error = connect(&url, other).await.unwrap_err().to_string();
    assert!(error.contains("certificate"), "{error}");
}

#[test]
fn exec_works_over_tls() {
    let files = Files::new();
    let first = make();
    files.write(&first);
    lab::test(files.setup(), async move |lab| {
        let id = sleeping(lab).await;
        for transport in TRANSPORTS {
            assert_works(lab, &id, &first, transport).await;
        }
        assert_not_trusted(lab, &id, &make()).await;
        // Nothing is served without TLS.
        let url = lab.cri.exec_url(&id, &["true"], OUTPUT).await.unwrap();
        let plain = client::remote_command(dial(&url).await, &uri(&url), Transport::Spdy, OUTPUT).await;
        assert!(plain.is_err());
        drop(files);
    });
}

#[test]
fn a_new_certificate_is_used_without_a_restart() {
    let files = Files::new();
    let (first, second) = (make(), make());
    files.write(&first);
    lab::test(files.setup(), async move |lab| {
        let id = sleeping(lab).await;
        // A session that is there goes on.
        let url = lab.cri.exec_url(&id, &["cat"], PIPES).await.unwrap();
        let io = connect(&url, &first).await.unwrap();
        let mut session = client::remote_command(io, &uri(&url), Transport::WebSocket, PIPES).await.unwrap();
        let before = lab.daemon.pid();
        files.write(&second);
        for transport in TRANSPORTS {
            assert_works(lab, &id, &second, transport).await;
        }
        assert_not_trusted(lab, &id, &first).await;
        let stdin = session.stdin.take();
        let ((), said) = tokio::join!(put(stdin, b"still here"), to_end(session));
        assert_eq!(said.text(), "still here");
        assert_eq!(lab.daemon.pid(), before);
    });
}

#[test]
fn a_broken_certificate_leaves_the_old_one_in_use() {
    let files = Files::new();
    let (first, second) = (make(), make());
    files.write(&first);
    lab::test(files.setup(), async move |lab| {
        let id = sleeping(lab).await;
        assert_works(lab, &id, &first, Transport::Spdy).await;
        for content in [&b"not a certificate"[..], b"", &first.cert.pem().as_bytes()[..200]] {
            replace(&files.certificate(), content);
            assert_works(lab, &id, &first, Transport::Spdy).await;
        }
        // One whose key is another's, and none at all.
        replace(&files.certificate(), second.cert.pem().as_bytes());
        assert_works(lab, &id, &first, Transport::Spdy).await;
        fs::remove_file(files.certificate()).unwrap();
        assert_works(lab, &id, &first, Transport::Spdy).await;
        assert!(lab.daemon.log().contains("keeps its certificate"), "nobody is told");
        // When it is whole again, it is used.
        files.write(&second);
        assert_works(lab, &id, &second, Transport::Spdy).await;
        let pods = lab.cri.list_pods(None).await.unwrap();
        assert_eq!(lab.cri.pod_status(&pods[0]).await.unwrap().state(), PodSandboxState::SandboxReady);
    });
}
