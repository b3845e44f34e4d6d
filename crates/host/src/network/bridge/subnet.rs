//! A subnet in CIDR notation, and the addresses in it.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A subnet: an address whose host bits are zero, and the length of its prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Subnet {
    network: IpAddr,
    prefix: u8,
}

/// Why a text is not a subnet.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("subnet `{text}`: {reason}")]
pub struct InvalidSubnet {
    text: String,
    reason: String,
}

impl Subnet {
    /// The subnet of this prefix that holds `address`; longer prefixes than the family has are cut to it.
    pub(super) fn new(address: IpAddr, prefix: u8) -> Self {
        let prefix = prefix.min(if address.is_ipv4() { 32 } else { 128 });
        let mut subnet = Subnet { network: address, prefix };
        subnet.network = subnet.at(number(address) & !subnet.host_mask());
        subnet
    }

    /// The first address, which names the subnet.
    pub fn network(&self) -> IpAddr {
        self.network
    }

    /// The prefix's length in bits.
    pub fn prefix(&self) -> u8 {
        self.prefix
    }

    /// The first usable address: the bridge's own.
    pub fn gateway(&self) -> IpAddr {
        self.at(number(self.network) + 1)
    }

    /// True where `address` is in the subnet.
    pub fn contains(&self, address: IpAddr) -> bool {
        address.is_ipv4() == self.network.is_ipv4() && Subnet::new(address, self.prefix) == *self
    }

    /// True where the two share addresses.
    pub(super) fn overlaps(&self, other: &Subnet) -> bool {
        self.contains(other.network) || other.contains(self.network)
    }

    /// How many addresses pods can have: all but the network's, the gateway's and the last (IPv4's broadcast address).
    pub(super) fn pod_addresses(&self) -> u128 {
        self.host_mask().saturating_sub(2)
    }

    /// The pods' address number `at`, counted from 0.
    pub(super) fn pod_address(&self, at: u128) -> IpAddr {
        self.at(number(self.network) + 2 + at)
    }

    /// The inverse of `pod_address`.
    pub(super) fn position(&self, address: IpAddr) -> Option<u128> {
        if !self.contains(address) {
            return None;
        }
        number(address).checked_sub(number(self.network) + 2)
    }

    /// The prefix as bytes.
    pub(super) fn mask(&self) -> Vec<u8> {
        match self.network {
            IpAddr::V4(_) => (!(self.host_mask() as u32)).to_be_bytes().to_vec(),
            IpAddr::V6(_) => (!self.host_mask()).to_be_bytes().to_vec(),
        }
    }

    fn host_mask(&self) -> u128 {
        let bits = if self.network.is_ipv4() { 32 } else { 128 };
        u128::MAX.checked_shr(128 - (bits - u32::from(self.prefix))).unwrap_or(0)
    }

    fn at(&self, number: u128) -> IpAddr {
        match self.network {
            IpAddr::V4(_) => Ipv4Addr::from(number as u32).into(),
            IpAddr::V6(_) => Ipv6Addr::from(number).into(),
        }
    }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u128::from(u32::from(v4)),
        IpAddr::V6(v6) => u128::from(v6),
    }
}

impl FromStr for Subnet {
    type Err = InvalidSubnet;

    fn from_str(text: &str) -> Result<Self, InvalidSubnet> {
        let invalid = |reason: &str| InvalidSubnet { text: text.to_owned(), reason: reason.to_owned() };
        let (address, prefix) = text.split_once('/').ok_or_else(|| invalid("expected ADDRESS/PREFIX"))?;
        let address: IpAddr = address.parse().map_err(|_| invalid("the address is not one"))?;
        let prefix: u8 = prefix.parse().map_err(|_| invalid("the prefix is not a number"))?;
        let longest = if address.is_ipv4() { 30 } else { 126 };
        if !(8..=longest).contains(&prefix) {
            return Err(invalid(&format!("the prefix must be from 8 to {longest}, to have room for pods")));
        }
        let subnet = Subnet::new(address, prefix);
        if subnet.network != address {
            return Err(invalid(&format!("it has host bits; did you mean {subnet}?")));
        }
        if address.is_multicast() || address.is_loopback() || address.is_unspecified() {
            return Err(invalid("pods cannot have such addresses"));
        }
        Ok(subnet)
    }
}

impl TryFrom<String> for Subnet {
    type Error = InvalidSubnet;

    fn try_from(text: String) -> Result<Self, InvalidSubnet> {
        text.parse()
    }
}

impl From<Subnet> for String {
    fn from(subnet: Subnet) -> String {
        subnet.to_string()
    }
}

impl fmt::Display for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network, self.prefix)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;

    #[test]
    fn a_subnet_gives_its_gateway_and_the_pods_addresses() {
        let subnet: Subnet = "10.209.0.0/29".parse().unwrap();
        assert_eq!(subnet.gateway().to_string(), "10.209.0.1");
        let pods: Vec<String> = (0..subnet.pod_addresses()).map(|at| subnet.pod_address(at).to_string()).collect();
        assert_eq!(pods, ["10.209.0.2", "10.209.0.3", "10.209.0.4", "10.209.0.5", "10.209.0.6"]);
        assert_eq!(subnet.position("10.209.0.6".parse().unwrap()), Some(4));
        assert_eq!(subnet.position("10.209.0.1".parse().unwrap()), None);
        assert_eq!(subnet.position("10.210.0.6".parse().unwrap()), None);
        assert_eq!(subnet.mask(), [255, 255, 255, 248]);
    }

    #[test]
    fn ipv6_subnets_work_the_same_way() {
        let subnet: Subnet = "fd00:1::/64".parse().unwrap();
        assert_eq!(subnet.gateway().to_string(), "fd00:1::1");
        assert_eq!(subnet.pod_address(0).to_string(), "fd00:1::2");
        assert_eq!(subnet.mask(), [[255; 8], [0; 8]].concat());
        assert_eq!(subnet.to_string(), "fd00:1::/64");
    }

    #[test]
    fn a_text_that_is_no_subnet_is_refused_with_its_reason() {
        for (text, reason) in [
            ("10.0.0.0", "expected ADDRESS/PREFIX"),
            ("10.0.0/16", "the address is not one"),
            ("10.0.0.0/x", "the prefix is not a number"),
            ("10.0.0.0/31", "the prefix must be from 8 to 30"),
            ("10.0.0.1/16", "did you mean 10.0.0.0/16?"),
            ("224.0.0.0/8", "pods cannot have such addresses"),
            ("127.0.0.0/8", "pods cannot have such addresses"),
        ] {
            let error = text.parse::<Subnet>().unwrap_err().to_string();
            assert!(error.contains(text) && error.contains(reason), "{error}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics_and_a_subnet_reads_as_it_is_written(text in "[0-9a-f.:]{0,24}(/[0-9]{0,4})?") {
            if let Ok(subnet) = text.parse::<Subnet>() {
                proptest::prop_assert_eq!(subnet.to_string().parse::<Subnet>(), Ok(subnet));
                let last = subnet.pod_address(subnet.pod_addresses() - 1);
                proptest::prop_assert!(subnet.contains(last) && subnet.contains(subnet.gateway()));
                proptest::prop_assert_eq!(subnet.position(last), Some(subnet.pod_addresses() - 1));
            }
        }
    }
}
