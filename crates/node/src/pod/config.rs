//! What a pod sandbox shall be: `PodSandboxConfig`, checked and in our own types.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

use corten_cri::v1;
use corten_host::network::HostPort;
use serde::{Deserialize, Serialize};

use super::bandwidth;
use crate::check;
use crate::error::{Error, Result};
use crate::resources::Resources;
use crate::security::{self, NamespaceOptions, PodNamespace, SecurityProfile, Selinux, SupplementalGroupsPolicy};

/// The longest hostname that the kernel takes (`HOST_NAME_MAX`), in bytes.
const MAX_HOSTNAME: usize = 64;

/// A pod sandbox as asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PodConfig {
    /// Which pod it is, and which attempt at it.
    pub metadata: PodMetadata,
    /// Its hostname; `None` for the node's.
    pub hostname: Option<String>,
    /// Where its containers' logs are.
    pub log_directory: Option<PathBuf>,
    /// What its resolv.conf says; `None` for what the node's says.
    pub dns: Option<DnsConfig>,
    /// Its ports that are open on the node.
    pub port_mappings: Vec<PortMapping>,
    /// To select it by.
    pub labels: BTreeMap<String, String>,
    /// Anything else said of it.
    pub annotations: BTreeMap<String, String>,
    /// The parent of its cgroup, as the cgroup driver spells it.
    pub cgroup_parent: Option<String>,
    /// Kernel parameters of its namespaces, dotted names.
    pub sysctls: BTreeMap<String, String>,
    /// What the pod itself costs.
    pub overhead: Option<Resources>,
    /// What its containers are allowed together.
    pub resources: Option<Resources>,
    /// What it may do.
    pub security: PodSecurity,
}

/// By what a pod sandbox is known.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PodMetadata {
    /// The pod's name.
    pub name: String,
    /// The pod's namespace.
    pub namespace: String,
    /// The pod's uid.
    pub uid: String,
    /// How many sandboxes of this pod there were before.
    pub attempt: u32,
}

/// What a resolv.conf says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DnsConfig {
    /// Name servers' addresses.
    pub servers: Vec<String>,
    /// Search domains.
    pub searches: Vec<String>,
    /// Resolver options.
    pub options: Vec<String>,
}

/// A transport protocol.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TCP.
    #[default]
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

/// A port of a pod, and the node's port that leads there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortMapping {
    /// The protocol.
    pub protocol: Protocol,
    /// The pod's port.
    pub container_port: u16,
    /// The node's port; `None` if the port is only declared (0 in the request).
    pub host_port: Option<u16>,
    /// The node's address to listen at; `None` for all.
    pub host_ip: Option<IpAddr>,
}

/// A pod's security context.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PodSecurity {
    /// Its namespaces.
    pub namespaces: NamespaceOptions,
    /// Its SELinux label.
    pub selinux: Option<Selinux>,
    /// The user its own processes would run as. There is no pause process that it could concern.
    pub run_as_user: Option<u32>,
    /// The group, likewise.
    pub run_as_group: Option<u32>,
    /// Supplemental groups, likewise.
    pub supplemental_groups: Vec<u32>,
    /// Where supplemental groups come from, likewise.
    pub supplemental_groups_policy: SupplementalGroupsPolicy,
    /// Whether its own root would be read-only, likewise.
    pub readonly_rootfs: bool,
    /// Whether it may have privileged containers.
    pub privileged: bool,
    /// The seccomp profile of its own processes, likewise.
    pub seccomp: Option<SecurityProfile>,
    /// The AppArmor profile of its own processes, likewise.
    pub apparmor: Option<SecurityProfile>,
}

impl PodConfig {
    /// Checks and converts `RunPodSandboxRequest.config`.
    ///
    /// # Errors
    /// [`Error::Invalid`] or [`Error::Unsupported`] naming the field.
    pub fn from_cri(config: v1::PodSandboxConfig) -> Result<Self> {
        let v1::PodSandboxConfig {
            metadata,
            hostname,
            log_directory,
            dns_config,
            port_mappings,
            labels,
            annotations,
            linux,
            windows,
        } = config;
        if windows.is_some_and(|windows| windows != v1::WindowsPodSandboxConfig::default()) {
            return Err(check::invalid("config.windows", "", "is not applicable on Linux"));
        }
        let v1::LinuxPodSandboxConfig { cgroup_parent, security_context, sysctls, overhead, resources } =
            linux.unwrap_or_default();
        let security = PodSecurity::from_cri("config.linux.security_context", security_context)?;
        let config = Self {
            metadata: PodMetadata::from_cri(metadata)?,
            hostname: host_name("config.hostname", hostname)?,
            log_directory: log_directory_path(log_directory)?,
            dns: dns_config.map(DnsConfig::from_cri).transpose()?,
            port_mappings: port_mappings_of(port_mappings)?,
            labels: check::map("config.labels", labels, check::MAX_LABEL)?,
            annotations: check::map("config.annotations", annotations, check::MAX_MAP)?,
            cgroup_parent: cgroup_path("config.linux.cgroup_parent", cgroup_parent)?,
            sysctls: sysctls_of(sysctls)?,
            overhead: resources_of("config.linux.overhead", overhead)?,
            resources: resources_of("config.linux.resources", resources)?,
            security,
        };
        crate::spec::pod_sysctls(&config)?;
        if config.security.namespaces.network == PodNamespace::Pod {
            bandwidth::of(&config.annotations)?;
        }
        Ok(config)
    }
}

