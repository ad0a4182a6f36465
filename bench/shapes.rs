//! What it costs to know whether a stored body is worth it, and to tell it in the other shape.

use criterion::{Criterion, criterion_group, criterion_main};
use shardgate::base::bufpool::BufPool;
use shardgate::base::bytes::TxBuf;
use shardgate::dialect::events::Wire;
use shardgate::dialect::model::{Answer, Block, Dialect, Names, Tokens};
use shardgate::dialect::retell::Retell;
use shardgate::dialect::route::Route;
use shardgate::dialect::{speak, whole, worth};
use std::hint::black_box;

const NAMES: Names<'_> = Names {
    id: "0123456789abcdef",
    model: "small-1",
    created: 1_726_000_000,
    wants_usage: true,
};

/// The routes of clients, one of each dialect.
const ROUTES: [(Dialect, Route); 6] = [
    (Dialect::Chat, Route::Chat),
    (Dialect::Responses, Route::Responses),
    (Dialect::Anthropic, Route::Messages),
    (Dialect::Gemini, Route::StreamGenerate),
    (Dialect::Cohere, Route::CohereChat),
    (Dialect::Bedrock, Route::ConverseStream),
];

/// An answer that is told in about 100 pieces.
fn answer() -> Answer {
    Answer {
        blocks: vec![Block::text("The quick brown fox".repeat(100))],
        usage: Some(Tokens {
            fresh: 10,
            output: 400,
            ..Tokens::default()
        }),
        ..Answer::default()
    }
}

fn told(route: Route, tx: &mut TxBuf) {
    if let Ok(mut retell) = Retell::new(route, answer()) {
        while retell.next(&NAMES, tx).is_some() {}
    }
}

fn shapes(c: &mut Criterion) {
    for (dialect, route) in ROUTES {
        let (pool, name) = (BufPool::new(), dialect.name());
        let (mut stream, mut plain) = (TxBuf::new(&pool), TxBuf::new(&pool));
        told(route, &mut stream);
        speak::put_answer(route, &answer(), &NAMES, &mut plain);
        let wire = match dialect {
            Dialect::Bedrock => Wire::Frames,
            _ => Wire::Lines,
        };
        let mut group = c.benchmark_group(name);
        group.bench_function("worth_stream", |b| {
            b.iter(|| worth::of_stream(dialect, wire, black_box(stream.unsent())));
        });
        group.bench_function("worth_plain", |b| {
            b.iter(|| worth::of_plain(dialect, black_box(plain.unsent())));
        });
        group.bench_function("stream_to_answer", |b| {
            b.iter(|| whole::of_stream(dialect, wire, black_box(stream.unsent())));
        });
        group.bench_function("plain_to_answer", |b| {
            b.iter(|| whole::of_plain(dialect, black_box(plain.unsent())));
        });
        group.bench_function("answer_to_stream", |b| {
            let mut tx = TxBuf::new(&pool);
            b.iter(|| {
                tx.clear();
                told(route, &mut tx);
                tx.len()
            });
        });
        group.finish();
    }
}

criterion_group!(benches, shapes);
criterion_main!(benches);
