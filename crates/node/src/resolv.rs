//! What is in a pod's `/etc/resolv.conf`, `/etc/hostname` and `/etc/hosts`.

use crate::pod::config::DnsConfig;

/// The `hosts` of a node that has none.
const LOCALHOST: &str = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n";

/// A resolv.conf (resolv.conf(5)) that says what the pod asks for, or what the node's says if it asks for nothing.
pub fn resolv_conf(dns: Option<&DnsConfig>, node: &str) -> String {
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

/// A hostname file.
pub fn hostname(name: &str) -> String {
    format!("{name}\n")
}

/// A hosts file: the node's, or one with nothing but localhost. The kubelet mounts its own over it.
pub fn hosts(node: Option<&str>) -> String {
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
        assert_eq!(resolv_conf(None, "nameserver 1.1.1.1\n"), "nameserver 1.1.1.1\n");
        assert_eq!(resolv_conf(Some(&DnsConfig::default()), "x\n"), "x\n");
    }

    #[test]
    fn a_pod_gets_what_it_asks_for() {
        let dns = DnsConfig {
            servers: words(&["10.0.0.10", "fd00::10"]),
            searches: words(&["a.svc", "svc"]),
            options: words(&["ndots:5"]),
        };
        let expected = "search a.svc svc\nnameserver 10.0.0.10\nnameserver fd00::10\noptions ndots:5\n";
        assert_eq!(resolv_conf(Some(&dns), "nameserver 1.1.1.1\n"), expected);
        let only_options = DnsConfig { options: words(&["ndots:1"]), ..Default::default() };
        assert_eq!(resolv_conf(Some(&only_options), "x"), "options ndots:1\n");
    }

    #[test]
    fn hosts_and_hostname_are_whole_lines() {
        assert_eq!(hostname("pod-1"), "pod-1\n");
        assert_eq!(hosts(Some("10.0.0.1 node\n")), "10.0.0.1 node\n");
        assert!(hosts(None).contains("127.0.0.1\tlocalhost"));
    }
}
