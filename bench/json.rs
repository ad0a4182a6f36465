//! What it costs to understand a request body and a streamed chunk.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use shardgate::dialect::ask::ask;
use shardgate::dialect::openai::chunk::look;
use shardgate::dialect::route::Route;
use std::hint::black_box;

/// A chat body whose prompt is `sentence`, repeated up to about `size` bytes.
fn body(sentence: &str, size: usize) -> String {
    let prompt = sentence.repeat(size / sentence.len());
    format!(
        r#"{{"model":"small-1","messages":[{{"role":"user","content":"{prompt}"}}],"stream":true}}"#
    )
}

fn asks(c: &mut Criterion) {
    let mut group = c.benchmark_group("ask");
    let fox = "The quick brown fox jumps over the lazy dog. ";
    for (name, body) in [
        ("500B", body(fox, 400)),
        ("32KiB", body(fox, 32 << 10)),
        (
            "32KiB_escapes",
            body(r#"A line with \"quotes\" and its end.\n"#, 32 << 10),
        ),
        (
            "32KiB_umlauts",
            body("Größere Übungen für später. ", 32 << 10),
        ),
    ] {
        group.throughput(Throughput::Bytes(body.len() as u64));
        group.bench_function(name, |b| {
            b.iter(|| ask(Route::Chat, black_box(body.as_bytes())).is_ok());
        });
    }
    group.finish();
}

fn chunks(c: &mut Criterion) {
    let content = br#"{"id":"chatcmpl-0123456789abcdef","object":"chat.completion.chunk","created":1726000000,"model":"small-1","choices":[{"index":0,"delta":{"content":" Hello"},"logprobs":null,"finish_reason":null}]}"#;
    let usage = br#"{"id":"chatcmpl-0123456789abcdef","object":"chat.completion.chunk","created":1726000000,"model":"small-1","choices":[],"usage":{"prompt_tokens":10,"completion_tokens":20,"total_tokens":30,"prompt_tokens_details":{"cached_tokens":0}}}"#;
    c.bench_function("look/content", |b| b.iter(|| look(black_box(content))));
    c.bench_function("look/usage", |b| b.iter(|| look(black_box(usage))));
}

criterion_group!(benches, asks, chunks);
criterion_main!(benches);
