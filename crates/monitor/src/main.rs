//! `corten-monitor`: one per pod.
fn main() {}
