//! `corten`.
fn main() {}
