//! Names of the system's errors.

use std::io;

/// Those that a container can be expected to see.
const NAMES: [(i32, &str); 24] = [
    (1, "EPERM"),
    (2, "ENOENT"),
    (5, "EIO"),
    (6, "ENXIO"),
    (11, "EAGAIN"),
    (12, "ENOMEM"),
    (13, "EACCES"),
    (16, "EBUSY"),
    (17, "EEXIST"),
    (19, "ENODEV"),
    (20, "ENOTDIR"),
    (21, "EISDIR"),
    (22, "EINVAL"),
    (26, "ETXTBSY"),
    (27, "EFBIG"),
    (28, "ENOSPC"),
    (30, "EROFS"),
    (32, "EPIPE"),
    (38, "ENOSYS"),
    (39, "ENOTEMPTY"),
    (40, "ELOOP"),
    (98, "EADDRINUSE"),
    (111, "ECONNREFUSED"),
    (113, "EHOSTUNREACH"),
];

/// `ENOENT` and the like, `E` and the number of those without a name here, or the text of an error that is not the system's.
pub fn name(error: &io::Error) -> String {
    let Some(number) = error.raw_os_error() else { return error.to_string() };
    let known = NAMES.iter().find(|(known, _)| *known == number);
    known.map_or_else(|| format!("E{number}"), |(_, name)| (*name).to_owned())
}
