//! What the cache costs a request: its key, beside reading it, a look into the index, and all that
//! storing an answer takes.

use criterion::{Criterion, criterion_group, criterion_main};
use shardgate::base::time::Instant;
use shardgate::cache::body::Body;
use shardgate::cache::entry::{Account, Entry, Making, Tag};
use shardgate::cache::fingerprint::{Asked, Tenant, print};
use shardgate::cache::index::{Index, share};
use shardgate::cache::key::Key;
use shardgate::dialect::events::Wire;
use shardgate::dialect::model::{Dialect, Request};
use shardgate::dialect::route::Route;
use shardgate::dialect::speak;
use shardgate::dialect::worth;
use shardgate::exchange::packed::pack;
use shardgate::exchange::stored::Stored;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

/// A chat of about so many bytes, with a tool or without.
fn body(bytes: usize, has_tool: bool) -> String {
    let tool = r#","tools":[{"type":"function","function":{"name":"weather","description":"The weather at a place.","parameters":{"type":"object","properties":{"place":{"type":"string","description":"A city"},"unit":{"type":"string","enum":["c","f"]}},"required":["place"]}}}],"tool_choice":"auto""#;
    let tool = if has_tool { tool } else { "" };
    let words = "Why is the sky blue, and the evening red? ".repeat(bytes / 42 + 1);
    let text = words.get(..bytes).unwrap_or(&words);
    format!(
        r#"{{"model":"gpt-4o","messages":[{{"role":"system","content":"You are helpful."}},{{"role":"user","content":"{text}"}}],"temperature":0.7,"max_tokens":500,"stream":true,"stream_options":{{"include_usage":true}}{tool}}}"#
    )
}

/// A request with this body, as the cache is asked for it.
fn asked<'a>(body: &'a [u8], request: &'a Request) -> Asked<'a> {
    Asked {
        tenant: Tenant::Key("team-a"),
        namespace: None,
        route: Route::Chat,
        model: "gpt-4o",
        fields: &[],
        body,
        request,
    }
}

fn keys(c: &mut Criterion) {
    for (name, bytes, has_tool) in [
        ("1k", 800, false),
        ("1k_tool", 500, true),
        ("16k", 16_000, false),
    ] {
        let body = body(bytes, has_tool);
        let bytes = body.as_bytes();
        let Ok(request) = speak::ask(Route::Chat, bytes, "gpt-4o", true) else {
            return;
        };
        let asked = asked(bytes, &request);
        c.bench_function(&format!("cache/read_{name}"), |b| {
            b.iter(|| speak::ask(Route::Chat, black_box(bytes), "gpt-4o", true));
        });
        c.bench_function(&format!("cache/key_{name}"), |b| {
            b.iter(|| print(black_box(&asked)));
        });
    }
}

/// Keys as even as those of requests.
fn key(number: u64) -> Key {
    let mut bytes = [0; Key::LEN];
    for (at, word) in (1..).zip(bytes.chunks_mut(8)) {
        let mixed = number
            .wrapping_mul(0x9e37_79b9_7f4a_7c15)
            .rotate_left(at * 13);
        word.copy_from_slice(&mixed.wrapping_mul(0x9fb2_1c65_1e98_df25).to_le_bytes());
    }
    Key::new(bytes)
}

/// The next key behind `number` of which shard 0 of two is the home, and its number: what another
/// one is to keep, and does not, would fill the memory.
fn own(number: u64) -> (u64, Key) {
    let mut keys = (number + 1..).map(|number| (number, key(number)));
    let found = keys.find(|(_, key)| key.home(2) == 0);
    found.unwrap_or((number, key(number)))
}

fn index(c: &mut Criterion) {
    const ENTRIES: u64 = 50_000;
    let memory = 1 << 30;
    let account = Arc::new(Account::new(memory));
    let mut index = Index::new(0, 2, share(memory, 1 << 20, 2));
    let now = Instant::from_nanos(1);
    let making = |(number, key)| Making {
        key,
        partition: None,
        tags: Box::new([]),
        made: Instant::from_nanos(number),
        ttl: Duration::from_secs(3600),
        born: 0,
        payload: 3000,
        beside: 0,
    };
    let make = |making| Entry::make(&account, 2, making, ());
    for entry in (0..ENTRIES).filter_map(|number| make(making((number, key(number))))) {
        let _kept = index.store(entry, now);
        while index.next(1).is_some() {}
    }
    let mut number = 0;
    c.bench_function("cache/get", |b| {
        b.iter(|| {
            number = (number + 7919) % ENTRIES;
            index.get(&key(number), now).is_some()
        });
    });
    c.bench_function("cache/miss", |b| {
        b.iter(|| {
            number += 1;
            index.get(&key(ENTRIES + number), now).is_some()
        });
    });
    let mut fresh = ENTRIES * 100;
    c.bench_function("cache/store", |b| {
        b.iter(|| {
            let found = own(fresh);
            fresh = found.0;
            let making = making(found);
            index.make_room(&making);
            let entry = make(making);
            let kept = entry.map(|entry| index.store(entry, now));
            while index.next(1).is_some() {}
            assert!(matches!(kept, Some(Ok(()))));
        });
    });
}

