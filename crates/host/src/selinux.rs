//! SELinux: the labels that the node's policy has for containers, and labels of files.
//!
//! A label is `user:role:type:level`. Policies for containers say which to use in `lxc_contexts` (container-selinux(8)).

use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, XattrFlags, fstat, openat, setxattr, statat};
use rustix::io::Errno;

/// The labels for containers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// A container's processes'.
    pub process: String,
    /// A container's files'.
    pub file: String,
}

/// The names that every policy for containers has.
impl Default for Policy {
    fn default() -> Self {
        Self {
            process: "system_u:system_r:container_t:s0".to_owned(),
            file: "system_u:object_r:container_file_t:s0".to_owned(),
        }
    }
}

impl Policy {
    /// The labels of the policy that is in force; `None` if the kernel has no SELinux. What the policy does not say is as
    /// by default.
    pub fn read() -> Option<Self> {
        Path::new("/sys/fs/selinux/enforce").exists().then(|| Self::below(Path::new("/etc/selinux")))
    }

    /// The labels of the policy that is configured in this directory.
    fn below(directory: &Path) -> Self {
        let read = |path: PathBuf| fs::read_to_string(path).unwrap_or_default();
        let config = read(directory.join("config"));
        let name = assigned(&config, "SELINUXTYPE").unwrap_or("targeted");
        let contexts = read(directory.join(name).join("contexts/lxc_contexts"));
        let or = |key: &str, default: String| assigned(&contexts, key).map_or(default, str::to_owned);
        let Self { process, file } = Self::default();
        Self { process: or("process", process), file: or("file", file) }
    }
}

/// The value of the last line `key = value`, without quotes.
fn assigned<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    let lines = text.lines().map(str::trim).filter(|line| !line.starts_with('#'));
    let values = lines.filter_map(|line| line.split_once('=')).filter(|(name, _)| name.trim() == key);
    values.map(|(_, value)| value.trim().trim_matches('"')).rfind(|value| !value.is_empty())
}

/// A label with the parts of another where they are given: user, role, type, level.
pub fn with_parts(label: &str, parts: [&str; 4]) -> String {
    let own = label.splitn(4, ':');
    let chosen =
        own.chain(std::iter::repeat("")).zip(parts).map(|(own, part)| if part.is_empty() { own } else { part });
    chosen.collect::<Vec<_>>().join(":")
}

/// The extended attribute that holds a file's label.
const ATTRIBUTE: &str = "security.selinux";

/// So many directories may be in each other: each holds a descriptor while it is walked.
const MAX_DEPTH: usize = 256;

/// Directories whose labels are the node's own, which would no longer work with others.
const NOT_TO_BE_LABELLED: [&str; 20] = [
    "/", "/bin", "/boot", "/dev", "/etc", "/home", "/lib", "/lib64", "/media", "/opt", "/proc", "/root", "/run",
    "/sbin", "/srv", "/sys", "/tmp", "/usr", "/var", "/var/lib",
];

/// Why files were not labelled.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The directory is one of the node's own.
    #[error("{} must not be relabelled: it is the node's own", .0.display())]
    Own(PathBuf),
    /// Directories are in each other too deeply.
    #[error("{} has more than {MAX_DEPTH} directories in each other", .0.display())]
    TooDeep(PathBuf),
    /// What the kernel said.
    #[error("label {}: {error}", .path.display())]
    Kernel {
        /// The file.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
}

/// Gives a file, or a directory and all that is in it on the same file system, this label. Symbolic links are labelled,
/// not followed. What vanishes meanwhile is left, and so are file systems that have no labels of files.
///
/// # Errors
/// [`Error`]; what was labelled before stays.
pub fn relabel(path: &Path, label: &str) -> Result<(), Error> {
    if NOT_TO_BE_LABELLED.iter().any(|own| Path::new(own) == path) {
        return Err(Error::Own(path.to_owned()));
    }
    let failed = |error: Errno| Error::Kernel { path: path.to_owned(), error: error.into() };
    let file =
        rustix::fs::open(path, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty()).map_err(failed)?;
    let device = fstat(&file).map_err(failed)?.st_dev;
    Walk { label, device }.label(&file, path, 0)
}

struct Walk<'a> {
    label: &'a str,
    device: u64,
}

