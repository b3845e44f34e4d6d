//! Launching by an external, runc-compatible program.
//!
//! Everything here runs in a short-lived child. The container's root has to be mounted for such a program: it is, in a
//! mount namespace that only the child and the container have, so that the host's mount table never shows it.

mod command;
mod console;
mod hidden;
mod root;

use std::fs;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use oci_spec::runtime::{LinuxNamespaceType, LinuxPids, Mount, Process, Spec};
use rustix::fs::{StatVfsMountFlags, statvfs};

use self::command::{Command, Streams};
use self::console::Console;
use self::hidden::Hidden;
use crate::launch::{bad, node};
use crate::launcher::{PodHandles, Started, Stdio};
use crate::protocol::{CallError, Exec, Launch, POD_SHM, image_number};
use crate::report::Runtime;

/// A container of an external runtime.
#[derive(Debug, Clone, Copy)]
pub struct External<'a> {
    /// The runtime.
    pub runtime: &'a Runtime,
    /// The container's id.
    pub id: &'a str,
}

impl External<'_> {
    /// Below it the container's root, its `/dev/shm` and its images are mounted.
    fn mounts(&self) -> PathBuf {
        self.runtime.mounts.join(self.id)
    }

    fn root(&self) -> PathBuf {
        self.mounts().join("rootfs")
    }

    fn shm(&self) -> PathBuf {
        self.mounts().join("shm")
    }

    fn image(&self, number: usize) -> PathBuf {
        self.mounts().join(format!("image-{number}"))
    }
}

/// Creates and starts a container; its init becomes the monitor's child when the runtime has ended.
///
/// # Errors
/// The step that failed, with what the runtime says. Nothing of the container is left then.
pub fn launch(
    container: External<'_>,
    plan: &Launch,
    pod: &PodHandles<'_>,
    stdio: Option<Stdio>,
) -> Result<Started, CallError> {
    let launched = create_and_start(container, plan, pod, stdio);
    if launched.is_err() {
        delete(container);
    }
    launched
}

fn create_and_start(
    container: External<'_>,
    plan: &Launch,
    pod: &PodHandles<'_>,
    stdio: Option<Stdio>,
) -> Result<Started, CallError> {
    root::mount(plan, &container.root(), &container.runtime.mounts, pod.users)?;
    for (number, image) in plan.images.iter().enumerate() {
        root::mount_image(image, &container.image(number), plan.file_label())?;
    }
    if uses_shm(&plan.spec) {
        let namespace = pod.shm_ns.ok_or_else(|| bad("the pod has no /dev/shm of its own".to_owned()))?;
        root::mount_shm(namespace, &container.shm())?;
    }
    let bundle = &container.runtime.bundle;
    let mut spec = spec_for(container, plan.spec.clone(), pod);
    let hidden = Hidden::take(&mut spec)?;
    if container.runtime.systemd {
        name_unit(&mut spec);
        leave_tasks_unlimited(&mut spec);
    }
    write_json(&bundle.join("config.json"), &spec)?;
    let console = if stdio.is_none() { Some(Console::listen(bundle)?) } else { None };
    let pid_file = bundle.join("init.pid");
    let mut create = Command::new(container.runtime, &bundle.join("log.json"));
    create.argument("create").argument("--bundle").argument(bundle).argument("--pid-file").argument(&pid_file);
    if let Some(console) = &console {
        create.argument("--console-socket").argument(console.path());
    }
    create.argument(container.id).run("create", stdio.map_or(Streams::None, Streams::Given))?;
    let console = console.map(Console::receive).transpose()?;
    let pid = read_pid(&pid_file)?;
    hidden.apply()?;
    let mut start = Command::new(container.runtime, &bundle.join("log.json"));
    start.argument("start").argument(container.id).run("start", Streams::None)?;
    Ok(Started { pid, console })
}

/// Runs the process `id` in a container.
///
/// # Errors
/// The step that failed, with what the runtime says.
pub fn exec(container: External<'_>, id: &str, plan: &Exec, stdio: Option<Stdio>) -> Result<Started, CallError> {
    let directory = container.runtime.bundle.join(format!("exec-{id}"));
    fs::create_dir_all(&directory).map_err(|error| node("exec", format!("{}: {error}", directory.display())))?;
    let started = exec_from(container, &directory, plan, stdio);
    if let Err(error) = fs::remove_dir_all(&directory) {
        eprintln!("{}: {error}", directory.display());
    }
    started
}

fn exec_from(
    container: External<'_>,
    directory: &Path,
    plan: &Exec,
    stdio: Option<Stdio>,
) -> Result<Started, CallError> {
    let (process_file, pid_file) = (directory.join("process.json"), directory.join("pid"));
    let mut process: Process = plan.process.clone();
    process.set_terminal(Some(plan.terminal));
    write_json(&process_file, &process)?;
    let console = if plan.terminal { Some(Console::listen(directory)?) } else { None };
    let mut command = Command::new(container.runtime, &directory.join("log.json"));
    command.argument("exec").argument("--detach").argument("--process").argument(&process_file);
    command.argument("--pid-file").argument(&pid_file);
    if let Some(console) = &console {
        command.argument("--console-socket").argument(console.path());
    }
    command.argument(container.id).run("exec", stdio.map_or(Streams::None, Streams::Given))?;
    let console = console.map(Console::receive).transpose()?;
    Ok(Started { pid: read_pid(&pid_file)?, console })
}

