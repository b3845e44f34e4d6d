//! Checks of values that come from outside. Every error names the field by its path in the request.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use crate::error::{Error, Result};

/// The longest path that Linux takes (`PATH_MAX`), in bytes.
pub const MAX_PATH: usize = 4096;
/// The longest name of anything, in bytes.
pub const MAX_NAME: usize = 1024;
/// The longest key and value of one label together, in bytes.
pub const MAX_LABEL: usize = 4096;
/// The most bytes of all labels, or all annotations, together.
pub const MAX_MAP: usize = 1 << 20;
/// The longest single argument or environment entry that `execve` takes (`MAX_ARG_STRLEN`), in bytes.
pub const MAX_ARGUMENT: usize = 128 * 1024;

/// How many bytes of an offending value an error repeats.
const SHOWN: usize = 256;

/// An [`Error::Invalid`] that repeats no more of the value than a person can read.
pub fn invalid(field: &str, value: &str, why: impl Into<String>) -> Error {
    Error::invalid(field, shown(value), why)
}

/// As much of a value as an error repeats.
pub fn shown(value: &str) -> &str {
    let end = value.char_indices().map(|(at, _)| at).find(|at| *at >= SHOWN).unwrap_or(value.len());
    value.get(..end).unwrap_or_default()
}

/// Something asked for that this runtime does not do.
pub fn unsupported(field: &str, what: &str) -> Error {
    Error::Unsupported(format!("{field}: {what}"))
}

/// Text of at most `max` bytes without NUL bytes.
pub fn text(field: &str, value: String, max: usize) -> Result<String> {
    if value.len() > max {
        return Err(invalid(field, &value, format!("{} bytes are more than the {max} allowed", value.len())));
    }
    if value.contains('\0') {
        return Err(invalid(field, &value, "contains a NUL byte"));
    }
    Ok(value)
}

/// [`text`] that is not empty.
pub fn required(field: &str, value: String, max: usize) -> Result<String> {
    if value.is_empty() {
        return Err(invalid(field, "", "must not be empty"));
    }
    text(field, value, max)
}

/// [`text`] that is absent when empty.
pub fn optional(field: &str, value: String, max: usize) -> Result<Option<String>> {
    let value = text(field, value, max)?;
    Ok(Some(value).filter(|value| !value.is_empty()))
}

/// [`text`] on one line: what goes into a file line by line must not begin another.
pub fn line(field: &str, value: String, max: usize) -> Result<String> {
    let value = required(field, value, max)?;
    match value.chars().any(char::is_control) {
        true => Err(invalid(field, &value, "contains a control character")),
        false => Ok(value),
    }
}

/// A path on the node: absolute and without `..`, which is ambiguous where there are symlinks.
pub fn host_path(field: &str, value: String) -> Result<PathBuf> {
    let value = required(field, value, MAX_PATH - 1)?;
    let path = Path::new(&value);
    if !path.is_absolute() {
        return Err(invalid(field, &value, "must be an absolute path"));
    }
    if path.components().any(|part| part == Component::ParentDir) {
        return Err(invalid(field, &value, "must not contain '..'"));
    }
    Ok(path.components().collect())
}

