//! When the open loop's requests should leave.
//!
//! ```text
//!   even    |    |    |    |    |        k / rate
//!   random  ||     |  |        | |       exponential gaps, mean 1 / rate
//! ```
//!
//! Invariants
//! - I1 Times never go back, and depend on nothing but rate, spread and number: a slow answer
//!   cannot move them. That is what keeps coordinated omission out of the numbers.
//! - I2 No time lies at or after the end.

use super::args::Spread;
use std::time::Duration;

/// The times, as offsets from the start of the run.
#[derive(Debug)]
pub struct Schedule {
    rate: f64,
    spread: Spread,
    end: Duration,
    left: u64,
    count: f64,
    clock: f64,
    seed: u64,
}

impl Schedule {
    /// `rate` a second until `end`, at most `requests`.
    pub fn new(rate: f64, spread: Spread, end: Duration, requests: u64) -> Self {
        Self {
            rate,
            spread,
            end,
            left: requests,
            count: 0.0,
            clock: 0.0,
            seed: 1,
        }
    }

    /// A number in (0, 1], the same sequence in each run (`SplitMix64`).
    fn draw(&mut self) -> f64 {
        self.seed = self.seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.seed;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        let top = u32::try_from((z ^ (z >> 31)) >> 32).unwrap_or(u32::MAX);
        (f64::from(top) + 1.0) / (f64::from(u32::MAX) + 1.0)
    }
}

impl Iterator for Schedule {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        self.left = self.left.checked_sub(1)?;
        let seconds = match self.spread {
            Spread::Even => self.count / self.rate,
            Spread::Random => {
                self.clock -= self.draw().ln() / self.rate;
                self.clock
            }
        };
        self.count += 1.0;
        let at = Duration::try_from_secs_f64(seconds).ok()?;
        (at < self.end).then_some(at) // I2
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: even arrivals do not drift. Method: the last of an hour stands where it should.
    #[test]
    fn even_arrivals_do_not_drift() {
        let hour = Duration::from_secs(3600);
        let times: Vec<_> = Schedule::new(300.0, Spread::Even, hour, u64::MAX).collect();
        assert_eq!(times.len(), 3600 * 300);
        let want = 3600.0 - 1.0 / 300.0;
        assert!((times.last().unwrap().as_secs_f64() - want).abs() < 1e-6);
    }

    /// Goal: I1, I2 and the mean of random arrivals.
    #[test]
    fn random_arrivals_keep_their_mean_and_order() {
        let end = Duration::from_secs(100);
        let times: Vec<_> = Schedule::new(1000.0, Spread::Random, end, u64::MAX).collect();
        assert!((98_000..102_000).contains(&times.len()), "{}", times.len());
        assert!(times.is_sorted() && times.iter().all(|at| *at < end));
        let again: Vec<_> = Schedule::new(1000.0, Spread::Random, end, u64::MAX).collect();
        assert_eq!(times, again);
    }

    /// Goal: the number of requests is a limit too.
    #[test]
    fn a_schedule_ends_at_its_number() {
        let times = Schedule::new(10.0, Spread::Even, Duration::from_secs(10), 3);
        assert_eq!(times.count(), 3);
    }
}
