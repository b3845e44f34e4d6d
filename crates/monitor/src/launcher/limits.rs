//! Limits and scheduling of the container's process, as far as the node's own limits allow.

use std::io;

use corten_host::process::{self, SchedulerAttributes};
use oci_spec::runtime::{
    IOPriorityClass, LinuxPersonality, LinuxPersonalityDomain, LinuxSchedulerFlag, LinuxSchedulerPolicy, PosixRlimit,
    PosixRlimitType, Process, Scheduler,
};
use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::errors::{Blame, refused};
use crate::protocol::CallError;

/// Sets the score by which the kernel chooses whom to kill. Who may not go as low as asked keeps what it inherited,
/// which is the lowest that it may have. Reads the host's `/proc`.
pub(super) fn set_oom_score(score: Option<i32>) -> Result<(), CallError> {
    let Some(score) = score else { return Ok(()) };
    match std::fs::write("/proc/self/oom_score_adj", score.to_string()) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        other => other.node(|| format!("set oom_score_adj to {score}")),
    }
}

/// Sets resource limits. A hard limit that would have to be raised, and may not be, stays as it is.
pub(super) fn set_rlimits(limits: &[PosixRlimit]) -> Result<(), CallError> {
    for limit in limits {
        let step = || format!("set {} to {}:{}", limit.typ(), limit.soft(), limit.hard());
        if limit.soft() > limit.hard() {
            return Err(refused(format!("{}: the soft limit is above the hard one", step())));
        }
        let resource = resource(limit.typ());
        let wanted = Rlimit { current: finite(limit.soft()), maximum: finite(limit.hard()) };
        match setrlimit(resource, wanted) {
            Err(Errno::PERM) => {
                let maximum = getrlimit(resource).maximum;
                let current = lower(finite(limit.soft()), maximum);
                setrlimit(resource, Rlimit { current, maximum }).node(step)?;
            }
            other => other.node(step)?,
        }
    }
    Ok(())
}

fn finite(limit: u64) -> Option<u64> {
    (limit != libc::RLIM_INFINITY).then_some(limit)
}

/// The lower of two limits, where none is no limit.
fn lower(a: Option<u64>, b: Option<u64>) -> Option<u64> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

fn resource(kind: PosixRlimitType) -> Resource {
    match kind {
        PosixRlimitType::RlimitCpu => Resource::Cpu,
        PosixRlimitType::RlimitFsize => Resource::Fsize,
        PosixRlimitType::RlimitData => Resource::Data,
        PosixRlimitType::RlimitStack => Resource::Stack,
        PosixRlimitType::RlimitCore => Resource::Core,
        PosixRlimitType::RlimitRss => Resource::Rss,
        PosixRlimitType::RlimitNproc => Resource::Nproc,
        PosixRlimitType::RlimitNofile => Resource::Nofile,
        PosixRlimitType::RlimitMemlock => Resource::Memlock,
        PosixRlimitType::RlimitAs => Resource::As,
        PosixRlimitType::RlimitLocks => Resource::Locks,
        PosixRlimitType::RlimitSigpending => Resource::Sigpending,
        PosixRlimitType::RlimitMsgqueue => Resource::Msgqueue,
        PosixRlimitType::RlimitNice => Resource::Nice,
        PosixRlimitType::RlimitRtprio => Resource::Rtprio,
        PosixRlimitType::RlimitRttime => Resource::Rttime,
    }
}

/// Sets I/O priority and scheduling policy, if the process has any.
pub(super) fn set_scheduling(process: &Process) -> Result<(), CallError> {
    if let Some(wanted) = process.io_priority() {
        let class = match wanted.class() {
            IOPriorityClass::IoprioClassRt => 1,
            IOPriorityClass::IoprioClassBe => 2,
            IOPriorityClass::IoprioClassIdle => 3,
        };
        let priority = u32::try_from(wanted.priority()).ok().filter(|priority| *priority < 8);
        let priority =
            priority.ok_or_else(|| refused(format!("process.ioPriority: {} is not 0 to 7", wanted.priority())))?;
        process::set_io_priority(class, priority).node(|| "set the I/O priority".into())?;
    }
    match process.scheduler() {
        None => Ok(()),
        Some(scheduler) => process::set_scheduler(attributes(scheduler)?).node(|| "set the scheduler".into()),
    }
}

fn attributes(scheduler: &Scheduler) -> Result<SchedulerAttributes, CallError> {
    let mut attributes = SchedulerAttributes::default();
    attributes.policy = match scheduler.policy() {
        LinuxSchedulerPolicy::SchedOther => 0,
        LinuxSchedulerPolicy::SchedFifo => 1,
        LinuxSchedulerPolicy::SchedRr => 2,
        LinuxSchedulerPolicy::SchedBatch => 3,
        LinuxSchedulerPolicy::SchedIso => 4,
        LinuxSchedulerPolicy::SchedIdle => 5,
        LinuxSchedulerPolicy::SchedDeadline => 6,
    };
    for flag in scheduler.flags().iter().flatten() {
        attributes.flags |= match flag {
            LinuxSchedulerFlag::SchedResetOnFork => 0x01,
            LinuxSchedulerFlag::SchedFlagReclaim => 0x02,
            LinuxSchedulerFlag::SchedFlagDLOverrun => 0x04,
            LinuxSchedulerFlag::SchedFlagKeepPolicy => 0x08,
            LinuxSchedulerFlag::SchedFlagKeepParams => 0x10,
            LinuxSchedulerFlag::SchedFlagUtilClampMin => 0x20,
            LinuxSchedulerFlag::SchedFlagUtilClampMax => 0x40,
        };
    }
    attributes.nice = scheduler.nice().unwrap_or(0);
    let priority = scheduler.priority().unwrap_or(0);
    attributes.priority =
        u32::try_from(priority).map_err(|_| refused(format!("process.scheduler.priority: {priority} is negative")))?;
    attributes.runtime = scheduler.runtime().unwrap_or(0);
    attributes.deadline = scheduler.deadline().unwrap_or(0);
    attributes.period = scheduler.period().unwrap_or(0);
    Ok(attributes)
}

/// Sets the execution domain.
pub(super) fn set_personality(personality: &LinuxPersonality) -> Result<(), CallError> {
    let domain = match personality.domain() {
        LinuxPersonalityDomain::PerLinux => 0,
        LinuxPersonalityDomain::PerLinux32 => 8,
    };
    process::set_personality(domain).node(|| "set the personality".into())
}
