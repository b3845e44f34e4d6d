//! The built-in launcher, from inside the containers it launches. Needs root and Debian's busybox-static.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

mod harness;

use harness::Fixture;

/// The script runs as init of namespaces of its own, on its overlay, and its output and exit code come back.
#[test]
fn a_container_runs() {
    let fixture = Fixture::new("echo $$ $(hostname) $(pwd); touch /data/written; exit 7");
    let ended = fixture.run();
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(7), "1 box /\n"), "{ended:?}");
    assert!(fixture.dir.path().join("upper/data/written").exists());
    assert!(!fixture.file("data/written").exists());
}
