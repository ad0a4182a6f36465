//! What it costs to find the entries that may answer a prompt: its vector, and the nearest eight.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use shardgate::cache::embed::{DIMS, Embedder, Scratch, builtin};
use shardgate::cache::near::{FOUND_MAX, Near, Search};
use std::hint::black_box;

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

criterion_group!(benches, embed, scan);
criterion_main!(benches);
