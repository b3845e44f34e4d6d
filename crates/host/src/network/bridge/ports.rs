//! Who holds which host port.

use super::super::HostPort;
use super::Error;
use super::record::Record;

/// The ports that are really asked for: without those with no host port and without repetitions.
pub(super) fn normalize(ports: &[HostPort]) -> Result<Vec<HostPort>, Error> {
    let mut normal: Vec<HostPort> = Vec::new();
    for port in ports.iter().filter(|port| port.host_port != 0) {
        if port.container_port == 0 {
            let reason = "a host port needs a container port".to_owned();
            return Err(Error::Invalid { key: "container port", value: "0".to_owned(), reason });
        }
        match normal.iter().find(|other| overlap(port, other)) {
            Some(same) if same == port => {}
            Some(_) => {
                let reason = "the pod asks for it twice".to_owned();
                return Err(Error::Invalid { key: "host port", value: describe(port), reason });
            }
            None => normal.push(*port),
        }
    }
    Ok(normal)
}

/// The first wanted port that a pod holds, and the pod.
pub(super) fn conflict<'a>(
    wanted: &[HostPort],
    mut records: impl Iterator<Item = &'a Record>,
) -> Option<(HostPort, &'a Record)> {
    records.find_map(|record| {
        let taken = wanted.iter().find(|port| record.host_ports.iter().any(|held| overlap(port, held)));
        taken.map(|port| (*port, record))
    })
}

/// For people: `tcp 127.0.0.1:8080`, `udp *:53`.
pub(super) fn describe(port: &HostPort) -> String {
    let address =
        port.host_ip.map_or("*".to_owned(), |ip| if ip.is_ipv6() { format!("[{ip}]") } else { ip.to_string() });
    format!("{} {address}:{}", port.protocol.as_str(), port.host_port)
}

/// A port of every address overlaps with the same port of one, as in Kubernetes' scheduler.
fn overlap(a: &HostPort, b: &HostPort) -> bool {
    let addresses = match (a.host_ip, b.host_ip) {
        (None, _) | (_, None) => true,
        (Some(a), Some(b)) => a == b || (a.is_ipv4() == b.is_ipv4() && (a.is_unspecified() || b.is_unspecified())),
    };
    addresses && a.protocol == b.protocol && a.host_port == b.host_port
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;
    use crate::network::Protocol;

    fn port(host_ip: Option<&str>, host_port: u16, container_port: u16) -> HostPort {
        let host_ip = host_ip.map(|ip| ip.parse().unwrap());
        HostPort { protocol: Protocol::Tcp, host_port, container_port, host_ip }
    }

    #[test]
    fn a_port_of_every_address_overlaps_with_a_port_of_one() {
        let cases = [
            (None, None, true),
            (None, Some("127.0.0.1"), true),
            (Some("0.0.0.0"), Some("127.0.0.1"), true),
            (Some("127.0.0.1"), Some("127.0.0.2"), false),
            (Some("::"), Some("127.0.0.1"), false),
            (Some("::"), None, true),
        ];
        for (a, b, expected) in cases {
            assert_eq!(overlap(&port(a, 80, 1), &port(b, 80, 2)), expected, "{a:?} {b:?}");
            assert!(!overlap(&port(a, 80, 1), &port(b, 81, 1)));
        }
        assert!(!overlap(&port(None, 80, 1), &HostPort { protocol: Protocol::Udp, ..port(None, 80, 1) }));
    }

    #[test]
    fn repetitions_are_dropped_and_contradictions_refused() {
        let ports = [port(None, 0, 80), port(None, 8080, 80), port(None, 8080, 80)];
        assert_eq!(normalize(&ports).unwrap(), [port(None, 8080, 80)]);
        let error = normalize(&[port(None, 8080, 80), port(Some("127.0.0.1"), 8080, 81)]).unwrap_err();
        assert!(error.to_string().contains("tcp 127.0.0.1:8080"), "{error}");
        assert!(normalize(&[port(None, 8080, 0)]).is_err());
    }
}
