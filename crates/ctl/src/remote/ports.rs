//! Which local ports go to which of a pod.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    num::NonZero,
    str::FromStr,
};

/// A local port and the one it goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ports {
    /// The local port; 0 means any.
    pub local: u16,
    /// The pod's port.
    pub remote: NonZero<u16>,
}

impl FromStr for Ports {
    type Err = String;

    /// `LOCAL:REMOTE`, `REMOTE` (the same locally) or `:REMOTE` (any locally).
    fn from_str(text: &str) -> Result<Self, String> {
        let refuse = |_| format!("{text:?}: must be REMOTE, LOCAL:REMOTE or :REMOTE, where a port is 1 to 65535");
        let (local, remote) = match text.split_once(':') {
            None => (text, text),
            Some(("", remote)) => ("0", remote),
            Some(both) => both,
        };
        let remote = remote.parse().map_err(refuse)?;
        Ok(Self { local: local.parse().map_err(refuse)?, remote })
    }
}

/// Where to listen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Address {
    /// On this machine only, over whichever version of IP it has.
    Localhost,
    /// On one address.
    Ip(IpAddr),
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "localhost" {
            return Ok(Self::Localhost);
        }
        text.parse().map(Self::Ip).map_err(|_| "must be an IP address or localhost".to_owned())
    }
}

impl Address {
    /// The addresses it stands for, of which one is enough.
    pub fn alternatives(self) -> Vec<IpAddr> {
        match self {
            Self::Localhost => vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()],
            Self::Ip(ip) => vec![ip],
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_text_panics(text in ".{0,12}|[0-9:]{0,12}") {
            let _ = Ports::from_str(&text);
        }

        #[test]
        fn pairs_are_themselves(local: u16, remote in 1..=u16::MAX) {
            let ports: Ports = format!("{local}:{remote}").parse().unwrap();
            prop_assert_eq!((ports.local, ports.remote.get()), (local, remote));
        }
    }

    #[test]
    fn ports_are_written_as_for_kubectl() {
        for (text, local, remote) in [("8080:80", 8080, 80), ("80", 80, 80), (":80", 0, 80), ("0:65535", 0, 65535)] {
            let ports: Ports = text.parse().unwrap();
            assert_eq!((ports.local, ports.remote.get()), (local, remote), "{text}");
        }
        for text in ["", ":", "0", "80:", "80:0", "65536", "1:65536", "http", "1:2:3", "-1", "127.0.0.1:80", "8080: 80"]
        {
            assert!(Ports::from_str(text).unwrap_err().contains(text), "{text}");
        }
    }

    #[test]
    fn addresses_are_ips_or_localhost() {
        assert_eq!("localhost".parse::<Address>().unwrap().alternatives().len(), 2);
        assert_eq!("::".parse::<Address>().unwrap().alternatives(), [IpAddr::V6(Ipv6Addr::UNSPECIFIED)]);
        for text in ["", "example.org", "127.0.0.1:80", "[::1]"] {
            assert!(text.parse::<Address>().is_err(), "{text}");
        }
    }
}
