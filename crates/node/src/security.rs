//! What pods' and containers' security contexts have in common.

use corten_cri::v1;
use corten_host::user_namespace::{self, IdMapping, Mappings};
use serde::{Deserialize, Serialize};

use crate::check;
use crate::error::Result;

/// Which namespaces are whose.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NamespaceOptions {
    /// The network's.
    pub network: PodNamespace,
    /// The System V IPC objects', POSIX message queues' and `/dev/shm`'s.
    pub ipc: PodNamespace,
    /// The processes'.
    pub pid: PidNamespace,
    /// The ids of the pod's user namespace; `None` for the node's.
    pub users: Option<Mappings>,
}

/// A namespace that is the pod's or the node's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum PodNamespace {
    /// One for the pod.
    #[default]
    Pod,
    /// The node's own.
    Node,
}

/// A PID namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum PidNamespace {
    /// One for all containers of the pod.
    #[default]
    Pod,
    /// One for each container.
    Container,
    /// The node's own.
    Node,
    /// Another container's, by its id.
    Target(String),
}

impl NamespaceOptions {
    /// Reads the proto message, whose absence means the pod's for each; `field` is its path in the request.
    pub fn from_cri(field: &str, options: Option<v1::NamespaceOption>) -> Result<Self> {
        let Some(options) = options else { return Ok(Self::default()) };
        let v1::NamespaceOption { network, pid, ipc, target_id, userns_options } = options;
        let options = Self {
            network: PodNamespace::from_cri(&format!("{field}.network"), network)?,
            ipc: PodNamespace::from_cri(&format!("{field}.ipc"), ipc)?,
            pid: PidNamespace::from_cri(field, pid, target_id)?,
            users: users_of(&format!("{field}.userns_options"), userns_options)?,
        };
        options.check_users(field)?;
        Ok(options)
    }
}

impl NamespaceOptions {
    /// A user namespace of the pod's does not own the node's other namespaces, so that nothing of them could be shown in
    /// it: neither `/proc` nor `/dev/mqueue`. The network's `/sys` can be, by the node's own.
    fn check_users(&self, field: &str) -> Result<()> {
        let why = "cannot be combined with a user namespace";
        match (&self.users, &self.pid, self.ipc) {
            (Some(_), PidNamespace::Node, _) => Err(check::invalid(&format!("{field}.pid"), "NODE", why)),
            (Some(_), _, PodNamespace::Node) => Err(check::invalid(&format!("{field}.ipc"), "NODE", why)),
            _ => Ok(()),
        }
    }
}

impl PodNamespace {
    fn from_cri(field: &str, mode: i32) -> Result<Self> {
        match check::known(field, mode)? {
            v1::NamespaceMode::Pod => Ok(Self::Pod),
            v1::NamespaceMode::Node => Ok(Self::Node),
            mode @ (v1::NamespaceMode::Container | v1::NamespaceMode::Target) => {
                Err(check::invalid(field, mode.as_str_name(), "must be POD or NODE"))
            }
        }
    }
}

impl PidNamespace {
    fn from_cri(field: &str, mode: i32, target: String) -> Result<Self> {
        let target_field = format!("{field}.target_id");
        let mode = match check::known(&format!("{field}.pid"), mode)? {
            v1::NamespaceMode::Pod => Self::Pod,
            v1::NamespaceMode::Container => Self::Container,
            v1::NamespaceMode::Node => Self::Node,
            v1::NamespaceMode::Target => {
                return Ok(Self::Target(check::required(&target_field, target, check::MAX_NAME)?));
            }
        };
        match target.is_empty() {
            true => Ok(mode),
            false => Err(check::invalid(&target_field, &target, "is set, but the PID namespace's mode is not TARGET")),
        }
    }
}

/// The ids of the user namespace asked for. As with other runtimes it has one range of users and one of groups, from
/// root's on.
fn users_of(field: &str, options: Option<v1::UserNamespace>) -> Result<Option<Mappings>> {
    let Some(v1::UserNamespace { mode, uids, gids }) = options else { return Ok(None) };
    let mode_field = format!("{field}.mode");
    match check::known(&mode_field, mode)? {
        v1::NamespaceMode::Node if uids.is_empty() && gids.is_empty() => Ok(None),
        v1::NamespaceMode::Node => Err(check::invalid(field, "NODE", "must not have id mappings")),
        v1::NamespaceMode::Pod => {
            let mappings = id_mappings((&format!("{field}.uids"), uids), (&format!("{field}.gids"), gids))?;
            one_from_root(&format!("{field}.uids"), &mappings.uids)?;
            one_from_root(&format!("{field}.gids"), &mappings.gids)?;
            Ok(Some(mappings))
        }
        mode @ (v1::NamespaceMode::Container | v1::NamespaceMode::Target) => {
            Err(check::invalid(&mode_field, mode.as_str_name(), "must be POD or NODE"))
        }
    }
}

