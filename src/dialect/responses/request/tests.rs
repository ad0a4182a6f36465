//! Requests of our own: what recordings do not have.

use super::{read, write};
use crate::dialect::model::{
    Abilities, BadAsk, Block, CacheMark, Call, Choice, Dialect, Effort, Extra, Format, Media,
    MediaKind, Notes, Opaque, Request, Role, Source, Thinking, Tool, ToolKind, ToolResult, Turn,
    Unfit, Weight,
};
use serde_json::{Value, json};

fn of(body: &Value) -> Request {
    read(body.to_string().as_bytes()).unwrap()
}

fn bad(body: &Value) -> String {
    let BadAsk { field, wanted } = read(body.to_string().as_bytes()).unwrap_err();
    format!("{field} {wanted}")
}

/// Written for a model that can do everything, with the names of what was left out.
fn to(request: &Request) -> Result<(Value, Vec<String>), Unfit> {
    to_able(request, &Abilities::default())
}

fn to_able(request: &Request, abilities: &Abilities) -> Result<(Value, Vec<String>), Unfit> {
    let mut notes = Notes::default();
    let body = write(request, abilities, &mut notes)?;
    let dropped = notes.dropped().iter().map(ToString::to_string).collect();
    Ok((serde_json::from_slice(&body).unwrap(), dropped))
}

fn turn(role: Role, blocks: Vec<Block>) -> Turn {
    Turn {
        role,
        name: None,
        blocks,
    }
}

/// A request of a client of another dialect.
fn foreign() -> Request {
    Request {
        model: "m".to_owned(),
        turns: vec![turn(Role::User, vec![Block::text("Hi")])],
        origin: Some(Dialect::Anthropic),
        ..Request::default()
    }
}

fn function(name: &str) -> Tool {
    Tool {
        kind: ToolKind::Function {
            name: name.to_owned(),
            description: None,
            schema: Some(json!({"type": "object", "properties": {"b": {}, "a": {}}})),
            strict: None,
        },
        cache: None,
    }
}

fn call(id: &str) -> Call {
    Call {
        id: id.to_owned(),
        name: "f".to_owned(),
        arguments: String::new(),
        is_custom: false,
        opaque: None,
    }
}

