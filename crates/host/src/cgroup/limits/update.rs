//! Changing the resources of a cgroup in use: all of them, or none.

use std::path::PathBuf;

use oci_spec::runtime::LinuxResources;

use super::{
    super::{Cgroup, Error, file, hierarchies::Controller, hierarchies::Version},
    v1,
};

/// A file and what it had.
struct Before {
    file: PathBuf,
    content: String,
}

impl Cgroup {
    /// As [`Cgroup::apply`], but if any of it fails, what was applied before is put back as far as the kernel lets it.
    /// Devices are not put back.
    ///
    /// # Errors
    /// As [`Cgroup::apply`].
    pub fn update(&self, resources: &LinuxResources) -> Result<(), Error> {
        self.update_with(resources, || Ok::<(), Error>(()))?
    }

    /// As [`Cgroup::update`], with something done `then`: if that fails, everything is put back too. Returns its outcome.
    ///
    /// # Errors
    /// As [`Cgroup::apply`].
    pub fn update_with<E>(
        &self,
        resources: &LinuxResources,
        then: impl FnOnce() -> Result<(), E>,
    ) -> Result<Result<(), E>, Error> {
        self.not_root("limit")?;
        let before = self.before(resources)?;
        let outcome = self.apply(resources).map(|()| then());
        if !matches!(outcome, Ok(Ok(()))) {
            put_back(before);
        }
        outcome
    }

    /// What the files that [`Cgroup::apply`] may write have now. Files that are missing are passed over.
    fn before(&self, resources: &LinuxResources) -> Result<Vec<Before>, Error> {
        let mut before = Vec::new();
        let mut read = |controller: Controller, v1: &[&str], v2: &[&str]| {
            let Ok((version, place)) = self.controller(controller, "", "") else { return Ok(()) };
            let names = if version == Version::V1 { v1 } else { v2 };
            for file in names.iter().map(|name| place.dir.join(name)) {
                before.extend(file::read_if_exists(&file)?.map(|content| Before { file, content }));
            }
            Ok::<(), Error>(())
        };
        if resources.memory().is_some() {
            let v1 = ["memory.limit_in_bytes", "memory.memsw.limit_in_bytes"];
            read(Controller::Memory, &v1, &["memory.max", "memory.swap.max"])?;
        }
        if let Some(cpu) = resources.cpu() {
            if v1::has_time(cpu) {
                let v1 = ["cpu.shares", "cpu.cfs_period_us", "cpu.cfs_quota_us"];
                read(Controller::Cpu, &v1, &["cpu.weight", "cpu.max"])?;
            }
            let sets = ["cpuset.cpus", "cpuset.mems"];
            read(Controller::Cpuset, &sets, &sets)?;
        }
        for limit in resources.hugepage_limits().iter().flatten() {
            let name = |rest: &str| format!("hugetlb.{}.{rest}", limit.page_size());
            let v1 = [name("limit_in_bytes"), name("rsvd.limit_in_bytes")];
            let v2 = [name("max"), name("rsvd.max")];
            read(Controller::Hugetlb, &v1.each_ref().map(String::as_str), &v2.each_ref().map(String::as_str))?;
        }
        if let Some(place) = self.v2() {
            for key in resources.unified().iter().flatten().map(|(key, _)| key).filter(|key| !key.contains('/')) {
                let file = place.dir.join(key);
                before.extend(file::read_if_exists(&file)?.map(|content| Before { file, content }));
            }
        }
        Ok(before)
    }
}

/// Files constrain each other (memory and memory+swap): one that is refused is tried again after the others.
fn put_back(mut changed: Vec<Before>) {
    changed.retain(|before| file::read(&before.file).is_ok_and(|now| now != before.content));
    loop {
        let left = changed.len();
        changed.retain(|before| !before.write());
        if changed.is_empty() || changed.len() == left {
            return;
        }
    }
}

impl Before {
    fn write(&self) -> bool {
        // An empty value, which a cpuset of v2 may have, is written as an empty line: writing nothing does nothing.
        let lines = self.content.trim_end();
        lines.split('\n').all(|line| file::try_write(&self.file, if line.is_empty() { "\n" } else { line }).is_ok())
    }
}
