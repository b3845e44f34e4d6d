//! The per-pod monitor. `cortend` uses [`protocol`] only; everything else is the `corten-monitor` program.

pub mod protocol;
