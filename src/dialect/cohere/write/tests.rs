//! What becomes of a request on its way to Cohere.

use super::*;
use crate::dialect::cohere::request::read;
use crate::dialect::model::{
    Block, CacheMark, Call, Media, MediaKind, Role, Source, ToolResult, Turn,
};

fn asked(blocks: Vec<Block>) -> Request {
    Request {
        model: "command-a".into(),
        turns: vec![turn(Role::User, blocks)],
        origin: Some(Dialect::Chat),
        ..Request::default()
    }
}

fn turn(role: Role, blocks: Vec<Block>) -> Turn {
    Turn {
        role,
        name: None,
        blocks,
    }
}

fn function(name: &str) -> Tool {
    Tool {
        kind: ToolKind::Function {
            name: name.into(),
            description: None,
            schema: None,
            strict: None,
        },
        cache: None,
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

fn result(id: &str, content: Vec<Block>, is_error: bool) -> Block {
    Block::Result(ToolResult {
        id: id.into(),
        name: None,
        content,
        is_error,
        cache: None,
    })
}

fn media(kind: MediaKind, source: Source) -> Block {
    Block::Media(Media {
        kind,
        source,
        name: None,
        detail: None,
        cache: None,
    })
}

fn written(request: &Request) -> (Value, Vec<String>) {
    let mut notes = Notes::default();
    let body = write(request, &Abilities::default(), &mut notes).unwrap();
    let dropped = notes.dropped().iter().map(ToString::to_string).collect();
    (serde_json::from_slice(&body).unwrap(), dropped)
}

fn unfit(request: &Request, abilities: &Abilities) -> String {
    let refused = write(request, abilities, &mut Notes::default());
    refused.unwrap_err().field.into_owned()
}

/// Goal: a request of this dialect is written as it came, key order of schemas and arguments
/// included.
#[test]
fn a_request_of_our_own_is_written_as_it_came() {
    let body = json!({
        "model": "command-a-03-2025",
        "messages": [
            {"role": "system", "content": "S"},
            {"role": "user", "content": [{"type": "text", "text": "a"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA==", "detail": "low"}}]},
            {"role": "assistant", "content": [{"type": "thinking", "thinking": "t"}],
                "citations": [{"start": 0, "end": 1, "text": "p"}],
                "tool_calls": [{"id": "1", "type": "function", "function": {"name": "f", "arguments": "{\"z\":1,\"a\":2}"}}],
                "tool_plan": "p"},
            {"role": "tool", "tool_call_id": "1", "content": [{"type": "document", "document": {"data": {"k": 1}, "id": "d"}}]},
            {"role": "assistant", "content": "done"},
            {"role": "system", "content": "late"},
            {"role": "user", "content": ""},
        ],
        "tools": [{"type": "function", "function": {"name": "f", "description": "d",
            "parameters": {"type": "object", "properties": {"z": {}, "a": {}}}}}],
        "strict_tools": true,
        "tool_choice": "REQUIRED",
        "response_format": {"type": "json_object", "json_schema": {"type": "object"}},
        "max_tokens": 10,
        "thinking": {"type": "enabled", "token_budget": 100},
        "temperature": 2.5, "p": 1.0, "k": 0, "frequency_penalty": 0.5, "presence_penalty": 0.0,
        "seed": 7, "logprobs": true, "stop_sequences": ["a", "b", "c", "d", "e", "f"],
        "documents": ["x", {"data": {"text": "y"}, "id": "2"}],
        "citation_options": {"mode": "FAST"}, "safety_mode": "STRICT", "priority": 3,
        "unheard_of": [1],
        "stream": true,
    });
    let (again, dropped) = written(&read(body.to_string().as_bytes()).unwrap());
    assert_eq!(again.to_string(), body.to_string());
    assert_eq!(dropped, [""; 0]);
    let off = r#"{"model":"m","messages":[{"role":"user","content":"q"}],"tool_choice":"NONE","thinking":{"type":"disabled"},"seed":18446744073709551615,"strict_tools":true}"#;
    let again = written(&read(off.as_bytes()).unwrap()).0;
    assert_eq!(again, serde_json::from_str::<Value>(off).unwrap());
}

/// Goal: what other dialects ask is put as Cohere wants it: calls with results, in order, none
/// without the other.
#[test]
fn a_history_of_another_dialect_is_whole() {
    let image = || media(MediaKind::Image, Source::Url("https://e.x/i.png".into()));
    let mut request = asked(vec![Block::text("q")]);
    request.system = vec![Block::text("s1"), Block::text(""), Block::text("s2")];
    request.turns.extend([
        turn(
            Role::Assistant,
            vec![
                Block::Thinking {
                    text: "secret".into(),
                    opaque: None,
                },
                Block::text("plan"),
                call("1", "{\"a\":1}"),
                call("2", "{\"cut"),
                call("3", ""),
            ],
        ),
        turn(
            Role::User,
            vec![
                result("2", vec![Block::text("boom")], true),
                result("1", vec![Block::text("see"), image()], false),
                result("9", vec![Block::text("orphan")], false),
                Block::text("go on"),
            ],
        ),
        turn(Role::System, vec![Block::text("be brief")]),
    ]);
    let messages = written(&request).0["messages"].take();
    let want = json!([
        {"role": "system", "content": [{"type": "text", "text": "s1"}, {"type": "text", "text": "s2"}]},
        {"role": "user", "content": "q"},
        {"role": "assistant", "tool_calls": [
            {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{\"a\":1}"}},
            {"id": "2", "type": "function", "function": {"name": "f", "arguments": "{\"_raw\":\"{\\\"cut\"}"}},
            {"id": "3", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
            "tool_plan": "plan"},
        {"role": "tool", "tool_call_id": "2", "content": "Error: boom"},
        {"role": "tool", "tool_call_id": "1", "content": "seeThe image is in the next message."},
        {"role": "tool", "tool_call_id": "3", "content": "Error: the tool gave no result."},
        {"role": "user", "content": [
            {"type": "text", "text": "The image that 1 gave:"},
            {"type": "image_url", "image_url": {"url": "https://e.x/i.png"}},
            {"type": "text", "text": "orphan"},
            {"type": "text", "text": "go on"}]},
        {"role": "user", "content": [{"type": "text", "text": "<system>"},
            {"type": "text", "text": "be brief"}, {"type": "text", "text": "</system>"}]},
    ]);
    assert_eq!(messages, want);
}

/// Goal: what only tunes is brought into Cohere's limits or dropped and named.
#[test]
fn what_tunes_is_clamped_or_dropped_and_named() {
    let mut request = asked(vec![Block::text("q")]);
    request.sampling = Sampling {
        temperature: Some(1.7),
        top_p: Some(1.0),
        top_k: Some(9999),
        frequency_penalty: Some(1.5),
        presence_penalty: Some(0.5),
        seed: Some(-1),
        n: Some(1),
        logit_bias: Some(json!({})),
        ..Sampling::default()
    };
    request.parallel = Some(false);
    request.user = Some("u".into());
    request.reasoning = Some(Reasoning {
        effort: Some(Effort::High),
        ..Reasoning::default()
    });
    request.max_tokens = Some(100);
    request.turns[0].blocks = vec![Block::Text {
        text: "q".into(),
        citations: None,
        cache: Some(CacheMark { ttl: None }),
    }];
    let (body, dropped) = written(&request);
    let limited = Abilities {
        output: Some(50),
        ..Abilities::default()
    };
    let short = write(&request, &limited, &mut Notes::default()).unwrap();
    let short: Value = serde_json::from_slice(&short).unwrap();
    assert_eq!(
        (&body["max_tokens"], &short["max_tokens"]),
        (&json!(100), &json!(50))
    );
    assert_eq!(body["temperature"], 1.0);
    assert_eq!(body["p"], 0.99);
    assert_eq!(body["k"], 500);
    assert_eq!(body["frequency_penalty"], 1.0);
    assert_eq!(
        body["thinking"],
        json!({"type": "enabled", "token_budget": 99})
    );
    for absent in ["presence_penalty", "seed", "n", "logit_bias"] {
        assert!(body.get(absent).is_none(), "{absent}");
    }
    let want = [
        "cache_control",
        "logit_bias",
        "seed",
        "presence_penalty",
        "parallel_tool_calls",
        "user",
    ];
    assert_eq!(dropped, want);
}

/// Goal: a choice of tools is kept exactly.
#[test]
fn a_choice_of_tools_is_kept() {
    let mut request = asked(vec![Block::text("q")]);
    request.tools = vec![function("a"), function("b"), function("c")];
    for (choice, tools, want) in [
        (None, 3, Value::Null),
        (Some(Choice::Auto), 3, Value::Null),
        (Some(Choice::Never), 3, "NONE".into()),
        (Some(Choice::Any), 3, "REQUIRED".into()),
        (Some(Choice::Named("b".into())), 1, "REQUIRED".into()),
        (
            Some(Choice::Allowed {
                names: vec!["a".into(), "c".into()],
                must: false,
            }),
            2,
            Value::Null,
        ),
        (
            Some(Choice::Allowed {
                names: vec!["a".into()],
                must: true,
            }),
            1,
            "REQUIRED".into(),
        ),
    ] {
        request.choice = choice;
        let body = written(&request).0;
        assert_eq!(body["tools"].as_array().unwrap().len(), tools);
        assert_eq!(body.get("tool_choice").cloned().unwrap_or_default(), want);
        assert_eq!(body["tools"][0]["function"]["parameters"]["type"], "object");
    }
}

fn with(change: impl FnOnce(&mut Request)) -> Request {
    let mut request = asked(vec![Block::text("q")]);
    change(&mut request);
    request
}

fn schema() -> Format {
    Format::Schema {
        name: None,
        description: None,
        schema: json!({}),
        strict: None,
    }
}

/// Goal: what Cohere cannot be asked is refused, by the client's name for it.
#[test]
fn what_cohere_cannot_be_asked_is_refused() {
    let foreign = Tool {
        kind: ToolKind::Foreign {
            dialect: Dialect::Responses,
            value: json!({"type": "web_search"}),
        },
        cache: None,
    };
    let extra = |weight| Extra {
        field: "store".into(),
        value: true.into(),
        weight,
    };
    for (field, request) in [
        ("n", with(|r| r.sampling.n = Some(2))),
        ("top_logprobs", with(|r| r.sampling.logprobs = Some(3))),
        (
            "logprobs",
            with(|r| (r.sampling.logprobs, r.stream) = (Some(0), true)),
        ),
        ("stop", with(|r| r.sampling.stop = vec!["x".into(); 6])),
        ("tool_choice", with(|r| r.choice = Some(Choice::Any))),
        (
            "response_format",
            with(|r| (r.format, r.tools) = (schema(), vec![function("f")])),
        ),
        (
            "tools[1].type",
            with(|r| r.tools = vec![function("f"), foreign]),
        ),
        ("store", with(|r| r.extras = vec![extra(Weight::Meaning)])),
    ] {
        assert_eq!(unfit(&request, &Abilities::default()), field);
    }
    let tuning = with(|r| r.extras = vec![extra(Weight::Tuning)]);
    assert_eq!(written(&tuning).1, ["store"]);
}

/// Goal: what a model cannot do, and media that Cohere does not take, are refused.
#[test]
fn what_a_model_cannot_do_is_refused() {
    let without = Abilities {
        schema: false,
        tools: false,
        images: false,
        prefill: false,
        forced_tool: false,
        ..Abilities::default()
    };
    let inline = || Source::Inline {
        media_type: "application/pdf".into(),
        data: String::new(),
    };
    let prefill = turn(Role::Assistant, vec![Block::text("a")]);
    for (field, request) in [
        ("response_format", with(|r| r.format = schema())),
        ("tools", with(|r| r.tools = vec![function("f")])),
        ("messages", with(|r| r.turns.push(prefill))),
        ("messages", asked(vec![media(MediaKind::Image, inline())])),
        (
            "messages",
            asked(vec![media(MediaKind::Document, inline())]),
        ),
        ("messages", asked(vec![media(MediaKind::Audio, inline())])),
        ("messages", asked(vec![media(MediaKind::Video, inline())])),
    ] {
        assert_eq!(unfit(&request, &without), field);
    }
    let forced = with(|r| (r.tools, r.choice) = (vec![function("f")], Some(Choice::Any)));
    let can = Abilities {
        tools: true,
        ..without
    };
    assert_eq!(unfit(&forced, &can), "tool_choice");
}
