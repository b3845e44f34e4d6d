//! Black-box checks of a CRI runtime's documented behaviour.
