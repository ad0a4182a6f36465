//! Stored answers in the other shape: a stream answered whole, a plain answer streamed.

use super::recorded::{Recording, recordings};
use serde_json::Value;
use shardgate::base::bufpool::BufPool;
use shardgate::base::bytes::TxBuf;
use shardgate::dialect::events::{Cutter, Wire, event};
use shardgate::dialect::fold::{Fold, Unfoldable};
use shardgate::dialect::model::{Answer, Block, Dialect, Names, Stop, Tokens};
use shardgate::dialect::retell::Retell;
use shardgate::dialect::route::Route;
use shardgate::dialect::speak::{self, Reader};
use shardgate::dialect::whole::{of_plain, of_stream, own_plain};
use std::collections::BTreeMap;

const NAMES: Names<'_> = Names {
    id: "abc123",
    model: "asked",
    created: 7,
    wants_usage: true,
};

/// A dialect, its protocols in the manifest (plain, streams), and the route of its clients.
pub(crate) const ALL: [(Dialect, &str, &str, Route); 6] = [
    (Dialect::Chat, "openai-chat", "openai-chat", Route::Chat),
    (
        Dialect::Responses,
        "openai-responses",
        "openai-responses",
        Route::Responses,
    ),
    (
        Dialect::Anthropic,
        "anthropic-messages",
        "anthropic-messages",
        Route::Messages,
    ),
    (
        Dialect::Gemini,
        "gemini",
        "gemini-stream",
        Route::StreamGenerate,
    ),
    (Dialect::Cohere, "cohere-v2", "cohere-v2", Route::CohereChat),
    (
        Dialect::Bedrock,
        "bedrock-converse",
        "bedrock-converse-stream",
        Route::ConverseStream,
    ),
];

/// All that an answer says.
#[derive(Clone, Debug, Default, PartialEq)]
struct Said {
    text: String,
    thinking: String,
    calls: Vec<(String, String, Value)>,
    state: Vec<Value>,
    citations: Vec<Value>,
    other: Vec<Value>,
    stop: Stop,
    usage: Option<Tokens>,
    sequence: Option<String>,
}

fn parsed(arguments: &str) -> Value {
    match arguments {
        "" => serde_json::json!({}),
        text => match serde_json::from_str::<Value>(text) {
            // Dialects that want an object carry broken arguments in one.
            Ok(value) => value.get("_raw").cloned().unwrap_or(value),
            Err(_) => Value::from(text),
        },
    }
}

impl Said {
    fn of(answer: &Answer) -> Self {
        let mut said = Self {
            stop: answer.stop,
            usage: answer.usage,
            sequence: answer
                .sequence
                .clone()
                .filter(|_| answer.stop == Stop::Sequence),
            ..Self::default()
        };
        for block in &answer.blocks {
            match block {
                Block::Text {
                    text, citations, ..
                } => {
                    said.text.push_str(text);
                    said.citations.extend(citations.clone());
                }
                Block::Thinking { text, opaque } => {
                    said.thinking.push_str(text);
                    said.state.extend(opaque.clone().map(|opaque| opaque.value));
                }
                // Dialects without a place for it say it as text.
                Block::Refusal(text) => said.text.push_str(text),
                Block::Call(call) => {
                    let arguments = parsed(&call.arguments);
                    said.calls
                        .push((call.id.clone(), call.name.clone(), arguments));
                    said.state
                        .extend(call.opaque.clone().map(|opaque| opaque.value));
                }
                Block::Foreign { value, .. } => said.other.push(value.clone()),
                other => said.other.push(format!("{other:?}").into()),
            }
        }
        // What neither shape carries: in which field of Chat thinking stood, and as what part.
        said.state
            .retain(|value| !(value == "reasoning" || value.get("part").is_some()));
        // Which writers add for clients that put lists together.
        for item in said
            .citations
            .iter_mut()
            .filter_map(Value::as_array_mut)
            .flatten()
        {
            if let Some(item) = item.as_object_mut() {
                item.remove("index");
            }
        }
        // A reasoning item gets another name on its way.
        for item in &mut said.state {
            if let Some(sealed) = item.get("encrypted_content") {
                *item = sealed.clone();
            }
        }
        said
    }
}

