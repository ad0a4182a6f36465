//! `OpenAI` Chat Completions, of all the engines that speak it.

mod canonical;
mod listen;
mod tamper;

use super::recorded::{Recording, recordings};
use canonical::canonical;
use listen::{Heard, check, listen};
use serde_json::Value;
use shardgate::base::bufpool::BufPool;
use shardgate::base::bytes::TxBuf;
use shardgate::base::fault::Kind;
use shardgate::dialect::chat::stream::Writer;
use shardgate::dialect::chat::{answer, completions, error, request};
use shardgate::dialect::model::{Abilities, Answer, Block, Names, Notes, Trouble};
use tamper::{Rng, mutate};

const CHAT: &[&str] = &["openai-chat"];

const NAMES: Names<'_> = Names {
    id: "test",
    model: "m",
    created: 1,
    wants_usage: true,
};

/// Recordings that end with an error, and what it is.
const FAILING: [(&str, Trouble); 4] = [
    (
        "openrouter/pydanticai__test_openrouter_stream_error__0.sse",
        Trouble::Invalid,
    ),
    (
        "groq/pydanticai__test_tool_use_failed_error_streaming_with_text__0.sse",
        Trouble::Invalid,
    ),
    (
        "groq/pydanticai__test_tool_use_failed_error_streaming__0.sse",
        Trouble::Invalid,
    ),
    (
        "gpustack/rubyllm__chat_with_extended_thinking_gpustack_qwen3_streams_thinking_c.sse",
        Trouble::Server,
    ),
];

/// Errors of a prompt that is too long.
const TOO_LONG: [&str; 3] = [
    "perplexity/rubyllm__chat_real_error_scenarios_perplexity_sonar_handles_context_le.json",
    "ollama-cloud/rubyllm__chat_real_error_scenarios_ollama_cloud_gpt-oss_120b_handles_c.json",
    "openrouter/rubyllm__chat_real_error_scenarios_openrouter_claude-haiku-4-5_handles.json",
];

/// The body of a recorded stream.
fn body(recording: &Recording) -> Vec<u8> {
    if !recording.path.ends_with(".chunks.txt") {
        return recording.body.clone();
    }
    let mut body = Vec::new();
    for line in recording.body.split(|&b| b == b'\n') {
        if !line.trim_ascii().is_empty() {
            body.extend_from_slice(b"data: ");
            body.extend_from_slice(line);
            body.extend_from_slice(b"\n\n");
        }
    }
    body.extend_from_slice(b"data: [DONE]\n\n");
    body
}

/// Recordings of status 200 whose names end like this.
fn fine(ends: &[&str]) -> Vec<Recording> {
    let is_fine = |recording: &Recording| {
        let is_named = ends.iter().any(|end| recording.path.ends_with(end));
        recording.manifest["status"] == 200 && is_named
    };
    recordings(CHAT).into_iter().filter(is_fine).collect()
}

fn streams() -> Vec<Recording> {
    fine(&[".sse", ".chunks.txt"])
}

fn answers() -> Vec<Recording> {
    fine(&[".json"])
}

/// Goal: every recorded stream is read as the oracle says, however its bytes are cut.
#[test]
fn recorded_streams_are_read_however_they_are_cut() {
    let mut rng = Rng(1);
    let streams = streams();
    for recording in &streams {
        let body = body(recording);
        let heard = listen(&body, &[], None);
        let heard = heard.unwrap_or_else(|kind| panic!("{}: {kind:?}", recording.path));
        let failing = FAILING.iter().find(|(path, _)| *path == recording.path);
        let trouble = heard.error.as_ref().map(|refused| refused.trouble);
        assert_eq!(
            trouble,
            failing.map(|&(_, trouble)| trouble),
            "{}",
            recording.path
        );
        check(&heard, recording);
        let near = body.len().min(200);
        let cuts = (0..near).map(|at| (at, at)).chain((0..8).map(|_| {
            let (a, b) = (rng.below(body.len() + 1), rng.below(body.len() + 1));
            (a.min(b), a.max(b))
        }));
        let is_short = body.len() < 8000;
        for (a, b) in cuts.filter(|&(a, _)| is_short || a % 20 == 0) {
            assert_eq!(
                listen(&body, &[a, b], None),
                Ok(heard.clone()),
                "{} {a}",
                recording.path
            );
        }
    }
    println!("{} streams", streams.len());
}

