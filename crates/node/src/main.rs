//! `cortend`.
fn main() {}
