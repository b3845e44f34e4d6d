//! What an external runtime can do of what it would otherwise ignore without a word, by what `runc features` says
//! (<https://github.com/opencontainers/runtime-spec/blob/main/features.md>).

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{LazyLock, Mutex};

use oci_spec::runtime::Spec;
use serde::Deserialize;

use crate::error::{Error, Result};
use crate::operation::lock;

/// A runtime's answer, as far as it matters here. What it does not mention it does not have.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Features {
    linux: Linux,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Linux {
    namespaces: Vec<String>,
    mount_extensions: MountExtensions,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct MountExtensions {
    idmap: Extension,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Extension {
    enabled: bool,
}

/// The answers, by program: asked once each.
static KNOWN: LazyLock<Mutex<HashMap<PathBuf, Features>>> = LazyLock::new(Mutex::default);

/// Refuses a spec that an external runtime would not carry out whole. It blocks.
///
/// # Errors
/// [`Error::Unsupported`] naming the mount and the runtime.
pub fn check(spec: &Spec, binary: &Path) -> Result<()> {
    let users = spec.linux().as_ref().is_some_and(|linux| linux.uid_mappings().is_some());
    let mapped = spec.mounts().iter().flatten().find(|mount| mount.uid_mappings().is_some());
    if !users && mapped.is_none() {
        return Ok(());
    }
    let features = of(binary);
    let name = binary.display();
    if users && !features.linux.namespaces.iter().any(|namespace| namespace == "user") {
        return Err(Error::Unsupported(format!("user namespaces: {name} does not say that it has them")));
    }
    match mapped.filter(|_| !features.linux.mount_extensions.idmap.enabled) {
        Some(mount) => Err(Error::Unsupported(format!(
            "config.mounts: {}: {name} does not say that it can map the ids of a mount",
            mount.destination().display()
        ))),
        None => Ok(()),
    }
}

fn of(binary: &Path) -> Features {
    if let Some(known) = lock(&KNOWN).get(binary) {
        return known.clone();
    }
    let asked = ask(binary);
    lock(&KNOWN).insert(binary.to_owned(), asked.clone());
    asked
}

/// One that cannot answer has none of them.
fn ask(binary: &Path) -> Features {
    let output = Command::new(binary).arg("features").env_clear().current_dir("/").stdin(Stdio::null()).output();
    let answer = output.map(|output| serde_json::from_slice(&output.stdout).map_err(|error| error.to_string()));
    match answer.map_err(|error| error.to_string()).and_then(|parsed| parsed) {
        Ok(features) => features,
        Err(error) => {
            tracing::warn!(runtime = %binary.display(), error, "the runtime does not tell its features");
            Features::default()
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use serde_json::json;

    use super::*;

    fn spec(users: bool, mapped: bool) -> Spec {
        let ids = json!([{"containerID": 0, "hostID": 65536, "size": 65536}]);
        let mut spec = json!({"ociVersion": "1.1.0", "mounts": [{"destination": "/v"}], "linux": {}});
        if users {
            spec["linux"]["uidMappings"] = ids.clone();
        }
        if mapped {
            spec["mounts"][0]["uidMappings"] = ids;
        }
        serde_json::from_value(spec).unwrap()
    }

    fn runtime(directory: &Path, answer: &str) -> PathBuf {
        use std::os::unix::fs::PermissionsExt;
        let path = directory.join("runtime");
        std::fs::write(&path, format!("#!/bin/sh\necho '{answer}'\n")).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
        path
    }

    #[test]
    fn what_a_runtime_does_not_claim_is_refused_and_nothing_else() {
        let [old, new] = [(); 2].map(|()| tempfile::tempdir().unwrap());
        let old = runtime(old.path(), r#"{"linux":{"namespaces":["user","pid"]}}"#);
        let answer = r#"{"linux":{"namespaces":["user"],"mountExtensions":{"idmap":{"enabled":true}}}}"#;
        let new = runtime(new.path(), answer);
        let silent = Path::new("/bin/true");
        assert!(check(&spec(true, true), &new).is_ok());
        assert!(check(&spec(true, false), &old).is_ok());
        let error = check(&spec(true, true), &old).unwrap_err().to_string();
        assert!(error.contains("/v: ") && error.contains("map the ids"), "{error}");
        assert!(check(&spec(true, false), silent).unwrap_err().to_string().contains("user namespaces"));
        assert!(check(&spec(false, false), Path::new("/nowhere")).is_ok());
    }
}
