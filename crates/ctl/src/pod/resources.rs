//! Limits and requests, converted as the kubelet converts them.

use std::collections::BTreeMap;

use corten_cri::v1;

use crate::manifest::{
    FieldError,
    quantity::Quantity,
    schema::{Container, Resources, Spec},
};

/// A cgroup's cpu period, in microseconds.
const PERIOD: i64 = 100_000;
/// The least quota per period the kernel takes, in microseconds.
const MIN_QUOTA: i64 = 1_000;
const SHARES_PER_CPU: i64 = 1024;
const MIN_SHARES: i64 = 2;
const MAX_SHARES: i64 = 262_144;

const KNOWN: &str = "known: cpu, memory, hugepages-<size>";

/// What a container asks for, in the units the kubelet computes with. `None` where it asks for nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Amounts {
    cpu_request: Option<i64>,
    cpu_limit: Option<i64>,
    memory_request: Option<i64>,
    memory_limit: Option<i64>,
}

/// The resources of one container. `memory_capacity` is the node's memory in bytes.
///
/// # Errors
/// [`FieldError`], with a path that starts at the container, for an unknown resource or one that does not fit.
pub(super) fn container(
    container: &Container,
    memory_capacity: i64,
) -> Result<v1::LinuxContainerResources, FieldError> {
    let amounts = amounts(&container.resources)?;
    Ok(v1::LinuxContainerResources {
        hugepage_limits: hugepages(&container.resources)?,
        oom_score_adj: oom_score_adj(amounts, memory_capacity),
        ..linux(amounts)
    })
}

/// The sum over the pod's containers. A limit is there only if every container has it.
///
/// # Errors
/// As [`container`].
pub(super) fn pod(spec: &Spec) -> Result<v1::LinuxContainerResources, FieldError> {
    let all = spec.containers.iter().map(|container| amounts(&container.resources)).collect::<Result<Vec<_>, _>>()?;
    let requests = |get: fn(&Amounts) -> Option<i64>| all.iter().filter_map(get).reduce(i64::saturating_add);
    let limits = |get: fn(&Amounts) -> Option<i64>| {
        all.iter().map(get).collect::<Option<Vec<_>>>().and_then(|all| all.into_iter().reduce(i64::saturating_add))
    };
    Ok(linux(Amounts {
        cpu_request: requests(|amounts| amounts.cpu_request),
        memory_request: requests(|amounts| amounts.memory_request),
        cpu_limit: limits(|amounts| amounts.cpu_limit),
        memory_limit: limits(|amounts| amounts.memory_limit),
    }))
}

fn linux(amounts: Amounts) -> v1::LinuxContainerResources {
    v1::LinuxContainerResources {
        cpu_period: if amounts.cpu_limit.is_some() { PERIOD } else { 0 },
        cpu_quota: amounts.cpu_limit.map_or(0, quota),
        cpu_shares: shares(amounts.cpu_request.unwrap_or(0)),
        memory_limit_in_bytes: amounts.memory_limit.unwrap_or(0),
        ..v1::LinuxContainerResources::default()
    }
}

fn shares(milli_cpu: i64) -> i64 {
    (milli_cpu.saturating_mul(SHARES_PER_CPU) / 1000).clamp(MIN_SHARES, MAX_SHARES)
}

fn quota(milli_cpu: i64) -> i64 {
    (milli_cpu.saturating_mul(PERIOD) / 1000).max(MIN_QUOTA)
}

/// A request left out is the limit.
fn amounts(resources: &Resources) -> Result<Amounts, FieldError> {
    let limits = read("limits", &resources.limits)?;
    let requests = read("requests", &resources.requests)?;
    let amounts = Amounts {
        cpu_request: requests.0.or(limits.0),
        cpu_limit: limits.0,
        memory_request: requests.1.or(limits.1),
        memory_limit: limits.1,
    };
    for (name, request, limit) in
        [("cpu", amounts.cpu_request, amounts.cpu_limit), ("memory", amounts.memory_request, amounts.memory_limit)]
    {
        if matches!((request, limit), (Some(request), Some(limit)) if request > limit) {
            return Err(FieldError::new(format!("resources.requests.{name}"), "is more than the limit"));
        }
    }
    Ok(amounts)
}

/// Cpu in thousandths and memory in bytes. Zero means nothing is asked.
fn read(kind: &str, list: &BTreeMap<String, Quantity>) -> Result<(Option<i64>, Option<i64>), FieldError> {
    let mut found = (None, None);
    for (name, quantity) in list {
        let path = format!("resources.{kind}.{name}");
        let fits = |value: Option<i64>| value.ok_or_else(|| FieldError::new(path.clone(), "does not fit 63 bits"));
        match name.as_str() {
            "cpu" => found.0 = Some(fits(quantity.milli())?),
            "memory" => found.1 = Some(fits(quantity.value())?),
            name if name.starts_with("hugepages-") => {}
            _ => return Err(FieldError::new(path, format!("is not supported ({KNOWN})"))),
        }
    }
    Ok((found.0.filter(|cpu| *cpu > 0), found.1.filter(|memory| *memory > 0)))
}

fn hugepages(resources: &Resources) -> Result<Vec<v1::HugepageLimit>, FieldError> {
    let pages = resources.limits.iter().filter_map(|(name, quantity)| {
        name.strip_prefix("hugepages-").map(|size| (format!("resources.limits.{name}"), size, quantity))
    });
    pages
        .map(|(path, size, quantity)| {
            let bytes = Quantity::parse(size).ok().and_then(Quantity::value).and_then(page_size);
            let limit = quantity.value().and_then(|value| u64::try_from(value).ok());
            match (bytes, limit) {
                (Some(page_size), Some(limit)) => Ok(v1::HugepageLimit { page_size, limit }),
                _ => Err(FieldError::new(path, "is not a size of huge pages")),
            }
        })
        .collect()
}

