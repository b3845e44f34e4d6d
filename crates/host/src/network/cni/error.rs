//! What can go wrong with CNI.

use std::fmt;
use std::io;
use std::path::PathBuf;

/// Why a CNI operation failed. Every variant names the plugin or the file.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no usable network configuration.
    #[error(transparent)]
    NotReady(#[from] NotReady),
    /// The plugin's program is in none of the directories.
    #[error("CNI plugin {plugin}: no such program in {directories}")]
    PluginMissing {
        /// The plugin's type.
        plugin: String,
        /// Where it was searched.
        directories: String,
    },
    /// The plugin's program could not be run.
    #[error("CNI plugin {plugin} {command}: {operation}: {source}")]
    Run {
        /// The plugin's type.
        plugin: String,
        /// The CNI command.
        command: Command,
        /// What was tried.
        operation: &'static str,
        /// The errno.
        source: io::Error,
    },
    /// The plugin did not end in time, and was killed.
    #[error("CNI plugin {plugin} {command}: killed after {seconds} s{}", output(stderr))]
    TimedOut {
        /// The plugin's type.
        plugin: String,
        /// The CNI command.
        command: Command,
        /// The limit.
        seconds: u64,
        /// What it wrote to standard error.
        stderr: String,
    },
    /// The plugin wrote more than it may, and was killed.
    #[error("CNI plugin {plugin} {command}: killed after more than {limit} bytes of output")]
    TooMuchOutput {
        /// The plugin's type.
        plugin: String,
        /// The CNI command.
        command: Command,
        /// The limit in bytes.
        limit: usize,
    },
    /// The plugin reported an error as the specification says.
    #[error("CNI plugin {plugin} {command}: {message} (code {code}){}", output(details))]
    Plugin {
        /// The plugin's type.
        plugin: String,
        /// The CNI command.
        command: Command,
        /// The specification's or the plugin's error code.
        code: u64,
        /// The plugin's message.
        message: String,
        /// The plugin's details, or what it wrote to standard error.
        details: String,
    },
    /// The plugin failed without saying why as the specification says.
    #[error("CNI plugin {plugin} {command}: {status}{}", output(stderr))]
    Failed {
        /// The plugin's type.
        plugin: String,
        /// The CNI command.
        command: Command,
        /// How it ended.
        status: String,
        /// What it wrote.
        stderr: String,
    },
    /// The plugin's result cannot be used.
    #[error("CNI plugin {plugin} {command}: result: {reason}")]
    Result {
        /// The plugin's type.
        plugin: String,
        /// The CNI command.
        command: Command,
        /// What is wrong.
        reason: String,
    },
    /// What is known about a pod cannot be told to plugins.
    #[error("CNI: {field} `{value}`: {reason}")]
    Invalid {
        /// Which field.
        field: &'static str,
        /// Its value.
        value: String,
        /// What is wrong.
        reason: String,
    },
    /// A file of the cache could not be read or written.
    #[error("CNI cache: {operation} {}: {source}", path.display())]
    Cache {
        /// What was tried.
        operation: &'static str,
        /// The file.
        path: PathBuf,
        /// The errno, or what is wrong with the content.
        source: io::Error,
    },
    /// Several things failed; every one was attempted.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Several(Vec<Error>),
}

impl Error {
    /// None for no error, the error for one, and `Several` for more.
    pub(super) fn gather(mut errors: Vec<Error>) -> Result<(), Error> {
        match errors.len() {
            0 => Ok(()),
            1 => Err(errors.remove(0)),
            _ => Err(Error::Several(errors)),
        }
    }
}

/// Why the network is not ready: the text is for the NetworkReady condition.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("CNI network is not ready: {reason}")]
pub struct NotReady {
    /// What is missing or wrong, and in which file.
    pub reason: String,
}

/// A command of the CNI specification.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// Attach a pod.
    Add,
    /// Detach a pod.
    Del,
    /// Check an attachment.
    Check,
    /// Ask whether the plugin can attach pods.
    Status,
    /// Remove what belongs to no attachment.
    Gc,
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Command::Add => "ADD",
            Command::Del => "DEL",
            Command::Check => "CHECK",
            Command::Status => "STATUS",
            Command::Gc => "GC",
        })
    }
}

fn output(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!(": {text}") }
}

/// Text from outside, fit for a message: one line, printable, of bounded length.
pub(super) fn printable(text: &str) -> String {
    const LONGEST: usize = 2048;
    let mut line: String =
        text.trim().chars().map(|c| if c.is_control() { ' ' } else { c }).take(LONGEST + 1).collect();
    if line.chars().count() > LONGEST {
        line.pop();
        line.push('…');
    }
    line
}
