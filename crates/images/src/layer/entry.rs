//! What one entry of a layer's archive says, checked but not yet done.

use std::{
    ffi::{OsStr, OsString},
    io,
    os::unix::ffi::OsStrExt,
    path::{Component, Path, PathBuf},
};

use rustix::fs::{Timespec, Timestamps};
use tar::{EntryType, Header};

use super::{
    LayerError,
    members::{Member, is_blank},
    pax::Extended,
};

const WHITEOUT: &[u8] = b".wh.";
const WHITEOUT_META: &[u8] = b".wh..wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";

/// Where an entry goes: a name in a directory below the layer's root.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub parent: PathBuf,
    pub name: OsString,
}

impl Place {
    pub fn path(&self) -> PathBuf {
        self.parent.join(&self.name)
    }
}

/// What an entry is.
#[derive(Debug)]
pub(super) enum Kind {
    /// The layer's root directory itself.
    Root,
    File {
        sparse: bool,
    },
    Directory,
    Symlink(PathBuf),
    HardLink(Place),
    Fifo,
    Device {
        block: bool,
        major: u32,
        minor: u32,
    },
    Whiteout,
    Opaque,
}

/// Ownership and the like.
#[derive(Debug)]
pub(crate) struct Attributes {
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub times: Timestamps,
    pub xattrs: Vec<(String, Vec<u8>)>,
}

/// An entry: what it is, where it goes, what it is to look like.
#[derive(Debug)]
pub(super) struct Described {
    pub kind: Kind,
    pub place: Place,
    pub attributes: Attributes,
    /// Bytes of content.
    pub size: u64,
}

/// Reads an entry's headers. Nothing for what is passed over: global headers, the metadata of aufs.
pub(super) fn describe(member: Member, path_bytes: usize) -> Result<Option<Described>, LayerError> {
    let entry_type = member.header.entry_type();
    if entry_type == EntryType::XGlobalHeader {
        return Ok(None);
    }
    let shown = Path::new(OsStr::from_bytes(&member.path));
    let path = normalise(&member.path, path_bytes).map_err(|why| LayerError::entry(shown, why))?;
    let (kind, place) = match split(&path) {
        None => (root_kind(entry_type).map_err(|why| LayerError::entry(shown, why))?, root_place()),
        Some(place) => {
            let kind = kind(&member, &place, path_bytes).map_err(|why| LayerError::entry(shown, why))?;
            let Some(kind) = kind else { return Ok(None) };
            (kind, strip_whiteout(place))
        }
    };
    if matches!(kind, Kind::Whiteout) && matches!(place.name.as_bytes(), b"" | b"." | b"..") {
        return Err(LayerError::entry(shown, "a whiteout of no name"));
    }
    let owner_and_mode = numbers(&member).map_err(|why| LayerError::entry(shown, why))?;
    let attributes = attributes(member.extended, &member.header, owner_and_mode);
    Ok(Some(Described { kind, place, attributes, size: member.size }))
}

/// A path below the root: leading slashes and `.` mean nothing, as for every unpacker; `..` is refused.
fn normalise(name: &[u8], limit: usize) -> Result<PathBuf, String> {
    if name.len() > limit {
        return Err(format!("the path is longer than the limit of {limit} bytes"));
    }
    if name.contains(&0) {
        return Err("the path holds a NUL byte".to_owned());
    }
    let mut path = PathBuf::new();
    for component in Path::new(OsStr::from_bytes(name)).components() {
        match component {
            Component::Normal(part) if part.len() > 255 => return Err("a name is longer than 255 bytes".to_owned()),
            Component::Normal(part) => path.push(part),
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
            Component::ParentDir => return Err("the path holds \"..\"".to_owned()),
        }
    }
    Ok(path)
}

fn split(path: &Path) -> Option<Place> {
    Some(Place { parent: path.parent()?.to_owned(), name: path.file_name()?.to_owned() })
}

fn root_place() -> Place {
    Place { parent: PathBuf::new(), name: OsString::from(".") }
}

fn root_kind(entry_type: EntryType) -> Result<Kind, String> {
    match entry_type {
        EntryType::Directory => Ok(Kind::Root),
        other => Err(format!("the root can only be a directory, not {other:?}")),
    }
}

