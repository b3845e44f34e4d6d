//! The short-lived children: what they report.

use std::os::fd::{AsFd, OwnedFd};
use std::time::Instant;

use super::Monitor;
use crate::container::{Caller, Process, State};
use crate::fork::Child;
use crate::launch::node;
use crate::protocol::{Answer, CallError};
use crate::reactor::Source;
use crate::report::{Report, Streams, hear};

/// A child at work.
#[derive(Debug)]
pub struct Task {
    pub(super) process: Process,
    socket: OwnedFd,
    purpose: Purpose,
    /// Who waits for it; `None` once answered.
    caller: Option<Caller>,
    pub(super) since: Instant,
}

/// What a child does.
#[derive(Debug, Clone)]
pub enum Purpose {
    /// Launches a container.
    Launch {
        /// The container.
        container: String,
    },
    /// Runs a process in a container.
    Exec {
        /// The container.
        container: String,
        /// The process.
        exec: String,
    },
    /// Has an external runtime forget a container that has ended.
    Delete {
        /// The container.
        container: String,
    },
}

impl Task {
    /// Whether it removes something: such a child is let finish.
    pub(super) fn is_delete(&self) -> bool {
        matches!(self.purpose, Purpose::Delete { .. })
    }
}

impl Monitor {
    pub(super) fn add_task(&mut self, child: Child, purpose: Purpose, caller: Option<Caller>) {
        let number = self.number();
        let watched = self.reactor.watch(&child.socket, Source::Task(number));
        let process = Process::new(child.pid);
        let task = Task { process, socket: child.socket, purpose, caller, since: Instant::now() };
        if let Err(error) = watched {
            // Without its report nobody would ever hear of it: it must not go on.
            let _ = task.process.signal(libc::SIGKILL);
            return self.fail_task(task, node("launch", format!("epoll: {error}")));
        }
        self.tasks.insert(number, task);
    }

    pub(super) fn is_starting(&self, id: &str, name: &str) -> bool {
        self.tasks
            .values()
            .any(|task| matches!(&task.purpose, Purpose::Exec { container, exec } if container == id && exec == name))
    }

    /// Takes one report. The socket is closed when the child has ended.
    pub(super) fn hear_task(&mut self, number: u32) {
        let Some(task) = self.tasks.get(&number) else { return };
        match hear(task.socket.as_fd()) {
            Ok(Some((Report::Begun(facts), _))) => {
                if let Purpose::Launch { container } = &task.purpose
                    && let Some(container) = self.containers.get_mut(container)
                {
                    container.oom_seen = facts.oom_kills;
                    container.facts = Some(facts);
                }
            }
            Ok(Some((Report::Started { pid, at, streams }, fds))) => self.task_started(number, pid, at, streams, fds),
            Ok(Some((Report::Failed(error), _))) => {
                if let Some(task) = self.remove_task(number) {
                    self.fail_task(task, error);
                }
            }
            Ok(None) => self.task_ended(number, "its child ended without a report"),
            Err(error) => self.task_ended(number, &format!("its child's report: {error}")),
        }
    }

    fn remove_task(&mut self, number: u32) -> Option<Task> {
        let task = self.tasks.remove(&number)?;
        self.reactor.unwatch(&task.socket);
        self.tidy_later();
        Some(task)
    }

    fn task_ended(&mut self, number: u32, why: &str) {
        let Some(task) = self.remove_task(number) else { return };
        match &task.purpose {
            Purpose::Delete { container } => {
                if let Some(container) = self.containers.get_mut(container)
                    && let State::Ending { deleting, .. } = &mut container.state
                {
                    *deleting = false;
                }
                let id = container.clone();
                self.settle(&id);
            }
            Purpose::Launch { .. } => self.fail_task(task, node("launch", why.to_owned())),
            Purpose::Exec { .. } => self.fail_task(task, node("exec", why.to_owned())),
        }
        self.forget_unclaimed();
    }

    fn task_started(&mut self, number: u32, pid: i32, at: i64, streams: Option<Streams>, fds: Vec<OwnedFd>) {
        let Some(task) = self.remove_task(number) else { return };
        // It may have ended, and been reaped, before its start was reported.
        let ended = self.unclaimed.claim(pid);
        match task.purpose {
            Purpose::Launch { container: id } => {
                if let (Some(container), Some(streams)) = (self.containers.get_mut(&id), &streams) {
                    container.take_streams(streams, fds);
                    container.state = State::Running { init: Process::new(pid), started: at };
                    self.watch_output(&id);
                }
                self.answer(task.caller, Ok(Answer::Launched { pid, at }), Vec::new());
            }
            Purpose::Exec { container: id, exec } => {
                if let Some(container) = self.containers.get_mut(&id) {
                    container.execs.insert(exec, Process::new(pid));
                }
                self.answer(task.caller, Ok(Answer::Launched { pid, at }), fds);
            }
            Purpose::Delete { .. } => {}
        }
        if let Some(ended) = ended {
            self.ended(ended);
        }
        self.forget_unclaimed();
        self.press_on();
    }

    fn fail_task(&mut self, task: Task, error: CallError) {
        if let Purpose::Launch { container: id } = &task.purpose
            && let Some(container) = self.containers.remove(id)
        {
            // A child that died before its time may have left something running.
            if let Some(cgroup) = self.cgroup_of(&container)
                && let Err(error) = cgroup.kill(libc::SIGKILL)
            {
                eprintln!("container {id}: {error}");
            }
        }
        self.answer(task.caller, Err(error), Vec::new());
        self.forget_unclaimed();
    }

    fn answer(&mut self, caller: Option<Caller>, result: Result<Answer, CallError>, fds: Vec<OwnedFd>) {
        if let Some(caller) = caller {
            self.reply_with(caller, result, fds);
        }
    }
}
