//! The other dialects on real sockets, read back by the gateway's own readers: what tests those
//! are recordings and SDKs, so that what they say of a stream can be believed here.

use super::{PATIENCE, Sim, connect, field, now, sim, start, strict};
use serde_json::{Value, json};
use shardgate::base::fault::Kind;
use shardgate::dialect::model::{Answer, Block, Dialect, Open, Step, Stop, Tokens, Trouble};
use shardgate::dialect::speak::{self, Reader};
use shardgate::simulate::Config;
use shardgate::wire::eventstream;
use std::io::{Read, Write};

/// What a request for every dialect says.
#[derive(Clone, Default)]
struct Wish {
    model: String,
    stream: bool,
    /// The tools on offer, and whether one must be called.
    tools: bool,
    forced: bool,
    /// The result of a call of the turn before.
    result: bool,
    schema: bool,
    image: bool,
    max: Option<u64>,
    stop: Option<&'static str>,
}

fn wish(keys: &str) -> Wish {
    Wish {
        model: format!("sim/{keys}"),
        ..Wish::default()
    }
}

/// The parameters of the tool, and the schema of the document.
fn schema() -> Value {
    json!({"type": "object", "properties": {"city": {"type": "string"}, "days":
        {"type": "integer", "minimum": 3}}, "required": ["city", "days"],
        "additionalProperties": false})
}

const PNG: &str = "iVBORw0KGgo=";

/// Path, further fields and body of `wish` in `dialect`.
fn asking(dialect: Dialect, wish: &Wish) -> (String, &'static str, Value) {
    let request = match dialect {
        Dialect::Chat => chat(wish),
        Dialect::Responses => responses(wish),
        Dialect::Anthropic => anthropic(wish),
        Dialect::Gemini => gemini(wish),
        Dialect::Cohere => cohere(wish),
        Dialect::Bedrock => bedrock(wish),
    };
    let model = wish.model.replace('/', "%2F");
    let manner = |plain: &'static str, stream: &'static str| {
        if wish.stream { stream } else { plain }
    };
    let path = match dialect {
        Dialect::Chat => "/v1/chat/completions".to_owned(),
        Dialect::Responses => "/v1/responses".to_owned(),
        Dialect::Anthropic => "/v1/messages".to_owned(),
        Dialect::Gemini => {
            let manner = manner("generateContent", "streamGenerateContent?alt=sse");
            format!("/v1beta/models/{}:{manner}", wish.model)
        }
        Dialect::Cohere => "/v2/chat".to_owned(),
        Dialect::Bedrock => format!("/model/{model}/{}", manner("converse", "converse-stream")),
    };
    let fields = match dialect {
        Dialect::Anthropic => "anthropic-version: 2023-06-01\r\n",
        _ => "",
    };
    (path, fields, request)
}

fn chat(wish: &Wish) -> Value {
    let mut content = vec![json!({"type": "text", "text": "Hi"})];
    if wish.image {
        let url = format!("data:image/png;base64,{PNG}");
        content.push(json!({"type": "image_url", "image_url": {"url": url}}));
    }
    let mut messages = vec![json!({"role": "user", "content": content})];
    if wish.result {
        messages.push(
            json!({"role": "assistant", "content": null, "tool_calls": [{"id": "c1",
            "type": "function", "function": {"name": "weather", "arguments": "{}"}}]}),
        );
        messages.push(json!({"role": "tool", "tool_call_id": "c1", "content": "sunny"}));
    }
    let mut body = json!({"model": wish.model, "messages": messages, "stream": wish.stream});
    if wish.stream {
        body["stream_options"] = json!({"include_usage": true});
    }
    if wish.tools {
        body["tools"] = json!([{"type": "function", "function": {"name": "weather",
            "parameters": schema()}}]);
    }
    if wish.forced {
        body["tool_choice"] = json!("required");
    }
    if wish.schema {
        body["response_format"] = json!({"type": "json_schema", "json_schema": {"name": "d",
            "strict": true, "schema": schema()}});
    }
    set(&mut body, "max_tokens", wish.max);
    set(&mut body, "stop", wish.stop.map(|stop| [stop]));
    body
}

