//! Image references, normalised as Docker does: `busybox` is `docker.io/library/busybox:latest`.
//!
//! The grammar is that of the distribution project (`[domain/]path[:tag][@digest]`, github.com/distribution/reference), but for
//! digests, which are sha256 only, ports, which end at 65535, and IPv6 addresses, which must be some. When both a tag and a digest
//! are given the digest decides and the tag is dropped.

use std::{fmt, net::Ipv6Addr, str::FromStr};

use crate::digest::Digest;

/// The longest repository (distribution's `RepositoryNameTotalLengthMax`).
const MAX_PATH: usize = 255;
/// The longest registry: a name of the DNS and a port.
const MAX_DOMAIN: usize = 253 + 6;
const MAX_TAG: usize = 128;

/// What a reference points at within its repository.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Version {
    /// A name that may move.
    Tag(String),
    /// Exactly this manifest.
    Digest(Digest),
}

/// A normalised image reference. It displays as its full form.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Reference {
    domain: String,
    path: String,
    version: Version,
}

/// Not an image reference.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid image reference {text:?}: {why}")]
pub struct InvalidReference {
    text: String,
    why: &'static str,
}

impl InvalidReference {
    /// A text that is none for this reason.
    pub(crate) fn new(text: &str, why: &'static str) -> Self {
        Self { text: text.chars().take(300).collect(), why }
    }
}

impl Reference {
    /// The registry, with its port if one is given (`docker.io`, `localhost:5000`).
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// The repository's path within the registry (`library/busybox`).
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The tag or digest.
    pub fn version(&self) -> &Version {
        &self.version
    }

    /// Domain and path (`docker.io/library/busybox`).
    pub fn repository(&self) -> String {
        format!("{}/{}", self.domain, self.path)
    }

    /// This repository at exactly that manifest.
    pub fn with_digest(&self, digest: Digest) -> Self {
        Self { version: Version::Digest(digest), ..self.clone() }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.domain, self.path)?;
        match &self.version {
            Version::Tag(tag) => write!(f, ":{tag}"),
            Version::Digest(digest) => write!(f, "@{digest}"),
        }
    }
}

impl FromStr for Reference {
    type Err = InvalidReference;

    fn from_str(text: &str) -> Result<Self, InvalidReference> {
        parse(text).map_err(|why| InvalidReference { text: text.chars().take(300).collect(), why })
    }
}

fn parse(text: &str) -> Result<Reference, &'static str> {
    if text.is_empty() {
        return Err("it is empty");
    }
    if Digest::from_hex(text).is_ok() {
        return Err("64 hexadecimal digits are an image id and not a name");
    }
    let (rest, digest) = match text.split_once('@') {
        Some((rest, digest)) => {
            let digest =
                digest.parse().map_err(|_| "the digest must be sha256: and 64 lowercase hexadecimal digits")?;
            (rest, Some(digest))
        }
        None => (text, None),
    };
    let (name, tag) = split_tag(rest)?;
    let (domain, path) = split_domain(name)?;
    if path.len() > MAX_PATH {
        return Err("the repository is longer than 255 bytes");
    }
    if domain.len() > MAX_DOMAIN {
        return Err("the registry is longer than 259 bytes");
    }
    let version = match digest {
        Some(digest) => Version::Digest(digest),
        None => Version::Tag(tag.unwrap_or("latest").to_owned()),
    };
    Ok(Reference { domain, path, version })
}

/// A colon after the last slash begins a tag.
fn split_tag(text: &str) -> Result<(&str, Option<&str>), &'static str> {
    let name_start = text.rfind('/').map_or(0, |slash| slash + 1);
    let Some(colon) = text.get(name_start..).and_then(|last| last.find(':')) else {
        return Ok((text, None));
    };
    let (name, tag) = text.split_at(name_start + colon);
    let tag = tag.strip_prefix(':').unwrap_or(tag);
    if !is_tag(tag) {
        return Err("the tag must be 1 to 128 letters, digits, underscores, dots and dashes");
    }
    Ok((name, Some(tag)))
}

fn is_tag(tag: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    tag.len() <= MAX_TAG
        && tag.bytes().next().is_some_and(word)
        && tag.bytes().all(|byte| word(byte) || matches!(byte, b'.' | b'-'))
}

/// The first component is a registry if it cannot be anything else, or is `localhost`.
fn split_domain(name: &str) -> Result<(String, String), &'static str> {
    let (domain, path) = match name.split_once('/') {
        Some((first, rest)) if looks_like_domain(first) => (first, rest),
        _ => ("docker.io", name),
    };
    if !is_domain(domain) {
        return Err("the registry is not a host name with an optional port");
    }
    if !path.split('/').all(is_path_component) {
        return Err("the repository must be lowercase letters and digits, separated by single . _ - / or by __");
    }
    let domain = if domain == "index.docker.io" { "docker.io" } else { domain };
    let official = domain == "docker.io" && !path.contains('/');
    let path = if official { format!("library/{path}") } else { path.to_owned() };
    Ok((domain.to_owned(), path))
}

fn looks_like_domain(first: &str) -> bool {
    first == "localhost" || first.contains(['.', ':']) || first.bytes().any(|byte| byte.is_ascii_uppercase())
}

fn is_domain(domain: &str) -> bool {
    let (host, port) = match domain.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, "")) if is_ipv6(address) => (None, None),
        Some((address, port)) if is_ipv6(address) && port.starts_with(':') => (None, port.strip_prefix(':')),
        Some(_) => return false,
        None => match domain.split_once(':') {
            Some((host, port)) => (Some(host), Some(port)),
            None => (Some(domain), None),
        },
    };
    host.is_none_or(is_host) && port.is_none_or(is_port)
}

/// Not with an IPv4 address at its end.
fn is_ipv6(address: &str) -> bool {
    !address.contains('.') && address.parse::<Ipv6Addr>().is_ok()
}

fn is_host(host: &str) -> bool {
    host.split('.').all(|label| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    })
}

fn is_port(port: &str) -> bool {
    port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok()
}

/// Lowercase words joined by `.`, `_`, `__` or any number of dashes.
fn is_path_component(component: &str) -> bool {
    let alphanumeric = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = component.as_bytes();
    let (Some(&first), Some(&last)) = (bytes.first(), bytes.last()) else { return false };
    alphanumeric(first)
        && alphanumeric(last)
        && bytes.split(|&byte| alphanumeric(byte)).all(|separator| {
            matches!(separator, b"" | b"." | b"_" | b"__") || separator.iter().all(|&byte| byte == b'-')
        })
}

#[cfg(test)]
mod tests;
