//! What goes upstream for an answer that is gone on with.

use super::*;
use crate::dialect::model::Notes;
use crate::dialect::{abilities, speak};
use serde_json::{Value, json};

/// What goes upstream for an answer that goes on behind `said`.
fn sent(route: Route, body: &Value, to: Dialect, said: &str, way: Way) -> Value {
    let read = speak::ask(route, body.to_string().as_bytes(), "m", true);
    let mut request = read.unwrap();
    assert!(may_go_on(route, &request));
    let origin = request.clone();
    let before = go_on(&mut request, said, way);
    let can = abilities::of("m");
    let mut written = speak::put_ask(to, &request, &can, &mut Notes::default()).unwrap();
    take_back(&mut request, before);
    assert_eq!(request, origin, "it is what it was");
    finish(to, way, &mut written);
    serde_json::from_slice(&written).unwrap()
}

fn chat(more: &Value) -> Value {
    let mut body = json!({"model": "m", "messages": [{"role": "user", "content": "Tell."}]});
    let fields = body.as_object_mut().unwrap();
    fields.extend(more.as_object().unwrap().clone());
    body
}

/// Goal: each dialect is asked in the form in which its models go on; white space at the end,
/// which is refused there, is left out.
#[test]
fn each_dialect_is_asked_in_its_own_form() {
    let (none, said) = (json!({}), "Once upon\n ");
    let body = sent(
        Route::Chat,
        &chat(&none),
        Dialect::Anthropic,
        said,
        Way::Prefill,
    );
    let last = &body["messages"][1];
    assert_eq!(
        (&last["role"], last["content"].to_string()),
        (&json!("assistant"), {
            json!([{"type": "text", "text": "Once upon"}]).to_string()
        })
    );
    let body = sent(
        Route::Chat,
        &chat(&none),
        Dialect::Gemini,
        said,
        Way::Prefill,
    );
    assert_eq!(
        body["contents"][1],
        json!({"role": "model", "parts": [{"text": "Once upon"}]})
    );
    let body = sent(
        Route::Chat,
        &chat(&none),
        Dialect::Bedrock,
        said,
        Way::Prefill,
    );
    let last = &body["messages"][1];
    assert_eq!(
        last,
        &json!({"role": "assistant", "content": [{"text": "Once upon"}]})
    );
    let body = sent(Route::Chat, &chat(&none), Dialect::Chat, said, Way::Prefill);
    assert_eq!(
        body["messages"][1],
        json!({"role": "assistant", "content": "Once upon"})
    );
    assert_eq!(body["continue_final_message"], true);
    assert_eq!(body["add_generation_prompt"], false);
    for dialect in [Dialect::Chat, Dialect::Responses, Dialect::Cohere] {
        let body = sent(Route::Chat, &chat(&none), dialect, said, Way::Instruction);
        let turns = body.get("messages").or(body.get("input")).unwrap();
        let turns = turns.as_array().unwrap();
        assert_eq!(turns.len(), 3, "{turns:?}");
        assert_eq!(turns[2]["role"], "user");
        assert!(turns[1].to_string().contains("Once upon\""), "{turns:?}");
        assert!(turns[2].to_string().contains(r"\nOnce upon"), "{turns:?}");
        assert!(body.get("continue_final_message").is_none());
    }
}

/// Goal: an answer that the client has begun itself is one with what was said; white space alone
/// is nothing to go on from.
#[test]
fn what_the_client_began_comes_first() {
    let begun = chat(&json!({"messages": [
        {"role": "user", "content": "Tell."}, {"role": "assistant", "content": "Once"}]}));
    for way in [Way::Prefill, Way::Instruction] {
        let body = sent(Route::Chat, &begun, Dialect::Anthropic, " upon ", way);
        let text = &body["messages"][1]["content"][0]["text"];
        assert_eq!(text, "Once upon", "{body}");
    }
    let body = sent(
        Route::Chat,
        &chat(&json!({})),
        Dialect::Anthropic,
        " \n",
        Way::Prefill,
    );
    assert_eq!(body["messages"].as_array().unwrap().len(), 1);
}

