//! Mount options as the OCI runtime specification lists them.

use corten_host::mount::{Change, Propagation, attribute};

use super::errors::refused;
use crate::protocol::CallError;

/// What the options of one mount come to.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Options {
    /// A bind mount, and whether with everything below its source.
    pub(super) bind: Option<bool>,
    /// Attributes of the mount itself.
    pub(super) change: Change,
    /// Attributes of the mount and of everything below it.
    pub(super) recursive: Change,
    /// Its propagation, and whether for everything below it too.
    pub(super) propagation: Option<(Propagation, bool)>,
    /// What is left is the filesystem's: `key` or `key=value`.
    pub(super) parameters: Vec<Parameter>,
}

/// A parameter of a filesystem.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Parameter {
    /// `key`.
    Flag(String),
    /// `key=value`.
    Value(String, String),
}

impl Options {
    /// Reads the options; later ones win.
    pub(super) fn parse(options: &[String]) -> Result<Self, CallError> {
        let mut parsed = Options::default();
        for option in options {
            parsed.add(option)?;
        }
        Ok(parsed)
    }

    fn add(&mut self, option: &str) -> Result<(), CallError> {
        match option {
            "bind" => self.bind = Some(self.bind.unwrap_or(false)),
            "rbind" => self.bind = Some(true),
            "" | "defaults" | "async" | "silent" | "loud" | "nomand" | "norelatime" | "nostrictatime" | "iversion"
            | "noiversion" | "rw" | "suid" | "dev" | "exec" | "symfollow" | "atime" | "diratime" | "relatime" => {
                self.clear(option);
            }
            "remount" | "tmpcopyup" | "idmap" | "ridmap" => {
                return Err(refused(format!("mount option {option:?} is not supported")));
            }
            _ => self.add_named(option),
        }
        Ok(())
    }

    fn add_named(&mut self, option: &str) {
        if let Some(propagation) = propagation(option) {
            self.propagation = Some(propagation);
        } else if let Some((set, clear)) = attributes(option) {
            apply(&mut self.change, set, clear);
        } else if let Some((set, clear)) = option.strip_prefix('r').and_then(attributes) {
            apply(&mut self.recursive, set, clear);
        } else if let Some((set, clear)) = option.strip_prefix('r').and_then(cleared) {
            apply(&mut self.recursive, set, clear);
        } else {
            self.parameters.push(match option.split_once('=') {
                Some((key, value)) => Parameter::Value(key.to_owned(), value.to_owned()),
                None => Parameter::Flag(option.to_owned()),
            });
        }
    }

    fn clear(&mut self, option: &str) {
        if let Some((set, clear)) = cleared(option) {
            apply(&mut self.change, set, clear);
        }
    }

    /// Whether a parameter with this key is given.
    pub(super) fn has_parameter(&self, wanted: &str) -> bool {
        self.parameters.iter().any(|p| matches!(p, Parameter::Value(key, _) if key == wanted))
    }
}

fn apply(change: &mut Change, set: u64, clear: u64) {
    change.set = change.set & !clear | set;
    change.clear = change.clear & !set | clear;
    // The ways to update access times are one field: changing it means to clear it whole.
    if set & attribute::ATIME != 0 {
        change.clear |= attribute::ATIME;
    }
}

/// The bits to set and to clear.
fn attributes(option: &str) -> Option<(u64, u64)> {
    Some(match option {
        "ro" => (attribute::RDONLY, 0),
        "nosuid" => (attribute::NOSUID, 0),
        "nodev" => (attribute::NODEV, 0),
        "noexec" => (attribute::NOEXEC, 0),
        "noatime" => (attribute::NOATIME, attribute::STRICTATIME),
        "strictatime" => (attribute::STRICTATIME, attribute::NOATIME),
        "nodiratime" => (attribute::NODIRATIME, 0),
        "nosymfollow" => (attribute::NOSYMFOLLOW, 0),
        _ => return None,
    })
}

/// The same for the options that switch something off.
fn cleared(option: &str) -> Option<(u64, u64)> {
    Some(match option {
        "rw" => (0, attribute::RDONLY),
        "suid" => (0, attribute::NOSUID),
        "dev" => (0, attribute::NODEV),
        "exec" => (0, attribute::NOEXEC),
        "atime" | "relatime" => (0, attribute::ATIME),
        "diratime" => (0, attribute::NODIRATIME),
        "symfollow" => (0, attribute::NOSYMFOLLOW),
        _ => return None,
    })
}

/// A propagation by its name in the specification, and whether it is recursive.
pub(super) fn propagation(option: &str) -> Option<(Propagation, bool)> {
    Some(match option {
        "shared" => (Propagation::Shared, false),
        "rshared" => (Propagation::Shared, true),
        "slave" => (Propagation::Slave, false),
        "rslave" => (Propagation::Slave, true),
        "private" => (Propagation::Private, false),
        "rprivate" => (Propagation::Private, true),
        "unbindable" => (Propagation::Unbindable, false),
        "runbindable" => (Propagation::Unbindable, true),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;

    fn parse(options: &[&str]) -> Options {
        Options::parse(&options.iter().map(|o| (*o).to_owned()).collect::<Vec<_>>()).unwrap()
    }

    /// The options Kubernetes and containerd use come to the bits they stand for.
    #[test]
    fn options_in_use() {
        let volume = parse(&["rbind", "rprivate", "rro", "nosuid"]);
        assert_eq!(volume.bind, Some(true));
        assert_eq!(volume.propagation, Some((Propagation::Private, true)));
        assert_eq!(volume.recursive.set, attribute::RDONLY);
        assert_eq!(volume.change.set, attribute::NOSUID);
        let tmpfs = parse(&["nosuid", "strictatime", "mode=755", "size=65536k", "noswap"]);
        assert_eq!(tmpfs.change.set, attribute::NOSUID | attribute::STRICTATIME);
        assert_eq!(tmpfs.change.clear & attribute::ATIME, attribute::ATIME);
        assert!(tmpfs.has_parameter("size"));
        assert_eq!(tmpfs.parameters.last(), Some(&Parameter::Flag("noswap".into())));
    }

    /// Of two contrary options the later one wins.
    #[test]
    fn the_later_option_wins() {
        assert_eq!(parse(&["ro", "rw"]).change, Change { clear: attribute::RDONLY, ..Change::default() });
        assert_eq!(parse(&["rw", "ro"]).change, Change { set: attribute::RDONLY, ..Change::default() });
        assert_eq!(parse(&["rrw"]).recursive.clear, attribute::RDONLY);
    }

    /// What cannot be honoured is refused by name.
    #[test]
    fn unsupported_options_are_refused() {
        let error = Options::parse(&["tmpcopyup".to_owned()]).unwrap_err().to_string();
        assert!(error.contains("tmpcopyup"), "{error}");
    }
}
