//! Anthropic Messages against its recordings.

mod accept;
mod broken;
mod canonical;
mod said;

use crate::recorded::{Recording, recordings};
use accept::accept;
use broken::{Dice, broken};
use canonical::{canonical, list};
use said::{Gather, Said, said_by};
use serde_json::{Map, Value, json};
use shardgate::base::bufpool::BufPool;
use shardgate::base::bytes::TxBuf;
use shardgate::base::fault::Kind;
use shardgate::dialect::anthropic::{answer, count, error, look, request, stream};
use shardgate::dialect::model::{
    Abilities, Names, Notes, Open, Request, Step, Stop, Text, Tokens, Trouble,
};
use shardgate::dialect::openai::Usage;
use shardgate::wire::sse::{Splitter, frame};

const NAMES: Names<'_> = Names {
    id: "abc123",
    model: "fast",
    created: 1,
    wants_usage: true,
};

/// Takes the name and the data of an event.
type Each<'e> = &'e mut dyn FnMut(Option<&[u8]>, &[u8]);

/// The events of `body` when it arrives cut at `cuts`; `each` gets name and data.
fn events(body: &[u8], cuts: &[usize], each: Each<'_>) {
    let mut splitter = Splitter::new();
    let (mut held, mut from) = (Vec::new(), 0);
    for &cut in cuts.iter().chain([&body.len()]) {
        let cut = cut.clamp(from, body.len());
        let piece = &body[from..cut];
        from = cut;
        let mut start = 0;
        splitter.feed(piece, |end| {
            held.extend_from_slice(&piece[start..end]);
            start = end;
            let event = frame(&held);
            let mut scratch = Vec::new();
            if let Some(data) = event.data(&mut scratch) {
                each(event.event, data);
            }
            held.clear();
        });
        held.extend_from_slice(&piece[start..]);
    }
}

/// Reads a stream into what it says, and its steps through the writer into events again.
fn hear(body: &[u8], cuts: &[usize]) -> (Said, Result<(), Kind>, Vec<u8>) {
    let mut reader = stream::Reader::new();
    let mut writer = stream::Writer::new();
    let mut tx = TxBuf::new(&BufPool::new());
    let mut gather = Gather::default();
    let mut result = Ok(());
    let mut each = |step: Step<'_>| {
        gather.take(&step);
        writer.write(&step, &NAMES, &mut tx);
    };
    events(body, cuts, &mut |event, data| {
        if result.is_ok() {
            result = reader.read(event, data, &mut each);
        }
    });
    let result = result.and_then(|()| reader.end(&mut each));
    let written = tx.unsent().to_vec();
    (gather.said, result, written)
}

/// The bodies of the streams of a recording: one, or several behind each other.
fn streams(recording: &Recording) -> Vec<Vec<u8>> {
    if !recording.path.ends_with(".chunks.txt") {
        let mut body = recording.body.clone();
        if !body.ends_with(b"\n\n") {
            body.extend_from_slice(b"\n\n"); // a fixture whose last blank line is missing
        }
        return vec![body];
    }
    let mut out = vec![Vec::new()];
    let text = std::str::from_utf8(&recording.body).unwrap();
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        let data: Value = serde_json::from_str(line).unwrap();
        let kind = data["type"].as_str().unwrap();
        let event = format!("event: {kind}\ndata: {line}\n\n");
        out.last_mut().unwrap().extend_from_slice(event.as_bytes());
        if kind == "message_stop" {
            out.push(Vec::new());
        }
    }
    out.retain(|stream| !stream.is_empty());
    out
}

fn is_stream(recording: &Recording) -> bool {
    [".sse", ".chunks.txt"]
        .iter()
        .any(|end| recording.path.ends_with(end))
}

fn answers() -> Vec<Recording> {
    let mut all = recordings(&["anthropic-messages"]);
    all.retain(|recording| recording.manifest["status"] == 200);
    all
}

/// Where the oracle is not what the protocol says.
///
/// The stream: calls that a provider's tool makes stand in `message_start`, or whole in
/// `content_block_start`; the oracle reads deltas only. The plain one: several answers that
/// the recorder merged; its calls are answered within it, so that it ends without a call,
/// which no single answer does.
const MERGED: &[&str] = &[
    "anthropic/vercel__anthropic-programmatic-tool-calling.1.chunks.txt",
    "anthropic/vercel__anthropic-programmatic-tool-calling.1.json",
];

