//! Whether anything is said.

use super::*;

/// Goal: whether anything is said is known of every dialect. Method: plain bodies with an empty
/// text and with one, or a thought, or something that is neither.
#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn what_says_nothing_has_no_content() {
    let anthropic = |block: &str| format!(r#"{{"content":[{block}],"stop_reason":"end_turn"}}"#);
    let bedrock = |block: &str| {
        format!(r#"{{"output":{{"message":{{"content":[{block}]}}}},"stopReason":"end_turn"}}"#)
    };
    let cohere = |said: &str| format!(r#"{{"message":{{{said}}},"finish_reason":"COMPLETE"}}"#);
    let item = |part: &str| {
        let item = format!(r#"{{"type":"message","content":[{part}]}}"#);
        responses("completed", "null", &item)
    };
    let other = responses("completed", "null", r#"{"type":"reasoning","summary":[]}"#);
    for (dialect, body, has_content) in [
        (
            Chat,
            chat("stop", r#""role":"assistant","content":"""#),
            false,
        ),
        (
            Chat,
            chat("stop", r#""content":null,"tool_calls":[],"audio":null"#),
            false,
        ),
        (Chat, chat("stop", r#""content":" ""#), true),
        (
            Chat,
            chat("stop", r#""content":"","reasoning_content":"hm""#),
            true,
        ),
        (
            Chat,
            chat("tool_calls", r#""content":null,"tool_calls":[{"id":"a"}]"#),
            true,
        ),
        (
            Chat,
            r#"{"choices":[{"text":"a","finish_reason":"stop"}]}"#.to_owned(),
            true,
        ),
        (Anthropic, anthropic(""), false),
        (Anthropic, anthropic(r#"{"type":"text","text":""}"#), false),
        (Anthropic, anthropic(r#"{"type":"text","text":"a"}"#), true),
        (
            Anthropic,
            anthropic(r#"{"type":"redacted_thinking","data":"x"}"#),
            true,
        ),
        (Gemini, gemini("STOP", ""), false),
        (Gemini, gemini("STOP", r#"{"text":""}"#), false),
        (Gemini, gemini("STOP", r#"{"text":"a"}"#), true),
        (
            Gemini,
            gemini("STOP", r#"{"inlineData":{"data":"x"}}"#),
            true,
        ),
        (Cohere, cohere(r#""content":[]"#), false),
        (
            Cohere,
            cohere(r#""content":[{"type":"text","text":""}]"#),
            false,
        ),
        (
            Cohere,
            cohere(r#""content":[{"type":"text","text":"a"}]"#),
            true,
        ),
        (Responses, responses("completed", "null", ""), false),
        (
            Responses,
            item(r#"{"type":"output_text","text":""}"#),
            false,
        ),
        (
            Responses,
            item(r#"{"type":"output_text","text":"a"}"#),
            true,
        ),
        (Responses, other, true),
        (Bedrock, bedrock(""), false),
        (Bedrock, bedrock(r#"{"text":""}"#), false),
        (Bedrock, bedrock(r#"{"text":"a"}"#), true),
    ] {
        let worth = of_plain(dialect, body.as_bytes());
        assert_eq!(
            (worth.complete, worth.has_content),
            (true, has_content),
            "{body}"
        );
    }
}

/// Goal: the same of streams. Method: some whose first events say nothing, and that go on so, or
/// not; those of other dialects with their texts taken out.
#[test]
fn a_stream_that_says_nothing_has_no_content() {
    let (none, some) = (delta(""), delta("a"));
    for (events, has_content) in [
        (vec![&*none; 4], false),
        (vec![&*none, &*none, &*none, &*some, &*some], true),
        (vec![&*some, &*none], true),
    ] {
        let body = lines(&[&events[..], &[STOPPED, "[DONE]"]].concat());
        let worth = of_stream(Chat, Wire::Lines, &body);
        assert_eq!(
            (worth.complete, worth.has_content),
            (true, has_content),
            "{events:?}"
        );
    }
    for (dialect, wire, body, ..) in streams().into_iter().filter(|it| !it.4 && it.0 != Chat) {
        let mut said = String::from_utf8(body).unwrap();
        for text in ["\"text\":\"a\"", "\"text\":\"b\""] {
            said = said.replace(text, "\"text\":\"\"");
        }
        if let Some((before, rest)) = said.split_once("event: response.output_text") {
            said = before.to_owned() + rest.split_once("\n\n").unwrap().1;
        }
        let worth = of_stream(dialect, wire, said.as_bytes());
        assert_eq!((worth.complete, worth.has_content), (true, false), "{said}");
    }
}
