//! A monitor for tests: the test process itself. It forks a launcher process as the real one does, and gets the
//! container's process as its own child.

use std::fs;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

use corten_host::cgroup::Hierarchies;
use corten_monitor::launcher::{self, PodHandles, Started, Stdio};
use corten_monitor::protocol::{CallError, Exec, ImageMount, Launch, Launcher, OverlayRoot};
use serde_json::{Value, json};
use tempfile::TempDir;

/// A root filesystem made of busybox, and what a test launched on it.
pub struct Fixture {
    /// Holds the layers.
    pub dir: TempDir,
    /// The specification, to be changed by the test.
    pub spec: Value,
    /// The cgroup's path.
    pub cgroup: String,
    /// The layers, topmost first.
    pub lower: Vec<PathBuf>,
    /// Directories to be made in the root.
    pub directories: Vec<PathBuf>,
    /// What mounts show of images.
    pub images: Vec<ImageMount>,
    /// The flags that a seccomp filter is loaded with.
    pub seccomp_flags: Option<u32>,
}

/// How a container's process ended.
#[derive(Debug)]
pub struct Ended {
    pub code: Option<i32>,
    pub signal: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

/// A running container.
pub struct Running {
    pub pid: i32,
    stdout: fs::File,
    stderr: fs::File,
}

static COUNT: AtomicU32 = AtomicU32::new(0);

impl Fixture {
    /// With a default specification that runs `sh -c script`.
    pub fn new(script: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let lower = dir.path().join("lower");
        for name in ["bin", "etc", "proc", "sys", "dev", "tmp", "data"] {
            fs::create_dir_all(lower.join(name)).unwrap();
        }
        fs::copy("/bin/busybox", lower.join("bin/busybox")).expect("Debian's busybox-static");
        for name in ["sh", "cat", "ls", "id", "mount", "stat", "readlink", "sleep", "touch", "hostname", "pwd", "env"] {
            std::os::unix::fs::symlink("busybox", lower.join("bin").join(name)).unwrap();
        }
        fs::write(lower.join("etc/passwd"), "root:x:0:0::/root:/bin/sh\nu:x:1000:1000::/home/u:/bin/sh\n").unwrap();
        for name in ["upper", "work"] {
            fs::create_dir(dir.path().join(name)).unwrap();
        }
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let cgroup = format!("/corten-test-launcher-{}-{count}", std::process::id());
        let spec = spec(script, &cgroup);
        Fixture {
            lower: vec![lower],
            directories: Vec::new(),
            images: Vec::new(),
            seccomp_flags: None,
            dir,
            spec,
            cgroup,
        }
    }

    /// The path of a file in the container's lowest layer.
    pub fn file(&self, path: &str) -> PathBuf {
        self.dir.path().join("lower").join(path)
    }

    /// The specification's process.
    pub fn process(&mut self) -> &mut Value {
        &mut self.spec["process"]
    }

    /// Adds a mount.
    pub fn mount(&mut self, destination: &str, kind: &str, source: &Path, options: &[&str]) {
        let mount = json!({"destination": destination, "type": kind, "source": source, "options": options});
        self.spec["mounts"].as_array_mut().unwrap().push(mount);
    }

    /// What is asked of the launcher.
    pub fn plan(&self, seccomp: bool) -> Launch {
        Launch {
            spec: serde_json::from_value(self.spec.clone()).unwrap(),
            root: OverlayRoot {
                lower: self.lower.clone(),
                upper: self.dir.path().join("upper"),
                work: self.dir.path().join("work"),
                directories: self.directories.clone(),
            },
            images: self.images.clone(),
            seccomp,
            seccomp_flags: self.seccomp_flags,
            launcher: Launcher::BuiltIn,
            stdin: false,
            log: None,
            max_log_line: 16384,
        }
    }

    /// Launches and returns once execve has succeeded.
    pub fn launch(&self) -> Result<Running, CallError> {
        self.launch_with(None)
    }

    /// With a seccomp filter.
    pub fn launch_with(&self, seccomp: Option<&[u8]>) -> Result<Running, CallError> {
        let plan = self.plan(seccomp.is_some());
        let filter = seccomp.map(memfd);
        with_pipes(|stdio| launcher::launch(&plan, &PodHandles::default(), Some(stdio), filter.map(OwnedFd::from)))
    }

    /// In a pod.
    pub fn launch_in(&self, pod: &PodHandles<'_>) -> Result<Running, CallError> {
        let plan = self.plan(false);
        with_pipes(|stdio| launcher::launch(&plan, pod, Some(stdio), None))
    }

