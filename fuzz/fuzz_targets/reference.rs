//! Image references, fuzzed. What holds is in the crate's own exercises, which `cargo test` runs over the corpus.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| corten_images::exercises::reference(input));
