//! Running a plugin: a process with its configuration on standard input, bounded output and bounded time.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::{Pid, PidfdFlags, Signal};
use serde_json::Value;

use super::error::{Command, Error, printable};

/// The most a plugin may write to each of its outputs, in bytes.
pub(super) const OUTPUT_LIMIT: usize = 1024 * 1024;

/// One run of a plugin.
pub(super) struct Invocation<'a> {
    pub(super) plugin: &'a str,
    pub(super) command: Command,
    pub(super) environment: Vec<(&'static str, String)>,
    pub(super) config: &'a Value,
    pub(super) timeout: Duration,
}

/// The plugin's program: the first file of its name in the directories.
pub(super) fn find(plugin: &str, directories: &[PathBuf]) -> Result<PathBuf, Error> {
    let found = directories.iter().map(|directory| directory.join(plugin)).find(|path| path.is_file());
    found.ok_or_else(|| Error::PluginMissing { plugin: plugin.to_owned(), directories: join(directories, ", ") })
}

/// Directories in one text.
pub(super) fn join(directories: &[PathBuf], separator: &str) -> String {
    directories.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(separator)
}

/// Runs the plugin and returns what it wrote to standard output, if it succeeded.
pub(super) fn run(invocation: &Invocation<'_>, directories: &[PathBuf]) -> Result<Vec<u8>, Error> {
    let program = find(invocation.plugin, directories)?;
    let failed = |operation| {
        move |source| Error::Run {
            plugin: invocation.plugin.to_owned(),
            command: invocation.command,
            operation,
            source,
        }
    };
    let child = start(&program, invocation, directories).map_err(failed("start"))?;
    let mut process = Process::new(child).map_err(failed("watch"))?;
    let config = invocation.config.to_string();
    let end = process.exchange(config.as_bytes(), invocation.timeout).map_err(failed("talk"))?;
    let stderr = printable(&String::from_utf8_lossy(&process.stderr.bytes));
    let (plugin, command) = (invocation.plugin.to_owned(), invocation.command);
    match end {
        End::Exited(status) if status.success() => Ok(std::mem::take(&mut process.stdout.bytes)),
        End::Exited(status) => Err(failure(plugin, command, status, &process.stdout.bytes, stderr)),
        End::TimedOut => Err(Error::TimedOut { plugin, command, seconds: invocation.timeout.as_secs(), stderr }),
        End::TooMuch => Err(Error::TooMuchOutput { plugin, command, limit: OUTPUT_LIMIT }),
    }
}

fn start(program: &Path, invocation: &Invocation<'_>, directories: &[PathBuf]) -> io::Result<Child> {
    const ATTEMPTS: u32 = 20;
    let mut command = std::process::Command::new(program);
    for (key, _) in std::env::vars_os().filter(|(key, _)| key.to_string_lossy().starts_with("CNI_")) {
        command.env_remove(key);
    }
    command
        .env("CNI_COMMAND", invocation.command.to_string())
        .env("CNI_PATH", join(directories, ":"))
        .envs(invocation.environment.iter().map(|(key, value)| (key, value)))
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0);
    for _ in 1..ATTEMPTS {
        match command.spawn() {
            // The program is being written (an upgrade), or a process forked meanwhile still holds it open.
            Err(e) if e.kind() == io::ErrorKind::ExecutableFileBusy => std::thread::sleep(Duration::from_millis(10)),
            done => return done,
        }
    }
    command.spawn()
}

/// The error that a failed plugin reported, or what can be said without one.
fn failure(plugin: String, command: Command, status: ExitStatus, stdout: &[u8], stderr: String) -> Error {
    #[derive(serde::Deserialize)]
    struct Reported {
        code: u64,
        #[serde(default)]
        msg: String,
        #[serde(default)]
        details: String,
    }
    match serde_json::from_slice::<Reported>(stdout) {
        Ok(reported) => Error::Plugin {
            plugin,
            command,
            code: reported.code,
            message: printable(&reported.msg),
            details: if reported.details.is_empty() { stderr } else { printable(&reported.details) },
        },
        Err(_) => {
            let said = [stderr, printable(&String::from_utf8_lossy(stdout))].into_iter().find(|text| !text.is_empty());
            Error::Failed { plugin, command, status: status.to_string(), stderr: said.unwrap_or_default() }
        }
    }
}

