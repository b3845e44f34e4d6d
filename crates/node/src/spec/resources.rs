//! Limits in the OCI runtime spec's terms.

use oci_spec::runtime::{LinuxCpu, LinuxHugepageLimit, LinuxMemory, LinuxResources};

use super::{CgroupMode, Host, Hugetlb};
use crate::check;
use crate::error::Result;
use crate::resources::{HugepageLimit, Resources};

/// Converts limits, leaving out what was not asked for; `field` is their path in the request. Limits on huge pages that this
/// node's cgroups cannot set are left out too, and added to `withheld` if they allow any. Devices are not set.
///
/// # Errors
/// [`Error::Unsupported`](crate::error::Error::Unsupported) if cgroup v2 files are asked for where there is no cgroup v2;
/// [`Error::Invalid`](crate::error::Error::Invalid) for huge pages of a size that the kernel does not have.
pub fn linux_resources(
    resources: &Resources,
    host: &Host,
    field: &str,
    withheld: &mut Vec<String>,
) -> Result<LinuxResources> {
    if !resources.unified.is_empty() && host.cgroup != CgroupMode::V2 {
        return Err(check::unsupported(&format!("{field}.unified"), "this node's cgroups are not version 2"));
    }
    check_page_sizes(resources, host, field)?;
    let mut linux = LinuxResources::default();
    linux.set_cpu(cpu(resources)).set_memory(memory(resources, host));
    let hugepages = match host.hugetlb {
        Hugetlb::Present => hugepages(resources),
        Hugetlb::Absent => {
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

/// Checks that the kernel has huge pages of each size that is limited; `field` is the limits' path in the request. Where it has
/// no huge pages at all there is nothing that a limit of 0 would have to do.
///
/// # Errors
/// [`Error::Invalid`](crate::error::Error::Invalid) naming the size.
pub fn check_page_sizes(resources: &Resources, host: &Host, field: &str) -> Result<()> {
    let known = &host.huge_page_sizes;
    let is_known = |limit: &HugepageLimit| match known.is_empty() {
        true => limit.limit == 0,
        false => known.contains(&limit.page_size),
    };
    match resources.hugepages.iter().enumerate().find(|(_, limit)| !is_known(limit)) {
        None => Ok(()),
        Some((index, HugepageLimit { page_size: size, .. })) => {
            let why = format!("the kernel has no huge pages of this size, only of: {}", known.join(", "));
            Err(check::invalid(&format!("{field}.hugepage_limits[{index}].page_size"), size, why))
        }
    }
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
