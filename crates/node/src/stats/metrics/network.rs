//! Pods' interfaces.

use corten_host::network::interfaces::Interface;

use super::{Family, Sample, Value};

pub(super) const FAMILIES: &[Family] = &[
    Family::counters("container_network_receive_bytes_total", "Cumulative count of bytes received", INTERFACE, |s| {
        each(s, |interface| interface.received.bytes)
    }),
    Family::counters(
        "container_network_receive_packets_total",
        "Cumulative count of packets received",
        INTERFACE,
        |s| each(s, |interface| interface.received.packets),
    ),
    Family::counters(
        "container_network_receive_packets_dropped_total",
        "Cumulative count of packets dropped while receiving",
        INTERFACE,
        |s| each(s, |interface| interface.received.dropped),
    ),
    Family::counters(
        "container_network_receive_errors_total",
        "Cumulative count of errors encountered while receiving",
        INTERFACE,
        |s| each(s, |interface| interface.received.errors),
    ),
    Family::counters(
        "container_network_transmit_bytes_total",
        "Cumulative count of bytes transmitted",
        INTERFACE,
        |s| each(s, |interface| interface.sent.bytes),
    ),
    Family::counters(
        "container_network_transmit_packets_total",
        "Cumulative count of packets transmitted",
        INTERFACE,
        |s| each(s, |interface| interface.sent.packets),
    ),
    Family::counters(
        "container_network_transmit_packets_dropped_total",
        "Cumulative count of packets dropped while transmitting",
        INTERFACE,
        |s| each(s, |interface| interface.sent.dropped),
    ),
    Family::counters(
        "container_network_transmit_errors_total",
        "Cumulative count of errors encountered while transmitting",
        INTERFACE,
        |s| each(s, |interface| interface.sent.errors),
    ),
];

const INTERFACE: &[&str] = &["interface"];

fn each(sample: &Sample, read: fn(&Interface) -> u64) -> Vec<Value> {
    sample.interfaces.iter().map(|interface| Value::new([&interface.name], read(interface))).collect()
}
