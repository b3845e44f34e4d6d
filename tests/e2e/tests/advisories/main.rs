//! One test for each advisory published of runc since 2019, against the built-in launcher: what each attack tries, and
//! that nothing comes of it.
//!
//! The attackers are images with hostile files in them, and the program `hostile` (`src/bin/hostile.rs`), which runs in a
//! container of its own and shares a volume or a PID namespace with the victim.

mod consoles;
mod descriptors;
mod identity;
mod procfs;
mod program;
mod races;
mod world;