impl Walk<'_> {
    /// Labels what is open here as a path, and what is below.
    fn label(&self, file: &OwnedFd, path: &Path, depth: usize) -> Result<(), Error> {
        let failed = |error: Errno| Error::Kernel { path: path.to_owned(), error: error.into() };
        // By descriptor: nobody can put something else in the file's place.
        let by_descriptor = format!("/proc/self/fd/{}", file.as_raw_fd());
        match setxattr(by_descriptor, ATTRIBUTE, self.label.as_bytes(), XattrFlags::empty()) {
            Ok(()) | Err(Errno::NOTSUP | Errno::ROFS) => {}
            Err(error) => return Err(failed(error)),
        }
        let kind = FileType::from_raw_mode(fstat(file).map_err(failed)?.st_mode);
        match (kind, depth) {
            (FileType::Directory, MAX_DEPTH..) => Err(Error::TooDeep(path.to_owned())),
            (FileType::Directory, _) => self.children(file, path, depth),
            _ => Ok(()),
        }
    }

    fn children(&self, directory: &OwnedFd, path: &Path, depth: usize) -> Result<(), Error> {
        let failed = |error: Errno| Error::Kernel { path: path.to_owned(), error: error.into() };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let opened = openat(directory, ".", flags, Mode::empty()).map_err(failed)?;
        for entry in Dir::read_from(opened.as_fd()).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            let below = path.join(String::from_utf8_lossy(name.to_bytes()).as_ref());
            match self.child(directory, name) {
                Ok(Some(child)) => self.label(&child, &below, depth + 1)?,
                Ok(None) | Err(Errno::NOENT) => {}
                Err(error) => return Err(Error::Kernel { path: below, error: error.into() }),
            }
        }
        Ok(())
    }

    /// What a directory has by this name, if it is on the same file system.
    fn child(&self, directory: &OwnedFd, name: &std::ffi::CStr) -> Result<Option<OwnedFd>, Errno> {
        if statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)?.st_dev != self.device {
            return Ok(None);
        }
        let child = openat(directory, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
        // Something may have been mounted there meanwhile.
        Ok((fstat(&child)?.st_dev == self.device).then_some(child))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use std::os::unix::fs::symlink;

    use proptest::prelude::*;
    use rustix::fs::{lgetxattr, mkdirat};

    use super::*;

    #[test]
    fn the_policys_labels_are_read_or_the_usual_ones() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Policy::below(dir.path()), Policy::default());
        fs::write(dir.path().join("config"), "# SELINUXTYPE=x\nSELINUX=enforcing\nSELINUXTYPE = mls\n").unwrap();
        fs::create_dir_all(dir.path().join("mls/contexts")).unwrap();
        let contexts = "process = \"a:b:c_t:s0\"\nfile = \"d:e:f_t:s0:c1\"\nsandbox_kvm_process = \"no\"\n";
        fs::write(dir.path().join("mls/contexts/lxc_contexts"), contexts).unwrap();
        assert_eq!(Policy::below(dir.path()), Policy { process: "a:b:c_t:s0".into(), file: "d:e:f_t:s0:c1".into() });
    }

    #[test]
    fn what_is_given_of_a_label_replaces_what_the_policy_says() {
        let policy = "u:r:t:s0:c1,c2";
        assert_eq!(with_parts(policy, ["", "", "", ""]), policy);
        assert_eq!(with_parts(policy, ["", "", "spc_t", ""]), "u:r:spc_t:s0:c1,c2");
        assert_eq!(with_parts(policy, ["a", "b", "c", "s0:c3"]), "a:b:c:s0:c3");
        assert_eq!(with_parts("broken", ["", "", "t", "s0"]), "broken::t:s0");
    }

    fn label_of(path: &Path) -> Option<String> {
        let mut value = [0; 256];
        let length = lgetxattr(path, ATTRIBUTE, &mut value[..]).ok()?;
        Some(String::from_utf8_lossy(value.get(..length)?).trim_end_matches('\0').to_owned())
    }

    /// Without SELinux the kernel keeps the attribute all the same.
    #[test]
    fn a_directory_is_labelled_with_all_that_is_in_it_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let (volume, outside) = (dir.path().join("volume"), dir.path().join("outside"));
        fs::create_dir_all(volume.join("a/b")).unwrap();
        fs::write(volume.join("a/b/file"), "").unwrap();
        fs::write(&outside, "").unwrap();
        symlink(&outside, volume.join("a/link")).unwrap();
        symlink(dir.path(), volume.join("up")).unwrap();
        relabel(&volume, "u:r:t:s0").unwrap();
        for path in ["", "a", "a/b", "a/b/file", "a/link", "up"] {
            assert_eq!(label_of(&volume.join(path)).as_deref(), Some("u:r:t:s0"), "{path}");
        }
        assert_eq!((label_of(&outside), label_of(dir.path())), (None, None));
        relabel(&outside, "u:r:o:s0").unwrap();
        assert_eq!(label_of(&outside).as_deref(), Some("u:r:o:s0"));
        assert!(matches!(relabel(&dir.path().join("nothing"), "l"), Err(Error::Kernel { .. })));
    }

    #[test]
    fn the_nodes_own_directories_and_endless_ones_are_refused() {
        for own in NOT_TO_BE_LABELLED {
            assert!(matches!(relabel(Path::new(own), "u:r:t:s0"), Err(Error::Own(_))), "{own}");
        }
        let dir = tempfile::tempdir().unwrap();
        let mut deepest = OwnedFd::from(fs::File::open(dir.path()).unwrap());
        for _ in 0..=MAX_DEPTH {
            mkdirat(&deepest, "d", Mode::RWXU).unwrap();
            deepest = openat(&deepest, "d", OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).unwrap();
        }
        assert!(matches!(relabel(dir.path(), "u:r:t:s0"), Err(Error::TooDeep(_))));
    }

    proptest! {
        #[test]
        fn any_policy_is_read(config in any::<String>(), contexts in any::<String>()) {
            assigned(&config, "SELINUXTYPE");
            prop_assert!(assigned(&contexts, "process").is_none_or(|label| !label.is_empty()));
            prop_assert_eq!(with_parts(&contexts, ["a", "b", "c", "d"]), "a:b:c:d");
        }
    }
}
