//! A point in time as nanoseconds, so that tests can make one up.
//!
//! Nobody below `host` asks for the time: it comes in as an [`Instant`].

use std::ops::Add;
use std::time::Duration;

/// A point on a monotonic clock, in nanoseconds since an arbitrary start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(u64);

impl Instant {
    /// Later than every real instant: "no deadline".
    pub const FAR: Self = Self(u64::MAX);

    /// The instant `nanos` nanoseconds after the clock's start.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since the clock's start.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Time from `earlier` to `self`; zero when `earlier` is later.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Instant {
    type Output = Self;

    /// Saturates at [`Instant::FAR`].
    fn add(self, by: Duration) -> Self {
        Self(
            self.0
                .saturating_add(u64::try_from(by.as_nanos()).unwrap_or(u64::MAX)),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: arithmetic at the ends never wraps.
    #[test]
    fn time_saturates_at_both_ends() {
        let start = Instant::from_nanos(5);
        assert_eq!(start + Duration::MAX, Instant::FAR);
        assert_eq!(Instant::default().since(start), Duration::ZERO);
        assert_eq!((start + Duration::from_nanos(7)).since(start).as_nanos(), 7);
    }
}
