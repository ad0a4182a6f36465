//! Requests of other dialects, written.

use super::call;
use crate::dialect::bedrock::{block, request};
use crate::dialect::model::{
    Abilities, Block, CacheMark, Choice, Dialect, Effort, Extra, Format, Media, MediaKind, Notes,
    Opaque, Reasoning, Request, Role, Sampling, Source, Thinking, Tool, ToolKind, ToolResult, Turn,
    Unfit, Weight,
};
use serde_json::{Value, json};

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
pub(super) fn written(
    request: &Request,
    abilities: &Abilities,
) -> Result<(Value, Vec<String>), Unfit> {
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
    let id = block::wire_id("id with spaces");
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

/// What is written of a wish to think: `thinking`, `effort`, and what was left out.
fn ask(
    thinking: Thinking,
    effort: Effort,
    max: Option<u64>,
    forced: bool,
) -> Result<(Value, Value, String), Unfit> {
    let mut request = chat(vec![user("q")]);
    request.reasoning = Some(Reasoning {
        effort: Some(effort),
        ..Reasoning::default()
    });
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
    let (value, dropped) = written(&request, &abilities)?;
    let thinking = value["additionalModelRequestFields"]["thinking"].clone();
    Ok((
        thinking,
        value["outputConfig"]["effort"].clone(),
        dropped.join(" "),
    ))
}

/// Goal: how much to think is said as the model takes it, and forced calls go before.
#[test]
fn thinking_is_asked_as_the_model_takes_it() {
    use Effort::{High, Low, Max, Minimal};
    use Thinking::{Budget, Never};
    let (none, low) = (Value::Null, json!("low"));
    let adaptive = json!({"type": "adaptive", "display": "summarized"});
    let disabled = json!({"type": "disabled"});
    let budget = |tokens: u64| json!({"type": "enabled", "budget_tokens": tokens});
    let rest = Thinking::Adaptive { can_rest: true };
    let always = Thinking::Adaptive { can_rest: false };
    for (model, effort, max, forced, thinking, said, dropped) in [
        (
            Budget,
            Low,
            Some(3000),
            false,
            &budget(2999),
            &none,
            "temperature",
        ),
        (
            Budget,
            High,
            None,
            false,
            &budget(16_384),
            &none,
            "temperature",
        ),
        (Budget, High, Some(1000), false, &none, &none, "reasoning"),
        (Budget, High, None, true, &none, &none, "reasoning"),
        (Budget, Effort::None, None, false, &none, &none, ""),
        (Thinking::Effort, Minimal, None, false, &none, &low, ""),
        (Never, Low, None, false, &none, &none, "reasoning"),
        (rest, Max, None, false, &adaptive, &json!("max"), ""),
        (rest, Effort::None, None, false, &disabled, &none, ""),
        (rest, Low, None, true, &disabled, &none, "reasoning"),
        (always, Effort::None, None, false, &adaptive, &low, ""),
    ] {
        let want = (thinking.clone(), said.clone(), dropped.to_owned());
        assert_eq!(
            ask(model, effort, max, forced),
            Ok(want),
            "{model:?} {effort:?} {forced}"
        );
    }
    assert_eq!(
        ask(always, Low, None, true).unwrap_err().field,
        "tool_choice"
    );
}

fn media(kind: MediaKind, source: Source, name: Option<&str>) -> Block {
    Block::Media(Media {
        kind,
        source,
        name: name.map(str::to_owned),
        detail: None,
        cache: None,
    })
}

fn inline(media_type: &str) -> Source {
    Source::Inline {
        media_type: media_type.into(),
        data: "AAAA".into(),
    }
}

/// Goal: an answer that goes on from another provider's calls is made without thinking, since
/// a model with a budget wants to see the thoughts before them.
#[test]
fn going_on_from_calls_of_others_goes_without_thinking() {
    let ask = |opaque: Dialect| {
        let thoughts = Block::Thinking {
            text: "hm".into(),
            opaque: Some(Opaque {
                dialect: opaque,
                value: json!("sig"),
            }),
        };
        let mut request = chat(vec![
            user("q"),
            turn(Role::Assistant, vec![thoughts, call("a", "f", "{}")]),
            turn(Role::User, vec![result("a", "1")]),
        ]);
        request.tools = vec![tool("f")];
        request.reasoning = Some(Reasoning {
            budget: Some(2000),
            ..Reasoning::default()
        });
        let abilities = Abilities {
            thinking: Thinking::Budget,
            ..Abilities::default()
        };
        let (value, dropped) = written(&request, &abilities).unwrap();
        (
            value["additionalModelRequestFields"]["thinking"].is_object(),
            dropped,
        )
    };
    assert_eq!(ask(Dialect::Bedrock), (true, vec![]));
    assert_eq!(
        ask(Dialect::Anthropic),
        (false, vec!["reasoning".to_owned()])
    );
}

/// Goal: media goes as the provider takes it; opaque state of others stays out.
#[test]
fn media_goes_and_foreign_state_stays() {
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
}

/// Goal: media that the provider cannot have is refused.
#[test]
fn media_that_cannot_go_is_refused() {
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
        cache: Some(CacheMark { ttl: None }),
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
