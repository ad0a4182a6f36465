//! Listens to the steps of a stream, and compares what is heard with the oracle.

use super::super::recorded::Recording;
use super::NAMES;
use serde_json::{Value, json};
use shardgate::base::bytes::TxBuf;
use shardgate::base::fault::Kind;
use shardgate::dialect::chat::stream::{Reader, Writer};
use shardgate::dialect::model::{Open, Refused, Step, Stop, Tokens};
use shardgate::wire::sse::{Splitter, frame};

/// Recordings whose thinking the oracle does not count: it is in `reasoning_details` alone.
const IN_DETAILS: [&str; 2] = [
    "snowflake/pydanticai__test_snowflake_thinking_streaming__0.sse",
    "snowflake/pydanticai__test_snowflake_thinking__0.json",
];

/// What a stream or an answer says.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Heard {
    /// Kind, id and name of a call, text.
    pub(super) blocks: Vec<(&'static str, String, String)>,
    pub(super) stop: Option<Stop>,
    pub(super) usage: Option<Tokens>,
    pub(super) error: Option<Refused>,
    pub(super) has_ended: bool,
}

impl Heard {
    fn all(&self, kind: &str) -> String {
        let texts = self.blocks.iter().filter(|block| block.0 == kind);
        texts.map(|block| block.2.as_str()).collect()
    }

    fn calls(&self) -> Vec<Value> {
        self.blocks
            .iter()
            .filter(|block| block.0 == "call")
            .map(|(_, who, arguments)| {
                let (id, name) = who.split_once('\n').unwrap();
                json!({"id": id, "name": name, "args": parsed(arguments)})
            })
            .collect()
    }
}

/// Arguments as JSON; none are an empty object.
fn parsed(arguments: &str) -> Value {
    if arguments.is_empty() {
        return json!({});
    }
    serde_json::from_str(arguments).unwrap_or_else(|_| Value::from(arguments))
}

/// Listens to steps, and panics when they are not balanced.
#[derive(Default)]
struct Listener {
    heard: Heard,
    has_begun: bool,
    is_open: bool,
    is_over: bool,
}

impl Listener {
    fn step(&mut self, step: &Step<'_>) {
        assert!(!self.is_over, "{step:?} after the end");
        let is_begin = matches!(step, Step::Begin { .. });
        let is_error = matches!(step, Step::Error(_));
        assert!(self.has_begun != is_begin || is_error, "{step:?}: begins");
        let has_stop = self.heard.stop.is_some();
        match step {
            Step::Begin { .. } => self.has_begun = true,
            Step::Open(open) => {
                assert!(!self.is_open && !has_stop, "{step:?}");
                self.is_open = true;
                let (kind, who) = match open {
                    Open::Text => ("text", String::new()),
                    Open::Thinking => ("thinking", String::new()),
                    Open::Refusal => ("refusal", String::new()),
                    Open::Call { id, name, .. } => {
                        ("call", format!("{}\n{}", id.to_text(), name.to_text()))
                    }
                };
                self.heard.blocks.push((kind, who, String::new()));
            }
            Step::Text(text) => {
                assert!(self.is_open, "{step:?}");
                text.say(&mut self.heard.blocks.last_mut().unwrap().2);
            }
            Step::Opaque(..) => assert!(self.is_open, "{step:?}"),
            Step::Citation(..) => assert_eq!(self.heard.blocks.last().unwrap().0, "text"),
            Step::Close => {
                assert!(self.is_open, "{step:?}");
                self.is_open = false;
            }
            Step::Usage(tokens) => self.heard.usage = Some(*tokens),
            Step::Stop(why, _) => {
                assert!(!self.is_open && !has_stop, "{step:?}");
                self.heard.stop = Some(*why);
            }
            Step::Error(refused) => {
                self.heard.error = Some(refused.clone());
                self.is_over = true;
            }
            Step::End => {
                assert!(!self.is_open && has_stop, "{step:?}");
                self.heard.has_ended = true;
                self.is_over = true;
            }
        }
    }
}