/// Whether a file has this extension.
pub(crate) fn is_a(path: &str, kind: &str) -> bool {
    path.rsplit_once('.').is_some_and(|(_, end)| end == kind)
}

/// A recorded stream as it came: its frames and its bytes.
pub(crate) fn stream_of(dialect: Dialect, recording: &Recording) -> Option<(Wire, Vec<u8>)> {
    let path = &recording.path;
    if is_a(path, "sse") {
        return Some((Wire::Lines, recording.body.clone()));
    }
    if is_a(path, "bin") {
        return Some((Wire::Frames, recording.body.clone()));
    }
    if !path.ends_with(".chunks.txt") || dialect == Dialect::Bedrock {
        return None;
    }
    let mut out = String::new();
    for line in String::from_utf8_lossy(&recording.body).lines() {
        if line.trim().is_empty() {
            continue;
        }
        if let Ok(value) = serde_json::from_str::<Value>(line)
            && let Some(kind) = value["type"].as_str()
        {
            out.extend(["event: ", kind, "\n"]);
        }
        out.extend(["data: ", line, "\n\n"]);
    }
    if dialect == Dialect::Chat && !out.contains("[DONE]") {
        out.push_str("data: [DONE]\n\n");
    }
    Some((Wire::Lines, out.into_bytes()))
}

/// The steps of a stream, put together with nothing else.
fn plainly(dialect: Dialect, wire: Wire, body: &[u8]) -> Result<Answer, Unfoldable> {
    let body = [body, if wire == Wire::Lines { b"\n\n" } else { b"" }].concat();
    let (mut reader, mut fold) = (Reader::new(dialect), Fold::new(Some(dialect)));
    let (mut cutter, mut scratch, mut rest) = (Cutter::new(wire, 1 << 24), Vec::new(), &body[..]);
    let garbled = |_| Unfoldable::Garbled;
    while let Some(end) = cutter.next_end(rest).map_err(garbled)? {
        let event = event(wire, &rest[..end], &mut scratch).map_err(garbled)?;
        if let Some(data) = event.data {
            let read = reader.read(event.name, data, &mut |step| fold.take(&step));
            read.map_err(garbled)?;
        }
        rest = &rest[end..];
    }
    reader.end(&mut |step| fold.take(&step)).map_err(garbled)?;
    fold.finish()
}

/// `answer` told as a stream to a client of `route`.
fn told(route: Route, answer: &Answer) -> Result<Vec<u8>, Unfoldable> {
    let mut tx = TxBuf::new(&BufPool::new());
    let mut retell = Retell::new(route, answer.clone())?;
    while retell.next(&NAMES, &mut tx).is_some() {}
    Ok(tx.unsent().to_vec())
}

fn wire_of(dialect: Dialect) -> Wire {
    match dialect {
        Dialect::Bedrock => Wire::Frames,
        _ => Wire::Lines,
    }
}

/// `answer` told as a plain body.
fn written(route: Route, answer: &Answer) -> Vec<u8> {
    let mut tx = TxBuf::new(&BufPool::new());
    speak::put_answer(route, answer, &NAMES, &mut tx);
    tx.unsent().to_vec()
}

/// Recordings that hold several streams one after the other.
const SEVERAL: [&str; 3] = [
    "reasoning-encrypted-content.1.chunks.txt",
    "openai/vercel__parallel-tool-call-wrapper.1.chunks.txt",
    "anthropic/vercel__anthropic-tool-search",
];

/// The one recording whose last event says another text than its deltas.
const ANOTHER_TEXT: &str = "openai/vercel__openai-shell-container.1.chunks.txt";

