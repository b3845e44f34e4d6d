//! Waiting for many descriptors at once (epoll(7)).

use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustix::io::Errno;

/// The most events taken at once.
const AT_ONCE: usize = 16;

/// Whose descriptor has something to say. The number is the monitor's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The listening socket.
    Listener,
    /// `SIGCHLD`.
    Signals,
    /// A log's writer thread.
    Writers,
    /// A connection.
    Client(u32),
    /// A short-lived child's socket.
    Task(u32),
    /// A container's output.
    Output(u32),
    /// A client that follows a container's output.
    Attached(u32),
}

impl Source {
    fn encode(self) -> u64 {
        let (kind, number) = match self {
            Self::Listener => (0, 0),
            Self::Signals => (1, 0),
            Self::Writers => (2, 0),
            Self::Client(number) => (3, number),
            Self::Task(number) => (4, number),
            Self::Output(number) => (5, number),
            Self::Attached(number) => (6, number),
        };
        kind << 32 | u64::from(number)
    }

    fn decode(value: u64) -> Self {
        let number = u32::try_from(value & u64::from(u32::MAX)).unwrap_or_default();
        match value >> 32 {
            0 => Self::Listener,
            1 => Self::Signals,
            2 => Self::Writers,
            3 => Self::Client(number),
            4 => Self::Task(number),
            5 => Self::Output(number),
            _ => Self::Attached(number),
        }
    }
}

/// Something happened.
#[derive(Debug, Clone, Copy)]
pub struct Event {
    /// To whom.
    pub source: Source,
    /// It can be read, or has been closed.
    pub readable: bool,
    /// It can be written.
    pub writable: bool,
}

/// The set of watched descriptors.
#[derive(Debug)]
pub struct Reactor {
    epoll: OwnedFd,
}

impl Reactor {
    /// Watches nothing yet.
    ///
    /// # Errors
    /// What epoll_create(2) says.
    pub fn new() -> Result<Self, Errno> {
        Ok(Self { epoll: epoll::create(epoll::CreateFlags::CLOEXEC)? })
    }

    /// Watches for reading.
    ///
    /// # Errors
    /// What epoll_ctl(2) says.
    pub fn watch(&self, fd: impl AsFd, source: Source) -> Result<(), Errno> {
        epoll::add(&self.epoll, fd, epoll::EventData::new_u64(source.encode()), epoll::EventFlags::IN)
    }

    /// Watches for the other end's being closed, or shut down for writing, and nothing else: not for what it sends.
    ///
    /// # Errors
    /// What epoll_ctl(2) says.
    pub fn watch_end(&self, fd: impl AsFd, source: Source) -> Result<(), Errno> {
        epoll::add(&self.epoll, fd, epoll::EventData::new_u64(source.encode()), epoll::EventFlags::RDHUP)
    }

    /// Watches for writing too, or no longer.
    ///
    /// # Errors
    /// What epoll_ctl(2) says.
    pub fn watch_writing(&self, fd: impl AsFd, source: Source, writing: bool) -> Result<(), Errno> {
        let flags = if writing { epoll::EventFlags::IN | epoll::EventFlags::OUT } else { epoll::EventFlags::IN };
        epoll::modify(&self.epoll, fd, epoll::EventData::new_u64(source.encode()), flags)
    }

    /// Watches no longer. To be called before the descriptor is closed if another process may have a copy of it.
    pub fn unwatch(&self, fd: impl AsFd) {
        // ENOENT: it was not watched, which is what is wanted.
        let _ = epoll::delete(&self.epoll, fd);
    }

    /// Waits until something happens, at most `time`.
    ///
    /// # Errors
    /// What epoll_wait(2) says, but not EINTR.
    pub fn wait(&self, time: Option<Duration>) -> Result<Vec<Event>, Errno> {
        let time = time.map(|time| Timespec {
            tv_sec: i64::try_from(time.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(time.subsec_nanos()),
        });
        let mut events = Vec::with_capacity(AT_ONCE);
        match epoll::wait(&self.epoll, spare_capacity(&mut events), time.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
        let happened = events.into_iter().map(|event: epoll::Event| {
            let (data, flags) = (event.data, event.flags);
            Event {
                source: Source::decode(data.u64()),
                readable: flags.intersects(epoll::EventFlags::IN | epoll::EventFlags::HUP | epoll::EventFlags::ERR),
                writable: flags.contains(epoll::EventFlags::OUT),
            }
        });
        Ok(happened.collect())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]

    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

    use super::*;

    #[test]
    fn a_source_survives_the_kernel() {
        for source in [
            Source::Listener,
            Source::Signals,
            Source::Writers,
            Source::Client(7),
            Source::Task(u32::MAX),
            Source::Output(0),
            Source::Attached(1),
        ] {
            assert_eq!(Source::decode(source.encode()), source);
        }
    }
    #[test]
    fn only_the_end_of_a_connection_is_an_event_if_nothing_else_is_watched_for() {
        let reactor = Reactor::new().unwrap();
        let (ours, other) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
        reactor.watch_end(&ours, Source::Attached(7)).unwrap();
        rustix::io::write(&other, b"what is this?").unwrap();
        assert!(reactor.wait(Some(Duration::ZERO)).unwrap().is_empty());
        drop(other);
        let events = reactor.wait(None).unwrap();
        assert_eq!(events.iter().map(|event| event.source).collect::<Vec<_>>(), [Source::Attached(7)]);
        reactor.unwatch(&ours);
        assert!(reactor.wait(Some(Duration::ZERO)).unwrap().is_empty());
    }
}
