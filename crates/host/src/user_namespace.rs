//! User namespaces: whose ids are whose, and the namespaces that say so.
//!
//! A namespace is made with a short-lived process in it, for only a parent namespace's process may write its mappings
//! (user_namespaces(7)); a descriptor, or a namespace of another kind that it owns, keeps it alive afterwards.

mod probe;

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use serde::{Deserialize, Serialize};

use crate::process::CLONE_CLEAR_SIGHAND;

pub use probe::probe;

/// The most ranges that the kernel takes for users, and for groups.
const MAX_RANGES: usize = 340;

/// A range of ids inside a user namespace, and what it is outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdMapping {
    /// The first id inside.
    pub inside: u32,
    /// The first id outside.
    pub outside: u32,
    /// How many.
    pub length: u32,
}

/// The ids of a user namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mappings {
    /// The users'.
    pub uids: Vec<IdMapping>,
    /// The groups'.
    pub gids: Vec<IdMapping>,
}

/// Why ranges cannot be mapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unmappable {
    /// There are none.
    #[error("there is no id mapping")]
    None,
    /// There are too many.
    #[error("{0} id mappings are more than the {MAX_RANGES} that the kernel takes")]
    TooMany(usize),
    /// A range is empty.
    #[error("id mapping {0} has the length 0")]
    Empty(usize),
    /// A range goes on after the last id, 4294967294.
    #[error("id mapping {0} has ids above 4294967294")]
    TooLarge(usize),
    /// Two ranges share ids, inside or outside.
    #[error("id mappings {0} and {1} overlap")]
    Overlap(usize, usize),
}

/// Checks ranges as the kernel does when they are written: it would only say `EINVAL`.
///
/// # Errors
/// Which of them cannot be, counted from 0.
pub fn check(ranges: &[IdMapping]) -> Result<(), Unmappable> {
    match ranges.len() {
        0 => return Err(Unmappable::None),
        count @ ..=MAX_RANGES => count,
        count => return Err(Unmappable::TooMany(count)),
    };
    for (index, range) in ranges.iter().enumerate() {
        if range.length == 0 {
            return Err(Unmappable::Empty(index));
        }
        // The largest number is no id: it means "unchanged".
        if [range.inside, range.outside].iter().any(|first| first.checked_add(range.length).is_none()) {
            return Err(Unmappable::TooLarge(index));
        }
        let earlier = ranges.iter().take(index).position(|other| {
            let share = |first: u32, second: u32| {
                u64::from(first) < u64::from(second) + u64::from(other.length)
                    && u64::from(second) < u64::from(first) + u64::from(range.length)
            };
            share(range.inside, other.inside) || share(range.outside, other.outside)
        });
        if let Some(earlier) = earlier {
            return Err(Unmappable::Overlap(earlier, index));
        }
    }
    Ok(())
}

impl Mappings {
    /// What a user's id inside is outside; `None` if it is nobody there.
    pub fn uid(&self, inside: u32) -> Option<u32> {
        outside(&self.uids, inside)
    }

    /// The same for a group's.
    pub fn gid(&self, inside: u32) -> Option<u32> {
        outside(&self.gids, inside)
    }

    /// The owner outside of what is root's inside: user and group.
    pub fn root(&self) -> Option<(u32, u32)> {
        Some((self.uid(0)?, self.gid(0)?))
    }

    /// Those of a process, as the caller's own user namespace numbers the outside.
    ///
    /// # Errors
    /// If they cannot be read from /proc.
    pub fn of_process(pid: i32) -> io::Result<Self> {
        let read = |name: &str| fs::read_to_string(format!("/proc/{pid}/{name}")).and_then(|text| parse(&text));
        Ok(Self { uids: read("uid_map")?, gids: read("gid_map")? })
    }
}

fn outside(ranges: &[IdMapping], inside: u32) -> Option<u32> {
    ranges.iter().find_map(|range| {
        let offset = inside.checked_sub(range.inside).filter(|offset| *offset < range.length)?;
        range.outside.checked_add(offset)
    })
}

