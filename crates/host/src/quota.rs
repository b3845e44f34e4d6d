//! Project quotas (quotactl(2)): what the files of a project take, counted by the file system while they are written, and
//! the most that they may take.
//!
//! A project is a number that every file carries; a directory can hand its own on to what is made in it. ext4 (made with `-O
//! quota,project`) and XFS (mounted with `prjquota`) count by it; mounted with `prjquota` both hold to limits. Who exceeds one
//! gets `EDQUOT` on ext4 and `ENOSPC` on XFS.
//!
//! The file system is named by a descriptor of anything on it (quotactl_fd(2), Linux 5.14), so that no device has to be
//! looked for. A kernel without that call is one without quotas here: [`Accounting::Off`].

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::io::Errno;
use rustix::ioctl::{self, Getter, Opcode, Setter, opcode};

/// Whether a file system counts by project.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accounting {
    /// It does not, or nobody can ask it.
    Off,
    /// It counts; limits are kept and not enforced.
    Counted,
    /// It counts, and enforces limits.
    Enforced,
}

/// What the files of a project take.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Bytes, in whole blocks; what is promised to writes that wait to be written is among them.
    pub bytes: u64,
    /// Files, directories and everything else, also what was deleted and is still open.
    pub inodes: u64,
}

/// The most that the files of a project may take; without a number, as much as there is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    /// Bytes; rounded up to 1024.
    pub bytes: Option<u64>,
    /// Files, directories and everything else.
    pub inodes: Option<u64>,
}

/// `PRJQUOTA` of linux/quota.h.
const PROJECTS: u32 = 2;
/// The unit of limits in bytes, `QIF_DQBLKSIZE`.
const BLOCK: u64 = 1024;
const Q_GETQUOTA: u32 = 0x80_0007;
const Q_SETQUOTA: u32 = 0x80_0008;
const QIF_LIMITS: u32 = 5;
/// Of linux/dqblk_xfs.h; every file system with quotas answers it.
const Q_XGETQSTATV: u32 = 0x5808;
/// The version of [`Status`].
const STATUS_VERSION: i8 = 1;
const PROJECTS_COUNTED: u16 = 1 << 4;
const PROJECTS_ENFORCED: u16 = 1 << 5;

/// `struct if_dqblk` of linux/quota.h.
#[repr(C)]
#[derive(Default)]
struct Entry {
    most_blocks: u64,
    soft_blocks: u64,
    bytes: u64,
    most_inodes: u64,
    soft_inodes: u64,
    inodes: u64,
    blocks_grace: u64,
    inodes_grace: u64,
    valid: u32,
}

/// `struct fs_quota_statv` of linux/dqblk_xfs.h.
#[repr(C)]
#[derive(Default)]
struct Status {
    version: i8,
    padding: u8,
    flags: u16,
    in_core: u32,
    files_and_times: [u64; 19],
}

/// `struct fsxattr` of linux/fs.h.
#[repr(C)]
struct Attributes {
    flags: u32,
    extent_size: u32,
    extents: u32,
    project: u32,
    copy_extent_size: u32,
    padding: [u8; 8],
}

// What the kernel writes.
const _: () = assert!(size_of::<Entry>() == 72 && size_of::<Status>() == 160 && size_of::<Attributes>() == 28);

/// `FS_XFLAG_PROJINHERIT`: what is made in the directory is of its project.
const HANDS_ON: u32 = 0x200;
/// `FS_IOC_FSGETXATTR`.
const GET_ATTRIBUTES: Opcode = opcode::read::<Attributes>(b'X', 31);
/// `FS_IOC_FSSETXATTR`.
const SET_ATTRIBUTES: Opcode = opcode::write::<Attributes>(b'X', 32);

/// Whether the file system of an open file counts by project.
///
/// # Errors
/// The kernel's answer: `EPERM` where a filter forbids the question.
pub fn accounting(file: BorrowedFd<'_>) -> io::Result<Accounting> {
    let mut status = Status { version: STATUS_VERSION, ..Status::default() };
    // SAFETY: the kernel writes one struct fs_quota_statv of version 1, which is what `Status` is, and keeps no pointer.
    match unsafe { quotactl(file, Q_XGETQSTATV, 0, &mut status) } {
        // No such call, no quotas in this kernel, none on this file system, none by project.
        Err(Errno::NOSYS | Errno::INVAL | Errno::SRCH | Errno::OPNOTSUPP) => return Ok(Accounting::Off),
        result => result?,
    }
    Ok(match (status.flags & PROJECTS_COUNTED != 0, status.flags & PROJECTS_ENFORCED != 0) {
        (false, _) => Accounting::Off,
        (true, false) => Accounting::Counted,
        (true, true) => Accounting::Enforced,
    })
}

