//! Records of pods and containers: one JSON file each on the state tmpfs.
//!
//! A daemon killed at any instruction leaves the old record or the new one. The records are for a restarted daemon, not for
//! a rebooted machine.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use corten_host::whole_file;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// The version of the records this daemon writes. It reads older ones.
const VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
struct Versioned<T> {
    version: u32,
    #[serde(flatten)]
    record: T,
}

/// Writes a record.
pub fn write(path: &Path, record: &impl Serialize) -> Result<()> {
    let failed = |error: &dyn std::fmt::Display| Error::node(format!("write {}", path.display()), error);
    let json = serde_json::to_vec_pretty(&Versioned { version: VERSION, record }).map_err(|error| failed(&error))?;
    whole_file::write(path, json).map_err(|error| failed(&error))
}

/// Reads a record; `None` if there is none.
pub fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    let failed = |error: &dyn std::fmt::Display| Error::node(format!("read {}", path.display()), error);
    let json = match fs::read(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        result => result.map_err(|error| failed(&error))?,
    };
    let versioned: Versioned<T> = serde_json::from_slice(&json).map_err(|error| failed(&error))?;
    if versioned.version > VERSION {
        return Err(failed(&format!("version {} is newer than this daemon's {VERSION}", versioned.version)));
    }
    Ok(Some(versioned.record))
}

/// Removes a directory with its content; one that is not there is fine.
pub fn remove_directory(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(Error::node(format!("remove {}", path.display()), error))
        }
        _ => Ok(()),
    }
}

/// Makes a directory, and those above it that are missing, for root alone.
pub fn make_directory(path: &Path) -> Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    let made = fs::DirBuilder::new().recursive(true).mode(0o711).create(path);
    made.map_err(|error| Error::node(format!("make directory {}", path.display()), error))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Thing {
        name: String,
    }

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("thing.json");
        assert_eq!(read::<Thing>(&path).unwrap(), None);
        write(&path, &Thing { name: "a".into() }).unwrap();
        assert_eq!(read(&path).unwrap(), Some(Thing { name: "a".into() }));
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_record_of_a_newer_daemon_or_a_broken_one_is_an_error_naming_the_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("thing.json");
        for content in ["{\"version\": 2, \"name\": \"a\"}", "{\"version\": 1", ""] {
            fs::write(&path, content).unwrap();
            assert!(read::<Thing>(&path).unwrap_err().to_string().contains("thing.json"));
        }
    }
}
