//! Black-box checks of a CRI runtime's documented behaviour.

pub mod image;
pub mod registry;
