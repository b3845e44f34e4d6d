//! What a hostile container runs in the tests of published advisories: it goes on until it is killed.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use rustix::fs::{CWD, RenameFlags, renameat_with};

/// A hostile program.
#[derive(Parser)]
enum Attack {
    /// Exchanges two paths as fast as it can.
    Swap {
        /// One.
        first: PathBuf,
        /// The other.
        second: PathBuf,
    },
    /// Looks at every process of its PID namespace, as fast as it can: what of one that the launcher is just bringing into
    /// a container can be reached? Says `saw NAME` for such a process, and `found WHAT of NAME`.
    Watch,
}

fn main() -> ExitCode {
    let Err(error) = match Attack::parse() {
        Attack::Swap { first, second } => swap(&first, &second),
        Attack::Watch => watch(),
    };
    eprintln!("hostile: {error}");
    ExitCode::FAILURE
}

enum Never {}

fn swap(first: &Path, second: &Path) -> io::Result<Never> {
    let exchange = || renameat_with(CWD, first, CWD, second, RenameFlags::EXCHANGE);
    exchange()?;
    say("swapping")?;
    loop {
        exchange()?;
    }
}

fn watch() -> io::Result<Never> {
    let mut said = BTreeSet::new();
    say("watching")?;
    loop {
        for entry in fs::read_dir("/proc")?.flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
            if pid == std::process::id() {
                continue;
            }
            let name = || fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default().trim().to_owned();
            let before = name();
            let found = reachable(pid);
            // Other containers of the pod may be looked at; of a process that was the launcher's all the while, nothing.
            if is_launchers(&before) && name() == before {
                // The pod's init is one that stays.
                let saw = (pid != 1).then(|| format!("saw {before}"));
                let found = found.into_iter().map(|what| format!("found {what} of {before}"));
                for line in saw.into_iter().chain(found) {
                    if said.insert(line.clone()) {
                        say(&line)?;
                    }
                }
            }
        }
    }
}

/// Whether a process is the launcher's, before it has become its program: it is executed by a descriptor, of which the
/// kernel makes its name.
fn is_launchers(name: &str) -> bool {
    name.parse::<u32>().is_ok() || name == "corten-monitor"
}

fn say(line: &str) -> io::Result<()> {
    let mut out = io::stdout();
    writeln!(out, "{line}")?;
    out.flush()
}

/// What of a process can be reached.
fn reachable(pid: u32) -> Vec<String> {
    let directory = PathBuf::from(format!("/proc/{pid}"));
    let mut found = Vec::new();
    for name in ["root", "cwd"] {
        found.extend(fs::metadata(directory.join(name)).is_ok().then(|| name.to_owned()));
    }
    if fs::metadata(directory.join("exe")).is_ok() {
        found.push("exe".to_owned());
        let written = File::options().write(true).open(directory.join("exe"));
        found.extend(written.is_ok().then(|| "exe, writable,".to_owned()));
    }
    for entry in fs::read_dir(directory.join("fd")).into_iter().flatten().flatten() {
        let Ok(link) = fs::read_link(entry.path()) else { continue };
        found.push(format!("descriptor {}", link.display()));
    }
    found
}
