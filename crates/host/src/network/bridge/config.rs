//! The bridge's settings.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::{Error, Subnet};

/// The settings of the built-in bridge (`[network.bridge]`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BridgeConfig {
    /// The name of the bridge device, and of the nftables table: at most 15 bytes. Two daemons on one host need two
    /// names and two subnets.
    pub name: String,
    /// The subnets that pods get their addresses from: one, or one of IPv4 and one of IPv6. The first is the primary
    /// one. The first address of each is the bridge's. An IPv6 subnet turns on IPv6 forwarding, with which a host no
    /// longer takes its own IPv6 routes from router advertisements (unless `accept_ra` is 2).
    pub subnets: Vec<Subnet>,
    /// The largest packet, in bytes. By default that of the device of the default route.
    pub mtu: Option<u32>,
}

impl Default for BridgeConfig {
    fn default() -> Self {
        let subnet = Subnet::new(IpAddr::from([10, 209, 0, 0]), 16);
        BridgeConfig { name: "corten0".to_owned(), subnets: vec![subnet], mtu: None }
    }
}

impl BridgeConfig {
    /// Checks what serde cannot.
    pub fn validate(&self) -> Result<(), Error> {
        let invalid = |key: &'static str, value: String, reason: &str| {
            Err(Error::Invalid { key, value, reason: reason.to_owned() })
        };
        let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        let starts = self.name.starts_with(|c: char| c.is_ascii_alphabetic());
        if !starts || self.name.len() > 15 || !self.name.chars().all(allowed) {
            return invalid("name", self.name.clone(), "a letter, then letters, digits, - and _, at most 15 in all");
        }
        if self.mtu.is_some_and(|mtu| !(1280..=65535).contains(&mtu)) {
            return invalid("mtu", format!("{:?}", self.mtu), "it must be from 1280 to 65535");
        }
        match self.subnets.as_slice() {
            [_] => Ok(()),
            [a, b] if a.network().is_ipv4() != b.network().is_ipv4() => Ok(()),
            subnets => invalid("subnets", format!("{subnets:?}"), "give one, or one of IPv4 and one of IPv6"),
        }
    }
}

/// A MAC address that belongs to an IP address: a peer's neighbour table stays right when the address is given out again.
pub(super) fn mac_of(ips: &[IpAddr]) -> [u8; 6] {
    let mut mac = [0x0a, 0x58, 0, 0, 0, 0];
    match ips.iter().find(|ip| ip.is_ipv4()).or(ips.first()) {
        Some(IpAddr::V4(v4)) => mac[2..].copy_from_slice(&v4.octets()),
        Some(IpAddr::V6(v6)) => mac[2..].copy_from_slice(&v6.octets()[12..]),
        None => {}
    }
    mac
}

pub(super) fn format_mac(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

/// Reads a MAC address for one interface: six bytes in hexadecimal, not a multicast address.
pub(super) fn parse_mac(text: &str) -> Result<[u8; 6], Error> {
    let invalid = || Error::Invalid {
        key: "mac",
        value: text.to_owned(),
        reason: "expected six bytes like 02:00:00:00:00:01, not multicast".to_owned(),
    };
    let bytes: Result<Vec<u8>, _> = text.split(':').map(|byte| u8::from_str_radix(byte, 16)).collect();
    let mac: [u8; 6] = bytes.map_err(|_| invalid())?.try_into().map_err(|_| invalid())?;
    if mac[0] & 1 == 1 || mac == [0; 6] { Err(invalid()) } else { Ok(mac) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;

    #[test]
    fn the_default_is_valid_and_unknown_keys_are_refused() {
        BridgeConfig::default().validate().unwrap();
        let error = serde_json::from_str::<BridgeConfig>(r#"{"subnet": "10.0.0.0/16"}"#).unwrap_err();
        assert!(error.to_string().contains("unknown field `subnet`"), "{error}");
    }

    #[test]
    fn bad_values_are_named() {
        let broken = |change: &dyn Fn(&mut BridgeConfig)| {
            let mut config = BridgeConfig::default();
            change(&mut config);
            config.validate().unwrap_err().to_string()
        };
        let v4: Subnet = "10.1.0.0/16".parse().unwrap();
        assert!(broken(&|c| c.name = "a-name-that-is-too-long".into()).contains("`a-name-that-is-too-long`"));
        assert!(broken(&|c| c.name = "../x".into()).contains("`../x`"));
        assert!(broken(&|c| c.mtu = Some(68)).contains("68"));
        assert!(broken(&|c| c.subnets.push(v4)).contains("subnets"));
        assert!(broken(&|c| c.subnets.clear()).contains("subnets"));
    }

    #[test]
    fn mac_addresses_are_read_and_derived() {
        assert_eq!(parse_mac("02:00:00:00:00:Ff").unwrap(), [2, 0, 0, 0, 0, 255]);
        for bad in ["", "02:00", "01:00:00:00:00:01", "00:00:00:00:00:00", "02:00:00:00:00:00:00", "zz:00:00:00:00:01"]
        {
            assert!(parse_mac(bad).unwrap_err().to_string().contains("mac"), "{bad}");
        }
        assert_eq!(format_mac(mac_of(&["10.209.0.7".parse().unwrap()])), "0a:58:0a:d1:00:07");
    }
}
