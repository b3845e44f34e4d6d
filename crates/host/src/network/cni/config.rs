//! Network configurations: which file counts, and what is in it.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::error::NotReady;

const LARGEST_FILE: u64 = 1024 * 1024;

/// The settings of CNI (`[network]` with `mode = "cni"`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CniConfig {
    /// The directory of network configurations; the first `*.conflist`, `*.conf` or `*.json` in lexical order counts.
    /// It is read at every use, so a network add-on may write it at any time.
    pub conf_dir: PathBuf,
    /// The directories of plugin programs, searched in order.
    pub bin_dirs: Vec<PathBuf>,
    /// Where what was asked of plugins is kept until it is taken back. It should survive reboots: plugins keep leases
    /// on disk, and DEL is what ends them.
    pub cache_dir: PathBuf,
    /// How long one plugin may run, in seconds; then it is killed.
    pub plugin_timeout_seconds: u64,
}

impl Default for CniConfig {
    fn default() -> Self {
        CniConfig {
            conf_dir: "/etc/cni/net.d".into(),
            bin_dirs: vec!["/opt/cni/bin".into(), "/usr/lib/cni".into()],
            cache_dir: "/var/lib/corten/cni".into(),
            plugin_timeout_seconds: 60,
        }
    }
}

/// Versions of the specification that this side speaks, oldest first.
const VERSIONS: [&str; 7] = ["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"];

/// A version of the CNI specification, ordered by age.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Version(usize);

impl Version {
    pub(super) const V0_4_0: Version = Version(4);
    pub(super) const V1_1_0: Version = Version(6);

    pub(super) fn parse(text: &str) -> Option<Self> {
        VERSIONS.iter().position(|version| *version == text).map(Version)
    }

    pub(super) fn as_str(self) -> &'static str {
        VERSIONS[self.0]
    }
}

/// A list of plugins that make one network.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Conflist {
    pub(super) name: String,
    pub(super) version: Version,
    pub(super) disable_check: bool,
    pub(super) disable_gc: bool,
    pub(super) plugins: Vec<PluginConf>,
}

/// The configuration of one plugin of a list.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct PluginConf {
    pub(super) kind: String,
    pub(super) object: Map<String, Value>,
}

impl PluginConf {
    /// True where the plugin declares a capability.
    pub(super) fn has_capability(&self, name: &str) -> bool {
        self.object.get("capabilities").and_then(|all| all.get(name)) == Some(&Value::Bool(true))
    }
}

/// Loads the network configuration that counts now, and says which file it is.
pub(super) fn load(directory: &Path) -> Result<(PathBuf, Conflist), NotReady> {
    let files = list(directory, &["conflist", "conf", "json"]);
    let files = files.map_err(|e| not_ready(format!("read {}: {e}", directory.display())))?;
    let Some(path) = files.into_iter().next() else {
        return Err(not_ready(format!("no network configuration in {}", directory.display())));
    };
    let conflist = read_json(&path).and_then(|object| match path.extension() {
        Some(extension) if extension == "conflist" => parse(object, directory),
        _ => parse(list_of_one(object)?, directory),
    });
    match conflist {
        Ok(conflist) => Ok((path, conflist)),
        Err(reason) => Err(not_ready(format!("{}: {reason}", path.display()))),
    }
}

fn not_ready(reason: String) -> NotReady {
    NotReady { reason }
}

/// Files with one of these extensions, in lexical order. A directory that is missing is empty.
fn list(directory: &Path, extensions: &[&str]) -> std::io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(directory) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let wanted = path.extension().and_then(|e| e.to_str()).is_some_and(|e| extensions.contains(&e));
        if wanted && path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn read_json(path: &Path) -> Result<Map<String, Value>, String> {
    let mut bytes = Vec::new();
    let file = fs::File::open(path).map_err(|e| e.to_string())?;
    file.take(LARGEST_FILE + 1).read_to_end(&mut bytes).map_err(|e| e.to_string())?;
    if bytes.len() as u64 > LARGEST_FILE {
        return Err(format!("it has more than {LARGEST_FILE} bytes"));
    }
    serde_json::from_slice(&bytes).map_err(|e| format!("not a JSON object: {e}"))
}

