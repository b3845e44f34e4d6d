//! Containers' output: watched here, read and written by threads.

use std::time::Duration;

use super::{Due, Monitor};
use crate::container::State;
use crate::log::{Command, Log};
use crate::protocol::{Answer, CallError};
use crate::reactor::Source;

/// When a thread could not be had, another try comes after this.
const RETRY: Duration = Duration::from_millis(200);

impl Monitor {
    /// Watches a container's streams.
    pub(super) fn watch_output(&mut self, id: &str) {
        let Some(container) = self.containers.get(id) else { return };
        let Log::Watched(output) = &container.log else { return };
        for stream in &output.streams {
            if let Err(error) = self.reactor.watch(stream.fd(), Source::Output(container.number)) {
                eprintln!("container {id}: its output is not watched: epoll: {error}");
            }
        }
    }

    /// A container has said something: a thread is to see to it.
    pub(super) fn write_output(&mut self, number: u32) {
        let Some(id) = self.id_of(number) else { return };
        if let Err(error) = self.hand_over(&id, None) {
            eprintln!("container {id}: {error}");
            self.after(RETRY, Due::Output(id));
        }
    }

    pub(super) fn retry_output(&mut self, id: &str) {
        self.watch_output(id);
    }

    /// Has a thread write a container's last output. If none can be had it is tried again until the exit is told.
    pub(super) fn finish_output(&mut self, id: &str) {
        let Some(container) = self.containers.get(id) else { return };
        if matches!(container.state, State::Ending { .. }) && self.hand_over(id, Some(Command::Finish)).is_err() {
            self.after(RETRY, Due::Finish(id.to_owned()));
        }
    }

    /// No thread could be had for a container's last output, and there is no other way: reading it would do for the
    /// clients, but writing it to its log may block.
    pub(super) fn give_up_output(&mut self, id: &str) {
        let Some(container) = self.containers.get_mut(id) else { return };
        if let Log::Watched(output) = &container.log {
            for stream in &output.streams {
                self.reactor.unwatch(stream.fd());
            }
        }
        if container.log.give_up() {
            eprintln!("container {id}: its last output is lost: no thread could be had to write it");
            self.dismiss_all(id);
            self.fail_reopening(id);
        }
    }

    /// If no thread can be had to reopen a log, the streams stay watched; otherwise they are not.
    pub(super) fn hand_over(&mut self, id: &str, command: Option<Command>) -> Result<(), String> {
        let Some(container) = self.containers.get_mut(id) else { return Ok(()) };
        if let Log::Watched(output) = &container.log {
            for stream in &output.streams {
                self.reactor.unwatch(stream.fd());
            }
        }
        let written = container.log.write(command, &self.writers);
        if written.is_err() && command == Some(Command::Reopen) {
            self.watch_output(id);
        }
        written
    }

    /// Writer threads have rung: some have ended, or reopened a log.
    pub(super) fn collect_outputs(&mut self) {
        let writing = self.containers.iter().filter(|(_, container)| matches!(container.log, Log::Writing(_)));
        let ids: Vec<String> = writing.map(|(id, _)| id.clone()).collect();
        for id in ids {
            self.collect_output(&id);
        }
    }

    fn collect_output(&mut self, id: &str) {
        let Some(container) = self.containers.get_mut(id) else { return };
        let found = container.log.collect();
        for reopened in found.reopened {
            self.answer_reopened(id, reopened);
        }
        if found.watch {
            self.watch_output(id);
        }
        for command in found.unseen {
            match command {
                Command::Finish => self.finish_output(id),
                Command::Reopen => self.reopen_again(id),
            }
        }
        if found.finished {
            self.fail_reopening(id);
            self.settle(id);
        }
    }

    fn answer_reopened(&mut self, id: &str, reopened: Result<(), String>) {
        let Some(container) = self.containers.get_mut(id) else { return };
        if container.reopening.is_empty() {
            return;
        }
        let caller = container.reopening.remove(0);
        let answer = reopened.map(|()| Answer::Done).map_err(|error| CallError::Node { step: "log".to_owned(), error });
        self.reply(caller, answer);
    }

    /// The thread that was told to reopen the log has ended before that.
    fn reopen_again(&mut self, id: &str) {
        if let Err(error) = self.hand_over(id, Some(Command::Reopen)) {
            eprintln!("container {id}: {error}");
            self.answer_reopened(id, Err(error));
        }
    }

    /// The container ended before its log was reopened.
    fn fail_reopening(&mut self, id: &str) {
        let Some(container) = self.containers.get_mut(id) else { return };
        debug_assert!(!matches!(container.state, State::Launching), "a container that is being launched has no log");
        for caller in std::mem::take(&mut container.reopening) {
            self.reply(caller, Err(CallError::NotRunning { what: format!("container {id}") }));
        }
    }
}
