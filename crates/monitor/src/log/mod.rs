//! A container's output on its way to its log.
//!
//! The monitor's loop only watches the streams. When one has something to say, a thread takes them over, reads, writes,
//! and gives them back when they have been quiet for a second. So an idle container costs no thread and no buffer, and a
//! disk that hangs stops nothing but the reading of that container's streams.

pub mod attached;
pub mod file;
pub mod format;
pub mod writer;

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use writer::Control;
pub use writer::{Command, Output, Stream};

/// A container's output and who has it.
#[derive(Debug)]
pub enum Log {
    /// The loop, which watches the streams.
    Watched(Output),
    /// A thread, which writes.
    Writing(Arc<Control>),
    /// Nobody: everything up to the container's exit is written.
    Finished,
}

/// What a look at a log brought to light.
#[derive(Debug, Default)]
pub struct Found {
    /// The outcomes of [`Command::Reopen`].
    pub reopened: Vec<Result<(), String>>,
    /// The thread has ended: the streams are to be watched again.
    pub watch: bool,
    /// The log is complete.
    pub finished: bool,
    /// Commands that the thread has not seen before it ended: they need another one.
    pub unseen: VecDeque<Command>,
}

impl Log {
    /// Hands the streams over to a thread, which first does `command`; if one has them already, tells it.
    ///
    /// # Errors
    /// When no thread can be started; the streams then stay with the loop.
    pub fn write(&mut self, command: Option<Command>, done: &Arc<OwnedFd>) -> Result<(), String> {
        match std::mem::replace(self, Self::Finished) {
            Self::Watched(output) => match Control::start(output, command, Arc::clone(done)) {
                Ok(control) => *self = Self::Writing(control),
                Err(not_started) => {
                    *self = Self::Watched(not_started.output);
                    return Err(not_started.why);
                }
            },
            Self::Writing(control) => {
                if let Some(command) = command {
                    control.command(command);
                }
                *self = Self::Writing(control);
            }
            Self::Finished => {}
        }
        Ok(())
    }

    /// Closes the streams if no thread has them: what is in them is lost, and whether that was so.
    pub fn give_up(&mut self) -> bool {
        let watched = matches!(self, Self::Watched(_));
        if watched {
            *self = Self::Finished;
        }
        watched
    }

    /// Whether everything up to the container's exit is written.
    pub fn is_finished(&self) -> bool {
        matches!(self, Self::Finished)
    }

    /// Takes the streams back if the thread has ended.
    pub fn collect(&mut self) -> Found {
        let Self::Writing(control) = self else { return Found::default() };
        let looked = control.look();
        let mut found = Found { reopened: looked.reopened, ..Found::default() };
        match looked.returned {
            None => {}
            Some((output, _)) if output.finished => {
                found.finished = true;
                *self = Self::Finished;
            }
            Some((output, unseen)) => {
                (found.watch, found.unseen) = (true, unseen);
                *self = Self::Watched(output);
            }
        }
        found
    }
}