/// What a project's files take on the file system of an open file.
///
/// # Errors
/// The kernel's answer: `ESRCH` or `ENOSYS` if the file system does not count by project (any more).
pub fn usage(file: BorrowedFd<'_>, project: u32) -> io::Result<Usage> {
    let mut entry = Entry::default();
    // SAFETY: the kernel writes one struct if_dqblk, which is what `Entry` is, and keeps no pointer.
    match unsafe { quotactl(file, Q_GETQUOTA, project, &mut entry) } {
        // XFS has never heard of the project.
        Err(Errno::NOENT) => Ok(Usage::default()),
        result => Ok(result.map(|()| Usage { bytes: entry.bytes, inodes: entry.inodes })?),
    }
}

/// Limits a project on the file system of an open file, or ends its limits.
///
/// # Errors
/// The kernel's answer: as of [`usage`], and `ERANGE` for what no disk can hold.
pub fn set_limits(file: BorrowedFd<'_>, project: u32, limits: Limits) -> io::Result<()> {
    // To the kernel 0 is no limit.
    let mut entry = Entry {
        most_blocks: limits.bytes.map_or(0, |bytes| bytes.div_ceil(BLOCK).max(1)),
        most_inodes: limits.inodes.map_or(0, |inodes| inodes.max(1)),
        valid: QIF_LIMITS,
        ..Entry::default()
    };
    // SAFETY: the kernel reads one struct if_dqblk, which is what `Entry` is, and keeps no pointer.
    Ok(unsafe { quotactl(file, Q_SETQUOTA, project, &mut entry) }?)
}

/// The project of a directory, if it hands it on to what is made in it.
///
/// # Errors
/// The kernel's answer: `ENOTTY` from a file system that knows no projects.
pub fn handed_on(directory: BorrowedFd<'_>) -> io::Result<Option<u32>> {
    let attributes = attributes(directory)?;
    Ok((attributes.flags & HANDS_ON != 0).then_some(attributes.project))
}

/// Puts an empty directory into a project, with all that will be made in it. Nothing can be renamed or linked into it
/// that is of another project (`EXDEV`).
///
/// # Errors
/// The kernel's answer: `EOPNOTSUPP` or `ENOTTY` from a file system that knows no projects, `EINVAL` in a user namespace.
pub fn assign(directory: BorrowedFd<'_>, project: u32) -> io::Result<()> {
    let before = attributes(directory)?;
    let attributes = Attributes { flags: before.flags | HANDS_ON, project, ..before };
    // SAFETY: the operation reads one struct fsxattr, which is what `Attributes` is.
    let operation = unsafe { Setter::<SET_ATTRIBUTES, Attributes>::new(attributes) };
    // SAFETY: the operation keeps no pointer and changes no memory.
    Ok(unsafe { ioctl::ioctl(directory, operation) }?)
}

fn attributes(file: BorrowedFd<'_>) -> Result<Attributes, Errno> {
    // SAFETY: the operation writes one struct fsxattr, which is what `Attributes` is; any bytes are one.
    let operation = unsafe { Getter::<GET_ATTRIBUTES, Attributes>::new() };
    // SAFETY: the operation keeps no pointer and changes no other memory.
    unsafe { ioctl::ioctl(file, operation) }
}

/// quotactl_fd(2) for quotas by project.
///
/// # Safety
/// `T` is what the command reads or writes, for which any bytes are a value.
unsafe fn quotactl<T>(file: BorrowedFd<'_>, command: u32, project: u32, argument: &mut T) -> Result<(), Errno> {
    let command = command << 8 | PROJECTS;
    // SAFETY: the descriptor is open, and the argument is what the command takes, as the caller says; it outlives the call.
    let result =
        unsafe { libc::syscall(libc::SYS_quotactl_fd, file.as_raw_fd(), command, project, &raw mut *argument) };
    if result == 0 {
        return Ok(());
    }
    Err(Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::IO))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::fs::File;
    use std::os::fd::AsFd;

    use super::*;

    /// What project quotas do is tested with file systems that have them: crates/images/tests/quota.rs.
    #[test]
    fn a_file_system_without_project_quotas_says_so() {
        let file = File::open("/proc").unwrap();
        assert_eq!(accounting(file.as_fd()).unwrap(), Accounting::Off);
        let codes = [
            usage(file.as_fd(), 7).unwrap_err(),
            set_limits(file.as_fd(), 7, Limits { bytes: Some(1), inodes: None }).unwrap_err(),
        ];
        assert_eq!(codes.map(|error| error.raw_os_error()), [Some(libc::ENOSYS); 2]);
        let codes = [handed_on(file.as_fd()).unwrap_err(), assign(file.as_fd(), 7).unwrap_err()];
        assert_eq!(codes.map(|error| error.raw_os_error()), [Some(libc::ENOTTY); 2]);
    }
}
