//! Rules of requests, with bodies of our own.

use super::{read, write};
use crate::dialect::model::{
    Abilities, Block, Call, Choice, Dialect, Effort, Format, Media, MediaKind, Notes, Opaque,
    Reasoning, Request, Role, Source, Thinking, Tool, ToolKind, ToolResult, Turn,
};
use serde_json::{Value, json};

fn ask(body: &Value) -> Request {
    read(body.to_string().as_bytes(), "m", false).unwrap()
}

fn told(request: &Request, abilities: &Abilities) -> (Value, Vec<String>) {
    let mut notes = Notes::default();
    let body = write(request, abilities, &mut notes).unwrap();
    let dropped = notes.dropped().iter().map(ToString::to_string).collect();
    (serde_json::from_slice(&body).unwrap(), dropped)
}

fn unfit(request: &Request, abilities: &Abilities) -> String {
    let fault = write(request, abilities, &mut Notes::default()).unwrap_err();
    fault.field.into_owned()
}

fn turn(role: Role, blocks: Vec<Block>) -> Turn {
    Turn {
        role,
        name: None,
        blocks,
    }
}

fn chat(turns: Vec<Turn>) -> Request {
    Request {
        turns,
        origin: Some(Dialect::Chat),
        ..Request::default()
    }
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

fn result(id: &str, content: Vec<Block>) -> Block {
    Block::Result(ToolResult {
        id: id.into(),
        name: None,
        content,
        is_error: false,
        cache: None,
    })
}

fn image(source: Source) -> Block {
    Block::Media(Media {
        kind: MediaKind::Image,
        source,
        name: None,
        detail: None,
        cache: None,
    })
}

fn png() -> Block {
    image(Source::Inline {
        media_type: "image/png".into(),
        data: "AA==".into(),
    })
}

/// Goal: a request with everything in it round-trips. Method: the writer's own spelling, so
/// that the body itself is the expectation.
#[test]
fn everything_round_trips() {
    let body = json!({
        "contents": [
            {"role": "user", "parts": [
                {"text": "a"},
                {"inlineData": {"mimeType": "image/png", "data": "AA=="}},
                {"fileData": {"fileUri": "gs://b/x.mp3", "mimeType": "audio/mpeg"}},
                {"fileData": {"fileUri": "https://h/x", "mimeType": "application/pdf"}},
                {"fileData": {"fileUri": "https://h/y", "mimeType": "text/plain"},
                 "videoMetadata": {"fps": 1}},
            ]},
            {"role": "model", "parts": [
                {"text": "hm", "thought": true},
                {"text": "ab", "thoughtSignature": "s0"},
                {"text": "", "thoughtSignature": "s1"},
                {"executableCode": {"language": "PYTHON", "code": "1"}, "thoughtSignature": "s2"},
                {"functionCall": {"id": "x1", "name": "f", "args": {"b": 1, "a": [2.5]}},
                 "thoughtSignature": "s3"},
                {"functionCall": {"name": "f", "args": {}}},
            ]},
            {"role": "user", "parts": [
                {"functionResponse": {"id": "x1", "name": "f", "response": {"output": "t"},
                  "parts": [{"inlineData": {"mimeType": "image/png", "data": "AA=="}}]}},
                {"functionResponse": {"name": "f", "response": {"error": "no"}}},
            ]},
            {"role": "user", "parts": [{"text": ""}]},
        ],
        "systemInstruction": {"parts": [{"text": "s"}, {"text": "t"}]},
        "tools": [
            {"googleSearch": {}},
            {"functionDeclarations": [
                {"name": "f", "description": "d", "parametersJsonSchema":
                    {"type": "object", "properties": {"z": {}, "a": {}}}, "behavior": "BLOCKING"},
                {"name": "g"},
            ]},
            {"codeExecution": {"x_y": 1}},
        ],
        "toolConfig": {
            "functionCallingConfig": {"mode": "VALIDATED"},
            "includeServerSideToolInvocations": true,
        },
        "generationConfig": {
            "temperature": 0.5, "topP": 0.25, "topK": 3, "frequencyPenalty": 0.5,
            "presencePenalty": -0.5, "seed": -4, "stopSequences": ["x"], "maxOutputTokens": 9,
            "candidateCount": 2, "responseLogprobs": true, "logprobs": 2,
            "responseMimeType": "application/json", "responseJsonSchema": {"type": "object"},
            "thinkingConfig": {"thinkingLevel": "XHIGH", "includeThoughts": true},
            "mediaResolution": "MEDIA_RESOLUTION_LOW",
        },
        "serviceTier": "standard",
        "safetySettings": [{"category": "c", "threshold": "t"}],
        "cachedContent": "cachedContents/x",
        "labels": {"a_b": "c"},
    });
    let request = ask(&body);
    let (again, dropped) = told(&request, &Abilities::default());
    assert_eq!(again, body);
    assert!(dropped.is_empty(), "{dropped:?}");
    assert_eq!(request.service_tier.as_deref(), Some("default"));
    assert_eq!(request.choice, Some(Choice::Auto));
    // The order of keys in what belongs to the client is kept, too.
    let text =
        String::from_utf8(write(&request, &Abilities::default(), &mut Notes::default()).unwrap())
            .unwrap();
    assert!(text.contains(r#"{"b":1,"a":[2.5]}"#) && text.contains(r#"{"z":{},"a":{}}"#));
}

/// Goal: `snake_case`, lists of one without brackets, the URL alphabet of base64 and types in
/// upper case read as what they mean.
#[test]
fn other_spellings_are_read() {
    let request = ask(&json!({
        "contents": {"parts": {"inline_data": {"mime_type": "audio/wav", "data": "-_8"}}},
        "system_instruction": {"role": "user", "parts": {"text": "s"}},
        "tools": {"function_declarations": [{"name": "f", "parameters": {"type": "OBJECT",
            "properties": {"any_of": {"type": "STRING"}}}}]},
        "tool_config": {"function_calling_config":
            {"mode": "any", "allowed_function_names": ["f"]}},
        "generation_config": {"top_k": 40.0, "response_mime_type": "application/json",
            "response_schema": {"type": "NUMBER"}, "thinking_config": {"thinking_budget": -1}},
    }));
    let source = Source::Inline {
        media_type: "audio/wav".into(),
        data: "+/8=".into(),
    };
    assert!(matches!(
        &request.turns[0].blocks[0],
        Block::Media(media) if media.source == source && media.kind == MediaKind::Audio
    ));
    assert_eq!(request.system, [Block::text("s")]);
    assert_eq!(request.choice, Some(Choice::Named("f".into())));
    assert_eq!(request.sampling.top_k, Some(40));
    assert!(request.reasoning.unwrap().adaptive);
    let schema = json!({"type": "object", "properties": {"any_of": {"type": "string"}}});
    assert!(matches!(
        &request.tools[0].kind,
        ToolKind::Function { schema: Some(read), .. } if *read == schema
    ));
    assert!(matches!(
        request.format,
        Format::Schema { schema, .. } if schema == json!({"type": "number"})
    ));
}

/// Goal: results find their calls by name and order; names that the client gave are not made
/// up again.
#[test]
fn results_find_their_calls() {
    let call = |name: &str| json!({"functionCall": {"name": name}});
    let answer = |name: &str| json!({"functionResponse": {"name": name, "response": {}}});
    let request = ask(&json!({"contents": [
        {"role": "model", "parts": [call("a"), call("b"), call("a"),
            {"functionCall": {"name": "b", "id": "call_1"}}]},
        {"parts": [answer("b"), answer("a"), answer("a"), answer("b"), answer("c")]},
    ]}));
    let ids = |turn: &Turn| -> Vec<String> {
        turn.blocks
            .iter()
            .map(|block| match block {
                Block::Call(call) => call.id.clone(),
                Block::Result(result) => result.id.clone(),
                _ => panic!(),
            })
            .collect()
    };
    assert_eq!(
        ids(&request.turns[0]),
        ["call_0", "call_2", "call_3", "call_1"]
    );
    let results = ["call_2", "call_0", "call_3", "call_1", "call_4"];
    assert_eq!(ids(&request.turns[1]), results);
}

/// Goal: a broken request names the field in the caller's spelling.
#[test]
fn a_broken_request_names_the_field() {
    let text = |field: Value| json!({"contents": [{"parts": [field]}]});
    for (body, want) in [
        (json!([]), "body"),
        (json!({}), "contents"),
        (json!({"contents": []}), "contents"),
        (json!({"contents": [7]}), "contents[0]"),
        (json!({"contents": [{"role": "bot"}]}), "contents[0].role"),
        (text(json!({"text": 1})), "contents[0].parts[0].text"),
        (
            text(json!({"function_call": {}})),
            "contents[0].parts[0].function_call.name",
        ),
        (
            text(json!({"functionCall": {"name": "f", "args": 1}})),
            "contents[0].parts[0].functionCall.args",
        ),
        (
            text(json!({"inlineData": {"mimeType": "x"}})),
            "contents[0].parts[0].inlineData.data",
        ),
        (
            json!({"generation_config": {"top_k": -1}}),
            "generation_config.top_k",
        ),
        (
            json!({"tools": [{"functionDeclarations": [{}]}]}),
            "tools[0].functionDeclarations[0].name",
        ),
        (
            json!({"toolConfig": {"functionCallingConfig": {"mode": "x"}}}),
            "toolConfig.functionCallingConfig.mode",
        ),
    ] {
        let fault = read(body.to_string().as_bytes(), "m", false).unwrap_err();
        assert_eq!(fault.field, want, "{body}");
    }
    assert!(read(b"\xff", "m", false).is_err());
}

/// Goal: what another dialect says is arranged: results in a content of their own, in the order
/// of the calls; an answer for each call; orphans as text; the user first; system in the middle
/// as a marked part; foreign thoughts left out; the filler on the first call only.
#[test]
#[expect(clippy::too_many_lines, reason = "one list of cases")]
fn a_conversation_is_arranged() {
    let thought = Block::Thinking {
        text: "secret".into(),
        opaque: Some(Opaque {
            dialect: Dialect::Anthropic,
            value: "x".into(),
        }),
    };
    let request = chat(vec![
        turn(
            Role::Assistant,
            vec![
                thought,
                Block::text("t"),
                call("a1", "f", "{\"k\":1}"),
                call("a2", "g", "broken"),
                call("a3", "h", ""),
            ],
        ),
        turn(
            Role::User,
            vec![result("a2", vec![Block::text("two"), png()])],
        ),
        turn(
            Role::User,
            vec![result("a1", vec![Block::text("{\"one\":1}")])],
        ),
        turn(Role::System, vec![Block::text("be brief")]),
        turn(
            Role::User,
            vec![result("zz", vec![Block::text("lost")]), Block::text("go")],
        ),
    ]);
    let inline = json!({"inlineData": {"mimeType": "image/png", "data": "AA=="}});
    let said = |id: &str, name: &str, response: Value| {
        let answer = json!({"id": id, "name": name, "response": response});
        json!({ "functionResponse": answer })
    };
    let (body, _) = told(&request, &Abilities::default());
    let mut two = said("a2", "g", json!({"output": "two"}));
    two["functionResponse"]["parts"] = json!([inline]);
    let lost = json!({"error": "The tool gave no result."});
    let rest = [
        json!({"text": "<system>\nbe brief\n</system>"}),
        json!({"text": "Result of tool: lost"}),
        json!({"text": "go"}),
    ];
    assert_eq!(
        body["contents"],
        json!([
            {"role": "user", "parts": [{"text": "."}]},
            {"role": "model", "parts": [
                {"text": "t"},
                {"functionCall": {"id": "a1", "name": "f", "args": {"k": 1}},
                 "thoughtSignature": "skip_thought_signature_validator"},
                {"functionCall": {"id": "a2", "name": "g", "args": {"_raw": "broken"}}},
                {"functionCall": {"id": "a3", "name": "h", "args": {}}},
            ]},
            {"role": "user", "parts": [
                said("a1", "f", json!({"one": 1})), two, said("a3", "h", lost),
            ]},
            {"role": "user", "parts": rest},
        ])
    );
    // Gemini 2.5 takes no media with an answer, and knows no filler.
    let old = Abilities {
        thinking: Thinking::Budget,
        ..Abilities::default()
    };
    let (body, _) = told(&request, &old);
    assert_eq!(body["contents"][3]["parts"][0], inline);
    assert_eq!(
        body["contents"][1]["parts"][1].get("thoughtSignature"),
        None
    );
}

/// Goal: a signature goes back on the call that it came with, whoever asks.
#[test]
fn a_signature_goes_back() {
    let mut block = call("a", "f", "{}");
    if let Block::Call(call) = &mut block {
        call.opaque = Some(Opaque {
            dialect: Dialect::Gemini,
            value: "sig".into(),
        });
    }
    let (body, _) = told(
        &chat(vec![turn(Role::Assistant, vec![block])]),
        &Abilities::default(),
    );
    assert_eq!(body["contents"][1]["parts"][0]["thoughtSignature"], "sig");
}

/// Goal: thinking by what the model can do.
#[test]
fn thinking_is_told_by_ability() {
    let effort = |effort| Reasoning {
        effort: Some(effort),
        ..Reasoning::default()
    };
    let budget = |budget| Reasoning {
        budget: Some(budget),
        visible: Some(true),
        ..Reasoning::default()
    };
    for (thinking, reasoning, want) in [
        (
            Thinking::Effort,
            effort(Effort::None),
            json!({"thinkingLevel": "MINIMAL"}),
        ),
        (
            Thinking::Effort,
            effort(Effort::Max),
            json!({"thinkingLevel": "HIGH"}),
        ),
        (
            Thinking::Effort,
            budget(2000),
            json!({"thinkingLevel": "MEDIUM", "includeThoughts": true}),
        ),
        (
            Thinking::Budget,
            effort(Effort::Low),
            json!({"thinkingBudget": 1024}),
        ),
        (
            Thinking::Budget,
            budget(0),
            json!({"thinkingBudget": 0, "includeThoughts": true}),
        ),
        (
            Thinking::Budget,
            Reasoning {
                adaptive: true,
                ..Reasoning::default()
            },
            json!({"thinkingBudget": -1}),
        ),
        (Thinking::Never, effort(Effort::High), Value::Null),
    ] {
        let mut request = chat(vec![turn(Role::User, vec![Block::text("a")])]);
        request.reasoning = Some(reasoning);
        let abilities = Abilities {
            thinking,
            ..Abilities::default()
        };
        let (body, dropped) = told(&request, &abilities);
        assert_eq!(body["generationConfig"]["thinkingConfig"], want);
        assert_eq!(!dropped.is_empty(), thinking == Thinking::Never);
    }
}

/// Goal: what Gemini or the model cannot do is refused by name, what only tunes is noted.
#[test]
#[expect(clippy::too_many_lines, reason = "one list of cases")]
fn what_cannot_be_done_is_said() {
    let able = Abilities::default();
    let plain = || chat(vec![turn(Role::User, vec![Block::text("a")])]);
    let with = |change: fn(&mut Request)| {
        let mut request = plain();
        change(&mut request);
        request
    };
    let tool = |kind| Tool { kind, cache: None };
    let url = image(Source::Url("https://h/a.png".into()));
    let schema = with(|request| {
        request.format = Format::Schema {
            name: None,
            description: None,
            schema: json!({}),
            strict: None,
        };
    });
    let not = |change: fn(&mut Abilities)| {
        let mut abilities = Abilities::default();
        change(&mut abilities);
        abilities
    };
    let mut custom = plain();
    custom.tools.push(tool(ToolKind::Custom {
        name: "c".into(),
        description: None,
        format: None,
    }));
    let mut forced = plain();
    forced.choice = Some(Choice::Any);
    forced.tools.push(tool(ToolKind::Function {
        name: "f".into(),
        description: Some(String::new()),
        schema: Some(json!({})),
        strict: Some(true),
    }));
    let one = |block: Block| chat(vec![turn(Role::User, vec![block])]);
    for (request, abilities, want) in [
        (one(url), able.clone(), "image_url"),
        (one(png()), not(|a| a.images = false), "image_url"),
        (
            one(image(Source::File {
                dialect: Dialect::Chat,
                id: "file-1".into(),
            })),
            able.clone(),
            "file_id",
        ),
        (schema, not(|a| a.schema = false), "response_format"),
        (custom, able.clone(), "tools[0].type"),
        (
            forced.clone(),
            not(|a| a.forced_tool = false),
            "tool_choice",
        ),
        (forced.clone(), not(|a| a.tools = false), "tools"),
        (with(|r| r.sampling.n = Some(2)), able.clone(), "n"),
        (
            with(|r| r.sampling.stop = vec!["x".into(); 6]),
            able.clone(),
            "stop",
        ),
        (
            chat(vec![turn(Role::Assistant, vec![])]),
            not(|a| a.prefill = false),
            "messages",
        ),
    ] {
        assert_eq!(unfit(&request, &abilities), want);
    }
    let (body, dropped) = told(&forced, &able);
    assert_eq!(dropped, ["tools.strict"]);
    let function = json!({"name": "f",
        "parametersJsonSchema": {"type": "object", "properties": {}}});
    assert_eq!(body["tools"], json!([{"functionDeclarations": [function]}]));
    let noisy = with(|request| {
        request.parallel = Some(false);
        request.user = Some("u".into());
        request.sampling.logit_bias = Some(json!({}));
        request.sampling.temperature = Some(1.0);
    });
    let (body, mut dropped) = told(&noisy, &not(|a| a.sampling = false));
    dropped.sort();
    let want = ["logit_bias", "parallel_tool_calls", "temperature", "user"];
    assert_eq!(dropped, want);
    assert_eq!(body.get("generationConfig"), None);
}

/// Goal: fields of Gemini alone are Unfit or noted elsewhere: their weights. Method: the
/// request of a Gemini client, made another's.
#[test]
fn own_fields_have_weights() {
    let body = json!({
        "contents": [{"parts": [{"text": "a"}]}],
        "safetySettings": [],
        "generationConfig": {"responseModalities": ["TEXT"]},
    });
    let mut request = ask(&body);
    request.origin = Some(Dialect::Chat);
    let (_, dropped) = told(&request, &Abilities::default());
    assert_eq!(
        dropped,
        ["safetySettings", "generationConfig.responseModalities"]
    );
    for (key, value, want) in [
        ("cachedContent", json!("x"), "cachedContent"),
        (
            "generationConfig",
            json!({"responseModalities": ["IMAGE"]}),
            "generationConfig.responseModalities",
        ),
        (
            "generationConfig",
            json!({"responseMimeType": "text/x.enum", "responseSchema": {"enum": ["a"]}}),
            "generationConfig.responseMimeType",
        ),
    ] {
        let mut body = body.clone();
        body[key] = value;
        let mut request = ask(&body);
        request.origin = Some(Dialect::Chat);
        assert_eq!(unfit(&request, &Abilities::default()), want);
    }
}

/// Goal: a streamed answer that the official SDK gives back, a content for each event, is one
/// turn.
#[test]
fn a_streamed_answer_is_one_turn() {
    let said = |part: Value| json!({"role": "model", "parts": [part]});
    let request = ask(&json!({"contents": [
        {"role": "user", "parts": [{"text": "a"}]},
        said(json!({"text": "hm", "thought": true})),
        said(json!({"text": "Hel"})),
        said(json!({"text": "lo"})),
        said(json!({"functionCall": {"name": "f"}, "partMetadata": {"x": 1}})),
        said(json!({"text": ""})),
        {"role": "user", "parts": [{"text": "b"}]},
        {"role": "user", "parts": [{"text": "c"}]},
    ]}));
    assert_eq!(request.turns.len(), 4);
    let (body, _) = told(&request, &Abilities::default());
    assert_eq!(
        body["contents"][1]["parts"],
        json!([
            {"text": "hm", "thought": true},
            {"text": "Hello"},
            {"functionCall": {"name": "f", "args": {}}, "partMetadata": {"x": 1}},
            {"text": ""},
        ])
    );
}