/// A path in a container: absolute; `.` and `..` are resolved by their text and cannot leave the root.
pub fn container_path(field: &str, value: String) -> Result<PathBuf> {
    let value = required(field, value, MAX_PATH - 1)?;
    if !value.starts_with('/') {
        return Err(invalid(field, &value, "must be an absolute path"));
    }
    let mut path = PathBuf::from("/");
    for part in Path::new(&value).components() {
        match part {
            Component::Normal(name) => path.push(name),
            Component::ParentDir => drop(path.pop()),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    Ok(path)
}

/// A path below a directory: relative, without `..`.
pub fn relative_path(field: &str, value: String) -> Result<PathBuf> {
    let value = required(field, value, MAX_PATH - 1)?;
    let path: PathBuf = Path::new(&value).components().filter(|part| *part != Component::CurDir).collect();
    let below = path.components().all(|part| matches!(part, Component::Normal(_)));
    match below && path.components().next().is_some() {
        true => Ok(path),
        false => Err(invalid(field, &value, "must be a relative path without '..'")),
    }
}

/// Labels or annotations: keys not empty, everything within bounds.
pub fn map(field: &str, map: BTreeMap<String, String>, max_entry: usize) -> Result<BTreeMap<String, String>> {
    let mut total = 0usize;
    for (key, value) in &map {
        let size = key.len() + value.len();
        total = total.saturating_add(size);
        if key.is_empty() {
            return Err(invalid(field, value, "has an empty key"));
        }
        if size > max_entry {
            return Err(invalid(
                field,
                key,
                format!("key and value are {size} bytes, more than the {max_entry} allowed"),
            ));
        }
    }
    match total > MAX_MAP {
        true => Err(invalid(field, "", format!("{total} bytes in all are more than the {MAX_MAP} allowed"))),
        false => Ok(map),
    }
}

/// A value of an enum that this build knows.
pub fn known<E: TryFrom<i32>>(field: &str, value: i32) -> Result<E> {
    E::try_from(value).map_err(|_| invalid(field, &value.to_string(), "is not a value this runtime knows"))
}

/// A user or group id: what fits the kernel's 32 bits, without the one that means "none".
pub fn id(field: &str, value: i64) -> Result<u32> {
    match u32::try_from(value) {
        Ok(id) if id != u32::MAX => Ok(id),
        _ => Err(invalid(field, &value.to_string(), format!("must be from 0 to {}", u32::MAX - 1))),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_error_names_the_field_and_a_bounded_part_of_the_value() {
        let error = text("config.hostname", "é".repeat(5000), 64).unwrap_err().to_string();
        assert!(error.starts_with("invalid config.hostname \"é"), "{error}");
        assert!(error.len() < 500, "{}", error.len());
    }

    #[test]
    fn host_paths_are_absolute_and_plain() {
        assert_eq!(host_path("f", "/a//b/./c/".into()).unwrap(), Path::new("/a/b/c"));
        for bad in ["", "a", "/a/../b", "/..", "/a\0b"] {
            assert!(host_path("f", bad.into()).is_err(), "{bad:?}");
        }
        assert!(host_path("f", format!("/{}", "x".repeat(MAX_PATH))).is_err());
        assert_eq!(host_path("f", "/a/..b".into()).unwrap(), Path::new("/a/..b"));
    }

    #[test]
    fn relative_paths_stay_below() {
        assert_eq!(relative_path("f", "a/./b.log".into()).unwrap(), Path::new("a/b.log"));
        for bad in ["", ".", "/a", "../a", "a/../../b", "a/.."] {
            assert!(relative_path("f", bad.into()).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn ids_fit_the_kernel() {
        assert_eq!(id("f", 0).unwrap(), 0);
        assert_eq!(id("f", i64::from(u32::MAX) - 1).unwrap(), u32::MAX - 1);
        for bad in [-1, i64::from(u32::MAX), i64::MAX, i64::MIN] {
            assert!(id("f", bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn labels_are_bounded() {
        let one = |k: &str, v: String| map("labels", BTreeMap::from([(k.to_string(), v)]), MAX_LABEL);
        assert!(one("k", "v".repeat(MAX_LABEL - 1)).is_ok());
        assert!(one("k", "v".repeat(MAX_LABEL)).is_err());
        assert!(one("", "v".into()).is_err());
    }

    proptest! {
        #[test]
        fn a_container_path_never_leaves_the_root(value in "/[a./]{0,40}") {
            let path = container_path("f", value).unwrap();
            prop_assert!(path.is_absolute());
            prop_assert!(path.components().all(|part| matches!(part, Component::RootDir | Component::Normal(_))));
        }

        #[test]
        fn no_path_makes_a_check_panic(value in any::<String>()) {
            let _ = host_path("f", value.clone());
            let _ = container_path("f", value.clone());
            let _ = relative_path("f", value.clone());
            let _ = invalid("f", &value, "x");
        }
    }
}
