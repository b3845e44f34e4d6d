#![allow(clippy::unwrap_used, clippy::panic)]

use std::os::fd::AsFd;

use proptest::prelude::*;

use super::*;

fn range(inside: u32, outside: u32, length: u32) -> IdMapping {
    IdMapping { inside, outside, length }
}

#[test]
fn ranges_that_the_kernel_would_refuse_are_told_apart() {
    assert_eq!(check(&[range(0, 100_000, 65536)]), Ok(()));
    assert_eq!(check(&[range(0, 0, u32::MAX)]), Ok(()));
    assert_eq!(check(&[]), Err(Unmappable::None));
    assert_eq!(check(&[range(0, 1, 0)]), Err(Unmappable::Empty(0)));
    assert_eq!(check(&[range(0, u32::MAX, 1)]), Err(Unmappable::TooLarge(0)));
    assert_eq!(check(&[range(0, u32::MAX - 1, 1)]), Ok(()));
    assert_eq!(check(&[range(1, 1, u32::MAX)]), Err(Unmappable::TooLarge(0)));
    assert_eq!(check(&[range(0, 1000, 10), range(10, 1009, 1)]), Err(Unmappable::Overlap(0, 1)));
    assert_eq!(check(&[range(0, 1000, 10), range(9, 2000, 1)]), Err(Unmappable::Overlap(0, 1)));
    assert_eq!(check(&[range(0, 1000, 10), range(10, 1010, 1)]), Ok(()));
    assert_eq!(check(&vec![range(0, 0, 1); 341]), Err(Unmappable::TooMany(341)));
}

proptest! {
    /// What passes the check, the kernel takes; what it refuses, the kernel refuses.
    #[test]
    fn the_kernel_agrees(ranges in prop::collection::vec((0..40_u32, 0..40_u32, 0..12_u32), 1..4)) {
        let uids: Vec<_> = ranges.into_iter().map(|(inside, outside, length)| range(inside, outside, length)).collect();
        let made = make(&Mappings { uids: uids.clone(), gids: vec![range(0, 0, 1)] });
        prop_assert_eq!(check(&uids).is_ok(), made.is_ok(), "{:?}", made);
    }
}

#[test]
fn ids_are_found_in_their_range() {
    let mappings = Mappings { uids: vec![range(0, 1000, 10), range(100, 5, 1)], gids: vec![range(0, 7, 1)] };
    assert_eq!([0, 9, 10, 100].map(|id| mappings.uid(id)), [Some(1000), Some(1009), None, Some(5)]);
    assert_eq!(mappings.root(), Some((1000, 7)));
    assert_eq!(mappings.gid(1), None);
}

#[test]
fn a_network_namespace_keeps_its_user_namespace() {
    let mappings = Mappings { uids: vec![range(0, 100_000, 65536)], gids: vec![range(0, 200_000, 65536)] };
    let network = make_network(&mappings).unwrap();
    let users = owner(network.as_fd()).unwrap();
    let inode = |fd: &OwnedFd| rustix::fs::fstat(fd).unwrap().st_ino;
    let own = File::open("/proc/self/ns/user").unwrap().into();
    assert_ne!(inode(&users), inode(&own));
    assert_eq!(Mappings::of_process(1).unwrap().uid(0), Some(0));
}

#[test]
fn this_machine_has_user_namespaces() {
    let dir = tempfile::Builder::new().prefix("with:colon,comma").tempdir().unwrap();
    probe(dir.path()).unwrap();
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    assert!(probe(std::path::Path::new("/proc")).is_err());
}
