//! Leaving: kill whatever is left, wait for it, say so, end.

use std::time::{Duration, Instant};

use super::{Due, Monitor};
use crate::container::{Caller, Process, State};
use crate::launch::node;
use crate::protocol::Answer;

/// How long the monitor waits for what it has killed. Only processes stuck in the kernel need longer.
const PATIENCE: Duration = Duration::from_secs(8);

/// How often it kills again what may have been started meanwhile.
const AGAIN: Duration = Duration::from_millis(100);

/// The monitor is leaving.
#[derive(Debug)]
pub struct Leaving {
    callers: Vec<Caller>,
    until: Instant,
}

impl Monitor {
    pub(super) fn leave(&mut self, caller: Caller) {
        match &mut self.leaving {
            Some(leaving) => leaving.callers.push(caller),
            None => {
                self.leaving = Some(Leaving { callers: vec![caller], until: Instant::now() + PATIENCE });
                self.after(AGAIN, Due::Leave);
            }
        }
        self.press_on();
    }

    /// Kills what is left, if the monitor is leaving.
    pub(super) fn press_on(&mut self) {
        if self.leaving.is_none() {
            return;
        }
        for task in self.tasks.values() {
            if !task.is_delete() {
                let _ = task.process.signal(libc::SIGKILL);
            }
        }
        for (id, container) in &self.containers {
            if let Some(init) = container.init() {
                let _ = init.signal(libc::SIGKILL);
            }
            for exec in container.execs.values() {
                let _ = exec.signal_group(libc::SIGKILL);
            }
            if let Some(cgroup) = self.cgroup_of(container)
                && let Err(error) = cgroup.kill(libc::SIGKILL)
            {
                eprintln!("container {id}: {error}");
            }
        }
        // What else there is: the pod's init, orphans that have left their container's cgroup.
        let deleting = |pid: i32| self.tasks.values().any(|task| task.is_delete() && task.process.pid == pid);
        for pid in children().into_iter().filter(|pid| !deleting(*pid)) {
            let _ = Process::new(pid).signal(libc::SIGKILL);
        }
    }

    /// Whether nothing is left to wait for; everybody who asked knows then.
    pub(super) fn has_left(&mut self) -> bool {
        let Some(leaving) = &self.leaving else { return false };
        let in_time = Instant::now() < leaving.until;
        let busy = !self.tasks.is_empty()
            || self.containers.values().any(|container| !matches!(container.state, State::Exited { .. }))
            || has_children();
        if busy && in_time {
            if !self.timers.iter().any(|(_, due)| *due == Due::Leave) {
                self.after(AGAIN, Due::Leave);
            }
            return false;
        }
        let callers = self.leaving.take().map(|leaving| leaving.callers).unwrap_or_default();
        for caller in callers {
            let answer =
                if busy { Err(node("leave", "not every process has ended".to_owned())) } else { Ok(Answer::Done) };
            self.reply(caller, answer);
        }
        true
    }
}

/// The monitor's children; none of them is reaped before this thread says so.
fn children() -> Vec<i32> {
    let list = std::fs::read_to_string("/proc/thread-self/children").unwrap_or_default();
    list.split_ascii_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}

fn has_children() -> bool {
    // SAFETY: no information is asked for, so nothing is written.
    let waited = unsafe {
        libc::waitid(libc::P_ALL, 0, std::ptr::null_mut(), libc::WEXITED | libc::WNOHANG | libc::WNOWAIT | libc::__WALL)
    };
    waited == 0
}
