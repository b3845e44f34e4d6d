//! Filesystems and block devices.

use corten_host::cgroup::DeviceIo;

use super::{Family, Sample, Value};

pub(super) const FAMILIES: &[Family] = &[
    Family::gauges("container_fs_inodes_free", "Number of available Inodes", &["device"], |s| {
        filesystem(s, |filesystem| filesystem.inodes_free)
    }),
    Family::gauges("container_fs_inodes_total", "Number of Inodes", &["device"], |s| {
        filesystem(s, |filesystem| filesystem.inodes)
    }),
    Family::gauges(
        "container_fs_limit_bytes",
        "Number of bytes that can be consumed by the container on this filesystem.",
        &["device"],
        |s| filesystem(s, |filesystem| filesystem.size),
    ),
    Family::gauges(
        "container_fs_usage_bytes",
        "Number of bytes that are consumed by the container on this filesystem.",
        &["device"],
        layer,
    ),
    Family::counters("container_fs_reads_bytes_total", "Cumulative count of bytes read", &["device"], |s| {
        devices(s, |device| device.read_bytes)
    }),
    Family::counters("container_fs_reads_total", "Cumulative count of reads completed", &["device"], |s| {
        devices(s, |device| device.reads)
    }),
    Family::counters("container_fs_writes_bytes_total", "Cumulative count of bytes written", &["device"], |s| {
        devices(s, |device| device.write_bytes)
    }),
    Family::counters("container_fs_writes_total", "Cumulative count of writes completed", &["device"], |s| {
        devices(s, |device| device.writes)
    }),
    Family::counters(
        "container_blkio_device_usage_total",
        "Blkio Device bytes usage",
        &["device", "major", "minor", "operation"],
        blkio,
    ),
];

fn filesystem(sample: &Sample, read: fn(&super::Filesystem) -> u64) -> Vec<Value> {
    sample.filesystem.iter().map(|filesystem| Value::new([&filesystem.device], read(filesystem))).collect()
}

/// What the writable layer takes, as of when it was measured.
fn layer(sample: &Sample) -> Vec<Value> {
    let value = sample.filesystem.as_ref().zip(sample.layer);
    let value =
        value.map(|(filesystem, layer)| Value { at: layer.at, ..Value::new([&filesystem.device], layer.usage.bytes) });
    value.into_iter().collect()
}

fn named(sample: &Sample) -> impl Iterator<Item = (&String, &DeviceIo)> {
    sample.device_names.iter().zip(&sample.details.devices)
}

fn devices(sample: &Sample, read: fn(&DeviceIo) -> u64) -> Vec<Value> {
    named(sample).map(|(name, device)| Value::new([name], read(device))).collect()
}

fn blkio(sample: &Sample) -> Vec<Value> {
    let values = named(sample).flat_map(|(name, device)| {
        let (major, minor) = (device.device.0.to_string(), device.device.1.to_string());
        [("Read", device.read_bytes), ("Write", device.write_bytes)]
            .map(|(operation, bytes)| Value::new([name, &major, &minor, operation], bytes))
    });
    values.collect()
}
