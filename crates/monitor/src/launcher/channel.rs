//! How the launcher process hears of its child: a socket pair that execve(2) closes in the child.
//!
//! The child says [`Report::Ready`] just before execve. The end of the stream after that is success; without it, the
//! child has died on the way.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};
use serde::{Deserialize, Serialize};

use super::errors::{Blame, node};
use crate::protocol::CallError;

/// The longest report, in bytes. Longer errors are cut.
const MAX_REPORT: usize = 16 * 1024;

/// What the child says.
#[derive(Debug, Serialize, Deserialize)]
enum Report {
    /// The master end of the terminal comes with this.
    Console,
    /// Everything is set up, only execve is left.
    Ready,
    /// A step failed; the child ends.
    Failed(CallError),
}

/// The child's end.
#[derive(Debug)]
pub(super) struct ChildEnd(OwnedFd);

/// The launcher process's end.
#[derive(Debug)]
pub(super) struct LauncherEnd(OwnedFd);

/// Makes both ends.
pub(super) fn pair() -> Result<(LauncherEnd, ChildEnd), CallError> {
    let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
        .node(|| "make a socket pair".into())?;
    Ok((LauncherEnd(ours), ChildEnd(theirs)))
}

impl AsFd for ChildEnd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl ChildEnd {
    /// Hands the terminal's master end over.
    pub(super) fn console(&self, master: BorrowedFd<'_>) -> Result<(), CallError> {
        self.send(&Report::Console, Some(master)).node(|| "hand the terminal over".into())
    }

    /// Only execve is left.
    pub(super) fn ready(&self) -> Result<(), CallError> {
        self.send(&Report::Ready, None).node(|| "report to the launcher".into())
    }

    /// Says why the launch failed. If even that fails, the launcher process sees the stream end too early.
    pub(super) fn failed(&self, error: CallError) {
        let _ = self.send(&Report::Failed(cut(error)), None);
    }

    fn send(&self, report: &Report, fd: Option<BorrowedFd<'_>>) -> std::io::Result<()> {
        let bytes = serde_json::to_vec(report)?;
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let fds = fd.as_slice();
        if !fds.is_empty() {
            control.push(SendAncillaryMessage::ScmRights(fds));
        }
        sendmsg(&self.0, &[IoSlice::new(&bytes)], &mut control, SendFlags::NOSIGNAL)?;
        Ok(())
    }
}

impl LauncherEnd {
    /// Waits until the child's execve has succeeded. Returns the terminal's master end, if one was handed over.
    pub(super) fn wait(&self) -> Result<Option<OwnedFd>, CallError> {
        let mut console = None;
        let mut ready = false;
        while let Some((report, fd)) = self.receive()? {
            match report {
                Report::Console => console = fd,
                Report::Ready => ready = true,
                Report::Failed(error) => return Err(error),
            }
        }
        if ready { Ok(console) } else { Err(node("start the container's process", "it died while it was set up")) }
    }

    fn receive(&self) -> Result<Option<(Report, Option<OwnedFd>)>, CallError> {
        let mut bytes = vec![0; MAX_REPORT];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let step = || "hear from the container's process".to_owned();
        let received = loop {
            match recvmsg(self.0.as_fd(), &mut [IoSliceMut::new(&mut bytes)], &mut control, RecvFlags::CMSG_CLOEXEC) {
                Err(Errno::INTR) => {}
                // The child died with something unread: the end of the stream, in another word.
                Err(Errno::CONNRESET) => return Ok(None),
                other => break other.node(step)?,
            }
        };
        if received.bytes == 0 {
            return Ok(None);
        }
        let fd = control.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
            _ => None,
        });
        let report = serde_json::from_slice(bytes.get(..received.bytes).unwrap_or_default()).node(step)?;
        Ok(Some((report, fd)))
    }
}

/// The error with texts that fit into a report.
fn cut(mut error: CallError) -> CallError {
    if let CallError::Container { step, error: text } | CallError::Node { step, error: text } = &mut error {
        for text in [step, text] {
            // JSON makes at most six bytes of one.
            let end = (0..=MAX_REPORT / 16).rev().find(|end| text.is_char_boundary(*end));
            text.truncate(end.unwrap_or(0));
        }
    }
    error
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;

    /// The end of the stream is success only after `Ready`.
    #[test]
    fn an_early_end_is_a_failure() {
        let (ours, theirs) = pair().unwrap();
        drop(theirs);
        assert!(matches!(ours.wait(), Err(CallError::Node { .. })));
        let (ours, theirs) = pair().unwrap();
        theirs.ready().unwrap();
        drop(theirs);
        assert!(ours.wait().unwrap().is_none());
    }

    /// An error after `Ready` (of execve) is reported, however long its text is.
    #[test]
    fn failures_arrive_also_when_they_are_long() {
        let (ours, theirs) = pair().unwrap();
        theirs.ready().unwrap();
        theirs.failed(super::super::errors::container("exec", "\u{1}".repeat(100_000)));
        drop(theirs);
        assert!(matches!(ours.wait(), Err(CallError::Container { step, .. }) if step == "exec"));
    }
}