/// Goal: what was said counts for the limit; who goes on from a beginning does not think first.
#[test]
fn limits_and_thinking_are_adapted() {
    let said = "x".repeat(440); // 100 tokens
    let limit = |max: u64, way| {
        let body = chat(&json!({"max_tokens": max}));
        let body = sent(Route::Chat, &body, Dialect::Anthropic, &said, way);
        body["max_tokens"].as_u64().unwrap()
    };
    assert_eq!(
        (limit(1000, Way::Prefill), limit(1000, Way::Instruction)),
        (900, 900)
    );
    assert_eq!(
        (limit(110, Way::Prefill), limit(5, Way::Prefill)),
        (TOKENS_MIN, 5)
    );
    let thinks = json!({"model": "m", "max_tokens": 4000, "stream": true,
        "thinking": {"type": "enabled", "budget_tokens": 3990},
        "messages": [{"role": "user", "content": "Tell."}]});
    let body = sent(
        Route::Messages,
        &thinks,
        Dialect::Anthropic,
        &said,
        Way::Prefill,
    );
    assert_eq!(body["thinking"]["type"], "disabled");
    assert_eq!(body["max_tokens"], 3900);
    let body = sent(
        Route::Messages,
        &thinks,
        Dialect::Anthropic,
        &said,
        Way::Instruction,
    );
    assert_eq!(body["thinking"]["budget_tokens"], 3990);
    assert_eq!(body["max_tokens"], 4000, "thinking needs its room again");
}

/// Goal: which models are given the beginning of their answer, and which are told to go on.
#[test]
fn models_go_on_in_the_way_that_they_know() {
    for (dialect, model, told, want) in [
        (Dialect::Anthropic, "claude-sonnet-4-5", None, Way::Prefill),
        (
            Dialect::Anthropic,
            "claude-opus-4-6",
            None,
            Way::Instruction,
        ),
        (
            Dialect::Anthropic,
            "claude-sonnet-5",
            None,
            Way::Instruction,
        ),
        (
            Dialect::Bedrock,
            "us.anthropic.claude-haiku-4-5-20251001-v1:0",
            None,
            Way::Prefill,
        ),
        (
            Dialect::Bedrock,
            "anthropic.claude-opus-4-7",
            None,
            Way::Instruction,
        ),
        (Dialect::Gemini, "gemini-2.5-pro", None, Way::Prefill),
        (Dialect::Chat, "gpt-4o", None, Way::Instruction),
        (Dialect::Chat, "my-llama", None, Way::Instruction),
        (Dialect::Chat, "my-llama", Some(true), Way::Prefill),
        (Dialect::Responses, "gpt-5", Some(true), Way::Instruction),
        (Dialect::Cohere, "command-a", None, Way::Instruction),
    ] {
        let mut can = abilities::of(model);
        can.prefill = told.unwrap_or(can.prefill);
        assert_eq!(way(dialect, &can, told), want, "{model}");
    }
}

/// Goal: what must be whole, or what another dialect would answer otherwise, is not gone on with.
#[test]
fn only_text_is_gone_on_with() {
    for (more, want) in [
        (
            json!({"temperature": 0.5, "user": "u", "store": false}),
            true,
        ),
        (
            json!({"tools": [{"type": "function", "function": {"name": "f"}}]}),
            true,
        ),
        (json!({"n": 1}), true),
        (json!({"n": 2}), false),
        (json!({"logprobs": true}), false),
        (json!({"response_format": {"type": "json_object"}}), false),
        (
            json!({"response_format": {"type": "json_schema", "json_schema": {"name": "s", "schema": {}}}}),
            false,
        ),
        (json!({"guided_regex": "[a-z]+"}), false),
        (json!({"web_search_options": {}}), false),
    ] {
        let body = chat(&more).to_string();
        let request = speak::ask(Route::Chat, body.as_bytes(), "m", true).unwrap();
        assert_eq!(may_go_on(Route::Chat, &request), want, "{more}");
        assert!(!may_go_on(Route::Completions, &request));
    }
}

/// Goal: the words that a model is to repeat are whole ones, where there are any.
#[test]
fn an_anchor_is_whole_words() {
    let long = "x".repeat(300);
    assert_eq!(anchor(&long).len(), ANCHOR_CHARS);
    assert_eq!(anchor("Hello wor"), "Hello wor");
    let text = format!("{long} and so it goes");
    assert_eq!(anchor(&text), "and so it goes");
    assert_eq!(anchor(&"漢".repeat(99)).chars().count(), ANCHOR_CHARS);
}
