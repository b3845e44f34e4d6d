//! Connecting, and agreeing on a version.

use std::{io, path::Path};

use tokio::time::timeout;
use tonic::Status;

use super::{CONNECT_TIMEOUT, Connection, Error, Handshake, is_unimplemented, link::Link, socket_path};
use crate::{ApiVersion, socket::Stream};

/// Connects for the first time: the first of `versions` that the server has is the connection's for good.
///
/// # Errors
/// [`Error`], naming the socket.
pub(super) async fn open(endpoint: &str, versions: &[ApiVersion], handshake: Handshake) -> Result<Connection, Error> {
    let path = socket_path(endpoint)?;
    let mut link = None;
    let mut tried = Vec::new();
    for &version in versions {
        let asked = match link.take() {
            Some(link) => Link::with_version(&link, version),
            None => connect(&path, version).await?,
        };
        match ask(handshake, &asked).await {
            Ok(()) => return Ok(Connection::new(path, version, handshake, asked)),
            Err(status) if is_unimplemented(&status) => tried.push((version, status)),
            Err(status) => return Err(Error::Refused { path, version, status: Box::new(status) }),
        }
        link = Some(asked);
    }
    Err(Error::NoVersion { path, tried })
}

/// Connects again, which the version chosen first must survive.
///
/// An error that says nothing about the version is none of ours: a runtime that is just starting refuses every call.
///
/// # Errors
/// [`Error::Restart`] if the version is gone, otherwise why there is no connection.
pub(super) async fn again(path: &Path, version: ApiVersion, handshake: Handshake) -> Result<Link, Error> {
    let link = connect(path, version).await?;
    match ask(handshake, &link).await {
        Err(status) if is_unimplemented(&status) => Err(Error::Restart { path: path.to_owned(), version }),
        Err(status) if link.is_closed() => {
            Err(Error::Refused { path: path.to_owned(), version, status: Box::new(status) })
        }
        _ => Ok(link),
    }
}

async fn connect(path: &Path, version: ApiVersion) -> Result<Link, Error> {
    let failed = |source| Error::Connect { path: path.to_owned(), source };
    let stream = timeout(CONNECT_TIMEOUT, Stream::connect(path))
        .await
        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
        .map_err(failed)?;
    Link::new(stream, path, version).await
}

async fn ask(handshake: Handshake, link: &Link) -> Result<(), Status> {
    timeout(CONNECT_TIMEOUT, handshake.ask(link.clone()))
        .await
        .unwrap_or_else(|_| Err(Status::deadline_exceeded("no answer in time")))
}
