//! How long to wait between attempts to connect.
//!
//! As the kubelet has grpc-go do it (`pkg/remote_runtime.go` of k8s.io/cri-client): from 100 ms, 1.6 times as long after
//! each failure, up to 3 s, each a fifth more or less so that clients of one runtime do not come all at once.

use std::{
    hash::{BuildHasher, RandomState},
    time::Duration,
};

const BASE: Duration = Duration::from_millis(100);
const MAX: Duration = Duration::from_secs(3);
const FACTOR: f64 = 1.6;
const JITTER: f64 = 0.2;

/// The failures since something last worked.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// Another attempt failed: how long until the next.
    pub(super) fn failed(&mut self) -> Duration {
        let wait = wait(self.failures, random());
        self.failures = self.failures.saturating_add(1);
        wait
    }

    /// An attempt worked.
    pub(super) fn worked(&mut self) {
        self.failures = 0;
    }
}

/// The wait after `earlier` failures and one more; `random` is from -1 to 1.
fn wait(earlier: u32, random: f64) -> Duration {
    let exponent = i32::try_from(earlier.min(64)).unwrap_or(64);
    let plain = (BASE.as_secs_f64() * FACTOR.powi(exponent)).min(MAX.as_secs_f64());
    Duration::from_secs_f64(plain * (1.0 + JITTER * random.clamp(-1.0, 1.0)))
}

/// Something from -1 to 1. The standard library keys its hashers randomly, which is random enough here.
fn random() -> f64 {
    let bits = u32::try_from(RandomState::new().hash_one(()) >> 32).unwrap_or(0);
    f64::from(bits) / f64::from(u32::MAX) * 2.0 - 1.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_from_100_ms_to_3_s() {
        let waits: Vec<_> = (0..10).map(|earlier| wait(earlier, 0.0).as_millis()).collect();
        assert_eq!(waits, [100, 160, 256, 409, 655, 1048, 1677, 2684, 3000, 3000]);
        assert_eq!(wait(u32::MAX, 0.0), MAX);
    }

    #[test]
    fn waits_differ_by_a_fifth_at_most() {
        assert_eq!((wait(0, -1.0).as_millis(), wait(0, 1.0).as_millis()), (80, 120));
        for _ in 0..100 {
            assert!((-1.0..=1.0).contains(&random()));
        }
    }

    #[test]
    fn what_works_starts_over() {
        let mut backoff = Backoff::default();
        for _ in 0..10 {
            backoff.failed();
        }
        assert!(backoff.failed() > Duration::from_secs(2));
        backoff.worked();
        assert!(backoff.failed() < Duration::from_millis(150));
    }
}