    /// Launches, waits for the end, and removes the cgroup.
    pub fn run(&self) -> Ended {
        self.run_with(None)
    }

    /// With a seccomp filter.
    pub fn run_with(&self, seccomp: Option<&[u8]>) -> Ended {
        let ended = self.launch_with(seccomp).unwrap().wait();
        self.remove_cgroup();
        ended
    }

    /// What the script printed, if all went well.
    pub fn output(&self) -> String {
        let ended = self.run();
        assert_eq!(ended.code, Some(0), "{ended:?}");
        ended.stdout
    }

    /// The error of a launch that must fail; nothing may be left of it.
    pub fn error(&self) -> CallError {
        match self.launch() {
            Ok(running) => panic!("launched: {:?}", running.wait()),
            Err(error) => {
                assert!(!self.cgroup_exists(), "a failed launch left its cgroup");
                error
            }
        }
    }

    /// Whether the container's cgroup is there.
    pub fn cgroup_exists(&self) -> bool {
        Hierarchies::detect().unwrap().cgroup(&self.cgroup).unwrap().exists()
    }

    /// What the monitor's owner does after the end.
    pub fn remove_cgroup(&self) {
        Hierarchies::detect().unwrap().cgroup(&self.cgroup).unwrap().remove().unwrap();
    }

    /// Runs a process in a running container.
    pub fn exec(&self, running: &Running, change: impl FnOnce(&mut Value)) -> Result<Running, CallError> {
        self.exec_with(running, None, change)
    }

    /// With a seccomp filter.
    pub fn exec_with(
        &self,
        running: &Running,
        seccomp: Option<&[u8]>,
        change: impl FnOnce(&mut Value),
    ) -> Result<Running, CallError> {
        let mut process = self.spec["process"].clone();
        change(&mut process);
        let terminal = process["terminal"].as_bool().unwrap_or(false);
        let plan = Exec {
            process: serde_json::from_value(process).unwrap(),
            terminal,
            seccomp: seccomp.is_some(),
            seccomp_flags: self.seccomp_flags,
        };
        let filter = seccomp.map(memfd);
        with_pipes(|stdio| launcher::exec(&plan, running.pid, Some(stdio), filter.map(OwnedFd::from)))
    }
}

/// A test that fails leaves nothing behind either.
impl Drop for Fixture {
    fn drop(&mut self) {
        let cgroup = Hierarchies::detect().unwrap().cgroup(&self.cgroup).unwrap();
        if cgroup.exists() {
            let _ = cgroup.kill(libc::SIGKILL);
            let _ = cgroup.remove();
        }
    }
}

impl Running {
    /// Ends it.
    pub fn kill(&self) {
        // SAFETY: a signal to a child that has not been reaped.
        unsafe { libc::kill(self.pid, libc::SIGKILL) };
    }

    /// Reads what it prints and reaps it.
    pub fn wait(mut self) -> Ended {
        let (mut stdout, mut stderr) = (String::new(), String::new());
        self.stdout.read_to_string(&mut stdout).unwrap();
        self.stderr.read_to_string(&mut stderr).unwrap();
        let mut status = 0;
        // SAFETY: status outlives the call.
        let reaped = unsafe { libc::waitpid(self.pid, &raw mut status, 0) };
        assert_eq!(reaped, self.pid, "the container's process is not a child of the launcher process's parent");
        Ended {
            code: libc::WIFEXITED(status).then(|| libc::WEXITSTATUS(status)),
            signal: libc::WIFSIGNALED(status).then(|| libc::WTERMSIG(status)),
            stdout,
            stderr,
        }
    }

