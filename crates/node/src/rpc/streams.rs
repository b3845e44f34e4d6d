//! The streams that exec and attach ask for.

use corten_streaming::remote_command::Wanted;

use crate::error::{Error, Result};

/// Refuses what cannot be: no stream at all, or a terminal and stderr, which would be the same.
pub fn wanted(wanted: Wanted) -> Result<Wanted> {
    if !(wanted.stdin || wanted.stdout || wanted.stderr) {
        return Err(Error::invalid("stdin, stdout, stderr", "false, false, false", "one of them must be true"));
    }
    if wanted.tty && wanted.stderr {
        return Err(Error::invalid("stderr", "true", "must be false with tty: a terminal has one output"));
    }
    Ok(wanted)
}