/// Has the runtime forget a container, killing what is left of it, and removes the places of its mounts.
pub fn delete(container: External<'_>) {
    let mut command = Command::new(container.runtime, &container.runtime.bundle.join("delete.json"));
    if let Err(error) =
        command.argument("delete").argument("--force").argument(container.id).run("delete", Streams::None)
    {
        eprintln!("container {}: {error}", container.id);
    }
    let places = fs::read_dir(container.mounts()).into_iter().flatten().flatten().map(|place| place.path());
    for directory in places.chain([container.mounts()]) {
        // In the child that launched it they are still mounted, which must not stop the removal.
        let _ = rustix::mount::unmount(&directory, rustix::mount::UnmountFlags::DETACH);
        match fs::remove_dir(&directory) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => eprintln!("{}: {error}", directory.display()),
            _ => {}
        }
    }
}

fn uses_shm(spec: &Spec) -> bool {
    spec.mounts().as_ref().is_some_and(|mounts| mounts.iter().any(is_shm))
}

fn is_shm(mount: &Mount) -> bool {
    mount.source().as_deref() == Some(Path::new(POD_SHM))
}

/// The specification as the runtime can read it: with paths instead of what only the monitor knows.
fn spec_for(container: External<'_>, mut spec: Spec, pod: &PodHandles<'_>) -> Spec {
    let mut root = spec.root().clone().unwrap_or_default();
    root.set_path(container.root());
    spec.set_root(Some(root));
    if let Some(mounts) = spec.mounts_mut() {
        for mount in mounts.iter_mut().filter(|mount| is_shm(mount)) {
            mount.set_source(Some(container.shm()));
        }
        for mount in mounts.iter_mut() {
            if let Some(number) = mount.source().as_deref().and_then(image_number) {
                mount.set_source(Some(container.image(number)));
            }
            keep_restrictions(mount);
        }
    }
    let namespaces = spec.linux_mut().as_mut().and_then(|linux| linux.namespaces_mut().as_mut());
    for namespace in namespaces.into_iter().flatten() {
        if let Some(init) = pod.init_pid
            && namespace.typ() == LinuxNamespaceType::Pid
            && namespace.path().is_none()
        {
            namespace.set_path(Some(format!("/proc/{init}/ns/pid").into()));
        }
        if let Some(users) = pod.users
            && namespace.typ() == LinuxNamespaceType::User
        {
            namespace.set_path(Some(format!("/proc/{}/fd/{}", std::process::id(), users.as_raw_fd()).into()));
        }
    }
    spec
}

/// Says the container's cgroup in the form in which runtimes tell systemd of it, `slice:prefix:name`: the scope is
/// `prefix-name.scope`.
fn name_unit(spec: &mut Spec) {
    let Some(linux) = spec.linux_mut() else { return };
    let path = linux.cgroups_path().as_deref().and_then(Path::to_str).unwrap_or_default();
    let mut parts = path.rsplit('/');
    let (scope, slice) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let unit = scope.strip_suffix(".scope").and_then(|scope| scope.rsplit_once('-'));
    if let Some((prefix, name)) = unit {
        linux.set_cgroups_path(Some(format!("{slice}:{prefix}:{name}").into()));
    }
}

/// Says that there is no limit on processes, if none is asked for: what is not said is systemd's `DefaultTasksMax`.
fn leave_tasks_unlimited(spec: &mut Spec) {
    let Some(linux) = spec.linux_mut() else { return };
    let mut resources = linux.resources().clone().unwrap_or_default();
    let by_name = resources.unified().as_ref().is_some_and(|files| files.contains_key("pids.max"));
    if resources.pids().is_none() && !by_name {
        let mut pids = LinuxPids::default();
        pids.set_limit(-1);
        resources.set_pids(Some(pids));
        linux.set_resources(Some(resources));
    }
}

/// Names what holds for the mount that a bind mount's source is on. Runtimes set the flags anew if any is asked for, and
/// who asks for the one would lose the others.
fn keep_restrictions(mount: &mut Mount) {
    let (Some("bind"), Some(source)) = (mount.typ().as_deref(), mount.source()) else { return };
    let Ok(held) = statvfs(source) else { return };
    let mut options = mount.options().clone().unwrap_or_default();
    for (flag, name) in [
        (StatVfsMountFlags::NOSUID, "nosuid"),
        (StatVfsMountFlags::NODEV, "nodev"),
        (StatVfsMountFlags::NOEXEC, "noexec"),
    ] {
        if held.f_flag.contains(flag) && !options.iter().any(|option| option == name) {
            options.push(name.to_owned());
        }
    }
    mount.set_options(Some(options));
}

fn write_json(path: &Path, value: &impl serde::Serialize) -> Result<(), CallError> {
    let text = serde_json::to_vec(value).map_err(|error| node("bundle", format!("{}: {error}", path.display())))?;
    fs::write(path, text).map_err(|error| node("bundle", format!("{}: {error}", path.display())))
}

/// The process id that the runtime has written. It is to be the monitor's child by now.
fn read_pid(path: &Path) -> Result<i32, CallError> {
    let failed = |error: String| node("pid file", format!("{}: {error}", path.display()));
    let text = fs::read_to_string(path).map_err(|error| failed(error.to_string()))?;
    text.trim().parse().map_err(|_| failed(format!("{text:?} is not a process id")))
}