/// Goal: everything that a request can say comes back as it was.
#[test]
fn a_full_request_comes_back() {
    let body = json!({
        "model": "m", "instructions": "be brief", "stream": true, "max_output_tokens": 99,
        "input": [
            {"role": "user", "content": [
                {"type": "input_text", "text": "a", "prompt_cache_breakpoint":
                    {"mode": "explicit", "ttl": "12h"}},
                {"type": "input_image", "image_url": "https://x/y.png", "detail": "low"},
                {"type": "input_image", "file_id": "file-1"},
                {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "mp3"}},
                {"type": "input_file", "filename": "a.pdf", "file_data":
                    "data:application/pdf;base64,AAAA"}]},
            {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "g"},
            {"role": "assistant", "content": "b"},
            {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"},
            {"type": "custom_tool_call", "call_id": "c2", "name": "sql", "input": "SELECT"},
            {"type": "function_call_output", "call_id": "c1", "output": [
                {"type": "input_text", "text": "x"},
                {"type": "input_image", "image_url": "data:image/png;base64,AAAA"}]},
            {"type": "custom_tool_call_output", "call_id": "c2", "output": "rows"},
            {"type": "web_search_call", "id": "ws_1", "status": "completed"},
            {"role": "system", "content": "later"},
        ],
        "tools": [
            {"type": "function", "name": "f", "parameters": {"type": "object"}, "strict": true,
                "description": "d", "defer_loading": true},
            {"type": "custom", "name": "sql", "format": {"type": "text"}},
            {"type": "web_search", "search_context_size": "low"}],
        "tool_choice": {"type": "allowed_tools", "mode": "required", "tools": [
            {"type": "function", "name": "f"}, {"type": "custom", "name": "sql"}]},
        "parallel_tool_calls": false,
        "text": {"format": {"type": "json_schema", "name": "n", "schema": {"z": 1, "a": 2},
            "strict": true}, "verbosity": "low"},
        "reasoning": {"effort": "xhigh", "summary": "detailed"},
        "include": ["message.output_text.logprobs", "reasoning.encrypted_content"],
        "top_logprobs": 3, "temperature": 0.5, "top_p": 0.25, "truncation": "auto",
        "previous_response_id": "resp_0", "store": true, "metadata": {"k": "v"}, "user": "u",
        "prompt_cache_key": "p", "service_tier": "flex", "max_tool_calls": 4,
    });
    let request = of(&body);
    let (again, dropped) = to(&request).unwrap();
    assert_eq!(dropped, [] as [&str; 0]);
    assert_eq!(again, body);
    assert_eq!(
        request.reasoning.as_ref().unwrap().effort,
        Some(Effort::XHigh)
    );
    assert_eq!(request.sampling.logprobs, Some(3));
    // Key order of schemas and arguments survives.
    assert!(again.to_string().contains(r#""schema":{"z":1,"a":2}"#));
}

/// Goal: what only Responses can do is refused for other dialects, by name; what tunes is not.
#[test]
fn extras_weigh_what_they_mean() {
    for (field, value, weight) in [
        ("previous_response_id", json!("resp_1"), Weight::Meaning),
        ("conversation", json!("conv_1"), Weight::Meaning),
        ("prompt", json!({"id": "pmpt_1"}), Weight::Meaning),
        ("background", json!(true), Weight::Meaning),
        ("store", json!(false), Weight::Tuning),
        ("truncation", json!("auto"), Weight::Tuning),
        ("unheard_of", json!(1), Weight::Tuning),
    ] {
        let request = of(&json!({"model": "m", "input": "x", field: value}));
        let field = field.to_owned();
        assert_eq!(
            request.extras,
            [Extra {
                field,
                value,
                weight
            }]
        );
    }
    for item in [
        json!({"type": "item_reference", "id": "msg_1"}),
        json!({"type": "compaction", "encrypted_content": "g"}),
        json!({"id": "msg_1"}),
    ] {
        let request = of(&json!({"model": "m", "input": [item]}));
        let [extra] = request.extras.as_slice() else {
            panic!("{item}");
        };
        assert_eq!(
            (extra.field.as_str(), extra.weight),
            ("input[0]", Weight::Meaning)
        );
        assert_eq!(to(&request).unwrap().0["input"], json!([item]));
    }
    let hosted = of(&json!({"model": "m", "input": "x", "tool_choice": {"type": "web_search"}}));
    assert_eq!(hosted.extras[0].weight, Weight::Meaning);
    let mut other = foreign();
    other.extras = hosted.extras;
    assert_eq!(to(&other).unwrap_err().field, "tool_choice");
}

/// Goal: a broken request is refused with the field's path.
#[test]
fn a_broken_request_names_its_field() {
    for (body, want) in [
        (json!([]), "body must be an object"),
        (
            json!({"model": "m"}),
            "input must be a string or an array of items",
        ),
        (json!({"model": 1, "input": "x"}), "model must be a string"),
        (json!({"input": [1]}), "input[0] must be an object"),
        (
            json!({"input": [{}]}),
            "input[0].type must be the kind of the item",
        ),
        (
            json!({"input": [{"role": "user", "content": [{"type": "input_text"}]}]}),
            "input[0].content[0].text must be a string",
        ),
        (
            json!({"input": [{"type": "function_call", "call_id": "c", "name": "f"}]}),
            "input[0].arguments must be a string",
        ),
        (
            json!({"input": "x", "tools": [{"type": "function"}]}),
            "tools[0].name must be a string",
        ),
        (
            json!({"input": "x", "text": {"format": {"type": "json_schema"}}}),
            "text.format.schema must be an object",
        ),
        (
            json!({"input": "x", "reasoning": {"effort": "huge"}}),
            "reasoning.effort must be none, minimal, low, medium, high, xhigh or max",
        ),
    ] {
        assert_eq!(bad(&body), want);
    }
    assert_eq!(read(b"{").unwrap_err().field, "body");
}

/// Goal: items of one side are one turn, results of tools one turn, nothing changes its order.
#[test]
fn items_become_turns() {
    let request = of(&json!({"model": "m", "input": [
        {"role": "developer", "content": "d"},
        {"role": "user", "content": "a"},
        {"role": "user", "content": "b"},
        {"type": "reasoning", "id": "rs_1", "summary": []},
        {"role": "assistant", "content": "c"},
        {"type": "function_call", "call_id": "1", "name": "f", "arguments": "{}"},
        {"type": "function_call", "call_id": "2", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "1", "output": "x"},
        {"type": "function_call_output", "call_id": "2", "output": "y"},
        {"role": "user", "content": "e"},
        {"role": "assistant", "content": "f"},
        {"role": "assistant", "content": "g"},
    ]}));
    assert_eq!(request.system, [Block::text("d")]);
    let sizes: Vec<(Role, usize)> = request
        .turns
        .iter()
        .map(|turn| (turn.role, turn.blocks.len()))
        .collect();
    let want = [
        (Role::User, 1),
        (Role::User, 1),
        (Role::Assistant, 4),
        (Role::User, 2),
        (Role::User, 1),
        (Role::Assistant, 1),
        (Role::Assistant, 1),
    ];
    assert_eq!(sizes, want);
}

/// Goal: state of other providers is unpacked on its way home, and never goes elsewhere.
#[test]
fn state_goes_home_and_nowhere_else() {
    let request = of(&json!({"model": "m", "input": [
        {"role": "user", "content": "a"},
        {"type": "reasoning", "summary": [{"type": "summary_text", "text": "hm"}],
            "encrypted_content": "shardgate/anthropic/\"sig\""},
        {"type": "function_call", "id": "fc_1", "call_id": "1", "name": "f", "arguments": "{}"},
        {"type": "reasoning", "summary": [], "encrypted_content": "shardgate/gemini/call/\"s2\""},
    ]}));
    let opaque = |dialect, value: &str| {
        Some(Opaque {
            dialect,
            value: json!(value),
        })
    };
    let [
        Block::Thinking {
            text,
            opaque: first,
        },
        Block::Call(call),
    ] = request.turns[1].blocks.as_slice()
    else {
        panic!("{:?}", request.turns[1]);
    };
    assert_eq!(
        (text.as_str(), first),
        ("hm", &opaque(Dialect::Anthropic, "sig"))
    );
    assert_eq!(call.opaque, opaque(Dialect::Gemini, "s2"));
    let (body, _) = to(&request).unwrap();
    let text = body.to_string();
    assert!(
        !text.contains("shardgate") && !text.contains("hm"),
        "{text}"
    );
}

/// Goal: what a client of another dialect leaves unsaid means here what it means there.
#[test]
fn defaults_of_others_hold_here() {
    let mut request = foreign();
    request.system = vec![Block::text("a"), Block::text("b")];
    request.tools = vec![function("f")];
    request.choice = Some(Choice::Named("f".to_owned()));
    request.max_tokens = Some(3);
    request.turns.push(turn(
        Role::Assistant,
        vec![
            Block::Thinking {
                text: "secret".to_owned(),
                opaque: None,
            },
            Block::Call(call("c")),
        ],
    ));
    request.turns.push(turn(
        Role::User,
        vec![
            Block::Result(ToolResult {
                id: "c".to_owned(),
                name: None,
                content: vec![Block::text("boom")],
                is_error: true,
                cache: None,
            }),
            Block::text("go on"),
        ],
    ));
    let (body, _) = to(&request).unwrap();
    assert_eq!(body["store"], false);
    assert_eq!(body["tools"][0]["strict"], false);
    assert_eq!(body["max_output_tokens"], 16);
    assert_eq!(
        body["tool_choice"],
        json!({"type": "function", "name": "f"})
    );
    assert_eq!(
        body["input"],
        json!([
            {"role": "system", "content": [
                {"type": "input_text", "text": "a"}, {"type": "input_text", "text": "b"}]},
            {"role": "user", "content": "Hi"},
            {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c", "output": "Error: boom"},
            {"role": "user", "content": "go on"},
        ])
    );
}

/// Goal: what a model or the API cannot do is refused by name.
#[test]
fn what_cannot_be_said_is_refused() {
    for (change, field) in refused() {
        let (mut request, mut abilities) = (foreign(), Abilities::default());
        change(&mut request, &mut abilities);
        assert_eq!(to_able(&request, &abilities).unwrap_err().field, field);
    }
}

type Change = fn(&mut Request, &mut Abilities);

/// Changes that make a request unfit, and the field that is named.
fn refused() -> [(Change, &'static str); 11] {
    [
        (
            |r, _| (r.sampling.logprobs, r.stream) = (Some(0), true),
            "logprobs",
        ),
        (
            |r, a| {
                a.prefill = false;
                r.turns.push(turn(Role::Assistant, vec![Block::text("{")]));
            },
            "messages",
        ),
        (|r, _| r.sampling.stop.push("x".to_owned()), "stop"),
        (|r, _| r.sampling.n = Some(2), "n"),
        (
            |r, a| (r.sampling.logprobs, a.logprobs) = (Some(0), false),
            "logprobs",
        ),
        (
            |r, a| (r.tools, a.tools) = (vec![function("f")], false),
            "tools",
        ),
        (|r, _| r.tools = vec![function("a.b")], "tools[0].name"),
        (
            |r, a| {
                r.tools = vec![function("f")];
                (r.choice, a.forced_tool) = (Some(Choice::Any), false);
            },
            "tool_choice",
        ),
        (
            |r, a| {
                let schema = json!({});
                let (name, description, strict) = (None, None, None);
                r.format = Format::Schema {
                    name,
                    description,
                    schema,
                    strict,
                };
                a.schema = false;
            },
            "response_format",
        ),
        (
            |r, a| {
                a.images = false;
                r.turns[0]
                    .blocks
                    .push(image(Source::Url("https://x".to_owned())));
            },
            "image",
        ),
        (
            |r, _| {
                let (dialect, id) = (Dialect::Gemini, "files/1".to_owned());
                r.turns[0].blocks.push(image(Source::File { dialect, id }));
            },
            "image",
        ),
    ]
}

/// Goal: what only tunes is left out and named.
#[test]
fn what_only_tunes_is_named() {
    let mut request = foreign();
    (request.sampling.seed, request.sampling.top_k) = (Some(1), Some(2));
    request.sampling.temperature = Some(1.0);
    request.reasoning = Some(crate::dialect::model::Reasoning {
        budget: Some(2000),
        ..Default::default()
    });
    let mark = Some(CacheMark { ttl: None });
    request.turns[0].blocks[0] = Block::Text {
        text: "Hi".to_owned(),
        citations: None,
        cache: mark,
    };
    let (body, dropped) = to(&request).unwrap();
    assert_eq!(dropped, ["cache_control", "top_k", "seed"]);
    assert_eq!(body["reasoning"], json!({"effort": "medium"}));
    let abilities = Abilities {
        sampling: false,
        thinking: Thinking::Never,
        ..Abilities::default()
    };
    let (_, dropped) = to_able(&request, &abilities).unwrap();
    assert_eq!(
        dropped,
        ["cache_control", "temperature", "top_k", "seed", "reasoning"]
    );
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

/// Goal: a name of a call that is too long becomes the same shorter one in call and result.
#[test]
fn long_names_of_calls_are_shortened_alike() {
    let long = "x".repeat(500);
    let mut request = foreign();
    request
        .turns
        .push(turn(Role::Assistant, vec![Block::Call(call(&long))]));
    request.turns.push(turn(
        Role::User,
        vec![Block::Result(ToolResult {
            id: long,
            name: None,
            content: Vec::new(),
            is_error: false,
            cache: None,
        })],
    ));
    let (body, _) = to(&request).unwrap();
    let id = body["input"][1]["call_id"].as_str().unwrap();
    assert!(id.len() <= 64);
    assert_eq!(body["input"][2]["call_id"], id);
    assert_eq!(body["input"][2]["output"], "");
}
