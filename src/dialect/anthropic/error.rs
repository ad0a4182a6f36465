//! Errors in Anthropic's form: read from any answer, written as a body and as an event.
//!
//! ```text
//!   {"type":"error","error":{"type":"overloaded_error","message":"Overloaded"},"request_id":…}
//! ```
//!
//! The official SDKs choose their exception by the HTTP status, in a stream by the `type`.
//! Claude Code shortens a conversation when it reads "prompt is too long".
//!
//! Source: protocols.md 7.1, mapping.md 10.

use crate::base::bytes::TxBuf;
use crate::dialect::model::{Refused, Told, Trouble};
use crate::wire::json::write::{put_inside, put_string};
use serde_json::{Map, Value};

/// The longest message that is kept of a body that is no JSON, in bytes.
const PLAIN_MAX: usize = 400;

/// What Claude Code looks for when the context is full.
const TOO_LONG: &str = "prompt is too long";

/// What an error answer says. Any bytes are one.
pub fn read(status: u16, body: &[u8]) -> Refused {
    let Ok(Value::Object(top)) = serde_json::from_slice(body) else {
        return said(status, "", &plain(status, body));
    };
    read_object(status, &top)
}

/// What the error object `top` says; also of the events of a stream (status 200).
pub(super) fn read_object(status: u16, top: &Map<String, Value>) -> Refused {
    let inner = top.get("error").and_then(Value::as_object).unwrap_or(top);
    let text = |key: &str| inner.get(key).and_then(Value::as_str);
    let message = text("message")
        .or_else(|| top.get("error").and_then(Value::as_str))
        .or_else(|| top.get("detail").and_then(Value::as_str));
    let kind = text("type").or_else(|| text("status")).unwrap_or_default();
    match message {
        Some(message) => said(status, kind, message),
        None => said(status, kind, &nameless(status)),
    }
}

fn nameless(status: u16) -> String {
    format!("the provider answered with status {status}")
}

/// The words of a body that is no JSON object; those of a web page say nothing.
fn plain(status: u16, body: &[u8]) -> String {
    let text = body.get(..PLAIN_MAX.min(body.len())).unwrap_or_default();
    let text = String::from_utf8_lossy(text.trim_ascii());
    if text.is_empty() || text.starts_with(['<', '{', '[']) || text.contains('\u{fffd}') {
        return nameless(status);
    }
    text.into_owned()
}

fn said(status: u16, kind: &str, message: &str) -> Refused {
    let trouble = trouble(status, kind, &message.to_ascii_lowercase());
    Refused {
        trouble,
        message: message.to_owned(),
        param: param(message),
        retry_after: None,
    }
}

/// By the type, then by the words, then by the status: each of them is known to be wrong or
/// too wide at times (mapping.md 10).
fn trouble(status: u16, kind: &str, message: &str) -> Trouble {
    let status = match kind {
        "invalid_request_error" if status < 400 => 400,
        _ => status,
    };
    let says = |words: &[&str]| words.iter().any(|word| message.contains(word));
    let broke = says(&[
        "credit balance",
        "spend limit",
        "spend cap",
        "specified api usage limits",
        "billing",
    ]);
    match kind {
        "authentication_error" | "UNAUTHENTICATED" => Trouble::Auth,
        "permission_error" | "PERMISSION_DENIED" => Trouble::Permission,
        "not_found_error" | "NOT_FOUND" => Trouble::NotFound,
        "request_too_large" => Trouble::TooLarge,
        "billing_error" => Trouble::Quota,
        "rate_limit_error" | "RESOURCE_EXHAUSTED" | "invalid_request_error" if broke => {
            Trouble::Quota
        }
        "rate_limit_error" | "RESOURCE_EXHAUSTED" => Trouble::RateLimit,
        "overloaded_error" | "UNAVAILABLE" => Trouble::Overloaded,
        "timeout_error" | "DEADLINE_EXCEEDED" => Trouble::Timeout,
        "api_error" | "INTERNAL" if !matches!(status, 503 | 529) => Trouble::Server,
        _ if status == 429 && broke => Trouble::Quota,
        _ => by_status(status, &says),
    }
}

fn by_status(status: u16, says: &dyn Fn(&[&str]) -> bool) -> Trouble {
    match status {
        401 => Trouble::Auth,
        402 => Trouble::Quota,
        403 => Trouble::Permission,
        404 => Trouble::NotFound,
        408 | 504 | 524 => Trouble::Timeout,
        429 => Trouble::RateLimit,
        503 | 529 => Trouble::Overloaded,
        // An event in a stream of status 200 without a type that is known.
        500.. => Trouble::Server,
        _ if says(&[
            TOO_LONG,
            "exceed context limit",
            "context window",
            "maximum context",
            "input is too long",
            "too many input tokens",
        ]) =>
        {
            Trouble::ContextLength
        }
        _ if says(&["content filtering policy", "usage policy"]) => Trouble::ContentPolicy,
        413 => Trouble::TooLarge,
        400..500 => Trouble::Invalid,
        _ => Trouble::Server,
    }
}

