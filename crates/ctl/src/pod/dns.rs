//! The pod's resolv.conf.

use corten_cri::v1;

use crate::manifest::schema::{DnsPolicy, Spec};

/// `None` leaves the node's resolv.conf in force, which is what every policy but `None` means without a cluster.
pub(super) fn config(spec: &Spec, host_resolv_conf: &str) -> Option<v1::DnsConfig> {
    let mut config = match spec.dns_policy {
        DnsPolicy::None => v1::DnsConfig::default(),
        DnsPolicy::Default | DnsPolicy::ClusterFirst | DnsPolicy::ClusterFirstWithHostNet => {
            spec.dns_config.as_ref()?;
            parse(host_resolv_conf)
        }
    };
    let Some(more) = &spec.dns_config else { return Some(config) };
    add(&mut config.servers, more.nameservers.iter().cloned());
    add(&mut config.searches, more.searches.iter().cloned());
    for option in &more.options {
        // An option of the pod replaces the node's of the same name.
        config.options.retain(|old| old.split(':').next() != Some(&option.name));
        config.options.push(match &option.value {
            Some(value) => format!("{}:{value}", option.name),
            None => option.name.clone(),
        });
    }
    Some(config)
}

fn add(list: &mut Vec<String>, more: impl Iterator<Item = String>) {
    for item in more {
        if !list.contains(&item) {
            list.push(item);
        }
    }
}

/// resolv.conf(5): the last `search` or `domain` line counts, options add up.
fn parse(text: &str) -> v1::DnsConfig {
    let mut config = v1::DnsConfig::default();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let key = words.next().unwrap_or_default();
        let words = words.take_while(|word| !word.starts_with(['#', ';'])).map(str::to_owned);
        match key {
            "nameserver" => config.servers.extend(words.take(1)),
            "search" | "domain" => config.searches = words.collect(),
            "options" => config.options.extend(words),
            _ => {}
        }
    }
    config
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::schema::{DnsConfig, DnsOption};

    const HOST: &str =
        "# comment\nnameserver 10.0.0.1 # first\nnameserver 10.0.0.2\ndomain old\nsearch a b\noptions ndots:1 rotate\n";

    fn spec(dns_policy: DnsPolicy, dns_config: Option<DnsConfig>) -> Spec {
        Spec { dns_policy, dns_config, ..Spec::default() }
    }

    fn more() -> DnsConfig {
        DnsConfig {
            nameservers: vec!["10.0.0.2".into(), "10.0.0.3".into()],
            searches: vec!["c".into()],
            options: vec![DnsOption { name: "ndots".into(), value: Some("5".into()) }],
        }
    }

    #[test]
    fn without_a_configuration_the_nodes_file_stays() {
        assert_eq!(config(&spec(DnsPolicy::ClusterFirst, None), HOST), None);
    }

    #[test]
    fn a_configuration_adds_to_the_nodes() {
        let config = config(&spec(DnsPolicy::Default, Some(more())), HOST).unwrap_or_default();
        assert_eq!(config.servers, ["10.0.0.1", "10.0.0.2", "10.0.0.3"]);
        assert_eq!(config.searches, ["a", "b", "c"]);
        assert_eq!(config.options, ["rotate", "ndots:5"]);
    }

    #[test]
    fn policy_none_takes_only_what_is_given() {
        let config = config(&spec(DnsPolicy::None, Some(more())), HOST).unwrap_or_default();
        assert_eq!(config.servers, ["10.0.0.2", "10.0.0.3"]);
        assert_eq!(config.options, ["ndots:5"]);
    }
}
