//! Clients that follow a container's output and write to its stdin.

use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketType, sockopt};

use super::Monitor;
use super::calls::{Answered, no_container};
use crate::container::{Caller, Container, Input, State};
use crate::launch::{bad, node};
use crate::log::attached::MAX_ATTACHED;
use crate::protocol::{Answer, CallError};
use crate::reactor::Source;

impl Monitor {
    /// Adds a client, and says so.
    pub(super) fn attach(&mut self, caller: Caller, id: &str, fds: Vec<OwnedFd>) -> Result<(), CallError> {
        let count = fds.len();
        let [socket] =
            <[OwnedFd; 1]>::try_from(fds).map_err(|_| bad(format!("attach takes one descriptor, but {count} came")))?;
        if !is_seqpacket(&socket).map_err(|error| bad(format!("attach takes a socket: {error}")))? {
            return Err(bad("attach takes a unix socket of type SOCK_SEQPACKET".to_owned()));
        }
        let container = running(self.containers.get_mut(id), id)?;
        if container.attached.is_full() {
            return Err(node("attach", format!("the container has {MAX_ATTACHED} clients already")));
        }
        let input = container.input.duplicate().map_err(|error| node("attach", format!("its stdin: {error}")))?;
        let watched = self.reactor.watch_end(&socket, Source::Attached(container.number));
        watched.map_err(|error| node("attach", format!("epoll: {error}")))?;
        container.attached.add(socket);
        let answer = Answer::Attached { terminal: container.input.is_terminal(), stdin: input.is_some() };
        self.reply_with(caller, Ok(answer), input.into_iter().collect());
        Ok(())
    }

    pub(super) fn close_stdin(&mut self, id: &str) -> Answered {
        let container = running(self.containers.get_mut(id), id)?;
        if container.input.is_terminal() {
            return Err(bad(format!("container {id} has a terminal, which is not closed")));
        }
        container.input = Input::Closed;
        Ok(Answer::Done)
    }

    /// A client of a container has hung up, or was cut off.
    pub(super) fn dismiss_gone(&mut self, number: u32) {
        let container = self.containers.values().find(|container| container.number == number);
        self.dismiss(container.map(|container| container.attached.take_gone()));
    }

    /// Cuts off a container's clients.
    pub(super) fn dismiss_all(&mut self, id: &str) {
        self.dismiss(self.containers.get(id).map(|container| container.attached.take_all()));
    }

    fn dismiss(&self, sockets: Option<Vec<OwnedFd>>) {
        for socket in sockets.into_iter().flatten() {
            self.reactor.unwatch(&socket);
        }
    }
}

fn running<'a>(container: Option<&'a mut Container>, id: &str) -> Result<&'a mut Container, CallError> {
    let container = container.ok_or_else(|| no_container(id))?;
    match container.state {
        State::Running { .. } => Ok(container),
        _ => Err(CallError::NotRunning { what: format!("container {id}") }),
    }
}

fn is_seqpacket(fd: &OwnedFd) -> Result<bool, Errno> {
    Ok(sockopt::socket_domain(fd)? == AddressFamily::UNIX && sockopt::socket_type(fd)? == SocketType::SEQPACKET)
}
