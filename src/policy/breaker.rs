//! Whether a target is asked: a breaker for each, which all shards of a box work together.
//!
//! ```text
//!            failures in a row, or their share in the window
//!   closed ─────────────────────────────────────────────────► open
//!     ▲  ▲                                                     │ until
//!     │  └── an attempt that had to be made all the same ──────┤  has passed
//!     │                                                        ▼
//!     └───────────── the probe got content ─────────────── half-open
//!                    the probe failed: open again, for twice as long
//! ```
//!
//! The state is a [`Mark`]. A shard that changes it adds one to its generation and tells the
//! others; [`Breaker::hear`] takes the newer one. So what one shard learns, all follow, and a
//! probe is one per box: who claims it says so, and of two that claim at once the lowest
//! shard keeps the claim (the other's attempt counts as an ordinary one).
//!
//! Pure: time, luck, and what the other shards counted come in. Nothing is sent from here: a
//! call that says "changed" is the caller's cue to tell the others at once.
//!
//! What counts as a failure is for [`Outcome`] to say; attempts that say nothing of the
//! target (a caller's own 4xx, a client that left) are [`Outcome::Neutral`].
//!
//! Invariants
//! - B1 An attempt is judged only within the generation it began in: what began before a
//!   change of state is no evidence for what comes after it.
//! - B2 An open breaker lets nothing through before `until`, then one probe; if that one is
//!   not heard of for [`PROBE_MAX`] another.
//! - B3 A time open is within half to one and a half of `open` doubled for each failed probe
//!   in a row, and at most `open_max`.
//! - B4 Nothing is allocated.
//! - B5 After it closed a target gets a tenth of what comes to it, then more, all of it after
//!   `ramp`: who was down is not flooded, by no shard. The draw is the turn's, so one turn
//!   has one answer.
//!
//! Source: parameters and their sources in the configuration's defaults; Envoy's outlier
//! detection and Polly's circuit breaker for the shape.

use super::balance::mix;
use crate::base::fault::{Blame, Kind};
use crate::base::time::Instant;
use crate::config::model;
use crate::stats::view::{Mark, State, Tally};
use std::time::Duration;

/// How long a probe may be under way before another is let through.
pub const PROBE_MAX: Duration = Duration::from_secs(30);

/// Slices of the window.
const SLICES: usize = 10;

/// What an attempt says of its target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It works.
    Success,
    /// It does not.
    Failure,
    /// Nothing.
    Neutral,
    /// That it works, but takes no more for now: nothing for the breaker.
    Limited,
}

impl Outcome {
    /// Of an answer with this status.
    pub const fn of_status(status: u16) -> Self {
        match status {
            200..=299 => Self::Success,
            500..=599 => Self::Failure,
            429 => Self::Limited,
            _ => Self::Neutral,
        }
    }

    /// Of a fault, after content or before it.
    pub fn of_fault(kind: Kind, has_content: bool) -> Self {
        match kind {
            // A stream that is alive and longer than the caller's patience.
            Kind::TotalTimeout if has_content => Self::Neutral,
            kind if kind.blame() == Blame::Upstream => Self::Failure,
            _ => Self::Neutral,
        }
    }
}

/// Whether an attempt may be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Yes.
    Admit,
    /// Yes, and it decides for the whole box: tell the others.
    Probe,
    /// Not before `until`.
    Reject {
        /// When it is worth asking again.
        until: Instant,
    },
}

/// What an attempt began with, for [`Breaker::settle`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Permit {
    generation: u32,
    is_probe: bool,
}

/// What an attempt begins with, for the breakers of its target and of the host behind it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Permits {
    /// Of the target.
    pub target: Permit,
    /// Of its host.
    pub host: Permit,
}

impl Permits {
    /// Whether the attempt decides for the whole box, about the one or the other.
    pub const fn is_probe(self) -> bool {
        self.target.is_probe || self.host.is_probe
    }
}

/// What a step is taken with.
#[derive(Clone, Copy, Debug)]
pub struct Turn<'a> {
    /// `[breaker]`.
    pub settings: &'a model::Breaker,
    /// The shard that takes it.
    pub me: u32,
    /// The time.
    pub now: Instant,
    /// Any word; spreads the times open.
    pub random: u64,
}

