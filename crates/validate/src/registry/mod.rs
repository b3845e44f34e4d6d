//! A registry on loopback that serves the checks' images, by the OCI distribution specification (reads only).
//!
//! Runtimes take a registry at 127.0.0.1 for one without TLS.

mod answer;
mod content;

use std::{
    convert::Infallible,
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::JoinHandle,
};

use content::Content;

use crate::image::{Image, catalog};

/// The most connections at once.
const MAX_CONNECTIONS: usize = 256;

/// How long a client may take to send a request's head.
const REQUEST: Duration = Duration::from_secs(30);

/// How long no connection is accepted after one could not be.
const PAUSE: Duration = Duration::from_millis(100);

/// A user name and password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// The user name.
    pub user: String,
    /// The password.
    pub password: String,
}

/// The running registry. It ends when this is dropped.
#[derive(Debug)]
pub struct TestRegistry {
    address: SocketAddr,
    content: Arc<Content>,
    task: JoinHandle<()>,
}

impl TestRegistry {
    /// Serves the [`catalog()`] of a nonce on a port of 127.0.0.1 that the system chooses.
    ///
    /// # Errors
    /// There is no port to be had.
    pub async fn serve(nonce: &str) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let account = Account { user: "validate".to_owned(), password: "secret".to_owned() };
        let content = Arc::new(Content::new(catalog(nonce)?, account));
        let task = tokio::spawn(accept(listener, content.clone()));
        Ok(Self { address, content, task })
    }

    /// `127.0.0.1:PORT`.
    #[must_use]
    pub fn host(&self) -> String {
        self.address.to_string()
    }

    /// The full reference of `repository:tag`, as in [`crate::image::names`]. Whether there is such an image does not matter.
    #[must_use]
    pub fn reference(&self, name: &str) -> String {
        format!("{}/{name}", self.address)
    }

    /// The full reference of `repository:tag` by digest, without the tag: as `repo_digests` have it.
    #[must_use]
    pub fn reference_by_digest(&self, name: &str) -> Option<String> {
        let (repository, _) = name.split_once(':')?;
        Some(format!("{}/{repository}@{}", self.address, self.digest(name)?))
    }

    /// What `repository:tag` is.
    #[must_use]
    pub fn image(&self, name: &str) -> Option<&Image> {
        let (repository, tag) = name.split_once(':')?;
        self.content.image(repository, tag)
    }

    /// The digest of the manifest (or index) of `repository:tag`.
    #[must_use]
    pub fn digest(&self, name: &str) -> Option<&str> {
        self.image(name).map(Image::digest)
    }

    /// The digest of the config of `repository:tag`, which is its id to a runtime.
    #[must_use]
    pub fn id(&self, name: &str) -> Option<&str> {
        self.image(name).map(Image::id)
    }

    /// Whose password private images need.
    #[must_use]
    pub fn account(&self) -> &Account {
        self.content.account()
    }

    /// How often manifests of a repository have been asked for with success, by GET or HEAD.
    #[must_use]
    pub fn manifest_requests(&self, repository: &str) -> u64 {
        self.content.manifest_requests(repository)
    }

    /// How often the content of a digest has been sent, by GET, from whichever repository.
    #[must_use]
    pub fn downloads(&self, digest: &str) -> u64 {
        self.content.downloads(digest)
    }
}

impl Drop for TestRegistry {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, content: Arc<Content>) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    // The connections end with this task.
    let mut connections = tokio::task::JoinSet::new();
    // It fails only when the semaphore is closed.
    while let Ok(place) = places.clone().acquire_owned().await {
        while connections.try_join_next().is_some() {}
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        let content = content.clone();
        connections.spawn(async move {
            serve(stream, &content).await;
            drop(place);
        });
    }
}

async fn serve(stream: TcpStream, content: &Content) {
    let service = service_fn(|request: hyper::Request<hyper::body::Incoming>| {
        let (head, _) = request.into_parts();
        let answer = answer::answer(content, &head.method, head.uri.path(), &head.headers);
        async move { Ok::<_, Infallible>(answer) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(REQUEST)
        .serve_connection(TokioIo::new(stream), service);
    // A client that breaks off has its reasons.
    let _ = connection.await;
}
