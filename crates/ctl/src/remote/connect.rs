//! From the URL that the runtime answers with to a connection.

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use http::{Uri, uri::Scheme};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::timeout,
};

use super::tls;

/// How long connecting may take, TLS included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

/// A connection, encrypted or not.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The URL is not one to connect to.
    #[error("the runtime's streaming URL {url:?}: {why}")]
    Url {
        /// What the runtime said.
        url: String,
        /// What is wrong with it.
        why: String,
    },
    /// Nobody answers there.
    #[error("connect to the streaming server {address}: {source}")]
    Connect {
        /// Host and port.
        address: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// The server's identity is not established.
    #[error("TLS with the streaming server {address}: {source}; --tls-ca FILE names an authority to trust")]
    Tls {
        /// Host and port.
        address: String,
        /// What is wrong.
        source: io::Error,
    },
    /// The file of authorities is of no use.
    #[error("certificate authorities {path}: {why}", path = path.display())]
    Authorities {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// TLS itself cannot be used.
    #[error("TLS: {0}")]
    Rustls(#[from] rustls::Error),
}

/// Where to connect to, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The whole URL.
    pub uri: Uri,
    host: String,
    port: u16,
    encrypted: bool,
}

impl Target {
    /// What a URL says.
    ///
    /// # Errors
    /// [`Error::Url`] if it has no host, or a scheme other than `http` and `https`.
    pub fn parse(url: &str) -> Result<Self, Error> {
        let refuse = |why: &str| Error::Url { url: url.to_owned(), why: why.to_owned() };
        let authority = url.split_once("://").map(|(_, rest)| rest.split(['/', '?']).next().unwrap_or_default());
        if authority.is_some_and(|authority| authority.is_empty() || authority.starts_with(':')) {
            return Err(refuse("it has no host"));
        }
        let uri: Uri = url.parse().map_err(|error: http::uri::InvalidUri| refuse(&error.to_string()))?;
        let encrypted = match uri.scheme() {
            Some(scheme) if *scheme == Scheme::HTTP => false,
            Some(scheme) if *scheme == Scheme::HTTPS => true,
            Some(scheme) => return Err(refuse(&format!("{scheme} is not supported, only http and https"))),
            None => return Err(refuse("it is not of the form http://host:port/path")),
        };
        let host = uri_host(&uri);
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host).to_owned();
        if host.is_empty() {
            return Err(refuse("it has no host"));
        }
        let port = match (uri.port_u16(), encrypted) {
            (Some(port), _) => port,
            (None, _) if uri.authority().is_some_and(|authority| !authority.as_str().ends_with(uri_host(&uri))) => {
                return Err(refuse("its port is no number"));
            }
            (None, true) => 443,
            (None, false) => 80,
        };
        Ok(Self { uri, host, port, encrypted })
    }

    /// Connects. `ca` is a PEM file of the authorities to trust instead of the system's.
    ///
    /// # Errors
    /// [`Error`], with the address.
    pub async fn connect(&self, ca: Option<&Path>) -> Result<Box<dyn Stream>, Error> {
        let connected = timeout(CONNECT_TIMEOUT, self.connect_at_leisure(ca)).await;
        connected
            .unwrap_or_else(|_| Err(Error::Connect { address: self.address(), source: io::ErrorKind::TimedOut.into() }))
    }

    async fn connect_at_leisure(&self, ca: Option<&Path>) -> Result<Box<dyn Stream>, Error> {
        let failed = |source| Error::Connect { address: self.address(), source };
        let stream = TcpStream::connect((self.host.as_str(), self.port)).await.map_err(failed)?;
        stream.set_nodelay(true).map_err(failed)?;
        if !self.encrypted {
            return Ok(Box::new(stream));
        }
        let failed = |source| Error::Tls { address: self.address(), source };
        Ok(Box::new(tls::connect(stream, &self.host, tls::config(ca)?).await.map_err(failed)?))
    }

    fn address(&self) -> String {
        self.uri.authority().map(ToString::to_string).unwrap_or_default()
    }
}

/// The host as it is in the URL: an IPv6 address in brackets.
fn uri_host(uri: &Uri) -> &str {
    uri.host().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_url_panics(url in "(https?://)?[\\[\\]a-z0-9:@/?#%.]{0,30}") {
            let _ = Target::parse(&url);
        }
    }

    #[test]
    fn urls_say_where_to_connect_to() {
        for (url, host, port, encrypted) in [
            ("http://127.0.0.1:10010/exec/a1B2", "127.0.0.1", 10010, false),
            ("https://node.example:1/attach/x", "node.example", 1, true),
            ("http://[::1]:7/portforward/x", "::1", 7, false),
            ("https://[::]/x?y=z", "::", 443, true),
            ("http://localhost", "localhost", 80, false),
        ] {
            let target = Target::parse(url).unwrap();
            assert_eq!((target.host.as_str(), target.port, target.encrypted), (host, port, encrypted), "{url}");
        }
    }

    #[test]
    fn a_url_that_is_of_no_use_says_why() {
        for (url, why) in [
            ("", "empty"),
            ("/exec/x", "not of the form"),
            ("http:///exec/x", "no host"),
            ("http://:8080/exec/x", "no host"),
            ("http://?x", "no host"),
            ("ftp://host/exec/x", "ftp is not supported"),
            ("unix:///run/x.sock", "no host"),
            ("host:80", "not of the form"),
            ("http://host:port/", "port is no number"),
            ("http://host:99999/", "port is no number"),
        ] {
            let error = Target::parse(url).unwrap_err().to_string();
            assert!(
                error.starts_with(&format!("the runtime's streaming URL {url:?}: ")) && error.contains(why),
                "{error}"
            );
        }
    }

    #[tokio::test]
    async fn a_server_that_is_not_there_is_named() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let target = Target::parse(&format!("http://{address}/exec/x")).unwrap();
        let Err(error) = target.connect(None).await else { panic!("connected") };
        assert!(
            error.to_string().starts_with(&format!("connect to the streaming server {address}: Connection refused"))
        );
    }
}
