//! A pod's `/etc/resolv.conf`, `/etc/hostname` and `/etc/hosts`: files in its state directory that its containers mount.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use corten_host::user_namespace::Mappings;

use crate::error::{Error, Result};
use crate::pod::config::{DnsConfig, PodConfig};

/// The `hosts` of a node that has none.
const LOCALHOST: &str = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n";

/// Where a pod's files are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    /// For `/etc/hosts`.
    pub hosts: PathBuf,
    /// For `/etc/hostname`.
    pub hostname: PathBuf,
    /// For `/etc/resolv.conf`.
    pub resolv_conf: PathBuf,
}

/// Where the files of a pod are in its state directory.
pub fn files(directory: &Path) -> Files {
    Files {
        hosts: directory.join("hosts"),
        hostname: directory.join("hostname"),
        resolv_conf: directory.join("resolv.conf"),
    }
}

/// Writes the files of a pod to its state directory.
///
/// # Errors
/// [`Error::Node`] naming the file.
pub fn write_files(directory: &Path, pod: &PodConfig) -> Result<()> {
    let Files { hosts, hostname, resolv_conf } = files(directory);
    write(&hosts, &hosts_content(read(Path::new("/etc/hosts"))?.as_deref()))?;
    write(&hostname, &hostname_content(&self::hostname(pod)))?;
    let node = read(Path::new("/etc/resolv.conf"))?;
    write(&resolv_conf, &resolv_conf_content(pod.dns.as_ref(), node.as_deref().unwrap_or_default()))?;
    match pod.security.namespaces.users.as_ref().and_then(Mappings::root) {
        Some(root) => [hosts, hostname, resolv_conf].iter().try_for_each(|path| give(path, root)),
        None => Ok(()),
    }
}

/// In a user namespace, too, they are root's.
fn give(path: &Path, (uid, gid): (u32, u32)) -> Result<()> {
    std::os::unix::fs::lchown(path, Some(uid), Some(gid))
        .map_err(|error| Error::node(format!("change the owner of {}", path.display()), error))
}

/// The hostname of a pod: the one asked for, else the node's.
pub fn hostname(pod: &PodConfig) -> String {
    match &pod.hostname {
        Some(name) => name.clone(),
        None => rustix::system::uname().nodename().to_string_lossy().into_owned(),
    }
}

/// A file that may be missing.
fn read(path: &Path) -> Result<Option<String>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::node(format!("read {}", path.display()), error)),
    }
}

fn write(path: &Path, content: &str) -> Result<()> {
    fs::write(path, content).map_err(|error| Error::node(format!("write {}", path.display()), error))
}

/// A resolv.conf (resolv.conf(5)) that says what the pod asks for, or what the node's says if it asks for nothing.
fn resolv_conf_content(dns: Option<&DnsConfig>, node: &str) -> String {
    let Some(DnsConfig { servers, searches, options }) = dns.filter(|dns| **dns != DnsConfig::default()) else {
        return node.to_owned();
    };
    let mut text = String::new();
    let mut line = |name: &str, words: &[String]| {
        if !words.is_empty() {
            text.push_str(&format!("{name} {}\n", words.join(" ")));
        }
    };
    line("search", searches);
    servers.iter().for_each(|server| line("nameserver", std::slice::from_ref(server)));
    line("options", options);
    text
}

fn hostname_content(name: &str) -> String {
    format!("{name}\n")
}

/// The node's, or one with nothing but localhost. The kubelet mounts its own over it.
fn hosts_content(node: Option<&str>) -> String {
    node.unwrap_or(LOCALHOST).to_owned()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;

    fn words(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    #[test]
    fn a_pod_that_asks_for_nothing_gets_the_nodes() {
        assert_eq!(resolv_conf_content(None, "nameserver 1.1.1.1\n"), "nameserver 1.1.1.1\n");
        assert_eq!(resolv_conf_content(Some(&DnsConfig::default()), "x\n"), "x\n");
    }

    #[test]
    fn a_pod_gets_what_it_asks_for() {
        let dns = DnsConfig {
            servers: words(&["10.0.0.10", "fd00::10"]),
            searches: words(&["a.svc", "svc"]),
            options: words(&["ndots:5"]),
        };
        let expected = "search a.svc svc\nnameserver 10.0.0.10\nnameserver fd00::10\noptions ndots:5\n";
        assert_eq!(resolv_conf_content(Some(&dns), "nameserver 1.1.1.1\n"), expected);
        let only_options = DnsConfig { options: words(&["ndots:1"]), ..Default::default() };
        assert_eq!(resolv_conf_content(Some(&only_options), "x"), "options ndots:1\n");
    }

    #[test]
    fn hosts_and_hostname_are_whole_lines() {
        assert_eq!(hostname_content("pod-1"), "pod-1\n");
        assert_eq!(hosts_content(Some("10.0.0.1 node\n")), "10.0.0.1 node\n");
        assert!(hosts_content(None).contains("127.0.0.1\tlocalhost"));
    }

    #[test]
    fn a_pods_files_are_written_to_its_directory() {
        let dir = tempfile::tempdir().unwrap();
        let dns = DnsConfig { servers: words(&["10.0.0.10"]), ..Default::default() };
        let pod = PodConfig { hostname: Some("web-0".into()), dns: Some(dns), ..Default::default() };
        write_files(dir.path(), &pod).unwrap();
        let files = files(dir.path());
        assert_eq!(fs::read_to_string(files.hostname).unwrap(), "web-0\n");
        assert_eq!(fs::read_to_string(files.resolv_conf).unwrap(), "nameserver 10.0.0.10\n");
        assert!(files.hosts.exists());
        assert!(!hostname(&PodConfig::default()).is_empty());
        let error = write_files(&dir.path().join("missing"), &pod).unwrap_err().to_string();
        assert!(error.contains("missing/hosts"), "{error}");
    }
}
