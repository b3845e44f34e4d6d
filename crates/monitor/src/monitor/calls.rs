//! What the daemon asks.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::Monitor;
use super::tasks::Purpose;
use crate::container::{Caller, Container, State};
use crate::launch::{self, Target, bad, node};
use crate::launcher::PodHandles;
use crate::log::Command;
use crate::pod::Init;
use crate::protocol::{Answer, Call, CallError};

/// The most containers held: the answer to [`Call::State`] is one packet.
const MAX_CONTAINERS: usize = 200;

/// The most requests that wait for one log to be reopened.
const MAX_REOPENING: usize = 16;

/// The longest id, in bytes.
const MAX_ID: usize = 128;

pub(super) type Answered = Result<Answer, CallError>;

impl Monitor {
    /// Handles a request: answers it, or sees to it that it is answered later.
    pub(super) fn call(&mut self, caller: Caller, call: Call, fds: Vec<OwnedFd>) {
        let answer = match call {
            Call::State => Some(Ok(self.state())),
            Call::Launch { container } => self.launch(caller, container, fds).err().map(Err),
            Call::Exec { container, exec } => self.exec(caller, container, exec, fds).err().map(Err),
            Call::Signal { container, exec, signal, all } => {
                Some(self.signal(&container, exec.as_deref(), signal, all))
            }
            Call::ReopenLog { container } => self.reopen_log(caller, &container).transpose(),
            Call::Forget { container } => Some(self.forget(&container)),
            Call::Attach { container } => self.attach(caller, &container, fds).err().map(Err),
            Call::CloseStdin { container } => Some(self.close_stdin(&container)),
            Call::Leave => {
                self.leave(caller);
                None
            }
        };
        if let Some(answer) = answer {
            self.reply(caller, answer);
        }
    }

    fn state(&self) -> Answer {
        Answer::State { containers: self.containers.iter().map(|(id, container)| container.held(id)).collect() }
    }

    fn launch(&mut self, caller: Caller, id: String, fds: Vec<OwnedFd>) -> Result<(), CallError> {
        self.may_start(&id)?;
        if self.containers.contains_key(&id) {
            return Err(bad(format!("container {id} has been launched already")));
        }
        if self.containers.len() >= MAX_CONTAINERS {
            return Err(node("launch", format!("the pod has {MAX_CONTAINERS} containers that are not forgotten")));
        }
        if self.pod.init == Init::Ended {
            return Err(node("launch", "the init of the pod's PID namespace has ended".to_owned()));
        }
        let (of_child, init_pid) = (id.clone(), self.pod.init.pid());
        let (shm_ns, users) = (self.pod.shm.as_ref().map(AsFd::as_fd), self.pod.users.as_ref().map(AsFd::as_fd));
        let keep: Vec<BorrowedFd<'_>> = fds.iter().map(AsFd::as_fd).chain(shm_ns).chain(users).collect();
        let cgroups = &self.pod.cgroups;
        let child = crate::fork::fork(&keep, |socket| {
            let handles = PodHandles { shm_ns, users, init_pid };
            launch::launch(&of_child, own(&fds), &handles, cgroups, socket);
        });
        let child = child.map_err(|error| node("launch", format!("fork: {error}")))?;
        let number = self.number();
        self.containers.insert(id.clone(), Container::new(number));
        self.add_task(child, Purpose::Launch { container: id }, Some(caller));
        Ok(())
    }

    fn exec(&mut self, caller: Caller, id: String, exec: String, fds: Vec<OwnedFd>) -> Result<(), CallError> {
        self.may_start(&exec)?;
        let container = self.containers.get(&id).ok_or_else(|| no_container(&id))?;
        let init = container.init().ok_or_else(|| CallError::NotRunning { what: format!("container {id}") })?;
        let facts =
            container.facts.clone().ok_or_else(|| node("exec", "the container's plan is unknown".to_owned()))?;
        if container.execs.contains_key(&exec) || self.is_starting(&id, &exec) {
            return Err(bad(format!("process {exec} exists already")));
        }
        let target = Target { init: init.pid, facts };
        let keep: Vec<BorrowedFd<'_>> = fds.iter().map(AsFd::as_fd).collect();
        let child = crate::fork::fork(&keep, |socket| launch::exec(&exec, &id, own(&fds), &target, socket));
        let child = child.map_err(|error| node("exec", format!("fork: {error}")))?;
        self.add_task(child, Purpose::Exec { container: id, exec }, Some(caller));
        Ok(())
    }

