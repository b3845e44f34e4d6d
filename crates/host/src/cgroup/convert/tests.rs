#![allow(clippy::unwrap_used, clippy::panic)]

use super::*;

#[test]
fn cpu_weights_go_through_their_three_points_and_never_fall() {
    for (shares, weight) in [(0, 1), (2, 1), (1024, 100), (262_144, 10_000), (u64::MAX, 10_000)] {
        assert_eq!(cpu_weight(shares), weight, "{shares} shares");
    }
    let weights: Vec<u64> = (0..=262_144).map(cpu_weight).collect();
    assert!(weights.is_sorted());
}

#[test]
fn io_weights_cover_the_range() {
    for (weight, converted) in [(0, 1), (10, 1), (500, 4950), (1000, 10_000), (u16::MAX, 10_000)] {
        assert_eq!(io_weight(weight), converted, "weight {weight}");
    }
}

#[test]
fn swap_is_what_the_sum_has_beyond_memory() {
    let ok = |limit, sum| swap_alone(limit, sum).unwrap();
    assert_eq!(ok(Some(100), Some(100)), Some(0));
    assert_eq!(ok(Some(100), Some(150)), Some(50));
    assert_eq!(ok(Some(100), Some(-1)), Some(-1));
    assert_eq!(ok(Some(-1), None), Some(-1));
    assert_eq!(ok(Some(100), None), None);
    assert_eq!(ok(None, None), None);
    for (limit, sum) in [(Some(100), 50), (None, 50), (Some(-1), 50)] {
        assert!(matches!(swap_alone(limit, Some(sum)), Err(Error::BadValue { field: "memory.swap", .. })));
    }
}

#[test]
fn shares_come_back_from_their_weight() {
    for shares in [2, 1024, 262_144] {
        assert_eq!(cpu_shares(cpu_weight(shares)), shares);
    }
    for weight in [0, 1, 39, 100, 9_999, 10_000, u64::MAX] {
        let shares = cpu_shares(weight);
        assert!(shares == 2 || cpu_weight(shares) <= weight, "{weight}: {shares}");
    }
}
