//! Recorded embeddings, of all dialects that have them.
//!
//! Providers of `OpenAI`'s dialect were asked for base64 in many recordings. That passes to a
//! client of the same dialect; who translates asks for numbers, and takes nothing else.

use super::recorded::{Recording, recordings};
use serde_json::Value;
use shardgate::base::bufpool::BufPool;
use shardgate::base::bytes::TxBuf;
use shardgate::base::fault::Kind;
use shardgate::dialect::model::embed::{Embed, Forms, Vectors};
use shardgate::dialect::model::{Dialect, Names, Notes};
use shardgate::dialect::route::Route;
use shardgate::dialect::speak;

const NAMES: Names<'_> = Names {
    id: "x7",
    model: "m",
    created: 1,
    wants_usage: false,
};

/// Each front, with the dialect that reads what it writes.
const FRONTS: [(Route, Dialect); 5] = [
    (Route::Embeddings, Dialect::Chat),
    (Route::EmbedContent, Dialect::Gemini),
    (Route::BatchEmbedContents, Dialect::Gemini),
    (Route::CohereEmbed, Dialect::Cohere),
    (Route::Invoke, Dialect::Bedrock),
];

fn all() -> Vec<(Dialect, Recording)> {
    let of = |protocol, dialect| {
        let found = recordings(&[protocol]).into_iter();
        found.map(move |recording| (dialect, recording))
    };
    of("openai-embeddings", Dialect::Chat)
        .chain(of("gemini-embed", Dialect::Gemini))
        .chain(of("embeddings", Dialect::Cohere))
        .collect()
}

/// The vectors as the body has them, by another way.
fn listed(dialect: Dialect, body: &Value) -> Vec<Value> {
    let items = |list: &Value, key: &str| -> Vec<Value> {
        let list = list.as_array().unwrap();
        list.iter().map(|item| item[key].clone()).collect()
    };
    match dialect {
        Dialect::Chat => items(&body["data"], "embedding"),
        Dialect::Gemini if body.get("embedding").is_some() => {
            vec![body["embedding"]["values"].clone()]
        }
        Dialect::Gemini => items(&body["embeddings"], "values"),
        _ => body["embeddings"]["float"].as_array().unwrap().clone(),
    }
}

fn dense(bytes: &[u8]) -> Vec<u8> {
    let mut out = bytes.to_vec();
    out.retain(|byte| !byte.is_ascii_whitespace());
    out
}

/// Goal: every recorded answer with numbers is read to the digit, and is the same after each
/// front's writer; others are told apart.
#[test]
fn recorded_vectors_pass_every_front_to_the_digit() {
    let (mut read, mut coded) = (0, 0);
    for (dialect, recording) in all() {
        let path = &recording.path;
        let body: Value = serde_json::from_slice(&recording.body).unwrap();
        let of = |count| Embed {
            inputs: vec!["text".to_owned(); count],
            forms: Forms::default(),
            ..Embed::default()
        };
        if recording.manifest["status"] != 200 {
            let got = speak::vectors(dialect, &recording.body, &of(1));
            assert_eq!(got, Err(Kind::UpstreamError), "{path}");
            continue;
        }
        let want = listed(dialect, &body);
        let embed = of(want.len());
        let got = speak::vectors(dialect, &recording.body, &embed);
        if want[0].is_string() {
            assert_eq!(got, Err(Kind::UpstreamGarbled), "{path}");
            coded += 1;
            continue;
        }
        let got = got.unwrap();
        read += 1;
        let whole = dense(&recording.body);
        let values: Vec<Vec<u8>> = got.values.iter().map(|vector| dense(vector)).collect();
        for (vector, want) in values.iter().zip(&want) {
            let parsed: Value = serde_json::from_slice(vector).unwrap();
            assert_eq!(parsed, *want, "{path}");
            assert!(
                memchr::memmem::find(&whole, vector).is_some(),
                "{path}: digits"
            );
        }
        let other = speak::vectors(dialect, &recording.body, &of(want.len() + 1));
        assert_eq!(other, Err(Kind::UpstreamGarbled), "{path}: one is missing");
        for (route, reader) in FRONTS {
            let is_one = matches!(route, Route::EmbedContent | Route::Invoke);
            let count = if is_one { 1 } else { want.len() };
            let mut tx = TxBuf::new(&BufPool::new());
            speak::put_vectors(route, &got, &embed, &NAMES, &mut tx);
            let again = speak::vectors(reader, tx.unsent(), &of(count)).unwrap();
            let want: Vec<Vec<u8>> = values.iter().take(count).cloned().collect();
            assert_eq!(again.values, want, "{path} {route:?}");
            if got.tokens.is_some() {
                assert_eq!(again.tokens, got.tokens, "{path} {route:?}");
            }
            let facts = speak::look_at_answer(reader, tx.unsent());
            assert!(facts.has_result && !facts.has_error, "{path} {route:?}");
            let seen = facts.usage.map(|usage| usage.input);
            assert_eq!(
                seen, again.tokens,
                "{path} {route:?}: what passes is counted, too"
            );
        }
    }
    if coded > 0 {
        assert!(read >= 7 && coded >= 7, "{read} read, {coded} in base64");
    }
}

