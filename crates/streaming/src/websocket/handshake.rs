//! The headers of the HTTP upgrade that are WebSocket's own (RFC 6455, 4). The upgrade itself, and the agreement on a
//! subprotocol, are not done here.

use std::io;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use http::header::{SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION};
use rustix::rand::{GetRandomFlags, getrandom};
use sha1::{Digest, Sha1};

/// The only version there is.
pub const VERSION: &str = "13";

/// What every server appends to the key.
const SUFFIX: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// Why a request is not one for a WebSocket connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HandshakeError {
    /// The answer (400 or 426) should name [`VERSION`] in `Sec-WebSocket-Version`.
    #[error("Sec-WebSocket-Version is not 13")]
    Version,
    /// A nonce, of no importance but that it is there.
    #[error("Sec-WebSocket-Key is not 16 bytes in base64")]
    Key,
}

/// A server's `Sec-WebSocket-Accept`, if the request's `Sec-WebSocket-Version` and `Sec-WebSocket-Key` are as they must be.
///
/// # Errors
/// [`HandshakeError`].
pub fn accept(headers: &HeaderMap) -> Result<String, HandshakeError> {
    if only(headers, SEC_WEBSOCKET_VERSION.as_str()) != Some(VERSION) {
        return Err(HandshakeError::Version);
    }
    let key = only(headers, SEC_WEBSOCKET_KEY.as_str()).ok_or(HandshakeError::Key)?;
    match STANDARD.decode(key) {
        Ok(bytes) if bytes.len() == 16 => Ok(accept_key(key)),
        _ => Err(HandshakeError::Key),
    }
}

/// Whether a server's answer has the `Sec-WebSocket-Accept` for this key.
#[must_use]
pub fn is_accepted(headers: &HeaderMap, key: &str) -> bool {
    only(headers, SEC_WEBSOCKET_ACCEPT.as_str()) == Some(&accept_key(key))
}

/// A server's `Sec-WebSocket-Accept` for a client's `Sec-WebSocket-Key`.
#[must_use]
pub fn accept_key(key: &str) -> String {
    STANDARD.encode(Sha1::new().chain_update(key).chain_update(SUFFIX).finalize())
}

/// A client's `Sec-WebSocket-Key`.
///
/// # Errors
/// What getrandom(2) says.
pub fn new_key() -> io::Result<String> {
    let mut key = [0; 16];
    // Up to 256 bytes come whole.
    getrandom(&mut key, GetRandomFlags::empty())?;
    Ok(STANDARD.encode(key))
}

/// The value of a header that must be there once.
fn only<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => value.to_str().ok().map(str::trim),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    const KEY: (&str, &str) = ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
    const THIRTEEN: (&str, &str) = ("sec-websocket-version", "13");

    #[test]
    fn the_key_of_the_rfc_is_answered_as_the_rfc_says() {
        assert_eq!(accept_key(KEY.1), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        let answer = headers(&[("sec-websocket-accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")]);
        assert!(is_accepted(&answer, KEY.1));
        assert!(!is_accepted(&answer, "x"));
        assert!(!is_accepted(&headers(&[]), KEY.1));
    }

    #[test]
    fn a_request_has_one_key_of_sixteen_bytes_and_version_13() {
        assert_eq!(accept(&headers(&[KEY, THIRTEEN])), Ok(accept_key(KEY.1)));
        assert_eq!(accept(&headers(&[KEY])), Err(HandshakeError::Version));
        assert_eq!(accept(&headers(&[KEY, ("sec-websocket-version", "8")])), Err(HandshakeError::Version));
        assert_eq!(accept(&headers(&[THIRTEEN])), Err(HandshakeError::Key));
        assert_eq!(accept(&headers(&[KEY, KEY, THIRTEEN])), Err(HandshakeError::Key));
        for bad in
            ["", "AAAA", "dGhlIHNhbXBsZSBub25jZQ", "dGhlIHNhbXBsZSBub25jZQ=!", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=="]
        {
            assert_eq!(accept(&headers(&[("sec-websocket-key", bad), THIRTEEN])), Err(HandshakeError::Key), "{bad}");
        }
    }

    #[test]
    fn a_new_key_is_one_that_a_server_takes() {
        let key = new_key().unwrap();
        assert_eq!(accept(&headers(&[("sec-websocket-key", &key), THIRTEEN])), Ok(accept_key(&key)));
        assert_ne!(key, new_key().unwrap());
    }
}
