//! The program in the test image of `corten validate`: one static executable, and nothing else is in the image.
//!
//! `check COMMAND [WORD...] [then COMMAND [WORD...]]...` runs commands one after the other until one fails. Exit codes: 0
//! when all worked, 1 when one failed (with `ERROR ENOENT /path` on stderr), 2 for a command that there is not, and N for
//! `exit N`.
//!
//! It handles no signals: that takes `unsafe`, or a crate. So SIGTERM ends it where it is an ordinary process, as in a
//! pod that shares its PID namespace or the node's, and does nothing where it is process 1 of a PID namespace: the kernel
//! does not deliver to such a process what it has no handler for. There only SIGKILL ends it.

#![forbid(unsafe_code)]

mod errno;
mod files;
mod load;
mod output;
mod process;
mod sockets;

use std::{
    env,
    ffi::{OsStr, OsString},
    io::{self, Write},
    process::ExitCode,
    str::FromStr,
};

/// What follows a command that worked.
pub enum Next {
    /// The next one, or a good end.
    Go,
    /// The end, with this code.
    Exit(u8),
}

/// Why a command did not work.
pub enum Failure {
    /// There is no such command, or not with these words.
    Usage(String),
    /// The system refused something.
    System {
        /// What was tried.
        what: String,
        /// Why it did not work.
        source: io::Error,
    },
}

/// What a command returns.
pub type Outcome = Result<Next, Failure>;

impl From<io::Error> for Failure {
    fn from(source: io::Error) -> Self {
        Self::System { what: "standard stream".to_owned(), source }
    }
}

impl Failure {
    /// Makes a failure of an error, given what was tried.
    pub fn of(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        |source| Self::System { what, source }
    }

    fn report(&self) -> u8 {
        let (text, code) = match self {
            Self::Usage(text) => (format!("USAGE {text}"), 2),
            Self::System { what, source } => (format!("ERROR {} {what}", errno::name(source)), 1),
        };
        // There may be nobody to read it.
        let _ = writeln!(io::stderr(), "{text}");
        code
    }
}

/// The word at `index` as a number or an address, or `default` if there is none.
pub fn word<T: FromStr>(words: &[OsString], index: usize, default: T) -> Result<T, Failure> {
    let Some(word) = words.get(index) else { return Ok(default) };
    let parsed = word.to_str().and_then(|word| word.parse().ok());
    parsed.ok_or_else(|| Failure::Usage(format!("{}: not understood", word.display())))
}

/// The word at `index`, which must be there.
pub fn required(words: &[OsString], index: usize) -> Result<&OsStr, Failure> {
    words.get(index).map(OsString::as_os_str).ok_or_else(|| Failure::Usage(format!("word {} is missing", index + 1)))
}

fn main() -> ExitCode {
    let words: Vec<OsString> = env::args_os().skip(1).collect();
    for command in words.split(|word| word == "then") {
        match run(command) {
            Ok(Next::Go) => {}
            Ok(Next::Exit(code)) => return ExitCode::from(code),
            Err(failure) => return ExitCode::from(failure.report()),
        }
    }
    ExitCode::SUCCESS
}

fn run(command: &[OsString]) -> Outcome {
    let (name, words) = command.split_first().ok_or_else(|| Failure::Usage("which command?".to_owned()))?;
    match name.to_str().unwrap_or_default() {
        "exit" => Ok(Next::Exit(word(words, 0, 0)?)),
        "abort" => std::process::abort(),

        "say" => output::say(words),
        "echo" => output::echo(words, &mut io::stdout()),
        "repeat" => output::repeat(words),
        "lines" => output::lines(words),
        "ticks" => output::ticks(words),
        "flood" => output::flood(),
        "stdin" => output::stdin(),

        "args" => process::args(words),
        "env" => process::environment(),
        "variable" => process::variable(words),
        "cwd" => process::working_directory(),
        "pid" => process::own_id(),
        "id" => process::id(),
        "privileges" => process::privileges(),
        "tty" => process::terminal(),
        "namespaces" => process::namespaces(),
        "processes" => process::processes(),
        "mounts" => files::cat(&["/proc/self/mountinfo".into()]),
        "limits" => files::cat(&["/proc/self/limits".into()]),
        "cgroup" => files::cat(&["/proc/self/cgroup".into()]),
        "hostname" => files::cat(&["/proc/sys/kernel/hostname".into()]),
        "interfaces" => files::list(&["/sys/class/net".into()]),

        "cat" => files::cat(words),
        "open" => files::open(words),
        "write" => files::write(words),
        "append" => files::append(words),
        "stat" => files::stat(words),
        "ls" => files::list(words),
        "mkdir" => files::make_directory(words),
        "unlink" => files::unlink(words),
        "remove" => files::remove(words),
        "symlink" => files::symlink(words),
        "chmod" => files::change_mode(words),
        "chown" => files::change_owner(words),
        "wait" => files::wait(words),

        "pause" => load::pause(),
        "sleep" => load::sleep(words),
        "burn" => load::burn(words),
        "memory" => load::memory(words),
        "threads" => load::threads(words),
        "tree" => load::tree(words),
        "spawn" => load::spawn(words),
        "reparent" => load::reparent(words),
        "orphan" => load::orphan(),
        "fork" => load::fork(words),

        "serve" => sockets::serve(words),
        "connect" => sockets::connect(words),
        _ => Err(Failure::Usage(format!("{}: no such command", name.display()))),
    }
}