/// As the cgroup's files are called: 2MB, 1GB.
fn page_size(bytes: i64) -> Option<String> {
    let units = [(1 << 30, "GB"), (1 << 20, "MB"), (1 << 10, "KB")];
    let (unit, name) = units.into_iter().find(|(unit, _)| bytes >= *unit && bytes % unit == 0)?;
    Some(format!("{}{name}", bytes / unit))
}

/// Who goes first when the node runs out of memory: those who asked for nothing, then by how much they asked.
fn oom_score_adj(amounts: Amounts, memory_capacity: i64) -> i64 {
    let nothing = amounts == Amounts::default();
    let guaranteed = amounts.cpu_limit.is_some()
        && amounts.memory_limit.is_some()
        && amounts.cpu_limit == amounts.cpu_request
        && amounts.memory_limit == amounts.memory_request;
    if nothing {
        return 1000;
    }
    if guaranteed {
        return -997;
    }
    let asked = amounts.memory_request.unwrap_or(0);
    let share = asked.saturating_mul(1000).checked_div(memory_capacity).unwrap_or(0);
    (1000 - share).clamp(3, 999)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const GIB: i64 = 1 << 30;

    fn list(entries: &[(&str, &str)]) -> BTreeMap<String, Quantity> {
        entries.iter().map(|(name, amount)| ((*name).to_owned(), Quantity::parse(amount).unwrap())).collect()
    }

    fn of(limits: &[(&str, &str)], requests: &[(&str, &str)]) -> Container {
        let resources = Resources { limits: list(limits), requests: list(requests) };
        Container { resources, ..Container::default() }
    }

    fn linux_of(limits: &[(&str, &str)], requests: &[(&str, &str)]) -> v1::LinuxContainerResources {
        container(&of(limits, requests), GIB).unwrap()
    }

    #[test]
    fn cpu_becomes_shares_and_quota() {
        let both = linux_of(&[("cpu", "1.5")], &[("cpu", "100m")]);
        assert_eq!((both.cpu_shares, both.cpu_quota, both.cpu_period), (102, 150_000, 100_000));
        let limit_only = linux_of(&[("cpu", "500m")], &[]);
        assert_eq!((limit_only.cpu_shares, limit_only.cpu_quota), (512, 50_000));
        let tiny = linux_of(&[("cpu", "1m")], &[]);
        assert_eq!((tiny.cpu_shares, tiny.cpu_quota), (2, 1000));
        let none = linux_of(&[], &[]);
        assert_eq!((none.cpu_shares, none.cpu_quota, none.cpu_period), (2, 0, 0));
    }

    #[test]
    fn the_oom_score_follows_the_quality_of_service() {
        assert_eq!(linux_of(&[], &[]).oom_score_adj, 1000);
        assert_eq!(linux_of(&[("cpu", "1"), ("memory", "1Gi")], &[]).oom_score_adj, -997);
        assert_eq!(linux_of(&[], &[("memory", "512Mi")]).oom_score_adj, 500);
        assert_eq!(linux_of(&[], &[("cpu", "1")]).oom_score_adj, 999);
        assert_eq!(linux_of(&[], &[("memory", "4Gi")]).oom_score_adj, 3);
    }

    #[test]
    fn huge_pages_are_named_as_the_cgroup_names_them() {
        let pages = linux_of(&[("hugepages-2Mi", "4Mi"), ("hugepages-1Gi", "1Gi")], &[]).hugepage_limits;
        let named: Vec<_> = pages.iter().map(|page| (page.page_size.as_str(), page.limit)).collect();
        assert_eq!(named, [("1GB", 1 << 30), ("2MB", 4 << 20)]);
    }

    #[test]
    fn what_cannot_be_enforced_is_refused() {
        let error = |limits: &[_], requests: &[_]| container(&of(limits, requests), GIB).unwrap_err().to_string();
        assert!(error(&[("ephemeral-storage", "1Gi")], &[]).starts_with("resources.limits.ephemeral-storage: is not"));
        assert!(error(&[], &[("example.com/gpu", "1")]).starts_with("resources.requests.example.com/gpu: is not"));
        assert_eq!(error(&[("memory", "9Ei")], &[]), "resources.limits.memory: does not fit 63 bits");
        assert_eq!(error(&[("cpu", "1")], &[("cpu", "2")]), "resources.requests.cpu: is more than the limit");
        assert!(error(&[("hugepages-x", "1")], &[]).starts_with("resources.limits.hugepages-x: is not a size"));
    }

    #[test]
    fn a_pod_is_limited_only_if_all_its_containers_are() {
        let both = |second: Container| Spec {
            containers: vec![of(&[("cpu", "1"), ("memory", "1Mi")], &[]), second],
            ..Spec::default()
        };
        let open = pod(&both(of(&[], &[("cpu", "500m")]))).unwrap();
        assert_eq!((open.cpu_shares, open.cpu_quota, open.memory_limit_in_bytes), (1536, 0, 0));
        let closed = pod(&both(of(&[("cpu", "1"), ("memory", "2Mi")], &[]))).unwrap();
        assert_eq!((closed.cpu_shares, closed.cpu_quota, closed.memory_limit_in_bytes), (2048, 200_000, 3 << 20));
    }
}
