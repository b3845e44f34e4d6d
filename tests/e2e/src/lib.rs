//! What the end-to-end tests stand on: the real `cortend`, a real registry, Debian's CNI plugins and runc, in
//! namespaces of each test's own.
//!
//! [`lab::test`] runs one test: it gives it a [`lab::Lab`] (see there) and afterwards insists that nothing is left behind.
//! The tests need root and these Debian packages: busybox-static, docker-registry, containernetworking-plugins, runc,
//! iproute2, nftables, strace (`make deps` installs them).

pub mod cgroups;
pub mod cri;
pub mod daemon;
pub mod image;
pub mod lab;
pub mod leaks;
pub mod namespace;
pub mod pods;
pub mod programs;
pub mod raw;
pub mod registry;
pub mod skip;
pub mod static_server;
pub mod streaming;

/// Makes a test of each function, once for each launcher: the built-in one (`corten::name`) and runc (`runc::name`). The
/// functions take the [`daemon::Setup`] to start from.
#[macro_export]
macro_rules! for_each_launcher {
    ($($name:ident),+ $(,)?) => {
        mod corten {
            $(#[test] fn $name() { super::$name($crate::daemon::Setup { handler: "corten", ..Default::default() }) })+
        }
        mod runc {
            $(#[test] fn $name() { super::$name($crate::daemon::Setup { handler: "runc", ..Default::default() }) })+
        }
    };
}
