//! What the container's process has as stdin, stdout and stderr: pipes, or a terminal of the container's own.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use oci_spec::runtime::Process;
use rustix::fs::{Gid, Mode, OFlags, Uid, fchown, fcntl_setfl, fstat, fstatfs, openat};
use rustix::io::{Errno, fcntl_dupfd_cloexec};
use rustix::process::ioctl_tiocsctty;
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, unlockpt};
use rustix::stdio::{dup2_stderr, dup2_stdin, dup2_stdout};
use rustix::termios::{Winsize, tcsetwinsize};

use super::Stdio;
use super::channel::ChildEnd;
use super::errors::{Blame, container, node};
use super::resolve::Confined;
use crate::protocol::CallError;

/// The magic number of a devpts.
const DEVPTS: u64 = 0x1cd1;

/// What the process is connected to.
pub(super) enum Connected {
    /// The terminal's end for the process.
    Terminal(OwnedFd),
    /// Given descriptors.
    Given(Stdio),
    /// `/dev/null`, for there is nothing else.
    Nothing(OwnedFd),
}

/// Opens a terminal in the container's devpts, if the process shall have one, and hands its other end to the launcher.
pub(super) fn connect(
    process: &Process,
    terminal: bool,
    given: Option<Stdio>,
    root: Confined<'_>,
    channel: &ChildEnd,
) -> Result<Connected, CallError> {
    if terminal {
        let (master, slave) = open_terminal(root)?;
        if let Some(size) = process.console_size() {
            let side = |value: u64| u16::try_from(value).unwrap_or(u16::MAX);
            let size = Winsize { ws_row: side(size.height()), ws_col: side(size.width()), ws_xpixel: 0, ws_ypixel: 0 };
            tcsetwinsize(&master, size).node(|| "set the terminal's size".into())?;
        }
        channel.console(std::os::fd::AsFd::as_fd(&master))?;
        return Ok(Connected::Terminal(slave));
    }
    match given {
        Some(Stdio { stdin, stdout, stderr }) => {
            let [stdin, stdout, stderr] = [stdin, stdout, stderr].map(|fd| own_null(fd, root));
            Ok(Connected::Given(Stdio { stdin, stdout, stderr }))
        }
        None => super::devices::null(root).and_then(|fd| {
            // That one is only a path.
            let link = format!("/proc/self/fd/{}", fd.as_raw_fd());
            let null = rustix::fs::open(link, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty());
            null.map(Connected::Nothing).node(|| "open /dev/null".into())
        }),
    }
}

/// The container's own null device in the place of the node's, if it has one: it is called `/dev/null` for the process then.
fn own_null(given: OwnedFd, root: Confined<'_>) -> OwnedFd {
    let is_null = |fd: &OwnedFd| fstat(fd).is_ok_and(|stat| super::devices::is_null(&stat));
    if !is_null(&given) {
        return given;
    }
    // What a running container has put there instead must not block.
    let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match root.open_without_links(Path::new("/dev/null"), flags) {
        Ok(own) if is_null(&own) && fcntl_setfl(&own, OFlags::RDWR).is_ok() => own,
        _ => given,
    }
}

fn open_terminal(root: Confined<'_>) -> Result<(OwnedFd, OwnedFd), CallError> {
    let step = || "open a terminal".to_owned();
    // Opening what an image put there could block or worse: first look, then open.
    let directory = root.open_without_links(Path::new("/dev/pts"), OFlags::PATH | OFlags::DIRECTORY);
    let directory = directory.container(step)?;
    if fstatfs(&directory).node(step)?.f_type as u64 != DEVPTS {
        return Err(container(step(), "/dev/pts is not a devpts"));
    }
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let master = openat(&directory, "ptmx", flags, Mode::empty()).node(step)?;
    unlockpt(&master).node(step)?;
    let slave =
        ioctl_tiocgptpeer(&master, OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).node(step)?;
    Ok((master, slave))
}

impl Connected {
    /// The terminal, if it is one.
    pub(super) fn terminal(&self) -> Option<&OwnedFd> {
        match self {
            Connected::Terminal(slave) => Some(slave),
            Connected::Given(_) | Connected::Nothing(_) => None,
        }
    }

    /// Makes them the caller's, and the user's: or it could not open `/dev/stdout` again.
    pub(super) fn install(self, uid: u32) -> Result<(), CallError> {
        let step = || "connect stdin, stdout and stderr".to_owned();
        match self {
            Connected::Terminal(slave) => {
                ioctl_tiocsctty(&slave).node(|| "make the terminal the controlling one".into())?;
                give(&slave, uid).node(step)?;
                duplicate(&slave, &slave, &slave).node(step)
            }
            Connected::Nothing(null) => duplicate(&null, &null, &null).node(step),
            Connected::Given(Stdio { stdin, stdout, stderr }) => {
                for fd in [&stdin, &stdout, &stderr] {
                    give(fd, uid).map_err(|error| node(step(), error.to_string()))?;
                }
                duplicate(&stdin, &stdout, &stderr).node(step)
            }
        }
    }
}

/// Makes a user the owner. The group stays: a terminal's is the `tty` group of its mount.
fn give(fd: &OwnedFd, uid: u32) -> io::Result<()> {
    let stat = fstat(fd)?;
    if stat.st_uid == uid || super::devices::is_null(&stat) {
        return Ok(());
    }
    match fchown(fd, Some(Uid::from_raw(uid)), None::<Gid>) {
        // Sockets, and files on read-only or squashing filesystems: as good as it gets.
        Ok(()) | Err(Errno::INVAL | Errno::PERM | Errno::ROFS) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

fn duplicate(stdin: &OwnedFd, stdout: &OwnedFd, stderr: &OwnedFd) -> io::Result<()> {
    // Above the three first, or one of them might be overwritten before it is used.
    let above = |fd: &OwnedFd| fcntl_dupfd_cloexec(fd, 3);
    let (stdin, stdout, stderr) = (above(stdin)?, above(stdout)?, above(stderr)?);
    dup2_stdin(&stdin)?;
    dup2_stdout(&stdout)?;
    dup2_stderr(&stderr)?;
    Ok(())
}