/// Compares what was read with the oracle.
fn check(recording: &Recording, said: &Said) {
    let (path, oracle) = (&recording.path, &recording.oracle);
    let length = oracle["text_len"].as_u64().unwrap();
    if said
        .stop
        .as_ref()
        .is_some_and(|(stop, _)| *stop == Stop::Filtered)
    {
        // The oracle does not count the explanation of a refusal as text; here it is what the
        // client is shown.
        let why = said.text.chars().count() as u64 - length;
        let has_why = path.contains("vercel__anthropic-refusal.");
        assert!(why == 0 || has_why, "{path}");
    } else {
        assert_eq!(said.text.chars().count() as u64, length, "{path}");
    }
    assert!(
        said.text.starts_with(oracle["text"].as_str().unwrap()),
        "{path}"
    );
    let thinking = said.thinking.chars().count() as u64;
    assert_eq!(
        thinking,
        oracle["reasoning_len"].as_u64().unwrap(),
        "{path}"
    );
    if MERGED.contains(&path.as_str()) {
        let names = said.calls.iter().map(|(_, name, _)| name.as_str());
        let parsed = |json: &String| serde_json::from_str::<Value>(json).unwrap();
        assert!(
            said.calls
                .iter()
                .all(|call| parsed(&call.2)["player"].is_string())
        );
        assert!(names.clone().all(|name| name == "rollDie") && names.count() >= 4);
        return;
    }
    let tools = oracle["tools"].as_array().unwrap();
    assert_eq!(said.calls.len(), tools.len(), "{path}");
    for ((id, name, arguments), tool) in said.calls.iter().zip(tools) {
        assert_eq!(
            (id.as_str(), name.as_str()),
            (tool["id"].as_str().unwrap(), tool["name"].as_str().unwrap())
        );
        if tool["args_json_ok"] == false {
            assert_eq!(arguments, tool["args"].as_str().unwrap(), "{path}");
        } else {
            let parsed: Value = serde_json::from_str(arguments).unwrap();
            assert_eq!(parsed, tool["args"], "{path}");
        }
    }
    let stop = match oracle["finish"].as_str() {
        Some("stop_sequence") => Stop::Sequence,
        Some("tool_use") => Stop::Tool,
        Some("max_tokens") => Stop::Length,
        Some("refusal") => Stop::Filtered,
        Some("pause_turn") => Stop::Pause,
        Some("model_context_window_exceeded") => Stop::Context,
        Some("end_turn" | "compaction") | None => Stop::End,
        Some(other) => panic!("{path}: {other}"),
    };
    assert_eq!(said.stop.as_ref().unwrap().0, stop, "{path}");
    check_usage(path, &oracle["usage"], said.tokens.unwrap_or_default());
}

fn check_usage(path: &str, usage: &Value, tokens: Tokens) {
    let number = |value: &Value| value.as_u64().unwrap_or(0);
    assert_eq!(tokens.fresh, number(&usage["input_tokens"]), "{path}");
    assert_eq!(
        tokens.read,
        number(&usage["cache_read_input_tokens"]),
        "{path}"
    );
    let write = number(&usage["cache_creation_input_tokens"]);
    assert_eq!(tokens.write + tokens.write_1h, write, "{path}");
    assert_eq!(tokens.answer(), number(&usage["output_tokens"]), "{path}");
    let thinking = number(&usage["output_tokens_details"]["thinking_tokens"]);
    assert_eq!(tokens.thinking, thinking, "{path}");
}

/// Puts what several streams of one recording say behind each other; the last one's stop and
/// counts are those that the oracle has.
fn join(parts: Vec<Said>) -> Said {
    let mut all = Said::default();
    for part in parts {
        all.text.push_str(&part.text);
        all.thinking.push_str(&part.thinking);
        all.signatures.extend(part.signatures);
        all.calls.extend(part.calls);
        all.citations += part.citations;
        (all.stop, all.tokens, all.is_whole) = (part.stop, part.tokens, part.is_whole);
    }
    all
}

