//! What one shard counts. Written by that shard alone; copied when scraped.

use super::cached::Cached;
use super::handshakes::Handshakes;
use super::queued::Counts as Queued;
use super::receipt::{AttemptEnd, End, HedgeEnd, Receipt};
use super::remote;
use super::vectors::Vectors;
use crate::dialect::model::Dialect;
use ahash::AHashMap;
use hdrhistogram::Histogram;
use std::time::Duration;

/// Largest duration that is told apart, in microseconds (one hour).
const MICROS_MAX: u64 = 3_600_000_000;

/// A latency histogram in microseconds: 1 µs to 1 h, two significant digits.
#[derive(Clone, Debug)]
pub struct Latency {
    micros: Option<Histogram<u64>>,
    sum: Duration,
}

impl Default for Latency {
    fn default() -> Self {
        Self {
            micros: Histogram::new_with_bounds(1, MICROS_MAX, 2).ok(),
            sum: Duration::ZERO,
        }
    }
}

impl Latency {
    /// Counts one duration; longer than the range counts as the longest.
    pub fn record(&mut self, took: Duration) {
        self.sum += took;
        if let Some(histogram) = &mut self.micros {
            histogram
                .saturating_record(u64::try_from(took.as_micros()).unwrap_or(MICROS_MAX).max(1));
        }
    }

    /// Adds what `other` counted.
    pub fn add(&mut self, other: &Self) {
        self.sum += other.sum;
        if let (Some(mine), Some(theirs)) = (&mut self.micros, &other.micros) {
            let added = mine.add(theirs);
            debug_assert!(added.is_ok(), "both have the same bounds");
        }
    }

    /// How many were counted.
    pub fn count(&self) -> u64 {
        self.micros.as_ref().map_or(0, Histogram::len)
    }

    /// Sum of all.
    pub fn sum(&self) -> Duration {
        self.sum
    }

    /// How many were at most `bound`.
    pub fn at_most(&self, bound: Duration) -> u64 {
        let bound = u64::try_from(bound.as_micros()).unwrap_or(MICROS_MAX);
        self.micros
            .as_ref()
            .map_or(0, |h| h.count_between(0, bound))
    }

    /// The duration that the share `quantile` (0 to 1) did not exceed.
    pub fn quantile(&self, quantile: f64) -> Duration {
        Duration::from_micros(
            self.micros
                .as_ref()
                .map_or(0, |h| h.value_at_quantile(quantile)),
        )
    }
}

/// Upper bounds of the buckets of [`Sizes`], as the `GenAI` conventions advise for tokens.
pub const SIZE_BOUNDS: [u64; 14] = [
    1, 4, 16, 64, 256, 1024, 4096, 16_384, 65_536, 262_144, 1_048_576, 4_194_304, 16_777_216,
    67_108_864,
];

/// A histogram of counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sizes {
    /// How many were at most the bound of this place and more than the one before.
    pub buckets: [u64; SIZE_BOUNDS.len()],
    /// How many there were.
    pub count: u64,
    /// Their sum.
    pub sum: u64,
}

impl Sizes {
    /// Counts one.
    pub fn record(&mut self, size: u64) {
        self.count += 1;
        self.sum = self.sum.saturating_add(size);
        let place = SIZE_BOUNDS.iter().position(|bound| size <= *bound);
        if let Some(bucket) = place.and_then(|place| self.buckets.get_mut(place)) {
            *bucket += 1;
        }
    }

    /// Adds what `other` counted.
    pub fn add(&mut self, other: &Self) {
        for (mine, theirs) in self.buckets.iter_mut().zip(other.buckets) {
            *mine += theirs;
        }
        self.count += other.count;
        self.sum = self.sum.saturating_add(other.sum);
    }
}

/// Attempts by [`AttemptEnd::index`].
pub type Attempts = [u64; AttemptEnd::ALL.len()];

