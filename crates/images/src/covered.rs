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

use rustix::{
    fs::{Mode, OFlags},
    io::Errno,
};

use crate::{Error, view::is_opaque};

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

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
/// them. Layers come topmost first.
pub(crate) fn find(layers: &[Layer]) -> Result<BTreeMap<String, usize>, Error> {
    let mut covered = BTreeMap::new();
    if layers.iter().all(|layer| layer.implied.is_empty()) {
        return Ok(covered);
    }
    let open =
        |layer: &Layer| rustix::fs::open(&layer.path, DIRECTORY, Mode::empty()).map_err(Error::io("open", &layer.path));
    let roots = layers.iter().map(open).collect::<Result<Vec<_>, _>>()?;
    let implied: HashSet<&String> = layers.iter().flat_map(|layer| &layer.implied).collect();
    for path in implied {
        let fail = |errno: Errno| Error::io("look at", Path::new(path))(errno);
        if let Some(Shown { covered: true, .. }) = shown(layers, &roots, Path::new(path)).map_err(fail)? {
            // The parents come into being with it, so they must be right as well.
            for parent in Path::new(path).ancestors().filter(|parent| !parent.as_os_str().is_empty()) {
                let known = shown(layers, &roots, parent).map_err(fail)?;
                covered.extend(known.and_then(|known| Some((parent.to_str()?.to_owned(), known.layer))));
            }
        }
    }
    Ok(covered)
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
