//! The files of cgroup v2.

use std::path::Path;

use oci_spec::runtime::{LinuxBlockIo, LinuxCpu, LinuxMemory};

use super::{
    super::convert::{bytes_or_max, cpu_weight, io_weight, swap_alone},
    Error, device_entry, file, throttles, write_settling,
};

pub(super) fn memory(dir: &Path, memory: &LinuxMemory) -> Result<(), Error> {
    refuse(memory.swappiness().is_some(), "memory.swappiness")?;
    refuse(memory.disable_oom_killer() == Some(true), "memory.disableOOMKiller")?;
    refuse(memory.kernel_tcp().unwrap_or(0) > 0, "memory.kernelTCP")?;
    let limit = memory.limit().filter(|v| *v != 0);
    if let Some(swap) = swap_alone(limit, memory.swap())? {
        // The file is missing on a kernel that does not account swap.
        file::write_if_exists(dir, "memory.swap.max", &bytes_or_max(swap))?;
    }
    if let Some(limit) = limit {
        if memory.check_before_update() == Some(true) {
            fits(dir, limit)?;
        }
        file::write(dir, "memory.max", &bytes_or_max(limit))?;
    }
    match memory.reservation().filter(|v| *v != 0) {
        Some(reservation) => file::write(dir, "memory.low", &bytes_or_max(reservation)),
        None => Ok(()),
    }
}

/// A limit below what is in use has the OOM killer called at once, which the caller does not want.
fn fits(dir: &Path, limit: i64) -> Result<(), Error> {
    let file = dir.join("memory.current");
    let text = file::read(&file)?;
    match text.trim().parse::<i64>() {
        Ok(used) if limit > 0 && limit < used => {
            let value = limit.to_string();
            Err(Error::BadValue { field: "memory.limit", value, why: "it is less than what is in use" })
        }
        Ok(_) => Ok(()),
        Err(_) => Err(Error::Parse { file, text }),
    }
}

fn refuse(set: bool, field: &'static str) -> Result<(), Error> {
    if set { Err(Error::Unsupported { field, why: "cgroup v2 has no such thing" }) } else { Ok(()) }
}

pub(super) fn cpu(dir: &Path, cpu: &LinuxCpu) -> Result<(), Error> {
    let mut values = Vec::with_capacity(4);
    // An idle cgroup has no weight: it must stop being idle before it gets one, and gets none when it becomes idle.
    if let Some(idle) = cpu.idle() {
        values.push(("cpu.idle", idle.to_string()));
    }
    if let Some(shares) = cpu.shares().filter(|v| *v != 0 && cpu.idle() != Some(1)) {
        values.push(("cpu.weight", cpu_weight(shares).to_string()));
    }
    if let Some(max) = cpu_max(dir, cpu)? {
        values.push(("cpu.max", max));
    }
    if let Some(burst) = cpu.burst() {
        values.push(("cpu.max.burst", burst.to_string()));
    }
    write_settling(dir, &values)
}

/// `cpu.max` is `quota period`. The kernel keeps the period if it gets a quota alone; a quota that is to be kept we must read.
fn cpu_max(dir: &Path, cpu: &LinuxCpu) -> Result<Option<String>, Error> {
    let quota = cpu.quota().filter(|v| *v != 0).map(bytes_or_max);
    Ok(match (quota, cpu.period().filter(|v| *v != 0)) {
        (None, None) => None,
        (Some(quota), None) => Some(quota),
        (Some(quota), Some(period)) => Some(format!("{quota} {period}")),
        (None, Some(period)) => {
            let now = file::read(&dir.join("cpu.max"))?;
            Some(format!("{} {period}", now.split_whitespace().next().unwrap_or("max")))
        }
    })
}

pub(super) fn block_io(dir: &Path, io: &LinuxBlockIo) -> Result<(), Error> {
    let leaf = io.weight_device().iter().flatten().any(|device| device.leaf_weight().unwrap_or(0) != 0);
    refuse(leaf || io.leaf_weight().unwrap_or(0) != 0, "blockIO.leafWeight")?;
    if let Some(weight) = io.weight().filter(|v| *v != 0) {
        // BFQ's own scale is that of v1.
        if !file::write_if_exists(dir, "io.bfq.weight", &weight.to_string())? {
            file::write(dir, "io.weight", &io_weight(weight).to_string())?;
        }
    }
    for device in io.weight_device().iter().flatten() {
        if let Some(weight) = device.weight().filter(|v| *v != 0) {
            let own = device_entry(device.major(), device.minor(), format_args!("{weight}"))?;
            let converted = device_entry(device.major(), device.minor(), format_args!("{}", io_weight(weight)))?;
            if !file::write_if_exists(dir, "io.bfq.weight", &own)? {
                file::write(dir, "io.weight", &converted)?;
            }
        }
    }
    for (_, key, devices) in throttles(io) {
        for device in devices {
            let entry = match device.rate() {
                0 => device_entry(device.major(), device.minor(), format_args!("{key}=max"))?,
                rate => device_entry(device.major(), device.minor(), format_args!("{key}={rate}"))?,
            };
            file::write(dir, "io.max", &entry)?;
        }
    }
    Ok(())
}
