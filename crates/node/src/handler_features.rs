//! What the runtime handlers can do, found out and not assumed: of this node's kernel for the built-in launcher, and of
//! `PROGRAM features` (runc 1.1 and its kin, runtime-spec `features.md`) for the others.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Mutex;
use std::time::Duration;

use corten_host::kernel::Kernel;
use oci_spec::runtime::{Mount, Spec};
use serde::Deserialize;
use tokio::io::AsyncReadExt;
use tokio::process::Command;
use tokio::time::Instant;

use crate::error::{Error, Result};
use crate::node::Handler;
use crate::operation::lock;
use crate::spec;

/// The kernel with which mount_setattr(2) came, by which a mount becomes read-only with all below it.
const MOUNT_SETATTR: Kernel = Kernel { major: 5, minor: 12 };
/// How long a program may take to tell its features.
const PATIENCE: Duration = Duration::from_secs(5);
/// The most bytes that it may say.
const LARGEST: u64 = 1 << 20;
/// How long a program that could not be asked is left alone.
const PAUSE: Duration = Duration::from_secs(60);

/// What a handler can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Features {
    /// Whether mounts can be read-only with all below them.
    pub recursive_read_only_mounts: bool,
    /// Whether pods can have user namespaces.
    pub user_namespaces: bool,
    /// Whether the ids of a mount can be mapped.
    pub idmapped_mounts: bool,
}

impl Features {
    /// Refuses a spec that a handler without these features would not carry out whole: it would ignore the rest without a
    /// word.
    ///
    /// # Errors
    /// [`Error::Unsupported`] naming what, and the program.
    pub fn check(&self, spec: &Spec, program: &Path) -> Result<()> {
        let program = program.display();
        if !self.user_namespaces && spec.linux().as_ref().is_some_and(|linux| linux.uid_mappings().is_some()) {
            return Err(Error::Unsupported(format!("user namespaces: {program} does not say that it has them")));
        }
        let whole = |mount: &&Mount| mount.options().iter().flatten().any(|option| option == "rro");
        if let Some(mount) = spec.mounts().iter().flatten().find(whole).filter(|_| !self.recursive_read_only_mounts) {
            return Err(Error::Unsupported(format!(
                "config.mounts: {}: {program} does not say that it can make a mount read-only with all below it",
                mount.destination().display()
            )));
        }
        let mapped = spec.mounts().iter().flatten().find(|mount| mount.uid_mappings().is_some());
        match mapped.filter(|_| !self.idmapped_mounts) {
            Some(mount) => Err(Error::Unsupported(format!(
                "config.mounts: {}: {program} does not say that it can map the ids of a mount",
                mount.destination().display()
            ))),
            None => Ok(()),
        }
    }
}

/// What is known of the programs, so that each is asked once, and again when it is replaced.
#[derive(Debug, Default)]
pub struct Probes {
    asked: Mutex<BTreeMap<PathBuf, Asked>>,
}

#[derive(Debug, Clone)]
struct Asked {
    program: Identity,
    /// `None` if it could not be asked.
    features: Option<Features>,
    at: Instant,
}

/// By which it is seen that a program was replaced: device, inode, size, time of change.
type Identity = (u64, u64, u64, i64, i64);

impl Probes {
    /// What a handler can do, with what the node can.
    pub async fn features(&self, handler: &Handler, node: Features) -> Features {
        match handler {
            Handler::BuiltIn => node,
            Handler::External { name, binary } => {
                let told = self.external(name, binary).await;
                Features {
                    recursive_read_only_mounts: told.recursive_read_only_mounts && node.recursive_read_only_mounts,
                    user_namespaces: told.user_namespaces && node.user_namespaces,
                    idmapped_mounts: told.idmapped_mounts && node.idmapped_mounts,
                }
            }
        }
    }

    /// What an external program says of itself.
    pub async fn external(&self, name: &str, binary: &Path) -> Features {
        let Ok(program) = identity(binary) else { return Features::default() };
        let known = lock(&self.asked).get(binary).filter(|asked| asked.program == program).cloned();
        match known {
            Some(Asked { features: Some(features), .. }) => return features,
            Some(Asked { at, .. }) if at.elapsed() < PAUSE => return Features::default(),
            _ => {}
        }
        let told = ask(binary).await.map(|told| told.features());
        if let Err(error) = &told {
            tracing::warn!(handler = name, %error, "what the runtime handler can do is not known: taken for nothing");
        }
        let features = told.ok();
        lock(&self.asked).insert(binary.to_owned(), Asked { program, features, at: Instant::now() });
        features.unwrap_or_default()
    }
}

/// What this node's kernel can do, and with it the built-in launcher. `images` is where the image store is. It blocks.
pub fn of_node(images: &Path) -> Features {
    // The probe makes both.
    let mapped = spec::user_namespaces_supported(images);
    Features {
        recursive_read_only_mounts: Kernel::running() >= MOUNT_SETATTR,
        user_namespaces: mapped,
        idmapped_mounts: mapped,
    }
}

