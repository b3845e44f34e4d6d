//! The OCI runtime spec of a container, as Kubernetes expects it to be confined.
//!
//! [`build`] is pure: whatever it needs to know of the node is read before, once ([`Host::probe`]) or for the container
//! ([`prepare_sources`]). Runtime spec 1.1: <https://github.com/opencontainers/runtime-spec/blob/v1.1.0/config.md>.

mod annotations;
mod capabilities;
mod confinement;
mod devices;
mod host;
mod mounts;
mod namespaces;
mod process;
mod resources;
mod sources;
mod stop;
mod sysctls;
mod users;
mod volumes;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use oci_spec::image::ImageConfiguration;
use oci_spec::runtime::{Linux, Root, Spec};

pub use confinement::{Seccomp, file_label};
pub use devices::HostDevice;
pub use host::{AppArmor, CgroupMode, Host, Hugetlb, user_namespaces_supported};
pub use namespaces::namespace_of;
pub use process::exec_process;
pub use resources::{check_page_sizes, linux_resources};
pub use sources::{Sources, prepare_sources, relabel_sources};
pub use stop::{signal_message, stop_signal};
pub use sysctls::pod_sysctls;
pub use volumes::image_volumes;

use crate::container::config::ContainerConfig;
use crate::error::{Error, Result};
use crate::pod::config::PodConfig;
use crate::user::ResolvedUser;

/// The version of the OCI runtime spec that is written; older runtimes refuse newer ones.
pub const OCI_VERSION: &str = "1.1.0";

/// Everything that a container's spec follows from.
#[derive(Debug, Clone, Copy)]
pub struct SpecInput<'a> {
    /// The container's id.
    pub id: &'a str,
    /// Its pod sandbox's id.
    pub pod_id: &'a str,
    /// What it shall be.
    pub config: &'a ContainerConfig,
    /// What its pod is.
    pub pod: &'a PodConfig,
    /// Its image's configuration.
    pub image: &'a ImageConfiguration,
    /// Whom it runs as.
    pub user: &'a ResolvedUser,
    /// Where its namespaces are.
    pub namespaces: Namespaces<'a>,
    /// The pod's files on the node's state directory.
    pub files: PodFiles<'a>,
    /// What [`prepare_sources`] found of its mounts and devices.
    pub sources: &'a Sources,
    /// Its cgroup, as cgroupfs spells it.
    pub cgroups_path: &'a str,
    /// What this node can do.
    pub host: &'a Host,
}

/// Where a container's namespaces are.
#[derive(Debug, Clone, Copy)]
pub struct Namespaces<'a> {
    /// The process that holds the pod's IPC and UTS namespaces.
    pub monitor_pid: i32,
    /// The pod's network namespace file; `None` for the node's network.
    pub netns: Option<&'a Path>,
    /// The init of the pod's PID namespace, if it has one.
    pub pod_init: Option<i32>,
    /// The init of the container whose PID namespace to share, if the config asks for that.
    pub target_pid: Option<i32>,
}

/// The pod's files that its containers see in `/etc`; `None` leaves the image's.
#[derive(Debug, Clone, Copy, Default)]
pub struct PodFiles<'a> {
    /// For `/etc/hosts`.
    pub hosts: Option<&'a Path>,
    /// For `/etc/hostname`.
    pub hostname: Option<&'a Path>,
    /// For `/etc/resolv.conf`.
    pub resolv_conf: Option<&'a Path>,
}

/// A container's spec, and what does not fit in it.
#[derive(Debug, Clone, PartialEq)]
pub struct Built {
    /// The spec. `linux.seccomp` is not set.
    pub spec: Spec,
    /// Which seccomp profile the caller puts there: the built-in launcher's is compiled from it.
    pub seccomp: Seccomp,
    /// What was asked for and is more than this node's daemon may grant: said to the log, not to the caller.
    pub withheld: Vec<String>,
}

/// Builds a container's spec.
///
/// # Errors
/// [`Error::Invalid`] and [`Error::Unsupported`] name the request's field; [`Error::Container`] is the image's fault.
pub fn build(input: &SpecInput<'_>) -> Result<Built> {
    check_privilege(input)?;
    users::check(input)?;
    let mut withheld = Vec::new();
    let mut root = Root::default();
    root.set_path(PathBuf::from("rootfs")).set_readonly(Some(input.config.security.readonly_rootfs));
    let mut spec = Spec::default();
    spec.set_version(OCI_VERSION.to_owned())
        .set_root(Some(root))
        .set_mounts(Some(mounts::mounts(input)))
        .set_process(Some(process::process(input, &mut withheld)?))
        .set_hostname(None)
        .set_annotations(Some(annotations::annotations(input)))
        .set_linux(Some(linux(input, &mut withheld)?));
    Ok(Built { spec, seccomp: confinement::seccomp(&input.config.security, input.host)?, withheld })
}

/// The name by which the pod's containers know themselves: the one asked for, else the node's.
pub fn pod_hostname<'a>(pod: &'a PodConfig, host: &'a Host) -> &'a str {
    pod.hostname.as_deref().unwrap_or(&host.hostname)
}

/// A pod says whether it may have privileged containers, so that policies need to look at pods only.
fn check_privilege(input: &SpecInput<'_>) -> Result<()> {
    match input.config.security.privileged && !input.pod.security.privileged {
        true => Err(Error::invalid(
            "config.linux.security_context.privileged",
            true,
            "a privileged container needs a pod sandbox that is privileged",
        )),
        false => Ok(()),
    }
}

fn linux(input: &SpecInput<'_>, withheld: &mut Vec<String>) -> Result<Linux> {
    let security = &input.config.security;
    let mut resources = linux_resources(&input.config.resources, input.host, "config.linux.resources", withheld)?;
    resources.set_devices(Some(devices::rules(security.privileged, &input.sources.devices)));
    let mut linux = Linux::default();
    linux
        .set_resources(Some(resources))
        .set_cgroups_path(Some(PathBuf::from(input.cgroups_path)))
        .set_namespaces(Some(namespaces::namespaces(input)?))
        .set_devices(Some(devices::nodes(&input.sources.devices)))
        .set_rootfs_propagation(mounts::root_propagation(input.config))
        .set_masked_paths(Some(confinement::paths(security, &security.masked_paths)))
        .set_readonly_paths(Some(confinement::paths(security, &security.readonly_paths)))
        .set_mount_label(file_label(security.selinux.as_ref(), input.pod_id, input.host));
    if let Some(mappings) = &input.pod.security.namespaces.users {
        linux
            .set_uid_mappings(Some(users::ranges(&mappings.uids)))
            .set_gid_mappings(Some(users::ranges(&mappings.gids)));
    }
    Ok(linux)
}
