//! The stages there are.

pub mod newer;
pub mod versions;
