//! The clients that follow a container's output. See docs/decisions/0003-attach.md.
//!
//! The writer thread sends to them, the loop adds them and takes out the ones that are gone; neither ever waits for one.
//! A client is cut off by shutting its socket down, which the loop sees as it sees a client that hangs up: only the loop
//! closes sockets, after it has stopped watching them.

use std::io::IoSlice;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, retry_on_intr};
use rustix::net::{SendAncillaryBuffer, SendFlags, Shutdown, sendmsg, shutdown};

use super::format::Source;
use crate::protocol::attached::{END, MAX_DATA, STDERR, STDOUT};

/// The most clients of one container.
pub const MAX_ATTACHED: usize = 64;

/// The clients of one container. Held while packets are sent without waiting, never while anything is read or written
/// that could block.
#[derive(Debug, Default)]
pub struct Attached {
    sockets: Mutex<Vec<OwnedFd>>,
}

impl Attached {
    /// Whether there are as many as may be.
    pub fn is_full(&self) -> bool {
        self.lock().len() >= MAX_ATTACHED
    }

    /// One more, connected by this socket: whatever is read from now on it is sent.
    pub fn add(&self, socket: OwnedFd) {
        self.lock().push(socket);
    }

    /// Sends what was read to everybody, in packets as large as may be. Whoever has no room for one is cut off.
    pub fn send(&self, source: Source, bytes: &[u8]) {
        let kind = match source {
            Source::Stdout => STDOUT,
            Source::Stderr => STDERR,
        };
        for socket in self.lock().iter() {
            if bytes.chunks(MAX_DATA).try_for_each(|data| packet(socket.as_fd(), kind, data)).is_err() {
                cut_off(socket);
            }
        }
    }

    /// Tells everybody that the output is complete; nothing follows.
    pub fn end(&self) {
        for socket in self.lock().iter() {
            // Who has no room for it any longer is cut off without it.
            let _ = packet(socket.as_fd(), END, &[]);
            cut_off(socket);
        }
    }

    /// Takes out those that have hung up or were cut off.
    pub fn take_gone(&self) -> Vec<OwnedFd> {
        let mut sockets = self.lock();
        let (gone, there) = std::mem::take(&mut *sockets).into_iter().partition(is_gone);
        *sockets = there;
        gone
    }

    /// Cuts off and takes out everybody.
    pub fn take_all(&self) -> Vec<OwnedFd> {
        let sockets = std::mem::take(&mut *self.lock());
        sockets.iter().for_each(cut_off);
        sockets
    }

    fn lock(&self) -> MutexGuard<'_, Vec<OwnedFd>> {
        self.sockets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Sends one packet if there is room for it.
fn packet(socket: BorrowedFd<'_>, kind: u8, data: &[u8]) -> Result<(), Errno> {
    let parts = [IoSlice::new(std::slice::from_ref(&kind)), IoSlice::new(data)];
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    retry_on_intr(|| sendmsg(socket, &parts, &mut SendAncillaryBuffer::default(), flags)).map(|_| ())
}

/// The client reads what is there, and then the end, whoever else has a copy of the socket for the moment (a child just forked).
fn cut_off(socket: &OwnedFd) {
    // ENOTCONN: it is cut off already.
    let _ = shutdown(socket, Shutdown::Both);
}

fn is_gone(socket: &OwnedFd) -> bool {
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    let mut watched = [PollFd::new(socket, PollFlags::RDHUP)];
    !matches!(retry_on_intr(|| poll(&mut watched, Some(&now))), Ok(0))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]

    use std::sync::Arc;

    use rustix::event::{EventfdFlags, eventfd};
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
    use rustix::pipe::{PipeFlags, pipe_with};

    use super::*;
    use crate::log::writer::Control;
    use crate::log::{Command, Output, Stream, writer};
    use crate::packet::receive;

    fn pair() -> (OwnedFd, OwnedFd) {
        socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap()
    }

    /// A container without a log, its stdout, stderr, and the clients.
    struct Container {
        stdout: OwnedFd,
        stderr: OwnedFd,
        control: Arc<Control>,
        attached: Arc<Attached>,
        done: Arc<OwnedFd>,
    }

    impl Container {
        fn new(clients: Vec<OwnedFd>) -> Self {
            let attached = Arc::new(Attached::default());
            clients.into_iter().for_each(|client| attached.add(client));
            let pipe = || pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).unwrap();
            let ((out, stdout), (err, stderr)) = (pipe(), pipe());
            let stream = |fd: OwnedFd, source| Stream::new(Arc::new(fd), source, false, 1000);
            let streams = vec![stream(out, Source::Stdout), stream(err, Source::Stderr)];
            let output = Output { streams, file: None, attached: Arc::clone(&attached), finished: false };
            let done = Arc::new(eventfd(0, EventfdFlags::CLOEXEC).unwrap());
            let control = Control::start(output, None, Arc::clone(&done)).unwrap();
            Self { stdout, stderr, control, attached, done }
        }