/// What `PROGRAM features` says, as far as it matters here.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Told {
    mount_options: Vec<String>,
    linux: ToldLinux,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ToldLinux {
    namespaces: Vec<String>,
    mount_extensions: MountExtensions,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct MountExtensions {
    idmap: Idmap,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Idmap {
    enabled: bool,
}

impl Told {
    fn features(&self) -> Features {
        Features {
            recursive_read_only_mounts: self.mount_options.iter().any(|option| option == "rro"),
            user_namespaces: self.linux.namespaces.iter().any(|kind| kind == "user"),
            idmapped_mounts: self.linux.mount_extensions.idmap.enabled,
        }
    }
}

async fn ask(binary: &Path) -> std::result::Result<Told, String> {
    let mut command = Command::new(binary);
    command.arg("features").current_dir("/").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.kill_on_drop(true).spawn().map_err(|error| format!("{}: {error}", binary.display()))?;
    let talking = async {
        let mut said = Vec::new();
        if let Some(stdout) = child.stdout.take() {
            stdout.take(LARGEST).read_to_end(&mut said).await.map_err(|error| error.to_string())?;
        }
        let status = child.wait().await.map_err(|error| error.to_string())?;
        match status.success() {
            true => serde_json::from_slice(&said).map_err(|error| error.to_string()),
            false => Err(status.to_string()),
        }
    };
    let told =
        tokio::time::timeout(PATIENCE, talking).await.unwrap_or_else(|_| Err(format!("no answer in {PATIENCE:?}")));
    told.map_err(|error| format!("{} features: {error}", binary.display()))
}

fn identity(binary: &Path) -> std::io::Result<Identity> {
    let found = fs::metadata(binary)?;
    Ok((found.dev(), found.ino(), found.size(), found.ctime(), found.ctime_nsec()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const ALL: Features = Features { recursive_read_only_mounts: true, user_namespaces: true, idmapped_mounts: true };

    fn program(directory: &Path, text: &str) -> Handler {
        let binary = directory.join("runtime");
        let beside = directory.join("new");
        fs::write(&beside, format!("#!/bin/sh\n{text}\n")).unwrap();
        fs::set_permissions(&beside, fs::Permissions::from_mode(0o755)).unwrap();
        fs::rename(&beside, &binary).unwrap();
        Handler::External { name: "x".to_owned(), binary }
    }

    fn spec(users: bool, mapped: bool) -> Spec {
        let ids = serde_json::json!([{"containerID": 0, "hostID": 65536, "size": 65536}]);
        let mut spec = serde_json::json!({"ociVersion": "1.1.0", "mounts": [{"destination": "/v"}], "linux": {}});
        if users {
            spec["linux"]["uidMappings"] = ids.clone();
        }
        if mapped {
            spec["mounts"][0]["uidMappings"] = ids;
        }
        serde_json::from_value(spec).unwrap()
    }

    #[test]
    fn what_a_runtime_does_not_claim_is_refused_and_nothing_else() {
        let program = Path::new("/runc");
        let old = Features { user_namespaces: true, ..Features::default() };
        assert!(ALL.check(&spec(true, true), program).is_ok());
        assert!(old.check(&spec(true, false), program).is_ok());
        let error = old.check(&spec(true, true), program).unwrap_err().to_string();
        assert!(error.contains("/v: /runc") && error.contains("map the ids"), "{error}");
        let mut whole = spec(false, false);
        if let Some(mount) = whole.mounts_mut().as_mut().and_then(|mounts| mounts.first_mut()) {
            mount.set_options(Some(vec!["rbind".to_owned(), "rro".to_owned()]));
        }
        assert!(ALL.check(&whole, program).is_ok());
        assert!(old.check(&whole, program).unwrap_err().to_string().contains("/v: /runc"));
        let none = Features::default();
        assert!(none.check(&spec(true, false), program).unwrap_err().to_string().contains("user namespaces"));
        assert!(none.check(&spec(false, false), program).is_ok());
    }

    #[tokio::test]
    async fn a_program_is_asked_once_and_again_when_it_is_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let count = directory.path().join("count");
        let can = format!(
            "echo >> {}; test $1 = features && echo '{{\"mountOptions\": [\"ro\", \"rro\"]}}'",
            count.display()
        );
        let (probes, handler) = (Probes::default(), program(directory.path(), &can));
        for _ in 0..3 {
            assert!(probes.features(&handler, ALL).await.recursive_read_only_mounts);
        }
        assert_eq!(fs::read(&count).unwrap().len(), 1);
        let handler =
            program(directory.path(), "echo '{\"mountOptions\": [\"ro\"], \"linux\": {\"namespaces\": [\"user\"]}}'");
        assert!(!probes.features(&handler, ALL).await.recursive_read_only_mounts);
    }

    #[tokio::test]
    async fn a_program_that_does_not_know_can_nothing() {
        for text in ["exit 1", "echo nonsense", "echo '{\"mountOptions\": 7}'", "yes"] {
            let directory = tempfile::tempdir().unwrap();
            let handler = program(directory.path(), text);
            assert_eq!(Probes::default().features(&handler, ALL).await, Features::default(), "{text}");
        }
        let gone = Handler::External { name: "x".to_owned(), binary: "/nowhere/runtime".into() };
        assert_eq!(Probes::default().features(&gone, ALL).await, Features::default());
    }

    #[tokio::test(start_paused = true)]
    async fn a_program_that_hangs_is_not_waited_for() {
        let directory = tempfile::tempdir().unwrap();
        let handler = program(directory.path(), "sleep 1000");
        assert_eq!(Probes::default().features(&handler, ALL).await, Features::default());
    }

    #[test]
    fn what_a_program_tells_is_read() {
        let told: Told = serde_json::from_str(
            r#"{"linux": {"namespaces": ["user"], "mountExtensions": {"idmap": {"enabled": true}}}, "ociVersionMin": "1.0.0"}"#,
        )
        .unwrap();
        assert_eq!(told.features(), Features { recursive_read_only_mounts: false, ..ALL });
        assert_eq!(Told::default().features(), Features::default());
    }

    #[tokio::test]
    async fn what_the_node_cannot_do_no_program_can() {
        let directory = tempfile::tempdir().unwrap();
        let handler = program(directory.path(), "echo '{\"mountOptions\": [\"rro\"]}'");
        assert_eq!(Probes::default().features(&handler, Features::default()).await, Features::default());
        assert_eq!(Probes::default().features(&Handler::BuiltIn, ALL).await, ALL);
    }
}
