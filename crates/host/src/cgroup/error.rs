//! What can go wrong with a cgroup.

use std::{io, path::PathBuf};

/// Why an operation on a cgroup failed. Names the file and, for a write, the value.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No cgroup hierarchy is mounted.
    #[error("no cgroup hierarchy is mounted (looked in {0})")]
    NoHierarchies(PathBuf),
    /// A cgroup path that cannot be used.
    #[error("cgroup path {path:?}: {why}")]
    BadPath {
        /// The path as given.
        path: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A file could not be read.
    #[error("read {file}: {source}")]
    Read {
        /// The file.
        file: PathBuf,
        /// The operating system's answer.
        source: io::Error,
    },
    /// A file does not have the content it should have.
    #[error("read {file}: cannot understand {text:?}")]
    Parse {
        /// The file.
        file: PathBuf,
        /// What it says.
        text: String,
    },
    /// A value could not be written.
    #[error("write {value:?} to {file}: {source}")]
    Write {
        /// The file.
        file: PathBuf,
        /// The value.
        value: String,
        /// The operating system's answer.
        source: io::Error,
    },
    /// A cgroup directory could not be made.
    #[error("create cgroup {dir}: {source}")]
    Create {
        /// The directory.
        dir: PathBuf,
        /// The operating system's answer.
        source: io::Error,
    },
    /// A cgroup directory could not be removed.
    #[error("remove cgroup {dir}: {source}")]
    Remove {
        /// The directory.
        dir: PathBuf,
        /// The operating system's answer.
        source: io::Error,
    },
    /// A field of the resources has a value that makes no sense.
    #[error("{field}: {value:?}: {why}")]
    BadValue {
        /// The field, as in the OCI runtime specification.
        field: &'static str,
        /// Its value.
        value: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A field of the resources that this machine's cgroup version cannot express.
    #[error("{field} cannot be applied: {why}")]
    Unsupported {
        /// The field, as in the OCI runtime specification.
        field: &'static str,
        /// Why not.
        why: &'static str,
    },
    /// A field of the resources needs a controller that this machine does not have.
    #[error("{field} needs the cgroup controller {controller:?}, which is not available")]
    NoController {
        /// The field, as in the OCI runtime specification.
        field: &'static str,
        /// The controller's name.
        controller: &'static str,
    },
    /// A process could not be signalled.
    #[error("send signal {signal} to process {pid} in cgroup {path}: {source}")]
    Kill {
        /// The cgroup.
        path: String,
        /// The process.
        pid: i32,
        /// The signal.
        signal: i32,
        /// The operating system's answer.
        source: io::Error,
    },
    /// New processes appear faster than they can be killed.
    #[error("cgroup {path}: still new processes after {passes} rounds of SIGKILL")]
    StillForking {
        /// The cgroup.
        path: String,
        /// How often all its processes were killed.
        passes: u32,
    },
    /// The processes did not freeze in time; they have been thawed again.
    #[error("cgroup {path} did not freeze within {milliseconds} ms")]
    NotFrozen {
        /// The cgroup.
        path: String,
        /// The time given.
        milliseconds: u64,
    },
    /// The root of a hierarchy is everybody's: it is neither limited, killed, frozen nor removed.
    #[error("refusing to {operation} a root cgroup")]
    Root {
        /// What was asked.
        operation: &'static str,
    },
    /// The kernel refused a device filter.
    #[error("{operation} the device filter of cgroup {dir}: {source}")]
    DeviceFilter {
        /// What was tried.
        operation: &'static str,
        /// The cgroup's directory.
        dir: PathBuf,
        /// The operating system's answer.
        source: io::Error,
    },
}
