//! Limits on what a container or a pod may use (`LinuxContainerResources`).

use std::collections::BTreeMap;

use corten_cri::v1;
use serde::{Deserialize, Serialize};

use crate::check;
use crate::error::Result;

/// Limits as asked for; what is `None` was not.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Resources {
    /// The CFS period in microseconds.
    pub cpu_period: Option<u64>,
    /// The CPU time per period in microseconds; -1 for no limit.
    pub cpu_quota: Option<i64>,
    /// The relative weight of the CPU time, in cgroup v1's terms (2 to 262144).
    pub cpu_shares: Option<u64>,
    /// Memory in bytes; -1 for no limit.
    pub memory_limit: Option<i64>,
    /// Memory and swap together in bytes; -1 for no limit.
    pub memory_swap_limit: Option<i64>,
    /// The badness that the OOM killer adds, -1000 to 1000.
    pub oom_score_adj: i32,
    /// The CPUs to run on, as in `0-3,7`.
    pub cpuset_cpus: Option<String>,
    /// The memory nodes to use, as in `0-1`.
    pub cpuset_mems: Option<String>,
    /// Limits on huge pages by page size.
    pub hugepages: Vec<HugepageLimit>,
    /// Contents for files of the cgroup, version 2 only.
    pub unified: BTreeMap<String, String>,
}

/// The limit on huge pages of one size.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HugepageLimit {
    /// The page's size as the kernel names it: `64KB`, `2MB`, `1GB`.
    pub page_size: String,
    /// The limit in bytes.
    pub limit: u64,
}

impl Resources {
    /// Reads the proto message; `field` is its path in the request.
    pub fn from_cri(field: &str, resources: v1::LinuxContainerResources) -> Result<Self> {
        let v1::LinuxContainerResources {
            cpu_period,
            cpu_quota,
            cpu_shares,
            memory_limit_in_bytes,
            oom_score_adj,
            cpuset_cpus,
            cpuset_mems,
            hugepage_limits,
            unified,
            memory_swap_limit_in_bytes,
        } = resources;
        Ok(Self {
            cpu_period: period(&format!("{field}.cpu_period"), cpu_period)?,
            cpu_quota: quota(&format!("{field}.cpu_quota"), cpu_quota)?,
            cpu_shares: count(&format!("{field}.cpu_shares"), cpu_shares)?,
            memory_limit: limit(&format!("{field}.memory_limit_in_bytes"), memory_limit_in_bytes)?,
            memory_swap_limit: limit(&format!("{field}.memory_swap_limit_in_bytes"), memory_swap_limit_in_bytes)?,
            oom_score_adj: badness(&format!("{field}.oom_score_adj"), oom_score_adj)?,
            cpuset_cpus: cpuset(&format!("{field}.cpuset_cpus"), cpuset_cpus)?,
            cpuset_mems: cpuset(&format!("{field}.cpuset_mems"), cpuset_mems)?,
            hugepages: hugepages(&format!("{field}.hugepage_limits"), hugepage_limits)?,
            unified: cgroup_files(&format!("{field}.unified"), unified)?,
        })
    }

    /// Whether the values go together; `field` is their path in the request.
    ///
    /// # Errors
    /// [`Error::Invalid`](crate::error::Error::Invalid) if the limit on memory and swap together is without one on memory,
    /// or less than it: no kernel takes that.
    pub fn check(&self, field: &str) -> Result<()> {
        let Some(sum @ 0..) = self.memory_swap_limit else { return Ok(()) };
        let why = match self.memory_limit {
            None | Some(..0) => "limits memory and swap together, so memory_limit_in_bytes is needed too",
            Some(memory) if sum < memory => "limits memory and swap together, so it cannot be less than memory alone",
            Some(_) => return Ok(()),
        };
        Err(check::invalid(&format!("{field}.memory_swap_limit_in_bytes"), &sum.to_string(), why))
    }