    /// Reads one line of what it prints.
    pub fn line(&mut self) -> String {
        let mut line = Vec::new();
        let mut byte = [0];
        while self.stdout.read(&mut byte).unwrap() == 1 && byte != *b"\n" {
            line.push(byte[0]);
        }
        String::from_utf8(line).unwrap()
    }
}

/// A sealed-enough file of these bytes.
fn memfd(bytes: &[u8]) -> fs::File {
    let mut file = fs::File::from(rustix::fs::memfd_create("filter", rustix::fs::MemfdFlags::CLOEXEC).unwrap());
    file.write_all(bytes).unwrap();
    file
}

fn pipe() -> (OwnedFd, OwnedFd) {
    rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap()
}

fn with_pipes(call: impl FnOnce(Stdio) -> Result<Started, CallError>) -> Result<Running, CallError> {
    let (stdout, stdout_end) = pipe();
    let (stderr, stderr_end) = pipe();
    let stdin = fs::File::open("/dev/null").unwrap().into();
    let (pid, _) =
        as_launcher(move || call(Stdio { stdin, stdout: stdout_end, stderr: stderr_end }), |_| String::new())?;
    Ok(Running { pid, stdout: stdout.into(), stderr: stderr.into() })
}

/// The processes launched successfully. Locked while one is launched.
static LAUNCHED: Mutex<Vec<i32>> = Mutex::new(Vec::new());

/// Runs another program. Nothing is launched meanwhile, or it could be reaped as what is left of a launch.
pub fn program(command: &mut std::process::Command) -> std::io::Result<std::process::Output> {
    let _none = LAUNCHED.lock().unwrap_or_else(PoisonError::into_inner);
    command.output()
}

/// Reaps the processes that did not become containers, as the monitor does with children that it does not know. (One
/// that is left in a PID namespace keeps its init from being reaped.)
fn reap_failed(launched: &[i32]) {
    for task in fs::read_dir("/proc/self/task").unwrap().flatten() {
        let children = fs::read_to_string(task.path().join("children")).unwrap_or_default();
        for pid in children.split_whitespace().map(|pid| pid.parse().unwrap()).filter(|pid| !launched.contains(pid)) {
            // SAFETY: a child of ours that nobody else waits for.
            unsafe { libc::waitpid(pid, std::ptr::null_mut(), 0) };
        }
    }
}

/// Runs `call` in a forked process, as the monitor does, and `after` on the terminal there.
pub fn as_launcher(
    call: impl FnOnce() -> Result<Started, CallError>,
    after: impl FnOnce(OwnedFd) -> String,
) -> Result<(i32, String), CallError> {
    let mut launched = LAUNCHED.lock().unwrap_or_else(PoisonError::into_inner);
    let (read, write) = pipe();
    // SAFETY: the C library makes its allocator usable in the child; nothing else that other threads lock is used.
    match unsafe { libc::fork() } {
        -1 => panic!("fork: {}", std::io::Error::last_os_error()),
        0 => {
            drop(read);
            let result = call().map(|started| (started.pid, started.console.map(after).unwrap_or_default()));
            let bytes = serde_json::to_vec(&result).unwrap();
            // SAFETY: the descriptor is open; bytes outlives the call; _exit ends.
            unsafe {
                libc::write(write.as_raw_fd(), bytes.as_ptr().cast(), bytes.len());
                libc::_exit(0)
            }
        }
        launcher => {
            // A child that inherits the writing ends of the pipes must not keep them.
            drop((write, call, after));
            let mut bytes = Vec::new();
            fs::File::from(read).read_to_end(&mut bytes).unwrap();
            // SAFETY: a child of ours.
            unsafe { libc::waitpid(launcher, std::ptr::null_mut(), 0) };
            let result: Result<(i32, String), CallError> = serde_json::from_slice(&bytes).expect("an answer");
            match &result {
                Ok((pid, _)) => launched.push(*pid),
                Err(_) => reap_failed(&launched),
            }
            result
        }
    }
}

/// Capabilities as containerd gives them by default.
const CAPABILITIES: [&str; 14] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FSETID",
    "CAP_FOWNER",
    "CAP_MKNOD",
    "CAP_NET_RAW",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETFCAP",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT",
    "CAP_KILL",
    "CAP_AUDIT_WRITE",
];

fn spec(script: &str, cgroup: &str) -> Value {
    json!({
        "ociVersion": "1.0.2",
        "process": {
            "user": {"uid": 0, "gid": 0},
            "args": ["/bin/sh", "-c", script],
            "env": ["PATH=/bin"],
            "cwd": "/",
            "capabilities": {"bounding": CAPABILITIES, "effective": CAPABILITIES, "permitted": CAPABILITIES},
            "noNewPrivileges": true,
            "oomScoreAdj": 500,
            "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 512, "hard": 1024}]
        },
        "root": {"path": "rootfs"},
        "hostname": "box",
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid", "noexec", "nodev"]},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]},
            {"destination": "/dev/pts", "type": "devpts", "source": "devpts",
             "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]},
            {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue", "options": ["nosuid", "noexec", "nodev"]},
            {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev", "ro"]},
            {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup",
             "options": ["nosuid", "noexec", "nodev", "relatime", "ro"]}
        ],
        "linux": {
            "cgroupsPath": cgroup,
            "namespaces": [
                {"type": "pid"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"}, {"type": "network"}, {"type": "cgroup"}
            ],
            "maskedPaths": ["/proc/kcore", "/proc/keys", "/proc/timer_list", "/proc/scsi", "/sys/firmware", "/proc/nothing"],
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]
        }
    })
}