/// Reads `body` in parts, and lets `writer` write what it says.
pub(super) fn listen(
    body: &[u8],
    cuts: &[usize],
    mut writer: Option<(&mut Writer, &mut TxBuf)>,
) -> Result<Heard, Kind> {
    let (mut reader, mut listener) = (Reader::new(), Listener::default());
    let mut splitter = Splitter::new();
    let (mut held, mut scratch) = (Vec::new(), Vec::new());
    let mut each = |step: Step<'_>| {
        listener.step(&step);
        if let Some((writer, tx)) = &mut writer {
            writer.write(&step, &NAMES, tx);
        }
    };
    let mut event = |bytes: &[u8], reader: &mut Reader| {
        let frame = frame(bytes);
        if let Some(error) = frame.error {
            return reader.read(Some(b"error"), error, &mut each);
        }
        match frame.data(&mut scratch) {
            Some(data) => reader.read(frame.event, data, &mut each),
            None => Ok(()),
        }
    };
    let mut from = 0;
    for &cut in cuts.iter().chain([&body.len()]) {
        let mut fresh = &body[from..cut];
        from = cut;
        while let Some(end) = splitter.next_end(fresh) {
            held.extend_from_slice(&fresh[..end]);
            event(&held, &mut reader)?;
            held.clear();
            fresh = &fresh[end..];
        }
        held.extend_from_slice(fresh);
    }
    if !held.is_empty() {
        event(&held, &mut reader)?;
    }
    if listener.heard.error.is_none() {
        reader.end(&mut |step| {
            listener.step(&step);
            if let Some((writer, tx)) = &mut writer {
                writer.write(&step, &NAMES, tx);
            }
        })?;
        assert!(listener.heard.has_ended);
    }
    Ok(listener.heard)
}

fn count(usage: &Value, path: &str) -> Option<u64> {
    usage.pointer(path).and_then(Value::as_u64)
}

/// What is heard is what the oracle says.
pub(super) fn check(heard: &Heard, recording: &Recording) {
    let (oracle, path) = (&recording.oracle, &recording.path);
    let text = heard.all("text");
    assert!(
        text.starts_with(oracle["text"].as_str().unwrap()),
        "{path}: {text}"
    );
    assert_eq!(
        json!(text.chars().count()),
        oracle["text_len"],
        "{path}: {text}"
    );
    let thinking = heard.all("thinking");
    let thought = thinking.chars().count();
    if IN_DETAILS.contains(&path.as_str()) {
        assert!(thought > 0 && oracle["reasoning_len"] == 0, "{path}");
    } else {
        assert_eq!(
            json!(thought),
            oracle["reasoning_len"],
            "{path}: {thinking}"
        );
    }
    assert_eq!(
        heard.all("refusal"),
        oracle["refusal"].as_str().unwrap_or_default(),
        "{path}"
    );
    let calls: Vec<Value> = oracle["tools"]
        .as_array()
        .unwrap()
        .iter()
        .map(|tool| {
            let id = tool["id"].as_str().unwrap_or_default();
            json!({"id": id, "name": tool["name"], "args": tool["args"]})
        })
        .collect();
    assert_eq!(heard.calls(), calls, "{path}");
    if heard.error.is_none() {
        let stop = match oracle["finish"].as_str().unwrap_or_default() {
            "length" => Stop::Length,
            _ if !calls.is_empty() => Stop::Tool,
            _ if !oracle["refusal"].is_null() => Stop::Filtered,
            "stop" | "eos" | "" => Stop::End,
            "content_filter" => Stop::Filtered,
            other => panic!("{path}: {other}"),
        };
        assert_eq!(heard.stop, Some(stop), "{path}");
    }
    check_usage(heard, recording);
}

fn check_usage(heard: &Heard, recording: &Recording) {
    let (oracle, path) = (&recording.oracle, &recording.path);
    let usage = &oracle["usage"];
    let Some(prompt) = count(usage, "/prompt_tokens") else {
        assert_eq!(heard.usage, None, "{path}");
        return;
    };
    let tokens = heard.usage.unwrap_or_else(|| panic!("{path}: no usage"));
    let completion = count(usage, "/completion_tokens").unwrap_or(0);
    let reasoning = count(usage, "/completion_tokens_details/reasoning_tokens")
        .or(count(usage, "/reasoning_tokens"))
        .unwrap_or(0);
    let is_xai = path.starts_with("xai/");
    let cached = [
        "/prompt_tokens_details/cached_tokens",
        "/prompt_cache_hit_tokens",
    ]
    .iter()
    .chain(&["/cached_tokens", "/num_cached_tokens"])
    .find_map(|path| count(usage, path));
    let written = count(usage, "/prompt_tokens_details/cache_write_tokens");
    assert_eq!(tokens.prompt(), prompt, "{path}");
    let cached = cached.unwrap_or(0).min(prompt);
    assert_eq!(tokens.read, cached, "{path}");
    // Gemini behind OpenRouter counts a token as read and as written.
    assert_eq!(
        tokens.write,
        written.unwrap_or(0).min(prompt - cached),
        "{path}"
    );
    let apart = if is_xai { reasoning } else { 0 };
    // An answer that was cut at its limit by OpenRouter has thought more than it has said.
    let reasoning = reasoning.min(completion + apart);
    assert_eq!(tokens.thinking, reasoning, "{path}");
    assert_eq!(tokens.answer(), completion + apart, "{path}");
}