    /// These limits with those of `change` instead, where it has any.
    pub fn changed_by(&self, change: &Self) -> Self {
        let of_size = |size: &str| change.hugepages.iter().any(|limit| limit.page_size == size);
        let kept = self.hugepages.iter().filter(|limit| !of_size(&limit.page_size));
        let mut unified = self.unified.clone();
        unified.extend(change.unified.clone());
        Self {
            cpu_period: change.cpu_period.or(self.cpu_period),
            cpu_quota: change.cpu_quota.or(self.cpu_quota),
            cpu_shares: change.cpu_shares.or(self.cpu_shares),
            memory_limit: change.memory_limit.or(self.memory_limit),
            memory_swap_limit: change.memory_swap_limit.or(self.memory_swap_limit),
            oom_score_adj: if change.oom_score_adj == 0 { self.oom_score_adj } else { change.oom_score_adj },
            cpuset_cpus: change.cpuset_cpus.clone().or_else(|| self.cpuset_cpus.clone()),
            cpuset_mems: change.cpuset_mems.clone().or_else(|| self.cpuset_mems.clone()),
            hugepages: kept.chain(&change.hugepages).cloned().collect(),
            unified,
        }
    }

    /// The same in the CRI's message; what was not asked for is 0 there.
    pub fn to_cri(&self) -> v1::LinuxContainerResources {
        let whole = |value: Option<u64>| value.map_or(0, |value| i64::try_from(value).unwrap_or(i64::MAX));
        let hugepage =
            |limit: &HugepageLimit| v1::HugepageLimit { page_size: limit.page_size.clone(), limit: limit.limit };
        v1::LinuxContainerResources {
            cpu_period: whole(self.cpu_period),
            cpu_quota: self.cpu_quota.unwrap_or_default(),
            cpu_shares: whole(self.cpu_shares),
            memory_limit_in_bytes: self.memory_limit.unwrap_or_default(),
            oom_score_adj: self.oom_score_adj.into(),
            cpuset_cpus: self.cpuset_cpus.clone().unwrap_or_default(),
            cpuset_mems: self.cpuset_mems.clone().unwrap_or_default(),
            hugepage_limits: self.hugepages.iter().map(hugepage).collect(),
            unified: self.unified.clone().into_iter().collect(),
            memory_swap_limit_in_bytes: self.memory_swap_limit.unwrap_or_default(),
        }
    }
}

/// A count that is absent when 0.
fn count(field: &str, value: i64) -> Result<Option<u64>> {
    match u64::try_from(value) {
        Ok(0) => Ok(None),
        Ok(value) => Ok(Some(value)),
        Err(_) => Err(check::invalid(field, &value.to_string(), "must not be negative")),
    }
}

/// A limit that is absent when 0 and lifted when -1.
fn limit(field: &str, value: i64) -> Result<Option<i64>> {
    match value {
        0 => Ok(None),
        -1.. => Ok(Some(value)),
        _ => Err(check::invalid(field, &value.to_string(), "must be -1 (no limit), 0 (not specified) or positive")),
    }
}

/// The kernel's bounds of a period.
fn period(field: &str, value: i64) -> Result<Option<u64>> {
    match value {
        0 | 1000..=1_000_000 => count(field, value),
        _ => Err(check::invalid(field, &value.to_string(), "must be from 1000 to 1000000 microseconds")),
    }
}

/// The kernel's lower bound of a quota.
fn quota(field: &str, value: i64) -> Result<Option<i64>> {
    match value {
        1..1000 => Err(check::invalid(field, &value.to_string(), "must be at least 1000 microseconds")),
        _ => limit(field, value),
    }
}

fn badness(field: &str, value: i64) -> Result<i32> {
    match i32::try_from(value) {
        Ok(value @ -1000..=1000) => Ok(value),
        _ => Err(check::invalid(field, &value.to_string(), "must be from -1000 to 1000")),
    }
}

