//! Requests of this dialect, read and written.

use super::requests::written;
use crate::dialect::bedrock::request;
use crate::dialect::model::{Abilities, Choice, Effort, Weight};
use serde_json::{Value, json};

/// All that Converse can say.
fn full() -> Value {
    json!({
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
    })
}

/// Goal: all that Converse can say is read, written, and the same again.
#[test]
fn a_full_request_comes_back() {
    let full = full();
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
