//! Limits in the OCI runtime spec's terms.

use oci_spec::runtime::{LinuxCpu, LinuxHugepageLimit, LinuxMemory, LinuxResources};

use super::{CgroupMode, Host, Hugetlb};
use crate::check;
use crate::error::Result;
use crate::resources::Resources;

/// Converts limits, leaving out what was not asked for. Limits on huge pages that this node's cgroups, or an external
/// runtime on them, cannot set are left out too, and added to `withheld` if they allow any. Devices are not set.
///
/// # Errors
/// [`Error::Unsupported`](crate::error::Error::Unsupported) if cgroup v2 files are asked for where there is no cgroup v2.
pub fn linux_resources(
    resources: &Resources,
    host: &Host,
    external: bool,
    withheld: &mut Vec<String>,
) -> Result<LinuxResources> {
    if !resources.unified.is_empty() && host.cgroup != CgroupMode::V2 {
        return Err(check::unsupported("linux.resources.unified", "this node's cgroups are not version 2"));
    }
    let mut linux = LinuxResources::default();
    linux.set_cpu(cpu(resources)).set_memory(memory(resources, host));
    let hugepages = match (host.hugetlb, external) {
        (Hugetlb::Present, _) | (Hugetlb::HybridOnly, false) => hugepages(resources),
        (Hugetlb::HybridOnly, true) | (Hugetlb::Absent, _) => {
            withheld.extend(without_hugepages(resources));
            Vec::new()
        }
    };
    if !hugepages.is_empty() {
        linux.set_hugepage_limits(Some(hugepages));
    }
    if !resources.unified.is_empty() {
        linux.set_unified(Some(resources.unified.clone().into_iter().collect()));
    }
    Ok(linux)
}

fn cpu(resources: &Resources) -> Option<LinuxCpu> {
    let mut cpu = LinuxCpu::default();
    cpu.set_shares(resources.cpu_shares)
        .set_quota(resources.cpu_quota)
        .set_period(resources.cpu_period)
        .set_cpus(resources.cpuset_cpus.clone())
        .set_mems(resources.cpuset_mems.clone());
    Some(cpu).filter(|cpu| *cpu != LinuxCpu::default())
}

/// Without a limit on swap there is none to use: memory and swap together get the limit of memory.
fn memory(resources: &Resources, host: &Host) -> Option<LinuxMemory> {
    let swap = resources.memory_swap_limit.or(resources.memory_limit).filter(|_| host.swap_limit);
    let mut memory = LinuxMemory::default();
    memory.set_limit(resources.memory_limit).set_swap(swap);
    Some(memory).filter(|memory| *memory != LinuxMemory::default())
}

fn hugepages(resources: &Resources) -> Vec<LinuxHugepageLimit> {
    let limits = resources.hugepages.iter();
    limits
        .map(|limit| {
            let mut hugepage = LinuxHugepageLimit::default();
            hugepage.set_page_size(limit.page_size.clone()).set_limit(i64::try_from(limit.limit).unwrap_or(i64::MAX));
            hugepage
        })
        .collect()
}

/// The kubelet limits every page size of every container, mostly to 0, so that only others are worth a word.
fn without_hugepages(resources: &Resources) -> impl Iterator<Item = String> {
    let limits = resources.hugepages.iter().filter(|limit| limit.limit > 0);
    limits.map(|limit| format!("the limit on huge pages of {}", limit.page_size))
}