        /// Writes it all, as a container would whose stdout is a non-blocking pipe.
        fn say(fd: &OwnedFd, mut bytes: &[u8]) {
            while !bytes.is_empty() {
                match rustix::io::write(fd, bytes) {
                    Ok(n) => bytes = &bytes[n..],
                    Err(Errno::AGAIN) => {
                        poll(&mut [PollFd::new(fd, PollFlags::OUT)], None).unwrap();
                    }
                    Err(error) => panic!("{error}"),
                }
            }
        }

        fn finish(self) -> Arc<Attached> {
            self.control.command(Command::Finish);
            loop {
                writer::heard(&self.done);
                if let Some((output, _)) = self.control.look().returned {
                    assert!(output.finished);
                    return self.attached;
                }
            }
        }
    }

    /// What a client is told until its socket is closed: stdout, stderr, and whether it was the end.
    fn everything(client: &OwnedFd) -> (Vec<u8>, Vec<u8>, bool) {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        while let Some(packet) = receive(client.as_fd(), MAX_DATA + 2).unwrap() {
            let (kind, data) = packet.bytes.split_first().unwrap();
            assert!(data.len() <= MAX_DATA);
            match *kind {
                STDOUT => out.extend_from_slice(data),
                STDERR => err.extend_from_slice(data),
                END => {
                    assert!(receive(client.as_fd(), 10).unwrap().is_none(), "nothing follows the end");
                    return (out, err, true);
                }
                other => panic!("{other}"),
            }
        }
        (out, err, false)
    }

    /// Bytes of which each place can be told from its neighbours.
    fn pattern(length: usize) -> Vec<u8> {
        (0..length).map(|n| u8::try_from(n % 251).unwrap()).collect()
    }

    #[test]
    fn everybody_gets_everything_and_then_the_end() {
        let (ours, one) = pair();
        let (ours_too, two) = pair();
        let container = Container::new(vec![ours, ours_too]);
        let (out, err) = (pattern(30_000), pattern(20_000));
        Container::say(&container.stdout, &out);
        Container::say(&container.stderr, &err);
        let attached = container.finish();
        assert_eq!(everything(&one), (out.clone(), err.clone(), true));
        assert_eq!(everything(&two), (out, err, true));
        assert_eq!(attached.take_gone().len(), 2);
    }

    #[test]
    fn who_does_not_read_is_cut_off_and_nobody_else_notices() {
        let (ours, sleeper) = pair();
        let (ours_too, reader) = pair();
        let container = Container::new(vec![ours, ours_too]);
        let part = pattern(30_000);
        let mut read = Vec::new();
        for _ in 0..40 {
            // Only as fast as the one that reads: it has room for more than that.
            Container::say(&container.stdout, &part);
            let before = read.len();
            while read.len() < before + part.len() {
                let packet = receive(reader.as_fd(), MAX_DATA + 2).unwrap().unwrap();
                assert_eq!(packet.bytes[0], STDOUT);
                read.extend_from_slice(&packet.bytes[1..]);
            }
        }
        assert_eq!(read, part.repeat(40));
        assert_eq!(container.attached.take_gone().len(), 1);
        let (out, _, ended) = everything(&sleeper);
        assert!(!ended && out.len() < read.len() && read.starts_with(&out));
        container.finish();
        assert_eq!(everything(&reader), (Vec::new(), Vec::new(), true));
    }

    #[test]
    fn the_end_is_not_told_to_who_has_no_room_for_it() {
        let attached = Attached::default();
        let (ours, client) = pair();
        while packet(ours.as_fd(), STDERR, &[0; 100]).is_ok() {}
        attached.add(ours);
        attached.end();
        assert!(!everything(&client).2);
    }

    #[test]
    fn only_who_is_gone_is_taken_out() {
        let attached = Attached::default();
        let (ours, gone) = pair();
        let (ours_too, there) = pair();
        attached.add(ours);
        attached.add(ours_too);
        rustix::io::write(&there, b"what is this?").unwrap();
        assert_eq!(attached.take_gone().len(), 0);
        drop(gone);
        assert_eq!(attached.take_gone().len(), 1);
        assert_eq!((attached.take_gone().len(), attached.take_all().len()), (0, 1));
    }
}
