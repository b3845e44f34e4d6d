//! Which addresses the next pod gets.

use std::collections::HashSet;
use std::net::IpAddr;

use super::Subnet;
use super::record::Store;

/// One free address of each subnet, or none where one is exhausted.
///
/// The search starts after the address given out last, so one that was just freed is used again as late as possible.
pub(super) fn next(subnets: &[Subnet], store: &Store) -> Option<Vec<IpAddr>> {
    let taken: HashSet<IpAddr> = store.all().flat_map(|record| record.ips.iter().copied()).collect();
    subnets.iter().map(|subnet| next_of(subnet, store.last(), &taken)).collect()
}

fn next_of(subnet: &Subnet, last: &[IpAddr], taken: &HashSet<IpAddr>) -> Option<IpAddr> {
    let size = subnet.pod_addresses();
    let start = last.iter().find_map(|ip| subnet.position(*ip)).map_or(0, |at| at + 1);
    // Of one address more than are taken, one is free.
    let tries = size.min(taken.len() as u128 + 1);
    (0..tries).map(|at| subnet.pod_address((start + at) % size)).find(|ip| !taken.contains(ip))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;

    fn ip(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    #[test]
    fn addresses_go_round_and_skip_what_is_taken() {
        let subnet: Subnet = "10.0.0.0/29".parse().unwrap();
        let taken = HashSet::from([ip(4)]);
        assert_eq!(next_of(&subnet, &[], &taken), Some(ip(2)));
        assert_eq!(next_of(&subnet, &[ip(3)], &taken), Some(ip(5)));
        assert_eq!(next_of(&subnet, &[ip(6)], &taken), Some(ip(2)));
        let all: HashSet<IpAddr> = (2..=6).map(ip).collect();
        assert_eq!(next_of(&subnet, &[ip(3)], &all), None);
        let all_but_one: HashSet<IpAddr> = [2, 3, 5, 6].map(ip).into();
        assert_eq!(next_of(&subnet, &[ip(4)], &all_but_one), Some(ip(4)));
    }

    #[test]
    fn a_last_address_of_another_subnet_does_not_matter() {
        let subnet: Subnet = "10.0.0.0/29".parse().unwrap();
        assert_eq!(next_of(&subnet, &[IpAddr::from([10, 9, 9, 9])], &HashSet::new()), Some(ip(2)));
    }
}
