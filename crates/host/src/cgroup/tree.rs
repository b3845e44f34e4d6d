//! Making and removing cgroups.

use std::{
    fs, io,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use rustix::{fs::AtFlags, fs::Mode as Permissions, io::Errno};
use serde::{Deserialize, Serialize};

use super::{
    Cgroup, Error, Mode, Place, file,
    hierarchies::{Controller, Controllers, Version},
};

/// The directories that one [`Cgroup::create`] made, so that [`Cgroup::undo`] removes these and no others.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Created {
    /// Parents before their children.
    directories: Vec<PathBuf>,
}

impl Created {
    /// Whether everything existed already.
    pub fn is_empty(&self) -> bool {
        self.directories.is_empty()
    }

    /// The directories made, parents before their children.
    pub fn directories(&self) -> &[PathBuf] {
        &self.directories
    }

    /// Takes over the directories of another.
    pub fn adopt(&mut self, other: &Created) {
        let new = other.directories.iter().filter(|dir| !self.directories.contains(dir)).cloned();
        let new: Vec<PathBuf> = new.collect();
        self.directories.extend(new);
        self.directories.sort();
    }
}

/// How often a directory that somebody else keeps removing is made again.
const CREATE_ATTEMPTS: u32 = 8;

/// How often removal is tried while the cgroup is busy. With the pauses in between this is about half a second.
const REMOVE_ATTEMPTS: u32 = 12;

impl Cgroup {
    /// The directories that [`Cgroup::create`] would make now: for whoever records what it is about to make.
    pub fn missing(&self) -> Created {
        let mut directories = Vec::new();
        for place in &self.places {
            let above = place.dir.ancestors().take_while(|dir| *dir != place.hierarchy.mount && !dir.exists());
            directories.extend(above.map(Path::to_owned));
        }
        // A directory sorts before what is in it.
        directories.sort();
        Created { directories }
    }

    /// Whether it is one of these directories, or below one, in some hierarchy.
    pub fn is_below(&self, created: &Created) -> bool {
        let below = |dir: &Path| created.directories.iter().any(|above| dir.starts_with(above));
        self.places.iter().any(|place| below(&place.dir))
    }

    /// Makes the cgroup, and its parents, in every hierarchy. What exists already is fine.
    ///
    /// New v1 cpusets get their parent's CPUs and memory nodes; on v2 the controllers are enabled down the path.
    /// (`memory.use_hierarchy` is always on since Linux 5.11.)
    ///
    /// # Errors
    /// If a directory cannot be made or a cpuset not be filled; what this call has made is removed again then.
    pub fn create(&self) -> Result<Created, Error> {
        let mut created = Created::default();
        match self.create_everywhere(&mut created) {
            Ok(()) => Ok(created),
            Err(e) => {
                Self::undo(&created)?;
                Err(e)
            }
        }
    }

    fn create_everywhere(&self, created: &mut Created) -> Result<(), Error> {
        for place in &self.places {
            let already = created.directories.len();
            make_directories(&place.dir, &mut created.directories)?;
            if place.hierarchy.version == Version::V2 {
                if self.mode == Mode::V2 {
                    enable(place, place.hierarchy.controllers)?;
                }
            } else if place.hierarchy.controllers.has(Controller::Cpuset) {
                for dir in created.directories.get(already..).unwrap_or_default() {
                    fill_cpuset(dir, &place.hierarchy.mount)?;
                }
            }
        }
        Ok(())
    }

    /// Removes the directories that one [`Cgroup::create`] made, if they are empty: others may use them by now.
    ///
    /// # Errors
    /// If one can be removed for no good reason (neither gone, nor in use); the others are removed nevertheless.
    pub fn undo(created: &Created) -> Result<(), Error> {
        let mut outcome = Ok(());
        for dir in created.directories.iter().rev() {
            match remove_directory(dir) {
                Ok(()) | Err(Errno::NOENT | Errno::BUSY | Errno::NOTEMPTY) => {}
                Err(errno) => outcome = Err(Error::Remove { dir: dir.clone(), source: errno.into() }),
            }
        }
        outcome
    }

    /// Removes the cgroup and all cgroups below it, in every hierarchy. Idempotent. Processes that are just ending are waited
    /// for, half a second at most.
    ///
    /// # Errors
    /// If it is a root cgroup, or a directory cannot be removed (EBUSY: it has processes); the others are removed nevertheless.
    pub fn remove(&self) -> Result<(), Error> {
        self.not_root("remove")?;
        let mut outcome = Ok(());
        for place in &self.places {
            if let Err(e) = remove_tree(&place.dir) {
                outcome = Err(e);
            }
        }
        outcome
    }

    /// Whether it exists in any hierarchy.
    pub fn exists(&self) -> bool {
        self.places.iter().any(|p| p.dir.exists())
    }

    /// On a hybrid machine: makes a v2 controller available to this cgroup, which [`Cgroup::create`] leaves alone there.
    pub(super) fn enable_v2(&self, controller: Controller) -> Result<(), Error> {
        match self.v2() {
            Some(place) => enable(place, place.hierarchy.controllers.only(&[controller])),
            None => Ok(()),
        }
    }
}