fn responses(wish: &Wish) -> Value {
    let mut content = vec![json!({"type": "input_text", "text": "Hi"})];
    if wish.image {
        let url = format!("data:image/png;base64,{PNG}");
        content.push(json!({"type": "input_image", "image_url": url}));
    }
    let mut input = vec![json!({"role": "user", "content": content})];
    if wish.result {
        input.push(
            json!({"type": "function_call", "call_id": "c1", "name": "weather",
            "arguments": "{}"}),
        );
        input.push(json!({"type": "function_call_output", "call_id": "c1", "output": "sunny"}));
    }
    let mut body = json!({"model": wish.model, "input": input, "stream": wish.stream});
    if wish.tools {
        body["tools"] = json!([{"type": "function", "name": "weather", "parameters": schema(),
            "strict": true}]);
    }
    if wish.forced {
        body["tool_choice"] = json!("required");
    }
    if wish.schema {
        body["text"] = json!({"format": {"type": "json_schema", "name": "d",
            "schema": schema()}});
    }
    set(&mut body, "max_output_tokens", wish.max);
    body
}

fn anthropic(wish: &Wish) -> Value {
    let mut content = vec![json!({"type": "text", "text": "Hi"})];
    if wish.image {
        content.push(json!({"type": "image", "source": {"type": "base64",
            "media_type": "image/png", "data": PNG}}));
    }
    let mut messages = vec![json!({"role": "user", "content": content})];
    if wish.result {
        messages.push(
            json!({"role": "assistant", "content": [{"type": "tool_use", "id": "c1",
            "name": "weather", "input": {}}]}),
        );
        messages.push(json!({"role": "user", "content": [{"type": "tool_result",
            "tool_use_id": "c1", "content": "sunny"}]}));
    }
    let mut body = json!({"model": wish.model, "messages": messages, "stream": wish.stream,
        "max_tokens": wish.max.unwrap_or(1000)});
    if wish.tools {
        body["tools"] = json!([{"name": "weather", "input_schema": schema()}]);
    }
    if wish.forced {
        body["tool_choice"] = json!({"type": "any"});
    }
    if wish.schema {
        body["output_config"] = json!({"format": {"type": "json_schema", "schema": schema()}});
    }
    set(&mut body, "stop_sequences", wish.stop.map(|stop| [stop]));
    body
}

fn gemini(wish: &Wish) -> Value {
    let mut parts = vec![json!({"text": "Hi"})];
    if wish.image {
        parts.push(json!({"inlineData": {"mimeType": "image/png", "data": PNG}}));
    }
    let mut contents = vec![json!({"role": "user", "parts": parts})];
    if wish.result {
        contents.push(
            json!({"role": "model", "parts": [{"functionCall": {"name": "weather",
            "args": {}}}]}),
        );
        contents.push(json!({"role": "user", "parts": [{"functionResponse":
            {"name": "weather", "response": {"output": "sunny"}}}]}));
    }
    let mut settings = json!({});
    if wish.schema {
        settings = json!({"responseMimeType": "application/json",
            "responseJsonSchema": schema()});
    }
    set(&mut settings, "maxOutputTokens", wish.max);
    set(&mut settings, "stopSequences", wish.stop.map(|stop| [stop]));
    let mut body = json!({"contents": contents, "generationConfig": settings});
    if wish.tools {
        body["tools"] = json!([{"functionDeclarations": [{"name": "weather",
            "parametersJsonSchema": schema()}]}]);
    }
    if wish.forced {
        body["toolConfig"] = json!({"functionCallingConfig": {"mode": "ANY"}});
    }
    body
}

fn cohere(wish: &Wish) -> Value {
    let mut body = chat(wish);
    let object = body.as_object_mut().unwrap();
    object.remove("stream_options");
    let stop = object.remove("stop");
    if let Some(stop) = stop {
        body["stop_sequences"] = stop;
    }
    if wish.result {
        body["messages"][1]["content"] = json!([]);
    }
    if wish.forced {
        body["tool_choice"] = json!("REQUIRED");
    }
    if wish.schema {
        body["response_format"] = json!({"type": "json_object", "json_schema": schema()});
    }
    body
}