/// A file with one plugin stands for a list of that one.
fn list_of_one(plugin: Map<String, Value>) -> Result<Map<String, Value>, String> {
    if !plugin.contains_key("type") {
        let hint = if plugin.contains_key("plugins") { " (a list of plugins must be named *.conflist)" } else { "" };
        return Err(format!("`type` is missing{hint}"));
    }
    let mut list = Map::new();
    for key in ["cniVersion", "name"] {
        if let Some(value) = plugin.get(key) {
            list.insert(key.to_owned(), value.clone());
        }
    }
    list.insert("loadOnlyInlinedPlugins".to_owned(), Value::Bool(true));
    list.insert("plugins".to_owned(), Value::Array(vec![Value::Object(plugin)]));
    Ok(list)
}

/// Checks a list and takes out what matters here. `directory` may hold further plugins of the network.
pub(super) fn parse(list: Map<String, Value>, directory: &Path) -> Result<Conflist, String> {
    let name = text(&list, "name")?.ok_or("`name` is missing")?.to_owned();
    let first_is_alphanumeric = name.starts_with(|c: char| c.is_ascii_alphanumeric());
    if !first_is_alphanumeric || !name.chars().all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c)) {
        return Err(format!("`name` `{}` is not a network name", name.escape_debug()));
    }
    let mut objects = match list.get("plugins") {
        None => Vec::new(),
        Some(Value::Array(plugins)) => plugins.clone(),
        Some(_) => return Err("`plugins` is not a list".to_owned()),
    };
    if !flag(&list, "loadOnlyInlinedPlugins")? {
        objects.extend(plugins_in(&directory.join(&name))?);
    }
    let plugins = objects.into_iter().enumerate().map(plugin).collect::<Result<Vec<_>, _>>()?;
    if plugins.is_empty() {
        return Err("`plugins` is missing or empty".to_owned());
    }
    let (disable_check, disable_gc) = (flag(&list, "disableCheck")?, flag(&list, "disableGC")?);
    Ok(Conflist { version: version(&list)?, name, disable_check, disable_gc, plugins })
}

fn plugins_in(directory: &Path) -> Result<Vec<Value>, String> {
    let name = |path: &Path, e: String| format!("{}: {e}", path.display());
    let files = list(directory, &["conf"]).map_err(|e| name(directory, e.to_string()))?;
    files.iter().map(|path| read_json(path).map(Value::Object).map_err(|e| name(path, e))).collect()
}

fn plugin((at, value): (usize, Value)) -> Result<PluginConf, String> {
    let Value::Object(object) = value else { return Err(format!("`plugins[{at}]` is not an object")) };
    let kind = text(&object, "type")?.ok_or_else(|| format!("`plugins[{at}].type` is missing"))?.to_owned();
    // It becomes the name of a program in one of our directories, and must not lead out of them.
    if kind.is_empty() || kind.starts_with('.') || kind.contains(['/', '\0']) {
        return Err(format!("`plugins[{at}].type` `{}` is not the name of a program", kind.escape_debug()));
    }
    if object.get("capabilities").is_some_and(|all| !all.is_object()) {
        return Err(format!("`plugins[{at}].capabilities` is not an object"));
    }
    Ok(PluginConf { kind, object })
}

/// The newest version, of those the list offers, that this side speaks.
fn version(list: &Map<String, Value>) -> Result<Version, String> {
    let mut offered: Vec<String> = text(list, "cniVersion")?.map(str::to_owned).into_iter().collect();
    match list.get("cniVersions") {
        None => {}
        Some(Value::Array(more)) => offered.extend(more.iter().filter_map(Value::as_str).map(str::to_owned)),
        Some(_) => return Err("`cniVersions` is not a list".to_owned()),
    }
    if offered.is_empty() {
        // What the specification's first version, which had no such key, means.
        return Ok(Version(0));
    }
    let newest = offered.iter().filter_map(|version| Version::parse(version)).max();
    newest.ok_or_else(|| format!("`cniVersion` {} is not supported, only {}", offered.join(", "), VERSIONS.join(", ")))
}

fn text<'a>(object: &'a Map<String, Value>, key: &str) -> Result<Option<&'a str>, String> {
    match object.get(key) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(format!("`{key}` is not a string")),
    }
}