/// Goal: every recorded stream is read, says what the oracle says, and comes out of the
/// writer saying the same.
#[test]
fn recorded_streams_say_what_the_oracle_says() {
    let mut count = 0;
    for recording in answers().iter().filter(|r| is_stream(r)) {
        let mut parts = Vec::new();
        for body in streams(recording) {
            let (said, result, written) = hear(&body, &[]);
            assert_eq!(result, Ok(()), "{}", recording.path);
            assert!(said.is_whole);
            accept(&written, &recording.path);
            let (again, result, _) = hear(&written, &[]);
            assert_eq!(result, Ok(()), "{}", recording.path);
            assert_eq!(
                again.tokens.unwrap_or_default(),
                said.tokens.unwrap_or_default()
            );
            let again = Said {
                tokens: said.tokens,
                ..again
            };
            assert_eq!(again, said, "{}", recording.path);
            parts.push(said);
        }
        check(recording, &join(parts));
        count += 1;
    }
    println!("{count} recorded streams");
}

/// Goal: every recorded plain answer is read, says what the oracle says, and comes out of the
/// writer as the same blocks.
#[test]
fn recorded_answers_say_what_the_oracle_says() {
    let mut count = 0;
    for recording in answers().iter().filter(|r| !is_stream(r)) {
        let read = answer::read(&recording.body);
        if recording.oracle["error"].is_object() {
            assert_eq!(read, Err(Kind::UpstreamError), "{}", recording.path);
            continue;
        }
        let got = read.unwrap_or_else(|kind| panic!("{}: {kind:?}", recording.path));
        check(recording, &said_by(&got));
        let mut tx = TxBuf::new(&BufPool::new());
        answer::write(&got, &NAMES, &mut tx);
        let again = answer::read(tx.unsent()).unwrap();
        assert_eq!(said_by(&again), said_by(&got), "{}", recording.path);
        let facts = look::answer(&recording.body);
        assert!(facts.has_result && !facts.has_error && facts.is_json_object());
        let input = facts.usage.unwrap_or_default().input;
        assert_eq!(input, got.usage.unwrap_or_default().prompt());
        count += 1;
    }
    println!("{count} recorded answers");
}

/// Goal: how a stream is cut into packets changes nothing, also within a character.
#[test]
fn cutting_a_stream_changes_nothing() {
    for recording in answers().iter().filter(|r| is_stream(r)) {
        for body in streams(recording) {
            let whole = hear(&body, &[]);
            let step = (body.len() / 7).max(1);
            let mut cuts: Vec<Vec<usize>> = (0..7).map(|i| vec![i * step + i]).collect();
            cuts.push((0..body.len()).collect());
            if body.len() < 1500 {
                cuts.extend((0..body.len()).map(|at| vec![at]));
            }
            for cuts in cuts {
                assert_eq!(hear(&body, &cuts), whole, "{}", recording.path);
            }
        }
    }
}

/// Goal: a stream without its end is cut, wherever it ends, and the writer does not end it.
#[test]
fn a_stream_without_its_end_is_cut() {
    for recording in answers().iter().filter(|r| is_stream(r)) {
        for body in streams(recording) {
            let stop = b"event: message_stop";
            let Some(end) = body.windows(stop.len()).rposition(|w| w == stop) else {
                continue;
            };
            for end in [end, end / 2, end / 3, 0] {
                let (said, result, written) = hear(&body[..end], &[]);
                assert_eq!(result, Err(Kind::UpstreamCut), "{}", recording.path);
                assert!(!said.is_whole);
                assert!(!String::from_utf8_lossy(&written).contains("message_stop"));
            }
        }
    }
}

/// Goal: recorded errors are told apart.
#[test]
fn recorded_errors_are_told_apart() {
    let mut count = 0;
    for recording in recordings(&["anthropic-messages"]) {
        let status = recording.manifest["status"].as_u64().unwrap();
        if status < 400 {
            continue;
        }
        let refused = error::read(u16::try_from(status).unwrap(), &recording.body);
        let want = match (status, refused.message.as_str()) {
            (401, _) => Trouble::Auth,
            (404, _) => Trouble::NotFound,
            (400, text) if text.starts_with("prompt is too long") => Trouble::ContextLength,
            _ => Trouble::Invalid,
        };
        assert_eq!(refused.trouble, want, "{}", recording.path);
        assert_eq!(refused.message, recording.oracle["error"]["message"]);
        count += 1;
    }
    println!("{count} recorded errors");
}

fn written(request: &Request) -> Value {
    let mut notes = Notes::default();
    let body = request::write(request, &Abilities::default(), &mut notes).unwrap();
    assert_eq!(notes.dropped().len(), 0, "{:?}", notes.dropped());
    serde_json::from_slice(&body).unwrap()
}

