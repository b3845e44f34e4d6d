//! The terminal that somebody sits at.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
};

use corten_streaming::remote_command::Size;
use rustix::termios::{OptionalActions, Termios, isatty, tcgetattr, tcgetwinsize, tcsetattr};

/// A terminal that passes every key on. It is again as it was when this value goes.
#[derive(Debug)]
pub struct Raw {
    terminal: OwnedFd,
    before: Termios,
}

impl Raw {
    /// Makes the terminal raw: no echo, no lines, no signals of its own.
    ///
    /// # Errors
    /// What tcsetattr(3) says.
    pub fn enter(terminal: impl AsFd) -> io::Result<Self> {
        let before = tcgetattr(&terminal)?;
        let raw = Self { terminal: terminal.as_fd().try_clone_to_owned()?, before };
        let mut wanted = raw.before.clone();
        wanted.make_raw();
        tcsetattr(&raw.terminal, OptionalActions::Now, &wanted)?;
        Ok(raw)
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // A terminal that has gone needs no restoring.
        let _ = tcsetattr(&self.terminal, OptionalActions::Now, &self.before);
    }
}

/// The size of the terminal that standard input or output is; `None` when neither is one or it does not say.
pub fn size() -> Option<Size> {
    let (stdin, stdout) = (io::stdin(), io::stdout());
    size_of(&stdin).or_else(|| size_of(&stdout))
}

/// The size of this terminal; `None` when it is none or does not say.
pub fn size_of(terminal: impl AsFd) -> Option<Size> {
    if !isatty(&terminal) {
        return None;
    }
    let size = tcgetwinsize(terminal).ok()?;
    (size.ws_col > 0 && size.ws_row > 0).then_some(Size { width: size.ws_col, height: size.ws_row })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]

    use std::{fs::File, panic};

    use rustix::{
        pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
        termios::{LocalModes, Winsize, tcsetwinsize},
    };

    use super::*;

    /// Both ends of a new terminal.
    fn terminal() -> (OwnedFd, File) {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap();
        let slave = File::options().read(true).write(true).open(name.to_str().unwrap()).unwrap();
        (master, slave)
    }

    fn is_raw(terminal: &File) -> bool {
        let modes = tcgetattr(terminal).unwrap().local_modes;
        !modes.intersects(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG)
    }

    #[test]
    fn a_terminal_is_as_it_was_when_the_value_goes() {
        let (_master, slave) = terminal();
        let before = format!("{:?}", tcgetattr(&slave).unwrap());
        let raw = Raw::enter(&slave).unwrap();
        assert!(is_raw(&slave));
        drop(raw);
        assert_eq!(format!("{:?}", tcgetattr(&slave).unwrap()), before);
    }

    #[test]
    fn a_panic_restores_it_too() {
        let (_master, slave) = terminal();
        let result = panic::catch_unwind(|| {
            let _raw = Raw::enter(&slave).unwrap();
            assert!(is_raw(&slave));
            panic::resume_unwind(Box::new(()));
        });
        assert!(result.is_err() && !is_raw(&slave));
    }

    #[test]
    fn only_a_terminal_has_a_size() {
        let (master, slave) = terminal();
        assert_eq!(size_of(&slave).map(|size| size.width), None, "a new one has none");
        tcsetwinsize(&master, Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
        let size = size_of(&slave).unwrap();
        assert_eq!((size.width, size.height), (80, 24));
        assert!(size_of(File::open("/dev/null").unwrap()).is_none());
        assert!(Raw::enter(File::open("/dev/null").unwrap()).is_err());
    }
}
