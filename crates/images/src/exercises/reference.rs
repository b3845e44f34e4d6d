//! References: what is parsed prints as something that parses to the same, and fits into a URL.

use crate::{
    digest::Digest,
    reference::{Reference, Version},
};

/// Parses an input, and panics where something does not hold.
pub fn reference(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let reference = match text.parse::<Reference>() {
        Ok(reference) => reference,
        Err(error) => {
            assert!(error.to_string().len() < 4096, "an error is short");
            return;
        }
    };
    let printed = reference.to_string();
    let again: Reference = printed.parse().unwrap_or_else(|error| panic!("{text:?} is {printed:?}: {error}"));
    assert_eq!(again, reference, "{text:?} is {printed:?}");
    assert_eq!(again.to_string(), printed);
    holds(&reference, &printed);
    by_digest(&reference);
}

fn holds(reference: &Reference, printed: &str) {
    let (domain, path) = (reference.domain(), reference.path());
    assert_eq!(reference.repository(), format!("{domain}/{path}"));
    assert!(printed.starts_with(&reference.repository()));
    assert!(!domain.is_empty() && domain.len() <= 259 && path.len() <= 255, "{printed:?}");
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._/:@[]".contains(&byte);
    assert!(printed.bytes().all(plain), "{printed:?}");
    assert!(!domain.contains(['/', '@']), "{printed:?}");
    let component = |part: &str| !part.is_empty() && !part.contains("..") && !part.contains([':', '@']);
    assert!(path.split('/').all(component), "{printed:?}");
    assert_eq!(path, path.to_lowercase());
    match reference.version() {
        Version::Tag(tag) => {
            assert!((1..=128).contains(&tag.len()) && !tag.starts_with(['.', '-']), "{printed:?}");
            assert!(!tag.contains(['/', ':', '@']), "{printed:?}");
        }
        Version::Digest(digest) => assert_eq!(digest.to_string().len(), 71),
    }
}

fn by_digest(reference: &Reference) {
    let digest = Digest::of(b"");
    let exact = reference.with_digest(digest);
    assert_eq!(exact.repository(), reference.repository());
    let printed = exact.to_string();
    assert_eq!(printed, format!("{}@{digest}", reference.repository()));
    assert_eq!(printed.parse::<Reference>().as_ref(), Ok(&exact));
    // A tag beside the digest says nothing.
    if let Version::Tag(tag) = reference.version() {
        let both = format!("{}:{tag}@{digest}", reference.repository());
        assert_eq!(both.parse::<Reference>(), Ok(exact));
    }
}