/// Goal: every recorded stream that is whole is told as an answer that says all of it, and that
/// comes back from both shapes of its own dialect; what is not told is refused for a reason.
/// Method: against the steps alone, then through the writers and back.
#[test]
fn recorded_streams_are_answers() {
    let mut count = BTreeMap::new();
    for (dialect, _, protocol, route) in ALL {
        for recording in recordings(&[protocol]) {
            let Some((wire, body)) = stream_of(dialect, &recording) else {
                continue;
            };
            let path = &recording.path;
            let whole = match of_stream(dialect, wire, &body) {
                Ok(whole) => whole,
                Err(why @ (Unfoldable::Cut | Unfoldable::Garbled | Unfoldable::Failed)) => {
                    let is_known = SEVERAL.iter().any(|known| path.contains(known));
                    let is_broken = plainly(dialect, wire, &body).is_err();
                    assert!(is_known || is_broken, "{path}: {why:?}");
                    continue;
                }
                Err(why) => {
                    *count.entry((dialect, Some(why))).or_insert(0) += 1;
                    continue;
                }
            };
            *count.entry((dialect, None)).or_insert(0) += 1;
            let said = Said::of(&whole);
            let steps = Said::of(&plainly(dialect, wire, &body).unwrap());
            let same = Said {
                // Chat's details are put together, those of Responses are told twice, and
                // differ; what the provider ran has no steps.
                state: match dialect {
                    Dialect::Chat | Dialect::Responses => steps.state.clone(),
                    _ => said.state.clone(),
                },
                other: Vec::new(),
                ..said.clone()
            };
            if !path.contains(ANOTHER_TEXT) {
                assert_eq!(same, steps, "{path}");
            }
            let body = written(route, &whole);
            let again = of_plain(dialect, &body);
            assert_eq!(
                again.map(|answer| Said::of(&answer)),
                Ok(said.clone()),
                "{path}"
            );
            match told(route, &whole) {
                Ok(body) => {
                    let again = of_stream(dialect, wire_of(dialect), &body);
                    assert_eq!(again.map(|answer| Said::of(&answer)), Ok(said), "{path}");
                }
                Err(why) => {
                    let is_other = matches!(why, Unfoldable::Own | Unfoldable::Media);
                    assert!(is_other, "{path}: {why:?}");
                    assert!(!said.other.is_empty(), "{path}");
                }
            }
        }
    }
    is_expected(&count, &STREAMS);
}

/// Goal: every recorded plain answer is told as a stream that says all of it, or refused for a
/// reason.
#[test]
fn recorded_answers_are_streams() {
    let mut count = BTreeMap::new();
    for (dialect, protocol, _, route) in ALL {
        for recording in recordings(&[protocol]) {
            let path = &recording.path;
            if !is_a(path, "json") || speak::answer(dialect, &recording.body).is_err() {
                continue;
            }
            let answer = of_plain(dialect, &recording.body);
            let told = answer.and_then(|answer| Ok((told(route, &answer)?, answer)));
            *count
                .entry((dialect, told.as_ref().err().copied()))
                .or_insert(0) += 1;
            if let Ok((body, answer)) = told {
                let mut said = Said::of(&answer);
                if dialect == Dialect::Bedrock {
                    said.usage = said.usage.or(Some(Tokens::default())); // SDKs count on it
                }
                let again = of_stream(dialect, wire_of(dialect), &body);
                assert_eq!(again.map(|answer| Said::of(&answer)), Ok(said), "{path}");
            }
        }
    }
    is_expected(&count, &ANSWERS);
}

