//! AppArmor: the profiles that the kernel has, and giving it one more.
//!
//! A profile is text, which `apparmor_parser` makes into what the kernel takes: every distribution with AppArmor has it, and
//! only it knows every kernel's form. Everything blocks.

use std::{
    fs,
    io::{self, Read, Write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

const ENABLED: &str = "/sys/module/apparmor/parameters/enabled";
const LOADED: &str = "/sys/kernel/security/apparmor/profiles";
const PARSERS: [&str; 2] = ["/sbin/apparmor_parser", "/usr/sbin/apparmor_parser"];

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
        status: std::process::ExitStatus,
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
/// If there is no parser, or the profile is refused, with what the parser says.
pub fn load(text: &str) -> Result<(), Error> {
    let program = PARSERS.iter().map(Path::new).find(|parser| parser.is_file()).ok_or(Error::NoParser)?;
    let failed = |source| Error::Run { program: program.to_owned(), source };
    let mut child = Command::new(program)
        .args(["--replace", "--skip-cache"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    // It reads everything before it says much. If it does not read, its status tells.
    let fed = child.stdin.take().map_or(Ok(()), |mut stdin| stdin.write_all(text.as_bytes()));
    let mut said = Vec::new();
    let heard = child.stderr.take().map(|stderr| stderr.take(COMPLAINTS).read_to_end(&mut said));
    let status = child.wait().map_err(failed)?;
    if status.success() {
        heard.transpose().and(fed).map_err(failed)
    } else {
        let said = String::from_utf8_lossy(&said).trim().to_owned();
        Err(Error::Refused { program: program.to_owned(), status, said })
    }
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
