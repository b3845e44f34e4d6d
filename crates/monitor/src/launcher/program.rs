//! The last steps, the same for a container's init and for an exec'd process: in its root already, become who it shall
//! be and execute its program.

use std::convert::Infallible;
use std::ffi::{CStr, CString};
use std::io::{self, Read};
use std::os::fd::AsFd;

use corten_host::process;
use oci_spec::runtime::Process;
use rustix::fs::{Access, AtFlags, FileType, Mode, OFlags, accessat, stat};
use rustix::io::Errno;

use super::channel::ChildEnd;
use super::errors::{Blame, container, node, refused};
use super::identity::{Capabilities, become_user};
use super::{identity, limits};
use crate::protocol::CallError;

/// Where programs are looked for if the environment does not say.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// As much of the container's `/etc/passwd` as is read.
const MAX_PASSWD: u64 = 1 << 20;

/// A process ready to be executed in its container.
pub(super) struct Program<'a> {
    process: &'a Process,
    arguments: Vec<CString>,
    environment: Vec<CString>,
    capabilities: Capabilities,
    seccomp: Option<&'a Filter>,
}

impl<'a> Program<'a> {
    /// Reads the specification, before anything is changed.
    pub(super) fn new(process: &'a Process, seccomp: Option<&'a Filter>) -> Result<Self, CallError> {
        let arguments = c_strings("process.args", process.args().as_deref().unwrap_or_default())?;
        if arguments.first().is_none_or(|program| program.is_empty()) {
            return Err(refused("process.args: there is no program to run"));
        }
        identity::check_ids("process.user", identity::ids(process.user()))?;
        if process.exec_cpu_affinity().is_some() {
            return Err(refused("process.execCPUAffinity is not supported"));
        }
        if !process.cwd().is_absolute() {
            return Err(refused(format!("process.cwd: {:?} is not absolute", process.cwd().display().to_string())));
        }
        Ok(Program {
            process,
            arguments,
            environment: environment(process.env().as_deref().unwrap_or_default())?,
            capabilities: Capabilities::limited(process.capabilities().as_ref())?,
            seccomp,
        })
    }

    /// Becomes the user and executes the program, or reports why it could not and ends.
    ///
    /// From here on paths are resolved in the container, by what its image says. No descriptor of a directory of the
    /// host may be open then, close-on-exec or not: a program `/proc/self/fd/7/../../bin/sh` would lead out (as in
    /// CVE-2024-21626).
    pub(super) fn execute(self, channel: &ChildEnd) -> ! {
        // SAFETY: this process executes or ends without returning, so nothing of its callers is used or dropped.
        let closed = unsafe { process::close_all_but(3, channel.as_fd()) };
        let closed = closed.node(|| "close descriptors".into());
        match closed.and_then(|()| self.become_program(channel)) {
            Ok(never) => match never {},
            Err(error) => channel.failed(error),
        }
        process::exit_now(1)
    }

    /// The order is that of the privileges it takes: a filter without no_new_privs needs CAP_SYS_ADMIN, so it comes
    /// before capabilities are dropped; with no_new_privs it comes last, so that it need not allow the steps before.
    fn become_program(mut self, channel: &ChildEnd) -> Result<Infallible, CallError> {
        let user = self.process.user();
        self.add_home(user.uid())?;
        limits::set_rlimits(self.process.rlimits().as_deref().unwrap_or_default())?;
        limits::set_scheduling(self.process)?;
        process::new_session_keyring().node(|| "make a session keyring".into())?;
        rustix::process::umask(Mode::from_raw_mode(user.umask().unwrap_or(0o022)));
        let no_new_privileges = self.process.no_new_privileges().unwrap_or(false);
        if no_new_privileges {
            rustix::thread::set_no_new_privs(true).node(|| "set no_new_privs".into())?;
        } else {
            self.load_seccomp()?;
        }
        self.capabilities.before_user()?;
        let entered = self.enter_directory()?;
        become_user(user)?;
        self.capabilities.after_user()?;
        if !entered && !self.enter_directory()? {
            return Err(container(self.directory_step(), "permission denied"));
        }
        let program = self.find()?;
        if is_self(&program) {
            return Err(container(
                "exec",
                format!("{:?}: this is the launcher's own program", program.to_string_lossy()),
            ));
        }
        // Whatever happens from here on besides execve failing is the program's own end.
        channel.ready()?;
        if no_new_privileges {
            self.load_seccomp()?;
        }
        let arguments: Vec<&CStr> = self.arguments.iter().map(CString::as_c_str).collect();
        let environment: Vec<&CStr> = self.environment.iter().map(CString::as_c_str).collect();
        let error = process::execute(&program, &arguments, &environment);
        Err(container("exec", format!("{:?}: {}", program.to_string_lossy(), go_text(&error))))
    }