/// `mkdir -p`, noting what is new. The common case, that only the last one is missing, is one system call.
fn make_directories(dir: &Path, made: &mut Vec<PathBuf>) -> Result<(), Error> {
    let error = |errno: Errno| Error::Create { dir: dir.to_owned(), source: errno.into() };
    for _ in 0..CREATE_ATTEMPTS {
        match rustix::fs::mkdir(dir, Permissions::from_raw_mode(0o755)) {
            Ok(()) => {
                made.push(dir.to_owned());
                return Ok(());
            }
            Err(Errno::EXIST) => return Ok(()),
            // The parent is missing, or was removed by somebody's clean-up since we made it.
            Err(Errno::NOENT) => make_directories(dir.parent().ok_or_else(|| error(Errno::NOENT))?, made)?,
            Err(errno) => return Err(error(errno)),
        }
    }
    Err(error(Errno::NOENT))
}

/// Gives a cpuset that has no CPUs or memory nodes those of its parent: a process cannot join it otherwise.
fn fill_cpuset(dir: &Path, root: &Path) -> Result<(), Error> {
    for name in ["cpuset.cpus", "cpuset.mems"] {
        let value = cpuset_of_parent(dir, root, name)?;
        file::write(dir, name, value.trim())?;
    }
    Ok(())
}

/// What the parent has; a parent that somebody else left empty is filled first.
fn cpuset_of_parent(dir: &Path, root: &Path, name: &str) -> Result<String, Error> {
    let parent = dir.parent().unwrap_or(root);
    let value = file::read(&parent.join(name))?;
    if !value.trim().is_empty() || parent == root {
        return Ok(value);
    }
    let value = cpuset_of_parent(parent, root, name)?;
    file::write(parent, name, value.trim())?;
    Ok(value)
}

/// Enables v2 controllers for a cgroup: in `cgroup.subtree_control` of all those above it, from the root down.
///
/// One that the kernel refuses is left out, which shows when a limit is set that needs it.
fn enable(place: &Place, wanted: Controllers) -> Result<(), Error> {
    if place.is_root() || available(&place.dir)?.covers(wanted) {
        return Ok(());
    }
    let mount = &place.hierarchy.mount;
    let mut above: Vec<&Path> = place.dir.ancestors().skip(1).take_while(|dir| dir.starts_with(mount)).collect();
    above.reverse();
    for dir in above {
        let control = dir.join("cgroup.subtree_control");
        let names: Vec<String> = wanted.v2_names().map(|name| format!("+{name}")).collect();
        if file::try_write(&control, &names.join(" ")).is_ok() {
            continue;
        }
        for name in &names {
            // Refused ones are reported by what needs them, see above.
            let _refused = file::try_write(&control, name);
        }
    }
    Ok(())
}

fn available(dir: &Path) -> Result<Controllers, Error> {
    Ok(Controllers::parse(&file::read(&dir.join("cgroup.controllers"))?))
}

/// Removes a cgroup with all below it, waiting a little for processes that are just ending.
fn remove_tree(dir: &Path) -> Result<(), Error> {
    let mut pause = Duration::from_millis(1);
    for _ in 1..REMOVE_ATTEMPTS {
        match remove_directory(dir) {
            Ok(()) | Err(Errno::NOENT) => return Ok(()),
            Err(Errno::BUSY | Errno::NOTEMPTY) => {}
            Err(errno) => return Err(Error::Remove { dir: dir.to_owned(), source: errno.into() }),
        }
        if !remove_descendants(dir)? {
            thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(64));
        }
    }
    match remove_directory(dir) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(errno) => Err(Error::Remove { dir: dir.to_owned(), source: errno.into() }),
    }
}

/// Removes the cgroups below one, deepest first, as far as they are free. Returns whether there was one to remove.
fn remove_descendants(dir: &Path) -> Result<bool, Error> {
    let mut below = descendants(dir)?;
    let some = !below.is_empty();
    while let Some(dir) = below.pop() {
        match remove_directory(&dir) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(Errno::BUSY | Errno::NOTEMPTY) => return Ok(false),
            Err(errno) => return Err(Error::Remove { dir, source: errno.into() }),
        }
    }
    Ok(some)
}

/// The cgroups below one, parents before their children. One that goes away meanwhile is left out.
pub(super) fn descendants(dir: &Path) -> Result<Vec<PathBuf>, Error> {
    let mut found = Vec::new();
    children(dir, &mut found)?;
    let mut next = 0;
    while let Some(dir) = found.get(next).cloned() {
        children(&dir, &mut found)?;
        next += 1;
    }
    Ok(found)
}

fn children(dir: &Path, found: &mut Vec<PathBuf>) -> Result<(), Error> {
    let error = |source| Error::Read { file: dir.to_owned(), source };
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) if gone(&e) => return Ok(()),
        Err(e) => return Err(error(e)),
    };
    for entry in entries {
        match entry {
            Ok(entry) if entry.file_type().is_ok_and(|t| t.is_dir()) => found.push(entry.path()),
            Ok(_) => {}
            Err(e) if gone(&e) => break,
            Err(e) => return Err(error(e)),
        }
    }
    Ok(())
}

fn gone(e: &io::Error) -> bool {
    matches!(e.raw_os_error(), Some(libc::ENOENT | libc::ENODEV))
}

fn remove_directory(dir: &Path) -> Result<(), Errno> {
    rustix::fs::unlinkat(rustix::fs::CWD, dir, AtFlags::REMOVEDIR)
}
