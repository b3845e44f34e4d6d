//! What bind mounts show: copies of the host's mounts, before they have a place in the container.

use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use corten_host::mount::{self, Change, Propagation};
use corten_host::user_namespace::{self, Mappings};
use oci_spec::runtime::Mount;

use super::errors::{Blame, container, refused};
use super::options::Options;
use crate::image_mount;
use crate::protocol::{CallError, Launch, POD_SHM, image_number};
use crate::users;

/// Where bind mounts come from.
pub(super) struct Binds {
    /// The pod's `/dev/shm`, until it is used.
    shm: Cell<Option<OwnedFd>>,
    /// The propagation of those that do not say.
    propagation: (Propagation, bool),
    /// What was copied before the child was made, by the mount's place in the specification.
    prepared: RefCell<Vec<Option<OwnedFd>>>,
}

impl Binds {
    /// With the pod's `/dev/shm`, and the propagation of mounts that do not say.
    pub(super) fn new(shm: Option<OwnedFd>, propagation: Option<(Propagation, bool)>) -> Self {
        let propagation = propagation.unwrap_or((Propagation::Slave, true));
        Binds { shm: Cell::new(shm), propagation, prepared: RefCell::default() }
    }

    /// Copies, in the launcher process, what the child could not: in a user namespace it can neither reach what is
    /// the host root's alone, nor can anybody there map a mount's ids; and on the mount that is at the host's `/`, which
    /// is private there by then, it has no peers to share with. The others wait for the child, to have what the host
    /// mounts in the meantime.
    pub(super) fn prepare(&self, mounts: &[Mount], pod: Option<(&Mappings, BorrowedFd<'_>)>) -> Result<(), CallError> {
        for mount in mounts {
            let options = Options::parse(mount.options().as_deref().unwrap_or_default())?;
            let maps = mount.uid_mappings().is_some() || mount.gid_mappings().is_some();
            let is_bind = options.bind.is_some() || matches!(mount.typ().as_deref(), None | Some("bind"));
            if maps && !is_bind {
                return Err(refused(format!("{}: only a bind mount can have id mappings", step(mount))));
            }
            let propagates = matches!(options.propagation, Some((Propagation::Shared | Propagation::Slave, _)));
            let now = maps || propagates || pod.is_some();
            let tree = match is_bind && now && image_of(mount).is_none() {
                true => Some(self.copy(mount, &options, pod)?),
                false => None,
            };
            self.prepared.borrow_mut().push(tree);
        }
        Ok(())
    }

    /// Makes what the mounts show of images. In a mount namespace of the launcher process's own.
    pub(super) fn show_images(&self, mounts: &[Mount], plan: &Launch) -> Result<(), CallError> {
        for (index, mount) in mounts.iter().enumerate() {
            let Some(number) = image_of(mount) else { continue };
            let image = plan.images.get(number).ok_or_else(|| refused(format!("{}: no such image", step(mount))))?;
            let tree = image_mount::make(image, &plan.root.work, plan.file_label())?;
            let options = Options::parse(mount.options().as_deref().unwrap_or_default())?;
            self.change(&tree, &options).container(|| step(mount))?;
            if let Some(prepared) = self.prepared.borrow_mut().get_mut(index) {
                *prepared = Some(tree);
            }
        }
        Ok(())
    }

    /// The copy for the mount at this place in the specification, with its attributes set.
    pub(super) fn take(&self, index: usize, mount: &Mount, options: &Options) -> Result<OwnedFd, CallError> {
        let prepared = self.prepared.borrow_mut().get_mut(index).and_then(Option::take);
        prepared.map_or_else(|| self.copy(mount, options, None), Ok)
    }

    fn copy(
        &self,
        mount: &Mount,
        options: &Options,
        pod: Option<(&Mappings, BorrowedFd<'_>)>,
    ) -> Result<OwnedFd, CallError> {
        let source = mount.source().as_deref().ok_or_else(|| refused(format!("{}: no source", step(mount))))?;
        let tree = self.source(source, options.bind.unwrap_or(false)).map_err(|error| match error.raw_os_error() {
            Some(libc::ENOENT | libc::ENOTDIR) => {
                container(step(mount), format!("mount source {} does not exist", source.display()))
            }
            _ => container(step(mount), format!("mount source {}: {error}", source.display())),
        })?;
        if let Some((wanted, _)) = options.propagation {
            super::propagation::check(source, wanted)?;
        }
        map(&tree, mount, pod)?;
        self.change(&tree, options).container(|| step(mount))?;
        Ok(tree)
    }

    fn source(&self, source: &Path, recursive: bool) -> io::Result<OwnedFd> {
        if source != Path::new(POD_SHM) {
            return mount::clone_path(source, recursive);
        }
        self.shm.take().ok_or_else(|| io::Error::other("the pod has no /dev/shm of its own, or it is mounted already"))
    }

    /// Applies the options to a copy.
    fn change(&self, tree: &OwnedFd, options: &Options) -> io::Result<()> {
        let (propagation, recursive) = options.propagation.unwrap_or(self.propagation);
        let propagation = Change { propagation: Some(propagation), ..Change::default() };
        let steps = [(propagation, recursive), (options.recursive, true), (options.change, false)];
        for (change, recursive) in steps.into_iter().filter(|(change, _)| !change.is_empty()) {
            mount::change(tree.as_fd(), recursive, change)?;
        }
        Ok(())
    }
}

/// Maps the ids of a copy as the mount says. Mounts below it are mapped too if all of them can be.
fn map(tree: &OwnedFd, mount: &Mount, pod: Option<(&Mappings, BorrowedFd<'_>)>) -> Result<(), CallError> {
    let (uids, gids) = (mount.uid_mappings().as_deref(), mount.gid_mappings().as_deref());
    if uids.is_none() && gids.is_none() {
        return Ok(());
    }
    let wanted = users::mappings(uids, gids);
    for (field, ranges) in [("uidMappings", &wanted.uids), ("gidMappings", &wanted.gids)] {
        user_namespace::check(ranges).map_err(|error| refused(format!("{}: {field}: {error}", step(mount))))?;
    }
    let made;
    let namespace = match pod {
        Some((own, namespace)) if *own == wanted => namespace,
        _ => {
            made = user_namespace::make(&wanted).node(|| format!("{}: make a user namespace", step(mount)))?;
            made.as_fd()
        }
    };
    let mapped =
        mount::map_ids(tree.as_fd(), true, namespace).or_else(|_| mount::map_ids(tree.as_fd(), false, namespace));
    mapped.map_err(|error| {
        let source = mount.source().as_deref().unwrap_or(Path::new("")).display().to_string();
        let why = match error.raw_os_error() {
            Some(libc::EINVAL | libc::EOPNOTSUPP) => "its file system cannot be mounted with mapped ids".to_owned(),
            _ => format!("map its ids: {error}"),
        };
        container(step(mount), format!("mount source {source}: {why}"))
    })
}

/// The number of the image that a mount shows, if it does.
fn image_of(mount: &Mount) -> Option<usize> {
    mount.source().as_deref().and_then(image_number)
}

/// What is being done, for errors.
pub(super) fn step(mount: &Mount) -> String {
    format!("mount {}", mount.destination().display())
}