/// A list of numbers and ranges as the kernel's cpuset files take it.
fn cpuset(field: &str, value: String) -> Result<Option<String>> {
    let Some(value) = check::optional(field, value, check::MAX_PATH)? else { return Ok(None) };
    match value.split(',').all(|range| is_cpu_range(range.trim())) {
        true => Ok(Some(value)),
        false => Err(check::invalid(field, &value, "is not a list of numbers and ranges such as 0-3,7")),
    }
}

fn is_cpu_range(range: &str) -> bool {
    let number =
        |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse::<u32>().ok()).flatten();
    match range.split_once('-') {
        None => number(range).is_some(),
        Some((first, last)) => matches!((number(first), number(last)), (Some(first), Some(last)) if first <= last),
    }
}

fn hugepages(field: &str, limits: Vec<v1::HugepageLimit>) -> Result<Vec<HugepageLimit>> {
    limits
        .into_iter()
        .enumerate()
        .map(|(index, v1::HugepageLimit { page_size, limit })| {
            let number = ["KB", "MB", "GB"].iter().find_map(|unit| page_size.strip_suffix(unit)).unwrap_or_default();
            match number.parse::<u32>() {
                Ok(1..) if !number.starts_with(['+', '0']) => Ok(HugepageLimit { page_size, limit }),
                _ => {
                    Err(check::invalid(&format!("{field}[{index}].page_size"), &page_size, "is not a size such as 2MB"))
                }
            }
        })
        .collect()
}

