//! The system calls of the default profile.
//!
//! What is not listed fails with EPERM. That is, above all: mounting, kernel modules, swap, rebooting, the clock, keyrings (`keyctl`,
//! which has no namespaces), io_uring (too many holes), userfaultfd, bpf, perf, kexec, quotas, accounting, and joining or making
//! namespaces. It is what clusters know as `RuntimeDefault` from other runtimes, so that workloads can move between them.

use oci_spec::runtime::Capability;

/// Allowed to everybody.
pub(super) const ALLOWED: &[&[&str]] = &[
    FILES,
    DESCRIPTORS,
    ATTRIBUTES,
    MEMORY,
    PROCESSES,
    IDENTITY,
    SIGNALS,
    SCHEDULING,
    TIME,
    WAITING,
    SOCKETS,
    SYSTEM_V,
    ASYNCHRONOUS,
    SYSTEM,
];

#[rustfmt::skip]
const FILES: &[&str] = &[
    "access", "faccessat", "faccessat2", "chdir", "fchdir", "getcwd", "chmod", "fchmod", "fchmodat", "fchmodat2", "chown", "chown32",
    "fchown", "fchown32", "fchownat", "lchown", "lchown32", "creat", "open", "openat", "openat2", "link", "linkat", "symlink", "symlinkat",
    "readlink", "readlinkat", "mkdir", "mkdirat", "mknod", "mknodat", "rename", "renameat", "renameat2", "rmdir", "unlink", "unlinkat",
    "stat", "stat64", "lstat", "lstat64", "fstat", "fstat64", "fstatat64", "newfstatat", "statx", "statfs", "statfs64", "fstatfs",
    "fstatfs64", "statmount", "listmount", "truncate", "truncate64", "umask", "utime", "utimes", "futimesat", "utimensat",
    "utimensat_time64", "getdents", "getdents64", "name_to_handle_at", "inotify_init", "inotify_init1", "inotify_add_watch",
    "inotify_rm_watch", "fanotify_mark", "sync", "syncfs", "landlock_create_ruleset", "landlock_add_rule", "landlock_restrict_self",
];

#[rustfmt::skip]
const DESCRIPTORS: &[&str] = &[
    "close", "close_range", "dup", "dup2", "dup3", "fcntl", "fcntl64", "flock", "ioctl", "lseek", "_llseek", "pipe", "pipe2", "read", "readv",
    "pread64", "preadv", "preadv2", "write", "writev", "pwrite64", "pwritev", "pwritev2", "readahead", "fadvise64", "fadvise64_64",
    "fallocate", "ftruncate", "ftruncate64", "fsync", "fdatasync", "sync_file_range", "copy_file_range", "sendfile", "sendfile64", "splice",
    "tee", "vmsplice", "cachestat",
];

#[rustfmt::skip]
const ATTRIBUTES: &[&str] = &[
    "getxattr", "lgetxattr", "fgetxattr", "getxattrat", "setxattr", "lsetxattr", "fsetxattr", "setxattrat", "listxattr", "llistxattr",
    "flistxattr", "listxattrat", "removexattr", "lremovexattr", "fremovexattr", "removexattrat", "file_getattr", "file_setattr",
];

#[rustfmt::skip]
const MEMORY: &[&str] = &[
    "brk", "mmap", "mmap2", "munmap", "mremap", "remap_file_pages", "mprotect", "madvise", "mincore", "msync", "mlock", "mlock2", "mlockall",
    "munlock", "munlockall", "mseal", "map_shadow_stack", "memfd_create", "memfd_secret", "membarrier", "pkey_alloc", "pkey_free",
    "pkey_mprotect", "process_mrelease",
];

#[rustfmt::skip]
const PROCESSES: &[&str] = &[
    "execve", "execveat", "exit", "exit_group", "fork", "vfork", "wait4", "waitid", "waitpid", "getpid", "getppid", "gettid", "getpgid",
    "getpgrp", "setpgid", "getsid", "setsid", "pidfd_open", "pidfd_send_signal", "prctl", "seccomp", "rseq", "set_tid_address",
    "get_thread_area", "set_thread_area", "get_robust_list", "set_robust_list", "getrlimit", "ugetrlimit", "setrlimit", "prlimit64",
    "getrusage", "uretprobe",
];