/// An answer of a chat, of about 2 KiB, and whether it is a stream.
fn answer(is_stream: bool) -> String {
    let words = "The sky is blue since air scatters blue light more than red. ";
    if !is_stream {
        let text = words.repeat(28);
        return format!(
            r#"{{"id":"c","object":"chat.completion","created":1,"model":"gpt-4o","choices":[{{"index":0,"message":{{"role":"assistant","content":"{text}"}},"finish_reason":"stop"}}],"usage":{{"prompt_tokens":20,"completion_tokens":390,"total_tokens":410}}}}"#
        );
    }
    let event = |choice: &str| {
        format!(
            "data: {{\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"gpt-4o\",\"choices\":[{{\"index\":0,{choice}}}]}}\n\n"
        )
    };
    let words = words.split_inclusive(' ').take(12);
    let said = words.map(|word| {
        event(&format!(
            "\"delta\":{{\"content\":\"{word}\"}},\"finish_reason\":null"
        ))
    });
    let end = event("\"delta\":{},\"finish_reason\":\"stop\"");
    said.collect::<String>() + &end + "data: [DONE]\n\n"
}

/// What a shard does when an answer to a request of 1 KiB has come: the key of the request, a look
/// at the answer, an entry, its place in the index, and what the other shard is told. `pack` is
/// what a shared tier takes beside.
fn store(c: &mut Criterion) {
    let request = body(800, false);
    let Ok(read) = speak::ask(Route::Chat, request.as_bytes(), "gpt-4o", true) else {
        return;
    };
    let asked = asked(request.as_bytes(), &read);
    let memory = 64 << 20;
    let account = Arc::new(Account::new(memory));
    let mut index = Index::new(0, 2, share(memory, 1 << 20, 2));
    let mut number = 0;
    for (name, is_stream) in [("plain", false), ("stream", true)] {
        let came = answer(is_stream);
        let stored = |body: &[u8]| Stored {
            model: "gpt-4o".into(),
            provider: "p".into(),
            upstream_model: "".into(),
            dialect: Dialect::Chat,
            wire: Wire::Lines,
            is_stream,
            media: "application/json".into(),
            body: Body::new(body, is_stream),
            took: Duration::ZERO,
            usage: None,
            events: 1,
            meaning: None,
        };
        c.bench_function(&format!("cache/store_{}_{name}", came.len()), |b| {
            b.iter(|| {
                let found = own(number);
                number = found.0;
                let printed = print(black_box(&asked));
                assert!(black_box(printed).is_ok());
                let body = came.as_bytes().to_vec();
                let worth = if is_stream {
                    worth::of_stream(Dialect::Chat, Wire::Lines, &body)
                } else {
                    worth::of_plain(Dialect::Chat, &body)
                };
                assert!(worth.complete && !worth.has_error);
                let payload = stored(&body);
                let making = Making {
                    key: found.1,
                    partition: None,
                    tags: [Tag::of("model", "gpt-4o"), Tag::of("client", "team-a")].into(),
                    made: Instant::from_nanos(number),
                    ttl: Duration::from_secs(3600),
                    born: 0,
                    payload: payload.bytes(),
                    beside: 0,
                };
                index.make_room(&making);
                let entry = Entry::make(&account, 2, making, payload);
                let now = Instant::from_nanos(number);
                let kept = entry.map(|entry| index.store(entry, now));
                while index.next(1).is_some() {}
                assert!(matches!(kept, Some(Ok(()))));
            });
        });
        let payload = stored(came.as_bytes());
        c.bench_function(&format!("cache/pack_{}_{name}", came.len()), |b| {
            b.iter(|| pack(black_box(&payload), None));
        });
    }
}

criterion_group!(benches, keys, index, store);
criterion_main!(benches);
