//! The per-pod monitor. `cortend` uses [`protocol`] only; everything else is the `corten-monitor` program.

pub mod alone;
pub mod connection;
pub mod container;
pub mod external;
pub mod fork;
pub mod image_mount;
mod launch;
pub mod launcher;
pub mod log;
pub mod memory;
pub mod monitor;
pub mod overlay;
pub mod packet;
pub mod pod;
pub mod protocol;
pub mod reactor;
pub mod reap;
pub mod report;
pub mod start;
pub mod users;
