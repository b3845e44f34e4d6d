//! How often a host may fail, and when to ask it again.

use std::time::{Duration, SystemTime};

use rustix::rand::{GetRandomFlags, getrandom};

use crate::{Downloads, registry::answer::Trouble};

/// No pause of our own is longer.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Whether asking again may help.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::registry) enum Again {
    Never,
    Soon,
    /// The host says when.
    After(Duration),
}

/// What a Retry-After header says (RFC 9110, 10.2.3): seconds, or a date.
pub(in crate::registry) fn retry_after(value: &str, now: SystemTime) -> Option<Duration> {
    let value = value.trim();
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(value).ok()?;
    Some(date.duration_since(now).unwrap_or_default())
}

/// The failures of one host in a row. They are forgotten when as much has come since the first as a connection must bring
/// in the same time: who breaks off after every byte is not forgiven, so that nobody is slower on the whole than a
/// connection may be.
pub(in crate::registry) struct Retries {
    left: u32,
    retries: u32,
    pause: Duration,
    first_pause: Duration,
    longest_demand: Duration,
    rate: u64,
    least: Duration,
    received: u64,
    spent: Duration,
}

impl Retries {
    pub fn new(settings: &Downloads) -> Self {
        let first_pause = Duration::from_millis(settings.retry_milliseconds.max(1));
        Self {
            left: settings.retries,
            retries: settings.retries,
            pause: first_pause,
            first_pause,
            longest_demand: Duration::from_secs(settings.retry_after_seconds.max(1)),
            rate: settings.stall_bytes_per_second.max(1),
            least: Duration::from_secs(settings.stall_seconds.max(1)),
            received: 0,
            spent: Duration::ZERO,
        }
    }

    /// So many bytes that were not there before came, after so much time.
    pub fn progress(&mut self, bytes: u64, spent: Duration) {
        self.received = self.received.saturating_add(bytes);
        self.spent = self.spent.saturating_add(spent);
        let seconds = self.spent.max(self.least).as_secs();
        if self.left < self.retries && self.received >= self.rate.saturating_mul(seconds) {
            (self.left, self.pause) = (self.retries, self.first_pause);
        }
    }

    /// Waits until the host is to be asked again. The trouble comes back if it is not.
    pub async fn pause(&mut self, trouble: Trouble) -> Result<(), Trouble> {
        let Trouble::Unavailable(why, again) = &trouble else { return Err(trouble) };
        let Some(pause) = self.next(*again) else { return Err(trouble) };
        tracing::debug!(why, ?pause, "host failed and is asked again");
        tokio::time::sleep(pause).await;
        self.spent = self.spent.saturating_add(pause);
        Ok(())
    }

    /// How long to wait before the next try, if there is to be one.
    fn next(&mut self, again: Again) -> Option<Duration> {
        let demand = match again {
            Again::Never => return None,
            Again::Soon => Duration::ZERO,
            Again::After(demand) => demand.min(self.longest_demand),
        };
        if self.left == self.retries {
            (self.received, self.spent) = (0, Duration::ZERO);
        }
        self.left = self.left.checked_sub(1)?;
        let pause = self.pause.min(LONGEST_PAUSE);
        self.pause = pause.saturating_mul(2);
        Some(demand + jittered(pause))
    }
}

/// From half of it to all of it, so that not all nodes come back at once.
fn jittered(pause: Duration) -> Duration {
    let mut random = [0; 4];
    // Without randomness it is half; four bytes come whole.
    let _ = getrandom(&mut random, GetRandomFlags::NONBLOCK);
    let share = f64::from(u32::from_ne_bytes(random)) / f64::from(u32::MAX);
    pause.mul_f64(0.5 + share / 2.0)
}

/// Tries something until it succeeds or is not worth another try.
pub(in crate::registry) async fn retrying<T, F>(settings: &Downloads, attempt: impl Fn() -> F) -> Result<T, Trouble>
where
    F: Future<Output = Result<T, Trouble>>,
{
    let mut retries = Retries::new(settings);
    loop {
        match attempt().await {
            Ok(done) => return Ok(done),
            Err(trouble) => retries.pause(trouble).await?,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use proptest::prelude::*;

    use super::*;

    const TWO: Duration = Duration::from_secs(2);

    #[test]
    fn a_demand_is_in_seconds_or_a_date() {
        let now = httpdate::parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT").unwrap();
        assert_eq!(retry_after(" 120 ", now), Some(Duration::from_secs(120)));
        assert_eq!(retry_after("Sun, 06 Nov 1994 08:49:39 GMT", now), Some(TWO));
        assert_eq!(retry_after("Sun, 06 Nov 1994 08:49:00 GMT", now), Some(Duration::ZERO));
        assert_eq!(retry_after("soon", now), None);
        assert_eq!(retry_after("-1", now), None);
    }

    #[test]
    fn pauses_grow_and_end() {
        let settings = Downloads { retries: 10, retry_milliseconds: 1000, ..Downloads::default() };
        let mut retries = Retries::new(&settings);
        for seconds in [1, 2, 4, 8, 16, 30, 30, 30, 30, 30] {
            let (pause, most) = (retries.next(Again::Soon).unwrap(), Duration::from_secs(seconds));
            assert!(pause >= most / 2 && pause <= most, "{pause:?}");
        }
        assert_eq!(retries.next(Again::Soon), None);
        assert_eq!(Retries::new(&settings).next(Again::Never), None);
    }

    #[test]
    fn a_demand_is_met_up_to_the_limit() {
        let settings = Downloads { retry_milliseconds: 1, retry_after_seconds: 5, ..Downloads::default() };
        let pause = |after| Retries::new(&settings).next(Again::After(after)).unwrap().as_secs();
        assert_eq!(pause(TWO), 2);
        assert_eq!(pause(Duration::MAX), 5);
    }

    #[test]
    fn only_enough_bytes_forgive() {
        let settings = Downloads { stall_bytes_per_second: 100, stall_seconds: 1, ..Downloads::default() };
        let failing = |bytes: u64| {
            let mut retries = Retries::new(&settings);
            (0..50).all(|_| {
                let pause = retries.next(Again::Soon);
                retries.progress(bytes, TWO);
                pause.is_some()
            })
        };
        assert!(failing(200));
        assert!(!failing(190));
    }

    proptest! {
        /// Whatever a registry sends, nothing panics.
        #[test]
        fn any_header_is_survived(text in "\\PC{0,60}", like in "[A-Z][a-z]{2}, [0-9]{2} [A-Z][a-z]{2} [0-9]{4} [0-9:]{8} GMT") {
            let _ = (retry_after(&text, SystemTime::now()), retry_after(&like, SystemTime::now()));
        }
    }
}
