//! Directories that a layer uses without describing them.
//!
//! A layer's archive may hold `tmp/x` and no entry for `tmp`. Layers are unpacked alone, so the directory made for it
//! has ordinary attributes, and overlayfs shows those of the topmost layer: it would hide that `/tmp` is
//! writable for all, as a layer below says. Such directories are found once, when an image is put together, and are
//! made with the right attributes in the upper directory of each snapshot.

use std::{
    collections::{BTreeMap, HashSet},
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use rustix::{fs::Mode, io::Errno};

use crate::{Error, beneath::DIRECTORY, view::is_opaque};

/// What the directories of one image that have to be put right may be at most (and four times that, those that its
/// layers do not describe): they are kept in the index, and made for each
/// container.
const DIRECTORIES: usize = 100_000;
const NAMES_BYTES: usize = 8 << 20;

/// A layer, with the directories that it does not describe.
pub(crate) struct Layer {
    pub path: PathBuf,
    pub implied: HashSet<String>,
}

/// What a path is in one layer.
enum There {
    /// A directory; nothing below counts if it is opaque, or one above it.
    Directory { opaque: bool },
    /// Nothing; and nothing below counts if a directory above it is opaque.
    Nothing { opaque: bool },
    /// A file, a link or a whiteout, which hides what is below.
    Other,
}

/// The directories whose attributes have to be put right, parents first, each with the number of the layer that has
/// them. Layers come topmost first; `shown_as` is the image in errors.
pub(crate) fn find(layers: &[Layer], shown_as: &str) -> Result<BTreeMap<String, usize>, Error> {
    let mut covered = BTreeMap::new();
    if layers.iter().all(|layer| layer.implied.is_empty()) {
        return Ok(covered);
    }
    let open =
        |layer: &Layer| rustix::fs::open(&layer.path, DIRECTORY, Mode::empty()).map_err(Error::io("open", &layer.path));
    let roots = layers.iter().map(open).collect::<Result<Vec<_>, _>>()?;
    let implied: HashSet<&String> = layers.iter().flat_map(|layer| &layer.implied).collect();
    let mut bytes = 0;
    if layers.iter().flat_map(|layer| &layer.implied).map(String::len).sum::<usize>() > 4 * NAMES_BYTES {
        return Err(Error::Image { reference: shown_as.to_owned(), why: too_many() });
    }
    for path in implied {
        let fail = |errno: Errno| Error::io("look at", Path::new(path))(errno);
        if let Some(Shown { covered: true, .. }) = shown(layers, &roots, Path::new(path)).map_err(fail)? {
            // The parents come into being with it, so they must be right as well.
            for parent in Path::new(path).ancestors().filter_map(Path::to_str).filter(|parent| !parent.is_empty()) {
                if covered.contains_key(parent) {
                    // And with it all above it.
                    break;
                }
                let known = shown(layers, &roots, Path::new(parent)).map_err(fail)?;
                covered.extend(known.map(|known| (parent.to_owned(), known.layer)));
                bytes += parent.len();
                if covered.len() > DIRECTORIES || bytes > NAMES_BYTES {
                    return Err(Error::Image { reference: shown_as.to_owned(), why: too_many() });
                }
            }
        }
    }
    Ok(covered)
}

fn too_many() -> String {
    format!(
        "layers use without describing them more than {DIRECTORIES} directories, or {NAMES_BYTES} bytes of their names"
    )
}

/// Which layer's attributes a directory must show, and whether one above covers them.
struct Shown {
    layer: usize,
    covered: bool,
}

fn shown(layers: &[Layer], roots: &[OwnedFd], path: &Path) -> Result<Option<Shown>, Errno> {
    let mut first = None;
    for (number, (layer, root)) in layers.iter().zip(roots).enumerate() {
        match there(root, path)? {
            There::Other => break,
            There::Nothing { opaque: true } => break,
            There::Nothing { opaque: false } => {}
            There::Directory { opaque } => {
                if !path.to_str().is_some_and(|path| layer.implied.contains(path)) {
                    return Ok(Some(Shown { layer: number, covered: first.is_some() }));
                }
                first.get_or_insert(number);
                if opaque {
                    break;
                }
            }
        }
    }
    Ok(first.map(|layer| Shown { layer, covered: false }))
}

/// Walks down one layer, following nothing.
fn there(root: &OwnedFd, path: &Path) -> Result<There, Errno> {
    let (mut at, mut opaque) = (None::<OwnedFd>, false);
    for name in path {
        match rustix::fs::openat(at.as_ref().unwrap_or(root), name, DIRECTORY, Mode::empty()) {
            Err(Errno::NOENT) => return Ok(There::Nothing { opaque }),
            Err(Errno::NOTDIR | Errno::LOOP) => return Ok(There::Other),
            directory => at = Some(directory?),
        }
        opaque |= at.as_ref().is_some_and(is_opaque);
    }
    Ok(There::Directory { opaque })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn the_undescribed_directories_of_all_layers_are_limited_together() {
        let directory = tempfile::tempdir().unwrap();
        let layers = |count: usize| {
            let layer = |number: usize| {
                let implied = (0..1000).map(|name| format!("{number}-{name:04000}")).collect();
                Layer { path: directory.path().to_owned(), implied }
            };
            (0..count).map(layer).collect::<Vec<_>>()
        };
        let error = find(&layers(9), "an/image:1").unwrap_err().to_string();
        assert!(error.contains("an/image:1") && error.contains("without describing"), "{error}");
    }
}
