//! The CRI's version skew policy, executable: proxy, probe, lint and matrix.

pub mod history;
pub mod lint;
pub mod matrix;
pub mod mutate;
pub mod probe;
pub mod proxy;
pub mod recording;
pub mod replay;
