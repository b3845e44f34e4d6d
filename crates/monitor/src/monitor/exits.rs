//! Processes that have ended.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use corten_host::cgroup::Cgroup;

use super::tasks::Purpose;
use super::{Due, Monitor};
use crate::container::{Container, Input, State};
use crate::external::{self, External};
use crate::pod::Init;
use crate::protocol::{Exit, Message};
use crate::reap::{self, Ended};
use crate::report::{Facts, Runtime};

/// How long a container's exit is kept back for its last output to be written, and for an external runtime to forget it.
/// Reading what a process has left in its pipes takes no time: this is for a disk that hangs.
const LAST_OUTPUT: Duration = Duration::from_secs(5);

/// The most exits kept of processes that nobody has claimed yet.
const MAX_UNCLAIMED: usize = 4096;

/// Exits of processes that the monitor does not know: orphans, or ones whose start is yet to be reported.
#[derive(Debug, Default)]
pub struct Unclaimed {
    exits: BTreeMap<i32, (Instant, Exit)>,
}

impl Unclaimed {
    fn keep(&mut self, ended: Ended) {
        if self.exits.len() >= MAX_UNCLAIMED
            && let Some((&oldest, _)) = self.exits.iter().min_by_key(|(_, (at, _))| *at)
        {
            self.exits.remove(&oldest);
        }
        self.exits.insert(ended.pid, (Instant::now(), ended.exit));
    }

    /// The exit of a process whose start has just been reported.
    pub(super) fn claim(&mut self, pid: i32) -> Option<Ended> {
        self.exits.remove(&pid).map(|(_, exit)| Ended { pid, exit })
    }

    /// Forgets those that ended before any child now at work was started: it cannot have started them.
    fn forget_before(&mut self, oldest: Option<Instant>) {
        self.exits.retain(|_, (at, _)| oldest.is_some_and(|oldest| *at >= oldest));
    }
}

/// Whether the OOM killer struck in a container. systemd removes its cgroup as soon as nothing is in it: then the pod's count says it,
/// of a container that was killed, and not by the monitor.
fn was_oom(cgroup: &Cgroup, facts: &Facts, killed_by_other: bool) -> bool {
    match cgroup.known_oom_kills() {
        Some(kills) => kills > facts.oom_kills,
        None => killed_by_other && cgroup.oom_kills_beside() > facts.pod_oom_kills,
    }
}

impl Monitor {
    /// Takes every child that has ended.
    pub(super) fn reap(&mut self) {
        while let Ok(Some(ended)) = reap::next() {
            self.ended(ended);
        }
        self.press_on();
    }

    pub(super) fn ended(&mut self, ended: Ended) {
        if self.pod.init == Init::Running(ended.pid) {
            eprintln!("the pod's init ended with {}", ended.exit.code);
            self.pod.init = Init::Ended;
            return;
        }
        let of = |container: &Container| {
            let is_init = container.init().is_some_and(|init| init.pid == ended.pid);
            let exec = container.execs.iter().find(|(_, process)| process.pid == ended.pid);
            (is_init, exec.map(|(exec, _)| exec.clone()))
        };
        let found = self.containers.iter().map(|(id, container)| (id.clone(), of(container)));
        let found = found.into_iter().find(|(_, (is_init, exec))| *is_init || exec.is_some());
        match found {
            Some((id, (true, _))) => self.init_ended(&id, ended),
            Some((id, (false, Some(exec)))) => self.exec_ended(&id, exec, ended),
            _ if self.tasks.values().any(|task| task.process.pid == ended.pid) => {}
            _ if !self.tasks.is_empty() => self.unclaimed.keep(ended),
            _ => {}
        }
    }

    fn exec_ended(&mut self, id: &str, exec: String, ended: Ended) {
        let Some(container) = self.containers.get(id) else { return };
        let mut exit = ended.exit;
        if exit.signal == Some(libc::SIGKILL) {
            let kills = self.cgroup_of(container).map_or(0, |cgroup| cgroup.oom_kills());
            exit.oom = kills > container.oom_seen;
            if let Some(container) = self.containers.get_mut(id) {
                container.oom_seen = kills;
            }
            if exit.oom {
                self.account_oom_kills(id);
            }
        }
        if let Some(container) = self.containers.get_mut(id) {
            container.execs.remove(&exec);
        }
        self.broadcast(&Message::Exited { container: id.to_owned(), exec: Some(exec), started: None, exit });
    }