/// The breaker of a target, on one shard.
#[derive(Clone, Copy, Debug, Default)]
pub struct Breaker {
    mark: Mark,
    consecutive: u32,
    window: Window,
}

impl Permit {
    /// Whether the attempt decides for the whole box.
    pub const fn is_probe(self) -> bool {
        self.is_probe
    }
}

impl Breaker {
    /// Where it stands.
    pub fn mark(&self) -> Mark {
        self.mark
    }

    /// What it counted in the window.
    pub fn tally(&self) -> Tally {
        self.window.sum
    }

    /// Forgets what has left the window.
    pub fn age(&mut self, turn: &Turn<'_>) {
        self.window.advance(turn);
    }

    /// Whether [`Breaker::ask`] would let an attempt through.
    pub fn may_ask(&self, turn: &Turn<'_>) -> bool {
        let Mark { state, until, .. } = self.mark;
        match state {
            _ if !turn.settings.is_on => true,
            State::Closed => !self.is_spared(turn),
            State::Open | State::HalfOpen => turn.now >= until,
        }
    }

    /// Whether it is closed, and not of late: nothing of the target is in doubt.
    pub fn is_calm(&self, turn: &Turn<'_>) -> bool {
        let Mark {
            state,
            until,
            generation,
            ..
        } = self.mark;
        let has_settled = generation == 0 || turn.now.since(until) >= turn.settings.ramp;
        !turn.settings.is_on || state == State::Closed && has_settled
    }

    /// Whether an attempt may be made; claims the probe where one is due (B2).
    pub fn ask(&mut self, turn: &Turn<'_>) -> Verdict {
        let Mark { state, until, .. } = self.mark;
        if state == State::Closed || !turn.settings.is_on {
            if turn.settings.is_on && self.is_spared(turn) {
                return Verdict::Reject { until: turn.now };
            }
            return Verdict::Admit;
        }
        if turn.now < until {
            return Verdict::Reject { until };
        }
        let streak = self.mark.streak;
        self.change(State::HalfOpen, turn.now + PROBE_MAX, turn.me, streak);
        Verdict::Probe
    }

    /// The permit of an attempt that begins now, by `verdict` or in spite of it.
    pub fn permit(&self, verdict: Verdict) -> Permit {
        Permit {
            generation: self.mark.generation,
            is_probe: verdict == Verdict::Probe,
        }
    }

    /// The attempt got its first content: a probe has done its work. True when the state
    /// changed.
    pub fn content(&mut self, permit: Permit, turn: &Turn<'_>) -> bool {
        let is_mine = permit.is_probe && self.is_current(permit) && self.mark.by == turn.me;
        if is_mine {
            self.close(turn);
        }
        is_mine
    }

    /// The attempt ended. `others` is what the other shards counted in this generation.
    /// True when the state changed.
    pub fn settle(
        &mut self,
        permit: Permit,
        outcome: Outcome,
        others: impl FnOnce(u32) -> Tally,
        turn: &Turn<'_>,
    ) -> bool {
        if !turn.settings.is_on || !self.is_current(permit) {
            return false; // B1
        }
        match (self.mark.state, outcome) {
            (State::Closed, Outcome::Success) => {
                self.consecutive = 0;
                self.window.add(false, turn);
                false
            }
            (State::Closed, Outcome::Failure) => {
                self.consecutive = self.consecutive.saturating_add(1);
                self.window.add(true, turn);
                let trips = self.consecutive >= turn.settings.consecutive
                    || is_bad(self.window.sum.plus(others(self.mark.generation)), turn);
                if trips {
                    self.open(1, turn);
                }
                trips
            }
            // Also an attempt that was no probe: where all targets are open one is asked.
            (State::Open | State::HalfOpen, Outcome::Success) => {
                self.close(turn);
                true
            }
            (State::HalfOpen, _) if !permit.is_probe || self.mark.by != turn.me => false,
            (State::HalfOpen, Outcome::Failure) => {
                self.open(self.mark.streak.saturating_add(1), turn);
                true
            }
            // The probe said nothing: the next attempt is one.
            (State::HalfOpen, Outcome::Neutral | Outcome::Limited) => {
                self.change(State::Open, turn.now, turn.me, self.mark.streak);
                true
            }
            (State::Closed, Outcome::Neutral | Outcome::Limited) | (State::Open, _) => false,
        }
    }

