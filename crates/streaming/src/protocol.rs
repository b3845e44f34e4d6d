//! The protocols' names, and which one a client and a server agree on.

use crate::websocket::Encoding;

/// The version of the remote command protocol, `channel.k8s.io`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// An error is text on the error stream; success is its silence.
    V1,
    /// The same; the client closes its stdin.
    V2,
    /// With a stream for terminal sizes.
    V3,
    /// The error stream carries a `metav1.Status`.
    V4,
    /// WebSocket only: one direction of a channel can be closed.
    V5,
}

impl Version {
    /// All, the newest first.
    pub const ALL: [Self; 5] = [Self::V5, Self::V4, Self::V3, Self::V2, Self::V1];

    /// What SPDY carries, the newest first.
    pub const SPDY: [Self; 4] = [Self::V4, Self::V3, Self::V2, Self::V1];

    /// The name, as SPDY's `X-Stream-Protocol-Version` and WebSocket's subprotocol spell it.
    pub fn name(self) -> &'static str {
        match self {
            Self::V1 => "channel.k8s.io",
            Self::V2 => "v2.channel.k8s.io",
            Self::V3 => "v3.channel.k8s.io",
            Self::V4 => "v4.channel.k8s.io",
            Self::V5 => "v5.channel.k8s.io",
        }
    }

    /// The name of the variant whose messages are text, in base64.
    pub fn base64_name(self) -> &'static str {
        match self {
            Self::V1 => "base64.channel.k8s.io",
            Self::V2 => "v2.base64.channel.k8s.io",
            Self::V3 => "v3.base64.channel.k8s.io",
            Self::V4 => "v4.base64.channel.k8s.io",
            Self::V5 => "v5.base64.channel.k8s.io",
        }
    }

    /// Whether the error stream carries a `metav1.Status`.
    pub fn has_status(self) -> bool {
        self >= Self::V4
    }

    /// Whether there is a stream for terminal sizes.
    pub fn has_resize(self) -> bool {
        self >= Self::V3
    }

    /// Whether one direction of a WebSocket channel can be closed.
    pub fn has_close_signal(self) -> bool {
        self >= Self::V5
    }
}

/// The port forwarding protocol's name over SPDY.
pub const PORT_FORWARD: &str = "portforward.k8s.io";

/// The port forwarding protocol's name over SPDY through a WebSocket.
pub const PORT_FORWARD_TUNNEL: &str = "SPDY/3.1+portforward.k8s.io";

/// What a client and a server have agreed on for a WebSocket with channels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Channels {
    /// The version.
    pub version: Version,
    /// How a message's bytes are written.
    pub encoding: Encoding,
    /// Its name, for the answer; `None` if the client named nothing, which means the first version.
    pub name: Option<&'static str>,
}

/// The version for SPDY: the first of what the client offers that we have; [`Version::V1`] if it offers nothing.
pub fn spdy<'a>(offered: impl IntoIterator<Item = &'a str>) -> Option<Version> {
    first(offered, |name| Version::SPDY.into_iter().find(|version| version.name() == name), Version::V1)
}

/// The same for WebSocket.
pub fn channels<'a>(offered: impl IntoIterator<Item = &'a str>) -> Option<Channels> {
    let find = |offered: &str| {
        let binary = Version::ALL.into_iter().map(|version| (version, Encoding::Binary, version.name()));
        let base64 = Version::ALL.into_iter().map(|version| (version, Encoding::Base64, version.base64_name()));
        let found = binary.chain(base64).find(|(_, _, name)| *name == offered);
        found.map(|(version, encoding, name)| Channels { version, encoding, name: Some(name) })
    };
    first(offered, find, Channels { version: Version::V1, encoding: Encoding::Binary, name: None })
}

fn first<'a, T>(
    offered: impl IntoIterator<Item = &'a str>,
    find: impl Fn(&str) -> Option<T>,
    if_none_offered: T,
) -> Option<T> {
    let mut offered = offered.into_iter().peekable();
    match offered.peek() {
        None => Some(if_none_offered),
        Some(_) => offered.find_map(find),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;

    #[test]
    fn the_client_prefers() {
        assert_eq!(spdy(["v9.channel.k8s.io", "v2.channel.k8s.io", "v4.channel.k8s.io"]), Some(Version::V2));
        assert_eq!(channels(["v5.channel.k8s.io", "v4.channel.k8s.io"]).unwrap().version, Version::V5);
    }

    #[test]
    fn a_client_of_the_first_days_names_nothing() {
        assert_eq!(spdy([]), Some(Version::V1));
        let channels = channels([]).unwrap();
        assert_eq!((channels.version, channels.encoding, channels.name), (Version::V1, Encoding::Binary, None));
    }

    #[test]
    fn nothing_in_common_is_nothing() {
        assert_eq!(spdy(["v5.channel.k8s.io"]), None);
        assert_eq!(channels(["chat"]), None);
    }

    #[test]
    fn text_variants_are_told_apart() {
        let found = channels(["v4.base64.channel.k8s.io"]).unwrap();
        assert_eq!((found.version, found.encoding), (Version::V4, Encoding::Base64));
    }
}