    fn load_seccomp(&self) -> Result<(), CallError> {
        self.seccomp.map_or(Ok(()), Filter::load).node(|| "load the seccomp filter".into())
    }

    /// Changes to the working directory. `false` if only the user may, perhaps.
    fn enter_directory(&self) -> Result<bool, CallError> {
        match rustix::process::chdir(self.process.cwd()) {
            Ok(()) => {}
            Err(Errno::ACCESS | Errno::PERM) => return Ok(false),
            Err(errno) => return Err(container(self.directory_step(), errno.to_string())),
        }
        // A directory of the host's, reached through a leaked descriptor in /proc/self/fd say, has no path in here:
        // the kernel marks it "(unreachable)".
        let current = rustix::process::getcwd(Vec::new()).node(|| self.directory_step())?;
        if current.to_bytes().first() != Some(&b'/') {
            return Err(container(self.directory_step(), "it is outside of the container"));
        }
        Ok(true)
    }

    fn directory_step(&self) -> String {
        format!("change to working directory {:?}", self.process.cwd().display().to_string())
    }

    /// Finds the program: by the container's PATH if its name has no slash.
    fn find(&self) -> Result<CString, CallError> {
        let Some(name) = self.arguments.first() else { return Err(refused("process.args: empty")) };
        let text = name.to_string_lossy();
        if name.to_bytes().contains(&b'/') {
            let found = executable(name).map_err(|error| match error.kind() {
                io::ErrorKind::NotFound => format!("{text:?}: stat {text}: {}", go_text(&error)),
                _ => format!("{text:?}: {}", go_text(&error)),
            });
            return found.map(|()| name.clone()).map_err(|error| container("exec", error));
        }
        let mut denied = false;
        for directory in self.search_path().split(|byte| *byte == b':') {
            let directory = if directory.is_empty() { b"." } else { directory };
            let candidate = CString::new([directory, b"/", name.to_bytes()].concat()).node(|| "exec".into())?;
            match executable(&candidate) {
                Ok(()) => return Ok(candidate),
                Err(error) => denied |= error.kind() == io::ErrorKind::PermissionDenied,
            }
        }
        let reason = if denied { "permission denied" } else { "executable file not found in $PATH" };
        Err(container("exec", format!("{text:?}: {reason}")))
    }

    fn search_path(&self) -> &[u8] {
        let path = self.environment.iter().find_map(|entry| entry.to_bytes().strip_prefix(b"PATH="));
        path.unwrap_or(DEFAULT_PATH.as_bytes())
    }

    /// Sets HOME, from the container's `/etc/passwd`, if the environment does not.
    fn add_home(&mut self, uid: u32) -> Result<(), CallError> {
        if self.environment.iter().any(|entry| entry.to_bytes().len() > 5 && entry.to_bytes().starts_with(b"HOME=")) {
            return Ok(());
        }
        self.environment.retain(|entry| !entry.to_bytes().starts_with(b"HOME="));
        let home = passwd().ok().and_then(|text| home_of(&text, uid)).unwrap_or_else(|| "/".into());
        self.environment.push(CString::new(format!("HOME={home}")).container(|| "set HOME".into())?);
        Ok(())
    }
}

/// Whether the user may execute this file.
fn executable(path: &CStr) -> io::Result<()> {
    if FileType::from_raw_mode(stat(path)?.st_mode) == FileType::Directory {
        return Err(Errno::ISDIR.into());
    }
    Ok(accessat(rustix::fs::CWD, path, Access::EXEC_OK, AtFlags::EACCESS)?)
}

/// An error as Go programs word it, which is what users of other runtimes know and search for.
fn go_text(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(libc::ENOENT) => "no such file or directory".into(),
        Some(libc::EACCES) => "permission denied".into(),
        Some(libc::ENOEXEC) => "exec format error".into(),
        Some(libc::EISDIR) => "is a directory".into(),
        Some(libc::ENOTDIR) => "not a directory".into(),
        Some(libc::E2BIG) => "argument list too long".into(),
        _ => error.to_string(),
    }
}

