//! The stages there are.

pub mod faults;
pub mod newer;
pub mod versions;
