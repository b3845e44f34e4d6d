//! Projects of writable layers: each has one of its own where the file system counts by project, so that what it takes is
//! one question to the kernel, however many files there are, and can be limited.
//!
//! The numbers are from a range that nobody else is known to use: the kubelet counts up from 1,048,577, Docker and Podman from 1
//! or what their directory has, systemd has the upper half. The first free one after a random one is taken, so that no container
//! can tell the number of another from its own. (XFS never gives back the place that a number has in its list, up to 4 KiB for
//! each.) Free is what this store has not given away and no file on the file system has: a layer that is being deleted
//! keeps its number until the last file is gone. Should two daemons take one at the same time, both see too many files in it, and
//! go on to another.
//!
//! Without limits the projects are only for counting: what the kernel refuses then (somebody has turned the quotas off) is logged,
//! and nothing depends on it.

use std::{
    collections::BTreeSet,
    io,
    ops::RangeInclusive,
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use corten_host::quota::{self, Accounting, Limits};
use rustix::{fs::Mode, io::Errno, rand::GetRandomFlags};

use crate::{Error, Usage, beneath::DIRECTORY};

/// The projects that writable layers have.
const RANGE: RangeInclusive<u32> = 0x4000_0000..=0x7fff_ffff;
/// The project of whatever is in none.
const NONE: u32 = 0;
/// How many projects are looked at to find a free one.
const TRIES: usize = 1000;

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
    /// [`Error::Quota`] if there is a limit that nobody would enforce, [`Error::Io`] if one cannot be set.
    pub fn limit_all(&self, limits: Limits) -> Result<(), Error> {
        let mut given = self.given();
        if limits == Limits::default() {
            given.projects.iter().for_each(|project| self.unlimit(*project));
        } else {
            self.can_limit().map_err(|why| Error::Quota { path: self.path.clone(), why })?;
            given.projects.iter().try_for_each(|project| self.set(*project, limits))?;
        }
        given.limits = limits;
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

    /// Puts new, empty directories of a snapshot into a project of their own. Nothing where the file system does not count, or
    /// refuses, and there are no limits.
    pub fn claim(&self, directories: &[&Path]) -> Result<Option<u32>, Error> {
        if !self.counts() {
            return Ok(None);
        }
        let opened = directories.iter().map(|path| rustix::fs::open(*path, DIRECTORY, Mode::empty()));
        let opened: Vec<_> = opened.collect::<Result<_, _>>().map_err(Error::io("open", &self.path))?;
        let mut given = self.given();
        match self.find(&opened, &given.projects) {
            Ok(project) => {
                given.projects.insert(project);
                Ok(Some(project))
            }
            Err(error) if given.limits == Limits::default() => {
                tracing::warn!(path = %self.path.display(), %error, "a writable layer is not counted by project");
                opened.iter().try_for_each(take_out).map_err(Error::io("leave a project below", &self.path))?;
                Ok(None)
            }
            Err(error) => Err(Error::io("find a project quota below", &self.path)(error)),
        }
    }

    /// Finds a project for these directories alone, and puts them into it.
    fn find(&self, directories: &[OwnedFd], given: &BTreeSet<u32>) -> io::Result<u32> {
        let alone = u64::try_from(directories.len()).unwrap_or(u64::MAX);
        let mut any = [0; size_of::<u64>()];
        rustix::rand::getrandom(&mut any, GetRandomFlags::empty())?;
        for project in numbers(u64::from_ne_bytes(any)).filter(|project| !given.contains(project)).take(TRIES) {
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
        if limits == Limits::default() {
            self.unlimit(project);
            return Ok(());
        }
        self.set(project, limits)
    }

    /// Ends a project's limits, where it has any.
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

/// The range, from a number in it that is chosen by any other, round to the one before.
fn numbers(any: u64) -> impl Iterator<Item = u32> {
    let (first, last) = RANGE.into_inner();
    let length = u64::from(last - first) + 1;
    let start = u32::try_from(any % length).map_or(first, |offset| first + offset);
    (start..=last).chain(first..start)
}

/// Takes a directory out of the project that it was put into, if it was: nothing can be renamed between it and one that is in
/// none.
fn take_out(directory: &OwnedFd) -> io::Result<()> {
    match quota::handed_on(directory.as_fd()) {
        Ok(Some(project)) if project != NONE => quota::assign(directory.as_fd(), NONE),
        // One that cannot be asked cannot have been put into one.
        _ => Ok(()),
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::fs::File;

    use super::*;

    #[test]
    fn every_number_of_the_range_has_its_turn() {
        let (first, last) = RANGE.into_inner();
        let next = |any| numbers(any).take(3).collect::<Vec<_>>();
        assert_eq!(next(0), [first, first + 1, first + 2]);
        assert_eq!(next(7), [first + 7, first + 8, first + 9]);
        let length = u64::from(last - first) + 1;
        assert_eq!(next(length - 2), [last - 1, last, first]);
        assert_eq!(next(u64::MAX - 1), [last - 1, last, first]);
        assert_eq!(numbers(3 * length + 5).last(), Some(first + 4));
    }

    /// The projects of a directory whose file system counted by project until now, and refuses every question.
    fn refused(path: &Path) -> Projects {
        Projects {
            path: path.to_owned(),
            directory: File::open("/proc").unwrap().into(),
            accounting: Ok(Accounting::Enforced),
            given: Mutex::new(Given { projects: BTreeSet::from([*RANGE.start()]), limits: Limits::default() }),
        }
    }

    #[test]
    fn a_file_system_that_counts_no_more_matters_only_with_limits() {
        let directory = tempfile::tempdir().unwrap();
        let (path, limits) = (directory.path(), Limits { bytes: Some(1 << 20), inodes: None });
        let projects = refused(path);
        projects.limit_all(Limits::default()).unwrap();
        assert_eq!(projects.claim(&[path, path]).unwrap(), None);
        projects.limit(*RANGE.start()).unwrap();
        assert_eq!(projects.usage(*RANGE.start()), None);

        projects.limit_all(limits).unwrap_err();
        projects.given().limits = limits;
        projects.claim(&[path, path]).unwrap_err();
        projects.limit(*RANGE.start()).unwrap_err();
    }
}
