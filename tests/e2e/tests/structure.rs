//! The shape of the workspace: which crate may use which, and where `unsafe` may be.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

/// Every edge between crates of the workspace that may be. These tests themselves may use what they like.
const ALLOWED: [(&str, &str); 15] = [
    ("corten-node", "corten-cri"),
    ("corten-node", "corten-images"),
    ("corten-node", "corten-host"),
    ("corten-node", "corten-monitor"),
    ("corten-images", "corten-host"),
    ("corten-monitor", "corten-host"),
    ("corten-node", "corten-streaming"),
    ("corten-ctl", "corten-cri"),
    ("corten-ctl", "corten-streaming"),
    ("corten-ctl", "corten-skew"),
    ("corten-ctl", "corten-validate"),
    ("corten-skew", "corten-cri"),
    ("corten-skew", "corten-validate"),
    ("corten-validate", "corten-cri"),
    ("corten-validate", "corten-streaming"),
];

/// The crates in which `unsafe` may be.
const UNSAFE: [&str; 2] = ["crates/host/", "crates/monitor/"];

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

fn metadata() -> Value {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    let arguments = ["metadata", "--format-version=1", "--no-deps", "--offline"];
    let output = Command::new(cargo).args(arguments).current_dir(workspace()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// (crate, the crate it depends on, `dev` dependencies left out) of every dependency that is a path.
fn edges(metadata: &Value) -> BTreeSet<(String, String)> {
    let mut edges = BTreeSet::new();
    for package in metadata["packages"].as_array().unwrap() {
        for dependency in package["dependencies"].as_array().unwrap() {
            if dependency["path"].is_string() && dependency["kind"] != "dev" {
                let name = |value: &Value| value["name"].as_str().unwrap().to_owned();
                edges.insert((name(package), name(dependency)));
            }
        }
    }
    edges
}

#[test]
fn crates_depend_on_each_other_as_designed() {
    let all = edges(&metadata());
    let found: BTreeSet<_> = all.into_iter().filter(|(from, _)| from != "corten-e2e").collect();
    let allowed: BTreeSet<_> = ALLOWED.iter().map(|(from, to)| ((*from).to_owned(), (*to).to_owned())).collect();
    let forbidden: Vec<_> = found.difference(&allowed).collect();
    assert!(forbidden.is_empty(), "{forbidden:?}");
}

#[test]
fn host_and_monitor_have_no_async_runtime_and_ctl_and_monitor_no_daemon() {
    let metadata = metadata();
    for package in metadata["packages"].as_array().unwrap() {
        let name = package["name"].as_str().unwrap();
        if !["corten-host", "corten-monitor"].contains(&name) {
            continue;
        }
        for dependency in package["dependencies"].as_array().unwrap() {
            let dependency = dependency["name"].as_str().unwrap();
            assert!(
                !["tokio", "tonic", "futures", "async-std", "smol"].contains(&dependency),
                "{name} uses {dependency}"
            );
        }
    }
}

#[test]
fn no_dependency_comes_from_anywhere_but_crates_io() {
    let lock = fs::read_to_string(workspace().join("Cargo.lock")).unwrap();
    for line in lock.lines().filter(|line| line.starts_with("source = ")) {
        assert_eq!(line, "source = \"registry+https://github.com/rust-lang/crates.io-index\"");
    }
}

#[test]
fn unsafe_is_in_host_and_monitor_only_and_the_rest_forbids_it() {
    let root = workspace();
    let mut found = Vec::new();
    for file in sources(&root) {
        let relative = file.strip_prefix(&root).unwrap().display().to_string();
        let text = fs::read_to_string(&file).unwrap();
        if has_unsafe(&text) && !UNSAFE.iter().any(|allowed| relative.starts_with(allowed)) {
            found.push(relative);
        }
    }
    assert_eq!(found, Vec::<String>::new());
}

/// Every Rust source of ours.
fn sources(root: &Path) -> Vec<PathBuf> {
    let mut pending = vec![root.join("crates"), root.join("tests")];
    let mut found = Vec::new();
    while let Some(dir) = pending.pop() {
        for entry in fs::read_dir(dir).unwrap().flatten() {
            let path = entry.path();
            if path.is_dir() {
                pending.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    found
}

/// Whether a line of code begins an unsafe block, function, implementation or extern block.
fn has_unsafe(text: &str) -> bool {
    let code = text.lines().map(|line| line.split("//").next().unwrap_or_default());
    code.into_iter().any(|line| {
        let keyword = concat!("un", "safe");
        ["{", "fn", "impl", "extern", "trait"].iter().any(|next| line.contains(&format!("{keyword} {next}")))
    })
}
