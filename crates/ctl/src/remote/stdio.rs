//! Standard input and output on threads of their own: a read or write that blocks holds neither the session up nor the
//! end of the program, which waits for none of these threads.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    thread,
};

use bytes::Bytes;
use rustix::{
    event::{PollFd, PollFlags, poll},
    io::Errno,
};
use tokio::sync::{mpsc, oneshot};

/// The most bytes read at once.
const CHUNK: usize = 32 * 1024;

/// What is read from a descriptor.
#[derive(Debug)]
pub struct Input(mpsc::Receiver<io::Result<Bytes>>);

impl Input {
    /// Reads from now on, one piece ahead of [`Input::next`].
    ///
    /// # Errors
    /// When there is no descriptor or no thread to be had.
    pub fn of(source: impl AsFd) -> io::Result<Self> {
        let source = source.as_fd().try_clone_to_owned()?;
        let (sender, pieces) = mpsc::channel(1);
        thread::Builder::new().name("stdin".to_owned()).spawn(move || read_all(&source, &sender))?;
        Ok(Self(pieces))
    }

    /// The next bytes; `None` at the end. May be cancelled.
    ///
    /// # Errors
    /// What read(2) says.
    pub async fn next(&mut self) -> io::Result<Option<Bytes>> {
        self.0.recv().await.transpose()
    }
}

fn read_all(source: &OwnedFd, pieces: &mpsc::Sender<io::Result<Bytes>>) {
    let mut buffer = vec![0; CHUNK];
    loop {
        let piece = match rustix::io::read(source, &mut buffer) {
            Ok(0) => return,
            Ok(length) => Ok(Bytes::copy_from_slice(buffer.get(..length).unwrap_or_default())),
            Err(Errno::INTR) => continue,
            Err(Errno::AGAIN) => match wait(source, PollFlags::IN) {
                Ok(()) => continue,
                Err(error) => Err(error),
            },
            // A terminal that is gone.
            Err(Errno::IO) => return,
            Err(error) => Err(error.into()),
        };
        let failed = piece.is_err();
        if pieces.blocking_send(piece).is_err() || failed {
            return;
        }
    }
}

/// Where bytes are written to.
#[derive(Debug)]
pub struct Output {
    pieces: mpsc::Sender<Bytes>,
    done: oneshot::Receiver<io::Result<()>>,
}

impl Output {
    /// Writes what it is given to a descriptor.
    ///
    /// # Errors
    /// When there is no descriptor or no thread to be had.
    pub fn to(target: impl AsFd) -> io::Result<Self> {
        let target = target.as_fd().try_clone_to_owned()?;
        let (pieces, mut receiver) = mpsc::channel::<Bytes>(1);
        let (sender, done) = oneshot::channel();
        thread::Builder::new().name("output".to_owned()).spawn(move || {
            let mut result = Ok(());
            while let (Ok(()), Some(piece)) = (&result, receiver.blocking_recv()) {
                result = write_all(&target, &piece);
            }
            drop(receiver);
            let _ = sender.send(result);
        })?;
        Ok(Self { pieces, done })
    }

    /// Hands bytes over. `false`: it cannot be written any more, and [`Output::finish`] says why.
    pub async fn write(&self, bytes: Bytes) -> bool {
        self.pieces.send(bytes).await.is_ok()
    }

    /// Returns when everything is written.
    ///
    /// # Errors
    /// What write(2) says.
    pub async fn finish(self) -> io::Result<()> {
        drop(self.pieces);
        self.done.await.unwrap_or(Ok(()))
    }
}

fn write_all(target: &OwnedFd, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match rustix::io::write(target, bytes) {
            Ok(length) => bytes = bytes.get(length..).unwrap_or_default(),
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => wait(target, PollFlags::OUT)?,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Waits for a descriptor that somebody else has made non-blocking.
fn wait(descriptor: &OwnedFd, what: PollFlags) -> io::Result<()> {
    loop {
        match poll(&mut [PollFd::new(descriptor, what)], None) {
            Err(Errno::INTR) => {}
            other => return Ok(other.map(drop)?),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::io::{Read, Write};

    use rustix::{
        io::ioctl_fionbio,
        pipe::{PipeFlags, pipe_with},
    };

    use super::*;

    fn pipe() -> (std::fs::File, std::fs::File) {
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC).unwrap();
        (reader.into(), writer.into())
    }

    #[tokio::test]
    async fn everything_is_read_to_the_end_of_a_pipe_that_does_not_block() {
        let (reader, mut writer) = pipe();
        ioctl_fionbio(&reader, true).unwrap();
        let mut input = Input::of(&reader).unwrap();
        let sent = vec![7; 3 * CHUNK + 1];
        let expected = sent.clone();
        let writing = thread::spawn(move || writer.write_all(&sent).unwrap());
        let mut all = Vec::new();
        while let Some(bytes) = input.next().await.unwrap() {
            all.extend_from_slice(&bytes);
        }
        writing.join().unwrap();
        assert_eq!(all, expected);
    }

    #[tokio::test]
    async fn everything_is_written_to_a_pipe_that_does_not_block() {
        let (mut reader, writer) = pipe();
        ioctl_fionbio(&writer, true).unwrap();
        let output = Output::to(&writer).unwrap();
        drop(writer);
        let reading = thread::spawn(move || {
            let mut all = Vec::new();
            reader.read_to_end(&mut all).unwrap();
            all.len()
        });
        for _ in 0..10 {
            assert!(output.write(Bytes::from(vec![1; CHUNK])).await);
        }
        output.finish().await.unwrap();
        assert_eq!(reading.join().unwrap(), 10 * CHUNK);
    }

    #[tokio::test]
    async fn a_reader_that_has_gone_is_an_error() {
        let (reader, writer) = pipe();
        let output = Output::to(&writer).unwrap();
        drop(reader);
        while output.write(Bytes::from_static(b"x")).await {}
        assert_eq!(output.finish().await.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }

    #[tokio::test]
    async fn a_directory_cannot_be_read() {
        let mut input = Input::of(std::fs::File::open("/").unwrap()).unwrap();
        assert_eq!(input.next().await.unwrap_err().kind(), io::ErrorKind::IsADirectory);
        assert!(input.next().await.unwrap().is_none());
    }
}