/// Goal: what is read from every recorded stream, written and read again is the same.
#[test]
fn recorded_streams_are_written_and_read_again() {
    for recording in streams() {
        let mut tx = TxBuf::new(&BufPool::new());
        let mut writer = Writer::new();
        let once = listen(&body(&recording), &[], Some((&mut writer, &mut tx)));
        let mut once = once.unwrap_or_else(|kind| panic!("{}: {kind:?}", recording.path));
        let mut twice = listen(tx.unsent(), &[], None)
            .unwrap_or_else(|kind| panic!("{}: {kind:?}", recording.path));
        // How the client is told of an error is the writer's; usage does not follow one.
        if once.error.is_some() {
            assert!(twice.error.is_some(), "{}", recording.path);
            (once.error, twice.error, once.usage) = (None, None, None);
        }
        name_calls(&mut once);
        assert_eq!(once, twice, "{}", recording.path);
    }
}

/// Gives calls without an id, and without arguments, what the writer gives them.
fn name_calls(heard: &mut Heard) {
    let calls = heard.blocks.iter_mut().filter(|block| block.0 == "call");
    for (at, (_, who, arguments)) in calls.enumerate() {
        if who.starts_with('\n') {
            *who = format!("call_test_{at}{who}");
        }
        if arguments.is_empty() {
            "{}".clone_into(arguments);
        }
    }
}

/// What an answer says.
fn heard(answer: &Answer) -> Heard {
    let mut heard = Heard {
        stop: Some(answer.stop),
        usage: answer.usage,
        has_ended: true,
        ..Heard::default()
    };
    for block in &answer.blocks {
        heard.blocks.push(match block {
            Block::Text { text, .. } => ("text", String::new(), text.clone()),
            Block::Thinking { text, .. } => ("thinking", String::new(), text.clone()),
            Block::Refusal(text) => ("refusal", String::new(), text.clone()),
            Block::Call(call) => (
                "call",
                format!("{}\n{}", call.id, call.name),
                call.arguments.clone(),
            ),
            Block::Foreign { .. } => continue,
            other => panic!("{other:?}"),
        });
    }
    heard
}

/// Goal: every recorded answer is read as the oracle says, and written and read again is the
/// same.
#[test]
fn recorded_answers_are_read_and_written() {
    let answers = answers();
    for recording in &answers {
        let read = answer::read(&recording.body);
        if !recording.oracle["error"].is_null() {
            assert_eq!(read, Err(Kind::UpstreamError), "{}", recording.path);
            let refused = error::read(200, &recording.body);
            assert_eq!(refused.trouble, Trouble::ContentPolicy); // Azure
            continue;
        }
        let read = read.unwrap_or_else(|kind| panic!("{}: {kind:?}", recording.path));
        let mut once = heard(&read);
        check(&once, recording);
        let mut tx = TxBuf::new(&BufPool::new());
        answer::write(&read, &NAMES, &mut tx);
        let twice = answer::read(tx.unsent()).unwrap();
        name_calls(&mut once);
        assert_eq!(once, heard(&twice), "{}", recording.path);
        assert_eq!(read.logprobs, twice.logprobs, "{}", recording.path);
    }
    println!("{} answers", answers.len());
}

/// Goal: every recorded error is told for what it is.
#[test]
fn recorded_errors_are_told_for_what_they_are() {
    let mut errors = 0;
    for recording in recordings(&["openai-chat", "openai-completions"]) {
        let status = recording.manifest["status"].as_u64().unwrap();
        if status < 400 {
            continue;
        }
        errors += 1;
        let refused = error::read(u16::try_from(status).unwrap(), &recording.body);
        let path = &recording.path;
        let is_context = TOO_LONG.contains(&path.as_str());
        let want = match status {
            401 => Trouble::Auth,
            404 => Trouble::NotFound,
            429 => Trouble::RateLimit,
            _ if is_context => Trouble::ContextLength,
            _ => Trouble::Invalid,
        };
        assert_eq!(refused.trouble, want, "{path}: {refused:?}");
        let said = recording.oracle["error"]["message"].as_str();
        if let Some(said) = said {
            assert!(refused.message.starts_with(said), "{path}: {refused:?}");
        }
    }
    println!("{errors} errors");
}

