//! What a pod's monitor is told to launch a container, and to run a process in it.

use std::fs::File;
use std::io::BufReader;
use std::path::PathBuf;
use std::sync::Arc;

use corten_monitor::protocol::{Launch, Launcher, OverlayRoot};
use oci_spec::runtime::Spec;

use super::config::Stdin;
use super::{Container, image_mounts, spec_path};
use crate::error::{Error, Result};
use crate::node::{Handler, Node};
use crate::record;
use crate::seccomp::Compiled;

/// The launch of a created container, and the filter to send with it.
pub fn launch(node: &Node, container: &Container) -> Result<(Launch, Option<Arc<Compiled>>)> {
    let snapshot = node
        .images
        .snapshot(container.id())
        .ok_or_else(|| Error::node("snapshot", format!("container {} has none", container.id())))?;
    let spec = read_spec(node, container)?;
    let launcher = launcher(node, container)?;
    let filter = match launcher {
        Launcher::BuiltIn => seccomp_filter(node, &spec)?,
        Launcher::External { .. } => None,
    };
    let launch = Launch {
        seccomp: filter.is_some(),
        seccomp_flags: filter.as_ref().and_then(|filter| filter.flags),
        spec,
        root: OverlayRoot {
            lower: snapshot.lower,
            upper: snapshot.upper,
            work: snapshot.work,
            directories: container.resolved().map(|resolved| resolved.volumes.clone()).unwrap_or_default(),
        },
        images: image_mounts::plan(container.config(), snapshot.mounted),
        launcher,
        stdin: container.config().stdin != Stdin::Null,
        log: container.log_file(),
        max_log_line: node.config.container_log.max_line,
    };
    Ok((launch, filter))
}

/// The spec as the create wrote it.
pub fn read_spec(node: &Node, container: &Container) -> Result<Spec> {
    let path = spec_path(&node.container_directory(container.id()));
    let failed = |error: &dyn std::fmt::Display| Error::node(format!("read {}", path.display()), error);
    let file = File::open(&path).map_err(|error| failed(&error))?;
    serde_json::from_reader(BufReader::new(file)).map_err(|error| failed(&error))
}

/// A spec's seccomp profile compiled, from the cache.
pub fn seccomp_filter(node: &Node, spec: &Spec) -> Result<Option<Arc<Compiled>>> {
    let Some(profile) = spec.linux().as_ref().and_then(|linux| linux.seccomp().as_ref()) else { return Ok(None) };
    node.seccomp.compile(profile).map(Some).map_err(|error| Error::node("seccomp profile", error))
}

fn launcher(node: &Node, container: &Container) -> Result<Launcher> {
    match node.handler(&container.pod.handler)? {
        Handler::BuiltIn => Ok(Launcher::BuiltIn),
        Handler::External { name, binary } => {
            let state = external_state(node, &name);
            record::make_directory(&state)?;
            let bundle = node.container_directory(container.id()).join("bundle");
            record::make_directory(&bundle)?;
            let systemd = node.driver.is_unit(&container.place(node));
            let mounts = node.external_mounts();
            Ok(Launcher::External { binary, state, bundle, mounts, systemd })
        }
    }
}

/// Where an external runtime keeps its state.
pub fn external_state(node: &Node, handler: &str) -> PathBuf {
    node.config.state.join("runtimes").join(handler)
}
