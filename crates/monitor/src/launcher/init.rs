//! The container's init, from clone3 to execve: a list of steps.

use std::convert::Infallible;
use std::os::fd::AsFd;
use std::path::Path;

use corten_host::cgroup::Cgroup;
use corten_host::mount::Propagation;
use corten_host::process;
use oci_spec::runtime::{Linux, Spec};
use rustix::fs::Mode;

use super::binds::Binds;
use super::cgroups::{self, CgroupMounts};
use super::channel::ChildEnd;
use super::errors::{Blame, refused};
use super::mounts::{self, Mounter};
use super::namespaces::Namespaces;
use super::nodes::Nodes;
use super::program::Program;
use super::resolve::{Confined, Kind};
use super::root::{self, Root};
use super::stdio::Connected;
use super::{Stdio, devices, labels, limits, options, stdio, sysctl};
use crate::protocol::{CallError, OverlayRoot};
use crate::{overlay, users};

/// Everything the child needs.
pub(super) struct Init<'a> {
    pub(super) spec: &'a Spec,
    pub(super) linux: &'a Linux,
    pub(super) program: Program<'a>,
    pub(super) root: Root,
    pub(super) overlay: &'a OverlayRoot,
    pub(super) binds: Binds,
    /// Device nodes that were made already.
    pub(super) nodes: Nodes,
    /// Whether this is in a user namespace, where its user has no id yet.
    pub(super) owned: bool,
    pub(super) namespaces: Namespaces,
    pub(super) cgroup: &'a Cgroup,
    /// Whether clone3 has joined the v2 cgroup.
    pub(super) in_v2: bool,
    pub(super) stdio: Option<Stdio>,
    pub(super) terminal: bool,
    /// The SELinux label of the files of what is mounted.
    pub(super) label: Option<&'a str>,
}

impl Init<'_> {
    /// Sets the container up from inside and becomes its program. Returns only the reason why that failed.
    pub(super) fn run(self, channel: &ChildEnd) -> Result<Infallible, CallError> {
        let process = self.spec.process().as_ref().ok_or_else(|| refused("process: missing"))?;
        process::reset_signals();
        // What is made in the container has the modes asked for, whatever the monitor's own mask is.
        rustix::process::umask(Mode::empty());
        rustix::process::setsid().node(|| "make a session".into())?;
        cgroups::join(self.cgroup, self.in_v2)?;
        let cgroup_mounts = CgroupMounts::of_self(self.namespaces)?;
        self.namespaces.make_cgroup()?;
        limits::set_oom_score(process.oom_score_adj())?;
        labels::set_for_exec(process)?;
        set_names(self.spec, self.namespaces)?;
        if let Some(sysctls) = self.linux.sysctl() {
            sysctl::write(sysctls, self.namespaces)?;
        }
        let propagation = root_propagation(self.linux)?;
        // Not before: the files of cgroups, and of this process in the host's /proc, are the host's root's.
        if self.owned {
            users::become_root().node(|| "become root of the user namespace".into())?;
        }
        let root_fd = self.root.attach()?;
        let root = Confined::to(root_fd.as_fd());
        overlay::make_directories(self.overlay, root.root())?;
        let mounter = Mounter { root, binds: self.binds, cgroups: &cgroup_mounts, label: self.label };
        let mounts = self.spec.mounts().as_deref().unwrap_or_default();
        mounts.iter().enumerate().try_for_each(|(index, mount)| mounter.mount(index, mount))?;
        devices::populate(root, mounts, self.linux.devices().as_deref().unwrap_or_default(), &self.nodes)?;
        drop(self.nodes);
        let connected = stdio::connect(process, self.terminal, self.stdio, root, channel)?;
        finish_root(self.spec, self.linux, root, &connected)?;
        root::enter(root.root(), propagation.map(|(propagation, _)| propagation))?;
        drop(root_fd);
        if let Some(personality) = self.linux.personality() {
            limits::set_personality(personality)?;
        }
        connected.install(process.user().uid())?;
        self.program.execute(channel)
    }
}

/// What is done to the root after everything is mounted in it.
fn finish_root(spec: &Spec, linux: &Linux, root: Confined<'_>, connected: &Connected) -> Result<(), CallError> {
    if let Some(terminal) = connected.terminal() {
        devices::console(root, terminal)?;
    }
    mounts::protect(root, linux.readonly_paths().as_deref().unwrap_or_default())?;
    mounts::mask(root, linux.masked_paths().as_deref().unwrap_or_default())?;
    let cwd = spec.process().as_ref().map_or(Path::new("/"), |process| process.cwd());
    root.open_or_make(cwd, Kind::Directory).container(|| format!("make working directory {}", cwd.display()))?;
    match spec.root().as_ref().and_then(|root| root.readonly()) {
        Some(true) => root::lock(root.root()),
        _ => Ok(()),
    }
}

/// Sets the names in a UTS namespace made with the container; a joined one has its names already.
fn set_names(spec: &Spec, namespaces: Namespaces) -> Result<(), CallError> {
    if !namespaces.makes(libc::CLONE_NEWUTS) {
        return Ok(());
    }
    if let Some(name) = spec.hostname() {
        rustix::system::sethostname(name.as_bytes()).container(|| format!("set hostname {name:?}"))?;
    }
    if let Some(name) = spec.domainname() {
        rustix::system::setdomainname(name.as_bytes()).container(|| format!("set domain name {name:?}"))?;
    }
    Ok(())
}

/// The propagation that the specification gives the root.
pub(super) fn root_propagation(linux: &Linux) -> Result<Option<(Propagation, bool)>, CallError> {
    match linux.rootfs_propagation().as_deref() {
        None | Some("") => Ok(None),
        Some(text) => match options::propagation(text) {
            Some(propagation) => Ok(Some(propagation)),
            None => Err(refused(format!("linux.rootfsPropagation: {text:?} is not a propagation"))),
        },
    }
}