    fn init_ended(&mut self, id: &str, ended: Ended) {
        let Some(container) = self.containers.get(id) else { return };
        let State::Running { started, .. } = container.state else { return };
        let mut exit = ended.exit;
        let (own_pids, runtime) = match &container.facts {
            Some(facts) => (facts.own_pids, facts.external.clone()),
            None => (true, None),
        };
        if let Some(cgroup) = self.cgroup_of(container) {
            let killed_by_other = exit.signal == Some(libc::SIGKILL) && !container.killed && self.leaving.is_none();
            exit.oom = container.facts.as_ref().is_some_and(|facts| was_oom(&cgroup, facts, killed_by_other));
            if !own_pids && let Err(error) = cgroup.kill(libc::SIGKILL) {
                eprintln!("container {id}: {error}");
            }
        }
        self.account_oom_kills(id);
        let deleting = runtime.is_some_and(|runtime| self.delete(id, &runtime));
        if let Some(container) = self.containers.get_mut(id) {
            container.input = Input::Closed;
            container.state = State::Ending { pid: ended.pid, started, exit, deleting };
        }
        self.after(LAST_OUTPUT, Due::Told(id.to_owned()));
        self.finish_output(id);
        self.settle(id);
    }

    /// What the OOM killer has done in the pod until now, it has not done to the other containers. Its strike in a container whose
    /// init is yet to be taken may be among it, so that is not said of the container itself at the end of an exec.
    fn account_oom_kills(&mut self, id: &str) {
        let cgroup = self.containers.get(id).and_then(|container| self.cgroup_of(container));
        let Some(kills) = cgroup.map(|cgroup| cgroup.oom_kills_beside()) else { return };
        let others = self.containers.iter_mut().filter(|(other, _)| *other != id);
        for facts in others.filter_map(|(_, container)| container.facts.as_mut()) {
            facts.pod_oom_kills = facts.pod_oom_kills.max(kills);
        }
    }

    /// Has an external runtime forget the container; whether a child is at it.
    fn delete(&mut self, id: &str, runtime: &Runtime) -> bool {
        let child = crate::fork::fork(&[], |_| external::delete(External { runtime, id }));
        match child {
            Ok(child) => {
                self.add_task(child, Purpose::Delete { container: id.to_owned() }, None);
                true
            }
            Err(error) => {
                eprintln!("container {id}: fork: {error}");
                false
            }
        }
    }

    /// Tells of a container's exit if nothing holds it back any longer.
    pub(super) fn settle(&mut self, id: &str) {
        let settled = self.containers.get(id).is_some_and(|container| {
            matches!(container.state, State::Ending { deleting: false, .. }) && container.log.is_finished()
        });
        if settled {
            self.tell_exit(id);
        }
    }

    /// The exit is told now, whatever has not been done yet.
    pub(super) fn stop_waiting(&mut self, id: &str) {
        self.give_up_output(id);
        self.tell_exit(id);
    }

    /// Tells of a container's exit, once.
    pub(super) fn tell_exit(&mut self, id: &str) {
        let Some(container) = self.containers.get_mut(id) else { return };
        let State::Ending { pid, started, exit, .. } = container.state else { return };
        container.state = State::Exited { pid, started, exit };
        let of_exit = [Due::Told(id.to_owned()), Due::Finish(id.to_owned())];
        self.timers.retain(|(_, due)| !of_exit.contains(due));
        self.broadcast(&Message::Exited { container: id.to_owned(), exec: None, started: Some(started), exit });
        self.press_on();
    }

    pub(super) fn cgroup_of(&self, container: &Container) -> Option<Cgroup> {
        let path = container.facts.as_ref()?.cgroup.as_ref()?;
        self.pod.cgroups.cgroup(path).ok()
    }

    pub(super) fn forget_unclaimed(&mut self) {
        let oldest = self.tasks.values().map(|task| task.since).min();
        self.unclaimed.forget_before(oldest);
    }
}
