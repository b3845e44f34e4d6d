//! AppArmor: the profiles that the kernel has, and giving it one more.
//!
//! A profile is text, which `apparmor_parser` makes into what the kernel takes: every distribution with AppArmor has it, and
//! only it knows every kernel's form. Everything blocks.

use std::{
    fs::{self, File},
    io::{self, Read, Seek, Write},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec},
    process::{Pid, PidfdFlags},
};

const ENABLED: &str = "/sys/module/apparmor/parameters/enabled";
const LOADED: &str = "/sys/kernel/security/apparmor/profiles";
const PARSERS: [&str; 2] = ["/sbin/apparmor_parser", "/usr/sbin/apparmor_parser"];

/// What AppArmor 3 could do, as its package describes it.
const ABI: &str = "/etc/apparmor.d/abi/3.0";

/// How long the parser may take; emulated machines take seconds.
const PATIENCE: Timespec = Timespec { tv_sec: 60, tv_nsec: 0 };

/// The most of the parser's complaints that is kept, in bytes.
const COMPLAINTS: u64 = 4096;

/// Why a profile was not loaded.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// What makes profiles is not there.
    #[error("apparmor_parser is not installed (searched: {})", PARSERS.join(", "))]
    NoParser,
    /// It could not be run.
    #[error("run {}: {source}", program.display())]
    Run {
        /// The parser.
        program: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// It did not like the profile, or the kernel did not.
    #[error("{}: {status}: {said}", program.display())]
    Refused {
        /// The parser.
        program: PathBuf,
        /// How it ended.
        status: ExitStatus,
        /// What it said.
        said: String,
    },
}

/// Whether the kernel has AppArmor, and it is on.
pub fn is_enabled() -> bool {
    fs::read(ENABLED).is_ok_and(|text| text.first() == Some(&b'Y'))
}

/// Whether the kernel has a profile of this name; `None` if it does not tell (no securityfs is mounted).
pub fn is_loaded(profile: &str) -> Option<bool> {
    fs::read_to_string(LOADED).ok().map(|profiles| lists(&profiles, profile))
}

/// Each line is a name, which may have spaces, and a mode in parentheses.
fn lists(profiles: &str, profile: &str) -> bool {
    profiles.lines().any(|line| line.rsplit_once(" (").is_some_and(|(name, _)| name == profile))
}

/// Loads the profiles of a text, in place of those that have their names.
///
/// # Errors
/// If there is no parser, it takes too long, or the profile is refused, with what the parser says.
pub fn load(text: &str) -> Result<(), Error> {
    let program = PARSERS.iter().map(Path::new).find(|parser| parser.is_file()).ok_or(Error::NoParser)?;
    let failed = |source: io::Error| Error::Run { program: program.to_owned(), source };
    let mut said = memory_file("said").map_err(failed)?;
    let profile = profile_file(text).map_err(failed)?;
    let mut child = Command::new(program)
        .args(["--replace", "--skip-cache"])
        .stdin(profile)
        .stdout(Stdio::null())
        .stderr(said.try_clone().map_err(failed)?)
        .spawn()
        .map_err(failed)?;
    let status = end(&mut child).map_err(failed)?;
    if status.success() {
        return Ok(());
    }
    let mut bytes = Vec::new();
    said.rewind().and_then(|()| said.take(COMPLAINTS).read_to_end(&mut bytes)).map_err(failed)?;
    let said = String::from_utf8_lossy(&bytes).trim().to_owned();
    Err(Error::Refused { program: program.to_owned(), status, said })
}

/// The text with the rules' meaning held to what it is known for: a newer kernel may have kinds of access that the text does
/// not mention, and without an ABI all of those would be denied.
fn profile_file(text: &str) -> io::Result<File> {
    let mut file = memory_file("profile")?;
    if Path::new(ABI).exists() {
        file.write_all(b"abi <abi/3.0>,\n")?;
    }
    file.write_all(text.as_bytes())?;
    file.rewind()?;
    Ok(file)
}

/// Neither end of a file waits for the other, as those of a pipe do.
fn memory_file(name: &str) -> io::Result<File> {
    Ok(rustix::fs::memfd_create(name, rustix::fs::MemfdFlags::CLOEXEC)?.into())
}

/// Waits for the parser, which is killed if it does not end.
fn end(child: &mut Child) -> io::Result<ExitStatus> {
    let process = rustix::process::pidfd_open(Pid::from_child(child), PidfdFlags::empty())?;
    let ended = rustix::event::poll(&mut [PollFd::new(&process, PollFlags::IN)], Some(&PATIENCE));
    if !matches!(ended, Ok(1..)) {
        child.kill()?;
        child.wait()?;
        return Err(io::Error::new(io::ErrorKind::TimedOut, format!("killed after {} s", PATIENCE.tv_sec)));
    }
    child.wait()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_is_known_by_its_whole_name() {
        let profiles = "corten-default (enforce)\nmy profile (1) (complain)\n/usr/bin/man (enforce)\n";
        for name in ["corten-default", "my profile (1)", "/usr/bin/man"] {
            assert!(lists(profiles, name), "{name}");
        }
        for name in ["corten", "my profile", "enforce", "", "corten-default (enforce)"] {
            assert!(!lists(profiles, name), "{name}");
        }
    }
}