/// A boolean; the strings are what libcni takes too.
fn flag(object: &Map<String, Value>, key: &str) -> Result<bool, String> {
    match object.get(key) {
        None => Ok(false),
        Some(Value::Bool(value)) => Ok(*value),
        Some(Value::String(value)) if ["true", "false"].contains(&value.to_lowercase().as_str()) => {
            Ok(value.eq_ignore_ascii_case("true"))
        }
        Some(_) => Err(format!("`{key}` is neither true nor false")),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;

    fn directory(files: &[(&str, &str)]) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        for (name, content) in files {
            let path = directory.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        directory
    }

    const LIST: &str = r#"{"cniVersion": "1.0.0", "name": "net", "plugins": [{"type": "bridge"}]}"#;

    #[test]
    fn the_first_file_in_lexical_order_counts() {
        let one = r#"{"cniVersion": "0.3.1", "name": "one", "type": "ptp"}"#;
        let directory = directory(&[("20.conflist", LIST), ("10.conf", one), ("05.txt", "x"), ("06.conf.d/x", "")]);
        let (path, list) = load(directory.path()).unwrap();
        assert_eq!(path, directory.path().join("10.conf"));
        assert_eq!((list.name.as_str(), list.version.as_str()), ("one", "0.3.1"));
        assert_eq!(list.plugins[0].kind, "ptp");
    }

    #[test]
    fn no_directory_and_no_file_are_reasons() {
        let directory = directory(&[("README", "")]);
        for path in [directory.path().to_owned(), directory.path().join("none")] {
            let reason = load(&path).unwrap_err().reason;
            assert_eq!(reason, format!("no network configuration in {}", path.display()));
        }
    }

    #[test]
    fn a_broken_file_is_named_with_its_key() {
        for (content, expected) in [
            ("{", "not a JSON object"),
            ("[]", "not a JSON object"),
            (r#"{"cniVersion": "1.0.0", "plugins": [{"type": "x"}]}"#, "`name` is missing"),
            (r#"{"name": "../x", "plugins": [{"type": "x"}]}"#, "`name` `../x`"),
            (r#"{"name": "n", "plugins": []}"#, "`plugins` is missing or empty"),
            (r#"{"name": "n", "plugins": [1]}"#, "`plugins[0]` is not an object"),
            (r#"{"name": "n", "plugins": [{}]}"#, "`plugins[0].type` is missing"),
            (r#"{"name": "n", "plugins": [{"type": "../../bin/sh"}]}"#, "`plugins[0].type` `../../bin/sh`"),
            (r#"{"name": "n", "cniVersion": "9.0.0", "plugins": [{"type": "x"}]}"#, "`cniVersion` 9.0.0"),
            (r#"{"name": "n", "cniVersion": 1, "plugins": [{"type": "x"}]}"#, "`cniVersion` is not a string"),
            (r#"{"name": "n", "disableCheck": 3, "plugins": [{"type": "x"}]}"#, "`disableCheck`"),
            (r#"{"name": "n", "plugins": [{"type": "x", "capabilities": 1}]}"#, "`plugins[0].capabilities`"),
        ] {
            let directory = directory(&[("10-net.conflist", content), ("20-good.conflist", LIST)]);
            let reason = load(directory.path()).unwrap_err().reason;
            assert!(reason.contains("10-net.conflist") && reason.contains(expected), "{content}: {reason}");
        }
        let lists = directory(&[("10.conf", LIST)]);
        assert!(load(lists.path()).unwrap_err().reason.contains("*.conflist"));
    }

    #[test]
    fn the_newest_version_that_both_sides_speak_is_used() {
        let versions = |keys: &str| {
            let list = format!(r#"{{"name": "n", {keys} "plugins": [{{"type": "x"}}]}}"#);
            parse(serde_json::from_str(&list).unwrap(), Path::new("/none")).unwrap().version.as_str()
        };
        assert_eq!(versions(""), "0.1.0");
        assert_eq!(versions(r#""cniVersion": "0.4.0","#), "0.4.0");
        assert_eq!(versions(r#""cniVersion": "0.4.0", "cniVersions": ["0.3.1", "1.1.0", "9.9.9"],"#), "1.1.0");
    }

    #[test]
    fn plugins_in_the_networks_directory_are_appended_unless_disabled() {
        let more = ("net/10.conf", r#"{"type": "more"}"#);
        let with = directory(&[("10.conflist", LIST), more]);
        let kinds = |d: &tempfile::TempDir| -> Vec<String> {
            load(d.path()).unwrap().1.plugins.into_iter().map(|plugin| plugin.kind).collect()
        };
        assert_eq!(kinds(&with), ["bridge", "more"]);
        let only = LIST.replace(r#""name""#, r#""loadOnlyInlinedPlugins": true, "name""#);
        assert_eq!(kinds(&directory(&[("10.conflist", &only), more])), ["bridge"]);
        let broken = directory(&[("10.conflist", LIST), ("net/10.conf", "no")]);
        assert!(load(broken.path()).unwrap_err().reason.contains("net/10.conf"));
    }
}