/// The field in front of messages such as `messages.0.content: Field required`.
fn param(message: &str) -> Option<String> {
    const FIELDS: &[&str] = &[
        "max_tokens",
        "messages",
        "metadata",
        "model",
        "output_config",
        "service_tier",
        "stop_sequences",
        "stream",
        "system",
        "temperature",
        "thinking",
        "tool_choice",
        "tools",
        "top_k",
        "top_p",
    ];
    let (path, _) = message.split_once(": ")?;
    let top = path.split('.').next()?;
    let is_path = path
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.'));
    (is_path && FIELDS.contains(&top)).then(|| path.to_owned())
}

/// The `type` that goes with a trouble.
fn type_of(trouble: Trouble, status: u16) -> &'static str {
    match trouble {
        // The gateway's own key is nothing that a client can mend.
        Trouble::Auth if status != 401 => "api_error",
        Trouble::Auth => "authentication_error",
        Trouble::Permission => "permission_error",
        Trouble::NotFound => "not_found_error",
        Trouble::Invalid | Trouble::ContextLength | Trouble::ContentPolicy => {
            "invalid_request_error"
        }
        Trouble::TooLarge => "request_too_large",
        Trouble::Quota if status == 402 => "billing_error",
        Trouble::RateLimit | Trouble::Quota => "rate_limit_error",
        Trouble::Overloaded => "overloaded_error",
        Trouble::Server => "api_error",
        Trouble::Timeout => "timeout_error",
    }
}

/// Appends the body of an error answer; its `request_id` is null.
pub fn put_body(tx: &mut TxBuf, told: &Told<'_>) {
    put_body_about(tx, told, b"");
}

/// The same, for the request `id`, letters and digits; null when it is empty.
pub fn put_body_about(tx: &mut TxBuf, told: &Told<'_>, id: &[u8]) {
    put_error(tx, (told.trouble, told.status), told.message, id, |tx| {
        tx.put(b",\"details\":{\"error_code\":");
        put_string(tx, told.code);
        if let Some(param) = told.param {
            tx.put(b",\"param\":");
            put_string(tx, param);
        }
        tx.put(b"}");
    });
}

/// Appends the event that ends a stream which cannot be completed; no `message_stop` follows.
pub fn put_event(tx: &mut TxBuf, told: &Told<'_>) {
    tx.put(b"event: error\ndata: ");
    put_body(tx, told);
    tx.put(b"\n\n");
}

/// Appends the event for what a provider says in mid-stream.
pub(super) fn put_refused(tx: &mut TxBuf, refused: &Refused) {
    let message = match refused.trouble {
        Trouble::Auth => "The provider refused the gateway's credentials.",
        _ => &refused.message,
    };
    tx.put(b"event: error\ndata: ");
    put_error(tx, (refused.trouble, 200), message, b"", |_| {});
    tx.put(b"\n\n");
}

