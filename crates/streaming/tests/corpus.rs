//! What fuzzing has found worth keeping, over and over.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::fs;
use std::path::Path;

#[path = "../../../fuzz/exercises/spdy.rs"]
mod spdy;
#[path = "../../../fuzz/exercises/websocket.rs"]
mod websocket;

fn each(corpus: &str, exercise: fn(&[u8])) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(corpus);
    let inputs: Vec<_> = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(inputs.len() > 100, "the corpus of {corpus} is there");
    for input in inputs {
        exercise(&fs::read(input).unwrap());
    }
}

#[test]
fn the_corpus_of_spdy_holds() {
    each("spdy", spdy::exercise);
}

#[test]
fn the_corpus_of_websocket_holds() {
    each("websocket", websocket::exercise);
}
