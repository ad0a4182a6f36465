//! Requests, answers and errors of our own.

use super::{answer, error, request};
use crate::base::bufpool::BufPool;
use crate::base::bytes::TxBuf;
use crate::base::fault::Kind;
use crate::dialect::model::{
    Abilities, Answer, Block, Call, Choice, Dialect, Effort, Extra, Format, Media, MediaKind,
    Names, Notes, Opaque, Reasoning, Request, Role, Sampling, Source, Stop, Thinking, Tokens, Told,
    Tool, ToolKind, ToolResult, Trouble, Turn, Unfit, Weight,
};
use crate::wire::eventstream::frame;
use serde_json::{Value, json};

const NAMES: Names<'_> = Names {
    id: "n1",
    model: "m",
    created: 0,
    wants_usage: true,
};

fn turn(role: Role, blocks: Vec<Block>) -> Turn {
    Turn {
        role,
        name: None,
        blocks,
    }
}

fn user(text: &str) -> Turn {
    turn(Role::User, vec![Block::text(text)])
}

fn call(id: &str, name: &str, arguments: &str) -> Block {
    Block::Call(Call {
        id: id.into(),
        name: name.into(),
        arguments: arguments.into(),
        is_custom: false,
        opaque: None,
    })
}

fn result(id: &str, text: &str) -> Block {
    Block::Result(ToolResult {
        id: id.into(),
        name: None,
        content: vec![Block::text(text)],
        is_error: false,
        cache: None,
    })
}

fn tool(name: &str) -> Tool {
    Tool {
        kind: ToolKind::Function {
            name: name.into(),
            description: Some(String::new()),
            schema: None,
            strict: None,
        },
        cache: None,
    }
}

/// A request out of Chat.
fn chat(turns: Vec<Turn>) -> Request {
    Request {
        turns,
        origin: Some(Dialect::Chat),
        ..Request::default()
    }
}

/// What is written, and what is left out.
fn written(request: &Request, abilities: &Abilities) -> Result<(Value, Vec<String>), Unfit> {
    let mut notes = Notes::default();
    let body = request::write(request, abilities, &mut notes)?;
    let dropped = notes.dropped().iter().map(ToString::to_string).collect();
    Ok((serde_json::from_slice(&body).unwrap(), dropped))
}

fn body(request: &Request) -> Value {
    written(request, &Abilities::default()).unwrap().0
}

fn unfit(request: &Request, abilities: &Abilities) -> String {
    written(request, abilities).unwrap_err().field.into_owned()
}