/// Goal: a recorded request is the same after reading and writing; schemas and arguments keep
/// the order of their keys. Canonical: see [`canonical`].
#[test]
fn recorded_requests_are_the_same_after_reading_and_writing() {
    let mut seen = 0;
    for recording in recordings(&["anthropic-messages", "anthropic-count"]) {
        let Some(body) = &recording.request else {
            continue;
        };
        let original: Value = serde_json::from_slice(body).unwrap();
        let read = if original.get("max_tokens").is_some() {
            request::read(body)
        } else {
            count::read(body)
        };
        let request = read.unwrap_or_else(|bad| panic!("{}: {bad:?}", recording.path));
        let mut want = canonical(&original);
        let mut got = canonical(&written(&request));
        if request.max_tokens.is_none() {
            let default = got.as_object_mut().unwrap().remove("max_tokens");
            assert_eq!(default, Some(json!(8192.0)));
        }
        assert_eq!(got, want, "{}", recording.path);
        let tools = |body: &mut Value| {
            let tools = list(body.get_mut("tools"));
            tools
                .map(|t| t["input_schema"].to_string())
                .collect::<Vec<_>>()
        };
        assert_eq!(tools(&mut got), tools(&mut want), "{}", recording.path);
        seen += 1;
    }
    println!("{seen} recorded requests");
}

/// Goal: the facts of the events that pass are those of the reader.
#[test]
fn facts_of_passing_events_are_those_of_the_reader() {
    for recording in answers().iter().filter(|r| is_stream(r)) {
        for body in streams(recording) {
            let (said, ..) = hear(&body, &[]);
            let (mut usage, mut done, mut content): (Option<Usage>, _, _) = (None, 0, false);
            events(&body, &[], &mut |event, data| {
                let facts = look::look(event, data);
                assert!(facts.is_json && !facts.error, "{}", recording.path);
                content |= facts.content;
                done += usize::from(facts.done);
                usage = facts.usage.map(|now| now.after(usage)).or(usage);
            });
            let tokens = said.tokens.unwrap_or_default();
            let usage = usage.unwrap_or_default();
            assert_eq!(done, 1, "{}", recording.path);
            assert_eq!(
                (usage.input, usage.output),
                (tokens.prompt(), tokens.answer())
            );
            let is_refused = said.stop.is_some_and(|(stop, _)| stop == Stop::Filtered);
            let is_silent = said.text.is_empty() && said.calls.is_empty();
            assert!(content || is_refused || is_silent, "{}", recording.path);
        }
    }
}

/// Goal: broken streams, answers, requests and errors never panic and never give steps that
/// are not balanced; what the writer makes of them is a prefix that a client can read.
/// Method: cut, flip, double and swap parts of the recordings.
pub(super) fn broken_recordings(seed: u64) {
    let mut dice = Dice(seed);
    for recording in recordings(&["anthropic-messages"]) {
        let bodies = if is_stream(&recording) {
            streams(&recording)
        } else {
            vec![recording.body.clone()]
        };
        for body in bodies.into_iter().chain(recording.request.clone()) {
            let rounds = if body.len() > 50_000 { 4 } else { 40 };
            for _ in 0..rounds {
                survive(&broken(&body, &mut dice));
            }
        }
    }
}

fn is_all_json(events_body: &[u8]) -> bool {
    let mut is_all = true;
    events(events_body, &[], &mut |_, data| {
        is_all &= serde_json::from_slice::<Value>(data).is_ok();
    });
    is_all
}

fn survive(body: &[u8]) {
    let (said, result, written) = hear(body, &[]);
    if said.is_whole {
        // Half of a character in an escape, which the provider wrote, stays what it is.
        if is_all_json(&written) {
            accept(&written, "broken");
        }
        assert_eq!(result, Ok(()));
    } else {
        assert!(!String::from_utf8_lossy(&written).contains("event: message_stop"));
    }
    _ = look::look(None, body);
    _ = look::answer(body);
    drop(error::read(500, body));
    if let Ok(got) = answer::read(body) {
        let mut tx = TxBuf::new(&BufPool::new());
        answer::write(&got, &NAMES, &mut tx);
        assert!(serde_json::from_slice::<Map<String, Value>>(tx.unsent()).is_ok());
    }
    if let Ok(mut request) = request::read(body) {
        for origin in [request.origin, None] {
            request.origin = origin;
            let mut notes = Notes::default();
            if let Ok(body) = request::write(&request, &Abilities::default(), &mut notes) {
                assert!(count::read(&body).is_ok());
            }
        }
    }
}

