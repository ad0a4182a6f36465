//! What requests say, and how they are written for what models can do.

use super::{read, write};
use crate::dialect::model::{
    Abilities, BadAsk, Block, Call, Choice, Dialect, Effort, Format, Media, MediaKind, Notes,
    Opaque, Reasoning, Request, Role, Source, Thinking, Tool, ToolKind, ToolResult, Turn, Unfit,
    Weight,
};
use serde_json::{Value, json};

fn read_value(body: &Value) -> Result<Request, BadAsk> {
    read(body.to_string().as_bytes())
}

fn write_value(request: &Request, abilities: &Abilities) -> Result<(Value, Vec<String>), Unfit> {
    let mut notes = Notes::default();
    let body = write(request, abilities, &mut notes)?;
    let dropped = notes.dropped().iter().map(ToString::to_string).collect();
    Ok((serde_json::from_slice(&body).unwrap(), dropped))
}

fn with(field: &str, value: Value) -> Value {
    let mut body = json!({"model": "m", "messages": [{"role": "user", "content": "hi"}]});
    body[field] = value;
    body
}

/// A request that came in another dialect.
fn foreign(turns: Vec<Turn>) -> Request {
    Request {
        model: "m".to_owned(),
        turns,
        origin: Some(Dialect::Anthropic),
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

fn call(id: &str) -> Block {
    Block::Call(Call {
        id: id.to_owned(),
        name: "f".to_owned(),
        arguments: String::new(),
        is_custom: false,
        opaque: None,
    })
}

fn result(id: &str, content: Vec<Block>, is_error: bool) -> Block {
    Block::Result(ToolResult {
        id: id.to_owned(),
        name: None,
        content,
        is_error,
        cache: None,
    })
}

/// Goal: a request that says all that Chat can say comes out as it went in.
#[test]
fn a_request_reads_and_writes_back() {
    let body = json!({
        "model": "m",
        "messages": [
            {"role": "system", "content": "be brief"},
            {"role": "user", "name": "ann", "content": [
                {"type": "text", "text": "see", "cache_control": {"type": "ephemeral", "ttl": "1h"}},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk=", "detail": "low"}},
                {"type": "image_url", "image_url": {"url": "https://x.test/a.png"}},
                {"type": "input_audio", "input_audio": {"data": "aGk=", "format": "wav"}},
                {"type": "file", "file": {"file_data": "data:application/pdf;base64,aGk=", "filename": "a.pdf"}},
                {"type": "file", "file": {"file_id": "file-1"}}]},
            {"role": "assistant", "content": null, "reasoning_content": "hm", "tool_calls": [
                {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{\"b\":1,\"a\":2}"}},
                {"id": "b", "type": "custom", "custom": {"name": "g", "input": "text"}}]},
            {"role": "tool", "tool_call_id": "a", "content": "1"},
            {"role": "tool", "tool_call_id": "b", "content": [
                {"type": "text", "text": "2"}, {"type": "text", "text": "3"}]},
            {"role": "system", "content": "in the middle"},
            {"role": "assistant", "content": "", "refusal": "no", "prefix": true}],
        "max_tokens": 10, "n": 2, "logprobs": true, "top_logprobs": 3, "logit_bias": {"5": -1},
        "temperature": 0.5, "top_p": 0.9, "frequency_penalty": 0.1, "presence_penalty": 0.2,
        "top_k": 4, "seed": -7, "stop": ["a", "b"],
        "tools": [
            {"type": "function", "function": {"name": "f", "description": "d", "strict": true,
                "parameters": {"type": "object", "properties": {"z": {}, "a": {}}}}},
            {"type": "custom", "custom": {"name": "g", "format": {"type": "text"}}},
            {"type": "browser_search"}],
        "tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [
            {"type": "function", "function": {"name": "f"}},
            {"type": "custom", "custom": {"name": "g"}}]}},
        "parallel_tool_calls": false,
        "response_format": {"type": "json_schema", "json_schema": {"name": "s", "strict": true,
            "schema": {"type": "object"}}},
        "reasoning_effort": "xhigh", "user": "u", "metadata": {"k": "v"},
        "service_tier": "flex", "prompt_cache_key": "p", "verbosity": "low",
        "web_search_options": {}, "stream": true,
        "stream_options": {"include_usage": true, "include_obfuscation": false}});
    let request = read_value(&body).unwrap();
    assert!(request.wants_usage && request.stream);
    let (mut written, dropped) = write_value(&request, &Abilities::default()).unwrap();
    let last = &mut written["messages"][6];
    assert_eq!(last["content"], Value::Null); // beside a refusal the same as ""
    last["content"] = json!("");
    assert_eq!(written, body);
    assert_eq!(dropped, [""; 0]);
    let again = |request| write(request, &Abilities::default(), &mut Notes::default());
    assert_eq!(again(&request), again(&request));
}