fn resources_of(field: &str, resources: Option<v1::LinuxContainerResources>) -> Result<Option<Resources>> {
    let resources = resources.map(|resources| Resources::from_cri(field, resources)).transpose()?;
    resources.iter().try_for_each(|resources| resources.check(field))?;
    Ok(resources)
}

impl PodMetadata {
    fn from_cri(metadata: Option<v1::PodSandboxMetadata>) -> Result<Self> {
        let Some(metadata) = metadata else {
            return Err(check::invalid("config.metadata", "", "must be set"));
        };
        let v1::PodSandboxMetadata { name, uid, namespace, attempt } = metadata;
        Ok(Self {
            name: check::line("config.metadata.name", name, check::MAX_NAME)?,
            namespace: check::line("config.metadata.namespace", namespace, check::MAX_NAME)?,
            uid: check::line("config.metadata.uid", uid, check::MAX_NAME)?,
            attempt,
        })
    }
}

/// A hostname of the characters that hostnames have; it goes into files and an environment variable.
fn host_name(field: &str, name: String) -> Result<Option<String>> {
    let Some(name) = check::optional(field, name, MAX_HOSTNAME)? else { return Ok(None) };
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    match name.bytes().all(plain) && name.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric()) {
        true => Ok(Some(name)),
        false => {
            Err(check::invalid(field, &name, "must begin with a letter or digit and have only those, '-', '.', '_'"))
        }
    }
}

fn log_directory_path(path: String) -> Result<Option<PathBuf>> {
    match path.is_empty() {
        true => Ok(None),
        false => check::host_path("config.log_directory", path).map(Some),
    }
}

/// A cgroup's path, or systemd's name for a slice: no `..`, nothing that is not a file's name. In one spelling, so that
/// pods in one cgroup are known to be.
fn cgroup_path(field: &str, path: String) -> Result<Option<String>> {
    let Some(path) = check::optional(field, path, check::MAX_PATH - 1)? else { return Ok(None) };
    match path.split('/').any(|part| part == ".." || part.len() > 255) || path.chars().any(char::is_control) {
        true => Err(check::invalid(field, &path, "is not a cgroup's path")),
        false => {
            let parts: Vec<_> = path.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
            Ok(Some(format!("{}{}", if path.starts_with('/') { "/" } else { "" }, parts.join("/"))))
        }
    }
}

impl DnsConfig {
    /// The lines go into a file of which each must stay one line.
    fn from_cri(config: v1::DnsConfig) -> Result<Self> {
        let v1::DnsConfig { servers, searches, options } = config;
        let lines = |name: &str, lines: Vec<String>| -> Result<Vec<String>> {
            let words = lines.into_iter().enumerate();
            words.map(|(index, word)| word_of(&format!("config.dns_config.{name}[{index}]"), word)).collect()
        };
        Ok(Self {
            servers: lines("servers", servers)?,
            searches: lines("searches", searches)?,
            options: lines("options", options)?,
        })
    }
}

fn word_of(field: &str, word: String) -> Result<String> {
    let word = check::line(field, word, check::MAX_NAME)?;
    match word.contains(char::is_whitespace) {
        true => Err(check::invalid(field, &word, "contains white space")),
        false => Ok(word),
    }
}

fn port_mappings_of(mappings: Vec<v1::PortMapping>) -> Result<Vec<PortMapping>> {
    let mappings = mappings.into_iter().enumerate();
    mappings.map(|(index, mapping)| PortMapping::from_cri(&format!("config.port_mappings[{index}]"), mapping)).collect()
}

impl PortMapping {
    /// The port of the node that the network is to open; `None` if the mapping only declares the pod's.
    pub fn host(&self) -> Option<HostPort> {
        let protocol = match self.protocol {
            Protocol::Tcp => corten_host::network::Protocol::Tcp,
            Protocol::Udp => corten_host::network::Protocol::Udp,
            Protocol::Sctp => corten_host::network::Protocol::Sctp,
        };
        let (container_port, host_ip) = (self.container_port, self.host_ip);
        Some(HostPort { protocol, host_port: self.host_port?, container_port, host_ip })
    }

