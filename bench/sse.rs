//! What it costs to find the events of a stream and to read their fields.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use shardgate::wire::sse::reader::Reader;
use shardgate::wire::sse::{Splitter, frame};
use std::hint::black_box;

/// 100 events of about 200 bytes, as providers send them.
fn stream() -> Vec<u8> {
    let event = r#"data: {"id":"chatcmpl-0123456789abcdef","object":"chat.completion.chunk","created":1726000000,"model":"small-1","choices":[{"index":0,"delta":{"content":" Hello"},"finish_reason":null}]}"#;
    format!("{event}\n\n").repeat(100).into_bytes()
}

fn streams(c: &mut Criterion) {
    let stream = stream();
    let mut group = c.benchmark_group("sse_100_events");
    group.throughput(Throughput::Elements(100));
    group.bench_function("split", |b| {
        b.iter(|| {
            let mut ends = 0;
            Splitter::new().feed(black_box(&stream), |end| ends += end);
            ends
        });
    });
    group.bench_function("split_and_frame", |b| {
        b.iter(|| {
            let (mut from, mut data) = (0, 0);
            Splitter::new().feed(black_box(&stream), |end| {
                let event = stream.get(from..end).unwrap_or_default();
                data += frame(event).data_lines();
                from = end;
            });
            data
        });
    });
    group.bench_function("read", |b| {
        b.iter(|| {
            let mut data = 0;
            let fed = Reader::default().feed(black_box(&stream), |e| data += e.data.len());
            (data, fed)
        });
    });
    group.finish();
}

criterion_group!(benches, streams);
criterion_main!(benches);