    /// Takes over what another shard says, when it is newer. True when something changed.
    pub fn hear(&mut self, mark: Mark) -> bool {
        let joined = self.mark.join(mark);
        let is_new = joined != self.mark;
        if joined.generation != self.mark.generation {
            self.forget();
        }
        self.mark = joined;
        is_new
    }

    /// Whether a target that came back is left out this time (B5).
    fn is_spared(&self, turn: &Turn<'_>) -> bool {
        let (ramp, past) = (turn.settings.ramp, turn.now.since(self.mark.until));
        if self.mark.generation == 0 || past >= ramp {
            return false;
        }
        let share = past.as_nanos() * 900 / ramp.as_nanos().max(1) + 100;
        u128::from(mix(turn.random) % 1000) >= share
    }

    fn is_current(&self, permit: Permit) -> bool {
        permit.generation == self.mark.generation
    }

    fn close(&mut self, turn: &Turn<'_>) {
        self.change(State::Closed, turn.now, turn.me, 0);
    }

    fn open(&mut self, streak: u32, turn: &Turn<'_>) {
        let until = turn.now + time_open(streak, turn);
        self.change(State::Open, until, turn.me, streak);
    }

    fn change(&mut self, state: State, until: Instant, by: u32, streak: u32) {
        self.mark = Mark {
            generation: self.mark.generation.saturating_add(1),
            state,
            until,
            by,
            streak,
        };
        self.forget();
    }

    fn forget(&mut self) {
        self.consecutive = 0;
        self.window = Window::default();
    }
}

/// Whether the share of failures is too large.
fn is_bad(tally: Tally, turn: &Turn<'_>) -> bool {
    let (attempts, failures) = (u64::from(tally.attempts), u64::from(tally.failures));
    attempts >= u64::from(turn.settings.requests_min)
        && failures * 100 >= attempts * u64::from(turn.settings.error_percent)
}

/// How long a breaker stays open that opened `streak` times in a row (B3).
fn time_open(streak: u32, turn: &Turn<'_>) -> Duration {
    let doublings = streak.saturating_sub(1).min(20);
    let base = turn.settings.open.saturating_mul(1 << doublings);
    let base = base.min(turn.settings.open_max);
    let luck = u32::try_from(turn.random % 1025).unwrap_or(0); // 0 to 1024
    let length = base / 2 + base.saturating_mul(luck) / 1024;
    length.min(turn.settings.open_max)
}

/// What was counted of late, in slices of a tenth of the window.
#[derive(Clone, Copy, Debug, Default)]
struct Window {
    slices: [Tally; SLICES],
    /// The number of the newest slice since the clock began.
    newest: u64,
    /// The sum of all slices.
    sum: Tally,
}

impl Window {
    fn advance(&mut self, turn: &Turn<'_>) {
        let slice = turn.settings.window.as_nanos() / SLICES as u128;
        let slice = u64::try_from(slice).unwrap_or(u64::MAX).max(1);
        let newest = turn.now.as_nanos() / slice;
        let passed = newest.saturating_sub(self.newest);
        if passed == 0 {
            return;
        }
        for number in (self.newest + 1..=newest).rev().take(SLICES) {
            self.set(number, Tally::default());
        }
        self.newest = newest;
        let slices = self.slices.iter();
        self.sum = slices.fold(Tally::default(), |sum, slice| sum.plus(*slice));
    }

    fn add(&mut self, is_failure: bool, turn: &Turn<'_>) {
        self.advance(turn);
        let one = Tally {
            attempts: 1,
            failures: u32::from(is_failure),
        };
        let so_far = self.slices.get(place(self.newest));
        let slice = so_far.copied().unwrap_or_default().plus(one);
        self.set(self.newest, slice);
        self.sum = self.sum.plus(one);
    }

    fn set(&mut self, number: u64, tally: Tally) {
        if let Some(slice) = self.slices.get_mut(place(number)) {
            *slice = tally;
        }
    }
}

/// Where the slice of this number stands.
fn place(number: u64) -> usize {
    usize::try_from(number % SLICES as u64).unwrap_or(0)
}

#[cfg(test)]
mod tests;
