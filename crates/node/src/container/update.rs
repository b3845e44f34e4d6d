//! UpdateContainerResources: new limits for a container that is created or runs.
//!
//! They are written to the container's cgroup by the daemon itself, whoever launched the container: an external runtime's own
//! record of them (`runc update`) is not kept, as nothing reads it. What is not named in an update stays as it is.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use corten_host::cgroup::{self, Cgroup};
use oci_spec::runtime::Spec;
use tokio::sync::OwnedMutexGuard;

use super::{Container, State, create, launch, spec_path};
use crate::check;
use crate::error::{Error, Result};
use crate::node::Node;
use crate::resources::Resources;
use crate::spec;

/// How often the processes of a container are gone through while new ones appear.
const PASSES: usize = 5;

/// Changes a container's limits, all of them or none.
///
/// # Errors
/// [`Error::Precondition`] if the container neither is created nor runs, or uses more memory than it shall have;
/// [`Error::Invalid`] and [`Error::Unsupported`] naming the field of a value that cannot be.
pub async fn update(node: &Arc<Node>, container: &Arc<Container>, change: Resources) -> Result<()> {
    let guard = Arc::new(container.updating.clone().lock_owned().await);
    let mut recorded = false;
    loop {
        let state = settled(container).await;
        match state {
            State::Created | State::Running(_) | State::Stopping(_) => {}
            // It was started after its limits had been changed, and has ended already.
            _ if recorded => return Ok(()),
            _ => {
                let id = container.id();
                return Err(Error::Precondition(format!("container {id:?} is {}: its limits are gone", state.name())));
            }
        }
        let update = Update { container: container.clone(), change: change.clone(), live: state.run().is_some() };
        let guard: Arc<OwnedMutexGuard<()>> = guard.clone();
        node.blocking(move |node| {
            // Held also when the caller gives up meanwhile.
            let _guard = guard;
            update.apply(node)
        })
        .await?;
        recorded = true;
        // A start that has begun since may have read the limits before they were changed.
        if state.run().is_some() || container.state() == State::Created {
            return Ok(());
        }
    }
}

/// The state, once the container is not being launched any more.
async fn settled(container: &Container) -> State {
    let mut states = container.watch();
    match states.wait_for(|state| *state != State::Starting).await {
        Ok(state) => state.clone(),
        Err(_) => container.state(),
    }
}

/// One update.
struct Update {
    container: Arc<Container>,
    change: Resources,
    /// Whether there is a cgroup to change.
    live: bool,
}

impl Update {
    fn apply(&self, node: &Node) -> Result<()> {
        let container = &self.container;
        spec::check_page_sizes(&self.change, &node.host, "linux")?;
        let before = container.resources();
        let after = before.changed_by(&self.change);
        after.check("linux")?;
        let old = launch::read_spec(node, container)?;
        let new = self.spec(node, &old, &after)?;
        let path = spec_path(&node.container_directory(container.id()));
        create::write_spec(&path, &new)?;
        let applied = match self.live {
            true => self.apply_live(node, &after, score(&old), score(&new)),
            false => Ok(()),
        };
        let recorded = applied.and_then(|()| container.set_resources(node, after));
        recorded.inspect_err(|_| {
            if let Err(error) = create::write_spec(&path, &old) {
                tracing::error!(container = container.id(), %error, "the limits before a failed update are not restored");
            }
        })
    }

    /// The spec with other limits: what a start reads, and an exec.
    fn spec(&self, node: &Node, old: &Spec, after: &Resources) -> Result<Spec> {
        let mut new = old.clone();
        let resources = self.oci(node, after)?;
        if let Some(linux) = new.linux_mut() {
            let mut whole = linux.resources().clone().unwrap_or_default();
            whole.set_cpu(resources.cpu().clone()).set_memory(*resources.memory());
            whole.set_hugepage_limits(resources.hugepage_limits().clone()).set_unified(resources.unified().clone());
            linux.set_resources(Some(whole));
        }
        if let Some(process) = new.process_mut() {
            process.set_oom_score_adj(Some(after.oom_score_adj.max(node.host.oom_score_adj_floor)));
        }
        Ok(new)
    }

    fn oci(&self, node: &Node, resources: &Resources) -> Result<oci_spec::runtime::LinuxResources> {
        let mut withheld = Vec::new();
        let oci = spec::linux_resources(resources, &node.host, "linux", &mut withheld)?;
        for what in withheld {
            tracing::info!(container = self.container.id(), what, "withheld: this node cannot do it");
        }
        Ok(oci)
    }

    /// Writes what is named, and memory with swap as a pair; all of it where systemd writes it too.
    fn apply_live(&self, node: &Node, after: &Resources, old_score: i32, new_score: i32) -> Result<()> {
        let mut named = self.change.clone();
        if named.memory_limit.is_some() || named.memory_swap_limit.is_some() {
            (named.memory_limit, named.memory_swap_limit) = (after.memory_limit, after.memory_swap_limit);
        }
        let mut resources = self.oci(node, &named)?;
        if let Some(memory) = resources.memory_mut() {
            memory.set_check_before_update(Some(true));
        }
        let place = self.container.place(node);
        let cgroup = node.cgroup(place.path())?;
        let refused = |error| self.refused(error);
        if node.driver.is_unit(&place) {
            // It writes all files of the unit again: rounds quotas, and resets what it was not told of.
            let whole = self.oci(node, after)?;
            cgroup.update_with(&resources, || node.driver.limit(&place, &whole)).map_err(refused)??;
            cgroup.update(&whole).map_err(refused)?;
        } else {
            cgroup.update(&resources).map_err(refused)?;
        }
        move_score(&cgroup, old_score, new_score);
        Ok(())
    }