/// The container's `/etc/passwd`, if it is a file; a FIFO is not waited for.
fn passwd() -> io::Result<String> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = std::fs::File::from(rustix::fs::open("/etc/passwd", flags, Mode::empty())?);
    if !file.metadata()?.is_file() {
        return Err(Errno::INVAL.into());
    }
    let mut bytes = Vec::new();
    file.take(MAX_PASSWD).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn home_of(passwd: &str, uid: u32) -> Option<String> {
    let uid = uid.to_string();
    let entry = passwd.lines().map(|line| line.split(':')).find(|fields| fields.clone().nth(2) == Some(&uid))?;
    entry.clone().nth(5).filter(|home| !home.is_empty() && !home.contains('\0')).map(str::to_owned)
}

/// The environment; of a name that comes several times the last value, at the place of the first.
fn environment(entries: &[String]) -> Result<Vec<CString>, CallError> {
    let mut kept: Vec<&String> = Vec::with_capacity(entries.len());
    let mut places = std::collections::HashMap::with_capacity(entries.len());
    for entry in entries {
        let Some((name, _)) = entry.split_once('=').filter(|(name, _)| !name.is_empty()) else {
            return Err(refused(format!("process.env: {entry:?} is not of the form NAME=value")));
        };
        let place = *places.entry(name).or_insert(kept.len());
        match kept.get_mut(place) {
            Some(old) => *old = entry,
            None => kept.push(entry),
        }
    }
    c_strings("process.env", kept)
}

fn c_strings<'a>(field: &str, texts: impl IntoIterator<Item = &'a String>) -> Result<Vec<CString>, CallError> {
    let texts = texts.into_iter().map(|text| CString::new(text.as_str()));
    texts.collect::<Result<_, _>>().map_err(|error| refused(format!("{field}: {error}")))
}

/// Refuses to execute what the launcher itself is: an image whose program is a link to `/proc/self/exe` would get the
/// monitor's own program, running inside the container, as a way to the file on the host.
fn is_self(path: &CStr) -> bool {
    let (own, other) = (stat("/proc/self/exe"), stat(path));
    matches!((own, other), (Ok(a), Ok(b)) if a.st_dev == b.st_dev && a.st_ino == b.st_ino)
}

/// A compiled seccomp filter.
pub(super) struct Filter {
    instructions: Vec<u8>,
    flags: Option<u32>,
}

impl Filter {
    /// Reads it, whole, from its memfd.
    pub(super) fn read(filter: std::os::fd::OwnedFd, flags: Option<u32>) -> Result<Self, CallError> {
        let step = || "read the seccomp filter".to_owned();
        let file = std::fs::File::from(filter);
        let length = file.metadata().node(step)?.len();
        // BPF_MAXINSNS instructions of 8 bytes.
        if length == 0 || length % 8 != 0 || length > 4096 * 8 {
            return Err(node(step(), format!("{length} bytes are not a filter")));
        }
        let mut instructions = vec![0; length as usize];
        std::os::unix::fs::FileExt::read_exact_at(&file, &mut instructions, 0).node(step)?;
        Ok(Filter { instructions, flags })
    }

    fn load(&self) -> io::Result<()> {
        process::load_seccomp(&self.instructions, self.flags)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;

    /// The last value of a name wins, and what is no assignment is refused by name.
    #[test]
    fn environments() {
        let kept = environment(&["A=1".into(), "B=2".into(), "A=3=4".into()]).unwrap();
        assert_eq!(kept, [c"A=3=4".to_owned(), c"B=2".to_owned()]);
        assert!(environment(&["nothing".into()]).unwrap_err().to_string().contains("nothing"));
        assert!(environment(&["A=\0".into()]).is_err());
    }

    /// Homes are found by user id; broken lines are passed over.
    #[test]
    fn homes() {
        let passwd = "root:x:0:0::/root:/bin/sh\nbroken\nempty:x:7:7:::\nu:x:1000:1::/home/u:";
        assert_eq!(home_of(passwd, 0).unwrap(), "/root");
        assert_eq!(home_of(passwd, 1000).unwrap(), "/home/u");
        assert_eq!(home_of(passwd, 7), None);
        assert_eq!(home_of(passwd, 42), None);
    }
}
