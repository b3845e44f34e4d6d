//! TLS to a streaming server.

use std::{io, path::Path, sync::Arc};

use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::connect::Error;

/// Whom to trust: the authorities of a PEM file, else the system's.
///
/// # Errors
/// [`Error::Authorities`] when the file cannot be read or has none.
pub fn config(ca: Option<&Path>) -> Result<Arc<ClientConfig>, Error> {
    let roots = ca.map_or_else(|| Ok(of_system()), of_file)?;
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    Ok(Arc::new(builder.with_safe_default_protocol_versions()?.with_root_certificates(roots).with_no_client_auth()))
}

/// Encrypts a connection to a host, which must prove that it is that.
///
/// # Errors
/// What is wrong with the name, the certificate or the connection.
pub async fn connect(stream: TcpStream, host: &str, config: Arc<ClientConfig>) -> io::Result<TlsStream<TcpStream>> {
    let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
    TlsConnector::from(config).connect(name, stream).await
}

fn of_system() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    // Those that cannot be used are left out: what is missing shows when the server's certificate is checked.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    roots
}

fn of_file(path: &Path) -> Result<RootCertStore, Error> {
    let refuse = |why: String| Error::Authorities { path: path.to_owned(), why };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(path).map_err(|error| refuse(error.to_string()))? {
        let certificate = certificate.map_err(|error| refuse(error.to_string()))?;
        roots.add(certificate).map_err(|error| refuse(error.to_string()))?;
    }
    if roots.is_empty() {
        return Err(refuse("there is no certificate in it".to_owned()));
    }
    Ok(roots)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]

    use std::fs;

    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
    use rustls::{ServerConfig, pki_types::PrivateKeyDer};
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };
    use tokio_rustls::TlsAcceptor;

    use super::{super::connect::Target, *};

    fn authority() -> CertifiedIssuer<'static, KeyPair> {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
    }

    /// A server for `localhost` that says hello to everybody who trusts it; its port.
    async fn serve(authority: &CertifiedIssuer<'static, KeyPair>) -> u16 {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(["localhost".to_owned()]).unwrap().signed_by(&key, authority).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let config = config.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let acceptor =
            TlsAcceptor::from(Arc::new(config.with_single_cert(vec![certificate.der().clone()], key).unwrap()));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                if let Ok(mut stream) = acceptor.accept(stream).await {
                    stream.write_all(b"hello").await.unwrap();
                    stream.shutdown().await.unwrap();
                }
            }
        });
        port
    }

    #[tokio::test]
    async fn a_server_is_trusted_by_its_authority_and_name() {
        let (ours, other) = (authority(), authority());
        let port = serve(&ours).await;
        let directory = tempfile::tempdir().unwrap();
        let (trusted, foreign) = (directory.path().join("ours.pem"), directory.path().join("other.pem"));
        fs::write(&trusted, ours.as_ref().pem()).unwrap();
        fs::write(&foreign, other.as_ref().pem()).unwrap();

        let target = Target::parse(&format!("https://localhost:{port}/x")).unwrap();
        let mut said = String::new();
        target.connect(Some(&trusted)).await.unwrap().read_to_string(&mut said).await.unwrap();
        assert_eq!(said, "hello");
        for ca in [Some(foreign.as_path()), None] {
            let Err(error) = target.connect(ca).await else { panic!("{ca:?} is trusted") };
            let error = error.to_string();
            assert!(error.starts_with(&format!("TLS with the streaming server localhost:{port}: ")), "{error}");
            assert!(error.contains("invalid peer certificate") && error.contains("--tls-ca"), "{error}");
        }
        let by_address = Target::parse(&format!("https://127.0.0.1:{port}/x")).unwrap();
        assert!(by_address.connect(Some(&trusted)).await.is_err(), "it proves to be localhost only");
    }

    #[test]
    fn a_file_without_authorities_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("empty.pem");
        fs::write(&path, "nothing\n").unwrap();
        let error = config(Some(&path)).unwrap_err().to_string();
        assert!(error.contains("empty.pem: there is no certificate in it"), "{error}");
        assert!(config(Some(Path::new("/none.pem"))).unwrap_err().to_string().contains("/none.pem"));
    }
}
