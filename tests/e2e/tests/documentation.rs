//! The documentation says what the programs do.

use std::{collections::BTreeMap, fs, path::Path, process::Command};

use corten_e2e::programs;

fn repository(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path);
    fs::read_to_string(&path).unwrap_or_else(|e| panic!("read {}: {e}", path.display()))
}

/// The keys of `cortend --print-config` without a configuration, with their values.
fn defaults() -> BTreeMap<String, toml::Value> {
    let output =
        Command::new(programs::built("cortend")).args(["--print-config", "--config", "/dev/null"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut flat = BTreeMap::new();
    flatten("", toml::from_str(&String::from_utf8(output.stdout).unwrap()).unwrap(), &mut flat);
    flat
}

fn flatten(prefix: &str, table: toml::Table, flat: &mut BTreeMap<String, toml::Value>) {
    for (key, value) in table {
        let key = if prefix.is_empty() { key } else { format!("{prefix}.{key}") };
        match value {
            toml::Value::Table(inner) => flatten(&key, inner, flat),
            value => {
                flat.insert(key, value);
            }
        }
    }
}

/// The rows of the table in docs/configuration.md whose default is a value.
fn documented() -> BTreeMap<String, toml::Value> {
    let text = repository("docs/configuration.md");
    let rows = text.lines().filter_map(|line| line.strip_prefix("| `"));
    rows.filter_map(|row| {
        let (key, rest) = row.split_once("` | ")?;
        let (value, _) = rest.strip_prefix('`')?.split_once("` | ")?;
        let parsed: toml::Table = toml::from_str(&format!("value = {value}")).unwrap_or_else(|e| panic!("{key}: {e}"));
        Some((key.to_owned(), parsed["value"].clone()))
    })
    .collect()
}

#[test]
fn every_key_is_documented_with_its_default() {
    assert_eq!(documented(), defaults());
}

#[test]
fn the_packaged_configuration_is_valid() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packaging/config.toml");
    let output = Command::new(programs::built("cortend")).arg("--check").arg("--config").arg(file).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn every_command_of_the_readme_exists() {
    let help = Command::new(programs::built("corten")).arg("--help").output().unwrap().stdout;
    let help = String::from_utf8_lossy(&help).into_owned();
    let readme = repository("README.md");
    let commands: Vec<&str> = readme
        .lines()
        .filter_map(|line| line.strip_prefix("corten "))
        .filter_map(|rest| rest.split_whitespace().next())
        .collect();
    assert!(commands.len() > 5, "{commands:?}");
    for command in commands {
        assert!(help.lines().any(|line| line.trim_start().starts_with(command)), "{command} is not in:\n{help}");
    }
}