/// Everything that one shard counts.
#[derive(Clone, Debug, Default)]
pub struct Counters {
    /// Exchanges by (front, model, status); the model is `None` where none was known. Models and
    /// providers stand here and below by their numbers (`config/diff.rs`),
    /// which outlive a reload.
    pub requests: AHashMap<(Dialect, Option<usize>, u16), u64>,
    /// Faults by [`crate::base::fault::Kind`]'s code.
    pub faults: AHashMap<&'static str, u64>,
    /// Attempts by target.
    pub attempts: AHashMap<usize, Attempts>,
    /// First attempts at a fallback: from which model, to which, and why.
    pub fallbacks: AHashMap<(usize, usize, &'static str), u64>,
    /// Second attempts beside slow ones by [`HedgeEnd::index`], and those that were denied.
    pub hedges: [u64; HedgeEnd::ALL.len()],
    /// Estimated tokens of the prompts of attempts that lost, by target.
    pub lost_tokens: AHashMap<usize, u64>,
    /// Streams by [`End`].
    pub streams: [u64; 3],
    /// Streams that are open.
    pub streams_open: u64,
    /// Exchanges that are under way.
    pub exchanges_open: u64,
    /// Exchanges that began, and receipts written: equal when nothing is under way.
    pub exchanges: u64,
    /// See `exchanges`.
    pub receipts: u64,
    /// Client connections that are open.
    pub connections_open: u64,
    /// Client connections accepted.
    pub connections: u64,
    /// Connections that were refused for load.
    pub connections_shed: u64,
    /// Tasks that panicked.
    pub panics: u64,
    /// Access-log lines that were dropped because the log could not keep up.
    pub log_dropped: u64,
    /// Requests sent once more because a reused connection turned out to be closed.
    pub reconnects: u64,
    /// How often another target went on with an answer that was cut.
    pub continuations: u64,
    /// Further attempts that were not made, as the budget was spent.
    pub budget_spent: u64,
    /// Requests that came when there was no room.
    pub queued: Queued,
    /// How many of them wait; set when it is copied.
    pub queue_depth: u64,
    /// What was counted of shared tiers that are gone; in a copy, of the one in force, too.
    pub remote: remote::Total,
    /// What became of requests and answers at the cache.
    pub cached: Cached,
    /// What became of asking for the vectors of texts.
    pub vectors: Vectors,
    /// TLS handshakes.
    pub handshakes: Handshakes,
    /// Tokens in, tokens out, as reported by providers, by model and provider.
    pub tokens: AHashMap<(usize, usize), [Sizes; 2]>,
    /// From first byte to settled.
    pub duration: Latency,
    /// From first byte to first content.
    pub first_content: Latency,
    /// Of streams: from the first content to the end, divided by the tokens behind the first.
    pub per_token: Latency,
    /// Duration without the time waited for the provider.
    pub overhead: Latency,
}

impl Counters {
    /// Counts a settled exchange, whose model has the number `model` (a receipt has its index
    /// in the configuration that the exchange began with).
    pub fn settle(&mut self, receipt: &Receipt, (model, provider): (Option<usize>, Option<usize>)) {
        self.receipts += 1;
        let row = (receipt.front(), model, receipt.status);
        *self.requests.entry(row).or_default() += 1;
        self.continuations += u64::from(receipt.continued.count());
        if let Some(fault) = receipt.fault {
            *self.faults.entry(fault.code()).or_default() += 1;
        }
        if let (Some(model), Some(provider), Some(usage)) = (model, provider, receipt.usage) {
            let [input, output] = self.tokens.entry((model, provider)).or_default();
            input.record(usage.input);
            output.record(usage.output);
        }
        if receipt.is_stream {
            let place = match receipt.end {
                End::Done => 0,
                End::Error => 1,
                End::Cancelled => 2,
            };
            if let Some(count) = self.streams.get_mut(place) {
                *count += 1;
            }
        }
        let took = receipt.ended.since(receipt.began);
        self.duration.record(took);
        if let Some(first) = receipt.first_content {
            self.first_content.record(first);
            let behind = receipt
                .usage
                .map_or(0, |usage| usage.output.saturating_sub(1));
            let behind = u32::try_from(behind).unwrap_or(u32::MAX);
            if let (true, Some(each)) = (
                receipt.is_stream && receipt.end == End::Done,
                took.saturating_sub(first).checked_div(behind),
            ) {
                self.per_token.record(each);
            }
        }
        if receipt.end == End::Done && !receipt.is_stream {
            self.overhead.record(took.saturating_sub(receipt.upstream));
        }
    }

