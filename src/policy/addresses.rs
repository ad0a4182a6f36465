//! The addresses of one name, and which of them to try: all in turn, those that failed last.
//!
//! ```text
//!   a  b  c      in turn: each new connection begins one further on
//!      ╳         failed: behind all others for 10 s, then 20 s … at most 5 min
//! ```
//!
//! Connections spread over all addresses, IPv6 and IPv4 alike. One that refused or did not
//! answer is tried only when all others have failed as well, until its time is over; then it
//! may show what it can do once more. One success makes it as good as the others.
//!
//! Invariants
//! - A1 A tour names each address once, those that have failed after all others, and of these
//!   the one first whose time is over first.
//! - A2 What is known of an address outlives a new resolution that still has it.
//! - A3 Nothing is allocated but in [`Addresses::new`] and [`Addresses::replace`].

use crate::base::time::Instant;
use std::net::SocketAddr;
use std::time::Duration;

/// Addresses of a name that are used, at most.
pub const ADDRESSES_MAX: usize = 16;

/// For how long an address is tried last after its first failure; doubled by each further one.
pub const LAST_FIRST: Duration = Duration::from_secs(10);

/// For how long an address is tried last, at most.
pub const LAST_MAX: Duration = Duration::from_secs(300);

/// What is known of an address.
#[derive(Clone, Copy, Debug)]
struct Entry {
    at: SocketAddr,
    /// Failures since it worked last.
    failures: u32,
    /// Until when it is tried last.
    last_until: Instant,
}

/// The addresses of one name, as one shard knows them.
#[derive(Clone, Debug, Default)]
pub struct Addresses {
    entries: Vec<Entry>,
    /// Where the next tour begins.
    turn: usize,
    /// Counts the resolutions.
    resolution: u32,
}

/// One connection's way through the addresses.
#[derive(Clone, Copy, Debug)]
pub struct Tour {
    first: usize,
    tried: u32,
    resolution: u32,
    left: usize,
}

const _: () = assert!(ADDRESSES_MAX <= u32::BITS as usize);