fn bedrock(wish: &Wish) -> Value {
    let mut content = vec![json!({"text": "Hi"})];
    if wish.image {
        content.push(json!({"image": {"format": "png", "source": {"bytes": PNG}}}));
    }
    let mut messages = vec![json!({"role": "user", "content": content})];
    if wish.result {
        messages.push(
            json!({"role": "assistant", "content": [{"toolUse": {"toolUseId": "c1",
            "name": "weather", "input": {}}}]}),
        );
        messages.push(
            json!({"role": "user", "content": [{"toolResult": {"toolUseId": "c1",
            "content": [{"text": "sunny"}]}}]}),
        );
    }
    let mut settings = json!({});
    set(&mut settings, "maxTokens", wish.max);
    set(&mut settings, "stopSequences", wish.stop.map(|stop| [stop]));
    let mut body = json!({"messages": messages, "inferenceConfig": settings});
    if wish.tools {
        body["toolConfig"] = json!({"tools": [{"toolSpec": {"name": "weather",
            "inputSchema": {"json": schema()}}}]});
    }
    if wish.forced {
        body["toolConfig"]["toolChoice"] = json!({"any": {}});
    }
    if wish.schema {
        body["outputConfig"] = json!({"textFormat": {"type": "json_schema", "structure":
            {"jsonSchema": {"name": "d", "schema": schema().to_string()}}}});
    }
    body
}

fn set(body: &mut Value, key: &str, value: Option<impl serde::Serialize>) {
    if let Some(value) = value {
        body[key] = json!(value);
    }
}

/// An answer, its chunks taken out.
struct Got {
    status: u16,
    head: String,
    body: Vec<u8>,
    /// The framing says that it is whole.
    is_whole: bool,
}

fn send(sim: &Sim, path: &str, fields: &str, body: &Value) -> Got {
    let body = body.to_string();
    let request = format!(
        "POST {path} HTTP/1.1\r\nhost: sim\r\nconnection: close\r\n{fields}content-length: {}\r\n\
         \r\n{body}",
        body.len()
    );
    let mut link = connect(sim);
    link.set_read_timeout(Some(PATIENCE)).unwrap();
    link.write_all(request.as_bytes()).unwrap();
    let mut all = Vec::new();
    drop(link.read_to_end(&mut all)); // a reset ends it as well
    let at = all.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
    let head = String::from_utf8(all[..at].to_vec()).unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let mut rest = &all[at + 4..];
    if field(&head, "transfer-encoding").is_none() {
        let length = field(&head, "content-length").map(|n| n.parse::<usize>().unwrap());
        let is_whole = length.is_none_or(|length| length == rest.len());
        let body = rest.to_vec();
        return Got {
            status,
            head,
            body,
            is_whole,
        };
    }
    let (mut body, mut is_whole) = (Vec::new(), false);
    while let Some(end) = rest.iter().position(|&b| b == b'\n') {
        let line = std::str::from_utf8(&rest[..end]).unwrap().trim();
        let Ok(size) = usize::from_str_radix(line, 16) else {
            break;
        };
        let from = end + 1;
        let Some(data) = rest.get(from..from + size) else {
            break;
        };
        body.extend_from_slice(data);
        rest = &rest[from + size + 2..];
        is_whole = size == 0;
    }
    Got {
        status,
        head,
        body,
        is_whole,
    }
}

fn ask(sim: &Sim, dialect: Dialect, wish: &Wish) -> Got {
    let (path, fields, body) = asking(dialect, wish);
    send(sim, &path, fields, &body)
}

/// What an answer said, plain or streamed.
#[derive(Debug, Default)]
struct Said {
    text: String,
    thinking: String,
    refusal: String,
    /// Names and arguments.
    calls: Vec<(String, Value)>,
    stop: Option<Stop>,
    sequence: String,
    usage: Option<Tokens>,
    error: Option<Trouble>,
    end: Option<Result<(), Kind>>,
}

impl Said {
    fn of_answer(answer: Answer) -> Self {
        let mut said = Self {
            stop: Some(answer.stop),
            sequence: answer.sequence.unwrap_or_default(),
            usage: answer.usage,
            end: Some(Ok(())),
            ..Self::default()
        };
        for block in answer.blocks {
            match block {
                Block::Text { text, .. } => said.text.push_str(&text),
                Block::Thinking { text, .. } => said.thinking.push_str(&text),
                Block::Refusal(text) => said.refusal.push_str(&text),
                Block::Call(call) => {
                    let arguments = serde_json::from_str(&call.arguments).unwrap();
                    said.calls.push((call.name, arguments));
                }
                _ => {}
            }
        }
        said
    }