/// The lines of a `uid_map`.
fn parse(text: &str) -> io::Result<Vec<IdMapping>> {
    let bad = || io::Error::new(io::ErrorKind::InvalidData, format!("{text:?} are not id mappings"));
    let line = |line: &str| {
        let mut numbers = line.split_whitespace().map(|number| number.parse().ok());
        let mut next = || numbers.next().flatten();
        Some(IdMapping { inside: next()?, outside: next()?, length: next()? })
    };
    text.lines().map(|text| line(text).ok_or_else(bad)).collect()
}

/// Makes a user namespace.
///
/// # Errors
/// The kernel's answer: `ENOSPC` where user namespaces are switched off, `EPERM` without the privilege to map.
pub fn make(mappings: &Mappings) -> io::Result<OwnedFd> {
    Keeper::start(mappings, 0)?.open("user")
}

/// Makes a user namespace and a network namespace that it owns, and returns the latter, which keeps the former alive.
///
/// # Errors
/// As [`make`].
pub fn make_network(mappings: &Mappings) -> io::Result<OwnedFd> {
    Keeper::start(mappings, libc::CLONE_NEWNET)?.open("net")
}

/// The user namespace that owns another namespace (ioctl_ns(2)).
///
/// # Errors
/// The kernel's answer: `EPERM` if it is not the caller's own or below that.
pub fn owner(namespace: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    const NS_GET_USERNS: libc::Ioctl = 0xb701;
    // SAFETY: this request takes no argument, and makes a new descriptor.
    match unsafe { libc::ioctl(namespace.as_raw_fd(), NS_GET_USERNS) } {
        -1 => Err(io::Error::last_os_error()),
        // SAFETY: the kernel has just made it for us.
        fd => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
    }
}

/// A process that is there for its namespaces. It ends when this is dropped, or its maker ends.
struct Keeper {
    pid: i32,
    /// Closed when the maker ends, whatever ends it.
    _release: io::PipeWriter,
}

impl Keeper {
    /// Makes it in a new user namespace with these mappings, and in others by `CLONE_NEW*` bits, which that owns.
    fn start(mappings: &Mappings, others: i32) -> io::Result<Self> {
        let keeper = Self::clone(others | libc::CLONE_NEWUSER)?;
        for (name, ranges) in [("uid_map", &mappings.uids), ("gid_map", &mappings.gids)] {
            let line = |range: &IdMapping| format!("{} {} {}\n", range.inside, range.outside, range.length);
            // All of them in one write(2): the kernel takes no second one.
            let text: String = ranges.iter().map(line).collect();
            fs::write(format!("/proc/{}/{name}", keeper.pid), text)?;
        }
        Ok(keeper)
    }

    fn clone(namespaces: i32) -> io::Result<Self> {
        let (wait, release) = io::pipe()?;
        // SAFETY: all zero is a valid clone_args. Without an exit signal, whoever waits for any child of this process
        // does not get this one.
        let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
        args.flags = namespaces as u64 | CLONE_CLEAR_SIGHAND;
        // SAFETY: without CLONE_VM this is a fork, the child has its own copy of the stack; args outlives the call.
        match unsafe { libc::syscall(libc::SYS_clone3, &raw mut args, size_of::<libc::clone_args>()) } {
            -1 => Err(io::Error::last_os_error()),
            // SAFETY: system calls on integers and on a byte that outlives them; nothing is allocated, no lock is taken.
            // What is closed are the child's copies: of this pipe's other end, which so ends with its maker, and of those
            // that other threads are making.
            0 => unsafe {
                let (mut byte, wait) = (0_u8, wait.as_raw_fd());
                libc::dup2(wait, 0);
                libc::close_range(1, u32::MAX, 0);
                libc::read(0, (&raw mut byte).cast(), 1);
                libc::_exit(0)
            },
            pid => Ok(Self { pid: pid as i32, _release: release }),
        }
    }

    fn open(&self, kind: &str) -> io::Result<OwnedFd> {
        File::open(format!("/proc/{}/ns/{kind}", self.pid)).map(OwnedFd::from)
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        // SAFETY: integers and a null pointer; the child is ours, and nobody else waits for it.
        unsafe {
            libc::kill(self.pid, libc::SIGKILL);
            libc::waitpid(self.pid, std::ptr::null_mut(), libc::__WALL);
        }
    }
}

#[cfg(test)]
mod tests;