/// Goal: a response is told to a client of Responses without a loss: it stands in the last event
/// as it was, and the events before say the same. Method: every recorded one, unknown items,
/// probabilities and all.
#[test]
fn recorded_responses_are_recited() {
    let mut count = 0;
    for recording in recordings(&["openai-responses"]) {
        let path = &recording.path;
        let is_answer = speak::answer(Dialect::Responses, &recording.body).is_ok();
        if !is_a(path, "json") || !is_answer {
            continue;
        }
        let mut tx = TxBuf::new(&BufPool::new());
        let retell = Retell::of_body(Route::Responses, Dialect::Responses, &recording.body);
        let Ok(mut retell) = retell else {
            assert!(
                !recording.body.windows(8).any(|at| at == b"\"status\""),
                "{path}"
            );
            continue;
        };
        let mut told = 0;
        while let Some(bytes) = retell.next(&NAMES, &mut tx) {
            told += bytes;
        }
        let own = own_plain(Wire::Lines, tx.unsent());
        let want: Value = serde_json::from_slice(&recording.body).unwrap();
        if let Some(own) = own {
            assert_eq!(
                serde_json::from_slice::<Value>(own).unwrap(),
                want,
                "{path}"
            );
        } else {
            assert_eq!(want["output"], serde_json::json!([]), "{path}");
        }
        let answer = speak::answer(Dialect::Responses, &recording.body).unwrap();
        let said = Said::of(&answer);
        let steps = Said::of(&plainly(Dialect::Responses, Wire::Lines, tx.unsent()).unwrap());
        let want = Said {
            other: Vec::new(),
            ..said.clone()
        };
        assert_eq!(steps, want, "{path}");
        assert!(told >= said.text.len(), "{path}");
        let worth =
            shardgate::dialect::worth::of_stream(Dialect::Responses, Wire::Lines, tx.unsent());
        assert!(worth.complete, "{path}");
        count += 1;
    }
    assert!(count == 0 || count >= 85, "{count}");
}

/// Goal: completions, whose choices have a text and no message, are told in both shapes.
#[test]
fn recorded_completions_are_told() {
    let mut told = 0;
    for recording in recordings(&["openai-completions"]) {
        let path = &recording.path;
        let stream = stream_of(Dialect::Chat, &recording);
        let answer = match stream {
            Some((wire, body)) => of_stream(Dialect::Chat, wire, &body),
            None => of_plain(Dialect::Chat, &recording.body),
        };
        let Ok(answer) = answer else {
            let is_known = path.contains("bad-request") || path.contains("batch");
            assert!(is_known, "{path} {answer:?}");
            continue;
        };
        let said = Said::of(&answer);
        let raw = String::from_utf8_lossy(&recording.body);
        let texts = raw.lines().filter_map(|line| {
            let value = serde_json::from_str::<Value>(line.trim_start_matches("data: ")).ok();
            value.and_then(|value| Some(value["choices"][0]["text"].as_str()?.to_owned()))
        });
        let want = match serde_json::from_str::<Value>(&raw) {
            Ok(value) => value["choices"][0]["text"].as_str().unwrap().to_owned(),
            Err(_) => texts.collect(),
        };
        assert_eq!(said.text, want, "{path}");
        let body = written(Route::Completions, &answer);
        let again = of_plain(Dialect::Chat, &body).unwrap();
        assert_eq!(Said::of(&again), said, "{path}");
        let mut tx = TxBuf::new(&BufPool::new());
        let mut retell = Retell::new(Route::Completions, answer).unwrap();
        while retell.next(&NAMES, &mut tx).is_some() {}
        let again = of_stream(Dialect::Chat, Wire::Lines, tx.unsent()).unwrap();
        assert_eq!(Said::of(&again), said, "{path}");
        told += 1;
    }
    assert!(told == 0 || told >= 6, "{told}");
}

type Counts = [(Dialect, usize); 6];

/// How many recordings of each dialect are told in the other shape, at least.
const STREAMS: Counts = [
    (Dialect::Chat, 90),
    (Dialect::Responses, 67),
    (Dialect::Anthropic, 62),
    (Dialect::Gemini, 60),
    (Dialect::Cohere, 3),
    (Dialect::Bedrock, 12),
];
const ANSWERS: Counts = [
    (Dialect::Chat, 157),
    (Dialect::Responses, 58),
    (Dialect::Anthropic, 23),
    (Dialect::Gemini, 81),
    (Dialect::Cohere, 6),
    (Dialect::Bedrock, 28),
];

fn is_expected(count: &BTreeMap<(Dialect, Option<Unfoldable>), usize>, least: &Counts) {
    if count.is_empty() {
        return; // without recordings
    }
    for (dialect, least) in least {
        let told = count.get(&(*dialect, None)).copied().unwrap_or_default();
        assert!(told >= *least, "{dialect:?}: {told} of {least}, {count:?}");
    }
}
