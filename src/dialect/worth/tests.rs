//! Bodies of every dialect, made up one by one, and streams that are cut everywhere.

mod said;

use super::*;
use crate::base::bufpool::BufPool;
use crate::base::bytes::TxBuf;
use crate::wire::eventstream::{put_event, put_exception};
use Dialect::{Anthropic, Bedrock, Chat, Cohere, Gemini, Responses};
use Why::{Context, Filtered, Length, Other, Refusal, Stop, Tool};

/// `stop`, and a letter each: complete, calls, error; how many choices.
fn short(worth: Worth) -> (Option<Why>, String, u32) {
    let flags = [
        (worth.complete, 'w'),
        (worth.has_calls, 'c'),
        (worth.has_error, 'e'),
    ];
    let flags = flags.iter().filter(|flag| flag.0).map(|flag| flag.1);
    (worth.stop, flags.collect(), worth.choices)
}

/// A choice of Chat with this reason and these members of its message.
fn chat(reason: &str, said: &str) -> String {
    format!(r#"{{"choices":[{{"index":0,"message":{{{said}}},"finish_reason":"{reason}"}}]}}"#)
}

fn gemini(reason: &str, part: &str) -> String {
    format!(r#"{{"candidates":[{{"content":{{"parts":[{part}]}},"finishReason":"{reason}"}}]}}"#)
}

fn responses(status: &str, details: &str, item: &str) -> String {
    format!(
        r#"{{"status":"{status}","error":null,"incomplete_details":{details},"output":[{item}]}}"#
    )
}

/// Goal: plain bodies of every dialect, one by one.
#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn plain_bodies_say_why_they_ended() {
    let anthropic = |reason: &str, block: &str| {
        format!(r#"{{"type":"message","content":[{block}],"stop_reason":"{reason}"}}"#)
    };
    let bedrock = |reason: &str, block: &str| {
        format!(r#"{{"output":{{"message":{{"content":[{block}]}}}},"stopReason":"{reason}"}}"#)
    };
    let cohere = |reason: &str, said: &str| {
        format!(r#"{{"id":"a","message":{{{said}}},"finish_reason":"{reason}"}}"#)
    };
    let two = r#"{"choices":[{"index":0,"finish_reason":"stop"},
        {"index":1,"finish_reason":"content_filter"}]}"#;
    let half =
        r#"{"choices":[{"index":0,"finish_reason":"stop"},{"index":1,"finish_reason":null}]}"#;
    let call = r#""tool_calls":[{"id":"a"}]"#;
    let refusing = r#"{"type":"message","content":[{"type":"refusal","refusal":"no"}]}"#;
    let called = r#"{"type":"function_call","name":"f","arguments":"{}"}"#;
    let cases: &[(Dialect, String, Option<Why>, &str, u32)] = &[
        (
            Chat,
            chat("stop", r#""content":"a","refusal":null"#),
            Some(Stop),
            "w",
            1,
        ),
        (Chat, chat("length", ""), Some(Length), "w", 1),
        (Chat, chat("model_length", ""), Some(Context), "w", 1),
        (Chat, chat("tool_calls", call), Some(Tool), "wc", 1),
        (
            Chat,
            chat("stop", r#""function_call":{"name":"f"}"#),
            Some(Stop),
            "wc",
            1,
        ),
        (
            Chat,
            chat("stop", r#""tool_calls":[],"function_call":null"#),
            Some(Stop),
            "w",
            1,
        ),
        (Chat, chat("content_filter", ""), Some(Filtered), "w", 1),
        (Chat, chat("SENSITIVE", ""), Some(Filtered), "w", 1),
        (Chat, chat("refusal", ""), Some(Refusal), "w", 1),
        (
            Chat,
            chat("stop", r#""refusal":"I cannot.""#),
            Some(Refusal),
            "w",
            1,
        ),
        (Chat, chat("brand_new", ""), Some(Other), "w", 1),
        (Chat, chat("", ""), None, "", 1),
        (Chat, chat("error", ""), None, "e", 1),
        (Chat, two.to_owned(), Some(Filtered), "w", 2),
        (Chat, half.to_owned(), Some(Stop), "", 2),
        (
            Chat,
            r#"{"error":{"message":"x"}}"#.to_owned(),
            None,
            "e",
            0,
        ),
        (
            Chat,
            r#"{"object":"error","message":"x"}"#.to_owned(),
            None,
            "e",
            0,
        ),
        (
            Chat,
            r#"{"choices":[{"text":"a","index":0,"finish_reason":"stop"}]}"#.to_owned(),
            Some(Stop),
            "w",
            1,
        ),
        (
            Chat,
            r#"{"choices":[{"finish_reason":"stop"}]"#.to_owned(),
            Some(Stop),
            "",
            1,
        ),
        (
            Chat,
            r#"{"choices":[{"index":99,"finish_reason":"stop"}]}"#.to_owned(),
            Some(Stop),
            "",
            1,
        ),
        (Chat, "<html>".to_owned(), None, "", 0),
        (
            Anthropic,
            anthropic("end_turn", r#"{"type":"text","text":"a"}"#),
            Some(Stop),
            "w",
            1,
        ),
        (
            Anthropic,
            anthropic("tool_use", r#"{"type":"tool_use","input":{"error":1}}"#),
            Some(Tool),
            "wc",
            1,
        ),
        (
            Anthropic,
            anthropic("end_turn", r#"{"type":"server_tool_use"}"#),
            Some(Stop),
            "w",
            1,
        ),
        (Anthropic, anthropic("refusal", ""), Some(Refusal), "w", 1),
        (Anthropic, anthropic("pause_turn", ""), Some(Other), "w", 1),
        (Anthropic, anthropic("max_tokens", ""), Some(Length), "w", 1),
        (
            Anthropic,
            anthropic("model_context_window_exceeded", ""),
            Some(Context),
            "w",
            1,
        ),
        (
            Anthropic,
            r#"{"type":"message","content":[],"stop_reason":null}"#.to_owned(),
            None,
            "",
            0,
        ),
        (
            Anthropic,
            r#"{"type":"error","error":{"type":"api_error"}}"#.to_owned(),
            None,
            "e",
            0,
        ),
        (
            Gemini,
            gemini("STOP", r#"{"text":"a"}"#),
            Some(Stop),
            "w",
            1,
        ),
        (
            Gemini,
            gemini("STOP", r#"{"functionCall":{"name":"f"}}"#),
            Some(Stop),
            "wc",
            1,
        ),
        (Gemini, gemini("SAFETY", ""), Some(Filtered), "w", 1),
        (Gemini, gemini("RECITATION", ""), Some(Filtered), "w", 1),
        (
            Gemini,
            gemini("PROHIBITED_CONTENT", ""),
            Some(Filtered),
            "w",
            1,
        ),
        (Gemini, gemini("IMAGE_SAFETY", ""), Some(Filtered), "w", 1),
        (
            Gemini,
            gemini("MALFORMED_FUNCTION_CALL", ""),
            Some(Other),
            "w",
            1,
        ),
        (Gemini, gemini("FINISH_REASON_UNSPECIFIED", ""), None, "", 1),
        (
            Gemini,
            r#"{"promptFeedback":{"blockReason":"OTHER"}}"#.to_owned(),
            Some(Filtered),
            "w",
            1,
        ),
        (
            Gemini,
            r#"[{"error":{"code":500}}]"#.to_owned(),
            None,
            "e",
            0,
        ),
        (
            Cohere,
            cohere("COMPLETE", r#""content":[]"#),
            Some(Stop),
            "w",
            1,
        ),
        (Cohere, cohere("TOOL_CALL", call), Some(Tool), "wc", 1),
        (Cohere, cohere("ERROR_TOXIC", ""), Some(Filtered), "w", 1),
        (Cohere, cohere("ERROR", ""), None, "e", 0),
        (
            Cohere,
            r#"{"id":"x","message":"invalid request"}"#.to_owned(),
            None,
            "e",
            0,
        ),
        (
            Bedrock,
            bedrock("end_turn", r#"{"text":"a"}"#),
            Some(Stop),
            "w",
            1,
        ),
        (
            Bedrock,
            bedrock("tool_use", r#"{"toolUse":{"name":"f"}}"#),
            Some(Tool),
            "wc",
            1,
        ),
        (
            Bedrock,
            bedrock("guardrail_intervened", ""),
            Some(Filtered),
            "w",
            1,
        ),
        (
            Bedrock,
            bedrock("content_filtered", ""),
            Some(Filtered),
            "w",
            1,
        ),
        (Bedrock, r#"{"message":"no"}"#.to_owned(), None, "e", 0),
        (
            Responses,
            responses("completed", "null", ""),
            Some(Stop),
            "w",
            1,
        ),
        (
            Responses,
            responses("completed", "null", called),
            Some(Tool),
            "wc",
            1,
        ),
        (
            Responses,
            responses("completed", "null", refusing),
            Some(Refusal),
            "w",
            1,
        ),
        (
            Responses,
            responses("incomplete", r#"{"reason":"max_output_tokens"}"#, ""),
            Some(Length),
            "w",
            1,
        ),
        (
            Responses,
            responses("incomplete", r#"{"reason":"content_filter"}"#, ""),
            Some(Filtered),
            "w",
            1,
        ),
        (
            Responses,
            responses("incomplete", r#"{"reason":"other"}"#, ""),
            Some(Other),
            "w",
            1,
        ),
        (Responses, responses("in_progress", "null", ""), None, "", 1),
        (
            Responses,
            r#"{"status":"failed","error":{"code":"x"}}"#.to_owned(),
            None,
            "e",
            1,
        ),
    ];
    for (dialect, body, stop, flags, choices) in cases {
        let got = short(of_plain(*dialect, body.as_bytes()));
        assert_eq!(
            got,
            (*stop, (*flags).to_owned(), *choices),
            "{dialect:?} {body}"
        );
    }
}

/// Lines of data as events, with their names where the dialect has them.
fn lines(events: &[&str]) -> Vec<u8> {
    events
        .iter()
        .map(|event| match event.split_once(' ') {
            Some((name, data)) if !name.starts_with(['{', '[']) => {
                format!("event: {name}\ndata: {data}\n\n")
            }
            _ => format!("data: {event}\n\n"),
        })
        .collect::<String>()
        .into_bytes()
}

fn delta(text: &str) -> String {
    format!(r#"{{"choices":[{{"index":0,"delta":{{"content":"{text}"}},"finish_reason":null}}]}}"#)
}

const STOPPED: &str = r#"{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#;

/// A good stream of every dialect.
#[expect(clippy::too_many_lines, reason = "a table")]
fn streams() -> Vec<(Dialect, Wire, Vec<u8>, Why, bool)> {
    let (one, two) = (delta("a"), delta("b c"));
    let call = r#"{"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"a"}]}}]}"#;
    let usage = r#"{"choices":[],"usage":{"prompt_tokens":1}}"#;
    let mut frames = TxBuf::new(&BufPool::new());
    for (name, data) in [
        ("messageStart", r#"{"role":"assistant"}"#),
        ("contentBlockStart", r#"{"start":{"toolUse":{"name":"f"}}}"#),
        (
            "contentBlockDelta",
            r#"{"delta":{"toolUse":{"input":"{}"}}}"#,
        ),
        ("contentBlockStop", "{}"),
        ("messageStop", r#"{"stopReason":"tool_use"}"#),
        (
            "metadata",
            r#"{"usage":{"inputTokens":1,"outputTokens":1}}"#,
        ),
    ] {
        put_event(&mut frames, name, &[data.as_bytes()]);
    }
    vec![
        (Chat, Wire::Lines, lines(&[&one, &two, &two, STOPPED, usage, "[DONE]"]), Stop, false),
        (Chat, Wire::Lines, lines(&[&one, call, &two, STOPPED, "[DONE]"]), Stop, true),
        (
            Responses,
            Wire::Lines,
            lines(&[
                r#"response.created {"type":"response.created","response":{"status":"in_progress"}}"#,
                r#"response.output_text.delta {"type":"response.output_text.delta","delta":"a"}"#,
                r#"response.completed {"type":"response.completed","response":{"status":"completed",
                    "output":[{"type":"message","content":[{"type":"output_text"}]}]}}"#
                    .replace('\n', "")
                    .as_str(),
            ]),
            Stop,
            false,
        ),
        (
            Anthropic,
            Wire::Lines,
            lines(&[
                r#"message_start {"type":"message_start","message":{"content":[],"stop_reason":null}}"#,
                r#"content_block_start {"type":"content_block_start","content_block":{"type":"tool_use"}}"#,
                r#"content_block_delta {"type":"content_block_delta","delta":{"partial_json":"{}"}}"#,
                r#"content_block_stop {"type":"content_block_stop"}"#,
                r#"message_delta {"type":"message_delta","delta":{"stop_reason":"tool_use"}}"#,
                r#"message_stop {"type":"message_stop"}"#,
            ]),
            Tool,
            true,
        ),
        (
            Gemini,
            Wire::Lines,
            lines(&[
                r#"{"candidates":[{"content":{"parts":[{"text":"a"}]}}]}"#,
                r#"{"candidates":[{"content":{"parts":[{"text":"b"}]},"finishReason":"MAX_TOKENS"}]}"#,
            ]),
            Length,
            false,
        ),
        (
            Cohere,
            Wire::Lines,
            lines(&[
                r#"message-start {"type":"message-start","delta":{"message":{"tool_calls":[]}}}"#,
                r#"content-delta {"type":"content-delta","delta":{"message":{"content":{"text":"a"}}}}"#,
                r#"message-end {"type":"message-end","delta":{"finish_reason":"COMPLETE"}}"#,
            ]),
            Stop,
            false,
        ),
        (Bedrock, Wire::Frames, frames.unsent().to_vec(), Tool, true),
    ]
}

/// Goal: I1. Method: every stream, cut at every byte.
#[test]
fn what_is_cut_is_not_complete() {
    for (dialect, wire, body, stop, has_calls) in streams() {
        let want = Worth {
            complete: true,
            stop: Some(stop),
            has_calls,
            has_content: true,
            has_error: false,
            choices: 1,
        };
        assert_eq!(of_stream(dialect, wire, &body), want, "{dialect:?}");
        for cut in 0..body.len() {
            let worth = of_stream(dialect, wire, &body[..cut]);
            assert!(
                !worth.complete,
                "{dialect:?} cut at {cut} of {}",
                body.len()
            );
        }
        if wire == Wire::Lines {
            let mut more = body.clone();
            more.extend_from_slice(b": a comment\n\n\r\n");
            assert_eq!(of_stream(dialect, wire, &more), want, "{dialect:?}");
            let cr = String::from_utf8(body).unwrap().replace('\n', "\r\n");
            assert_eq!(of_stream(dialect, wire, cr.as_bytes()), want, "{dialect:?}");
        }
    }
}

/// Goal: what breaks a stream, or makes it another one, is seen.
#[test]
fn what_is_wrong_with_a_stream_is_seen() {
    let one = delta("a");
    let of = |events: &[&str]| short(of_stream(Chat, Wire::Lines, &lines(events)));
    let want = |stop, flags: &str, choices| (stop, flags.to_owned(), choices);
    let other = one.replace("\"index\":0", "\"index\":1");
    let filtered = STOPPED.replace("stop", "content_filter");
    let refusing = one.replace("content", "refusal");
    let error = r#"{"error":{"message":"busy"}}"#;
    for (events, stop, flags, choices) in [
        (&[&one, STOPPED][..], Some(Stop), "", 1), // nobody says that this is the end
        (&[&one, "[DONE]"], None, "", 1),
        (&[&one, &other, STOPPED, "[DONE]"], Some(Stop), "", 2),
        (&[&one, &filtered, "[DONE]"], Some(Filtered), "w", 1),
        (
            &[&one, STOPPED, &filtered, "[DONE]"],
            Some(Filtered),
            "w",
            1,
        ),
        (&[&refusing, STOPPED, "[DONE]"], Some(Refusal), "w", 1),
        (&[&one, error], None, "e", 1),
        (&[&one, STOPPED, error, "[DONE]"], Some(Stop), "e", 1),
        (
            &[&one, "{\"choices\"", STOPPED, "[DONE]"],
            Some(Stop),
            "",
            1,
        ),
        (&[&one, STOPPED, "[DONE]", &filtered], Some(Filtered), "", 1),
        (
            &[&one, STOPPED, "[DONE]", &one, STOPPED, "[DONE]"],
            Some(Stop),
            "",
            1,
        ),
        (&["[DONE]"], None, "", 0),
    ] {
        assert_eq!(of(events), want(stop, flags, choices), "{events:?}");
    }
    let llama = [&lines(&[&one])[..], b"error: {\"code\":500}\n\n"].concat();
    assert!(of_stream(Chat, Wire::Lines, &llama).has_error);
    let named = lines(&[
        r#"message_start {"type":"message_start","message":{}}"#,
        r#"error {"type":"error","error":{"type":"overloaded_error"}}"#,
    ]);
    assert!(of_stream(Anthropic, Wire::Lines, &named).has_error);
    let mut frames = TxBuf::new(&BufPool::new());
    put_event(&mut frames, "messageStart", &[b"{}"]);
    put_exception(
        &mut frames,
        "throttlingException",
        &[b"{\"message\":\"slow\"}"],
    );
    let broken = of_stream(Bedrock, Wire::Frames, frames.unsent());
    assert!(broken.has_error && !broken.complete);
}

/// Goal: a text never passes for what decides, and the events of a text that look alike are not
/// looked at. Method: texts that say the words.
#[test]
fn a_text_decides_nothing() {
    for text in [
        r#"\"finish_reason\":\"content_filter\""#,
        r#"{\"error\":{}}"#,
        "[DONE]",
        r#"\"tool_calls\":[{}]"#,
    ] {
        let said = delta(text);
        let body = lines(&[&said, &said, &said, STOPPED, "[DONE]"]);
        let want = (Some(Stop), "w".to_owned(), 1);
        assert_eq!(short(of_stream(Chat, Wire::Lines, &body)), want, "{text}");
    }
}
