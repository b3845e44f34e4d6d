//! The files of cgroup v1.

use std::path::Path;

use oci_spec::runtime::{LinuxBlockIo, LinuxCpu, LinuxMemory};

use super::{Error, device_entry, file, throttles, write_settling};

/// Whether there is anything for the `cpu` controller, as opposed to `cpuset`.
pub(super) fn has_time(cpu: &LinuxCpu) -> bool {
    let shares = cpu.shares().unwrap_or(0) != 0 || cpu.idle().is_some();
    shares || cpu.quota().unwrap_or(0) != 0 || cpu.period().unwrap_or(0) != 0 || cpu.burst().is_some()
}

pub(super) fn memory(dir: &Path, memory: &LinuxMemory) -> Result<(), Error> {
    let limit = memory.limit().filter(|v| *v != 0);
    // No limit on memory alone would leave one on the sum.
    let sum = memory.swap().filter(|v| *v != 0).or(limit.filter(|v| *v == -1));
    let mut values = Vec::with_capacity(2);
    if let Some(limit) = limit {
        values.push(("memory.limit_in_bytes", limit.to_string()));
    }
    if let Some(sum) = sum.filter(|_| dir.join("memory.memsw.limit_in_bytes").exists()) {
        values.push(("memory.memsw.limit_in_bytes", sum.to_string()));
    }
    write_settling(dir, &values)?;
    if let Some(reservation) = memory.reservation().filter(|v| *v != 0) {
        file::write(dir, "memory.soft_limit_in_bytes", &reservation.to_string())?;
    }
    if let Some(tcp) = memory.kernel_tcp().filter(|v| *v != 0) {
        file::write(dir, "memory.kmem.tcp.limit_in_bytes", &tcp.to_string())?;
    }
    if let Some(swappiness) = memory.swappiness() {
        file::write(dir, "memory.swappiness", &swappiness.to_string())?;
    }
    if memory.disable_oom_killer() == Some(true) {
        file::write(dir, "memory.oom_control", "1")?;
    }
    Ok(())
}

pub(super) fn cpu(dir: &Path, cpu: &LinuxCpu) -> Result<(), Error> {
    let mut values = Vec::with_capacity(5);
    // An idle cgroup has no shares: it must stop being idle before it gets some, and gets none when it becomes idle.
    if let Some(idle) = cpu.idle() {
        values.push(("cpu.idle", idle.to_string()));
    }
    if let Some(shares) = cpu.shares().filter(|v| *v != 0 && cpu.idle() != Some(1)) {
        values.push(("cpu.shares", shares.to_string()));
    }
    if let Some(period) = cpu.period().filter(|v| *v != 0) {
        values.push(("cpu.cfs_period_us", period.to_string()));
    }
    if let Some(quota) = cpu.quota().filter(|v| *v != 0) {
        values.push(("cpu.cfs_quota_us", quota.max(-1).to_string()));
    }
    if let Some(burst) = cpu.burst() {
        values.push(("cpu.cfs_burst_us", burst.to_string()));
    }
    write_settling(dir, &values)
}

pub(super) fn block_io(dir: &Path, io: &LinuxBlockIo) -> Result<(), Error> {
    if let Some(weight) = io.weight().filter(|v| *v != 0) {
        write_weight(dir, "weight", &weight.to_string())?;
    }
    if let Some(weight) = io.leaf_weight().filter(|v| *v != 0) {
        file::write(dir, "blkio.leaf_weight", &weight.to_string())?;
    }
    for device in io.weight_device().iter().flatten() {
        if let Some(weight) = device.weight().filter(|v| *v != 0) {
            let entry = device_entry(device.major(), device.minor(), format_args!("{weight}"))?;
            write_weight(dir, "weight_device", &entry)?;
        }
        if let Some(weight) = device.leaf_weight().filter(|v| *v != 0) {
            let entry = device_entry(device.major(), device.minor(), format_args!("{weight}"))?;
            file::write(dir, "blkio.leaf_weight_device", &entry)?;
        }
    }
    for (name, _, devices) in throttles(io) {
        for device in devices {
            file::write(dir, name, &device_entry(device.major(), device.minor(), format_args!("{}", device.rate()))?)?;
        }
    }
    Ok(())
}

/// The weights of the CFQ scheduler, or of BFQ on kernels that have that instead (5.0 on).
fn write_weight(dir: &Path, name: &str, value: &str) -> Result<(), Error> {
    if file::write_if_exists(dir, &format!("blkio.{name}"), value)? {
        return Ok(());
    }
    file::write(dir, &format!("blkio.bfq.{name}"), value)
}