/// Goal: what breaks the dialect is named by its path.
#[test]
fn what_breaks_the_dialect_is_named() {
    let message = |message: Value| with("messages", json!([message]));
    for (body, field) in [
        (json!([]), "body"),
        (json!({"messages": []}), "model"),
        (json!({"model": "m"}), "messages"),
        (json!({"model": "m", "messages": []}), "messages"),
        (message(json!({"content": "x"})), "messages[0].role"),
        (message(json!({"role": "king"})), "messages[0].role"),
        (message(json!({"role": "user"})), "messages[0].content"),
        (
            message(json!({"role": "user", "content": [{"type": "text", "text": 7}]})),
            "messages[0].content[0].text",
        ),
        (
            message(json!({"role": "user", "content": [{"type": "hologram"}]})),
            "messages[0].content[0].type",
        ),
        (
            message(json!({"role": "user", "content": [{"type": "image_url"}]})),
            "messages[0].content[0]",
        ),
        (
            message(json!({"role": "tool", "content": "x"})),
            "messages[0].tool_call_id",
        ),
        (
            message(json!({"role": "assistant", "tool_calls": [{"id": "a"}]})),
            "messages[0].tool_calls[0].function",
        ),
        (with("temperature", json!("hot")), "temperature"),
        (with("stop", json!([1])), "stop"),
        (with("tool_choice", json!("maybe")), "tool_choice"),
        (
            with("tools", json!([{"type": "function"}])),
            "tools[0].function",
        ),
        (
            with(
                "response_format",
                json!({"type": "json_schema", "json_schema": {}}),
            ),
            "response_format.json_schema.schema",
        ),
    ] {
        assert_eq!(read_value(&body).unwrap_err().field, field, "{body}");
    }
    assert_eq!(read(b"{").unwrap_err().field, "body");
}

/// Goal: older and other ways of saying the same come to the same.
#[test]
#[expect(clippy::too_many_lines, reason = "one list of cases")]
fn other_ways_of_saying_the_same_come_to_the_same() {
    for (field, value, want) in [
        (
            "reasoning_effort",
            json!("low"),
            Reasoning {
                effort: Some(Effort::Low),
                ..Reasoning::default()
            },
        ),
        (
            "reasoning",
            json!({"max_tokens": 2000}),
            Reasoning {
                budget: Some(2000),
                ..Reasoning::default()
            },
        ),
        (
            "reasoning",
            json!({"enabled": true}),
            Reasoning {
                adaptive: true,
                ..Reasoning::default()
            },
        ),
        (
            "reasoning",
            json!({"effort": "high", "exclude": true}),
            Reasoning {
                effort: Some(Effort::High),
                visible: Some(false),
                ..Reasoning::default()
            },
        ),
    ] {
        assert_eq!(
            read_value(&with(field, value)).unwrap().reasoning,
            Some(want)
        );
    }
    for (value, want) in [
        (json!("any"), Choice::Any),
        (json!("none"), Choice::Never),
        (
            json!({"type": "function", "function": {"name": "f"}}),
            Choice::Named("f".to_owned()),
        ),
        (json!({"name": "f"}), Choice::Named("f".to_owned())),
    ] {
        assert_eq!(
            read_value(&with("tool_choice", value)).unwrap().choice,
            Some(want)
        );
    }
    let request = read_value(&json!({"model": "m", "functions": [{"name": "f"}],
        "max_tokens": 1, "max_completion_tokens": 2,
        "messages": [
            {"role": "user", "content": "x"},
            {"role": "assistant", "content": null,
                "function_call": {"name": "f", "arguments": "{}"}},
            {"role": "function", "name": "f", "content": "1"}]}))
    .unwrap();
    assert_eq!(request.max_tokens, Some(2));
    assert_eq!(request.tools.len(), 1);
    let (Block::Call(asked), Block::Result(given)) =
        (&request.turns[1].blocks[0], &request.turns[2].blocks[0])
    else {
        panic!("{:?}", request.turns);
    };
    assert_eq!(asked.id, given.id);
    let vllm = read_value(&with("guided_json", json!({}))).unwrap();
    assert_eq!(vllm.extras[0].weight, Weight::Meaning);
}

