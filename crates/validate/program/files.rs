//! Files.

use std::{
    ffi::{OsStr, OsString},
    fs::{self, File, OpenOptions, Permissions},
    io::{self, Write},
    os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, chown, symlink as make_symlink},
    path::Path,
    thread,
    time::Duration,
};

use crate::{Failure, Next, Outcome, output, required, word};

fn named(path: &OsStr) -> impl FnOnce(io::Error) -> Failure {
    Failure::of(path.display().to_string())
}

/// `cat [FILE...]`: the files, or stdin to its end.
pub fn cat(words: &[OsString]) -> Outcome {
    if words.is_empty() {
        output::copy(&mut io::stdin())?;
    }
    for path in words {
        let mut file = File::open(path).map_err(named(path))?;
        output::copy(&mut file).map_err(named(path))?;
    }
    Ok(Next::Go)
}

/// `write FILE WORD...`: the words and a newline, in place of what the file had.
pub fn write(words: &[OsString]) -> Outcome {
    put(words, OpenOptions::new().write(true).create(true).truncate(true))
}

/// `append FILE WORD...`: the words and a newline, after what the file has.
pub fn append(words: &[OsString]) -> Outcome {
    put(words, OpenOptions::new().append(true).create(true))
}

fn put(words: &[OsString], options: &OpenOptions) -> Outcome {
    let path = required(words, 0)?;
    let mut text = output::joined(words.get(1..).unwrap_or_default());
    text.push(b'\n');
    let mut file = options.open(path).map_err(named(path))?;
    file.write_all(&text).map_err(named(path))?;
    Ok(Next::Go)
}

/// `open PATH`: opens it for reading and says `ok`.
pub fn open(words: &[OsString]) -> Outcome {
    let path = required(words, 0)?;
    File::open(path).map_err(named(path))?;
    output::echo(&["ok".into()], &mut io::stdout())
}

/// `stat PATH...`: a line each: the type, the permissions in octal, user and group, and of a device its numbers, as in
/// `file 644 0 0` and `char 666 0 0 1:3`. Links are not followed.
pub fn stat(words: &[OsString]) -> Outcome {
    for path in words {
        let metadata = fs::symlink_metadata(path).map_err(named(path))?;
        let (kind, mode) = (kind(&metadata), metadata.mode() & 0o7777);
        let mut line = format!("{kind} {mode:o} {} {}", metadata.uid(), metadata.gid());
        if kind == "char" || kind == "block" {
            let (major, minor) = device(metadata.rdev());
            line += &format!(" {major}:{minor}");
        }
        output::echo(&[line.into()], &mut io::stdout())?;
    }
    Ok(Next::Go)
}

fn kind(metadata: &fs::Metadata) -> &'static str {
    let kind = metadata.file_type();
    match () {
        () if kind.is_file() => "file",
        () if kind.is_dir() => "directory",
        () if kind.is_symlink() => "link",
        () if kind.is_char_device() => "char",
        () if kind.is_block_device() => "block",
        () if kind.is_fifo() => "fifo",
        () => "socket",
    }
}

/// The major and minor number, as the C library packs them.
fn device(packed: u64) -> (u64, u64) {
    let major = ((packed >> 32) & 0xffff_f000) | ((packed >> 8) & 0xfff);
    let minor = ((packed >> 12) & 0xffff_ff00) | (packed & 0xff);
    (major, minor)
}

/// `ls DIRECTORY...`: the names in them, sorted, a line each.
pub fn list(words: &[OsString]) -> Outcome {
    for path in words {
        let mut names = Vec::new();
        for entry in fs::read_dir(path).map_err(named(path))? {
            names.push(entry.map_err(named(path))?.file_name());
        }
        names.sort();
        for name in names {
            output::echo(&[name], &mut io::stdout())?;
        }
    }
    Ok(Next::Go)
}

/// `mkdir DIRECTORY...`, with those above them.
pub fn make_directory(words: &[OsString]) -> Outcome {
    for path in words {
        fs::create_dir_all(path).map_err(named(path))?;
    }
    Ok(Next::Go)
}

/// `unlink PATH...`: files, not directories.
pub fn unlink(words: &[OsString]) -> Outcome {
    for path in words {
        fs::remove_file(path).map_err(named(path))?;
    }
    Ok(Next::Go)
}

/// `remove PATH...`, with everything below them.
pub fn remove(words: &[OsString]) -> Outcome {
    for path in words {
        let metadata = fs::symlink_metadata(path).map_err(named(path))?;
        let removed = if metadata.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
        removed.map_err(named(path))?;
    }
    Ok(Next::Go)
}

/// `symlink TARGET PATH`.
pub fn symlink(words: &[OsString]) -> Outcome {
    let (target, path) = (required(words, 0)?, required(words, 1)?);
    make_symlink(target, path).map_err(named(path))?;
    Ok(Next::Go)
}

/// `chmod MODE PATH`: an octal mode.
pub fn change_mode(words: &[OsString]) -> Outcome {
    let (digits, path): (String, &OsStr) = (word(words, 0, String::new())?, required(words, 1)?);
    let mode = u32::from_str_radix(&digits, 8).map_err(|error| Failure::Usage(format!("{digits}: {error}")))?;
    fs::set_permissions(path, Permissions::from_mode(mode)).map_err(named(path))?;
    Ok(Next::Go)
}

/// `chown PATH UID`: the group stays.
pub fn change_owner(words: &[OsString]) -> Outcome {
    let (path, owner) = (required(words, 0)?, word(words, 1, 0)?);
    chown(path, Some(owner), None).map_err(named(path))?;
    Ok(Next::Go)
}

/// `wait FILE`: until there is such a file.
pub fn wait(words: &[OsString]) -> Outcome {
    let path = Path::new(required(words, 0)?);
    while !path.exists() {
        thread::sleep(Duration::from_millis(10));
    }
    Ok(Next::Go)
}
