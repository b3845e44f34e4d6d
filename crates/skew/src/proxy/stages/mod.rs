//! The stages there are.

pub mod versions;
