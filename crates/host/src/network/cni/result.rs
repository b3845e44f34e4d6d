//! What plugins answer to ADD.

use std::net::IpAddr;

use serde::Deserialize;
use serde_json::Value;

use super::super::{Attached, Dns, POD_INTERFACE};
use super::error::printable;

/// The result of the specification's versions 0.3.0 to 1.1.0.
#[derive(Debug, Deserialize)]
struct Current {
    #[serde(default)]
    interfaces: Vec<Interface>,
    #[serde(default)]
    ips: Vec<Ip>,
    #[serde(default)]
    dns: ResultDns,
}

#[derive(Debug, Deserialize)]
struct Interface {
    name: String,
    #[serde(default)]
    mac: String,
    #[serde(default)]
    sandbox: String,
}

#[derive(Debug, Deserialize)]
struct Ip {
    address: String,
    #[serde(default)]
    gateway: Option<String>,
    #[serde(default)]
    interface: Option<i64>,
}

/// The result of versions 0.1.0 and 0.2.0.
#[derive(Debug, Deserialize)]
struct Old {
    #[serde(default)]
    ip4: Option<OldIp>,
    #[serde(default)]
    ip6: Option<OldIp>,
    #[serde(default)]
    dns: ResultDns,
}

#[derive(Debug, Deserialize)]
struct OldIp {
    ip: String,
    #[serde(default)]
    gateway: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
struct ResultDns {
    #[serde(default)]
    nameservers: Vec<String>,
    #[serde(default)]
    search: Vec<String>,
    #[serde(default)]
    options: Vec<String>,
}

/// Takes the pod's addresses out of the last plugin's result.
///
/// There must be at least one, on an interface in the sandbox, or on none in particular.
pub(super) fn attached(result: &Value) -> Result<Attached, String> {
    let current = if result.get("ip4").is_some() || result.get("ip6").is_some() {
        modern(serde_json::from_value(result.clone()).map_err(|e| e.to_string())?)
    } else {
        serde_json::from_value(result.clone()).map_err(|e| e.to_string())?
    };
    let interface = pod_interface(&current.interfaces);
    let mut ips = Vec::new();
    let mut gateways = Vec::new();
    for ip in &current.ips {
        if !is_in_pod(ip, &current.interfaces, interface)? {
            continue;
        }
        ips.push(address(&ip.address)?);
        if let Some(gateway) = ip.gateway.as_deref().filter(|gateway| !gateway.is_empty()) {
            gateways.push(gateway.parse().map_err(|_| format!("gateway `{}` is not an address", printable(gateway)))?);
        }
    }
    if ips.is_empty() {
        return Err("it has no IP address on an interface in the sandbox".to_owned());
    }
    let interface = interface.and_then(|at| current.interfaces.get(at));
    let mac = interface.map(|interface| interface.mac.clone()).filter(|mac| !mac.is_empty());
    let name = interface.map_or(POD_INTERFACE.to_owned(), |interface| interface.name.clone());
    let ResultDns { nameservers, search, options } = current.dns;
    Ok(Attached { interface: name, ips, mac, gateways, dns: Dns { servers: nameservers, searches: search, options } })
}

/// The interface that carries the name we asked for, in the sandbox.
fn pod_interface(interfaces: &[Interface]) -> Option<usize> {
    interfaces.iter().position(|interface| interface.name == POD_INTERFACE && !interface.sandbox.is_empty())
}

/// An address counts if it is on the pod's interface. Plugins that report no interfaces, or addresses on none, count too.
fn is_in_pod(ip: &Ip, interfaces: &[Interface], pod: Option<usize>) -> Result<bool, String> {
    let Some(index) = ip.interface else { return Ok(true) };
    let at = usize::try_from(index).ok().filter(|at| *at < interfaces.len());
    match at {
        Some(at) => Ok(pod == Some(at)),
        None => Err(format!("ip {} is on interface {index}, of {}", printable(&ip.address), interfaces.len())),
    }
}

fn address(text: &str) -> Result<IpAddr, String> {
    let invalid = || format!("ip `{}` is not an address with a prefix", printable(text));
    let (ip, prefix) = text.split_once('/').ok_or_else(invalid)?;
    let ip: IpAddr = ip.parse().map_err(|_| invalid())?;
    let longest = if ip.is_ipv4() { 32 } else { 128 };
    let fits = prefix.parse::<u8>().is_ok_and(|prefix| prefix <= longest);
    if !fits || ip.is_unspecified() || ip.is_multicast() { Err(invalid()) } else { Ok(ip) }
}

fn modern(old: Old) -> Current {
    let ips = [old.ip4, old.ip6].into_iter().flatten();
    let ips = ips.map(|ip| Ip { address: ip.ip, gateway: ip.gateway, interface: None }).collect();
    Current { interfaces: Vec::new(), ips, dns: old.dns }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;
    use serde_json::json;

    #[test]
    fn addresses_of_the_sandboxs_interface_count_and_the_first_is_primary() {
        let result = json!({
            "cniVersion": "1.0.0",
            "interfaces": [{"name": "br"}, {"name": "eth0", "mac": "aa:bb:cc:dd:ee:ff", "sandbox": "/run/netns/x"}],
            "ips": [
                {"address": "192.168.0.1/24", "interface": 0},
                {"address": "10.1.2.3/24", "gateway": "10.1.2.1", "interface": 1},
                {"address": "fd00::3/64", "interface": 1}
            ],
            "dns": {"nameservers": ["10.1.2.1"]}
        });
        let attached = attached(&result).unwrap();
        assert_eq!(attached.ips, ["10.1.2.3".parse::<IpAddr>().unwrap(), "fd00::3".parse().unwrap()]);
        assert_eq!(attached.gateways, ["10.1.2.1".parse::<IpAddr>().unwrap()]);
        assert_eq!(attached.mac.as_deref(), Some("aa:bb:cc:dd:ee:ff"));
        assert_eq!(attached.dns.servers, ["10.1.2.1"]);
    }

    #[test]
    fn old_results_are_understood() {
        let result = json!({"cniVersion": "0.2.0", "ip4": {"ip": "10.0.0.9/8", "gateway": "10.0.0.1"}});
        assert_eq!(attached(&result).unwrap().ips, ["10.0.0.9".parse::<IpAddr>().unwrap()]);
        let result = json!({"cniVersion": "0.3.1", "ips": [{"version": "4", "address": "10.0.0.9/8"}]});
        assert_eq!(attached(&result).unwrap().ips, ["10.0.0.9".parse::<IpAddr>().unwrap()]);
    }

    #[test]
    fn results_without_a_usable_address_are_refused() {
        let pod = json!([{"name": "eth0", "sandbox": "/x"}]);
        for (result, reason) in [
            (json!({}), "no IP address"),
            (json!({"ips": []}), "no IP address"),
            (json!({"ips": [{"address": "10.0.0.1"}]}), "`10.0.0.1`"),
            (json!({"ips": [{"address": "10.0.0.1/33"}]}), "`10.0.0.1/33`"),
            (json!({"ips": [{"address": "0.0.0.0/0"}]}), "`0.0.0.0/0`"),
            (json!({"ips": [{"address": "bad\u{1b}[31m/8"}]}), "`bad [31m/8`"),
            (json!({"ips": [{"address": "10.0.0.1/8", "interface": 7}], "interfaces": pod}), "interface 7"),
            (json!({"ips": [{"address": "10.0.0.1/8", "interface": -1}], "interfaces": pod}), "interface -1"),
            (json!({"ips": [{"address": "10.0.0.1/8", "interface": 0}], "interfaces": [{"name": "eth0"}]}), "no IP"),
            (json!({"ips": "x"}), "invalid type"),
            (json!([1]), "invalid"),
            (json!({"ips": [{"address": "10.0.0.1/8", "gateway": "x"}]}), "gateway `x`"),
        ] {
            let error = attached(&result).unwrap_err();
            assert!(error.contains(reason), "{result}: {error}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_result_panics_and_what_is_taken_is_an_address(
            address in "[0-9a-f.:/]{0,20}", index in -3i64..3, sandbox in "/?", name in "eth[01]",
        ) {
            let result = json!({
                "interfaces": [{"name": name, "sandbox": sandbox}],
                "ips": [{"address": address, "interface": index}]
            });
            if let Ok(attached) = attached(&result) {
                proptest::prop_assert_eq!((attached.ips.len(), index), (1, 0));
            }
        }
    }
}
