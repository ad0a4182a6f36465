//! `OpenAI` Chat Completions, of all the engines that speak it.

use super::recorded::{Recording, recordings};
use serde_json::{Value, json};
use shardgate::base::bufpool::BufPool;
use shardgate::base::bytes::TxBuf;
use shardgate::base::fault::Kind;
use shardgate::dialect::chat::stream::{Reader, Writer};
use shardgate::dialect::chat::{answer, completions, error, request};
use shardgate::dialect::model::{
    Abilities, Answer, Block, Names, Notes, Open, Refused, Step, Stop, Tokens, Trouble,
};
use shardgate::wire::sse::{Splitter, frame};

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

/// Recordings whose thinking the oracle does not count: it is in `reasoning_details` alone.
const IN_DETAILS: [&str; 2] = [
    "snowflake/pydanticai__test_snowflake_thinking_streaming__0.sse",
    "snowflake/pydanticai__test_snowflake_thinking__0.json",
];

/// What a stream or an answer says.
#[derive(Clone, Debug, Default, PartialEq)]
struct Heard {
    /// Kind, id and name of a call, text.
    blocks: Vec<(&'static str, String, String)>,
    stop: Option<Stop>,
    usage: Option<Tokens>,
    error: Option<Refused>,
    has_ended: bool,
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
            Step::Stop(stop, _) => {
                assert!(!self.is_open && !has_stop, "{step:?}");
                self.heard.stop = Some(*stop);
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

/// Reads `body` in parts, and lets `writer` write what it says.
fn listen(
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

fn streams() -> Vec<Recording> {
    let is_stream = |recording: &Recording| {
        recording.manifest["status"] == 200
            && (recording.path.ends_with(".sse") || recording.path.ends_with(".chunks.txt"))
    };
    recordings(CHAT).into_iter().filter(is_stream).collect()
}

/// Whole answers that are no errors.
fn answers() -> Vec<Recording> {
    let is_answer = |recording: &Recording| {
        recording.manifest["status"] == 200 && recording.path.ends_with(".json")
    };
    recordings(CHAT).into_iter().filter(is_answer).collect()
}

fn count(usage: &Value, path: &str) -> Option<u64> {
    usage.pointer(path).and_then(Value::as_u64)
}

/// What is heard is what the oracle says.
fn check(heard: &Heard, recording: &Recording) {
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
        let is_context = ["context_le", "handles_c.json", "errors_raised_handles"]
            .iter()
            .any(|part| path.contains(part))
            || path.contains("openrouter_claude-haiku-4-5_handles");
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

/// A request in the form in which equal ones are equal:
/// - null members of the body and of messages are absent, as are `stream: false`, `logprobs:
///   false`, no tools, and `response_format: text`;
/// - `max_completion_tokens` is `max_tokens`; `any` is `required`; `stop` is an array; numbers are floats;
/// - a tool without a type is a function;
/// - usage is always asked for in a stream;
/// - content is an array of parts, those of all leading system messages in one; what an
///   assistant says of nothing is absent; arguments of nothing are `{}`;
/// - `reasoning` that `reasoning_content` or `reasoning_details` say again is absent;
/// - a bare `image_url` is an object with it;
/// - an `OpenAI` breakpoint is a `cache_control`.
fn canonical(body: &Value) -> Value {
    let mut body = without_nulls(body);
    let top = body.as_object_mut().unwrap();
    for (key, idle) in [
        ("stream", json!(false)),
        ("logprobs", json!(false)),
        ("response_format", json!({"type": "text"})),
        ("tools", json!([])),
    ] {
        if top.get(key) == Some(&idle) {
            top.remove(key);
        }
    }
    if let Some(limit) = top.remove("max_completion_tokens") {
        top.insert("max_tokens".to_owned(), limit);
    }
    if let Some(choice) = top
        .get_mut("tool_choice")
        .filter(|choice| **choice == "any")
    {
        *choice = json!("required"); // Mistral knows both
    }
    if let Some(stop) = top.get_mut("stop").filter(|stop| stop.is_string()) {
        *stop = json!([stop]);
    }
    for key in [
        "temperature",
        "top_p",
        "frequency_penalty",
        "presence_penalty",
    ] {
        if let Some(number) = top.get_mut(key) {
            *number = json!(number.as_f64().unwrap());
        }
    }
    if let Some(options) = top.get_mut("stream_options") {
        options.as_object_mut().unwrap().remove("include_usage");
    }
    if top
        .get("stream_options")
        .is_none_or(|options| *options == json!({}))
    {
        top.remove("stream_options");
    }
    if let Some(effort) = top
        .get("reasoning")
        .and_then(|it| it.get("effort"))
        .cloned()
        && top["reasoning"].as_object().unwrap().len() == 1
    {
        top.remove("reasoning");
        top.insert("reasoning_effort".to_owned(), effort);
    }
    for tool in top
        .get_mut("tools")
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
    {
        let tool = tool.as_object_mut().unwrap();
        tool.entry("type").or_insert(json!("function"));
        if let Some(function) = tool.get_mut("function").and_then(Value::as_object_mut) {
            function.remove("type"); // as if it were a tool itself
            function.retain(|_, value| !value.is_null());
        }
    }
    let messages = top["messages"].as_array_mut().unwrap();
    messages.iter_mut().for_each(canonical_message);
    let leading = messages
        .iter()
        .take_while(|message| message["role"] == "system");
    let leading = leading.count();
    if leading > 1 {
        let parts: Vec<Value> = messages
            .drain(..leading)
            .flat_map(|message| message["content"].as_array().unwrap().clone())
            .collect();
        messages.insert(0, json!({"role": "system", "content": parts}));
    }
    // Comparing must not depend on the order of members; `Value` sees to that.
    body
}

fn canonical_message(message: &mut Value) {
    let message = message.as_object_mut().unwrap();
    if message["role"] == "developer" {
        message.insert("role".to_owned(), json!("system"));
    }
    let is_assistant = message["role"] == "assistant";
    let parts = match message.get("content") {
        Some(Value::String(text)) => vec![json!({"type": "text", "text": text})],
        Some(Value::Array(parts)) => parts.clone(),
        _ => Vec::new(),
    };
    let is_said = |part: &Value| !is_assistant || part.get("text") != Some(&json!(""));
    let mut parts: Vec<Value> = parts.into_iter().filter(is_said).collect();
    for part in &mut parts {
        let part = part.as_object_mut().unwrap();
        if let Some(image) = part.get_mut("image_url").filter(|image| image.is_string()) {
            *image = json!({"url": image});
        }
        if let Some(mark) = part.remove("prompt_cache_breakpoint") {
            let mut control = json!({"type": "ephemeral"});
            match mark["ttl"].as_str() {
                Some("30m") => control["ttl"] = json!("5m"),
                Some("12h") => control["ttl"] = json!("1h"),
                _ => {}
            }
            part.insert("cache_control".to_owned(), control);
        }
    }
    message.insert("content".to_owned(), Value::Array(parts));
    if message.get("tool_calls") == Some(&json!([])) {
        message.remove("tool_calls");
    }
    if message.get("reasoning") == message.get("reasoning_content") {
        message.remove("reasoning");
    }
    if let Some(details) = message.get("reasoning_details").and_then(Value::as_array) {
        let texts = details.iter().filter_map(|detail| detail["text"].as_str());
        if message.get("reasoning") == Some(&json!(texts.collect::<String>())) {
            message.remove("reasoning");
        }
    }
    for call in message
        .get_mut("tool_calls")
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
    {
        call.as_object_mut().unwrap().remove("index");
        let call = call.as_object_mut().unwrap();
        call.entry("type").or_insert(json!("function"));
        if call["function"]["arguments"] == "" {
            call["function"]["arguments"] = json!("{}");
        }
    }
}

/// Without the null members of the body, its messages and their parts.
fn without_nulls(value: &Value) -> Value {
    match value {
        Value::Object(members) => members
            .iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(key, value)| {
                (
                    key.clone(),
                    if key == "tools" {
                        value.clone()
                    } else {
                        without_nulls(value)
                    },
                )
            })
            .collect(),
        Value::Array(items) => items.iter().map(without_nulls).collect(),
        other => other.clone(),
    }
}

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

/// Numbers that look random.
struct Rng(u64);

impl Rng {
    fn below(&mut self, limit: usize) -> usize {
        // Marsaglia's xorshift64.
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % u64::try_from(limit.max(1)).unwrap()).unwrap()
    }
}

/// Changes `body` a little: a cut, flipped bits, swapped events.
fn mutate(rng: &mut Rng, body: &[u8]) -> Vec<u8> {
    let mut out = body.to_vec();
    if out.is_empty() {
        return out;
    }
    match rng.below(4) {
        0 => out.truncate(rng.below(body.len())),
        1 => {
            for _ in 0..=rng.below(4) {
                let at = rng.below(out.len());
                out[at] ^= 1 << rng.below(8);
            }
        }
        2 => {
            let text = String::from_utf8_lossy(body).into_owned();
            let mut events: Vec<&str> = text.split_inclusive("\n\n").collect();
            for _ in 0..=rng.below(6) {
                let (a, b) = (rng.below(events.len()), rng.below(events.len()));
                events.swap(a, b);
            }
            out = events.concat().into_bytes();
        }
        _ => {
            let at = rng.below(body.len());
            let len = rng.below((body.len() - at).min(300));
            let piece = body[at..at + len].to_vec();
            let to = rng.below(out.len());
            out.splice(to..to, piece);
        }
    }
    out
}

/// Goal: recordings that were tampered with never panic a reader or a writer, and never give
/// unbalanced steps. Method: a fixed seed; [`Listener`] panics on what is unbalanced.
#[test]
fn what_was_tampered_with_panics_nobody() {
    let (mut rng, mut runs) = (Rng(7), 0);
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
            runs += 1;
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
            runs += 1;
        }
    }
    println!("{runs} runs");
}
