//! The rate of CPU time.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::operation::lock;

/// The least time that a rate is taken over, once there are samples: over less, the kernel's accounting shows through.
const WINDOW: Duration = Duration::from_secs(1);

/// The least time since the start that a first rate is taken over.
const SHORTEST_LIFE: Duration = Duration::from_millis(100);

/// The longest time since the start that a first rate is taken over: an average of hours would pass for what is now.
const LONGEST_LIFE: Duration = Duration::from_secs(60);

/// Samples of a cgroup's CPU time.
///
/// The rate is taken over the time since the last sample, if that is a second or more; else since the one before it. So
/// several callers that ask often get rates over one to two seconds each, and the kubelet, alone, over its own interval.
/// Without an earlier sample it is taken over the time since the start if that is up to a minute; else there is none.
#[derive(Debug, Default)]
pub struct CpuSamples(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    previous: Option<Sample>,
    last: Option<Sample>,
}

#[derive(Debug, Clone, Copy)]
struct Sample {
    at: Instant,
    /// Nanoseconds of CPU time.
    usage: u64,
}

impl CpuSamples {
    /// Notes that a cgroup started `age` ago has used `usage` nanoseconds; the rate, in nanoseconds per second.
    pub fn rate(&self, usage: u64, age: Duration) -> Option<u64> {
        self.rate_at(Instant::now(), usage, age)
    }

    fn rate_at(&self, now: Instant, usage: u64, age: Duration) -> Option<u64> {
        let new = Sample { at: now, usage };
        let since_start = (SHORTEST_LIFE..=LONGEST_LIFE).contains(&age).then(|| rate(usage, age)).flatten();
        let mut kept = lock(&self.0);
        match kept.last {
            // The cgroup was made anew, say.
            Some(last) if usage < last.usage => {
                *kept = Kept { previous: None, last: Some(new) };
                None
            }
            Some(last) if now.saturating_duration_since(last.at) >= WINDOW => {
                *kept = Kept { previous: Some(last), last: Some(new) };
                new.since(last)
            }
            Some(_) => kept.previous.map_or(since_start, |previous| new.since(previous)),
            None => {
                kept.last = Some(new);
                since_start
            }
        }
    }
}

impl Sample {
    fn since(self, earlier: Self) -> Option<u64> {
        rate(self.usage.checked_sub(earlier.usage)?, self.at.saturating_duration_since(earlier.at))
    }
}

fn rate(used: u64, time: Duration) -> Option<u64> {
    let rate = (u128::from(used) * 1_000_000_000).checked_div(time.as_nanos())?;
    u64::try_from(rate).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn seconds(seconds: f64) -> Duration {
        Duration::from_secs_f64(seconds)
    }

    #[test]
    fn a_first_rate_is_that_since_the_start_if_that_is_not_long_ago() {
        let now = Instant::now();
        assert_eq!(CpuSamples::default().rate_at(now, SECOND, seconds(4.0)), Some(SECOND / 4));
        assert_eq!(CpuSamples::default().rate_at(now, SECOND, seconds(61.0)), None);
        assert_eq!(CpuSamples::default().rate_at(now, SECOND, seconds(0.05)), None);
    }

    #[test]
    fn later_rates_are_those_since_the_last_sample() {
        let (samples, start, old) = (CpuSamples::default(), Instant::now(), seconds(1e6));
        assert_eq!(samples.rate_at(start, 5 * SECOND, old), None);
        assert_eq!(samples.rate_at(start + seconds(10.0), 10 * SECOND, old), Some(SECOND / 2));
        assert_eq!(samples.rate_at(start + seconds(20.0), 10 * SECOND, old), Some(0));
    }

    #[test]
    fn whoever_asks_too_often_gets_the_rate_since_the_sample_before() {
        let (samples, start, old) = (CpuSamples::default(), Instant::now(), seconds(1e6));
        samples.rate_at(start, 0, old);
        assert_eq!(samples.rate_at(start + seconds(0.5), SECOND, old), None);
        assert_eq!(samples.rate_at(start + seconds(1.0), SECOND, old), Some(SECOND));
        assert_eq!(samples.rate_at(start + seconds(1.5), 3 * SECOND, old), Some(2 * SECOND));
        assert_eq!(samples.rate_at(start + seconds(2.0), 3 * SECOND, old), Some(2 * SECOND));
    }

    #[test]
    fn a_usage_that_falls_starts_anew() {
        let (samples, start, old) = (CpuSamples::default(), Instant::now(), seconds(1e6));
        samples.rate_at(start, 9 * SECOND, old);
        assert_eq!(samples.rate_at(start + seconds(2.0), SECOND, old), None);
        assert_eq!(samples.rate_at(start + seconds(4.0), 3 * SECOND, old), Some(SECOND));
    }
}