    /// Reads `body` as a stream.
    fn of_stream(dialect: Dialect, body: &[u8]) -> Self {
        let mut said = Self::default();
        let mut reader = Reader::new(dialect);
        let mut open = String::new();
        let mut is_call = false;
        let mut take = |said: &mut Self, step: Step<'_>| match step {
            Step::Open(kind) => {
                open = format!("{kind:?}");
                is_call = matches!(kind, Open::Call { .. });
                if let Open::Call { name, .. } = kind {
                    said.calls.push((name.to_text(), json!("")));
                }
            }
            Step::Text(text) if is_call => {
                let arguments = &mut said.calls.last_mut().unwrap().1;
                *arguments = json!(arguments.as_str().unwrap().to_owned() + &text.to_text());
            }
            Step::Text(text) if open == "Thinking" => text.say(&mut said.thinking),
            Step::Text(text) if open == "Refusal" => text.say(&mut said.refusal),
            Step::Text(text) => text.say(&mut said.text),
            Step::Usage(tokens) => said.usage = Some(tokens),
            Step::Stop(stop, sequence) => {
                said.stop = Some(stop);
                said.sequence = sequence.to_text();
            }
            Step::Error(refused) => said.error = Some(refused.trouble),
            _ => {}
        };
        for (event, data) in events(dialect, body) {
            let event = event.as_deref();
            if let Err(kind) = reader.read(event, &data, &mut |step| take(&mut said, step)) {
                said.end = Some(Err(kind));
                return said;
            }
        }
        said.end = Some(reader.end(&mut |step| take(&mut said, step)));
        for (_, arguments) in &mut said.calls {
            *arguments = serde_json::from_str(arguments.as_str().unwrap()).unwrap_or(Value::Null);
        }
        said
    }
}

type Event = (Option<Vec<u8>>, Vec<u8>);

fn events(dialect: Dialect, body: &[u8]) -> Vec<Event> {
    let mut found = Vec::new();
    if dialect == Dialect::Bedrock {
        let (mut ends, mut at) = (Vec::new(), 0);
        let mut splitter = eventstream::Splitter::new(1 << 20);
        splitter.feed(body, |end| ends.push(end)).unwrap();
        for end in ends {
            let frame = eventstream::frame(&body[at..end]).unwrap();
            found.push((frame.name().map(<[u8]>::to_vec), frame.payload.to_vec()));
            at = end;
        }
        return found;
    }
    let text = std::str::from_utf8(body).unwrap();
    for event in text.split_terminator("\n\n") {
        let line = |name: &str| event.lines().find_map(|line| line.strip_prefix(name));
        if let Some(data) = line("data: ") {
            let name = line("event: ").map(|name| name.as_bytes().to_vec());
            found.push((name, data.as_bytes().to_vec()));
        }
    }
    found
}

/// What `wish` is answered with in `dialect`, plainly and as a stream: both must be whole.
fn both(dialect: Dialect, wish: &Wish) -> [Said; 2] {
    [false, true].map(|stream| {
        let wish = Wish {
            stream,
            ..wish.clone()
        };
        let got = ask(sim(), dialect, &wish);
        let text = String::from_utf8_lossy(&got.body);
        assert_eq!(got.status, 200, "{dialect:?} {text}");
        assert!(got.is_whole, "{dialect:?} {text}");
        let said = if stream {
            Said::of_stream(dialect, &got.body)
        } else {
            Said::of_answer(speak::answer(dialect, &got.body).unwrap())
        };
        assert_eq!(said.end, Some(Ok(())), "{dialect:?} {text}");
        said
    })
}

/// Goal: words, their number, usage with all its parts, and the end, in every dialect.
#[test]
fn every_dialect_answers_in_words() {
    let keys = "events-3/prompt-tokens-50/cached-tokens-20/written-tokens-10/thinking-2";
    for dialect in Dialect::ALL {
        for said in both(dialect, &wish(keys)) {
            assert_eq!(said.text, "token 0 token 1 token 2 ", "{dialect:?}");
            assert_eq!(said.thinking, "thought 0 thought 1 ", "{dialect:?}");
            assert_eq!(said.stop, Some(Stop::End), "{dialect:?}");
            let usage = said.usage.unwrap();
            assert_eq!(
                (usage.prompt(), usage.answer()),
                (50, 5),
                "{dialect:?} {usage:?}"
            );
            assert_eq!(usage.read, 20, "{dialect:?} {usage:?}");
        }
        for said in both(dialect, &wish("no-usage/events-1")) {
            assert_eq!(said.text, "token 0 ");
            assert!(
                said.usage.is_none_or(|usage| usage.answer() == 0),
                "{dialect:?}"
            );
        }
    }
}

