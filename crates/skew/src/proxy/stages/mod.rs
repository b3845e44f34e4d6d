//! The stages there are.

pub mod newer;
pub mod faults;
pub mod versions;
