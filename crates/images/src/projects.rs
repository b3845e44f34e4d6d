//! Projects of writable layers: each has one of its own where the file system counts by project, so that what it takes is
//! one question to the kernel, however many files there are, and can be limited.
//!
//! The numbers are from a range that nobody else is known to use: the kubelet counts up from 1,048,577, Docker and Podman from 1
//! or what their directory has, systemd has the upper half. The lowest free one is taken (XFS never gives back the place
//! that a number has in its list). Free is what this store has not given away and no file on the file system has: a
//! layer that is being deleted keeps its number until the last file is gone. Should two daemons take one at the same time,
//! both see too many files in it, and go on to another.

use std::{
    collections::BTreeSet,
    io,
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use corten_host::quota::{self, Accounting, Limits};
use rustix::{fs::Mode, io::Errno};

use crate::{Error, Usage, beneath::DIRECTORY};

/// The projects that writable layers have.
const RANGE: std::ops::RangeInclusive<u32> = 0x4000_0000..=0x7fff_ffff;

/// The projects of a store's snapshots.
#[derive(Debug)]
pub(crate) struct Projects {
    /// Where the snapshots are.
    path: PathBuf,
    directory: OwnedFd,
    accounting: Result<Accounting, String>,
    given: Mutex<Given>,
}

#[derive(Debug, Default)]
struct Given {
    projects: BTreeSet<u32>,
    /// What each of them may take.
    limits: Limits,
}

impl Projects {
    /// Looks at the file system of the snapshots' directory. `made` is the one in which they are made.
    pub fn open(path: &Path, made: &Path, given: BTreeSet<u32>) -> Result<Self, Error> {
        let open = |path: &Path| rustix::fs::open(path, DIRECTORY, Mode::empty()).map_err(Error::io("open", path));
        let (directory, made) = (open(path)?, open(made)?);
        let accounting = match accounting(&directory).and_then(|found| can_have_projects([&directory, &made], found)) {
            Ok(found) => Ok(found),
            Err(why) => {
                tracing::warn!(path = %path.display(), why, "writable layers are not counted by project");
                Err(why)
            }
        };
        let given = Mutex::new(Given { projects: given, limits: Limits::default() });
        Ok(Self { path: path.to_owned(), directory, accounting, given })
    }

    fn given(&self) -> MutexGuard<'_, Given> {
        self.given.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn counts(&self) -> bool {
        !matches!(self.accounting, Err(_) | Ok(Accounting::Off))
    }

    /// Limits every project, also those to come.
    ///
    /// # Errors
    /// [`Error::Quota`] if there is a limit that nobody would enforce.
    pub fn limit_all(&self, limits: Limits) -> Result<(), Error> {
        if limits != Limits::default() {
            self.can_limit().map_err(|why| Error::Quota { path: self.path.clone(), why })?;
        }
        let mut given = self.given();
        given.limits = limits;
        if self.counts() {
            given.projects.iter().try_for_each(|project| self.set(*project, limits))?;
        }
        Ok(())
    }

    fn can_limit(&self) -> Result<(), String> {
        match &self.accounting {
            Ok(Accounting::Enforced) => Ok(()),
            Ok(Accounting::Counted) => {
                Err("its file system counts by project, but enforces no limit: mount it with prjquota".to_owned())
            }
            Ok(Accounting::Off) => {
                Err("its file system has no project quotas: that takes XFS mounted with prjquota, or ext4 \
                made with -O quota,project and mounted with prjquota"
                    .to_owned())
            }
            Err(why) => Err(why.clone()),
        }
    }

    /// Puts new, empty directories of a snapshot into a project of their own. Nothing where the file system does not count.
    pub fn claim(&self, directories: &[&Path]) -> Result<Option<u32>, Error> {
        if !self.counts() {
            return Ok(None);
        }
        let opened = directories.iter().map(|path| rustix::fs::open(*path, DIRECTORY, Mode::empty()));
        let opened: Vec<_> = opened.collect::<Result<_, _>>().map_err(Error::io("open", &self.path))?;
        let mut given = self.given();
        let project =
            self.find(&opened, &given.projects).map_err(Error::io("find a project quota below", &self.path))?;
        given.projects.insert(project);
        Ok(Some(project))
    }

    /// Finds a project for these directories alone, and puts them into it.
    fn find(&self, directories: &[OwnedFd], given: &BTreeSet<u32>) -> io::Result<u32> {
        let alone = u64::try_from(directories.len()).unwrap_or(u64::MAX);
        for project in RANGE.filter(|project| !given.contains(project)) {
            if quota::usage(self.directory.as_fd(), project)?.inodes > 0 {
                continue;
            }
            for directory in directories {
                quota::assign(directory.as_fd(), project)?;
            }
            if quota::usage(self.directory.as_fd(), project)?.inodes == alone {
                return Ok(project);
            }
        }
        Err(Errno::USERS.into())
    }

    /// Gives a project that was claimed the limits that all have.
    pub fn limit(&self, project: u32) -> Result<(), Error> {
        let limits = self.given().limits;
        self.set(project, limits)
    }

    /// Ends a project's limits: its files are about to be deleted.
    pub fn unlimit(&self, project: u32) {
        if self.counts()
            && let Err(error) = self.set(project, Limits::default())
        {
            tracing::warn!(project, %error, "the limits of a project stay");
        }
    }

    /// A project is for others when its last file is gone.
    pub fn release(&self, project: u32) {
        self.given().projects.remove(&project);
    }

    /// What a project takes; nothing if nobody counts.
    pub fn usage(&self, project: u32) -> Option<Usage> {
        let usage = self.counts().then(|| quota::usage(self.directory.as_fd(), project))?;
        usage.ok().map(|usage| Usage { bytes: usage.bytes, inodes: usage.inodes })
    }

    fn set(&self, project: u32, limits: Limits) -> Result<(), Error> {
        quota::set_limits(self.directory.as_fd(), project, limits)
            .map_err(Error::io("limit what is written below", &self.path))
    }
}

fn accounting(directory: &OwnedFd) -> Result<Accounting, String> {
    quota::accounting(directory.as_fd()).map_err(|error| format!("asking for project quotas: {error}"))
}

/// Whether projects can be had there. Nothing can be renamed between two: directories that are in one already are somebody
/// else's to count.
fn can_have_projects(directories: [&OwnedFd; 2], found: Accounting) -> Result<Accounting, String> {
    if found == Accounting::Off {
        return Ok(found);
    }
    // Who is not privileged on the node itself may know that it counts, and not what.
    let [first, _] = directories;
    quota::usage(first.as_fd(), *RANGE.start()).map_err(|error| format!("asking what a project has: {error}"))?;
    for directory in directories {
        let project =
            quota::handed_on(directory.as_fd()).map_err(|error| format!("asking for its project: {error}"))?;
        if let Some(project) = project {
            return Err(format!("it is in the project {project} already (lsattr -pd), with all that is made in it"));
        }
    }
    Ok(found)
}
