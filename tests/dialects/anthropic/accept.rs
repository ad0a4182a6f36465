//! Whether the official SDK would take a stream.

use super::events;
use serde_json::Value;

/// What the official SDK insists on: names on events, a start first, indexes in order, deltas
/// that fit their block, arguments that are JSON objects, and the end.
pub(super) fn accept(body: &[u8], path: &str) {
    let (mut next, mut open, mut ended) = (0, None::<(u64, String)>, 0);
    let mut is_first = true;
    events(body, &[], &mut |event, data| {
        let data: Value = serde_json::from_slice(data).unwrap();
        let kind = data["type"].as_str().unwrap();
        assert_eq!(event, Some(kind.as_bytes()), "{path}");
        assert_eq!(kind == "message_start", is_first, "{path}");
        is_first = false;
        match kind {
            "message_start" => {
                let message = &data["message"];
                assert!(message["id"].as_str().unwrap().starts_with("msg_"));
                assert!(message["usage"]["input_tokens"].is_u64());
                assert_eq!(message["model"], "fast");
            }
            "content_block_start" => {
                assert!(open.is_none(), "{path}");
                assert_eq!(data["index"], next, "{path}");
                let kind = data["content_block"]["type"].as_str().unwrap();
                open = Some((next, kind.to_owned()));
            }
            "content_block_delta" => {
                let (index, block) = open.as_ref().unwrap();
                assert_eq!(data["index"], *index);
                let delta = data["delta"]["type"].as_str().unwrap();
                let fits: &[&str] = match block.as_str() {
                    "text" => &["text_delta", "citations_delta"],
                    "thinking" => &["thinking_delta", "signature_delta"],
                    "tool_use" => &["input_json_delta"],
                    _ => &[],
                };
                assert!(fits.contains(&delta), "{path}: {delta} in {block}");
            }
            "content_block_stop" => {
                let (index, _) = open.take().unwrap();
                assert_eq!(data["index"], index);
                next += 1;
            }
            "message_delta" => {
                assert!(open.is_none());
                assert!(data["usage"]["output_tokens"].is_u64());
                assert!(data["delta"]["stop_reason"].is_string());
            }
            "message_stop" => ended += 1,
            other => panic!("{path}: {other}"),
        }
    });
    assert_eq!(ended, 1, "{path}");
}
