//! WebSocket's frames and channels, fuzzed. What holds is in the exercise, which `cargo test` runs over the corpus.

#![no_main]

#[path = "../exercises/websocket.rs"]
mod websocket;

libfuzzer_sys::fuzz_target!(|input: &[u8]| websocket::exercise(input));
