//! What both ways to launch know of a container's root: the options of an overlay for mount(2), and the directories that
//! shall be in it.

use std::ffi::{CString, OsString};
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use crate::launcher::make_directory;
use crate::protocol::{CallError, OverlayRoot};

/// The most bytes that mount(2) takes as options, with the final null.
const MAX_OPTIONS: usize = 4096;

/// The options for mount(2), which takes layers on every kernel, and the directory to be in while mounting: layers are
/// named relative to the one that all of them share, to be short. Its files may have a SELinux label.
///
/// # Errors
/// If they are still too long.
pub fn options(overlay: &OverlayRoot, label: Option<&str>) -> Result<(CString, PathBuf), CallError> {
    joined(&overlay.lower, &[(",upperdir=", &overlay.upper), (",workdir=", &overlay.work)], label)
}

/// As [`options`], of layers that nothing is written over.
///
/// # Errors
/// If they are still too long.
pub fn read_only_options(layers: &[PathBuf], label: Option<&str>) -> Result<(CString, PathBuf), CallError> {
    joined(layers, &[], label)
}

fn joined(
    lower: &[PathBuf],
    others: &[(&str, &PathBuf)],
    label: Option<&str>,
) -> Result<(CString, PathBuf), CallError> {
    let base = shared_parent(lower);
    let layers: Vec<OsString> = lower.iter().map(|layer| escaped(layer.strip_prefix(&base).unwrap_or(layer))).collect();
    let mut options = OsString::from("index=off,lowerdir=");
    options.push(layers.join(":".as_ref()));
    for (key, path) in others {
        options.push(key);
        options.push(escaped(path));
    }
    if let Some(label) = label {
        // A level has commas.
        options.push(format!(",context=\"{label}\""));
    }
    let options = options.into_encoded_bytes();
    if options.len() >= MAX_OPTIONS {
        return Err(failed(format!("{} layers need {} bytes of mount options", lower.len(), options.len())));
    }
    Ok((CString::new(options).map_err(|error| failed(error.to_string()))?, base))
}

/// Makes the directories that shall be in a root and are not, whatever links the image has there. A file in the place of
/// one is left.
///
/// # Errors
/// Names the directory.
pub fn make_directories(overlay: &OverlayRoot, root: BorrowedFd<'_>) -> Result<(), CallError> {
    overlay.directories.iter().try_for_each(|path| {
        make_directory(root, path).map_err(|error| CallError::Container {
            step: format!("make the image's volume {}", path.display()),
            error: error.to_string(),
        })
    })
}

/// Escapes what means something in overlayfs's options.
pub fn escaped(path: &Path) -> OsString {
    let bytes = path.as_os_str().as_bytes().iter();
    let escape = |byte: &u8| matches!(byte, b':' | b',' | b'\\').then_some(b'\\').into_iter().chain([*byte]);
    OsString::from_vec(bytes.flat_map(escape).collect())
}

/// The longest directory that all paths are below.
fn shared_parent(paths: &[PathBuf]) -> PathBuf {
    let mut parents = paths.iter().map(|path| path.parent().unwrap_or(Path::new("/")));
    let mut shared = parents.next().unwrap_or(Path::new("/")).to_owned();
    for parent in parents {
        while !parent.starts_with(&shared) && shared.pop() {}
    }
    shared
}

fn failed(error: String) -> CallError {
    CallError::Node { step: "mount the root".into(), error }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn options_name_layers_relative_to_the_directory_they_share() {
        let overlay = OverlayRoot {
            lower: vec!["/var/lib/corten/l/a".into(), "/var/lib/corten/l/b:c".into()],
            upper: "/u".into(),
            work: "/w".into(),
            directories: Vec::new(),
        };
        let (short, base) = options(&overlay, None).unwrap();
        assert_eq!(base, Path::new("/var/lib/corten/l"));
        assert_eq!(short.to_bytes(), b"index=off,lowerdir=a:b\\:c,upperdir=/u,workdir=/w");
        let (read_only, _) = read_only_options(&overlay.lower, None).unwrap();
        assert_eq!(read_only.to_bytes(), b"index=off,lowerdir=a:b\\:c");
        let (labelled, _) = options(&overlay, Some("u:r:t:s0:c1,c2")).unwrap();
        assert_eq!(labelled.to_bytes(), [short.to_bytes(), b",context=\"u:r:t:s0:c1,c2\""].concat());
        let lower = (0..500).map(|n| format!("/var/lib/corten/{n}/layer").into()).collect();
        assert!(options(&OverlayRoot { lower, ..overlay }, None).is_err());
    }

    #[test]
    fn what_means_something_to_overlayfs_is_escaped() {
        assert_eq!(escaped(Path::new("/a:b,c\\d")), "/a\\:b\\,c\\\\d");
    }

    #[test]
    fn the_shared_parent_of_layers() {
        let paths = |texts: &[&str]| texts.iter().map(PathBuf::from).collect::<Vec<_>>();
        assert_eq!(shared_parent(&paths(&["/l/a/fs", "/l/b/fs"])), Path::new("/l"));
        assert_eq!(shared_parent(&paths(&["/l/a"])), Path::new("/l"));
        assert_eq!(shared_parent(&paths(&["/x/a", "/y/b"])), Path::new("/"));
    }
}
