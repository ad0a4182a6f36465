//! What a run counts while it goes: histograms, errors by kind, a timeline.
//!
//! Invariants
//! - I1 Memory does not grow with the number of requests: histograms of fixed size, and a
//!   timeline of at most [`ROWS_MAX`] rows that doubles its width when it is full.
//! - I2 Every request that was begun ends as exactly one of `ok`, `warm` or an error.

use crate::base::time::Instant;
use hdrhistogram::Histogram;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// Longest time that a histogram tells apart, in nanoseconds: one hour.
const TIME_MAX: u64 = 3_600_000_000_000;
/// Most rows of a timeline.
const ROWS_MAX: usize = 240;
/// Width of a timeline's row at the start of a run.
const ROW: Duration = Duration::from_millis(100);

/// How a request failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Trouble {
    /// No connection.
    Connect,
    /// The connection broke: reset, broken pipe.
    Reset,
    /// Another status than 2xx.
    Status(u16),
    /// The reply ended before its end: framing unfinished, or a stream without its end mark.
    Cut,
    /// A stream said by itself that it failed.
    ErrorEvent,
    /// A stream was asked for and something else came.
    NotStream,
    /// No reply, or not all of it, in time.
    Timeout,
    /// Not HTTP, or HTTP that contradicts itself.
    Malformed,
    /// Open loop: its time had come but no connection was free until the run was over.
    Unsent,
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connect => "connect",
            Self::Reset => "reset",
            Self::Status(status) => return write!(f, "status {status}"),
            Self::Cut => "cut",
            Self::ErrorEvent => "error event",
            Self::NotStream => "not a stream",
            Self::Timeout => "timeout",
            Self::Malformed => "malformed",
            Self::Unsent => "unsent",
        })
    }
}

/// Times in nanoseconds, three digits exact.
#[derive(Clone, Debug)]
pub struct Times(Histogram<u64>);

impl Times {
    /// An empty histogram.
    ///
    /// # Errors
    /// Never with the bounds given here; what the library says otherwise.
    pub fn new() -> Result<Self, String> {
        match Histogram::new_with_bounds(1, TIME_MAX, 3) {
            Ok(times) => Ok(Self(times)),
            Err(e) => Err(e.to_string()),
        }
    }

    /// Counts one; longer than an hour counts as an hour.
    pub fn record(&mut self, time: Duration) {
        self.0.saturating_record(nanos(time));
    }

    /// How many were counted.
    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// The time that a share of `quantile` (0 to 1) stays at or under, in nanoseconds.
    pub fn at(&self, quantile: f64) -> u64 {
        self.0.value_at_quantile(quantile).min(self.0.max())
    }

    /// Shortest, mean and longest, in nanoseconds.
    pub fn edges(&self) -> (u64, f64, u64) {
        (self.0.min(), self.0.mean(), self.0.max())
    }
}

/// One row of a timeline.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) ok: u64,
    pub(crate) errors: u64,
    pub(crate) events: u64,
    pub(crate) times: Histogram<u32>,
}

impl Row {
    fn new() -> Option<Self> {
        let times = Histogram::new_with_bounds(1_000, TIME_MAX, 2).ok()?;
        Some(Self {
            ok: 0,
            errors: 0,
            events: 0,
            times,
        })
    }

    fn absorb(&mut self, other: &Self) {
        self.ok += other.ok;
        self.errors += other.errors;
        self.events += other.events;
        // Both have the same bounds, so adding cannot fail.
        let _same_bounds = self.times.add(&other.times);
    }
}

/// What happened when, in rows of equal width.
#[derive(Debug)]
pub(crate) struct Timeline {
    pub(crate) width: Duration,
    pub(crate) rows: Vec<Row>,
}

impl Timeline {
    fn new() -> Self {
        Self {
            width: ROW,
            rows: Vec::new(),
        }
    }

    /// The row of the time `since` the start of the run.
    fn row(&mut self, since: Duration) -> Option<&mut Row> {
        let mut index = self.index(since)?;
        while index >= ROWS_MAX {
            self.halve();
            index = self.index(since)?;
        }
        while self.rows.len() <= index {
            self.rows.push(Row::new()?);
        }
        self.rows.get_mut(index)
    }

    fn index(&self, since: Duration) -> Option<usize> {
        usize::try_from(since.as_nanos() / self.width.as_nanos().max(1)).ok()
    }

    /// Joins each two rows (I1).
    fn halve(&mut self) {
        let mut joined: Vec<Row> = Vec::with_capacity(ROWS_MAX);
        for (at, row) in std::mem::take(&mut self.rows).into_iter().enumerate() {
            match joined.last_mut() {
                Some(last) if at % 2 == 1 => last.absorb(&row),
                _ => joined.push(row),
            }
        }
        self.rows = joined;
        self.width *= 2;
    }
}

/// Which time the timeline shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Primary {
    /// Of whole requests.
    Latency,
    /// Between content events.
    Gap,
    /// Of content events against their pace.
    Lateness,
}

impl Primary {
    /// Its name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Latency => "latency",
            Self::Gap => "event gap",
            Self::Lateness => "event lateness",
        }
    }
}

