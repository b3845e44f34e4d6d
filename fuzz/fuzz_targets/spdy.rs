//! SPDY's frames and header blocks, fuzzed. What holds is in the exercise, which `cargo test` runs over the corpus.

#![no_main]

#[path = "../exercises/spdy.rs"]
mod spdy;

libfuzzer_sys::fuzz_target!(|input: &[u8]| spdy::exercise(input));