#[rustfmt::skip]
const IDENTITY: &[&str] = &[
    "getuid", "getuid32", "geteuid", "geteuid32", "getgid", "getgid32", "getegid", "getegid32", "getgroups", "getgroups32", "getresuid",
    "getresuid32", "getresgid", "getresgid32", "setuid", "setuid32", "setgid", "setgid32", "setgroups", "setgroups32", "setreuid",
    "setreuid32", "setregid", "setregid32", "setresuid", "setresuid32", "setresgid", "setresgid32", "setfsuid", "setfsuid32", "setfsgid",
    "setfsgid32", "capget", "capset",
];

#[rustfmt::skip]
const SIGNALS: &[&str] = &[
    "kill", "tkill", "tgkill", "pause", "sigaltstack", "sigpending", "sigprocmask", "sigreturn", "rt_sigaction", "rt_sigpending",
    "rt_sigprocmask", "rt_sigqueueinfo", "rt_tgsigqueueinfo", "rt_sigreturn", "rt_sigsuspend", "rt_sigtimedwait", "rt_sigtimedwait_time64",
    "signalfd", "signalfd4", "restart_syscall",
];

#[rustfmt::skip]
const SCHEDULING: &[&str] = &[
    "sched_yield", "sched_getaffinity", "sched_setaffinity", "sched_getattr", "sched_setattr", "sched_getparam", "sched_setparam",
    "sched_getscheduler", "sched_setscheduler", "sched_get_priority_max", "sched_get_priority_min", "sched_rr_get_interval",
    "sched_rr_get_interval_time64", "getpriority", "setpriority", "ioprio_get", "ioprio_set", "getcpu",
];

// `adjtimex` and `clock_adjtime` read the clock's state; the kernel wants CAP_SYS_TIME for more.
#[rustfmt::skip]
const TIME: &[&str] = &[
    "time", "times", "gettimeofday", "clock_gettime", "clock_gettime64", "clock_getres", "clock_getres_time64", "clock_nanosleep",
    "clock_nanosleep_time64", "nanosleep", "alarm", "getitimer", "setitimer", "adjtimex", "clock_adjtime", "clock_adjtime64",
    "timer_create", "timer_delete", "timer_getoverrun", "timer_gettime", "timer_gettime64", "timer_settime", "timer_settime64",
    "timerfd_create", "timerfd_gettime", "timerfd_gettime64", "timerfd_settime", "timerfd_settime64",
];

#[rustfmt::skip]
const WAITING: &[&str] = &[
    "poll", "ppoll", "ppoll_time64", "select", "_newselect", "pselect6", "pselect6_time64", "epoll_create", "epoll_create1", "epoll_ctl",
    "epoll_ctl_old", "epoll_wait", "epoll_wait_old", "epoll_pwait", "epoll_pwait2", "eventfd", "eventfd2", "futex", "futex_time64",
    "futex_wait", "futex_waitv", "futex_wake", "futex_requeue",
];

// `socket` has conditions, see `ADDRESS_FAMILIES`. `socketcall` is the 32-bit ABIs' way to all of these; a filter cannot see its
// arguments, and without it no 32-bit Go program has a network, so it is not held to those conditions: an LSM has to.
#[rustfmt::skip]
const SOCKETS: &[&str] = &[
    "socketcall", "socketpair", "bind", "listen", "accept", "accept4", "connect", "shutdown", "getsockname", "getpeername", "getsockopt",
    "setsockopt", "send", "sendto", "sendmsg", "sendmmsg", "recv", "recvfrom", "recvmsg", "recvmmsg", "recvmmsg_time64",
];

#[rustfmt::skip]
const SYSTEM_V: &[&str] = &[
    "ipc", "msgctl", "msgget", "msgrcv", "msgsnd", "semctl", "semget", "semop", "semtimedop", "semtimedop_time64", "shmat", "shmctl", "shmdt",
    "shmget", "mq_open", "mq_unlink", "mq_notify", "mq_getsetattr", "mq_timedreceive", "mq_timedreceive_time64", "mq_timedsend",
    "mq_timedsend_time64",
];