fn one_from_root(field: &str, ranges: &[IdMapping]) -> Result<()> {
    match ranges {
        [range] if range.inside == 0 => Ok(()),
        [range] => {
            let field = format!("{field}[0].container_id");
            Err(check::invalid(&field, &range.inside.to_string(), "must be 0: the container's root has to be mapped"))
        }
        _ => Err(check::invalid(field, &format!("{} id mappings", ranges.len()), "must be one id mapping")),
    }
}

/// Reads id mappings, each with the name of its field: of users and of groups.
pub fn id_mappings(uids: (&str, Vec<v1::IdMapping>), gids: (&str, Vec<v1::IdMapping>)) -> Result<Mappings> {
    let ranges = |(field, list): (&str, Vec<v1::IdMapping>)| -> Result<Vec<IdMapping>> {
        let range = |mapping: &v1::IdMapping| IdMapping {
            inside: mapping.container_id,
            outside: mapping.host_id,
            length: mapping.length,
        };
        let ranges: Vec<IdMapping> = list.iter().map(range).collect();
        user_namespace::check(&ranges).map_err(|error| check::invalid(field, "", error.to_string()))?;
        Ok(ranges)
    };
    Ok(Mappings { uids: ranges(uids)?, gids: ranges(gids)? })
}

/// A seccomp or AppArmor profile.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum SecurityProfile {
    /// The runtime's own.
    RuntimeDefault,
    /// None.
    Unconfined,
    /// One that is on the node: a file's path (seccomp) or a loaded profile's name (AppArmor).
    Localhost(String),
}

/// The prefix that profiles on the node have in the deprecated fields, and may have in the new ones.
const LOCALHOST: &str = "localhost/";

impl SecurityProfile {
    /// Reads the message, or else the deprecated text field that it replaced. `None` if neither is set.
    pub fn from_cri(
        field: &str,
        profile: Option<v1::SecurityProfile>,
        deprecated_field: &str,
        deprecated: String,
    ) -> Result<Option<Self>> {
        match profile {
            Some(profile) => Self::from_message(field, profile).map(Some),
            None => Self::from_text(deprecated_field, deprecated),
        }
    }

    /// Reads the message.
    pub fn from_message(field: &str, profile: v1::SecurityProfile) -> Result<Self> {
        let v1::SecurityProfile { profile_type, localhost_ref } = profile;
        let reference = format!("{field}.localhost_ref");
        let kind = match check::known(&format!("{field}.profile_type"), profile_type)? {
            v1::security_profile::ProfileType::RuntimeDefault => Self::RuntimeDefault,
            v1::security_profile::ProfileType::Unconfined => Self::Unconfined,
            v1::security_profile::ProfileType::Localhost => {
                let name = localhost_ref.strip_prefix(LOCALHOST).unwrap_or(&localhost_ref).to_owned();
                return Ok(Self::Localhost(check::required(&reference, name, check::MAX_PATH - 1)?));
            }
        };
        match localhost_ref.is_empty() {
            true => Ok(kind),
            false => Err(check::invalid(&reference, &localhost_ref, "is set, but the profile's type is not Localhost")),
        }
    }

    fn from_text(field: &str, text: String) -> Result<Option<Self>> {
        match text.as_str() {
            "" => Ok(None),
            "runtime/default" | "docker/default" => Ok(Some(Self::RuntimeDefault)),
            "unconfined" => Ok(Some(Self::Unconfined)),
            _ => match text.strip_prefix(LOCALHOST) {
                Some(name) => {
                    check::required(field, name.to_owned(), check::MAX_PATH - 1).map(|name| Some(Self::Localhost(name)))
                }
                None => Err(check::invalid(field, &text, "is not runtime/default, unconfined or localhost/<profile>")),
            },
        }
    }
}

/// An SELinux label's parts; empty ones are the policy's to choose.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Selinux {
    /// The user.
    pub user: String,
    /// The role.
    pub role: String,
    /// The type.
    #[serde(rename = "type")]
    pub kind: String,
    /// The level, which may have categories.
    pub level: String,
}

