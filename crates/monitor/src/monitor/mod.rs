//! The monitor's loop: it waits, takes what has come, and never blocks.

mod attach;
mod calls;
mod clients;
mod exits;
mod leave;
mod outputs;
mod tasks;

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, eventfd};
use rustix::io::Errno;

use crate::connection::Connection;
use crate::container::Container;
use crate::log::writer;
use crate::memory;
use crate::pod::Pod;
use crate::reactor::{Event, Reactor, Source};

use exits::Unclaimed;
use leave::Leaving;
use tasks::Task;

/// When memory is given back after the last launch.
const QUIET: Duration = Duration::from_secs(5);

/// A pod's monitor.
#[derive(Debug)]
pub struct Monitor {
    pod: Pod,
    reactor: Reactor,
    listener: OwnedFd,
    /// A signalfd for `SIGCHLD`.
    signals: OwnedFd,
    /// Writer threads ring it.
    writers: Arc<OwnedFd>,
    clients: BTreeMap<u32, Connection>,
    containers: BTreeMap<String, Container>,
    tasks: BTreeMap<u32, Task>,
    unclaimed: Unclaimed,
    timers: Vec<(Instant, Due)>,
    leaving: Option<Leaving>,
    /// The last number given to a connection, container or task.
    last: u32,
}

/// What is to happen at a time.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Due {
    /// The container's exit is told, whether or not its last output is written.
    Told(String),
    /// No thread could be had for the container's output; another try.
    Output(String),
    /// No thread could be had for a container's last output; another try.
    Finish(String),
    /// Nothing was launched for a while: memory is given back.
    Tidy,
    /// Connections are accepted again.
    Accept,
    /// Another look at what keeps the monitor from leaving.
    Leave,
}

impl Monitor {
    /// Over the listening socket and the first connection.
    ///
    /// # Errors
    /// What epoll(7), eventfd(2) or signalfd(2) say.
    pub fn new(pod: Pod, listener: OwnedFd, first: OwnedFd, signals: OwnedFd) -> Result<Self, Errno> {
        let reactor = Reactor::new()?;
        let writers = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        reactor.watch(&listener, Source::Listener)?;
        reactor.watch(&signals, Source::Signals)?;
        reactor.watch(&writers, Source::Writers)?;
        let mut monitor = Self {
            pod,
            reactor,
            listener,
            signals,
            writers,
            clients: BTreeMap::new(),
            containers: BTreeMap::new(),
            tasks: BTreeMap::new(),
            unclaimed: Unclaimed::default(),
            timers: Vec::new(),
            leaving: None,
            last: 0,
        };
        monitor.add_client(first);
        Ok(monitor)
    }

    /// Runs until the daemon says [`crate::protocol::Call::Leave`].
    ///
    /// # Errors
    /// If waiting itself fails.
    pub fn run(mut self) -> Result<(), Errno> {
        loop {
            let next = self.timers.iter().map(|(at, _)| *at).min();
            let time = next.map(|at| at.saturating_duration_since(Instant::now()));
            for event in self.reactor.wait(time)? {
                self.take(event);
            }
            self.run_timers();
            if self.has_left() {
                return Ok(());
            }
        }
    }

    fn take(&mut self, event: Event) {
        match event.source {
            Source::Listener => self.accept(),
            Source::Signals => {
                drain(&self.signals);
                self.reap();
            }
            Source::Writers => {
                writer::heard(self.writers.as_fd());
                self.collect_outputs();
            }
            Source::Client(number) => self.serve(number, event),
            Source::Task(number) => self.hear_task(number),
            Source::Output(number) => self.write_output(number),
            Source::Attached(number) => self.dismiss_gone(number),
        }
    }

    fn run_timers(&mut self) {
        let now = Instant::now();
        let (due, later) = std::mem::take(&mut self.timers).into_iter().partition(|(at, _)| *at <= now);
        self.timers = later;
        let due: Vec<(Instant, Due)> = due;
        for (_, due) in due {
            match due {
                Due::Told(id) => self.stop_waiting(&id),
                Due::Output(id) => self.retry_output(&id),
                Due::Finish(id) => self.finish_output(&id),
                Due::Tidy => memory::give_back(),
                Due::Accept => self.watch_listener(),
                Due::Leave => self.press_on(),
            }
        }
    }

    fn after(&mut self, time: Duration, due: Due) {
        self.timers.push((Instant::now() + time, due));
    }

    /// Memory is to be given back when nothing has been launched for a while.
    fn tidy_later(&mut self) {
        self.timers.retain(|(_, due)| *due != Due::Tidy);
        self.after(QUIET, Due::Tidy);
    }

    /// A number that nothing else has.
    fn number(&mut self) -> u32 {
        loop {
            self.last = self.last.wrapping_add(1);
            let taken = self.clients.contains_key(&self.last)
                || self.tasks.contains_key(&self.last)
                || self.containers.values().any(|container| container.number == self.last);
            if !taken {
                return self.last;
            }
        }
    }

    fn id_of(&self, number: u32) -> Option<String> {
        self.containers.iter().find(|(_, container)| container.number == number).map(|(id, _)| id.clone())
    }
}

/// Empties a signalfd: how many signals there were does not matter.
fn drain(signals: &OwnedFd) {
    let mut buffer = [0; 1024];
    while matches!(rustix::io::read(signals, &mut buffer), Ok(n) if n == buffer.len()) {}
}
