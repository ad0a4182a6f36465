//! What it costs to find the entries that may answer a prompt: its vector, and the nearest eight;
//! and all of a lookup: the prompt's meaning, the nearest eight, the verdict of the guard on each.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use shardgate::base::time::Instant;
use shardgate::cache::embed::{DIMS, Embedder, Scratch, builtin};
use shardgate::cache::entry::{Account, Entry, Making};
use shardgate::cache::guard::{Guard, Point, Verdict, Veto};
use shardgate::cache::index::{Index, share};
use shardgate::cache::key::Key;
use shardgate::cache::meaning::{Meaning, Partitions, alike};
use shardgate::cache::near::{FOUND_MAX, Near, Search};
use shardgate::config::cache::Threshold;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

/// Words that questions are made of.
const WORDS: &str = "how what why where which convert install remove compare capital population \
    python postgres docker kubernetes excel iphone camera laptop bread coffee chicken vitamin \
    headache diabetes pregnancy insurance mortgage inflation salary interview university physics \
    gravity evolution photosynthesis history revolution president france germany india london \
    tokyo river mountain guitar piano football chess novel movie marriage divorce friendship \
    anxiety sleep running weather climate solar battery engine bicycle airport visa passport \
    string integer function database index query file folder password account email photo video \
    the a of in to for with and is are do does can i my you best way most cheap old new large";

/// A text of `count` words, another one for each seed.
fn text(seed: usize, count: usize) -> String {
    let words: Vec<&str> = WORDS.split_whitespace().collect();
    let mut dice = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let drawn = (0..count).map(|_| {
        dice ^= dice << 13;
        dice ^= dice >> 7;
        dice ^= dice << 17;
        words.get(dice % words.len()).copied()
    });
    drawn.flatten().collect::<Vec<_>>().join(" ")
}

/// A text of exactly so many tokens.
fn tokens(count: usize) -> String {
    let mut scratch = Scratch::default();
    let (mut words, mut left) = (Vec::new(), count);
    builtin().words(&text(5, 2 * count), &mut scratch, |word, tokens| {
        if tokens.len() <= left {
            left -= tokens.len();
            words.push(word.to_owned());
        }
    });
    assert_eq!(left, 0, "{count} tokens");
    words.join(" ")
}

fn embed(c: &mut Criterion) {
    let mut group = c.benchmark_group("embed");
    let mut scratch = Scratch::default();
    for count in [30, 300] {
        let text = tokens(count);
        group.throughput(Throughput::Elements(count as u64));
        group.bench_function(BenchmarkId::new("text", count), |b| {
            b.iter(|| builtin().embed(black_box(&text), &mut scratch));
        });
        let mut all = Vec::new();
        builtin().words(&text, &mut scratch, |_, tokens| {
            all.extend_from_slice(tokens);
        });
        group.bench_function(BenchmarkId::new("rows_only", count), |b| {
            b.iter(|| Embedder::vector(black_box(&all)));
        });
    }
    group.finish();
}

fn scan(c: &mut Criterion) {
    let mut group = c.benchmark_group("nearest");
    let (mut scratch, mut search) = (Scratch::default(), Search::default());
    let mut near = Near::new(DIMS);
    let mut found = Vec::new();
    for count in [1_000, 10_000, 20_000, 30_000, 100_000_u32] {
        for key in u32::try_from(near.len()).unwrap_or(0)..count {
            let text = text(key as usize + 100, 4 + key as usize % 12);
            let vector = builtin().embed(&text, &mut scratch);
            near.insert(key, &vector.map_or([1; DIMS], |v| v.dims));
        }
        let asked = (0..64).filter_map(|i| builtin().embed(&text(7 * i + 1, 9), &mut scratch));
        let mut asked = asked.collect::<Vec<_>>().into_iter().cycle();
        group.throughput(Throughput::Elements(count.into()));
        group.bench_function(BenchmarkId::from_parameter(count), |b| {
            b.iter(|| {
                let dims = asked.next().map_or([1; DIMS], |v| v.dims);
                near.nearest(black_box(&dims), &mut search, &mut found);
                assert_eq!(found.len(), FOUND_MAX);
            });
        });
    }
    let vector = builtin().embed(&text(3, 9), &mut scratch);
    let dims = vector.map_or([1; DIMS], |v| v.dims);
    group.throughput(Throughput::Elements(1));
    group.bench_function("replace_one_of_100000", |b| {
        b.iter(|| near.insert(black_box(50_000), &dims));
    });
    group.finish();
}

/// Prompts that ask for one thing are a group of so many: as many as are found.
const GROUP: u32 = 8;

/// Entries of the scope that is searched.
const ENTRIES: u32 = 10_000;

/// How a prompt may begin, for the same answer.
const OPENINGS: [&str; 9] = [
    "how do i",
    "how can i",
    "how to",
    "how should i",
    "what is the best way to",
    "what's the easiest way to",
    "please tell me how to",
    "could you tell me how to",
    "how would i",
];

/// Words of the table that prompts are made of.
fn vocab() -> Vec<&'static str> {
    let all = include_str!("../src/cache/embed/data/vocab.txt").lines();
    all.filter(|word| word.len() > 4 && word.bytes().all(|b| b.is_ascii_lowercase()))
        .collect()
}