enum End {
    Exited(ExitStatus),
    TimedOut,
    TooMuch,
}

/// A running plugin; killed with its process group, and reaped, when dropped before it ended.
struct Process {
    child: Child,
    pidfd: OwnedFd,
    stdout: Output,
    stderr: Output,
    reaped: bool,
}

impl Process {
    fn new(mut child: Child) -> io::Result<Self> {
        let pid = Pid::from_child(&child);
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let pidfd = rustix::process::pidfd_open(pid, PidfdFlags::empty())?;
        for pipe in [stdout.as_ref().map(AsFd::as_fd), stderr.as_ref().map(AsFd::as_fd)].into_iter().flatten() {
            rustix::io::ioctl_fionbio(pipe, true)?;
        }
        let (stdout, stderr) = (Output::new(stdout), Output::new(stderr));
        Ok(Process { child, pidfd, stdout, stderr, reaped: false })
    }

    /// Writes the input and reads the outputs until the process ends, time is up, or it writes too much.
    ///
    /// The end of the process counts, not the end of its outputs: a plugin may leave a daemon that holds them open.
    fn exchange(&mut self, mut input: &[u8], timeout: Duration) -> io::Result<End> {
        let deadline = Instant::now() + timeout;
        let mut stdin = self.child.stdin.take();
        if let Some(pipe) = &stdin {
            rustix::io::ioctl_fionbio(pipe, true)?;
        }
        loop {
            let ended = self.wait(stdin.as_ref().map(AsFd::as_fd), deadline)?;
            if stdin.as_mut().is_some_and(|pipe| feed(pipe, &mut input)) {
                stdin = None;
            }
            if self.stdout.read()? || self.stderr.read()? {
                return Ok(End::TooMuch);
            }
            if ended {
                let status = self.child.wait()?;
                self.reaped = true;
                return Ok(End::Exited(status));
            }
            if Instant::now() >= deadline {
                return Ok(End::TimedOut);
            }
        }
    }

    /// Waits for something to do. True when the process has ended.
    fn wait(&self, stdin: Option<BorrowedFd<'_>>, deadline: Instant) -> io::Result<bool> {
        let outputs = [self.stdout.fd(), self.stderr.fd()];
        let mut polled = vec![PollFd::from_borrowed_fd(self.pidfd.as_fd(), PollFlags::IN)];
        polled.extend(outputs.into_iter().flatten().map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)));
        polled.extend(stdin.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::OUT)));
        let left = deadline.saturating_duration_since(Instant::now());
        let left = Timespec { tv_sec: left.as_secs().min(i64::MAX as u64) as i64, tv_nsec: left.subsec_nanos().into() };
        match rustix::event::poll(&mut polled, Some(&left)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(!polled[0].revents().is_empty()),
            Err(e) => Err(e.into()),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.reaped {
            return;
        }
        let _ = rustix::process::kill_process_group(Pid::from_child(&self.child), Signal::KILL);
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// True where the input is written, or nobody will read the rest of it.
fn feed(pipe: &mut impl Write, input: &mut &[u8]) -> bool {
    while !input.is_empty() {
        match pipe.write(input) {
            Ok(written) => *input = input.get(written..).unwrap_or_default(),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return false,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return true,
        }
    }
    true
}

/// One output of a plugin, as far as it was read.
struct Output {
    pipe: Option<Box<dyn ReadFd>>,
    bytes: Vec<u8>,
}

trait ReadFd: Read + AsFd + Send {}
impl<T: Read + AsFd + Send> ReadFd for T {}

impl Output {
    fn new(pipe: Option<impl ReadFd + 'static>) -> Self {
        Output { pipe: pipe.map(|pipe| Box::new(pipe) as Box<dyn ReadFd>), bytes: Vec::new() }
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.pipe.as_ref().map(|pipe| pipe.as_fd())
    }

    /// Reads what is there. True where it is more than allowed.
    fn read(&mut self) -> io::Result<bool> {
        let mut buffer = [0; 16 * 1024];
        while let Some(pipe) = &mut self.pipe {
            match pipe.read(&mut buffer) {
                Ok(0) => self.pipe = None,
                Ok(size) => self.bytes.extend_from_slice(buffer.get(..size).unwrap_or_default()),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
            if self.bytes.len() > OUTPUT_LIMIT {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
