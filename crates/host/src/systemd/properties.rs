//! Limits as the properties of a unit: systemd.resource-control(5).
//!
//! systemd writes the files of a cgroup again by what it knows of the unit (after `systemctl daemon-reload`, say): what it is
//! not told it would reset. What has no property (limits on huge pages, devices, burst) it leaves alone.

use std::ops::RangeInclusive;

use oci_spec::runtime::{LinuxCpu, LinuxMemory, LinuxResources};

use super::dbus::Value;
use crate::cgroup::{cpu_weight, swap_alone};

/// A property: its name and value.
pub type Property = (&'static str, Value);

/// No limit.
pub(super) const INFINITY: u64 = u64::MAX;

/// The most processes and threads.
pub(super) const TASKS: &str = "TasksMax";

/// The weights that systemd takes.
const WEIGHTS: RangeInclusive<u64> = 1..=10_000;

/// The period where none is named, in microseconds: the kernel's.
const PERIOD: u64 = 100_000;

/// Microseconds of CPU time per second that systemd keeps quotas in: whole percents of a CPU. Others are rounded up.
const PERCENT: u64 = 10_000;

/// The highest CPU or memory node that a set may name.
const MAX_SET: usize = 8191;

/// The properties of these limits. Values that make no sense are left out: the cgroup's files are written too, and
/// whoever writes them tells of such.
pub fn properties(resources: &LinuxResources) -> Vec<Property> {
    let mut properties = Vec::new();
    if let Some(memory) = resources.memory() {
        of_memory(memory, &mut properties);
    }
    if let Some(cpu) = resources.cpu() {
        of_cpu(cpu, &mut properties);
    }
    if let Some(limit) = resources.pids().as_ref().map(oci_spec::runtime::LinuxPids::limit).filter(|limit| *limit != 0)
    {
        properties.push((TASKS, size(limit)));
    }
    // Last, as with the files: they count.
    for (file, value) in resources.unified().iter().flatten() {
        let period = resources.cpu().as_ref().and_then(LinuxCpu::period).filter(|period| *period != 0);
        let unified = of_file(file, value.trim(), period);
        properties.retain(|(name, _)| !unified.iter().any(|(other, _)| other == name));
        properties.extend(unified);
    }
    properties
}

fn of_memory(memory: &LinuxMemory, properties: &mut Vec<Property>) {
    let limit = memory.limit().filter(|limit| *limit != 0);
    properties.extend(limit.map(|limit| ("MemoryMax", size(limit))));
    properties.extend(memory.reservation().filter(|low| *low != 0).map(|low| ("MemoryLow", size(low))));
    if let Ok(Some(swap)) = swap_alone(limit, memory.swap()) {
        properties.push(("MemorySwapMax", size(swap)));
    }
}

fn of_cpu(cpu: &LinuxCpu, properties: &mut Vec<Property>) {
    if let Some(shares) = cpu.shares().filter(|shares| *shares != 0 && cpu.idle() != Some(1)) {
        properties.push(("CPUWeight", Value::U64(cpu_weight(shares))));
    }
    let period = cpu.period().filter(|period| *period != 0);
    if let Some(quota) = cpu.quota().filter(|quota| *quota != 0) {
        properties.extend(of_quota(u64::try_from(quota).ok(), period));
    }
    properties.extend(cpu.cpus().as_deref().and_then(set).map(|set| ("AllowedCPUs", set)));
    properties.extend(cpu.mems().as_deref().and_then(set).map(|set| ("AllowedMemoryNodes", set)));
}

/// A quota in microseconds of each period, or none.
fn of_quota(quota: Option<u64>, period: Option<u64>) -> Vec<Property> {
    let per_second = quota.map_or(INFINITY, |quota| {
        let exact = u128::from(quota) * 1_000_000 / u128::from(period.unwrap_or(PERIOD).max(1));
        u64::try_from(exact).unwrap_or(INFINITY).min(INFINITY - PERCENT).next_multiple_of(PERCENT)
    });
    let period = period.map(|period| ("CPUQuotaPeriodUSec", Value::U64(period)));
    [("CPUQuotaPerSecUSec", Value::U64(per_second))].into_iter().chain(period).collect()
}

/// What a file of cgroup v2 holds, if there is a property for it, and it takes the value. `period` is that of the CPU quota.
fn of_file(file: &str, value: &str, period: Option<u64>) -> Vec<Property> {
    let weight = |name, value: &str| {
        let weight = value.parse().ok().filter(|weight| WEIGHTS.contains(weight));
        weight.map(|weight| (name, Value::U64(weight)))
    };
    let at_least = |least: u64, name| {
        let size = if value == "max" { Some(INFINITY) } else { bytes(value) };
        size.filter(|size| *size >= least).map(|size| (name, Value::U64(size)))
    };
    let size = |name| at_least(0, name);
    let one = match file {
        "cpu.weight" => weight("CPUWeight", value),
        "io.weight" => weight("IOWeight", value.strip_prefix("default").unwrap_or(value).trim()),
        "cpu.max" => return of_cpu_max(value, period),
        "cpuset.cpus" => set(value).map(|set| ("AllowedCPUs", set)),
        "cpuset.mems" => set(value).map(|set| ("AllowedMemoryNodes", set)),
        "memory.min" => size("MemoryMin"),
        "memory.low" => size("MemoryLow"),
        "memory.high" => at_least(1, "MemoryHigh"),
        "memory.max" => at_least(1, "MemoryMax"),
        "memory.swap.max" => size("MemorySwapMax"),
        "pids.max" => at_least(1, TASKS),
        _ => None,
    };
    one.into_iter().collect()
}

/// A number of bytes as the kernel takes it: with a letter after it, it is one of KiB, MiB and so on.
fn bytes(value: &str) -> Option<u64> {
    const UNITS: &str = "kmgtpe";
    let unit = value.chars().last().and_then(|last| UNITS.find(last.to_ascii_lowercase()));
    match unit {
        None => value.parse().ok(),
        Some(unit) => {
            let number: u64 = value.get(..value.len() - 1)?.parse().ok()?;
            number.checked_mul(1_u64.checked_shl(u32::try_from(10 * (unit + 1)).ok()?)?)
        }
    }
}

/// `quota period`, `quota`, or `max` for no quota. One that names no period leaves `before`.
fn of_cpu_max(value: &str, before: Option<u64>) -> Vec<Property> {
    let mut parts = value.split_whitespace();
    let quota = match parts.next() {
        Some("max") => None,
        Some(quota) => match quota.parse() {
            Ok(quota @ 1..) => Some(quota),
            Ok(0) | Err(_) => return Vec::new(),
        },
        None => return Vec::new(),
    };
    of_quota(quota, parts.next().and_then(|period| period.parse().ok()).or(before))
}

fn size(bytes: i64) -> Value {
    Value::U64(u64::try_from(bytes).unwrap_or(INFINITY))
}

/// A list of CPUs or memory nodes (`0-2,7`) as bits, the lowest first.
fn set(list: &str) -> Option<Value> {
    let mut bits = Vec::new();
    for range in list.trim().split(',').filter(|range| !range.is_empty()) {
        let (from, to) = range.split_once('-').unwrap_or((range, range));
        let (from, to): (usize, usize) = (from.trim().parse().ok()?, to.trim().parse().ok()?);
        if to > MAX_SET || from > to {
            return None;
        }
        bits.resize(bits.len().max(to / 8 + 1), 0_u8);
        for one in from..=to {
            if let Some(byte) = bits.get_mut(one / 8) {
                *byte |= 1 << (one % 8);
            }
        }
    }
    Some(Value::Bytes(bits))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::HashMap;

    use oci_spec::runtime::LinuxPids;
    use proptest::prelude::*;

    use super::*;

    fn of(set: impl FnOnce(&mut LinuxResources) -> &mut LinuxResources) -> Vec<Property> {
        let mut resources = LinuxResources::default();
        set(&mut resources);
        properties(&resources)
    }

    fn cpu(set: impl FnOnce(&mut LinuxCpu) -> &mut LinuxCpu) -> Vec<Property> {
        let mut cpu = LinuxCpu::default();
        set(&mut cpu);
        of(|resources| resources.set_cpu(Some(cpu)))
    }

    fn numbers(properties: &[Property]) -> Vec<(&str, u64)> {
        let number = |value: &Value| match value {
            Value::U64(number) => *number,
            _ => 0,
        };
        properties.iter().map(|(name, value)| (*name, number(value))).collect()
    }

    #[test]
    fn nothing_asked_is_nothing_set() {
        assert_eq!(of(|resources| resources), []);
        assert_eq!(cpu(|cpu| cpu.set_shares(Some(0)).set_quota(Some(0))), []);
    }

    #[test]
    fn memory_and_swap() {
        let memory = |limit, swap| {
            let mut memory = LinuxMemory::default();
            memory.set_limit(limit).set_swap(swap);
            of(|resources| resources.set_memory(Some(memory)))
        };
        assert_eq!(numbers(&memory(Some(100), Some(150))), [("MemoryMax", 100), ("MemorySwapMax", 50)]);
        assert_eq!(numbers(&memory(Some(-1), None)), [("MemoryMax", INFINITY), ("MemorySwapMax", INFINITY)]);
    }

    #[test]
    fn quotas_are_per_second_and_in_whole_percents() {
        let quota = |quota, period| numbers_of(cpu(|cpu| cpu.set_quota(Some(quota)).set_period(period)));
        fn numbers_of(properties: Vec<Property>) -> Vec<u64> {
            numbers(&properties).into_iter().map(|(_, number)| number).collect()
        }
        assert_eq!(quota(50_000, Some(100_000)), [500_000, 100_000]);
        assert_eq!(quota(12_345, Some(100_000)), [130_000, 100_000]);
        assert_eq!(quota(100, None), [10_000]);
        assert_eq!(quota(-1, None), [INFINITY]);
        assert_eq!(numbers_of(cpu(|cpu| cpu.set_shares(Some(1024)))), [100]);
    }

    #[test]
    fn sets_are_bits() {
        let set = |text: &str| cpu(|cpu| cpu.set_cpus(Some(text.to_owned())));
        assert_eq!(set("0-2,9"), [("AllowedCPUs", Value::Bytes(vec![0b111, 0b10]))]);
        for bad in ["x", "3-1", "99999999", "1-"] {
            assert_eq!(set(bad), [], "{bad}");
        }
    }

    #[test]
    fn files_by_their_names_count_more() {
        let mut pids = LinuxPids::default();
        pids.set_limit(7);
        let unified = [("pids.max", "max"), ("cpu.max", "max 50000"), ("memory.high", "5"), ("memory.oom.group", "1")];
        let all = of(|resources| resources.set_pids(Some(pids)).set_unified(Some(files(&unified))));
        let mut all = numbers(&all);
        all.sort_unstable();
        let period = ("CPUQuotaPeriodUSec", 50_000);
        assert_eq!(all, [("CPUQuotaPerSecUSec", INFINITY), period, ("MemoryHigh", 5), ("TasksMax", INFINITY)]);
    }

    fn files(files: &[(&str, &str)]) -> HashMap<String, String> {
        files.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn files_hold_what_the_kernel_takes() {
        for (file, value, property) in [
            ("memory.max", "100M", Some(("MemoryMax", 100 << 20))),
            ("memory.min", "1g", Some(("MemoryMin", 1 << 30))),
            ("memory.swap.max", "0", Some(("MemorySwapMax", 0))),
            ("memory.low", "17E", None),
            ("memory.low", "M", None),
            ("memory.high", "é", None),
            ("io.weight", "default 200", Some(("IOWeight", 200))),
            ("io.weight", "200", Some(("IOWeight", 200))),
            ("io.weight", "8:0 200", None),
            // systemd does not take these, and would refuse all with them.
            ("memory.high", "0", None),
            ("pids.max", "0", None),
            ("cpu.weight", "0", None),
            ("cpu.weight", "10001", None),
            ("cpu.max", "0 1000", None),
        ] {
            let all = of(|resources| resources.set_unified(Some(files(&[(file, value)]))));
            assert_eq!(numbers(&all), Vec::from_iter(property), "{file} {value}");
        }
    }

    #[test]
    fn a_quota_by_its_file_has_the_period_that_there_is() {
        let mut cpu = LinuxCpu::default();
        cpu.set_period(Some(50_000));
        let unified = files(&[("cpu.max", "20000")]);
        let all = of(|resources| resources.set_cpu(Some(cpu)).set_unified(Some(unified)));
        assert_eq!(numbers(&all), [("CPUQuotaPerSecUSec", 400_000), ("CPUQuotaPeriodUSec", 50_000)]);
    }

    proptest! {
        #[test]
        fn any_quota_has_a_value(quota in any::<i64>(), period in any::<u64>()) {
            let _ = cpu(|cpu| cpu.set_quota(Some(quota)).set_period(Some(period)));
        }

        #[test]
        fn any_list_is_a_set_or_none(text in "[0-9,\\- ]{0,20}") {
            let _ = set(&text);
        }
    }
}