/// Goal: what a model cannot do is unfit, and what only tunes is noted.
#[test]
fn what_a_model_cannot_do_is_unfit() {
    let no = Abilities {
        images: false,
        tools: false,
        forced_tool: false,
        schema: false,
        sampling: false,
        several: false,
        logprobs: false,
        thinking: Thinking::Never,
        ..Abilities::default()
    };
    let tool = json!([{"type": "function", "function": {"name": "f"}}]);
    let schema = json!({"type": "json_schema", "json_schema": {"schema": {}}});
    let image = json!([{"role": "user", "content": [
        {"type": "image_url", "image_url": {"url": "https://x.test/a"}}]}]);
    for (field, value, unfit) in [
        ("tools", tool, "tools"),
        ("tool_choice", json!("required"), "tool_choice"),
        ("response_format", schema, "response_format"),
        ("n", json!(2), "n"),
        ("logprobs", json!(true), "logprobs"),
        ("messages", image, "image"),
    ] {
        let request = read_value(&with(field, value)).unwrap();
        assert_eq!(write_value(&request, &no).unwrap_err().field, unfit);
        assert!(write_value(&request, &Abilities::default()).is_ok());
    }
    let mut body = with("temperature", json!(1));
    body["reasoning_effort"] = json!("low");
    let (written, dropped) = write_value(&read_value(&body).unwrap(), &no).unwrap();
    assert_eq!(dropped, ["temperature", "reasoning_effort"]);
    assert!(written.get("temperature").is_none() && written.get("reasoning_effort").is_none());
    let reasoner = Abilities {
        is_reasoner: true,
        output: Some(100),
        ..Abilities::default()
    };
    let mut body = with("max_tokens", json!(200));
    body["messages"] = json!([{"role": "system", "content": "s"}]);
    let (written, _) = write_value(&read_value(&body).unwrap(), &reasoner).unwrap();
    assert_eq!(written["max_completion_tokens"], 100);
    assert_eq!(written["messages"][0]["role"], "developer");
}

/// Goal: results of tools stand directly behind their calls, in messages of their own; what
/// they cannot say comes after; what is missing is made up, and only for other dialects.
#[test]
fn results_stand_behind_their_calls() {
    let image = Block::Media(Media {
        kind: MediaKind::Image,
        source: Source::Url("https://x.test/a.png".to_owned()),
        name: None,
        detail: None,
        cache: None,
    });
    let long = "x".repeat(100);
    let request = foreign(vec![
        turn(Role::User, vec![Block::text("go")]),
        turn(Role::Assistant, vec![call("a"), call(&long), call("c")]),
        turn(
            Role::User,
            vec![
                result("a", vec![Block::text("no such file")], true),
                result(&long, vec![image], false),
                result("nobody", vec![Block::text("lost")], false),
                Block::text("and now?"),
            ],
        ),
    ]);
    let (written, _) = write_value(&request, &Abilities::default()).unwrap();
    let messages = written["messages"].as_array().unwrap();
    let roles: Vec<&str> = messages
        .iter()
        .map(|m| m["role"].as_str().unwrap())
        .collect();
    assert_eq!(
        roles,
        ["user", "assistant", "tool", "tool", "tool", "user", "user"]
    );
    let calls = messages[1]["tool_calls"].as_array().unwrap();
    assert_eq!(calls[0]["function"]["arguments"], "{}");
    assert!(calls[1]["id"].as_str().unwrap().len() <= 64);
    assert_eq!(messages[2]["content"], "Error: no such file");
    assert_eq!(messages[3]["tool_call_id"], calls[1]["id"]);
    assert_eq!(messages[4]["tool_call_id"], "c");
    assert_eq!(
        messages[5]["content"][1]["image_url"]["url"],
        "https://x.test/a.png"
    );
    assert_eq!(messages[6]["content"][0]["text"], "lost");
    assert_eq!(messages[6]["content"][1]["text"], "and now?");
}

/// Goal: what belongs to another dialect's provider goes to nobody else.
#[test]
fn what_is_another_providers_goes_to_nobody() {
    let mut request = foreign(vec![
        turn(Role::User, vec![Block::text("go")]),
        turn(
            Role::Assistant,
            vec![
                Block::Thinking {
                    text: "secret".to_owned(),
                    opaque: Some(Opaque {
                        dialect: Dialect::Anthropic,
                        value: json!("sig"),
                    }),
                },
                Block::Foreign {
                    dialect: Dialect::Anthropic,
                    value: json!({"type": "server_tool_use"}),
                },
                Block::text("a"),
                Block::text("b"),
            ],
        ),
    ]);
    request.sampling.top_k = Some(5);
    request.metadata = Some(json!({}));
    request.format = Format::Json;
    let (written, dropped) = write_value(&request, &Abilities::default()).unwrap();
    let text = written.to_string();
    assert!(
        !text.contains("secret") && !text.contains("server_tool_use"),
        "{text}"
    );
    assert_eq!(
        written["messages"][1]["content"].as_array().map(Vec::len),
        Some(2)
    );
    assert_eq!(dropped, ["top_k", "metadata"]);
    request.tools.push(Tool {
        kind: ToolKind::Foreign {
            dialect: Dialect::Anthropic,
            value: json!({}),
        },
        cache: None,
    });
    let unfit = write_value(&request, &Abilities::default()).unwrap_err();
    assert_eq!(unfit.field, "tools[0].type");
    let own = read_value(&with("web_search_options", json!({}))).unwrap();
    let elsewhere = Request {
        origin: None,
        ..own
    };
    let unfit = write_value(&elsewhere, &Abilities::default()).unwrap_err();
    assert_eq!(unfit.field, "web_search_options");
}
