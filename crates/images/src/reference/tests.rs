#![allow(clippy::unwrap_used, clippy::panic)]
use proptest::prelude::*;

use super::*;

const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// What a text means: registry, repository, and tag or digest.
#[test]
fn references_are_normalised_as_docker_does() {
    let hex = "a".repeat(64);
    let at = |text: &str| format!("{text}@{DIGEST}");
    let long_path = format!("{}/{}", "a".repeat(127), "b".repeat(127));
    let long_tag = "t".repeat(128);
    for (text, domain, path, version) in [
        // Short names.
        ("busybox", "docker.io", "library/busybox", "latest"),
        ("busybox:1.36", "docker.io", "library/busybox", "1.36"),
        ("library/busybox", "docker.io", "library/busybox", "latest"),
        ("foo/bar", "docker.io", "foo/bar", "latest"),
        ("foo/bar/baz", "docker.io", "foo/bar/baz", "latest"),
        ("docker.io/busybox", "docker.io", "library/busybox", "latest"),
        ("docker.io/foo/bar", "docker.io", "foo/bar", "latest"),
        ("index.docker.io/busybox", "docker.io", "library/busybox", "latest"),
        ("index.docker.io/foo/bar:1", "docker.io", "foo/bar", "1"),
        ("registry-1.docker.io/busybox", "registry-1.docker.io", "busybox", "latest"),
        // Not registries: there is nothing behind them.
        ("docker.io", "docker.io", "library/docker.io", "latest"),
        ("localhost", "docker.io", "library/localhost", "latest"),
        ("localhost:5000", "docker.io", "library/localhost", "5000"),
        ("r.example", "docker.io", "library/r.example", "latest"),
        // Registries.
        ("localhost/busybox", "localhost", "busybox", "latest"),
        ("localhost:5000/a/b:c", "localhost:5000", "a/b", "c"),
        ("registry:5000/a", "registry:5000", "a", "latest"),
        ("registry/a", "docker.io", "registry/a", "latest"),
        ("127.0.0.1:5000/a", "127.0.0.1:5000", "a", "latest"),
        ("127.0.0.1/a", "127.0.0.1", "a", "latest"),
        ("[::1]:5000/a", "[::1]:5000", "a", "latest"),
        ("[2001:DB8::1]/a/b:c", "[2001:DB8::1]", "a/b", "c"),
        ("registry.k8s.io/pause:3.10", "registry.k8s.io", "pause", "3.10"),
        ("xn--7o8h.example/a", "xn--7o8h.example", "a", "latest"),
        // Upper case makes a registry, and is fine in a tag.
        ("Registry/a", "Registry", "a", "latest"),
        ("R.Example:80/a:V1.0-RC_1", "R.Example:80", "a", "V1.0-RC_1"),
        ("busybox:_1", "docker.io", "library/busybox", "_1"),
        // Separators.
        ("a__b/c---d.e_f", "docker.io", "a__b/c---d.e_f", "latest"),
        // Digests, with a tag or without.
        (&at("busybox"), "docker.io", "library/busybox", DIGEST),
        (&at("busybox:1"), "docker.io", "library/busybox", DIGEST),
        (&at("localhost:5000/a:1"), "localhost:5000", "a", DIGEST),
        (&at("[::1]:5000/a"), "[::1]:5000", "a", DIGEST),
        // As long as can be, and what only looks like an id.
        (&long_path, "docker.io", &long_path, "latest"),
        (&format!("registry.example.org/{long_path}"), "registry.example.org", &long_path, "latest"),
        (&format!("a:{long_tag}"), "docker.io", "library/a", &long_tag),
        (DIGEST, "docker.io", "library/sha256", DIGEST.split_once(':').unwrap().1),
        (&format!("{hex}:1"), "docker.io", &format!("library/{hex}"), "1"),
        (&format!("localhost/{hex}"), "localhost", &hex, "latest"),
        (&format!("a{hex}"), "docker.io", &format!("library/a{hex}"), "latest"),
    ] {
        let reference: Reference = text.parse().unwrap();
        let found = match reference.version() {
            Version::Tag(tag) => tag.clone(),
            Version::Digest(digest) => digest.to_string(),
        };
        assert_eq!((reference.domain(), reference.path(), found.as_str()), (domain, path, version), "{text}");
    }
}

#[test]
fn what_is_not_a_reference_is_refused() {
    let (hex, long_tag) = ("a".repeat(64), format!("a:{}", "t".repeat(129)));
    let (long, long_domain) = ("a".repeat(256), format!("{}.example/a", "a".repeat(255)));
    let upper = DIGEST.to_uppercase();
    for text in [
        "",
        " ",
        " a",
        "a ",
        "/",
        "a/",
        "/a",
        "a//b",
        // Upper case.
        "A",
        "a/B",
        "Registry/A",
        "docker.io/Library/a",
        // Tags.
        "a:",
        "a:-x",
        "a:.x",
        "a: b",
        "a:b:c",
        "a:b/c:d:e",
        &long_tag,
        // Digests.
        "a@",
        "a@sha256:00",
        "a@b@c",
        &format!("a@{DIGEST}@{DIGEST}"),
        &format!("a@{}", upper.replace("SHA", "sha")),
        &format!("a@{}", DIGEST.replace("256", "512")),
        &format!("@{DIGEST}"),
        // Separators.
        "a..b",
        "a._b",
        "a___b",
        "-a",
        "a-",
        "a-/b",
        "_/a",
        "a\\b",
        "ä",
        "a\0",
        // Registries.
        "https://r.example/a",
        "localhost:port/a",
        "localhost:99999/a",
        "localhost:/a",
        "a.b:/x:",
        "a..b/c",
        "a./c",
        ".a/c",
        "my_host:5000/a",
        "user@r.example/a",
        "-a.b/c",
        "[::1/a",
        "::1/a",
        "[::1]5/a",
        "[]/a",
        "[::1%eth0]/a",
        "[::ffff:127.0.0.1]/a",
        "[g::1]/a",
        "r.example/",
        "r.example:5000/",
        &hex,
        &long,
        &long_domain,
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

#[test]
fn nothing_but_a_port_follows_an_address() {
    for good in ["[::1]/a", "[::1]:5000/a"] {
        good.parse::<Reference>().unwrap();
    }
    // The first was found by fuzzing.
    for bad in ["[::]s::]\u{fffd}s]/aa", "[::1]]/a", "[::1]x]/a", "[::1]5000/a", "[::1]:/a", "[::1]:5]/a"] {
        assert!(bad.parse::<Reference>().is_err(), "{bad}");
    }
}