fn put_error(
    tx: &mut TxBuf,
    (trouble, status): (Trouble, u16),
    message: &str,
    id: &[u8],
    details: impl FnOnce(&mut TxBuf),
) {
    tx.put(b"{\"type\":\"error\",\"error\":{\"type\":");
    put_string(tx, type_of(trouble, status));
    tx.put(b",\"message\":\"");
    if trouble == Trouble::ContextLength && !message.contains(TOO_LONG) {
        tx.put(TOO_LONG.as_bytes());
        tx.put(b": ");
    }
    put_inside(tx, message);
    tx.put(b"\"");
    details(tx);
    tx.put(b"},\"request_id\":");
    if id.is_empty() {
        tx.put(b"null}");
    } else {
        tx.put(b"\"");
        tx.put(id);
        tx.put(b"\"}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::bufpool::BufPool;

    /// Goal: a trouble is told by type and words, whatever the status.
    #[test]
    fn trouble_is_told_by_type_and_words() {
        let body = |kind: &str, message: &str| {
            format!(r#"{{"type":"error","error":{{"type":"{kind}","message":"{message}"}}}}"#)
        };
        for (status, kind, message, want) in [
            (529, "overloaded_error", "Overloaded", Trouble::Overloaded),
            (500, "overloaded_error", "Overloaded", Trouble::Overloaded),
            (200, "overloaded_error", "Overloaded", Trouble::Overloaded),
            (529, "api_error", "x", Trouble::Overloaded),
            (500, "api_error", "Internal server error", Trouble::Server),
            (402, "billing_error", "x", Trouble::Quota),
            (
                400,
                "invalid_request_error",
                "Your credit balance is too low",
                Trouble::Quota,
            ),
            (
                400,
                "invalid_request_error",
                "prompt is too long: 9 > 8",
                Trouble::ContextLength,
            ),
            (
                400,
                "invalid_request_error",
                "input length and `max_tokens` exceed context limit: 9 + 9 > 8",
                Trouble::ContextLength,
            ),
            (
                400,
                "invalid_request_error",
                "Output blocked by content filtering policy",
                Trouble::ContentPolicy,
            ),
            (
                400,
                "invalid_request_error",
                "max_tokens: Field required",
                Trouble::Invalid,
            ),
            (429, "rate_limit_error", "too fast", Trouble::RateLimit),
            (
                429,
                "rate_limit_error",
                "monthly spend limit",
                Trouble::Quota,
            ),
            (401, "authentication_error", "x", Trouble::Auth),
            (403, "permission_error", "x", Trouble::Permission),
            (404, "not_found_error", "x", Trouble::NotFound),
            (413, "request_too_large", "x", Trouble::TooLarge),
            (504, "timeout_error", "x", Trouble::Timeout),
            (418, "brand_new_error", "x", Trouble::Invalid),
            (200, "brand_new_error", "x", Trouble::Server),
            (200, "invalid_request_error", "x", Trouble::Invalid),
        ] {
            let refused = read(status, body(kind, message).as_bytes());
            assert_eq!(refused.trouble, want, "{status} {kind} {message}");
            assert_eq!(refused.message, message);
        }
        let named = read(
            400,
            body("invalid_request_error", "tools.0.name: no").as_bytes(),
        );
        assert_eq!(named.param.as_deref(), Some("tools.0.name"));
    }

    /// Goal: any bytes are an error answer; what a web page says is not told.
    #[test]
    fn any_bytes_are_an_error_answer() {
        for (status, body, want, says) in [
            (
                503,
                &b"<html>down</html>"[..],
                Trouble::Overloaded,
                "status 503",
            ),
            (502, b"", Trouble::Server, "status 502"),
            (429, b"slow down", Trouble::RateLimit, "slow down"),
            (500, b"\xff\xfe", Trouble::Server, "status 500"),
            (400, b"[1]", Trouble::Invalid, "status 400"),
            (
                400,
                br#"{"message":"Input is too long"}"#,
                Trouble::ContextLength,
                "Input",
            ),
            (403, br#"{"error":"no"}"#, Trouble::Permission, "no"),
            (
                429,
                br#"{"error":{"code":429,"message":"q","status":"RESOURCE_EXHAUSTED"}}"#,
                Trouble::RateLimit,
                "q",
            ),
        ] {
            let refused = read(status, body);
            assert_eq!(refused.trouble, want, "{status}");
            assert!(refused.message.contains(says), "{}", refused.message);
        }
    }

    /// Goal: what is written has the type that the SDKs and Claude Code go by, and reads back
    /// as the same trouble.
    #[test]
    fn what_is_written_reads_back() {
        for (status, trouble, kind) in [
            (401, Trouble::Auth, "authentication_error"),
            (500, Trouble::Auth, "api_error"),
            (403, Trouble::Permission, "permission_error"),
            (404, Trouble::NotFound, "not_found_error"),
            (400, Trouble::Invalid, "invalid_request_error"),
            (400, Trouble::ContextLength, "invalid_request_error"),
            (413, Trouble::TooLarge, "request_too_large"),
            (429, Trouble::RateLimit, "rate_limit_error"),
            (402, Trouble::Quota, "billing_error"),
            (529, Trouble::Overloaded, "overloaded_error"),
            (500, Trouble::Server, "api_error"),
            (504, Trouble::Timeout, "timeout_error"),
        ] {
            let told = Told {
                status,
                trouble,
                code: "some_code",
                message: "what \"it\" says",
                param: Some("messages"),
            };
            let mut tx = TxBuf::new(&BufPool::new());
            put_event(&mut tx, &told);
            let event = std::str::from_utf8(tx.unsent()).unwrap();
            let data = event.strip_prefix("event: error\ndata: ").unwrap();
            let body: Value = serde_json::from_str(data.trim_end()).unwrap();
            assert_eq!(body["type"], "error");
            assert_eq!(body["error"]["type"], kind);
            assert_eq!(body["error"]["details"]["error_code"], "some_code");
            let back = read(status, data.as_bytes());
            if kind != "api_error" {
                assert_eq!(back.trouble, trouble);
            }
            assert!(back.message.ends_with("what \"it\" says"));
            let is_long = back.message.starts_with("prompt is too long: ");
            assert_eq!(is_long, trouble == Trouble::ContextLength);
        }
    }
}