impl Selinux {
    /// Reads the proto message; `None` if nothing in it is set.
    pub fn from_cri(field: &str, options: Option<v1::SeLinuxOption>) -> Result<Option<Self>> {
        let Some(v1::SeLinuxOption { user, role, r#type, level }) = options else { return Ok(None) };
        let part = |name: &str, value: String| {
            let field = format!("{field}.{name}");
            let value = check::text(&field, value, 255)?;
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.,:".contains(&byte);
            match value.bytes().all(plain) && (name == "level" || !value.contains(':')) {
                true => Ok(value),
                false => Err(check::invalid(&field, &value, "has characters that an SELinux label cannot have")),
            }
        };
        let options = Self {
            user: part("user", user)?,
            role: part("role", role)?,
            kind: part("type", r#type)?,
            level: part("level", level)?,
        };
        Ok(Some(options).filter(|options| *options != Self::default()))
    }
}

/// Which groups a container's process gets beside its primary one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum SupplementalGroupsPolicy {
    /// Those asked for and those of the image's `/etc/group`.
    #[default]
    Merge,
    /// Those asked for.
    Strict,
}

impl SupplementalGroupsPolicy {
    /// Reads the proto enum.
    pub fn from_cri(field: &str, policy: i32) -> Result<Self> {
        Ok(match check::known(field, policy)? {
            v1::SupplementalGroupsPolicy::Merge => Self::Merge,
            v1::SupplementalGroupsPolicy::Strict => Self::Strict,
        })
    }
}

/// The most supplemental groups that a process can have (`NGROUPS_MAX`).
const MAX_GROUPS: usize = 65536;

/// Reads a list of group ids.
pub fn groups(field: &str, groups: Vec<i64>) -> Result<Vec<u32>> {
    if groups.len() > MAX_GROUPS {
        return Err(check::invalid(field, &groups.len().to_string(), format!("are more groups than {MAX_GROUPS}")));
    }
    groups.into_iter().enumerate().map(|(index, gid)| check::id(&format!("{field}[{index}]"), gid)).collect()
}

/// Reads an optional id.
pub fn optional_id(field: &str, value: Option<v1::Int64Value>) -> Result<Option<u32>> {
    value.map(|v1::Int64Value { value }| check::id(field, value)).transpose()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;

    fn options(network: i32, pid: i32, ipc: i32, target: &str) -> Option<v1::NamespaceOption> {
        Some(v1::NamespaceOption { network, pid, ipc, target_id: target.into(), userns_options: None })
    }

    fn with_users(mode: i32, uids: &[(u32, u32, u32)], gids: &[(u32, u32, u32)]) -> v1::NamespaceOption {
        let list = |ranges: &[(u32, u32, u32)]| {
            let ranges = ranges.iter();
            ranges
                .map(|(container_id, host_id, length)| v1::IdMapping {
                    host_id: *host_id,
                    container_id: *container_id,
                    length: *length,
                })
                .collect()
        };
        let userns_options = Some(v1::UserNamespace { mode, uids: list(uids), gids: list(gids) });
        v1::NamespaceOption { userns_options, ..Default::default() }
    }

    #[test]
    fn namespaces_are_the_pods_unless_said_otherwise() {
        let default = NamespaceOptions::default();
        assert_eq!(NamespaceOptions::from_cri("n", None).unwrap(), default);
        assert_eq!(NamespaceOptions::from_cri("n", Some(v1::NamespaceOption::default())).unwrap(), default);
        assert_eq!(
            (default.network, default.ipc, default.pid),
            (PodNamespace::Pod, PodNamespace::Pod, PidNamespace::Pod)
        );
    }

    #[test]
    fn every_mode_means_itself_or_is_refused() {
        let got = NamespaceOptions::from_cri("n", options(2, 3, 2, "abc")).unwrap();
        assert_eq!(got.network, PodNamespace::Node);
        assert_eq!(got.ipc, PodNamespace::Node);
        assert_eq!(got.pid, PidNamespace::Target("abc".into()));
        assert_eq!(NamespaceOptions::from_cri("n", options(0, 1, 0, "")).unwrap().pid, PidNamespace::Container);
        for (bad, field) in [
            (options(1, 0, 0, ""), "n.network"),
            (options(3, 0, 0, ""), "n.network"),
            (options(0, 0, 1, ""), "n.ipc"),
            (options(0, 4, 0, ""), "n.pid"),
            (options(-1, 0, 0, ""), "n.network"),
            (options(0, 3, 0, ""), "n.target_id"),
            (options(0, 0, 0, "abc"), "n.target_id"),
        ] {
            let error = NamespaceOptions::from_cri("n", bad).unwrap_err().to_string();
            assert!(error.starts_with(&format!("invalid {field} ")), "{error}");
        }
    }

    #[test]
    fn a_user_namespace_has_the_ids_that_the_kubelet_gives_it() {
        let read = |options| NamespaceOptions::from_cri("n", Some(options)).map(|options| options.users);
        assert_eq!(read(with_users(2, &[], &[])).unwrap(), None);
        let users = read(with_users(0, &[(0, 65536, 65536)], &[(0, 131_072, 65536)])).unwrap().unwrap();
        assert_eq!((users.root(), users.uid(65536)), (Some((65536, 131_072)), None));
        let good = [(0, 65536, 65536)];
        for (options, error) in [
            (with_users(2, &good, &good), "invalid n.userns_options "),
            (with_users(1, &[], &[]), "invalid n.userns_options.mode "),
            (with_users(3, &good, &good), "invalid n.userns_options.mode "),
            (with_users(9, &[], &[]), "invalid n.userns_options.mode "),
            (with_users(0, &[], &[]), "invalid n.userns_options.uids"),
            (with_users(0, &good, &[]), "invalid n.userns_options.gids"),
            (with_users(0, &[(1, 1000, 65536)], &good), "invalid n.userns_options.uids[0].container_id "),
            (with_users(0, &[(0, 1000, 0)], &good), "invalid n.userns_options.uids"),
            (with_users(0, &good, &[(0, u32::MAX - 65535, 65536)]), "invalid n.userns_options.gids"),
            (with_users(0, &[(0, 1000, 10), (0, 2000, 10)], &good), "invalid n.userns_options.uids"),
            (with_users(0, &[(0, 1000, 10), (10, 2000, 10)], &good), "invalid n.userns_options.uids"),
        ] {
            let refused = read(options).unwrap_err().to_string();
            assert!(refused.starts_with(error), "{refused}, not {error}");
        }
    }

    #[test]
    fn the_nodes_processes_cannot_be_seen_from_a_user_namespace() {
        let good = [(0, 65536, 65536)];
        let read = |options| NamespaceOptions::from_cri("n", Some(options));
        let base = with_users(0, &good, &good);
        assert!(read(v1::NamespaceOption { network: 2, ..base.clone() }).is_ok());
        let error = read(v1::NamespaceOption { pid: 2, ..base.clone() }).unwrap_err().to_string();
        assert!(error.starts_with("invalid n.pid "), "{error}");
        let error = read(v1::NamespaceOption { ipc: 2, ..base }).unwrap_err().to_string();
        assert!(error.starts_with("invalid n.ipc "), "{error}");
    }

    #[test]
    fn the_new_profile_field_wins_over_the_deprecated_one() {
        let message =
            |kind: i32, name: &str| Some(v1::SecurityProfile { profile_type: kind, localhost_ref: name.into() });
        let read = |message, text: &str| SecurityProfile::from_cri("new", message, "old", text.into());
        assert_eq!(read(None, "").unwrap(), None);
        assert_eq!(read(None, "runtime/default").unwrap(), Some(SecurityProfile::RuntimeDefault));
        assert_eq!(read(None, "unconfined").unwrap(), Some(SecurityProfile::Unconfined));
        assert_eq!(read(None, "localhost//p").unwrap(), Some(SecurityProfile::Localhost("/p".into())));
        assert_eq!(read(message(1, ""), "runtime/default").unwrap(), Some(SecurityProfile::Unconfined));
        assert_eq!(read(message(2, "/p"), "").unwrap(), Some(SecurityProfile::Localhost("/p".into())));
        for (message, text) in [
            (None, "nonsense"),
            (None, "localhost/"),
            (message(2, ""), ""),
            (message(0, "x"), ""),
            (message(7, ""), ""),
        ] {
            assert!(read(message, text).is_err());
        }
    }

    #[test]
    fn selinux_parts_cannot_smuggle_others() {
        let read = |user: &str, level: &str| {
            let message = v1::SeLinuxOption { user: user.into(), level: level.into(), ..Default::default() };
            Selinux::from_cri("s", Some(message))
        };
        assert_eq!(read("", "").unwrap(), None);
        assert_eq!(read("u", "s0:c1,c2").unwrap().unwrap().level, "s0:c1,c2");
        assert!(read("u:r:t", "").is_err());
        assert!(read("u", "s0\n").is_err());
    }
}
