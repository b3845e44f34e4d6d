//! `corten stats`

use std::{collections::HashMap, time::Duration};

use corten_cri::v1;

use super::known;
use crate::{
    args::Stats,
    error::Error,
    output::{self, Format},
    runtime::Runtime,
    table::{Table, short_id, size},
};

/// How far apart two samples are, where the runtime gives no rate.
const INTERVAL: Duration = Duration::from_secs(1);

/// Prints what containers use.
pub async fn run(runtime: &Runtime, args: Stats) -> Result<(), Error> {
    let mut answer = runtime.stats().await?;
    if !args.containers.is_empty() {
        let known = known(runtime).await?;
        let wanted = args.containers.iter().map(|word| Ok(known.container(word)?.id));
        let wanted = wanted.collect::<Result<Vec<_>, Error>>()?;
        answer.stats.retain(|stats| wanted.iter().any(|id| Some(id) == id_of(stats)));
    }
    if args.output != Format::Table {
        return output::value(&output::message("ListContainerStatsResponse", &answer)?, args.output);
    }
    let before = earlier(runtime, &mut answer.stats).await?;
    let mut table = Table::new(["CONTAINER ID", "NAME", "CPU", "MEMORY", "DISK", "INODES"]);
    for stats in &answer.stats {
        table.row(row(stats, &before));
    }
    output::print(&table.to_string())
}

/// Where rates are missing: the processor times of a first sample, with `stats` brought up to date.
async fn earlier(
    runtime: &Runtime,
    stats: &mut Vec<v1::ContainerStats>,
) -> Result<HashMap<String, v1::CpuUsage>, Error> {
    let lacks_rate = |stats: &v1::ContainerStats| stats.cpu.as_ref().is_some_and(|cpu| cpu.usage_nano_cores.is_none());
    if !stats.iter().any(lacks_rate) {
        return Ok(HashMap::new());
    }
    let before: HashMap<_, _> = stats.iter().filter_map(|stats| Some((id_of(stats)?.clone(), stats.cpu?))).collect();
    tokio::time::sleep(INTERVAL).await;
    let now = runtime.stats().await?.stats;
    *stats = now.into_iter().filter(|stats| id_of(stats).is_some_and(|id| before.contains_key(id))).collect();
    Ok(before)
}

fn id_of(stats: &v1::ContainerStats) -> Option<&String> {
    stats.attributes.as_ref().map(|attributes| &attributes.id)
}

fn row(stats: &v1::ContainerStats, before: &HashMap<String, v1::CpuUsage>) -> [String; 6] {
    let attributes = stats.attributes.clone().unwrap_or_default();
    let bytes = |value: Option<v1::UInt64Value>| value.map_or_else(|| "-".to_owned(), |value| size(value.value));
    let disk = stats.writable_layer.clone().unwrap_or_default();
    [
        short_id(&attributes.id),
        attributes.metadata.unwrap_or_default().name,
        cpu(stats.cpu.as_ref(), before.get(&attributes.id)),
        bytes(stats.memory.unwrap_or_default().working_set_bytes),
        bytes(disk.used_bytes),
        disk.inodes_used.map_or_else(|| "-".to_owned(), |inodes| inodes.value.to_string()),
    ]
}

/// In thousandths of a core, as Kubernetes counts: the runtime's rate, else that between two samples.
fn cpu(now: Option<&v1::CpuUsage>, before: Option<&v1::CpuUsage>) -> String {
    let rate = now.and_then(|now| now.usage_nano_cores.or_else(|| rate(now, before?)));
    rate.map_or_else(|| "-".to_owned(), |rate| format!("{}m", rate.value.div_ceil(1_000_000)))
}

fn rate(now: &v1::CpuUsage, before: &v1::CpuUsage) -> Option<v1::UInt64Value> {
    let used = now.usage_core_nano_seconds?.value.checked_sub(before.usage_core_nano_seconds?.value)?;
    let passed = u64::try_from(now.timestamp.checked_sub(before.timestamp)?).ok()?;
    let value = (u128::from(used) * 1_000_000_000).checked_div(u128::from(passed))?;
    Some(v1::UInt64Value { value: u64::try_from(value).ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usage(timestamp: i64, used: u64) -> v1::CpuUsage {
        let used = Some(v1::UInt64Value { value: used });
        v1::CpuUsage { timestamp, usage_core_nano_seconds: used, ..v1::CpuUsage::default() }
    }

    #[test]
    fn the_rate_is_that_between_two_samples() {
        let (before, now) = (usage(1_000_000_000, 0), usage(3_000_000_000, 500_000_000));
        assert_eq!(cpu(Some(&now), Some(&before)), "250m");
        assert_eq!(cpu(Some(&now), None), "-");
        assert_eq!(cpu(Some(&before), Some(&now)), "-", "a clock that went back has no rate");
        assert_eq!(cpu(Some(&before), Some(&before)), "-");
    }
}
