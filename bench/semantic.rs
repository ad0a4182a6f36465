//! What it costs to find the entries that may answer a prompt: its vector, and the nearest eight;
//! and all of a lookup: the prompt's meaning, the nearest eight, the verdict of the guard on each.

use criterion::measurement::{Measurement, ValueFormatter, WallTime};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use shardgate::base::time::Instant;
use shardgate::cache::embed::{DIMS, Embedder, Scratch, builtin};
use shardgate::cache::entry::{Account, Entry, Making};
use shardgate::cache::guard::{Guard, Point, Verdict, Veto};
use shardgate::cache::index::{Index, share};
use shardgate::cache::key::Key;
use shardgate::cache::meaning::{Meaning, Partitions, alike, surest};
use shardgate::cache::near::{FOUND_MAX, Near, Search};
use shardgate::config::cache::Threshold;
use shardgate::host::clock::thread_cpu_nanos;
use std::collections::BTreeMap;
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
            // As often as words are in texts: the table has the commonest ones first.
            let rank = roll(1000) * roll(1000) / 1000 * roll(1000) / 1000;
            vocab.get(rank * vocab.len() / 1000 + roll(vocab.len() / 1000))
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

/// A scope of [`ENTRIES`] entries, all found by meaning.
struct Scope {
    index: Index<Meaning>,
    partitions: Partitions,
    partition: Key,
    now: Instant,
}

/// How long entries of the scope live.
const HOUR: Duration = Duration::from_secs(3600);

impl Scope {
    fn of(prompt: impl Fn(u32, u32) -> String) -> Self {
        let memory = 1 << 30;
        let account = Arc::new(Account::new(memory));
        let mut scope = Self {
            index: Index::new(0, 1, share(memory, 1 << 20, 1)),
            partitions: Partitions::default(),
            partition: key(u32::MAX),
            now: Instant::default(),
        };
        for number in 0..2 * ENTRIES {
            let text = prompt(number / GROUP, number % GROUP);
            let Some(meaning) = scope.meaning(&text) else {
                continue; // it speaks of now, or of the caller's own
            };
            if scope.index.len() == ENTRIES as usize {
                break;
            }
            scope.partitions.add(scope.partition, key(number), &meaning);
            let making = Making {
                key: key(number),
                partition: Some(scope.partition),
                tags: Box::new([]),
                made: scope.now,
                ttl: HOUR,
                born: 0,
                payload: 2048,
                beside: 0,
            };
            let entry = Entry::make(&account, 1, making, meaning);
            let _kept = entry.map(|entry| scope.index.store(entry, scope.now));
        }
        assert_eq!(scope.index.len(), ENTRIES as usize);
        scope
    }

    fn meaning(&mut self, text: &str) -> Option<Meaning> {
        Meaning::of(text, HOUR, &mut self.partitions.scratch)
    }

    /// What a shard does where nobody asked the same.
    fn look(&mut self, text: &str) -> Option<f32> {
        let meaning = self.meaning(text)?;
        let found = self.partitions.nearest(&self.partition, &meaning).iter();
        let others = found.filter_map(|found| {
            let entry = self.index.peek(&found.key, self.now)?;
            Some((found.key, &entry.payload))
        });
        surest(&meaning, others, Threshold::Strict).map(|(sure, _)| sure)
    }

    /// Of what is found for `text`: what is too far, what is vetoed, what the trees decide.
    fn judged(&mut self, text: &str, prompt: impl Fn(u32, u32) -> String) -> [usize; 3] {
        let guard = Guard::builtin();
        let mut judged = [0; 3];
        let Some(meaning) = self.meaning(text) else {
            return judged;
        };
        let numbers: BTreeMap<[u8; Key::LEN], u32> =
            (0..2 * ENTRIES).map(|it| (*key(it).bytes(), it)).collect();
        for found in self.partitions.nearest(&self.partition, &meaning) {
            let number = numbers.get(found.key.bytes()).copied().unwrap_or_default();
            let theirs = guard.sketch(&prompt(number / GROUP, number % GROUP));
            let at = match guard.verdict(&guard.sketch(text), &theirs, Point::Strict) {
                Verdict::Different { veto: Veto::Far } => 0,
                Verdict::Different { .. } => 1,
                Verdict::Same { .. } | Verdict::Doubt { .. } => 2,
            };
            if let Some(count) = judged.get_mut(at) {
                *count += 1;
            }
        }
        judged
    }
}

/// The time that this thread has had of a CPU, whoever else uses it.
struct Cpu;

impl Measurement for Cpu {
    type Intermediate = u64;
    type Value = Duration;

    fn start(&self) -> u64 {
        thread_cpu_nanos()
    }

    fn end(&self, began: u64) -> Duration {
        Duration::from_nanos(thread_cpu_nanos() - began)
    }

    fn add(&self, one: &Duration, other: &Duration) -> Duration {
        *one + *other
    }

    fn zero(&self) -> Duration {
        Duration::ZERO
    }

    fn to_f64(&self, value: &Duration) -> f64 {
        value.as_secs_f64() * 1e9
    }

    fn formatter(&self) -> &dyn ValueFormatter {
        WallTime.formatter()
    }
}

fn lookup(c: &mut Criterion<Cpu>) {
    let mut group = c.benchmark_group("lookup");
    let vocab = vocab();
    for count in [30, 300] {
        let prompt = |group: u32, at: u32| prompt(&vocab, (group, at), count);
        let mut scope = Scope::of(prompt);
        let asked = (0..64).map(|at| prompt(at * 19 % (ENTRIES / GROUP), GROUP));
        let asked: Vec<_> = asked.filter(|it| scope.meaning(it).is_some()).collect();
        let judged: Vec<_> = asked.iter().map(|it| scope.judged(it, prompt)).collect();
        let trees: usize = judged.iter().map(|[_, _, trees]| trees).sum();
        let all = asked.len() * FOUND_MAX;
        assert!(2 * trees > all, "the trees are asked: {judged:?}");
        let mut texts = asked.iter().cycle();
        let name = format!("{ENTRIES}x{count}");
        group.bench_function(BenchmarkId::from_parameter(name), |b| {
            b.iter(|| {
                let text = texts.next().map_or("", |text| text);
                scope.look(black_box(text))
            });
        });
        let has = |own: &u32| scope.index.peek(&key(own * GROUP), scope.now).is_some();
        let own = (0..ENTRIES / GROUP).find(has).unwrap_or_default();
        let text = prompt(own, GROUP);
        group.bench_function(BenchmarkId::new("meaning", count), |b| {
            b.iter(|| scope.meaning(black_box(&text)));
        });
        let meaning = scope.meaning(&text);
        let theirs = scope.index.peek(&key(own * GROUP), scope.now).cloned();
        let Some((meaning, theirs)) = meaning.zip(theirs) else {
            continue;
        };
        group.bench_function(BenchmarkId::new("verdict", count), |b| {
            b.iter(|| alike(black_box(&meaning), &theirs.payload, Threshold::Strict));
        });
    }
    group.finish();
}

criterion_group!(benches, embed, scan);
criterion_group! {
    name = lookups;
    config = Criterion::default().with_measurement(Cpu);
    targets = lookup
}
criterion_main!(lookups, benches);