/// Goal: every recorded request is read, and written for every provider it is the same request.
#[test]
fn recorded_requests_are_written_for_every_provider() {
    for (dialect, recording) in all() {
        let path = &recording.path;
        let Some(body) = &recording.request else {
            continue;
        };
        let route = match dialect {
            Dialect::Chat => Route::Embeddings,
            Dialect::Cohere => Route::CohereEmbed,
            _ if memchr::memmem::find(body, b"\"requests\"").is_some() => Route::BatchEmbedContents,
            _ => Route::EmbedContent,
        };
        // What is broken was refused by the provider, too.
        let Ok(read) = speak::embed(route, body, "m") else {
            assert_ne!(recording.manifest["status"], 200, "{path}");
            continue;
        };
        assert!(!read.inputs.is_empty(), "{path}");
        for (route, target) in FRONTS
            .into_iter()
            .filter(|(r, _)| *r != Route::EmbedContent)
        {
            let mut notes = Notes::default();
            let written = speak::put_embed(target, &read, &mut notes);
            if target == Dialect::Bedrock && read.inputs.len() > 1 {
                assert_eq!(written.unwrap_err().field, read.inputs_name(), "{path}");
                continue;
            }
            let again = speak::embed(route, &written.unwrap(), &read.model).unwrap();
            assert_eq!(again.inputs, read.inputs, "{path} {target:?}");
            assert_eq!(again.dimensions, read.dimensions, "{path} {target:?}");
            assert_eq!(again.model, read.model, "{path} {target:?}");
            let lost = notes.dropped().contains(&read.purpose_name().into());
            let is_kept = again.purpose == read.purpose || lost;
            assert!(is_kept || read.purpose.is_none(), "{path} {target:?}");
        }
    }
}

/// Goal: bytes that are cut or changed anywhere give vectors or a fault, never a panic.
#[test]
fn broken_answers_never_panic() {
    let one = Embed {
        inputs: vec![String::new()],
        ..Embed::default()
    };
    for (dialect, recording) in all() {
        let body = recording.body.get(..400).unwrap_or(&recording.body);
        for at in 0..body.len() {
            let cut: Result<Vectors<'_>, Kind> = speak::vectors(dialect, &body[..at], &one);
            assert!(cut.is_err(), "{} at {at}", recording.path);
            let mut changed = body.to_vec();
            changed[at] ^= 0x15;
            drop(speak::vectors(dialect, &changed, &one));
        }
    }
}

/// Goal: requests that are cut or changed anywhere are read or refused by a field, and what is
/// read is written or refused by a field; never a panic.
#[test]
fn broken_requests_never_panic() {
    let (mut read, mut refused) = (0, 0);
    for (dialect, recording) in all() {
        let Some(whole) = &recording.request else {
            continue;
        };
        let body = whole.get(..600).unwrap_or(whole);
        for at in 0..body.len() {
            for bits in [0, 1, 2, 0x15, 0x20, 0x80] {
                let mut changed = whole.clone();
                if bits == 0 {
                    changed.truncate(at);
                } else {
                    changed[at] ^= bits;
                }
                let fronts = FRONTS.iter().filter(|(_, front)| *front == dialect);
                for (route, _) in fronts {
                    let embed = match speak::embed(*route, &changed, "m") {
                        Ok(embed) => embed,
                        Err(bad) => {
                            assert!(!bad.field.is_empty() && !bad.wanted.is_empty());
                            refused += 1;
                            continue;
                        }
                    };
                    read += 1;
                    for (_, target) in FRONTS {
                        match speak::put_embed(target, &embed, &mut Notes::default()) {
                            Ok(body) => assert!(!body.is_empty()),
                            Err(unfit) => assert!(!unfit.field.is_empty()),
                        }
                    }
                }
            }
        }
    }
    assert!(
        read == refused || read > 0 && refused > 0,
        "{read} read, {refused} refused"
    );
}
