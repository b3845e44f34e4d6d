//! Where a runtime listens.

use std::path::PathBuf;

use super::Error;

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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::path::Path;

    use super::*;

    #[test]
    fn endpoints_are_unix_sockets() {
        for endpoint in ["unix:///run/x.sock", "unix:/run/x.sock", "/run/x.sock"] {
            assert_eq!(socket_path(endpoint).unwrap(), Path::new("/run/x.sock"), "{endpoint}");
        }
        for endpoint in ["", "x.sock", "unix://x.sock", "tcp://127.0.0.1:1", "http://localhost/run/x.sock"] {
            assert!(socket_path(endpoint).is_err(), "{endpoint}");
        }
    }
}