impl Addresses {
    /// Addresses that nothing is known of; the first [`ADDRESSES_MAX`] are used.
    pub fn new(all: &[SocketAddr]) -> Self {
        let mut addresses = Self::default();
        addresses.replace(all);
        addresses
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = SocketAddr> {
        self.entries.iter().map(|entry| entry.at)
    }

    /// How many of them are tried last at `now`.
    pub fn failing(&self, now: Instant) -> usize {
        self.entries.iter().filter(|e| e.last_until > now).count()
    }

    /// A new resolution (A2).
    pub fn replace(&mut self, all: &[SocketAddr]) {
        let all = all.get(..ADDRESSES_MAX).unwrap_or(all);
        if self.iter().eq(all.iter().copied()) {
            return;
        }
        let known = |at: &SocketAddr| {
            let old = self.entries.iter().find(|entry| entry.at == *at);
            old.copied().unwrap_or(Entry {
                at: *at,
                failures: 0,
                last_until: Instant::default(),
            })
        };
        self.entries = all.iter().map(known).collect();
        self.resolution = self.resolution.wrapping_add(1);
    }

    /// A new connection begins.
    pub fn begin(&mut self) -> Tour {
        let first = self.turn;
        self.turn = (first + 1) % self.entries.len().max(1);
        Tour {
            first,
            tried: 0,
            resolution: self.resolution,
            left: ADDRESSES_MAX,
        }
    }

    /// The next address of `tour` (A1); `None` when all were tried. A new resolution on the way
    /// begins it again, within the same number of tries.
    pub fn next(&self, tour: &mut Tour, now: Instant) -> Option<SocketAddr> {
        tour.left = tour.left.checked_sub(1)?;
        if tour.resolution != self.resolution {
            (tour.resolution, tour.tried) = (self.resolution, 0);
        }
        let count = self.entries.len();
        let mut best: Option<(Instant, usize, SocketAddr)> = None;
        for turn in 0..count {
            let index = (tour.first + turn) % count.max(1);
            let entry = self.entries.get(index)?;
            if tour.tried & (1 << index) != 0 {
                continue;
            }
            let until = if entry.last_until > now {
                entry.last_until
            } else {
                Instant::default()
            };
            if best.is_none_or(|(earliest, _, _)| until < earliest) {
                best = Some((until, index, entry.at));
            }
        }
        let (_, index, at) = best?;
        tour.tried |= 1 << index;
        Some(at)
    }

    /// A connection to `at` was accepted.
    pub fn worked(&mut self, at: SocketAddr) {
        if let Some(entry) = self.entries.iter_mut().find(|entry| entry.at == at) {
            (entry.failures, entry.last_until) = (0, Instant::default());
        }
    }

    /// `at` refused, or did not answer.
    pub fn failed(&mut self, at: SocketAddr, now: Instant) {
        if let Some(entry) = self.entries.iter_mut().find(|entry| entry.at == at) {
            let last = LAST_FIRST.saturating_mul(1 << entry.failures.min(8));
            entry.failures = entry.failures.saturating_add(1);
            entry.last_until = now + last.min(LAST_MAX);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Instant {
        Instant::from_nanos((1000 + seconds) * 1_000_000_000)
    }

    fn address(last: u8) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, last], 80))
    }

    /// The last bytes of a whole tour's addresses.
    fn tour(all: &mut Addresses, now: Instant) -> Vec<u8> {
        let mut tour = all.begin();
        let steps = std::iter::from_fn(|| all.next(&mut tour, now));
        let last = steps.map(|at| match at {
            SocketAddr::V4(at) => at.ip().octets()[3],
            SocketAddr::V6(at) => at.ip().octets()[15] + 100,
        });
        last.collect()
    }

    /// Goal: connections spread over all addresses of both families.
    #[test]
    fn each_tour_begins_one_further_on() {
        let six = SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1], 80));
        let mut all = Addresses::new(&[six, address(2), address(3)]);
        assert_eq!(tour(&mut all, at(0)), [101, 2, 3]);
        assert_eq!(tour(&mut all, at(0)), [2, 3, 101]);
        assert_eq!(tour(&mut all, at(0)), [3, 101, 2]);
        assert_eq!(tour(&mut all, at(0)), [101, 2, 3]);
        assert!(tour(&mut Addresses::new(&[]), at(0)).is_empty());
    }

    /// Goal: A1. Method: two fail one after the other; their times end; one works again.
    #[test]
    fn what_failed_is_tried_last_until_its_time_is_over() {
        let mut all = Addresses::new(&[address(1), address(2), address(3)]);
        all.failed(address(2), at(1));
        all.failed(address(1), at(2));
        for _ in 0..3 {
            assert_eq!(tour(&mut all, at(3)), [3, 2, 1]);
        }
        assert_eq!(all.failing(at(3)), 2);
        let mut early = tour(&mut all, at(11));
        assert_eq!(early.pop(), Some(1), "2 has its chance again, 1 not yet");
        all.failed(address(2), at(12)); // 20 s now
        assert_eq!(all.failing(at(31)), 1);
        assert_eq!(all.failing(at(32)), 0);
        all.failed(address(2), at(40));
        all.worked(address(2));
        assert_eq!(all.failing(at(41)), 0);
        for _ in 0..20 {
            all.failed(address(2), at(50));
        }
        assert_eq!(all.failing(at(50 + 299)), 1);
        assert_eq!(all.failing(at(50 + 300)), 0, "LAST_MAX");
    }

    /// Goal: A2, and a tour that a new resolution overtakes.
    #[test]
    fn a_new_resolution_keeps_what_is_known() {
        let mut all = Addresses::new(&[address(1), address(2)]);
        all.failed(address(1), at(1));
        let mut overtaken = all.begin();
        assert_eq!(all.next(&mut overtaken, at(2)), Some(address(2)));
        all.replace(&[address(1), address(4)]);
        assert_eq!(all.next(&mut overtaken, at(2)), Some(address(4)));
        assert_eq!(all.next(&mut overtaken, at(2)), Some(address(1)));
        assert_eq!(all.next(&mut overtaken, at(2)), None);
        let many: Vec<_> = (0..40).map(address).collect();
        all.replace(&many);
        assert_eq!(tour(&mut all, at(2)).len(), ADDRESSES_MAX);
    }
}