    /// Whether a cgroup's file is one of those named in the change.
    fn names(&self, file: &Path) -> bool {
        file.file_name().and_then(|name| name.to_str()).is_some_and(|name| self.change.unified.contains_key(name))
    }

    fn refused(&self, error: cgroup::Error) -> Error {
        match self.container.state().run() {
            Some(_) => match error {
                // A file by its own name, whatever field there is for it.
                cgroup::Error::Write { file, value, source } if self.names(&file) => {
                    let why = format!("the kernel refuses it in {}: {source}", file.display());
                    Error::invalid("linux.unified", check::shown(&value), why)
                }
                other => refused("linux", other),
            },
            None => Error::Precondition(format!("container {:?} has ended meanwhile", self.container.id())),
        }
    }
}

/// What a cgroup's refusal of limits means to whoever asked for them; `field` is their path in the request.
pub fn refused(field: &str, error: cgroup::Error) -> Error {
    use cgroup::Error as E;
    let invalid = |file: &str, value: &str, why: String| {
        Error::invalid(format!("{field}.{}", field_of(file)), check::shown(value), why)
    };
    match error {
        E::Write { file, value, source } => {
            let name = file.file_name().unwrap_or_default().to_string_lossy();
            match source.raw_os_error() {
                Some(libc::EBUSY) => {
                    Error::Precondition(format!("{field}.{} {value}: less than is in use", field_of(&name)))
                }
                Some(libc::EINVAL | libc::ERANGE | libc::EACCES | libc::ENOSPC | libc::ENOENT | libc::EOPNOTSUPP) => {
                    invalid(&name, &value, format!("the kernel refuses it in {name}: {source}"))
                }
                _ => Error::node(format!("write {}", file.display()), source),
            }
        }
        E::BadValue { field: "memory.limit", value, why } => {
            Error::Precondition(format!("{field}.memory_limit_in_bytes {value}: {why}"))
        }
        E::BadValue { field: bad, value, why } => invalid(bad, &value, why.to_owned()),
        E::Unsupported { .. } | E::NoController { .. } => Error::Unsupported(format!("{field}: {error}")),
        other => Error::node("change the cgroup's limits", other),
    }
}

/// The CRI's field that is written to a file of a cgroup.
fn field_of(file: &str) -> &'static str {
    const FIELDS: [(&str, &str); 11] = [
        ("memory.limit_in_bytes", "memory_limit_in_bytes"),
        ("memory.max", "memory_limit_in_bytes"),
        ("memory.memsw.limit_in_bytes", "memory_swap_limit_in_bytes"),
        ("memory.swap", "memory_swap_limit_in_bytes"),
        ("cpu.shares", "cpu_shares"),
        ("cpu.weight", "cpu_shares"),
        ("cpu.cfs_period_us", "cpu_period"),
        ("cpu.cfs_quota_us", "cpu_quota"),
        ("cpu.max", "cpu_quota"),
        ("cpuset.cpus", "cpuset_cpus"),
        ("cpuset.mems", "cpuset_mems"),
    ];
    let known = FIELDS.iter().find(|(name, _)| file.starts_with(name)).map(|(_, field)| *field);
    known.unwrap_or(if file.starts_with("huge") { "hugepage_limits" } else { "unified" })
}

/// The `oom_score_adj` of a spec's process.
fn score(spec: &Spec) -> i32 {
    spec.process().as_ref().and_then(|process| process.oom_score_adj()).unwrap_or_default()
}

/// Gives the processes that have the container's `oom_score_adj` the new one. A process that chose one of its own keeps it. Who
/// ends meanwhile needs none, and where the daemon may not go as low, it is as at the start: they keep the lowest they can have.
fn move_score(cgroup: &Cgroup, from: i32, to: i32) {
    if from == to {
        return;
    }
    for _ in 0..PASSES {
        let mut moved = false;
        for pid in cgroup.processes().unwrap_or_default() {
            let file = format!("/proc/{pid}/oom_score_adj");
            let has = fs::read_to_string(&file).ok().and_then(|text| text.trim().parse::<i32>().ok());
            moved |= has == Some(from) && fs::write(&file, to.to_string()).is_ok();
        }
        if !moved {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use std::io;

    use super::*;

    fn write(file: &str, errno: i32) -> Error {
        let source = io::Error::from_raw_os_error(errno);
        refused("linux", cgroup::Error::Write { file: file.into(), value: "7".into(), source })
    }

    #[test]
    fn what_the_kernel_refuses_is_told_by_the_requests_field() {
        for (file, field) in [
            ("/c/memory.limit_in_bytes", "memory_limit_in_bytes"),
            ("/c/memory.memsw.limit_in_bytes", "memory_swap_limit_in_bytes"),
            ("/c/memory.swap.max", "memory_swap_limit_in_bytes"),
            ("/c/cpu.max", "cpu_quota"),
            ("/c/cpuset.mems", "cpuset_mems"),
            ("/c/hugetlb.2MB.max", "hugepage_limits"),
            ("/c/memory.high", "unified"),
        ] {
            let text = write(file, libc::EINVAL).to_string();
            assert!(text.starts_with(&format!("invalid linux.{field} \"7\": ")), "{text}");
        }
        assert!(matches!(write("/c/memory.limit_in_bytes", libc::EBUSY), Error::Precondition(_)));
        assert!(matches!(write("/c/memory.limit_in_bytes", libc::EIO), Error::Node { .. }));
    }
}