/// Goal: calls, by key and by force, with arguments of the schema; their results are told.
#[test]
fn every_dialect_calls_tools_and_tells_their_results() {
    let call = |k: u32| {
        let days = if k < 3 { 3 } else { k };
        (
            "weather".to_owned(),
            json!({"city": format!("city {}", k + 1), "days": days}),
        )
    };
    for dialect in Dialect::ALL {
        let three = Wish {
            tools: true,
            ..wish("tools-3")
        };
        for said in both(dialect, &three) {
            assert_eq!(said.calls, [call(0), call(1), call(2)], "{dialect:?}");
            assert_eq!(
                (said.stop, &*said.text),
                (Some(Stop::Tool), ""),
                "{dialect:?}"
            );
        }
        let offered = Wish {
            tools: true,
            ..wish("events-1")
        };
        let forced = Wish {
            forced: true,
            ..offered.clone()
        };
        let result = Wish {
            result: true,
            ..three.clone()
        };
        for said in both(dialect, &forced) {
            assert_eq!(said.calls, [call(0)], "{dialect:?}");
        }
        for said in both(dialect, &offered) {
            assert_eq!(
                (said.calls.len(), &*said.text),
                (0, "token 0 "),
                "{dialect:?}"
            );
        }
        for said in both(dialect, &result) {
            let text = "The result of weather is: ";
            assert!(said.text.starts_with(text), "{dialect:?} {}", said.text);
            assert!(
                said.text.contains("sunny") && said.calls.is_empty(),
                "{dialect:?}"
            );
        }
    }
}

/// Goal: a document by the schema, an image told of, a refusal, ends at a limit and at a text.
#[test]
fn every_dialect_heeds_what_is_asked_for() {
    for dialect in Dialect::ALL {
        let schema = Wish {
            schema: true,
            ..wish("events-1")
        };
        for said in both(dialect, &schema) {
            let document: Value = serde_json::from_str(&said.text).unwrap();
            assert_eq!(
                document,
                json!({"city": "city 1", "days": 3}),
                "{dialect:?}"
            );
        }
        let image = Wish {
            image: true,
            ..wish("events-1")
        };
        for said in both(dialect, &image) {
            assert_eq!(
                said.text, "I see 1 image: image/png. token 0 ",
                "{dialect:?}"
            );
        }
        let short = Wish {
            max: Some(2),
            ..wish("events-9")
        };
        for said in both(dialect, &short) {
            assert_eq!(said.text, "token 0 token 1 ", "{dialect:?}");
            assert_eq!(said.stop, Some(Stop::Length), "{dialect:?}");
        }
        for said in both(dialect, &wish("refusal")) {
            let text = said.refusal + &said.text;
            assert_eq!(text, "I cannot help with that.", "{dialect:?}");
            // A refusal of Responses is told by its part alone.
            let is_part = dialect == Dialect::Responses && said.stop == Some(Stop::End);
            assert!(is_part || said.stop == Some(Stop::Filtered), "{dialect:?}");
        }
        if dialect == Dialect::Responses {
            continue; // it has no such field
        }
        let stopped = Wish {
            stop: Some("ken 2"),
            ..wish("events-9")
        };
        for said in both(dialect, &stopped) {
            assert_eq!(said.text, "token 0 token 1 to", "{dialect:?}");
            let tells = matches!(dialect, Dialect::Anthropic | Dialect::Cohere);
            let want = if tells { Stop::Sequence } else { Stop::End };
            let stop = said.stop.unwrap();
            assert!(
                stop == want || stop == Stop::Sequence,
                "{dialect:?} {stop:?}"
            );
            assert!(!tells || dialect == Dialect::Cohere || said.sequence == "ken 2");
        }
    }
}

