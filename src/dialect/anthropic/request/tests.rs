//! Tests of requests: read, mended, written.

use super::{Cloud, read, write, write_for};
use crate::dialect::model::{
    Abilities, Block, CacheMark, Call, Choice, Dialect, Effort, Extra, Format, Media, MediaKind,
    Notes, Opaque, Reasoning, Request, Role, Source, Thinking, Tool, ToolKind, ToolResult, Turn,
    Weight,
};
use serde_json::{Value, json};

fn turn(role: Role, blocks: Vec<Block>) -> Turn {
    Turn {
        role,
        name: None,
        blocks,
    }
}

fn call(id: &str, arguments: &str) -> Block {
    Block::Call(Call {
        id: id.into(),
        name: "f".into(),
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

/// A request of Chat with one question.
fn asked() -> Request {
    Request {
        model: "claude".into(),
        turns: vec![turn(Role::User, vec![Block::text("Hi")])],
        origin: Some(Dialect::Chat),
        ..Request::default()
    }
}

fn told(request: &Request, abilities: &Abilities) -> (Value, Vec<String>) {
    let mut notes = Notes::default();
    let body = write(request, abilities, &mut notes).unwrap();
    let again = write(request, abilities, &mut Notes::default()).unwrap();
    assert_eq!(body, again);
    let notes = notes.dropped().iter().map(ToString::to_string).collect();
    (serde_json::from_slice(&body).unwrap(), notes)
}

fn refused(request: &Request, abilities: &Abilities) -> String {
    let unfit = write(request, abilities, &mut Notes::default()).unwrap_err();
    unfit.field.into_owned()
}

/// Goal: every field of the dialect is the same after reading and writing, thinking that is
/// signed and nothing else included.
#[test]
fn a_request_of_this_dialect_is_written_as_it_was() {
    let body = json!({
        "model": "claude", "max_tokens": 4096,
        "system": [{"type": "text", "text": "Be brief.",
                    "cache_control": {"type": "ephemeral", "ttl": "1h", "scope": "x"}}],
        "tools": [
            {"name": "f", "description": "d", "input_schema": {"type": "object", "z": 1, "a": 2},
             "strict": true, "cache_control": {"type": "ephemeral"}, "defer_loading": true},
            {"type": "web_search_20260318", "name": "web_search", "max_uses": null},
        ],
        "tool_choice": {"type": "auto", "disable_parallel_tool_use": true},
        "output_config": {"effort": "high",
                          "format": {"type": "json_schema", "schema": {"type": "object"}},
                          "task_budget": {"type": "tokens", "total": 9}},
        "temperature": 0.5, "top_p": 0.9, "top_k": 4, "stop_sequences": ["\n"],
        "thinking": {"type": "adaptive", "display": "summarized", "block_binding": "x"},
        "stream": true, "metadata": {"user_id": "u@x", "other": 1},
        "service_tier": "standard_only",
        "messages": [
            {"role": "assistant", "content": [{"type": "text", "text": ""}]},
            {"role": "user", "content": [
                {"type": "image", "source": {"type": "url", "url": "https://x/y.png"}},
                {"type": "document", "source": {"type": "text", "media_type": "text/plain",
                 "data": "d"}, "title": "t", "context": "c", "citations": {"enabled": true}},
                {"type": "document", "source": {"type": "content", "content": "d"}},
                {"type": "search_result", "source": "s", "title": "t", "content": []},
                {"type": "container_upload", "file_id": "file_1"},
            ]},
            {"role": "system", "content": [{"type": "text", "text": "Mid."}]},
            {"role": "assistant", "content": [
                {"type": "thinking", "thinking": "", "signature": "c2ln"},
                {"type": "redacted_thinking", "data": "ZA=="},
                {"type": "server_tool_use", "id": "s", "name": "w", "input": {}},
                {"type": "text", "text": "x", "citations": [{"type": "char_location"}]},
                {"type": "tool_use", "id": "t-1", "name": "f", "input": {"z": 1, "a": 2},
                 "caller": {"type": "direct"}, "cache_control": {"type": "ephemeral"}},
            ]},
            {"role": "user", "content": [
                {"type": "text", "text": "before"},
                {"type": "tool_result", "tool_use_id": "unknown", "is_error": true,
                 "content": [{"type": "tool_reference", "tool_name": "f"}]},
            ]},
        ],
        "container": "c_1", "speed": "fast", "context_management": {"edits": []},
    });
    let request = read(body.to_string().as_bytes()).unwrap();
    assert_eq!(
        request.reasoning.as_ref().unwrap().effort,
        Some(Effort::High)
    );
    let (got, notes) = told(&request, &Abilities::default());
    assert_eq!(got, body);
    assert!(notes.is_empty(), "{notes:?}");
    let arguments = got["messages"][3]["content"][4]["input"].to_string();
    assert_eq!(arguments, r#"{"z":1,"a":2}"#);
}

/// Goal: a request that breaks the dialect names the field and what would be right.
#[test]
fn a_broken_request_names_its_field() {
    for (body, field) in [
        (json!([]), "body"),
        (json!({}), "model"),
        (json!({"model": "m"}), "messages"),
        (json!({"model": "m", "messages": []}), "max_tokens"),
        (
            json!({"model": "m", "messages": [], "max_tokens": -1}),
            "max_tokens",
        ),
        (
            json!({"model": "m", "messages": [{"role": "x"}]}),
            "messages[0].role",
        ),
        (
            json!({"model": "m", "messages": [{"role": "user"}]}),
            "messages[0].content",
        ),
        (
            json!({"model": "m", "messages": [{"role": "user", "content": [{"type": "text"}]}]}),
            "messages[0].content[0].text",
        ),
        (
            json!({"model": "m", "messages": [], "tools": [{"input_schema": {}}]}),
            "tools[0].name",
        ),
        (
            json!({"model": "m", "messages": [], "tool_choice": {"type": "x"}}),
            "tool_choice.type",
        ),
        (
            json!({"model": "m", "messages": [], "thinking": {"type": "enabled"}}),
            "thinking.budget_tokens",
        ),
        (json!({"model": "m", "messages": [], "stream": 1}), "stream"),
    ] {
        assert_eq!(read(body.to_string().as_bytes()).unwrap_err().field, field);
    }
    assert_eq!(read(b"{").unwrap_err().field, "body");
}

/// Goal: results stand first and in the order of the calls, a call that nobody answered gets
/// an answer, a result that answers nothing is text, ids have the form that is taken.
#[test]
fn calls_are_answered_in_the_next_message() {
    let mut request = asked();
    request.turns = vec![
        turn(Role::User, vec![Block::text("Hi")]),
        turn(
            Role::Assistant,
            vec![
                Block::text(""),
                call("a", "{}"),
                call("f.b:1", "{\"x\""),
                call("a", ""),
            ],
        ),
        turn(Role::User, vec![result("f.b:1", "B")]),
        turn(Role::User, vec![result("a", "A"), Block::text("and?")]),
        turn(Role::System, vec![Block::text("Mind it.")]),
        turn(Role::User, vec![result("lost", "L")]),
    ];
    let (got, _) = told(&request, &Abilities::default());
    let messages = got["messages"].as_array().unwrap();
    assert_eq!(messages.len(), 3);
    let calls = messages[1]["content"].as_array().unwrap();
    let ids: Vec<&str> = calls.iter().map(|c| c["id"].as_str().unwrap()).collect();
    assert_eq!(ids[0], "a");
    assert!(ids[1].starts_with("toolu_") && ids[2].starts_with("toolu_"));
    assert_ne!(ids[1], ids[2]);
    assert_eq!(calls[1]["input"], json!({"_raw": "{\"x\""}));
    let text = |text: &str| json!({"type": "text", "text": text});
    let answer = |id: &str, words: &str| {
        let content = [text(words)];
        json!({"type": "tool_result", "tool_use_id": id, "content": content})
    };
    let content = messages[2]["content"].as_array().unwrap();
    assert_eq!(content[..2], [answer("a", "A"), answer(ids[1], "B")]);
    assert_eq!(content[2]["tool_use_id"], ids[2]);
    assert_eq!(content[2]["is_error"], true);
    let rest = [
        text("and?"),
        text("<system>\nMind it.\n</system>"),
        text("Result of the tool call lost:"),
        text("L"),
    ];
    assert_eq!(content[3..], rest);
}

/// Goal: what the provider insists on is there: a first user turn, no empty text, no white
/// space at the end; and a beginning of an answer is refused where it is.
#[test]
fn a_conversation_has_the_form_that_is_taken() {
    let mut request = asked();
    request.turns = vec![turn(Role::Assistant, vec![Block::text("So \n")])];
    let (got, _) = told(&request, &Abilities::default());
    let want = json!([
        {"role": "user", "content": [{"type": "text", "text": "."}]},
        {"role": "assistant", "content": [{"type": "text", "text": "So"}]},
    ]);
    assert_eq!(got["messages"], want);
    let no_prefill = Abilities {
        prefill: false,
        ..Abilities::default()
    };
    assert_eq!(refused(&request, &no_prefill), "messages");
    request.turns = vec![turn(Role::User, vec![Block::text("")])];
    request.system = vec![Block::text(""), Block::text("S")];
    let (got, _) = told(&request, &no_prefill);
    assert_eq!(got["messages"][0]["content"][0]["text"], ".");
    assert_eq!(got["system"], json!([{"type": "text", "text": "S"}]));
    assert_eq!(got["max_tokens"], 8192);
    let known = Abilities {
        output: Some(64_000),
        ..Abilities::default()
    };
    assert_eq!(told(&request, &known).0["max_tokens"], 64_000);
    request.max_tokens = Some(100_000);
    let (got, notes) = told(&request, &known);
    assert_eq!(
        (&got["max_tokens"], notes),
        (&json!(64_000), vec!["max_tokens".to_owned()])
    );
}

/// Goal: thinking goes back to its own provider only, and with it what is readable of it.
#[test]
fn thinking_goes_back_to_its_own_provider() {
    let thinking = |dialect| Block::Thinking {
        text: "secret".into(),
        opaque: Some(Opaque {
            dialect,
            value: json!("c2ln"),
        }),
    };
    let mut request = asked();
    request.turns.push(turn(
        Role::Assistant,
        vec![
            thinking(Dialect::Gemini),
            thinking(Dialect::Anthropic),
            Block::Thinking {
                text: "secret".into(),
                opaque: None,
            },
            Block::text("x"),
        ],
    ));
    request.turns.push(turn(Role::User, vec![Block::text("y")]));
    let (got, _) = told(&request, &Abilities::default());
    let own = json!({"type": "thinking", "thinking": "secret", "signature": "c2ln"});
    assert_eq!(
        got["messages"][1]["content"],
        json!([own, {"type": "text", "text": "x"}])
    );
    // What this gateway sealed for its client is nothing to the provider, and the extras
    // behind it keep their places.
    let body = json!({"model": "m", "max_tokens": 1, "messages": [
        {"role": "user", "content": "q"},
        {"role": "assistant", "content": [
            {"type": "thinking", "thinking": "t", "signature": "sg1::"},
            {"type": "tool_use", "id": "t", "name": "f", "input": {}, "caller": 1}]},
    ]});
    let body = body.to_string();
    assert!(super::holds_sealed_thinking(body.as_bytes()));
    let (got, _) = told(&read(body.as_bytes()).unwrap(), &Abilities::default());
    let content = json!([{"type": "tool_use", "id": "t", "name": "f", "input": {}, "caller": 1}]);
    assert_eq!(got["messages"][1]["content"], content);
}

/// Goal: tools and their choice in the form of this dialect, or a refusal that names them.
#[test]
fn tools_are_offered_or_refused() {
    let function = |name: &str, schema: Option<Value>, strict| Tool {
        kind: ToolKind::Function {
            name: name.into(),
            description: Some(String::new()),
            schema,
            strict,
        },
        cache: None,
    };
    let mut request = asked();
    request.tools = vec![
        function("a", None, None),
        function(
            "b",
            Some(json!({"properties": {"x": {"type": "string"}}})),
            Some(true),
        ),
        Tool {
            kind: ToolKind::Custom {
                name: "c".into(),
                description: None,
                format: None,
            },
            cache: None,
        },
    ];
    request.parallel = Some(false);
    let (got, _) = told(&request, &Abilities::default());
    let closed = json!({"type": "object", "properties": {"x": {"type": "string"}},
                        "additionalProperties": false});
    let want = json!([
        {"name": "a", "input_schema": {"type": "object", "properties": {}}},
        {"name": "b", "strict": true, "input_schema": closed},
        {"name": "c", "input_schema": {"type": "object",
         "properties": {"input": {"type": "string"}}, "required": ["input"]}},
    ]);
    assert_eq!(got["tools"], want);
    let auto = json!({"type": "auto", "disable_parallel_tool_use": true});
    assert_eq!(got["tool_choice"], auto);

    request.choice = Some(Choice::Allowed {
        names: vec!["b".into()],
        must: true,
    });
    let (got, _) = told(&request, &Abilities::default());
    assert_eq!(got["tools"].as_array().unwrap().len(), 1);
    assert_eq!(got["tool_choice"]["type"], "any");
    let weak = Abilities {
        forced_tool: false,
        ..Abilities::default()
    };
    assert_eq!(refused(&request, &weak), "tool_choice");
    request.choice = Some(Choice::Never);
    assert_eq!(
        told(&request, &weak).0["tool_choice"],
        json!({"type": "none"})
    );
    let none = Abilities {
        tools: false,
        ..Abilities::default()
    };
    assert_eq!(refused(&request, &none), "tools");
    request.tools.push(function("a.b", None, None));
    assert_eq!(refused(&request, &weak), "tools[3].name");
    request.tools[3].kind = ToolKind::Foreign {
        dialect: Dialect::Gemini,
        value: json!({"googleSearch": {}}),
    };
    assert_eq!(refused(&request, &weak), "tools[3].type");
}

/// Goal: structured output is native or refused; JSON without a schema is an instruction that
/// is told.
#[test]
fn structured_output_is_native_or_refused() {
    let mut request = asked();
    request.format = Format::Schema {
        name: Some("n".into()),
        description: None,
        schema: json!({"type": "object", "properties": {"n": {"type": "integer", "minimum": 1}}}),
        strict: Some(true),
    };
    let (got, _) = told(&request, &Abilities::default());
    let schema = &got["output_config"]["format"]["schema"];
    assert_eq!(schema["additionalProperties"], false);
    assert_eq!(schema["properties"]["n"]["description"], "{minimum: 1}");
    let weak = Abilities {
        schema: false,
        ..Abilities::default()
    };
    assert_eq!(refused(&request, &weak), "response_format");
    request.format = Format::Json;
    let (got, notes) = told(&request, &weak);
    assert!(got["system"][0]["text"].as_str().unwrap().contains("JSON"));
    assert_eq!(notes, ["response_format"]);
}

/// Goal: what only tunes is left out and named; what changes the answer is refused.
#[test]
fn tuning_is_named_and_meaning_refused() {
    let mut request = asked();
    let sampling = &mut request.sampling;
    (sampling.temperature, sampling.top_p) = (Some(1.5), Some(0.5));
    (sampling.seed, sampling.frequency_penalty) = (Some(1), Some(0.5));
    sampling.presence_penalty = Some(0.0);
    request.user = Some("me@example.com".into());
    request.service_tier = Some("flex".into());
    request.extras.push(Extra {
        field: "verbosity".into(),
        value: json!("low"),
        weight: Weight::Tuning,
    });
    let (got, notes) = told(&request, &Abilities::default());
    let want = [
        "temperature",
        "top_p",
        "frequency_penalty",
        "seed",
        "service_tier",
        "verbosity",
    ];
    assert_eq!(notes, want);
    assert_eq!(
        (&got["temperature"], &got["top_p"]),
        (&json!(1.0), &Value::Null)
    );
    assert_eq!(got["metadata"]["user_id"].as_str().unwrap().len(), 64);
    let rigid = Abilities {
        sampling: false,
        ..Abilities::default()
    };
    assert_eq!(told(&request, &rigid).0["temperature"], Value::Null);

    let refuse = |change: &dyn Fn(&mut Request)| {
        let mut request = asked();
        change(&mut request);
        refused(&request, &Abilities::default())
    };
    assert_eq!(refuse(&|r| r.sampling.n = Some(2)), "n");
    assert_eq!(refuse(&|r| r.sampling.logprobs = Some(0)), "logprobs");
    assert_eq!(refuse(&|r| r.sampling.stop = vec!["\n".into()]), "stop");
    let extra = Extra {
        field: "store".into(),
        value: json!(true),
        weight: Weight::Meaning,
    };
    assert_eq!(refuse(&|r| r.extras = vec![extra.clone()]), "store");
}

/// Goal: media in the form of this dialect, or a refusal.
#[test]
fn media_is_shown_or_refused() {
    let media = |kind, source| {
        Block::Media(Media {
            kind,
            source,
            name: Some("n".into()),
            detail: None,
            cache: None,
        })
    };
    let inline = |media_type: &str, data: &str| Source::Inline {
        media_type: media_type.into(),
        data: data.into(),
    };
    let ask = |block: &Block| {
        let mut request = asked();
        request.turns[0].blocks.push(block.clone());
        request
    };
    let png = media(MediaKind::Image, inline("image/jpeg", "iVBORw0KGgoAAAAN"));
    let pdf = media(MediaKind::Document, inline("application/pdf", "JVBERi0="));
    let text = media(MediaKind::Document, inline("text/csv", "YSxi"));
    let sees = Abilities::default();
    let shown = |block| told(&ask(block), &sees).0["messages"][0]["content"][1].clone();
    assert_eq!(shown(&png)["source"]["media_type"], "image/png");
    assert_eq!(shown(&pdf)["title"], "n");
    assert_eq!(shown(&text)["source"]["data"], "a,b");
    let blind = Abilities {
        images: false,
        documents: false,
        ..Abilities::default()
    };
    assert_eq!(refused(&ask(&png), &blind), "messages");
    assert_eq!(refused(&ask(&pdf), &blind), "messages");
    for block in [
        media(MediaKind::Audio, inline("audio/wav", "AAAA")),
        media(MediaKind::Image, Source::Url("gs://x/y".into())),
        media(MediaKind::Document, inline("application/x-odd", "AAAA")),
        media(
            MediaKind::Image,
            Source::File {
                dialect: Dialect::Gemini,
                id: "f".into(),
            },
        ),
    ] {
        assert_eq!(refused(&ask(&block), &sees), "messages");
    }
}

/// Goal: with a budget, thinking is left out where the model goes on in the middle of calls
/// that it did not think before; sampling gives way to thinking.
#[test]
fn a_budget_gives_way_in_the_middle_of_calls() {
    let mut request = asked();
    request.sampling.temperature = Some(0.2);
    request.reasoning = Some(Reasoning {
        effort: Some(Effort::Low),
        ..Reasoning::default()
    });
    let legacy = Abilities {
        thinking: Thinking::Budget,
        ..Abilities::default()
    };
    let (got, notes) = told(&request, &legacy);
    assert_eq!(
        got["thinking"],
        json!({"type": "enabled", "budget_tokens": 4096})
    );
    assert_eq!(
        (&got["temperature"], notes),
        (&Value::Null, vec!["temperature".to_owned()])
    );
    request
        .turns
        .push(turn(Role::Assistant, vec![call("a", "{}")]));
    request.turns.push(turn(Role::User, vec![result("a", "A")]));
    let (got, notes) = told(&request, &legacy);
    assert_eq!(
        (&got["thinking"], notes),
        (&Value::Null, vec!["reasoning_effort".to_owned()])
    );
    assert_eq!(got["temperature"], 0.2);
}

/// Goal: of more cache marks than are taken the last ones stay.
#[test]
fn of_too_many_cache_marks_the_last_stay() {
    let mut request = asked();
    let marked = |text: &str| Block::Text {
        text: text.into(),
        citations: None,
        cache: Some(CacheMark { ttl: None }),
    };
    request.system = vec![marked("1"), marked("2")];
    request.turns[0].blocks = vec![marked("3"), marked("4"), marked("5")];
    let (got, notes) = told(&request, &Abilities::default());
    assert_eq!(notes, ["cache_control"]);
    assert_eq!(got["system"][0].get("cache_control"), None);
    assert_eq!(got.to_string().matches("ephemeral").count(), 4);
}

/// Goal: clouds get the body without what is in their URL.
#[test]
fn clouds_get_the_body_without_what_is_in_the_url() {
    let mut request = asked();
    request.stream = true;
    for (cloud, version, has_stream) in [
        (Cloud::Bedrock, "bedrock-2023-05-31", false),
        (Cloud::Vertex, "vertex-2023-10-16", true),
    ] {
        let body = write_for(
            cloud,
            &request,
            &Abilities::default(),
            &mut Notes::default(),
        );
        let body: Value = serde_json::from_slice(&body.unwrap()).unwrap();
        assert_eq!(body["anthropic_version"], version);
        assert_eq!(body.get("model"), None);
        assert_eq!(body.get("stream").is_some(), has_stream);
        assert_eq!(body["messages"][0]["role"], "user");
    }
}