/// Goal: all that Converse can say is read, written, and the same again.
#[test]
fn a_full_request_comes_back() {
    let full = json!({
        "messages": [
            {"role": "user", "content": [
                {"text": "look"},
                {"image": {"format": "jpeg", "source": {"bytes": "AAAA"}}},
                {"cachePoint": {"type": "default", "ttl": "1h"}},
                {"document": {"format": "pdf", "name": "Report (1)", "source": {"bytes": "AAAA"}}},
                {"document": {"format": "txt", "name": "notes", "source": {"text": "n"}}},
                {"document": {"format": "pdf", "name": "far", "citations": {"enabled": true},
                    "source": {"s3Location": {"uri": "s3://b/k", "bucketOwner": "1"}}}},
                {"video": {"format": "mp4", "source": {"bytes": "AAAA"}}},
                {"guardContent": {"text": {"text": "q", "qualifiers": ["query"]}}}
            ]},
            {"role": "assistant", "content": [
                {"reasoningContent": {"reasoningText": {"text": "hm", "signature": "sig"}}},
                {"reasoningContent": {"redactedContent": "c2VhbGVk"}},
                {"reasoningContent": {"reasoningText": {"text": "unsigned"}}},
                {"citationsContent": {"content": [{"text": "said"}], "citations": [{"title": "t"}]}},
                {"toolUse": {"toolUseId": "t1", "name": "f", "input": {"z": 1, "a": [2]}}},
                {"toolUse": {"toolUseId": "s1", "name": "x", "input": {}, "type": "server_tool_use"}}
            ]},
            {"role": "user", "content": [
                {"toolResult": {"toolUseId": "t1", "status": "error", "content": [
                    {"text": "bad"}, {"image": {"format": "png", "source": {"bytes": "AAAA"}}}]}},
                {"cachePoint": {"type": "default"}}
            ]},
            {"role": "system", "content": [{"text": "be brief"}]}
        ],
        "system": [{"text": "sys"}, {"cachePoint": {"type": "default"}}],
        "inferenceConfig": {"maxTokens": 9, "temperature": 0.5, "topP": 0.9,
            "stopSequences": ["##"]},
        "toolConfig": {
            "tools": [
                {"toolSpec": {"name": "f", "description": "d", "strict": true,
                    "inputSchema": {"json": {"type": "object", "properties": {"z": {}, "a": {}}}}}},
                {"cachePoint": {"type": "default"}},
                {"systemTool": {"name": "nova_grounding"}}
            ],
            "toolChoice": {"tool": {"name": "f"}}
        },
        "additionalModelRequestFields": {
            "anthropic_beta": ["x"],
            "thinking": {"type": "enabled", "budget_tokens": 2000},
            "top_k": 5
        },
        "outputConfig": {
            "effort": "high",
            "textFormat": {"type": "json_schema", "structure": {"jsonSchema": {
                "schema": "{\"type\":\"object\",\"properties\":{\"b\":{},\"a\":{}}}", "name": "n"}}}
        },
        "requestMetadata": {"k": "v"},
        "serviceTier": {"type": "reserved"},
        "guardrailConfig": {"guardrailIdentifier": "g", "guardrailVersion": "1"},
        "performanceConfig": {"latency": "optimized"},
        "promptVariables": {"v": {"text": "x"}}
    });
    let read = request::read(full.to_string().as_bytes(), "model.x", true).unwrap();
    assert_eq!((read.model.as_str(), read.stream), ("model.x", true));
    assert_eq!(read.sampling.top_k, Some(5));
    let reasoning = read.reasoning.as_ref().unwrap();
    assert_eq!(
        (reasoning.budget, reasoning.effort),
        (Some(2000), Some(Effort::High))
    );
    assert_eq!(read.choice, Some(Choice::Named("f".into())));
    let (again, dropped) = written(&read, &Abilities::default()).unwrap();
    assert_eq!(again, full);
    assert_eq!(dropped, [] as [&str; 0]);
    // Key order of arguments and schemas survives.
    assert!(again.to_string().contains(r#"{"z":1,"a":[2]}"#));

    // The same, as if for another dialect: what only this one can is named.
    let meaning: Vec<&str> = read
        .extras
        .iter()
        .filter(|extra| extra.weight == Weight::Meaning)
        .map(|extra| extra.field.as_str())
        .collect();
    let guard = "messages[0].content[7].guardContent";
    assert_eq!(meaning, [guard, "guardrailConfig", "promptVariables"]);
}

/// Goal: the caller's broken request is named by its path.
#[test]
fn a_broken_request_is_named() {
    for (body, field) in [
        ("[]", "the body"),
        ("{", "the body"),
        (r#"{"messages":{}}"#, "messages"),
        (
            r#"{"messages":[{"role":"bot","content":[]}]}"#,
            "messages[0].role",
        ),
        (
            r#"{"messages":[{"role":"user","content":"x"}]}"#,
            "messages[0].content",
        ),
        (
            r#"{"messages":[{"role":"user","content":[{"text":1}]}]}"#,
            "messages[0].content[0].text",
        ),
        (
            r#"{"messages":[{"role":"user","content":[{"toolResult":{}}]}]}"#,
            "messages[0].content[0].toolResult.toolUseId",
        ),
        (
            r#"{"messages":[{"role":"user","content":[{"image":{"format":"png"}}]}]}"#,
            "messages[0].content[0].image.source",
        ),
        (
            r#"{"inferenceConfig":{"maxTokens":"9"}}"#,
            "inferenceConfig.maxTokens",
        ),
        (
            r#"{"toolConfig":{"tools":[{"toolSpec":{}}]}}"#,
            "toolConfig.tools[0].toolSpec.name",
        ),
        (
            r#"{"toolConfig":{"tools":[],"toolChoice":{"none":{}}}}"#,
            "toolConfig.toolChoice",
        ),
        (
            r#"{"outputConfig":{"textFormat":{"type":"json_schema","structure":{"jsonSchema":{"schema":"{"}}}}}"#,
            "outputConfig.textFormat.structure.jsonSchema.schema",
        ),
    ] {
        let bad = request::read(body.as_bytes(), "m", false).unwrap_err();
        assert_eq!(bad.field, field, "{body}");
    }
}

/// Goal: turns alternate, calls are answered at once and in order, orphans are text, nothing
/// is empty, nameless calls get names, broken arguments are wrapped.
#[test]
fn history_is_put_in_order() {
    let mut request = chat(vec![
        turn(
            Role::Assistant,
            vec![call("b", "f", "{\"x\":1}"), call("", "g", "oops")],
        ),
        user("first"),
        turn(Role::User, vec![result("", "two")]),
        turn(
            Role::User,
            vec![result("b", "one"), result("zzz", "orphan")],
        ),
        turn(
            Role::Assistant,
            vec![Block::text(" "), call("id with spaces", "f", "")],
        ),
        turn(Role::System, vec![Block::text("now")]),
        turn(Role::Assistant, vec![Block::text("done ")]),
    ]);
    request.tools = vec![tool("f"), tool("g")];
    let id = super::block::wire_id("id with spaces");
    assert!(id.len() == 45 && id.starts_with("call_"), "{id}");
    let lost = json!({"toolResult": {"toolUseId": id, "status": "error",
        "content": [{"text": "The tool gave no result."}]}});
    assert_eq!(
        body(&request)["messages"],
        json!([
            {"role": "user", "content": [{"text": "."}]},
            {"role": "assistant", "content": [
                {"toolUse": {"toolUseId": "b", "name": "f", "input": {"x": 1}}},
                {"toolUse": {"toolUseId": "call_1", "name": "g", "input": {"_raw": "oops"}}}]},
            {"role": "user", "content": [
                {"toolResult": {"toolUseId": "b", "content": [{"text": "one"}]}},
                {"toolResult": {"toolUseId": "call_1", "content": [{"text": "two"}]}},
                {"text": "[The tool gave: orphan]"},
                {"text": "first"}]},
            {"role": "assistant", "content": [
                {"toolUse": {"toolUseId": id, "name": "f", "input": {}}}]},
            {"role": "user", "content": [lost, {"text": "<system>\nnow\n</system>"}]},
            {"role": "assistant", "content": [{"text": "done"}]}
        ])
    );
}

/// Goal: without tools in the request no block of a tool is left.
#[test]
fn without_tools_their_blocks_become_text() {
    let mut request = chat(vec![
        user("q"),
        turn(Role::Assistant, vec![call("a", "f", "{\"x\":1}")]),
        turn(Role::User, vec![result("a", "42")]),
    ]);
    let want = json!([
        {"role": "user", "content": [{"text": "q"}]},
        {"role": "assistant", "content": [{"text": "[Called the tool f with {\"x\":1}]"}]},
        {"role": "user", "content": [{"text": "[The tool f gave: 42]"}]}
    ]);
    assert_eq!(body(&request)["messages"], want);
    // "None of them" has no form: then they are not sent.
    request.tools = vec![tool("f")];
    request.choice = Some(Choice::Never);
    assert_eq!(body(&request)["messages"], want);
    assert_eq!(body(&request)["toolConfig"], Value::Null);
}

/// Goal: choices, names, descriptions and schemas of tools as the provider takes them.
#[test]
fn tools_are_written_as_the_provider_takes_them() {
    let mut request = chat(vec![user("q")]);
    request.tools = vec![tool("f"), tool("g")];
    request.parallel = Some(false);
    request.choice = Some(Choice::Allowed {
        names: vec!["g".into()],
        must: true,
    });
    let (value, dropped) = written(&request, &Abilities::default()).unwrap();
    assert_eq!(
        value["toolConfig"],
        json!({"tools": [{"toolSpec": {"name": "g",
            "inputSchema": {"json": {"type": "object", "properties": {}}}}}],
            "toolChoice": {"any": {}}})
    );
    assert_eq!(dropped, ["parallel_tool_calls"]);
    let never = Abilities {
        forced_tool: false,
        ..Abilities::default()
    };
    assert_eq!(unfit(&request, &never), "tool_choice");
    let none = Abilities {
        tools: false,
        ..Abilities::default()
    };
    assert_eq!(unfit(&request, &none), "tools");
    request.tools = vec![tool("g"), tool("has.dots")];
    request.choice = None;
    assert_eq!(unfit(&request, &Abilities::default()), "tools[1].name");
    request.tools = vec![Tool {
        kind: ToolKind::Foreign {
            dialect: Dialect::Responses,
            value: json!({"type": "web_search"}),
        },
        cache: None,
    }];
    assert_eq!(unfit(&request, &Abilities::default()), "tools[0].type");
}

/// Goal: what only tunes is left out and named; what changes the answer is refused.
#[test]
fn what_has_no_place_is_named_or_refused() {
    let mut request = chat(vec![user("q")]);
    request.user = Some("u".into());
    request.metadata = Some(json!({"k": 7}));
    request.service_tier = Some("scale".into());
    request.sampling = Sampling {
        temperature: Some(1.5),
        top_p: Some(0.5),
        top_k: Some(3),
        seed: Some(1),
        stop: vec![" ".into(), "x".into()],
        ..Sampling::default()
    };
    request.extras.push(Extra {
        field: "verbosity".into(),
        value: json!("low"),
        weight: Weight::Tuning,
    });
    let (value, dropped) = written(&request, &Abilities::default()).unwrap();
    let want = json!({"temperature": 1.0, "topP": 0.5, "stopSequences": ["x"]});
    assert_eq!(value["inferenceConfig"], want);
    let all = [
        "verbosity",
        "seed",
        "user",
        "temperature",
        "stop",
        "top_k",
        "metadata",
        "service_tier",
    ];
    assert_eq!(dropped, all);
    let bare = Abilities {
        sampling: false,
        ..Abilities::default()
    };
    assert_eq!(
        written(&request, &bare).unwrap().0["inferenceConfig"],
        json!({"stopSequences": ["x"]})
    );

    request.sampling.n = Some(2);
    assert_eq!(unfit(&request, &Abilities::default()), "n");
    request.sampling.n = Some(1);
    request.sampling.logprobs = Some(0);
    assert_eq!(unfit(&request, &Abilities::default()), "logprobs");
    request.sampling.logprobs = None;
    request.extras.push(Extra {
        field: "prediction".into(),
        value: json!({}),
        weight: Weight::Meaning,
    });
    assert_eq!(unfit(&request, &Abilities::default()), "prediction");
}

/// Goal: how much to think is said as the model takes it, and forced calls go before.
#[test]
fn thinking_is_asked_as_the_model_takes_it() {
    let ask = |thinking, reasoning: Reasoning, max: Option<u64>, forced| {
        let mut request = chat(vec![user("q")]);
        request.reasoning = Some(reasoning);
        request.max_tokens = max;
        request.sampling.temperature = Some(0.5);
        if forced {
            request.tools = vec![tool("f")];
            request.choice = Some(Choice::Any);
        }
        let abilities = Abilities {
            thinking,
            ..Abilities::default()
        };
        written(&request, &abilities).map(|(value, dropped)| {
            let thinking = value["additionalModelRequestFields"]["thinking"].clone();
            (
                thinking,
                value["outputConfig"]["effort"].clone(),
                dropped.join(" "),
            )
        })
    };
    let effort = |effort| Reasoning {
        effort: Some(effort),
        ..Reasoning::default()
    };
    let none = || (Value::Null, Value::Null);
    let adaptive = json!({"type": "adaptive", "display": "summarized"});
    let is =
        |thinking: Value, effort: Value, dropped: &str| Ok((thinking, effort, dropped.to_owned()));
    let budget = |tokens: u64| json!({"type": "enabled", "budget_tokens": tokens});
    let (null, _) = none();
    let rest = Thinking::Adaptive { can_rest: true };
    let always = Thinking::Adaptive { can_rest: false };
    for (got, want) in [
        (
            ask(Thinking::Budget, effort(Effort::Low), Some(3000), false),
            is(budget(2999), null.clone(), "temperature"),
        ),
        (
            ask(Thinking::Budget, effort(Effort::High), None, false),
            is(budget(16_384), null.clone(), "temperature"),
        ),
        (
            ask(Thinking::Budget, effort(Effort::High), Some(1000), false),
            is(null.clone(), null.clone(), "reasoning"),
        ),
        (
            ask(Thinking::Budget, effort(Effort::High), None, true),
            is(null.clone(), null.clone(), "reasoning"),
        ),
        (
            ask(Thinking::Budget, effort(Effort::None), None, false),
            is(null.clone(), null.clone(), ""),
        ),
        (
            ask(Thinking::Effort, effort(Effort::Minimal), None, false),
            is(null.clone(), json!("low"), ""),
        ),
        (
            ask(Thinking::Never, effort(Effort::Low), None, false),
            is(null.clone(), null.clone(), "reasoning"),
        ),
        (
            ask(rest, effort(Effort::Max), None, false),
            is(adaptive.clone(), json!("max"), ""),
        ),
        (
            ask(rest, effort(Effort::None), None, false),
            is(json!({"type": "disabled"}), null.clone(), ""),
        ),
        (
            ask(rest, effort(Effort::Low), None, true),
            is(json!({"type": "disabled"}), null.clone(), "reasoning"),
        ),
        (
            ask(always, effort(Effort::None), None, false),
            is(adaptive, json!("low"), ""),
        ),
    ] {
        assert_eq!(got, want);
    }
    let forced = ask(always, effort(Effort::Low), None, true).unwrap_err();
    assert_eq!(forced.field, "tool_choice");
}

/// Goal: media goes as the provider takes it, or is refused; opaque state of others stays out.
#[test]
fn media_and_foreign_state() {
    let media = |kind, source, name: Option<&str>| {
        Block::Media(Media {
            kind,
            source,
            name: name.map(str::to_owned),
            detail: None,
            cache: None,
        })
    };
    let inline = |media_type: &str| Source::Inline {
        media_type: media_type.into(),
        data: "AAAA".into(),
    };
    let pdf = || {
        media(
            MediaKind::Document,
            inline("application/pdf"),
            Some("a_b.pdf"),
        )
    };
    let thinking = |dialect| Block::Thinking {
        text: "hm".into(),
        opaque: Some(Opaque {
            dialect,
            value: json!("sig"),
        }),
    };
    let request = chat(vec![
        turn(
            Role::User,
            vec![
                pdf(),
                pdf(),
                media(MediaKind::Image, inline("image/jpg"), None),
            ],
        ),
        turn(
            Role::Assistant,
            vec![
                thinking(Dialect::Anthropic),
                thinking(Dialect::Bedrock),
                Block::Foreign {
                    dialect: Dialect::Gemini,
                    value: json!({}),
                },
                Block::Refusal("no".into()),
            ],
        ),
        user("go on"),
    ]);
    let document = |name: &str| json!({"document": {"format": "pdf", "name": name, "source": {"bytes": "AAAA"}}});
    assert_eq!(
        body(&request)["messages"],
        json!([
            {"role": "user", "content": [
                document("a b pdf"), document("a b pdf 2"),
                {"image": {"format": "jpeg", "source": {"bytes": "AAAA"}}}, {"text": "."}]},
            {"role": "assistant", "content": [
                {"reasoningContent": {"reasoningText": {"text": "hm", "signature": "sig"}}},
                {"text": "no"}]},
            {"role": "user", "content": [{"text": "go on"}]}
        ])
    );
    let file = Source::File {
        dialect: Dialect::Chat,
        id: "file-1".into(),
    };
    for source in [Source::Url("https://x".into()), file, inline("image/tiff")] {
        let block = media(MediaKind::Image, source, None);
        let request = chat(vec![turn(Role::User, vec![block])]);
        assert_eq!(unfit(&request, &Abilities::default()), "image");
    }
}

/// Goal: the form of the answer: schemas closed, or an instruction, or refused.
#[test]
fn the_form_of_the_answer() {
    let mut request = chat(vec![user("q")]);
    request.format = Format::Schema {
        name: Some("n".into()),
        description: None,
        schema: json!({"type": "object", "properties": {"o": {"type": "object"}}}),
        strict: Some(true),
    };
    let value = body(&request);
    let inner = &value["outputConfig"]["textFormat"]["structure"]["jsonSchema"];
    let schema: Value = serde_json::from_str(inner["schema"].as_str().unwrap()).unwrap();
    assert_eq!(
        schema,
        json!({"type": "object", "additionalProperties": false,
            "properties": {"o": {"type": "object", "additionalProperties": false}}})
    );
    let without = Abilities {
        schema: false,
        ..Abilities::default()
    };
    assert_eq!(unfit(&request, &without), "response_format");
    request.format = Format::Json;
    let said = body(&request)["system"][0]["text"].to_string();
    assert!(said.contains("JSON"), "{said}");
}

/// Goal: no more cache points than the provider takes, the first ones kept.
#[test]
fn cache_points_are_counted() {
    let marked = |text: &str| Block::Text {
        text: text.into(),
        citations: None,
        cache: Some(crate::dialect::model::CacheMark { ttl: None }),
    };
    let mut request = chat(vec![turn(
        Role::User,
        (0..4).map(|_| marked("a")).collect(),
    )]);
    request.system = vec![marked("s")];
    let (value, dropped) = written(&request, &Abilities::default()).unwrap();
    assert_eq!(value.to_string().matches("cachePoint").count(), 4);
    assert_eq!(
        value["system"][1],
        json!({"cachePoint": {"type": "default"}})
    );
    assert_eq!(dropped, ["cache_control"]);
}

/// Goal: an answer of another provider is a whole Converse answer.
#[test]
fn an_answer_of_another_provider_is_written() {
    let answer = Answer {
        blocks: vec![
            Block::Thinking {
                text: "hm".into(),
                opaque: Some(Opaque {
                    dialect: Dialect::Anthropic,
                    value: json!("theirs"),
                }),
            },
            Block::text("a"),
            call("", "f", "{\"x\":1}"),
        ],
        stop: Stop::Tool,
        usage: Some(Tokens {
            fresh: 1,
            read: 2,
            output: 3,
            ..Tokens::default()
        }),
        origin: Some(Dialect::Anthropic),
        ..Answer::default()
    };
    let mut tx = TxBuf::new(&BufPool::new());
    answer::write(&answer, &NAMES, &mut tx);
    let value: Value = serde_json::from_slice(tx.unsent()).unwrap();
    assert_eq!(
        value,
        json!({
            "output": {"message": {"role": "assistant", "content": [
                {"reasoningContent": {"reasoningText": {"text": "hm"}}},
                {"text": "a"},
                {"toolUse": {"toolUseId": "call_n1_2", "name": "f", "input": {"x": 1}}}]}},
            "stopReason": "tool_use",
            "usage": {"inputTokens": 1, "outputTokens": 3, "totalTokens": 6,
                "cacheReadInputTokens": 2, "cacheWriteInputTokens": 0},
            "metrics": {"latencyMs": 0}
        })
    );
}

/// Goal: what is no answer is garbled, an error inside a 200 is an error.
#[test]
fn what_is_no_answer_is_told_apart() {
    for (body, want) in [
        ("<html>", Kind::UpstreamGarbled),
        ("[]", Kind::UpstreamGarbled),
        ("{}", Kind::UpstreamGarbled),
        (
            r#"{"output":{"message":{"content":"x"}}}"#,
            Kind::UpstreamGarbled,
        ),
        (r#"{"message":"no"}"#, Kind::UpstreamError),
        (
            r#"{"Output":{"__type":"a#UnknownOperationException"}}"#,
            Kind::UpstreamError,
        ),
    ] {
        assert_eq!(answer::read(body.as_bytes()), Err(want), "{body}");
    }
}

/// Goal: errors are classified by type, then by what they say, then by status; credentials are
/// not spoken of.
#[test]
fn errors_are_classified() {
    use Trouble::{
        Auth, ContextLength, Invalid, NotFound, Overloaded, Permission, Quota, RateLimit, Server,
        Timeout, TooLarge,
    };
    for (status, body, want) in [
        (
            400,
            r#"{"message":"The provided model identifier is invalid."}"#,
            NotFound,
        ),
        (
            400,
            r#"{"message":"Input is too long for requested model."}"#,
            ContextLength,
        ),
        (
            400,
            r#"{"message":"prompt is too long: 9 tokens > 8 maximum"}"#,
            ContextLength,
        ),
        (400, r#"{"message":"Malformed input request"}"#, Invalid),
        (
            400,
            r#"{"__type":"ThrottlingException","message":"x"}"#,
            RateLimit,
        ),
        (
            400,
            r#"{"__type":"com.amazon#ExpiredTokenException","message":"x"}"#,
            Auth,
        ),
        (
            400,
            r#"{"__type":"ServiceQuotaExceededException:http://x"}"#,
            Quota,
        ),
        (
            403,
            r#"{"message":"The security token included in the request is invalid."}"#,
            Auth,
        ),
        (
            403,
            r#"{"message":"You don't have access to the model with the specified ID."}"#,
            Permission,
        ),
        (404, "<html>not here</html>", NotFound),
        (408, "{}", Timeout),
        (413, "", TooLarge),
        (424, r#"{"message":"x"}"#, Server),
        (
            429,
            r#"{"message":"Too many tokens, please wait before trying again."}"#,
            RateLimit,
        ),
        (429, r#"{"message":"Too many tokens per day"}"#, Quota),
        (
            429,
            r#"{"message":"Model is not ready for inference."}"#,
            Overloaded,
        ),
        (500, "\u{0}", Server),
        (503, r#"{"Message":"busy"}"#, Overloaded),
    ] {
        let refused = error::read(status, body.as_bytes());
        assert_eq!(refused.trouble, want, "{status} {body}");
        assert!(!refused.message.contains("token included"), "{body}");
        assert!(!refused.message.is_empty());
    }
}

/// Goal: errors are told as the SDKs read them.
#[test]
fn errors_are_told_as_sdks_read_them() {
    let told = |status, trouble| Told {
        status,
        trouble,
        code: "c",
        message: "say \"why\"",
        param: None,
    };
    for (status, trouble, want) in [
        (400, Trouble::Invalid, "ValidationException"),
        (400, Trouble::ContextLength, "ValidationException"),
        (401, Trouble::Auth, "UnrecognizedClientException"),
        (403, Trouble::Permission, "AccessDeniedException"),
        (404, Trouble::NotFound, "ResourceNotFoundException"),
        (429, Trouble::RateLimit, "ThrottlingException"),
        (429, Trouble::Quota, "ServiceQuotaExceededException"),
        (502, Trouble::Server, "InternalServerException"),
        (503, Trouble::Overloaded, "ServiceUnavailableException"),
        (504, Trouble::Timeout, "ModelTimeoutException"),
    ] {
        assert_eq!(error::error_type(&told(status, trouble)), want);
    }
    let mut tx = TxBuf::new(&BufPool::new());
    error::put_body(&mut tx, &told(400, Trouble::Invalid));
    assert_eq!(tx.unsent(), br#"{"message":"say \"why\""}"#);
    tx.clear();
    error::put_event(&mut tx, &told(503, Trouble::Overloaded));
    let read = frame(tx.unsent()).unwrap();
    assert_eq!(read.name(), Some(&b"serviceUnavailableException"[..]));
    assert_eq!(read.message, Some(&b"exception"[..]));
    assert_eq!(read.payload, br#"{"message":"say \"why\""}"#);
}