    fn may_start(&self, id: &str) -> Result<(), CallError> {
        let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if id.is_empty() || id.len() > MAX_ID || !id.chars().all(good) || id.starts_with('.') || id.starts_with('-') {
            return Err(bad(format!("{id:?} is not an id")));
        }
        if self.leaving.is_some() {
            return Err(CallError::NotRunning { what: format!("pod {}", self.pod.id) });
        }
        Ok(())
    }

    fn signal(&mut self, id: &str, exec: Option<&str>, signal: i32, all: bool) -> Answered {
        if !(1..=libc::SIGRTMAX()).contains(&signal) {
            return Err(bad(format!("{signal} is not a signal")));
        }
        let container = self.containers.get_mut(id).ok_or_else(|| no_container(id))?;
        container.killed |= exec.is_none() && signal == libc::SIGKILL && container.init().is_some();
        let container = self.containers.get(id).ok_or_else(|| no_container(id))?;
        let sent = match exec {
            Some(exec) => {
                let what = || format!("process {exec} of container {id}");
                let process = container.execs.get(exec).ok_or_else(|| CallError::NotFound { what: what() })?;
                if all { process.signal_group(signal) } else { process.signal(signal) }
            }
            None => {
                let not_running = || CallError::NotRunning { what: format!("container {id}") };
                let init = container.init().ok_or_else(not_running)?;
                match self.cgroup_of(container).filter(|_| all) {
                    Some(cgroup) => {
                        return cgroup.kill(signal).map(|()| Answer::Done).map_err(|e| node("signal", e.to_string()));
                    }
                    None => init.signal(signal),
                }
            }
        };
        match sent {
            Ok(()) => Ok(Answer::Done),
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Err(CallError::NotRunning {
                what: exec.map_or_else(|| format!("container {id}"), |exec| format!("process {exec}")),
            }),
            Err(error) => Err(node("signal", error.to_string())),
        }
    }

    /// `None` when the answer comes later, from the thread that opens the file.
    fn reopen_log(&mut self, caller: Caller, id: &str) -> Result<Option<Answer>, CallError> {
        let container = self.containers.get_mut(id).ok_or_else(|| no_container(id))?;
        match container.state {
            State::Running { .. } => {}
            _ => return Err(CallError::NotRunning { what: format!("container {id}") }),
        }
        if container.reopening.len() >= MAX_REOPENING {
            return Err(node("log", "the log's disk does not answer".to_owned()));
        }
        container.reopening.push(caller);
        match self.hand_over(id, Some(Command::Reopen)) {
            Ok(()) => Ok(None),
            Err(error) => {
                if let Some(container) = self.containers.get_mut(id) {
                    container.reopening.retain(|other| *other != caller);
                }
                Err(node("log", error))
            }
        }
    }

    fn forget(&mut self, id: &str) -> Answered {
        match self.containers.get(id).map(|container| &container.state) {
            None => Err(no_container(id)),
            Some(State::Exited { .. }) => {
                self.dismiss_all(id);
                self.containers.remove(id);
                Ok(Answer::Done)
            }
            Some(_) => Err(bad(format!("container {id} has not exited"))),
        }
    }
}

pub(super) fn no_container(id: &str) -> CallError {
    CallError::NotFound { what: format!("container {id}") }
}

/// In the child, which leaves the monitor's copies alone: descriptors of its own.
fn own(fds: &[OwnedFd]) -> Vec<OwnedFd> {
    fds.iter().filter_map(|fd| fd.try_clone().ok()).collect()
}
