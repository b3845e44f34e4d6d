//! Manifests, indexes, configurations and the descriptions in image archives, fuzzed. What holds is in the crate's own exercises, which `cargo test` runs over the corpus.

#![no_main]

use corten_images::exercises::Lab;

thread_local! {
    static LAB: Lab = Lab::new(&std::env::temp_dir());
}

libfuzzer_sys::fuzz_target!(|input: &[u8]| LAB.with(|lab| lab.manifest(input)));