/// Balanced steps, and what they say.
struct MadeUp {
    steps: Vec<Step<'static>>,
    text: String,
    calls: usize,
    tokens: Tokens,
}

fn made_up(dice: &mut Dice) -> MadeUp {
    let mut steps = Vec::new();
    if dice.below(4) > 0 {
        let (id, model) = ("x1".into(), "m".into());
        steps.push(Step::Begin { id, model });
    }
    let tokens = Tokens {
        fresh: dice.below(9) as u64,
        output: dice.below(9) as u64,
        ..Tokens::default()
    };
    let (mut text, mut calls) = (String::new(), 0);
    for _ in 0..dice.below(6) {
        let kind = dice.below(4);
        steps.push(Step::Open(match kind {
            0 => Open::Text,
            1 => Open::Refusal,
            2 => Open::Thinking,
            _ => Open::Call {
                id: if dice.below(2) == 0 {
                    "".into()
                } else {
                    "c".into()
                },
                name: "f".into(),
                is_custom: false,
            },
        }));
        calls += usize::from(kind == 3);
        match (kind, dice.below(3)) {
            (_, 0) => {}
            (3, _) => {
                steps.push(Step::Text("{\"a\":".into()));
                steps.push(Step::Text("\"\\n\"}".into()));
            }
            (kind, more) => {
                for word in ["é\"", "\n", "z"].iter().take(more + 1) {
                    steps.push(Step::Text(Text::Plain(word)));
                    if kind < 2 {
                        text.push_str(word);
                    }
                }
            }
        }
        steps.push(Step::Close);
    }
    let at = dice.below(3);
    if at == 0 {
        steps.push(Step::Usage(tokens));
    }
    if dice.below(5) > 0 {
        steps.push(Step::Stop(Stop::End, Text::EMPTY));
    }
    if at == 1 {
        steps.push(Step::Usage(tokens));
    }
    steps.push(Step::End);
    MadeUp {
        steps,
        text,
        calls,
        tokens: if at == 2 { Tokens::default() } else { tokens },
    }
}

/// Goal: whatever balanced steps come, the events are those that a client takes, and say the
/// same. Method: thousands of made-up answers, with the beginning or the counts left out.
pub(super) fn made_up_steps(seed: u64) {
    let mut dice = Dice(seed);
    for round in 0..3000 {
        let MadeUp {
            steps,
            text,
            calls,
            tokens,
        } = made_up(&mut dice);
        let mut tx = TxBuf::new(&BufPool::new());
        let mut writer = stream::Writer::new();
        for step in &steps {
            writer.write(step, &NAMES, &mut tx);
        }
        let path = format!("round {round}: {steps:?}");
        accept(tx.unsent(), &path);
        let (said, result, _) = hear(tx.unsent(), &[]);
        assert_eq!(result, Ok(()), "{path}");
        assert_eq!((&said.text, said.calls.len()), (&text, calls), "{path}");
        for call in &said.calls {
            assert!(
                serde_json::from_str::<Map<String, Value>>(&call.2).is_ok(),
                "{path}"
            );
        }
        let stop = if calls > 0 { Stop::Tool } else { Stop::End };
        assert_eq!(said.stop, Some((stop, String::new())));
        assert_eq!(said.tokens, Some(tokens), "{path}");
    }
}

/// Goal: what Bedrock carries of this dialect is the same, but for what is in the URL.
#[test]
fn what_bedrock_carries_is_read_and_written() {
    let mut seen = 0;
    for recording in recordings(&["bedrock-invoke"]) {
        let body = recording.request.as_ref().unwrap();
        let mut original: Value = serde_json::from_slice(body).unwrap();
        if original.get("messages").is_none() {
            continue; // another model's dialect
        }
        let got = answer::read(&recording.body).unwrap();
        check(&recording, &said_by(&got));
        original["model"] = "in the URL".into();
        let request = request::read(original.to_string().as_bytes()).unwrap();
        let mut notes = Notes::default();
        let abilities = Abilities::default();
        let cloud = request::Cloud::Bedrock;
        let written = request::write_for(cloud, &request, &abilities, &mut notes).unwrap();
        let written: Value = serde_json::from_slice(&written).unwrap();
        let body: Value = serde_json::from_slice(body).unwrap();
        assert_eq!(canonical(&written), canonical(&body), "{}", recording.path);
        seen += 1;
    }
    println!("{seen} recordings by way of Bedrock");
}