/// The old interface, not io_uring.
#[rustfmt::skip]
const ASYNCHRONOUS: &[&str] = &[
    "io_setup", "io_destroy", "io_submit", "io_cancel", "io_getevents", "io_pgetevents", "io_pgetevents_time64",
];

#[rustfmt::skip]
const SYSTEM: &[&str] = &["uname", "sysinfo", "getrandom"];

/// Allowed from this kernel on, which lets a tracer no longer get round the filter (4.8).
pub(super) const TRACING_KERNEL: (u32, u32) = (4, 8);

/// Allowed from [`TRACING_KERNEL`] on; the kernel checks who may trace whom.
pub(super) const TRACING: &[&str] = &["ptrace", "process_vm_readv", "process_vm_writev"];

/// Allowed on some architectures, by Go's name.
#[rustfmt::skip]
pub(super) const BY_ARCHITECTURE: &[(&str, &[&str])] = &[
    ("amd64", &["arch_prctl", "modify_ldt"]),
    ("arm64", &["arm_fadvise64_64", "arm_sync_file_range", "sync_file_range2", "breakpoint", "cacheflush", "set_tls"]),
    ("ppc64le", &["sync_file_range2", "swapcontext"]),
    ("riscv64", &["riscv_flush_icache", "riscv_hwprobe"]),
    ("s390x", &["s390_pci_mmio_read", "s390_pci_mmio_write", "s390_runtime_instr"]),
];

/// Allowed to who has the capability. `clone` and `clone3` are then without conditions.
#[rustfmt::skip]
pub(super) const BY_CAPABILITY: &[(Capability, &[&str])] = &[
    (Capability::DacReadSearch, &["open_by_handle_at"]),
    (Capability::SysAdmin, &[
        "bpf", "clone", "clone3", "fanotify_init", "fsconfig", "fsmount", "fsopen", "fspick", "lookup_dcookie", "mount", "mount_setattr",
        "move_mount", "open_tree", "open_tree_attr", "perf_event_open", "quotactl", "quotactl_fd", "setdomainname", "sethostname", "setns",
        "syslog", "umount", "umount2", "unshare",
    ]),
    (Capability::SysBoot, &["reboot"]),
    (Capability::SysChroot, &["chroot"]),
    (Capability::SysModule, &["delete_module", "init_module", "finit_module"]),
    (Capability::SysPacct, &["acct"]),
    (Capability::SysPtrace, &["kcmp", "pidfd_getfd", "process_madvise", "process_vm_readv", "process_vm_writev", "ptrace"]),
    (Capability::SysRawio, &["iopl", "ioperm"]),
    (Capability::SysTime, &["settimeofday", "stime", "clock_settime", "clock_settime64"]),
    (Capability::SysTtyConfig, &["vhangup"]),
    (Capability::SysNice, &["get_mempolicy", "mbind", "set_mempolicy", "set_mempolicy_home_node"]),
    (Capability::Syslog, &["syslog"]),
    (Capability::Bpf, &["bpf"]),
    (Capability::Perfmon, &["perf_event_open"]),
];

/// The flags of `clone` that make a namespace: NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET.
pub(super) const CLONE_NAMESPACES: u64 = 0x7e02_0000;

/// What `personality` may be asked for: Linux, 32-bit Linux, both also pretending to be 2.6, and what it is now.
pub(super) const PERSONALITIES: &[u64] = &[0, 0x8, 0x2_0000, 0x2_0008, 0xffff_ffff];

/// The address families that `socket` may have, as masks and values: 0 to 47 without 38 (AF_ALG, a way into the kernel's cryptography
/// with a history) and 40 (AF_VSOCK, which knows no namespaces: any pod could talk to the host's and other pods' virtual machines).
/// The masks end at 32 bits, because the kernel does not look at more either.
pub(super) const ADDRESS_FAMILIES: &[(u64, u64)] = &[
    (0xffff_ffe0, 0),  // 0 to 31
    (0xffff_fffc, 32), // 32 to 35
    (0xffff_fffe, 36), // 36, 37
    (0xffff_ffff, 39),
    (0xffff_ffff, 41),
    (0xffff_fffe, 42), // 42, 43
    (0xffff_fffc, 44), // 44 to 47
];
