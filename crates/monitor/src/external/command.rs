//! Running the runtime's program, and what it says when it fails.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{self, Stdio as Redirect};

use rustix::fs::Mode;
use serde::Deserialize;

use crate::launch::node;
use crate::launcher::Stdio;
use crate::protocol::CallError;
use crate::report::Runtime;

/// The most of a runtime's log that is read.
const MAX_LOG: usize = 64 * 1024;

/// The most characters of an error of a runtime's that are passed on.
const MAX_MESSAGE: usize = 4096;

/// The search path of the runtime (runc looks for newuidmap, criu and the like).
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What the program has as its standard streams.
pub enum Streams {
    /// Those the container's process shall have.
    Given(Stdio),
    /// `/dev/null`.
    None,
}

/// One run of the program.
pub struct Command {
    program: PathBuf,
    arguments: Vec<OsString>,
    log: PathBuf,
}

impl Command {
    /// With its state directory and its log (JSON lines) at `log`.
    pub fn new(runtime: &Runtime, log: &Path) -> Self {
        let arguments = ["--root".into(), runtime.state.clone().into(), "--log".into(), log.into()];
        let format: [OsString; 2] = ["--log-format".into(), "json".into()];
        let systemd = runtime.systemd.then(|| "--systemd-cgroup".into());
        let arguments = arguments.into_iter().chain(format).chain(systemd).collect();
        Self { program: runtime.binary.clone(), arguments, log: log.to_owned() }
    }

    /// Adds an argument.
    pub fn argument(&mut self, argument: impl AsRef<OsStr>) -> &mut Self {
        self.arguments.push(argument.as_ref().to_owned());
        self
    }

    /// Runs it and waits for it.
    ///
    /// # Errors
    /// What it has logged if it fails.
    pub fn run(&mut self, step: &str, streams: Streams) -> Result<(), CallError> {
        let [stdin, stdout, stderr] = match streams {
            Streams::Given(Stdio { stdin, stdout, stderr }) => [stdin, stdout, stderr].map(Redirect::from),
            Streams::None => [Redirect::null(), Redirect::null(), Redirect::null()],
        };
        let mut command = process::Command::new(&self.program);
        // SAFETY: between fork and execve of a process with one thread; both are system calls only.
        unsafe { command.pre_exec(inherit_nothing) };
        let status = command
            .args(&self.arguments)
            .env_clear()
            .env("PATH", PATH)
            .current_dir("/")
            .stdin(stdin)
            .stdout(stdout)
            .stderr(stderr)
            .status();
        let name = self.program.display();
        match status {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => {
                let said = fs::read(&self.log).ok().and_then(|log| last_error(&log));
                Err(blame(&format!("{name} {step}"), said.unwrap_or_else(|| format!("it ended with {status}"))))
            }
            Err(error) => Err(node(&format!("{name} {step}"), error.to_string())),
        }
    }
}

/// What a runtime passes on to the container as it has it itself is as with the built-in launcher: no signal is ignored
/// (the C library's spawning of a process ignores one), and the mask of an exec'd process's files is the usual one.
fn inherit_nothing() -> std::io::Result<()> {
    corten_host::process::reset_signals();
    rustix::process::umask(Mode::from_raw_mode(0o022));
    Ok(())
}

/// The last error in a log of JSON lines.
fn last_error(log: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Line {
        level: String,
        msg: String,
    }
    let log = &log[log.len().saturating_sub(MAX_LOG)..];
    let lines = log.rsplit(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice::<Line>(line).ok());
    lines.into_iter().find(|line| matches!(line.level.as_str(), "error" | "fatal")).map(|line| cut(line.msg))
}

/// At most so much of a message that it fits into a packet whatever its characters are.
fn cut(message: String) -> String {
    message.chars().take(MAX_MESSAGE).collect()
}

/// Whose fault it is can only be told by the text.
fn blame(step: &str, error: String) -> CallError {
    const THE_CONTAINERS: [&str; 6] = [
        "exec: \"",
        "exec user process caused",
        "executable file",
        "chdir to cwd",
        "unable to find user",
        "unable to find group",
    ];
    if THE_CONTAINERS.iter().any(|text| error.contains(text)) {
        return CallError::Container { step: step.to_owned(), error };
    }
    node(step, error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_error_of_a_log_is_found_between_other_lines() {
        let log = br#"{"level":"info","msg":"a","time":"t"}
{"level":"error","msg":"first","time":"t"}
not JSON
{"level":"error","msg":"second","time":"t"}
{"level":"warning","msg":"b","time":"t"}
"#;
        assert_eq!(last_error(log).as_deref(), Some("second"));
        assert_eq!(last_error(b""), None);
    }

    #[test]
    fn a_missing_program_is_the_containers_fault() {
        let text = "runc create failed: unable to start container process: exec: \"/nope\": stat /nope: no such file or directory";
        assert!(matches!(blame("create", text.to_owned()), CallError::Container { .. }));
        assert!(matches!(blame("create", "cgroup: device busy".to_owned()), CallError::Node { .. }));
    }
}