    /// Counts what came of a hedge.
    pub fn hedge(&mut self, end: HedgeEnd) {
        if let Some(count) = self.hedges.get_mut(end.index()) {
            *count += 1;
        }
    }

    /// Adds what another shard counted.
    pub fn add(&mut self, other: &Self) {
        for (key, count) in &other.requests {
            *self.requests.entry(*key).or_default() += count;
        }
        for (key, count) in &other.faults {
            *self.faults.entry(key).or_default() += count;
        }
        for (key, theirs) in &other.attempts {
            let mine = self.attempts.entry(*key).or_default();
            for (mine, theirs) in mine.iter_mut().zip(theirs) {
                *mine += theirs;
            }
        }
        for (key, count) in &other.fallbacks {
            *self.fallbacks.entry(*key).or_default() += count;
        }
        for (key, theirs) in &other.tokens {
            let mine = self.tokens.entry(*key).or_default();
            for (mine, theirs) in mine.iter_mut().zip(theirs) {
                mine.add(theirs);
            }
        }
        for (mine, theirs) in self.hedges.iter_mut().zip(other.hedges) {
            *mine += theirs;
        }
        for (key, count) in &other.lost_tokens {
            *self.lost_tokens.entry(*key).or_default() += count;
        }
        for (mine, theirs) in self.streams.iter_mut().zip(other.streams) {
            *mine += theirs;
        }
        self.streams_open += other.streams_open;
        self.exchanges_open += other.exchanges_open;
        self.exchanges += other.exchanges;
        self.receipts += other.receipts;
        self.connections_open += other.connections_open;
        self.connections += other.connections;
        self.connections_shed += other.connections_shed;
        self.panics += other.panics;
        self.log_dropped += other.log_dropped;
        self.reconnects += other.reconnects;
        self.continuations += other.continuations;
        self.budget_spent += other.budget_spent;
        self.queued.add(&other.queued);
        self.queue_depth += other.queue_depth;
        self.remote.add(&other.remote);
        self.cached.add(&other.cached);
        self.vectors.add(&other.vectors);
        self.handshakes.add(&other.handshakes);
        self.duration.add(&other.duration);
        self.first_content.add(&other.first_content);
        self.per_token.add(&other.per_token);
        self.overhead.add(&other.overhead);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::time::Instant;

    fn receipt(status: u16, micros: u64) -> Receipt {
        let ended = Instant::from_nanos(micros * 1000);
        Receipt {
            status,
            ended,
            end: End::Done,
            ..Receipt::default()
        }
    }

    /// Goal: adding shards up is the same as counting on one. Method: the same receipts
    /// split over two shards in two ways.
    #[test]
    fn adding_shards_up_is_counting_on_one() {
        let receipts: Vec<_> = (1..50)
            .map(|i| receipt(if i % 3 == 0 { 200 } else { 502 }, i * 37))
            .collect();
        let (mut one, mut left, mut right) = (
            Counters::default(),
            Counters::default(),
            Counters::default(),
        );
        for (index, receipt) in receipts.iter().enumerate() {
            one.settle(receipt, (None, None));
            if index % 2 == 0 {
                left.settle(receipt, (None, None));
            } else {
                right.settle(receipt, (None, None));
            }
        }
        left.add(&right);
        assert_eq!(left.requests, one.requests);
        assert_eq!(
            (left.receipts, left.duration.count()),
            (one.receipts, one.duration.count())
        );
        assert_eq!(left.duration.sum(), one.duration.sum());
        assert_eq!(left.duration.quantile(0.9), one.duration.quantile(0.9));
    }
}
