//! One stream's clock: first content, gaps, and how late each event is against its pace.
//!
//! ```text
//!   expected   100  105  110  115  120          anchor 100, interval 5
//!   came       100  106  110  118  118          the last one is early: the anchor moves to 98
//!   late         0    1    0    3    0
//! ```
//!
//! The anchor is the earliest pace that the events so far allow, so a late first event does
//! not make all others look early.

use super::events::Seen;
use super::tally::Tally;
use crate::base::time::Instant;
use std::time::Duration;

/// State of one reply.
#[derive(Debug)]
pub(crate) struct Pace {
    interval: Option<u64>,
    anchor: u64,
    count: u64,
    last: Option<Instant>,
    first_content: Option<Instant>,
    first_other: Option<Instant>,
    is_measured: bool,
    pub(crate) ended: bool,
    pub(crate) error: bool,
}

impl Pace {
    pub(crate) fn new(interval: Option<Duration>, is_measured: bool) -> Self {
        Self {
            interval: interval.and_then(|every| u64::try_from(every.as_nanos()).ok()),
            anchor: 0,
            count: 0,
            last: None,
            first_content: None,
            first_other: None,
            is_measured,
            ended: false,
            error: false,
        }
    }

    /// Counts what came at `now`.
    pub(crate) fn seen(&mut self, seen: Seen, now: Instant, tally: &mut Tally) {
        self.ended |= seen.end;
        self.error |= seen.error;
        tally.other_events += u64::from(seen.other);
        tally.content_events += u64::from(seen.content);
        if seen.other > 0 && self.first_other.is_none() {
            self.first_other = Some(now);
        }
        for _ in 0..seen.content {
            let late = self.lateness(now);
            let gap = self.last.replace(now).map(|last| now.since(last));
            self.first_content.get_or_insert(now);
            if self.is_measured {
                tally.event(now, gap, late);
            }
        }
    }

    fn lateness(&mut self, now: Instant) -> Option<Duration> {
        let interval = self.interval?;
        let now = now.as_nanos();
        let offset = interval.saturating_mul(self.count);
        if self.count == 0 || now < self.anchor.saturating_add(offset) {
            self.anchor = now.saturating_sub(offset);
        }
        self.count += 1;
        let expected = self.anchor.saturating_add(offset);
        Some(Duration::from_nanos(now.saturating_sub(expected)))
    }

    /// When the first content came; the first event of any kind where none had content.
    pub(crate) fn first(&self) -> Option<Instant> {
        self.first_content.or(self.first_other)
    }

    pub(crate) const fn is_measured(&self) -> bool {
        self.is_measured
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::tally::Primary;

    fn at(ms: u64) -> Instant {
        Instant::from_nanos(ms * 1_000_000)
    }

    /// Goal: the picture above. Method: those arrivals, and two more.
    #[test]
    fn lateness_counts_from_the_earliest_pace() {
        let every = Some(Duration::from_millis(5));
        let (mut pace, mut late) = (Pace::new(every, true), Vec::new());
        for ms in [100, 106, 110, 118, 118, 125, 129] {
            late.push(pace.lateness(at(ms)).unwrap().as_millis());
        }
        // The fifth is early, so the pace is that of 98, 103, 108 …
        assert_eq!(late, [0, 1, 0, 3, 0, 2, 1]);
    }

    /// Goal: first content, gaps and counts. Method: a role event, then three contents.
    #[test]
    fn gaps_lie_between_content_events() {
        let mut tally = Tally::new(at(0), Primary::Gap).unwrap();
        let mut pace = Pace::new(None, true);
        let content = |content| Seen {
            content,
            ..Seen::default()
        };
        let role = Seen {
            other: 1,
            ..Seen::default()
        };
        pace.seen(role, at(1), &mut tally);
        assert_eq!(pace.first(), Some(at(1)));
        pace.seen(content(1), at(10), &mut tally);
        pace.seen(content(2), at(30), &mut tally);
        assert_eq!(pace.first(), Some(at(10)));
        assert_eq!((tally.gap.count(), tally.lateness.count()), (2, 0));
        assert_eq!((tally.content_events, tally.other_events), (3, 1));
        assert_eq!(tally.gap.edges().2 / 1_000_000, 20);
    }
}
