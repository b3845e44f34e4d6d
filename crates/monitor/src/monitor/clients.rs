//! Connections: accepting, reading requests, sending messages.

use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{SocketFlags, accept_with, sockopt};
use serde::Deserialize;

use super::{Due, Monitor};
use crate::connection::Connection;
use crate::container::Caller;
use crate::packet;
use crate::protocol::{Answer, CallError, MAX_PACKET, Message, Request, VERSION};
use crate::reactor::{Event, Source};

/// The most connections at once.
const MAX_CLIENTS: usize = 64;

/// How long nothing is accepted after that has failed.
const PAUSE: Duration = Duration::from_secs(1);

/// The most requests taken from one connection before others have their turn.
const TURN: usize = 16;

impl Monitor {
    pub(super) fn accept(&mut self) {
        match accept_with(&self.listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) {
            Ok(socket) if self.clients.len() >= MAX_CLIENTS => {
                eprintln!("connection refused: {MAX_CLIENTS} are open");
                drop(socket);
            }
            Ok(socket) => match sockopt::socket_peercred(&socket) {
                Ok(peer) if peer.uid == rustix::process::geteuid() => self.add_client(socket),
                Ok(peer) => eprintln!("connection refused: it is user {}'s", peer.uid.as_raw()),
                Err(error) => eprintln!("connection refused: SO_PEERCRED: {error}"),
            },
            Err(Errno::AGAIN | Errno::CONNABORTED | Errno::INTR) => {}
            Err(error) => {
                // Descriptors have run out, say: the connection waits, and would be reported without end.
                eprintln!("accept: {error}");
                self.reactor.unwatch(&self.listener);
                self.after(PAUSE, Due::Accept);
            }
        }
    }

    pub(super) fn watch_listener(&mut self) {
        if let Err(error) = self.reactor.watch(&self.listener, Source::Listener) {
            eprintln!("accept: epoll: {error}");
            self.after(PAUSE, Due::Accept);
        }
    }

    /// Greets a new connection.
    pub(super) fn add_client(&mut self, socket: OwnedFd) {
        let number = self.number();
        if let Err(error) = self.reactor.watch(&socket, Source::Client(number)) {
            eprintln!("connection: epoll: {error}");
            return;
        }
        self.clients.insert(number, Connection::new(socket));
        let pid = rustix::process::getpid().as_raw_nonzero().get();
        let (pod, init_pid) = (self.pod.id.clone(), self.pod.init.pid());
        self.send(number, &Message::Hello { version: VERSION, pod, pid, init_pid }, Vec::new());
    }

    pub(super) fn serve(&mut self, number: u32, event: Event) {
        if event.writable {
            self.flush(number);
        }
        if !event.readable {
            return;
        }
        for _ in 0..TURN {
            let Some(client) = self.clients.get(&number) else { return };
            match receive(client) {
                Ok(Some(packet)) => self.take_packet(number, packet),
                Err(Errno::AGAIN) => return,
                Ok(None) | Err(_) => return self.drop_client(number),
            }
        }
    }

    fn take_packet(&mut self, client: u32, packet: packet::Packet) {
        if packet.truncated {
            let error = format!("a packet has at most {MAX_PACKET} bytes and {} descriptors", packet::MAX_FDS);
            let seq = 0;
            return self.reply(Caller { client, seq }, Err(CallError::BadRequest { error }));
        }
        match serde_json::from_slice::<Request>(&packet.bytes) {
            Ok(request) => self.call(Caller { client, seq: request.seq }, request.call, packet.fds),
            Err(error) => {
                let error = CallError::BadRequest { error: error.to_string() };
                self.reply(Caller { client, seq: seq_of(&packet.bytes) }, Err(error));
            }
        }
    }

    pub(super) fn reply(&mut self, caller: Caller, result: Result<Answer, CallError>) {
        self.reply_with(caller, result, Vec::new());
    }

    pub(super) fn reply_with(&mut self, caller: Caller, result: Result<Answer, CallError>, fds: Vec<OwnedFd>) {
        self.send(caller.client, &Message::Reply { seq: caller.seq, result }, fds);
    }

    /// Tells every connection.
    pub(super) fn broadcast(&mut self, message: &Message) {
        let numbers: Vec<u32> = self.clients.keys().copied().collect();
        for number in numbers {
            self.send(number, message, Vec::new());
        }
    }

    fn send(&mut self, number: u32, message: &Message, fds: Vec<OwnedFd>) {
        let Some(client) = self.clients.get_mut(&number) else { return };
        let bytes = match serde_json::to_vec(message) {
            Ok(bytes) if bytes.len() <= MAX_PACKET => bytes,
            Ok(bytes) => {
                eprintln!("a message of {} bytes is too large and not sent", bytes.len());
                return self.drop_client(number);
            }
            Err(error) => {
                eprintln!("a message cannot be encoded: {error}");
                return self.drop_client(number);
            }
        };
        let sent = client.send(bytes, fds);
        self.after_sending(number, sent);
    }

    pub(super) fn flush(&mut self, number: u32) {
        if let Some(client) = self.clients.get_mut(&number) {
            let sent = client.flush();
            self.after_sending(number, sent);
        }
    }

    fn after_sending(&mut self, number: u32, sent: Result<(), crate::connection::Lost>) {
        let Some(client) = self.clients.get(&number) else { return };
        let watched = self.reactor.watch_writing(client.socket(), Source::Client(number), client.is_behind());
        match (sent, watched) {
            (Ok(()), Ok(())) => {}
            // The daemon was restarted, or a caller went away: nothing to tell.
            (Err(crate::connection::Lost::Socket(_)), _) => self.drop_client(number),
            (Err(error), _) => {
                eprintln!("connection dropped: {error}");
                self.drop_client(number);
            }
            (_, Err(error)) => {
                eprintln!("connection dropped: epoll: {error}");
                self.drop_client(number);
            }
        }
    }

    pub(super) fn drop_client(&mut self, number: u32) {
        if let Some(client) = self.clients.remove(&number) {
            self.reactor.unwatch(client.socket());
        }
    }
}

fn receive(client: &Connection) -> Result<Option<packet::Packet>, Errno> {
    packet::receive(client.socket().as_fd(), MAX_PACKET)
}

/// The sequence number of a packet that is not a request otherwise; 0 if it has none.
fn seq_of(bytes: &[u8]) -> u64 {
    #[derive(Deserialize)]
    struct Seq {
        seq: u64,
    }
    serde_json::from_slice::<Seq>(bytes).map_or(0, |it| it.seq)
}
