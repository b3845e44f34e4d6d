#![allow(clippy::unwrap_used, clippy::panic)]
use proptest::prelude::*;

use super::*;

const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

fn full(text: &str) -> String {
    text.parse::<Reference>().unwrap().to_string()
}

#[test]
fn short_names_become_full_names() {
    for (short, long) in [
        ("busybox", "docker.io/library/busybox:latest"),
        ("busybox:1.36", "docker.io/library/busybox:1.36"),
        ("library/busybox", "docker.io/library/busybox:latest"),
        ("foo/bar", "docker.io/foo/bar:latest"),
        ("docker.io/busybox", "docker.io/library/busybox:latest"),
        ("index.docker.io/busybox", "docker.io/library/busybox:latest"),
        ("localhost/busybox", "localhost/busybox:latest"),
        ("localhost:5000/a/b:c", "localhost:5000/a/b:c"),
        ("127.0.0.1:5000/a", "127.0.0.1:5000/a:latest"),
        ("[::1]:5000/a", "[::1]:5000/a:latest"),
        ("registry.k8s.io/pause:3.10", "registry.k8s.io/pause:3.10"),
        ("Registry/a", "Registry/a:latest"),
        ("a__b/c---d.e_f", "docker.io/a__b/c---d.e_f:latest"),
    ] {
        assert_eq!(full(short), long);
    }
}

#[test]
fn a_digest_decides_over_a_tag() {
    assert_eq!(full(&format!("busybox:1@{DIGEST}")), format!("docker.io/library/busybox@{DIGEST}"));
}

#[test]
fn what_is_not_a_reference_is_refused() {
    let hex = "a".repeat(64);
    let long = "a".repeat(256);
    for text in [
        "",
        " ",
        "/",
        "a/",
        "/a",
        "a//b",
        "A",
        "a:",
        "a:-x",
        "a: b",
        "a@",
        "a@sha256:00",
        "a@b@c",
        "a..b",
        "a___b",
        "-a",
        "a-",
        "localhost:port/a",
        "localhost:99999/a",
        "a.b:/x:",
        "[::1/a",
        "[::1]5/a",
        "-a.b/c",
        &hex,
        &long,
    ] {
        assert!(text.parse::<Reference>().is_err(), "{text:?}");
    }
}

proptest! {
    /// The full form is a fixed point, and nothing makes the parser panic.
    #[test]
    fn the_full_form_means_itself(text in "\\PC{0,60}|[a-z0-9./:@_-]{0,60}") {
        if let Ok(reference) = text.parse::<Reference>() {
            prop_assert_eq!(reference.to_string().parse::<Reference>().unwrap(), reference);
        }
    }

    /// What is put together from valid parts comes apart into them.
    #[test]
    fn parts_come_back(
        domain in "[a-z]{1,8}\\.[a-z]{2,4}(:[1-9][0-9]{0,3})?",
        path in "[a-z0-9]{1,8}(/[a-z0-9]{1,8}){1,3}",
        tag in "[A-Za-z0-9_][A-Za-z0-9_.-]{0,20}",
    ) {
        let reference: Reference = format!("{domain}/{path}:{tag}").parse().unwrap();
        prop_assert_eq!(reference.domain(), domain);
        prop_assert_eq!(reference.path(), path);
        prop_assert_eq!(reference.version(), &Version::Tag(tag));
    }
}
