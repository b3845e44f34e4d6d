//! `docker-credential-*` programs (docker-credential-helpers' protocol): `get`, the server on standard input, JSON on standard
//! output. The program has an environment of its own, three descriptors, and limited time and output.

use std::{
    fmt,
    fs::File,
    io::{self, PipeReader, Read, Write},
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use corten_host::spawn;
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, PidfdFlags, Signal, WaitOptions, kill_process_group, pidfd_open, waitpid},
};
use serde::Deserialize;

use super::{Auth, auth};
use crate::Config;

/// What a helper may answer, in bytes.
const OUTPUT_BYTES: usize = 64 << 10;
const PREFIX: &str = "docker-credential-";
/// Sets the environment: `spawn` gives none.
const ENV: &str = "/usr/bin/env";
const ENVIRONMENT: [&str; 2] = ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root"];
/// What helpers say when they have nothing (docker-credential-helpers, credentials/error.go).
const NOT_FOUND: &str = "credentials not found";

/// A program to ask about a server.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Helper {
    program: PathBuf,
    server: String,
    timeout: Duration,
}

impl fmt::Display for Helper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.program.display())
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    #[serde(default)]
    username: String,
    #[serde(default)]
    secret: String,
}

impl Helper {
    /// The helper of a name, in the configured directory, or of an absolute path.
    pub fn new(name: &str, host: &str, config: &Config) -> Result<Self, String> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        let program = match (name.strip_prefix('/'), &config.credential_helper_dir) {
            (Some(_), _) => PathBuf::from(name),
            (None, _) if !name.bytes().all(plain) => return Err(format!("{name:?} is not the name of a helper")),
            (None, Some(directory)) => directory.join(format!("{PREFIX}{name}")),
            (None, None) => {
                return Err(format!("helper {name:?}: registry.credential_helper_dir does not say where helpers are"));
            }
        };
        let named = program.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(PREFIX.as_bytes()));
        if !named {
            return Err(format!("{name:?} is not the path of a program named {PREFIX}*"));
        }
        let server = if auth::is_docker_hub(host) { "https://index.docker.io/v1/" } else { host };
        let timeout = Duration::from_secs(config.credential_helper_timeout_seconds);
        Ok(Self { program, server: server.to_owned(), timeout })
    }

    /// What it knows. Takes as long as it may; not for async threads. Its output is not repeated: it may be secret.
    pub fn get(&self) -> Result<Option<Auth>, String> {
        let wrong = |why: &str| format!("{self}: {why}");
        if !self.program.is_file() {
            return Err(wrong("there is no such program"));
        }
        let (output, ok) = self.run().map_err(|error| wrong(&error.to_string()))?;
        let text = String::from_utf8_lossy(&output);
        if !ok {
            return if text.contains(NOT_FOUND) { Ok(None) } else { Err(wrong("it failed")) };
        }
        let Answer { username, secret } =
            serde_json::from_str(&text).map_err(|_| wrong("its answer is not as helpers answer"))?;
        // Not a user: the secret is to be exchanged for a token.
        let auth = match username.as_str() {
            "<token>" => Auth { identity_token: secret, ..Auth::default() },
            "" => return Ok(None),
            _ => Auth { username, password: secret, ..Auth::default() },
        };
        Ok(Some(auth))
    }

    fn run(&self) -> io::Result<(Vec<u8>, bool)> {
        let (server, mut ask) = io::pipe()?;
        let (answer, output) = io::pipe()?;
        let null = File::options().write(true).open("/dev/null")?;
        let program = self.program.to_str().ok_or(io::ErrorKind::InvalidFilename)?;
        let arguments = ["env", ENVIRONMENT[0], ENVIRONMENT[1], program, "get"];
        let descriptors = [server.as_fd(), output.as_fd(), null.as_fd()];
        let pid = spawn::spawn(Path::new(ENV), &arguments, &descriptors, None).map_err(|error| error.source)?;
        let mut process = Process::new(pid)?;
        drop((server, output));
        // Shorter than a pipe is; who does not read it may still answer.
        let _ = ask.write_all(self.server.as_bytes());
        drop(ask);
        let deadline = Instant::now() + self.timeout;
        let output = read(answer, deadline)?;
        wait_for(&process.pidfd, deadline)?;
        Ok((output, process.end()? == Some(0)))
    }
}

/// Waits until there is something to read, or the end.
fn wait_for(fd: &impl AsFd, deadline: Instant) -> io::Result<()> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let wait = Timespec { tv_sec: left.as_secs().min(1 << 30) as i64, tv_nsec: left.subsec_nanos().into() };
        match poll(&mut [PollFd::new(fd, PollFlags::IN)], Some(&wait)) {
            Ok(0) => return Err(io::Error::new(io::ErrorKind::TimedOut, "it did not end in time")),
            Err(rustix::io::Errno::INTR) => {}
            other => return other.map(|_| ()).map_err(io::Error::from),
        }
    }
}

/// Reads to the end.
fn read(mut pipe: PipeReader, deadline: Instant) -> io::Result<Vec<u8>> {
    let (mut output, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        wait_for(&pipe, deadline)?;
        match pipe.read(&mut buffer)? {
            0 => return Ok(output),
            size => output.extend_from_slice(buffer.get(..size).unwrap_or_default()),
        }
        if output.len() > OUTPUT_BYTES {
            return Err(io::Error::other(format!("it answered more than {OUTPUT_BYTES} bytes")));
        }
    }
}

/// A running helper; when this goes, it and what it has started are killed.
struct Process {
    pid: Pid,
    pidfd: OwnedFd,
    reaped: bool,
}

impl Process {
    fn new(pid: i32) -> io::Result<Self> {
        let pid = Pid::from_raw(pid).ok_or(io::ErrorKind::InvalidInput)?;
        Ok(Self { pid, pidfd: pidfd_open(pid, PidfdFlags::empty())?, reaped: false })
    }

    /// Ends it and what it has started; its exit code. Its number is its own until it is waited for.
    fn end(&mut self) -> io::Result<Option<i32>> {
        let _ = kill_process_group(self.pid, Signal::KILL);
        self.reaped = true;
        Ok(waitpid(Some(self.pid), WaitOptions::empty())?.and_then(|(_, status)| status.exit_status()))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if !self.reaped {
            let _ = self.end();
        }
    }
}