/// Files of a controller only: the cgroup's own (`cgroup.procs`, `cgroup.kill`, ...) are the runtime's.
fn cgroup_files(field: &str, files: BTreeMap<String, String>) -> Result<BTreeMap<String, String>> {
    for (file, content) in &files {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        let of_controller = file
            .split_once('.')
            .is_some_and(|(controller, rest)| !controller.is_empty() && !rest.is_empty() && controller != "cgroup");
        if !of_controller || !file.bytes().all(plain) || file.len() > 255 {
            return Err(check::invalid(field, file, "is not the name of a cgroup controller's file"));
        }
        check::text(&format!("{field}[{file}]"), content.clone(), check::MAX_PATH)?;
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;
    use proptest::prelude::*;

    fn read(change: impl FnOnce(&mut v1::LinuxContainerResources)) -> Result<Resources> {
        let mut message = v1::LinuxContainerResources::default();
        change(&mut message);
        Resources::from_cri("r", message)
    }

    #[test]
    fn nothing_asked_is_nothing_set() {
        assert_eq!(read(|_| ()).unwrap(), Resources::default());
    }

    #[test]
    fn values_are_kept() {
        let got = read(|r| {
            r.cpu_period = 100_000;
            r.cpu_quota = -1;
            r.memory_limit_in_bytes = 1 << 30;
            r.oom_score_adj = -997;
            r.cpuset_cpus = "0-3,7".into();
            r.hugepage_limits = vec![v1::HugepageLimit { page_size: "2MB".into(), limit: 0 }];
            r.unified = BTreeMap::from([("memory.high".into(), "1048576".into())]);
        })
        .unwrap();
        assert_eq!((got.cpu_period, got.cpu_quota, got.memory_limit), (Some(100_000), Some(-1), Some(1 << 30)));
        assert_eq!((got.oom_score_adj, got.cpuset_cpus.as_deref()), (-997, Some("0-3,7")));
        assert_eq!(got.hugepages, [HugepageLimit { page_size: "2MB".into(), limit: 0 }]);
        assert_eq!(got.unified["memory.high"], "1048576");
    }

    #[test]
    fn bad_values_are_refused_by_name() {
        type Change = fn(&mut v1::LinuxContainerResources);
        let bad: [(&str, Change); 15] = [
            ("r.cpu_period", |r| r.cpu_period = -1),
            ("r.cpu_period", |r| r.cpu_period = 999),
            ("r.cpu_period", |r| r.cpu_period = 1_000_001),
            ("r.cpu_quota", |r| r.cpu_quota = 999),
            ("r.cpu_quota", |r| r.cpu_quota = -2),
            ("r.cpu_shares", |r| r.cpu_shares = -1),
            ("r.memory_limit_in_bytes", |r| r.memory_limit_in_bytes = i64::MIN),
            ("r.memory_swap_limit_in_bytes", |r| r.memory_swap_limit_in_bytes = -5),
            ("r.oom_score_adj", |r| r.oom_score_adj = 1001),
            ("r.cpuset_cpus", |r| r.cpuset_cpus = "3-1".into()),
            ("r.cpuset_mems", |r| r.cpuset_mems = "0\n".repeat(2)),
            ("r.hugepage_limits[0].page_size", |r| {
                r.hugepage_limits = vec![v1::HugepageLimit { page_size: "../2MB".into(), limit: 1 }];
            }),
            ("r.unified", |r| drop(r.unified.insert("../memory.max".into(), "1".into()))),
            ("r.unified", |r| drop(r.unified.insert("cgroup.procs".into(), "1".into()))),
            ("r.unified[memory.max]", |r| drop(r.unified.insert("memory.max".into(), "\0".into()))),
        ];
        for (field, change) in bad {
            let error = read(change).unwrap_err().to_string();
            assert!(error.starts_with(&format!("invalid {field} ")), "{field}: {error}");
        }
    }

    #[test]
    fn memory_and_swap_together_are_not_less_than_memory() {
        let with =
            |memory_limit, memory_swap_limit| Resources { memory_limit, memory_swap_limit, ..Resources::default() };
        for good in [
            with(None, None),
            with(Some(5), None),
            with(Some(5), Some(5)),
            with(Some(5), Some(-1)),
            with(None, Some(-1)),
        ] {
            good.check("r").unwrap();
        }
        for bad in [with(Some(5), Some(4)), with(None, Some(4)), with(Some(-1), Some(4))] {
            let error = bad.check("r").unwrap_err().to_string();
            assert!(error.starts_with("invalid r.memory_swap_limit_in_bytes "), "{error}");
        }
    }

    #[test]
    fn what_a_change_does_not_name_stays() {
        let before = read(|r| {
            r.cpu_shares = 512;
            r.oom_score_adj = 7;
            r.cpuset_cpus = "0".into();
            r.hugepage_limits = vec![v1::HugepageLimit { page_size: "2MB".into(), limit: 0 }];
            r.unified = BTreeMap::from([("memory.high".into(), "1".into())]);
        })
        .unwrap();
        assert_eq!(before.changed_by(&Resources::default()), before);
        let change = read(|r| {
            r.cpu_shares = 1024;
            r.memory_limit_in_bytes = -1;
            r.hugepage_limits = vec![v1::HugepageLimit { page_size: "2MB".into(), limit: 2 << 20 }];
            r.unified = BTreeMap::from([("memory.low".into(), "2".into())]);
        })
        .unwrap();
        let after = before.changed_by(&change);
        assert_eq!((after.cpu_shares, after.memory_limit, after.oom_score_adj), (Some(1024), Some(-1), 7));
        assert_eq!(after.cpuset_cpus.as_deref(), Some("0"));
        assert_eq!(after.hugepages, [HugepageLimit { page_size: "2MB".into(), limit: 2 << 20 }]);
        assert_eq!(after.unified.len(), 2);
    }

    proptest! {
        #[test]
        fn an_accepted_cpuset_has_only_digits_dashes_commas_and_spaces(value in any::<String>()) {
            if let Ok(Some(value)) = cpuset("f", value) {
                prop_assert!(value.chars().all(|c| c.is_ascii_digit() || c == '-' || c == ',' || c.is_whitespace()));
            }
        }
    }
}
