//! Asking a target again that has failed: which, and when.
//!
//! ```text
//!   every target failed once ──► the one that failed first ──► after a pause ──► …
//!                                 └ it wants to be left alone for a time: after that, if
//!                                   anybody would wait so long
//! ```
//!
//! Only what may pass is tried again: a provider in trouble, a connection that broke, a limit
//! that says when it ends. A refused key, a spent quota or a wrong certificate is not.
//!
//! Invariants
//! - Y1 A pause is within zero and `first` doubled for each one before, at most `max`: drawn
//!   evenly, so that many who failed at once do not come back at once (full jitter).
//! - Y2 Nobody waits longer than `wait_max` at a time: beyond, the client is told what the
//!   provider said, and may do better. Where that is zero no target is asked twice.
//! - Y3 Nothing is allocated.
//!
//! Sources: Brooker, "Exponential backoff and jitter" (AWS, 2015); RFC 9110, 10.2.3 for
//! `Retry-After`.

use crate::base::fault::{self, Kind};
use crate::base::time::Instant;
use crate::config::model::Retry;
use crate::config::model::defaults::{ATTEMPTS_MAX, FALLBACKS_MAX, TARGETS_MAX, TRIES_MAX};
use std::time::Duration;

/// A target of a plan: whose turn it was, and its place among that model's.
pub type Tried = (usize, usize);

/// The same in two bytes: a plan is copied.
type Kept = (u8, u8);

const _: () = assert!(FALLBACKS_MAX < 255 && TARGETS_MAX < 256);

fn kept((turn, target): Tried) -> Kept {
    let narrow = |index| u8::try_from(index).unwrap_or(u8::MAX);
    (narrow(turn), narrow(target))
}

/// How often a target is worth asking, after it failed in some way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hope {
    /// No more: it would fail in the same way.
    None,
    /// Twice in all: it may have done the work, and charge for it.
    Once,
    /// [`TRIES_MAX`] times in all.
    More,
}

impl Hope {
    /// After this fault.
    pub const fn after(kind: Kind) -> Self {
        match kind.retry() {
            fault::Retry::Never | fault::Retry::Elsewhere => Self::None,
            fault::Retry::IfReused | fault::Retry::Once => Self::Once,
            fault::Retry::Anywhere => Self::More,
        }
    }

    const fn tries(self) -> usize {
        match self {
            Self::None => 0,
            Self::Once => 2,
            Self::More => TRIES_MAX,
        }
    }
}

/// What an exchange has tried, and what of it may be tried again.
#[derive(Clone, Copy, Debug, Default)]
pub struct Retries {
    /// Every attempt, in order.
    tried: [Option<Kept>; ATTEMPTS_MAX],
    /// Those that failed and may be asked again, first things first.
    waiting: [Option<Kept>; ATTEMPTS_MAX],
    made: u32,
}

impl Retries {
    /// This one is tried.
    pub fn tries(&mut self, tried: Tried) {
        put(&mut self.tried, kept(tried));
    }

    /// The one that was tried last failed.
    pub fn failed(&mut self, hope: Hope) {
        let all = || self.tried.iter().map_while(|place| *place);
        let Some(last) = all().last() else {
            return;
        };
        if all().filter(|tried| *tried == last).count() < hope.tries() {
            put(&mut self.waiting, last);
        }
    }

    /// The one that was tried last was not, after all.
    pub fn not_made(&mut self) {
        if let Some(last) = self.tried.iter_mut().rfind(|place| place.is_some()) {
            *last = None;
        }
    }

    /// The two that were tried last change places.
    pub fn change_places(&mut self) {
        let made = self.tried.iter().flatten().count();
        if let Some(before) = made.checked_sub(2) {
            self.tried.swap(before, made - 1);
        }
    }

    /// Those that may be asked again, in order.
    pub fn iter(&self) -> impl Iterator<Item = Tried> + '_ {
        let all = self.waiting.iter().map_while(|place| *place);
        all.map(|(turn, target)| (turn.into(), target.into()))
    }

    /// This one's turn has come.
    pub fn take(&mut self, tried: Tried) {
        let Some(at) = self
            .waiting
            .iter()
            .position(|place| *place == Some(kept(tried)))
        else {
            return;
        };
        self.made = self.made.saturating_add(1);
        if let Some(behind) = self.waiting.get_mut(at..) {
            behind.rotate_left(1);
        }
        if let Some(last) = self.waiting.last_mut() {
            *last = None;
        }
    }

    /// When to ask again, where the first of them that may be asked is to be left alone until
    /// `until`; `None`: not worth the wait (Y2).
    pub fn when(
        &self,
        settings: &Retry,
        until: Instant,
        (now, random): (Instant, u64),
    ) -> Option<Instant> {
        let at = (now + pause(settings, self.made, random)).max(until);
        let is_worth_it = !settings.wait_max.is_zero() && at.since(now) <= settings.wait_max;
        is_worth_it.then_some(at)
    }
}