/// Goal: faults in mid-stream are what they say, and are seen as such by the readers.
#[test]
fn every_dialect_has_every_fault() {
    for dialect in Dialect::ALL {
        let of = |keys: &str| {
            let wish = Wish {
                stream: true,
                ..wish(keys)
            };
            let got = ask(sim(), dialect, &wish);
            assert_eq!(got.status, 200);
            (Said::of_stream(dialect, &got.body), got.is_whole)
        };
        // Thinking makes Chat speak like the others.
        for keys in ["events-9/thinking-1/cut-4", "events-9/thinking-1/reset-4"] {
            let (said, is_whole) = of(keys);
            assert_eq!(said.text, "token 0 token 1 token 2 ", "{dialect:?}");
            assert_eq!((said.end, is_whole), (Some(Err(Kind::UpstreamCut)), false));
        }
        let (said, is_whole) = of("events-9/thinking-1/error-event-3");
        assert_eq!(
            (&*said.text, is_whole),
            ("token 0 token 1 ", true),
            "{dialect:?}"
        );
        assert_eq!(said.error, Some(Trouble::Server), "{dialect:?}");
        let (said, is_whole) = of("events-9/thinking-1/malformed-3");
        assert_eq!(
            (&*said.text, is_whole),
            ("token 0 token 1 ", true),
            "{dialect:?}"
        );
        assert_eq!(said.end, Some(Err(Kind::UpstreamGarbled)), "{dialect:?}");
        let (said, is_whole) = of("events-2/thinking-1/no-done");
        assert_eq!(
            (&*said.text, is_whole),
            ("token 0 token 1 ", true),
            "{dialect:?}"
        );
        let is_open = matches!(dialect, Dialect::Chat);
        assert!(
            is_open || said.end == Some(Err(Kind::UpstreamCut)),
            "{dialect:?} {said:?}"
        );
        let (said, is_whole) = of("events-9/thinking-1/bad-chunk-3");
        assert_eq!(
            (&*said.text, is_whole),
            ("token 0 token 1 ", false),
            "{dialect:?}"
        );
    }
}

/// Goal: the pace is that of the keys, over thoughts and words alike.
#[test]
fn every_dialect_is_paced() {
    for dialect in Dialect::ALL {
        let begun = now();
        let wish = Wish {
            stream: true,
            ..wish("ttft-20ms/rate-200/events-3/thinking-2")
        };
        let got = ask(sim(), dialect, &wish);
        assert_eq!(Said::of_stream(dialect, &got.body).end, Some(Ok(())));
        assert!(begun.elapsed().as_millis() >= 40, "{dialect:?}");
    }
}

/// Goal: every status has the dialect's shape and fields; garbage, pages and sizes come too.
#[test]
fn every_dialect_refuses_in_its_own_shape() {
    let of = |dialect, keys: &str| {
        let got = ask(sim(), dialect, &wish(keys));
        let body: Value = serde_json::from_slice(&got.body).unwrap_or_default();
        (got, body)
    };
    for (dialect, status, pointer, want) in [
        (
            Dialect::Responses,
            429,
            "/error/code",
            "rate_limit_exceeded",
        ),
        (Dialect::Anthropic, 529, "/error/type", "overloaded_error"),
        (
            Dialect::Anthropic,
            401,
            "/error/type",
            "authentication_error",
        ),
        (Dialect::Gemini, 503, "/error/status", "UNAVAILABLE"),
        (Dialect::Gemini, 429, "/error/details/1/retryDelay", "1s"),
        (Dialect::Cohere, 404, "/code", "model_not_found"),
        (
            Dialect::Bedrock,
            400,
            "/message",
            "The request is not valid.",
        ),
    ] {
        let (got, body) = of(dialect, &format!("status-{status}"));
        assert_eq!(got.status, status);
        assert_eq!(
            body.pointer(pointer),
            Some(&json!(want)),
            "{dialect:?} {body}"
        );
    }
    for (dialect, name, want) in [
        (Dialect::Responses, "retry-after-ms", Some("1000")),
        (Dialect::Anthropic, "retry-after", Some("1")),
        (
            Dialect::Anthropic,
            "anthropic-ratelimit-requests-remaining",
            Some("0"),
        ),
        (Dialect::Gemini, "retry-after", None),
        (Dialect::Bedrock, "retry-after", None),
    ] {
        let (got, _) = of(dialect, "status-429");
        assert_eq!(field(&got.head, name), want, "{dialect:?} {}", got.head);
    }
    let (got, _) = of(Dialect::Bedrock, "status-429");
    let name = field(&got.head, "x-amzn-errortype").unwrap();
    assert!(name.starts_with("ThrottlingException:"), "{name}");
    for dialect in Dialect::ALL {
        let (got, _) = of(dialect, "html-502");
        assert!(got.status == 502 && got.body.starts_with(b"<!DOCTYPE"));
        let (_, body) = of(dialect, "malformed");
        assert_eq!(body, Value::Null, "{dialect:?}");
        let (got, body) = of(dialect, "bytes-5000");
        assert!(
            got.body.len() == 5000 && body.is_object(),
            "{dialect:?} {}",
            got.body.len()
        );
        let (got, body) = of(dialect, "cute");
        assert!(
            got.status == 400 && body.to_string().contains("cute"),
            "{dialect:?}"
        );
        let (got, _) = of(dialect, "error-event");
        assert_eq!(
            speak::answer(dialect, &got.body),
            Err(Kind::UpstreamError),
            "{dialect:?}"
        );
    }
}