/// All that a run counts.
#[derive(Debug)]
pub struct Tally {
    /// Whole requests, from sent (closed loop) or scheduled (open loop) to answered.
    pub latency: Times,
    /// To the first content event.
    pub ttft: Times,
    /// Between two content events of a stream.
    pub gap: Times,
    /// Content events against the pace of `--event-interval`.
    pub lateness: Times,
    /// Open loop: from scheduled to sent, the generator's own delay and waits for a connection.
    pub send_delay: Times,
    /// Answered well and measured.
    pub ok: u64,
    /// Answered well during warm-up.
    pub warm: u64,
    /// Failed, by kind; those of the warm-up too.
    pub errors: BTreeMap<Trouble, u64>,
    /// Content events, measured or not.
    pub content_events: u64,
    /// Events without content.
    pub other_events: u64,
    /// Bytes of replies.
    pub bytes: u64,
    /// Streams that are open now.
    pub open: u64,
    /// Most streams open at once.
    pub open_peak: u64,
    /// Connections opened.
    pub connects: u64,
    pub(crate) timeline: Timeline,
    primary: Primary,
    start: Instant,
    last: Instant,
}

impl Tally {
    /// Empty; times count from `start`.
    ///
    /// # Errors
    /// As [`Times::new`].
    pub fn new(start: Instant, primary: Primary) -> Result<Self, String> {
        Ok(Self {
            latency: Times::new()?,
            ttft: Times::new()?,
            gap: Times::new()?,
            lateness: Times::new()?,
            send_delay: Times::new()?,
            ok: 0,
            warm: 0,
            errors: BTreeMap::new(),
            content_events: 0,
            other_events: 0,
            bytes: 0,
            open: 0,
            open_peak: 0,
            connects: 0,
            timeline: Timeline::new(),
            primary,
            start,
            last: start,
        })
    }

    /// A request that was answered well: `from` when it counts, `is_measured` unless warm-up.
    pub fn answered(&mut self, from: Instant, now: Instant, is_measured: bool) {
        self.last = self.last.max(now);
        if !is_measured {
            self.warm += 1;
            return;
        }
        self.ok += 1;
        let took = now.since(from);
        self.latency.record(took);
        let shows = self.primary == Primary::Latency;
        if let Some(row) = self.timeline.row(now.since(self.start)) {
            row.ok += 1;
            if shows {
                row.times.saturating_record(nanos(took));
            }
        }
    }

    /// A request that failed.
    pub fn failed(&mut self, trouble: Trouble, now: Instant) {
        self.last = self.last.max(now);
        *self.errors.entry(trouble).or_default() += 1;
        if let Some(row) = self.timeline.row(now.since(self.start)) {
            row.errors += 1;
        }
    }

    /// A content event: the gap before it and its lateness, where known.
    pub fn event(&mut self, now: Instant, gap: Option<Duration>, late: Option<Duration>) {
        if let Some(gap) = gap {
            self.gap.record(gap);
        }
        if let Some(late) = late {
            self.lateness.record(late);
        }
        let shown = match self.primary {
            Primary::Latency => None,
            Primary::Gap => gap,
            Primary::Lateness => late,
        };
        if let Some(row) = self.timeline.row(now.since(self.start)) {
            row.events += 1;
            if let Some(time) = shown {
                row.times.saturating_record(nanos(time));
            }
        }
    }

    /// A stream opened.
    pub fn opened(&mut self) {
        self.open += 1;
        self.open_peak = self.open_peak.max(self.open);
    }

    /// A stream ended, well or not.
    pub fn closed(&mut self) {
        debug_assert!(self.open > 0);
        self.open = self.open.saturating_sub(1);
    }

    /// Number of failed requests.
    pub fn error_count(&self) -> u64 {
        self.errors.values().sum()
    }

    /// From the start to the last answer or failure.
    pub fn elapsed(&self) -> Duration {
        self.last.since(self.start)
    }

    /// Which time the timeline shows.
    pub const fn primary(&self) -> Primary {
        self.primary
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Instant {
        Instant::from_nanos(ms * 1_000_000)
    }

    /// Goal: percentiles are those of the times recorded. Method: 1 to 1000 ms, each once.
    #[test]
    fn percentiles_are_those_of_the_times() {
        let mut tally = Tally::new(at(0), Primary::Latency).unwrap();
        for ms in 1..=1000 {
            tally.answered(at(0), at(ms), true);
        }
        for (quantile, want) in [(0.5, 500.0), (0.9, 900.0), (0.99, 990.0), (1.0, 1000.0)] {
            let got = Duration::from_nanos(tally.latency.at(quantile)).as_secs_f64() * 1e3;
            assert!(
                (got / want - 1.0).abs() < 2e-3,
                "{quantile}: {got} for {want}"
            );
        }
        assert_eq!(tally.elapsed(), Duration::from_secs(1));
    }

    /// Goal: I1, and joining rows loses nothing. Method: an hour of events, one a second.
    #[test]
    fn a_long_timeline_stays_small_and_whole() {
        let mut tally = Tally::new(at(0), Primary::Gap).unwrap();
        for second in 0..3600 {
            let gap = Some(Duration::from_secs(1));
            tally.event(at(second * 1000), gap, None);
        }
        tally.failed(Trouble::Cut, at(3_599_000));
        let rows = &tally.timeline.rows;
        assert!(rows.len() <= ROWS_MAX && rows.len() > ROWS_MAX / 2);
        assert_eq!(rows.iter().map(|row| row.events).sum::<u64>(), 3600);
        assert_eq!(rows.iter().map(|row| row.times.len()).sum::<u64>(), 3600);
        assert_eq!(rows.last().map(|row| row.errors), Some(1));
    }

    /// Goal: warm-up requests are counted apart and leave no time behind.
    #[test]
    fn warm_up_is_counted_apart() {
        let mut tally = Tally::new(at(0), Primary::Latency).unwrap();
        tally.answered(at(0), at(5), false);
        assert_eq!((tally.ok, tally.warm, tally.latency.count()), (0, 1, 0));
    }
}