fn put(places: &mut [Option<Kept>], tried: Kept) {
    if let Some(free) = places.iter_mut().find(|place| place.is_none()) {
        *free = Some(tried);
    }
}

/// The pause before one more attempt, of which there were `made` (Y1).
fn pause(settings: &Retry, made: u32, random: u64) -> Duration {
    let most = settings.backoff_first.saturating_mul(1 << made.min(16));
    let most = most.min(settings.backoff_max);
    let luck = u32::try_from(random % 1025).unwrap_or(0); // 0 to 1024
    most.saturating_mul(luck) / 1024
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::model::defaults::RETRY;

    const NOW: Instant = Instant::from_nanos(1_000_000_000_000);

    /// Goal: Y1 and its mean; a limit that ends later wins.
    #[test]
    fn pauses_grow_and_are_spread() {
        let mut retries = Retries::default();
        for doublings in 0..8 {
            let most = (RETRY.backoff_first * (1 << doublings)).min(RETRY.backoff_max);
            let pauses: Vec<_> = (0..1025)
                .map(|luck| retries.when(&RETRY, NOW, (NOW, luck)).unwrap().since(NOW))
                .collect();
            assert!(pauses.iter().all(|pause| *pause <= most));
            assert_eq!((pauses[0], pauses[1024]), (Duration::ZERO, most));
            assert_eq!(pauses[512], most / 2);
            let until = NOW + Duration::from_secs(5);
            assert_eq!(retries.when(&RETRY, until, (NOW, 512)), Some(until));
            put(&mut retries.waiting, (0, 0));
            retries.take((0, 0));
        }
    }

    /// Goal: of two attempts that run at once either may be the one that failed; one that was
    /// not made is none of them.
    #[test]
    fn of_two_at_once_either_may_fail() {
        let mut retries = Retries::default();
        retries.change_places(); // nothing yet
        retries.not_made();
        for tried in [(0, 0), (0, 1)] {
            retries.tries(tried);
        }
        retries.not_made();
        retries.tries((0, 2));
        retries.change_places();
        retries.failed(Hope::More);
        retries.change_places();
        retries.failed(Hope::More);
        let waiting: Vec<_> = retries.iter().collect();
        assert_eq!(waiting, [(0, 0), (0, 2)]);
    }

    /// Goal: Y2.
    #[test]
    fn nobody_waits_too_long() {
        let retries = Retries::default();
        let until = NOW + RETRY.wait_max;
        assert_eq!(retries.when(&RETRY, until, (NOW, 7)), Some(until));
        let until = until + Duration::from_millis(1);
        assert_eq!(retries.when(&RETRY, until, (NOW, 7)), None);
        let settings = Retry {
            wait_max: Duration::ZERO,
            ..RETRY
        };
        assert_eq!(retries.when(&settings, NOW, (NOW, 0)), None);
    }

    /// Goal: who failed first is first; one that failed again is behind the others; nobody is
    /// tried more often than there is hope.
    #[test]
    fn they_come_in_order() {
        let mut retries = Retries::default();
        let fail = |retries: &mut Retries, target, hope| {
            retries.tries((0, target));
            retries.failed(hope);
        };
        fail(&mut retries, 0, Hope::More);
        fail(&mut retries, 1, Hope::Once);
        fail(&mut retries, 2, Hope::None);
        fail(&mut retries, 3, Hope::More);
        retries.take((0, 2)); // is none of them
        assert!(retries.iter().eq([(0, 0), (0, 1), (0, 3)]));
        for hope in [Hope::More, Hope::Once] {
            let next = retries.iter().next().unwrap();
            retries.take(next);
            fail(&mut retries, next.1, hope);
        }
        assert!(retries.iter().eq([(0, 3), (0, 0)]));
        retries.take((0, 0));
        fail(&mut retries, 0, Hope::More);
        assert!(retries.iter().eq([(0, 3)]), "three times");
    }
}
