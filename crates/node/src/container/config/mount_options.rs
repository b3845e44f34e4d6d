//! What a mount may be asked to be besides (KEP-5855).

use serde::{Deserialize, Serialize};

use crate::check;
use crate::error::Result;

/// What can hold for one mount of a file system that others may show differently: the flags of mount(2) that only take
/// away, and how access times are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MountOption {
    /// Nothing on it can be executed.
    NoExec,
    /// Set-user-id bits and file capabilities on it mean nothing.
    NoSuid,
    /// Device nodes on it cannot be opened.
    NoDev,
    /// Access times are not kept.
    NoATime,
    /// Access times of directories are not kept.
    NoDirATime,
    /// Access times are kept now and then.
    RelATime,
    /// Access times are kept always.
    StrictATime,
}

impl MountOption {
    const ALL: [Self; 7] =
        [Self::NoExec, Self::NoSuid, Self::NoDev, Self::NoATime, Self::NoDirATime, Self::RelATime, Self::StrictATime];

    /// The name, as mount(8) and the OCI runtime spec have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::NoExec => "noexec",
            Self::NoSuid => "nosuid",
            Self::NoDev => "nodev",
            Self::NoATime => "noatime",
            Self::NoDirATime => "nodiratime",
            Self::RelATime => "relatime",
            Self::StrictATime => "strictatime",
        }
    }

    /// Whether the two say the contrary of each other.
    fn contradicts(self, other: Self) -> bool {
        let keeps = |option| matches!(option, Self::NoATime | Self::RelATime | Self::StrictATime);
        self != other && keeps(self) && keeps(other)
    }

    /// Checks and converts `Mount.mount_options`.
    pub(super) fn from_cri(field: &str, options: Vec<String>) -> Result<Vec<Self>> {
        let mut found: Vec<Self> = Vec::new();
        for (index, name) in options.into_iter().enumerate() {
            let refused = |why: String| Err(check::invalid(&format!("{field}[{index}]"), &name, why));
            let Some(option) = Self::ALL.into_iter().find(|option| option.name() == name) else {
                return refused(refusal(&name));
            };
            match found.iter().find(|earlier| earlier.contradicts(option)) {
                Some(earlier) => return refused(format!("contradicts {:?}", earlier.name())),
                None if found.contains(&option) => {}
                None => found.push(option),
            }
        }
        Ok(found)
    }
}

/// Why a mount option is not taken.
fn refusal(name: &str) -> String {
    let why = match name {
        "ro" | "rw" => "is what readonly is for",
        "rro" => "is what recursive_read_only is for",
        "bind" | "rbind" => "says what every mount is",
        _ if PROPAGATIONS.contains(&name.strip_prefix('r').unwrap_or(name)) || PROPAGATIONS.contains(&name) => {
            "is what propagation is for"
        }
        "exec" | "suid" | "dev" => "would allow what the node's mount may forbid",
        _ => return format!("must be one of {}", MountOption::ALL.map(MountOption::name).join(", ")),
    };
    why.to_owned()
}

/// The names of propagations, which may have an `r` before them.
const PROPAGATIONS: [&str; 4] = ["private", "slave", "shared", "unbindable"];