/// Goal: every recorded request comes out as it went in. The same means here: the canonical
/// forms are equal, see [`canonical`].
#[test]
fn recorded_requests_come_out_as_they_went_in() {
    let mut requests = 0;
    for recording in recordings(CHAT) {
        let Some(body) = &recording.request else {
            continue;
        };
        requests += 1;
        let path = &recording.path;
        let read = match request::read(body) {
            Ok(read) => read,
            Err(bad) => {
                let reason = BROKEN.iter().find(|(broken, _)| broken == path);
                assert_eq!(
                    Some(bad.field.as_str()),
                    reason.map(|(_, field)| *field),
                    "{path}"
                );
                continue;
            }
        };
        let written = request::write(&read, &Abilities::default(), &mut Notes::default());
        let written: Value = serde_json::from_slice(&written.unwrap()).unwrap();
        let body: Value = serde_json::from_slice(body).unwrap();
        assert_eq!(canonical(&written), canonical(&body), "{path}");
    }
    println!("{requests} requests");
}

/// Requests that were recorded broken, and the field at fault.
const BROKEN: [(&str, &str); 1] = [("openai/envoyaigw__chat-no-messages.json", "messages")];

/// Goal: every recorded request of `/v1/completions` is read, and its prompt is the turn of the
/// user, or the reason that no target fits.
#[test]
fn recorded_completions_are_read() {
    for recording in recordings(&["openai-completions"]) {
        let Some(body) = &recording.request else {
            continue;
        };
        let value: Value = serde_json::from_slice(body).unwrap();
        match completions::read(body) {
            Ok(request) => {
                let is_text = value["prompt"].is_string();
                assert_eq!(
                    request.turns.len(),
                    usize::from(is_text),
                    "{}",
                    recording.path
                );
                let is_kept = request.extras.iter().any(|extra| extra.field == "prompt");
                assert_eq!(is_kept, !is_text, "{}", recording.path);
            }
            Err(bad) => assert_eq!(bad.field, "max_tokens", "{}", recording.path),
        }
    }
}

/// Goal: recordings that were tampered with never panic a reader or a writer, and never give
/// unbalanced steps. Method: from a seed; [`Listener`] panics on what is unbalanced.
pub(super) fn broken_recordings(seed: u64) {
    let mut rng = Rng(seed);
    for recording in streams() {
        let body = body(&recording);
        let rounds = (200_000 / body.len().max(1)).clamp(3, 60);
        for _ in 0..rounds {
            let (mut writer, mut tx) = (Writer::new(), TxBuf::new(&BufPool::new()));
            let tampered = mutate(&mut rng, &body);
            let read = listen(&tampered, &[], Some((&mut writer, &mut tx)));
            if read.is_ok_and(|heard| heard.has_ended) {
                let again = listen(tx.unsent(), &[], None);
                assert!(again.is_ok(), "{}: {again:?}", recording.path);
            }
        }
    }
    for recording in recordings(CHAT) {
        for _ in 0..6 {
            let tampered = mutate(&mut rng, &recording.body);
            if let Ok(read) = answer::read(&tampered) {
                let mut tx = TxBuf::new(&BufPool::new());
                answer::write(&read, &NAMES, &mut tx);
                assert!(answer::read(tx.unsent()).is_ok(), "{}", recording.path);
            }
            drop(error::read(500, &tampered));
            let Some(body) = &recording.request else {
                continue;
            };
            if let Ok(read) = request::read(&mutate(&mut rng, body)) {
                drop(request::write(
                    &read,
                    &Abilities::default(),
                    &mut Notes::default(),
                ));
            }
        }
    }
}
