//! Linux mechanisms for the node: cgroups, mounts, network namespaces, netlink, nftables, AppArmor and CNI.
//!
//! No CRI types, no async runtime: everything here blocks, and says so; callers choose the thread.

pub mod activation;
pub mod apparmor;
pub mod cgroup;
pub mod kernel;
pub mod memory;
pub mod mount;
pub mod network;
pub mod process;
pub mod quota;
pub mod selinux;
pub mod spawn;
pub mod systemd;
pub mod user_namespace;
pub mod whole_file;