fn strip_whiteout(place: Place) -> Place {
    match place.name.as_bytes().strip_prefix(WHITEOUT) {
        Some(name) if !name.starts_with(WHITEOUT) => Place { name: OsStr::from_bytes(name).to_owned(), ..place },
        _ => place,
    }
}

fn kind(member: &Member, place: &Place, path_bytes: usize) -> Result<Option<Kind>, String> {
    let name = place.name.as_bytes();
    if name == OPAQUE {
        return Ok(Some(Kind::Opaque));
    }
    if name.starts_with(WHITEOUT_META) {
        return Ok(None);
    }
    if name.starts_with(WHITEOUT) {
        return Ok(Some(Kind::Whiteout));
    }
    Ok(Some(match member.header.entry_type() {
        EntryType::Regular | EntryType::Continuous => Kind::File { sparse: false },
        EntryType::GNUSparse => Kind::File { sparse: true },
        EntryType::Directory => Kind::Directory,
        EntryType::Symlink => Kind::Symlink(symlink_target(member, path_bytes)?),
        EntryType::Link => {
            let target = member.link.as_deref().ok_or("a hard link without a target")?;
            let path = normalise(target, path_bytes).map_err(|why| format!("hard link target: {why}"))?;
            Kind::HardLink(split(&path).ok_or("a hard link to the root")?)
        }
        EntryType::Fifo => Kind::Fifo,
        EntryType::Char | EntryType::Block => device(&member.header)?,
        other => return Err(format!("entries of type {other:?} are not part of an image")),
    }))
}

/// Symbolic links may point anywhere: they are the image's, and followed only inside it.
fn symlink_target(member: &Member, path_bytes: usize) -> Result<PathBuf, String> {
    let target = member.link.as_deref().ok_or("a symbolic link without a target")?;
    if target.is_empty() || target.contains(&0) || target.len() > path_bytes {
        return Err("the symbolic link's target is empty, too long or holds a NUL byte".to_owned());
    }
    Ok(PathBuf::from(OsStr::from_bytes(target)))
}

fn device(header: &Header) -> Result<Kind, String> {
    let number = |number: io::Result<Option<u32>>| {
        number.map_err(|error| error.to_string())?.ok_or_else(|| "a device without a number".to_owned())
    };
    let block = header.entry_type() == EntryType::Block;
    let (major, minor) = (number(header.device_major())?, number(header.device_minor())?);
    // The kernel would cut them and make another device.
    if major >= 1 << 12 || minor >= 1 << 20 {
        return Err(format!("device {major}:{minor} cannot be"));
    }
    if !block && (major, minor) == (0, 0) {
        return Err("character device 0:0 would be a whiteout".to_owned());
    }
    Ok(Kind::Device { block, major, minor })
}

/// Mode, user and group.
fn numbers(member: &Member) -> Result<(u32, u32, u32), String> {
    let text = |error: io::Error| error.to_string();
    let id = |id: u64, what| {
        u32::try_from(id).ok().filter(|&id| id != u32::MAX).ok_or_else(|| format!("{what} {id} is not an id"))
    };
    let (header, extended) = (&member.header, &member.extended);
    let fields = header.as_old();
    let mode = if is_blank(&fields.mode) { 0 } else { header.mode().map_err(text)? };
    let uid = match extended.uid {
        Some(uid) => uid,
        None if is_blank(&fields.uid) => 0,
        None => header.uid().map_err(text)?,
    };
    let gid = match extended.gid {
        Some(gid) => gid,
        None if is_blank(&fields.gid) => 0,
        None => header.gid().map_err(text)?,
    };
    Ok((mode & 0o7777, id(uid, "user")?, id(gid, "group")?))
}

fn attributes(extended: Extended, header: &Header, (mode, uid, gid): (u32, u32, u32)) -> Attributes {
    let seconds = || i64::try_from(header.mtime().unwrap_or(0)).unwrap_or(0);
    let mtime = extended.mtime.unwrap_or_else(|| Timespec { tv_sec: seconds(), tv_nsec: 0 });
    let times = Timestamps { last_access: mtime, last_modification: mtime };
    Attributes { mode, uid, gid, times, xattrs: extended.xattrs }
}