/// The prompts of a group, of about so many tokens: words of the table, and as many that bind them.
/// They differ in how they begin, so that the guard has to look at all of both.
fn prompt(vocab: &[&str], (group, at): (u32, u32), count: usize) -> String {
    let mut dice = u64::from(group + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut roll = |end: usize| {
        dice ^= dice << 13;
        dice ^= dice >> 7;
        dice ^= dice << 17;
        usize::try_from(dice >> 16).unwrap_or(0) % end
    };
    let joints = [
        "the", "a", "of", "for", "with", "and", "my", "in", "to", "is",
    ];
    let mut text = String::new();
    let mut scratch = Scratch::default();
    let mut left = count.saturating_sub(5);
    while left > 0 {
        let word = if roll(2) == 0 {
            joints.get(roll(joints.len()))
        } else {
            vocab.get(roll(vocab.len()))
        };
        let Some(word) = word else { continue };
        let mut cost = 0;
        builtin().words(word, &mut scratch, |_, tokens| cost += tokens.len());
        if cost <= left {
            left -= cost;
            text.push(' ');
            text.push_str(word);
        }
    }
    let opening = OPENINGS.get(at as usize % OPENINGS.len());
    format!("{}{text}?", opening.copied().unwrap_or_default())
}

/// Keys as even as those of requests.
fn key(number: u32) -> Key {
    let mut bytes = [0; Key::LEN];
    for (at, word) in (1..).zip(bytes.chunks_mut(8)) {
        let mixed = u64::from(number)
            .wrapping_mul(0x9e37_79b9_7f4a_7c15)
            .rotate_left(at * 13);
        word.copy_from_slice(&mixed.wrapping_mul(0x9fb2_1c65_1e98_df25).to_le_bytes());
    }
    Key::new(bytes)
}

fn lookup(c: &mut Criterion) {
    let hour = Duration::from_secs(3600);
    let now = Instant::default();
    let mut group = c.benchmark_group("lookup");
    let vocab = vocab();
    let prompt = |group: u32, at: u32, count: usize| prompt(&vocab, (group, at), count);
    for count in [30, 300] {
        let (memory, partition) = (1 << 30, key(u32::MAX));
        let account = Arc::new(Account::new(memory));
        let mut index = Index::new(0, 1, share(memory, 1 << 20, 1));
        let mut partitions = Partitions::default();
        for number in 0..ENTRIES {
            let text = prompt(number / GROUP, number % GROUP, count);
            let Some(meaning) = Meaning::of(&text, hour, &mut partitions.scratch) else {
                continue;
            };
            partitions.add(partition, key(number), &meaning);
            let making = Making {
                key: key(number),
                partition: Some(partition),
                tags: Box::new([]),
                made: now,
                ttl: hour,
                born: 0,
                payload: 2048,
                beside: 0,
            };
            let entry = Entry::make(&account, 1, making, meaning);
            let _kept = entry.map(|entry| index.store(entry, now));
        }
        assert_eq!(index.len(), ENTRIES as usize, "all can be compared");
        let asked: Vec<_> = (0..64)
            .map(|at| prompt(at * 19 % (ENTRIES / GROUP), GROUP, count))
            .collect();
        let mut judged = [0; 3];
        for text in &asked {
            let Some(meaning) = Meaning::of(text, hour, &mut partitions.scratch) else {
                continue;
            };
            let sketch = Guard::builtin().sketch(text);
            for found in partitions.nearest(&partition, &meaning) {
                let number = (0..ENTRIES).find(|number| key(*number) == found.key);
                let number = number.unwrap_or(0);
                let theirs = prompt(number / GROUP, number % GROUP, count);
                let theirs = Guard::builtin().sketch(&theirs);
                match Guard::builtin().verdict(&sketch, &theirs, Point::Strict) {
                    Verdict::Different { veto: Veto::Far } => judged[0] += 1,
                    Verdict::Different { .. } => judged[1] += 1,
                    Verdict::Same { .. } | Verdict::Doubt { .. } => judged[2] += 1,
                }
            }
        }
        let [far, vetoed, trees] = judged;
        println!(
            "of {} found: {far} far, {vetoed} vetoed, {trees} by the trees",
            64 * FOUND_MAX
        );
        let mut asked = asked.iter().cycle();
        group.bench_function(
            BenchmarkId::from_parameter(format!("{ENTRIES}x{count}")),
            |b| {
                b.iter(|| {
                    let text = asked.next().map_or("", |text| text);
                    let meaning = Meaning::of(black_box(text), hour, &mut partitions.scratch)?;
                    let mut best = None;
                    for found in partitions.nearest(&partition, &meaning) {
                        let entry = index.peek(&found.key, now)?;
                        let sure = alike(&meaning, &entry.payload, Threshold::Strict);
                        best = sure.or(best);
                    }
                    best
                });
            },
        );
        let Some(meaning) = Meaning::of(&prompt(19, GROUP, count), hour, &mut partitions.scratch)
        else {
            continue;
        };
        group.bench_function(BenchmarkId::new("meaning", count), |b| {
            let text = prompt(19, GROUP, count);
            b.iter(|| Meaning::of(black_box(&text), hour, &mut partitions.scratch));
        });
        group.bench_function(BenchmarkId::new("nearest", count), |b| {
            b.iter(|| partitions.nearest(&partition, black_box(&meaning)).len());
        });
        let theirs = index.peek(&key(19 * GROUP), now).cloned();
        group.bench_function(BenchmarkId::new("verdict", count), |b| {
            let Some(theirs) = &theirs else { return };
            b.iter(|| alike(black_box(&meaning), &theirs.payload, Threshold::Strict));
        });
    }
    group.finish();
}

criterion_group!(benches, embed, scan, lookup);
criterion_main!(benches);