/// Goal: each dialect's credentials where it has them, and only there.
#[test]
fn every_dialect_has_its_own_credentials() {
    let sim = strict();
    let bearer = "authorization: Bearer sk-sim\r\n";
    let signed = "authorization: AWS4-HMAC-SHA256 Credential=sk-sim/20260101/us-east-1/bedrock/\
        aws4_request, SignedHeaders=host, Signature=00\r\n";
    for (dialect, good, bad, status) in [
        (Dialect::Responses, bearer, "x-api-key: sk-sim\r\n", 401),
        (
            Dialect::Anthropic,
            "x-api-key: sk-sim\r\n",
            "api-key: sk-sim\r\n",
            401,
        ),
        (Dialect::Gemini, "x-goog-api-key: sk-sim\r\n", bearer, 400),
        (Dialect::Cohere, bearer, "x-api-key: sk-sim\r\n", 401),
        (
            Dialect::Bedrock,
            bearer,
            "authorization: Bearer sk\r\n",
            403,
        ),
        (Dialect::Bedrock, signed, "", 403),
    ] {
        let (path, fields, body) = asking(dialect, &wish("events-1"));
        let good = send(&sim, &path, &format!("{fields}{good}"), &body);
        assert_eq!(good.status, 200, "{dialect:?}");
        let bad = send(&sim, &path, &format!("{fields}{bad}"), &body);
        assert_eq!(bad.status, status, "{dialect:?}");
        let refused = speak::refusal(dialect, bad.status, &bad.body);
        assert_eq!(refused.trouble, Trouble::Auth, "{dialect:?}");
    }
    let (path, _, body) = asking(Dialect::Gemini, &wish("events-1"));
    assert_eq!(
        send(&sim, &format!("{path}?key=sk-sim"), "", &body).status,
        200
    );
    let (path, _, body) = asking(Dialect::Anthropic, &wish("events-1"));
    let without = send(&sim, &path, "x-api-key: sk-sim\r\n", &body);
    let said = String::from_utf8(without.body).unwrap();
    assert!(
        without.status == 400 && said.contains("anthropic-version"),
        "{said}"
    );
}

/// Goal: tokens are counted, a list is one document, a broken request is refused with its
/// field, requests count by dialect.
#[test]
fn counts_lists_and_broken_requests_are_answered() {
    let sim = start(Config::default());
    let version = "anthropic-version: 2023-06-01\r\n";
    let (_, _, body) = asking(Dialect::Anthropic, &wish("prompt-tokens-77"));
    let count = send(&sim, "/v1/messages/count_tokens", version, &body);
    assert_eq!(count.body, b"{\"input_tokens\":77}");
    let streamed = Wish {
        stream: true,
        ..wish("events-2/thinking-1")
    };
    let (path, _, body) = asking(Dialect::Gemini, &streamed);
    let list = send(&sim, path.strip_suffix("?alt=sse").unwrap(), "", &body);
    assert!(
        field(&list.head, "content-type")
            .unwrap()
            .starts_with("application/json")
    );
    let list: Value = serde_json::from_slice(&list.body).unwrap();
    assert_eq!(list.as_array().unwrap().len(), 4);
    assert_eq!(list[3]["candidates"][0]["finishReason"], "STOP");
    let broken = json!({"model": "m", "max_tokens": 1, "messages": [{"role": "cat"}]});
    let refused = send(&sim, "/v1/messages", version, &broken);
    let said = String::from_utf8(refused.body).unwrap();
    assert!(
        refused.status == 400 && said.contains("messages[0]"),
        "{said}"
    );
    let sums = sim.stats.sums();
    assert_eq!((sums.requests_anthropic, sums.requests_gemini), (2, 1));
    assert_eq!((sums.requests_openai, sums.requests), (0, 3));
}
