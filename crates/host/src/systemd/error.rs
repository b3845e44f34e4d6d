//! Why systemd has not done something.

use super::dbus;

/// Why systemd has not done something.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It cannot be asked.
    #[error("systemd cannot be asked to {what}: {source}")]
    Asking {
        /// What it was to do.
        what: String,
        /// Why not.
        source: dbus::Error,
    },
    /// Its job ended otherwise than it should.
    #[error("systemd was asked to {what}: its job ended with {result:?}")]
    Job {
        /// What it was to do.
        what: String,
        /// The job's result.
        result: String,
    },
    /// Its job takes too long.
    #[error("systemd was asked to {what}, and has not done it in {seconds} seconds")]
    Slow {
        /// What it was to do.
        what: String,
        /// How long it was waited for.
        seconds: u64,
    },
    /// The process that a scope begins with could not be started.
    #[error("{what}: {why}")]
    Placeholder {
        /// What systemd was to do.
        what: String,
        /// Why not.
        why: String,
    },
}

/// The names of errors that go away: systemd executes itself anew, or the bus is busy with it.
const PASSING: [&str; 8] = [
    "org.freedesktop.DBus.Error.NoReply",
    "org.freedesktop.DBus.Error.ServiceUnknown",
    "org.freedesktop.DBus.Error.NameHasNoOwner",
    "org.freedesktop.DBus.Error.Disconnected",
    "org.freedesktop.DBus.Error.TimedOut",
    "org.freedesktop.DBus.Error.Timeout",
    "org.freedesktop.DBus.Error.LimitsExceeded",
    "org.freedesktop.DBus.Error.Spawn.",
];

impl dbus::Error {
    /// Whether the same may succeed a moment later.
    pub(super) fn is_passing(&self) -> bool {
        match self {
            Self::Socket { .. } | Self::Closed | Self::Timeout { .. } => true,
            Self::Refused { name, .. } => PASSING.iter().any(|passing| name.starts_with(passing)),
            Self::Malformed(_) => false,
        }
    }

    /// Whether it is an error of this name.
    pub(super) fn is(&self, wanted: &str) -> bool {
        matches!(self, Self::Refused { name, .. } if name == wanted)
    }
}