    fn from_cri(field: &str, mapping: v1::PortMapping) -> Result<Self> {
        let v1::PortMapping { protocol, container_port, host_port, host_ip } = mapping;
        let protocol = match check::known(&format!("{field}.protocol"), protocol)? {
            v1::Protocol::Tcp => Protocol::Tcp,
            v1::Protocol::Udp => Protocol::Udp,
            v1::Protocol::Sctp => Protocol::Sctp,
        };
        let host_port = port(&format!("{field}.host_port"), host_port)?;
        let container_port_field = format!("{field}.container_port");
        let Some(container_port) = port(&container_port_field, container_port)? else {
            return Err(check::invalid(&container_port_field, "0", "must be from 1 to 65535"));
        };
        Ok(Self { protocol, container_port, host_port, host_ip: address(&format!("{field}.host_ip"), host_ip)? })
    }
}

fn port(field: &str, port: i32) -> Result<Option<u16>> {
    match u16::try_from(port) {
        Ok(0) => Ok(None),
        Ok(port) => Ok(Some(port)),
        Err(_) => Err(check::invalid(field, &port.to_string(), "must be from 0 to 65535")),
    }
}

fn address(field: &str, address: String) -> Result<Option<IpAddr>> {
    match address.is_empty() {
        true => Ok(None),
        false => address.parse().map(Some).map_err(|_| check::invalid(field, &address, "is not an IP address")),
    }
}

/// Names in either of sysctl's spellings become dotted ones.
fn sysctls_of(sysctls: BTreeMap<String, String>) -> Result<BTreeMap<String, String>> {
    let field = "config.linux.sysctls";
    let mut dotted = BTreeMap::new();
    for (name, value) in sysctls {
        check::line(field, name.clone(), 255)?;
        check::text(&format!("{field}[{name}]"), value.clone(), check::MAX_PATH)?;
        dotted.insert(dotted_sysctl(&name), value);
    }
    Ok(dotted)
}

/// `net/ipv4/conf/eth0.1/forwarding` is `net.ipv4.conf.eth0/1.forwarding`: whichever separator comes first is the one.
fn dotted_sysctl(name: &str) -> String {
    match name.find(['.', '/']).and_then(|at| name.as_bytes().get(at)) {
        Some(b'/') => name
            .chars()
            .map(|c| {
                if c == '/' {
                    '.'
                } else if c == '.' {
                    '/'
                } else {
                    c
                }
            })
            .collect(),
        _ => name.to_owned(),
    }
}

impl PodSecurity {
    fn from_cri(field: &str, context: Option<v1::LinuxSandboxSecurityContext>) -> Result<Self> {
        let Some(context) = context else { return Ok(Self::default()) };
        let v1::LinuxSandboxSecurityContext {
            namespace_options,
            selinux_options,
            run_as_user,
            readonly_rootfs,
            supplemental_groups,
            privileged,
            seccomp_profile_path,
            run_as_group,
            seccomp,
            apparmor,
            supplemental_groups_policy,
        } = context;
        let name = |name: &str| format!("{field}.{name}");
        if run_as_group.is_some() && run_as_user.is_none() {
            return Err(check::invalid(&name("run_as_group"), "", "must not be set without run_as_user"));
        }
        let namespaces = NamespaceOptions::from_cri(&name("namespace_options"), namespace_options)?;
        if let security::PidNamespace::Target(id) = &namespaces.pid {
            return Err(Error::invalid(name("namespace_options.pid"), id, "TARGET is for containers only"));
        }
        Ok(Self {
            namespaces,
            selinux: Selinux::from_cri(&name("selinux_options"), selinux_options)?,
            run_as_user: security::optional_id(&name("run_as_user"), run_as_user)?,
            run_as_group: security::optional_id(&name("run_as_group"), run_as_group)?,
            supplemental_groups: security::groups(&name("supplemental_groups"), supplemental_groups)?,
            supplemental_groups_policy: SupplementalGroupsPolicy::from_cri(
                &name("supplemental_groups_policy"),
                supplemental_groups_policy,
            )?,
            readonly_rootfs,
            privileged,
            seccomp: SecurityProfile::from_cri(
                &name("seccomp"),
                seccomp,
                &name("seccomp_profile_path"),
                seccomp_profile_path,
            )?,
            apparmor: apparmor.map(|p| SecurityProfile::from_message(&name("apparmor"), p)).transpose()?,
        })
    }
}

#[cfg(test)]
mod tests;
