//! How many requests are hits, of one shard and of several, and what scans cost.

use super::index::{Dice, Gateway};
use shardgate::cache::entry::PLACE;
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// A trace of keys: some are asked for often, most are not; with scans of keys that are asked for
/// once when `has_scans`.
fn trace(count: usize, keys: usize, has_scans: bool) -> Vec<u64> {
    let mut sums = Vec::with_capacity(keys);
    let mut sum = 0.0;
    for rank in 1..=keys {
        sum += 1.0 / (rank as f64).powf(0.9);
        sums.push(sum);
    }
    let mut dice = Dice(7);
    let mut scanned = keys as u64;
    let mut trace = Vec::with_capacity(count);
    while trace.len() < count {
        if has_scans && trace.len() % 4000 == 2000 {
            trace.extend(scanned..scanned + 1500);
            scanned += 1500;
        }
        let at = (dice.roll() >> 11) as f64 / (1_u64 << 53) as f64 * sum;
        trace.push(sums.partition_point(|sum| *sum < at) as u64);
    }
    trace
}

/// The share of hits of the box on `trace`, each request at any shard; messages are delivered
/// every `pace` requests.
fn hit_rate(trace: &[u64], shards: usize, memory: usize, pace: usize) -> f64 {
    let mut all = Gateway::new(shards, memory, 4 << 10);
    let mut dice = Dice(3);
    let mut hits = 0;
    for (step, number) in trace.iter().enumerate() {
        let at = usize::try_from(dice.roll()).unwrap() % shards;
        match all.get(at, *number) {
            Some(found) => {
                assert_eq!(found, *number);
                hits += 1;
            }
            None => {
                let _kept = all.store(at, *number, 1000);
            }
        }
        if step % pace == 0 {
            all.settle();
        }
        if step % (8 * pace) == 0 {
            all.tick();
            all.check_memory();
        }
    }
    f64::from(hits) / trace.len() as f64
}

/// The same of a cache that forgets what was asked for longest ago.
fn lru_rate(trace: &[u64], entries: usize) -> f64 {
    let (mut turns, mut order) = (BTreeMap::new(), BTreeMap::new());
    let mut hits = 0;
    for (turn, number) in trace.iter().enumerate() {
        if let Some(before) = turns.insert(*number, turn) {
            hits += 1;
            order.remove(&before);
        } else if turns.len() > entries {
            let (_, oldest) = order.pop_first().unwrap();
            turns.remove(&oldest);
        }
        order.insert(turn, *number);
    }
    f64::from(hits) / trace.len() as f64
}

/// Goal: two shards, and four, hit within 1 % of what one does; scans cost less than they cost a
/// cache that goes by recency alone. The figures are in the message of a failure.
#[test]
fn shards_hit_as_one_does_and_scans_cost_little() {
    let memory = 2 << 20;
    let entries = |trace: &[u64]| {
        // As many as one shard keeps.
        let mut all = Gateway::new(1, memory, 4 << 10);
        for number in trace {
            let _kept = all.store(0, *number, 1000);
        }
        all.shards[0].len()
    };
    let (plain, scanned) = (trace(80_000, 8_000, false), trace(80_000, 8_000, true));
    let room = entries(&plain);
    let mut said = format!("{room} entries");
    for (name, trace) in [("plain", &plain), ("scans", &scanned)] {
        let one = hit_rate(trace, 1, memory, 1);
        // More shards: more index for each entry, so that as many entries need more memory.
        let rate = |shards| {
            let fair = memory + (shards - 1) * PLACE * room * 17 / 16;
            hit_rate(trace, shards, fair, 16)
        };
        let (two, four) = (rate(2), rate(4));
        let same = hit_rate(trace, 2, memory, 16);
        let lru = lru_rate(trace, room);
        write!(said, "; {name}: one {one:.4}, two {two:.4} (in the same memory {same:.4}), four {four:.4}, recency {lru:.4}").unwrap();
        assert!(
            (two - one).abs() < 0.01 && (four - one).abs() < 0.01,
            "{said}"
        );
        assert!(one > lru, "{said}");
    }
    println!("{said}");
}
