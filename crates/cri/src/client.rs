//! Connecting to a runtime's unix socket.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use hyper_util::rt::TokioIo;
use tokio::{net::UnixStream, sync::Mutex};
use tonic::transport::{Channel, Endpoint, Uri};

use crate::{
    node::node_client::NodeClient,
    v1::{image_service_client::ImageServiceClient, runtime_service_client::RuntimeServiceClient},
};

/// The largest message either side sends, in bytes: what the kubelet allows.
pub const MAX_MESSAGE: usize = 16 * 1024 * 1024;

/// How long connecting may take.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The endpoint is not a unix socket's address.
    #[error("endpoint {endpoint:?}: {reason}")]
    Endpoint {
        /// What was given.
        endpoint: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The socket cannot be connected to.
    #[error("connect to {path}: {hint}", path = path.display(), hint = hint(source))]
    Connect {
        /// The socket.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// Something accepted the connection and then did not behave as a gRPC server.
    #[error("connect to {path}: {source}", path = path.display())]
    Transport {
        /// The socket.
        path: PathBuf,
        /// What went wrong.
        source: tonic::transport::Error,
    },
}

/// Says what an error of connect(2) means to the person who typed the path.
fn hint(error: &io::Error) -> String {
    let why = match error.kind() {
        io::ErrorKind::NotFound => "no such socket (is the runtime running?)",
        io::ErrorKind::ConnectionRefused => "nothing listens on it (has the runtime stopped?)",
        io::ErrorKind::PermissionDenied => "permission denied (the socket usually belongs to root)",
        io::ErrorKind::TimedOut => "the runtime does not accept the connection",
        _ => return error.to_string(),
    };
    why.to_owned()
}

/// The socket path an endpoint names: `unix:///run/x.sock`, `unix:/run/x.sock` or a plain absolute path.
///
/// # Errors
/// [`Error::Endpoint`] for another scheme or a path that is not absolute.
pub fn socket_path(endpoint: &str) -> Result<PathBuf, Error> {
    let refuse = |reason| Error::Endpoint { endpoint: endpoint.to_owned(), reason };
    let path = match endpoint.strip_prefix("unix:") {
        Some(rest) => rest.strip_prefix("//").unwrap_or(rest),
        None if endpoint.contains("://") => return Err(refuse("only unix sockets are supported (unix:///path)")),
        None => endpoint,
    };
    if !path.starts_with('/') {
        return Err(refuse("the socket's path must be absolute"));
    }
    Ok(PathBuf::from(path))
}

/// Connects to the runtime behind `endpoint` (see [`socket_path`]) within [`CONNECT_TIMEOUT`].
///
/// # Errors
/// [`Error`], naming the socket, when the endpoint is malformed or nothing usable listens there.
pub async fn connect(endpoint: &str) -> Result<Channel, Error> {
    let path = socket_path(endpoint)?;
    // The channel reports a failed connect(2) wrapped three deep; connecting before it exists keeps the reason. It
    // dials by itself only to reconnect.
    let stream = dial(&path).await.map_err(|source| Error::Connect { path: path.clone(), source })?;
    let first = Arc::new(Mutex::new(Some(stream)));
    // The address only becomes the `:authority`, for which a unix socket has nothing better than grpc-go's choice.
    let endpoint = Endpoint::from_static("http://localhost").connect_timeout(CONNECT_TIMEOUT);
    let socket = path.clone();
    let connector = tower::service_fn(move |_: Uri| {
        let (first, socket) = (first.clone(), socket.clone());
        async move {
            let ready = first.lock().await.take();
            let stream = match ready {
                Some(stream) => stream,
                None => dial(&socket).await?,
            };
            Ok::<_, io::Error>(TokioIo::new(stream))
        }
    });
    endpoint.connect_with_connector(connector).await.map_err(|source| Error::Transport { path, source })
}

async fn dial(path: &Path) -> io::Result<UnixStream> {
    tokio::time::timeout(CONNECT_TIMEOUT, UnixStream::connect(path))
        .await
        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// A client of the CRI's RuntimeService.
pub type RuntimeClient = RuntimeServiceClient<Channel>;

/// A client of the CRI's ImageService.
pub type ImageClient = ImageServiceClient<Channel>;

/// A client of the CRI's RuntimeService that takes messages up to [`MAX_MESSAGE`].
pub fn runtime(channel: Channel) -> RuntimeClient {
    RuntimeServiceClient::new(channel).max_decoding_message_size(MAX_MESSAGE).max_encoding_message_size(MAX_MESSAGE)
}

/// A client of the CRI's ImageService that takes messages up to [`MAX_MESSAGE`].
pub fn images(channel: Channel) -> ImageClient {
    ImageServiceClient::new(channel).max_decoding_message_size(MAX_MESSAGE).max_encoding_message_size(MAX_MESSAGE)
}

/// A client of cortend's own service that takes messages up to [`MAX_MESSAGE`].
pub fn node(channel: Channel) -> NodeClient<Channel> {
    NodeClient::new(channel).max_decoding_message_size(MAX_MESSAGE).max_encoding_message_size(MAX_MESSAGE)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]

    use hyper_util::{rt::TokioExecutor, server::conn::auto::Builder, service::TowerToHyperService};
    use tonic::{body::Body, codegen::http};

    use super::*;

    async fn failure(endpoint: &str) -> String {
        match connect(endpoint).await {
            Ok(_) => panic!("connected to {endpoint}"),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn endpoints_are_unix_sockets() {
        for endpoint in ["unix:///run/x.sock", "unix:/run/x.sock", "/run/x.sock"] {
            assert_eq!(socket_path(endpoint).unwrap(), Path::new("/run/x.sock"), "{endpoint}");
        }
        for endpoint in ["", "x.sock", "unix://x.sock", "tcp://127.0.0.1:1", "http://localhost/run/x.sock"] {
            assert!(socket_path(endpoint).is_err(), "{endpoint}");
        }
    }

    #[tokio::test]
    async fn a_missing_socket_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("none.sock").display().to_string();
        assert_eq!(failure(&path).await, format!("connect to {path}: no such socket (is the runtime running?)"));
    }

    #[tokio::test]
    async fn a_socket_nobody_listens_on_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("dead.sock");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let path = path.display().to_string();
        assert_eq!(
            failure(&path).await,
            format!("connect to {path}: nothing listens on it (has the runtime stopped?)")
        );
    }

    /// Refuses every call, whatever the body is, after looking at the authority.
    async fn refuse<B>(request: http::Request<B>) -> Result<http::Response<Body>, std::convert::Infallible> {
        assert_eq!(request.uri().authority().map(http::uri::Authority::as_str), Some("localhost"));
        Ok(tonic::Status::unimplemented("by the test").into_http())
    }

    #[tokio::test]
    async fn a_call_reaches_the_server_with_authority_localhost() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("live.sock");
        let listener = tokio::net::UnixListener::bind(&path).unwrap();
        let server = tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            let service = TowerToHyperService::new(tower::service_fn(refuse));
            Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await
        });
        let channel = connect(&format!("unix://{}", path.display())).await.unwrap();
        let status = runtime(channel).version(crate::v1::VersionRequest::default()).await.unwrap_err();
        assert_eq!((status.code(), status.message()), (tonic::Code::Unimplemented, "by the test"));
        server.abort();
    }
}
