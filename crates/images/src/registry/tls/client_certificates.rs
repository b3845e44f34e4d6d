//! Which client certificate to show, when there are several.

use std::sync::Arc;

use rustls::{
    SignatureScheme,
    client::ResolvesClientCert,
    crypto::CryptoProvider,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    sign::CertifiedKey,
};

const SEQUENCE: u8 = 0x30;

/// Certificates in the order of preference.
#[derive(Debug)]
pub(super) struct ClientCertificates {
    keys: Vec<Arc<CertifiedKey>>,
}

impl ClientCertificates {
    pub fn new(keys: Vec<Arc<CertifiedKey>>) -> Self {
        Self { keys }
    }
}

impl ResolvesClientCert for ClientCertificates {
    /// The first that one of the server's authorities has issued; if none has, the first of all: the server knows best.
    fn resolve(&self, authorities: &[&[u8]], schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        let usable = || self.keys.iter().filter(|key| key.key.choose_scheme(schemes).is_some());
        let issued = |key: &CertifiedKey| {
            key.cert.iter().any(|certificate| issuer(certificate).is_some_and(|name| authorities.contains(&name)))
        };
        usable().find(|key| issued(key)).or_else(|| usable().next()).cloned()
    }

    fn has_certs(&self) -> bool {
        !self.keys.is_empty()
    }
}

/// A chain and its key, both PEM.
pub(super) fn load(chain: &[u8], key: &[u8], provider: &CryptoProvider) -> Result<Arc<CertifiedKey>, String> {
    let chain: Vec<_> =
        CertificateDer::pem_slice_iter(chain).collect::<Result<_, _>>().map_err(|error| format!("not PEM: {error}"))?;
    if chain.is_empty() {
        return Err("no certificate in it (want PEM)".to_owned());
    }
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| "no private key for it (want PEM)".to_owned())?;
    let key = provider.key_provider.load_private_key(key).map_err(|error| format!("its private key: {error}"))?;
    let certified = CertifiedKey::new(chain, key);
    certified.keys_match().map_err(|_| "the private key is not this certificate's".to_owned())?;
    Ok(Arc::new(certified))
}

/// The issuer's name (X.509: RFC 5280, 4.1), as it is written.
fn issuer(certificate: &[u8]) -> Option<&[u8]> {
    const VERSION: u8 = 0xa0;
    let (certificate, _) = element(certificate)?;
    let (mut fields, _) = element(certificate.content)?;
    let mut rest = fields.content;
    (fields, rest) = element(rest)?;
    if fields.tag == VERSION {
        // The serial number.
        (_, rest) = element(rest)?;
    }
    let (_algorithm, rest) = element(rest)?;
    let (name, _) = element(rest)?;
    (name.tag == SEQUENCE).then_some(name.whole)
}

/// One element of DER (X.690).
struct Element<'a> {
    tag: u8,
    content: &'a [u8],
    whole: &'a [u8],
}

/// The first element and what follows it. Lengths of up to four bytes.
fn element(bytes: &[u8]) -> Option<(Element<'_>, &[u8])> {
    let (&tag, after_tag) = bytes.split_first()?;
    let (&first, mut rest) = after_tag.split_first()?;
    let mut length = usize::from(first);
    if first >= 0x80 {
        let (digits, after) =
            rest.split_at_checked(usize::from(first & 0x7f)).filter(|(digits, _)| digits.len() <= 4)?;
        length = digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit));
        rest = after;
    }
    let (content, after) = rest.split_at_checked(length)?;
    let whole = bytes.get(..bytes.len() - after.len())?;
    Some((Element { tag, content, whole }, after))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use proptest::prelude::*;
    use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
    use rustls::crypto::ring;

    use super::*;

    /// An authority by this name, and a certificate and key of its.
    fn issued(name: &str) -> (Vec<u8>, Arc<CertifiedKey>) {
        let (key, client_key) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = params.self_signed(&key).unwrap();
        let client = CertificateParams::default().signed_by(&client_key, &Issuer::new(params, key)).unwrap();
        let pem = [client.pem(), client_key.serialize_pem()].concat();
        let certified = load(pem.as_bytes(), pem.as_bytes(), &ring::default_provider()).unwrap();
        (issuer(authority.der()).unwrap().to_owned(), certified)
    }

    #[test]
    fn the_certificate_of_the_servers_authority_is_shown() {
        let ((one, first), (two, second)) = (issued("one"), issued("two"));
        let all = ClientCertificates::new(vec![first.clone(), second.clone()]);
        let schemes = [SignatureScheme::ECDSA_NISTP256_SHA256];
        let shown = |authorities: &[&[u8]]| all.resolve(authorities, &schemes).unwrap().cert == second.cert;
        assert!(!shown(&[&one]));
        assert!(shown(&[&two]));
        assert!(shown(&[b"other", &two]));
        // Whoever does not say, or is not known.
        assert!(!shown(&[]));
        assert!(!shown(&[b"other"]));
        assert!(all.resolve(&[], &[SignatureScheme::ED25519]).is_none());
    }

    #[test]
    fn a_key_must_be_there_and_its_own() {
        let (one, other) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
        let certificate = CertificateParams::default().self_signed(&one).unwrap().pem();
        let refused = |key: &str| load(certificate.as_bytes(), key.as_bytes(), &ring::default_provider()).unwrap_err();
        assert_eq!(refused(&other.serialize_pem()), "the private key is not this certificate's");
        assert_eq!(refused(""), "no private key for it (want PEM)");
        let nothing = load(b"", one.serialize_pem().as_bytes(), &ring::default_provider());
        assert_eq!(nothing.unwrap_err(), "no certificate in it (want PEM)");
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = issuer(&bytes);
        }
    }
}
