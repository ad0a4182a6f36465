//! Errors of Responses: read from any provider, and written for clients.
//!
//! ```text
//!   {"error":{"message":"…","type":"invalid_request_error","param":"input","code":"…"}}
//!   event: error, then event: response.failed
//! ```
//!
//! The body is the one of all of OpenAI's routes. A stream that cannot be completed ends with
//! two events: the official SDKs raise on the first (its data has an `error`), other clients
//! (Codex) know only the second.
//!
//! Source: OpenAI API reference, "Error codes"; mapping.md, 10; protocols.md, 3 and 4.3.

use super::shape::{self, Shape, Status};
use crate::base::bytes::TxBuf;
use crate::dialect::model::{Refused, Told, Trouble};
use crate::dialect::openai::error::{put_error, type_of};
use crate::wire::json::write::put_string;
use serde_json::Value;
use std::time::Duration;

/// What a client is told when an answer is longer than the gateway can repeat.
pub(super) const TOO_LONG: &str = "The answer is too long to be repeated at its end.";

/// The most characters of a provider's words that are kept.
const MESSAGE_MAX: usize = 2000;

/// Reads an error answer of any form.
pub fn read(status: u16, body: &[u8]) -> Refused {
    match serde_json::from_slice(body) {
        Ok(value) => of_value(status, &value),
        Err(_) => refused(status, "", "", None, ""),
    }
}

/// Reads an error out of what holds it: an error body, an `error` event, a failed response.
pub(super) fn of_value(status: u16, value: &Value) -> Refused {
    let error = ["/error", "/response/error"]
        .iter()
        .filter_map(|place| value.pointer(place))
        .find(|error| !error.is_null())
        .unwrap_or(value);
    if let Some(message) = error.as_str() {
        return refused(status, "", "", None, message);
    }
    let text = |name: &str| error.get(name).and_then(Value::as_str).unwrap_or_default();
    let number = error.get("code").and_then(Value::as_u64);
    let status = match number.and_then(|code| u16::try_from(code).ok()) {
        Some(code @ 400..=599) => code,
        _ => status,
    };
    let message = match (text("message"), error.get("detail").and_then(Value::as_str)) {
        ("", Some(detail)) => detail,
        (message, _) => message,
    };
    // An event's own type says nothing.
    let r#type = Some(text("type")).filter(|&t| t != "error" && !t.starts_with("response."));
    refused(
        status,
        text("code"),
        r#type.unwrap_or_default(),
        error.get("param").and_then(Value::as_str),
        message,
    )
}

fn refused(status: u16, code: &str, r#type: &str, param: Option<&str>, message: &str) -> Refused {
    Refused {
        trouble: trouble_of(status, code, r#type, message),
        message: message.chars().take(MESSAGE_MAX).collect(),
        param: param.map(str::to_owned),
        retry_after: wait_in(message),
    }
}

/// What kind of trouble it is: by the code, the words, the type, and last the status.
fn trouble_of(status: u16, code: &str, r#type: &str, message: &str) -> Trouble {
    by_code(code)
        .or_else(|| by_words(status, message))
        .or_else(|| by_code(r#type))
        .unwrap_or(match status {
            401 => Trouble::Auth,
            402 => Trouble::Quota,
            403 => Trouble::Permission,
            404 => Trouble::NotFound,
            408 | 504 => Trouble::Timeout,
            413 => Trouble::TooLarge,
            429 => Trouble::RateLimit,
            503 | 529 => Trouble::Overloaded,
            400..=499 if status != 424 => Trouble::Invalid,
            _ if r#type == "invalid_request_error" => Trouble::Invalid,
            _ => Trouble::Server,
        })
}

/// By a code or a type that says enough; `invalid_request_error` does not.
fn by_code(code: &str) -> Option<Trouble> {
    Some(match code {
        "invalid_api_key" | "authentication_error" | "invalid_authentication" => Trouble::Auth,
        "permission_error" | "unsupported_country_region_territory" | "permission_denied" => {
            Trouble::Permission
        }
        "model_not_found" | "not_found_error" | "DeploymentNotFound" => Trouble::NotFound,
        "context_length_exceeded" => Trouble::ContextLength,
        "content_filter"
        | "content_policy_violation"
        | "bio_policy"
        | "cyber_policy"
        | "misalignment_policy_violation"
        | "data_residency_mismatch"
        | "invalid_prompt" => Trouble::ContentPolicy,
        "request_too_large" => Trouble::TooLarge,
        "rate_limit_exceeded" | "rate_limit_error" | "requests" | "tokens" => Trouble::RateLimit,
        "insufficient_quota" | "billing_hard_limit_reached" | "billing_error" => Trouble::Quota,
        "server_is_overloaded" | "slow_down" | "overloaded_error" | "overloaded" => {
            Trouble::Overloaded
        }
        "server_error" | "internal_error" | "api_error" | "vector_store_timeout" => Trouble::Server,
        "timeout" | "request_timeout" | "timeout_error" => Trouble::Timeout,
        _ => return None,
    })
}

/// By the words, where providers say no more.
fn by_words(status: u16, message: &str) -> Option<Trouble> {
    const CONTEXT: [&str; 5] = [
        "maximum context length",
        "exceeds the context window",
        "context length",
        "prompt is too long",
        "maximum prompt length",
    ];
    const KEY: [&str; 3] = ["Incorrect API key", "invalid API key", "API key not valid"];
    let has = |words: &[&str]| words.iter().any(|&words| message.contains(words));
    if has(&KEY) {
        return Some(Trouble::Auth);
    }
    if has(&CONTEXT) {
        return Some(Trouble::ContextLength);
    }
    if status < 500 && message.contains("model") && message.contains("does not exist") {
        return Some(Trouble::NotFound);
    }
    None
}

/// The time of `Please try again in 1.2s`, `… 350ms`, `… 1m3s`.
fn wait_in(message: &str) -> Option<Duration> {
    let (_, rest) = message.split_once("try again in ")?;
    let word = rest.split_whitespace().next()?;
    let mut left = word.trim_end_matches(['.', ',']);
    let mut sum = 0.0;
    while !left.is_empty() {
        let digits = left.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, unit) = left.split_at_checked(digits)?;
        let number: f64 = number.parse().ok()?;
        let end = unit
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(unit.len());
        let (unit, rest) = unit.split_at_checked(end)?;
        sum += match unit {
            "ms" => number / 1000.0,
            "s" => number,
            "m" => number * 60.0,
            "h" => number * 3600.0,
            _ => return None,
        };
        left = rest;
    }
    Duration::try_from_secs_f64(sum).ok()
}

/// The code of a failed response.
pub(super) const fn code_of(trouble: Trouble) -> &'static str {
    match trouble {
        Trouble::Auth | Trouble::Permission | Trouble::Server => "server_error",
        Trouble::NotFound => "model_not_found",
        Trouble::Invalid => "invalid_request",
        Trouble::ContextLength => "context_length_exceeded",
        Trouble::ContentPolicy => "content_filter",
        Trouble::TooLarge => "request_too_large",
        Trouble::RateLimit => "rate_limit_exceeded",
        Trouble::Quota => "insufficient_quota",
        Trouble::Overloaded => "server_is_overloaded",
        Trouble::Timeout => "timeout",
    }
}

/// The words for the client.
pub(super) fn message_of(refused: &Refused) -> &str {
    match refused.trouble {
        Trouble::Auth => "The provider refused the gateway's credentials.",
        _ if refused.message.is_empty() => "The provider failed.",
        _ => &refused.message,
    }
}

/// The `type` of an error: the SDKs go by the status, clients by this.
const fn type_for(told: &Told<'_>) -> &'static str {
    match told.trouble {
        Trouble::Quota if told.status == 429 => "insufficient_quota",
        _ => type_of(told.status),
    }
}

/// Appends the body of an error answer.
pub fn put_body(tx: &mut TxBuf, told: &Told<'_>) {
    put_error(tx, told.message, type_for(told), told.param, told.code);
}

/// Appends the events that end a stream which cannot be completed.
pub fn put_event(tx: &mut TxBuf, told: &Told<'_>) {
    put_start(tx, "error", 0);
    tx.put(b",\"error\":{\"type\":");
    put_string(tx, type_for(told));
    tx.put(b",\"code\":");
    put_string(tx, told.code);
    tx.put(b",\"message\":");
    put_string(tx, told.message);
    tx.put(b",\"param\":");
    match told.param {
        Some(param) => put_string(tx, param),
        None => tx.put(b"null"),
    }
    tx.put(b"}}\n\n");
    put_start(tx, "response.failed", 1);
    tx.put(b",\"response\":");
    let shape = Shape {
        id: "resp_failed",
        status: Status::Failed {
            code: told.code,
            message: told.message,
        },
        output: b"",
        usage: None,
    };
    shape::put(tx, &shape, 0, "");
    tx.put(b"}\n\n");
}

/// Appends the beginning of an event: its frame, its type and its number.
pub(super) fn put_start(tx: &mut TxBuf, name: &str, number: u64) {
    tx.put(b"event: ");
    tx.put(name.as_bytes());
    tx.put(b"\ndata: {\"type\":\"");
    tx.put(name.as_bytes());
    tx.put(b"\",\"sequence_number\":");
    tx.put_decimal(number);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::bufpool::BufPool;
    use serde_json::json;

    fn cases() -> Vec<(u16, String, Trouble)> {
        let of = |code: &str, r#type: &str, message: &str| {
            json!({"error": {"code": code, "type": r#type, "message": message}}).to_string()
        };
        let bad = "invalid_request_error";
        vec![
            (401, of("invalid_api_key", bad, "x"), Trouble::Auth),
            (
                400,
                of("", bad, "Incorrect API key provided: xai-…"),
                Trouble::Auth,
            ),
            (400, of("model_not_found", bad, "x"), Trouble::NotFound),
            (
                400,
                of("", bad, "The model 'x' does not exist"),
                Trouble::NotFound,
            ),
            (
                400,
                of("context_length_exceeded", bad, "x"),
                Trouble::ContextLength,
            ),
            (
                400,
                of("", bad, "This model's maximum context length is 9"),
                Trouble::ContextLength,
            ),
            (400, of("content_filter", "", "x"), Trouble::ContentPolicy),
            (400, of("unsupported_value", bad, "x"), Trouble::Invalid),
            (
                429,
                of("insufficient_quota", "insufficient_quota", "x"),
                Trouble::Quota,
            ),
            (
                429,
                of("rate_limit_exceeded", "tokens", "x"),
                Trouble::RateLimit,
            ),
            (429, String::new(), Trouble::RateLimit),
            (403, "<html>".to_owned(), Trouble::Permission),
            (
                404,
                json!({"detail": "Not Found"}).to_string(),
                Trouble::NotFound,
            ),
            (413, "null".to_owned(), Trouble::TooLarge),
            (
                500,
                of("server_error", "server_error", "x"),
                Trouble::Server,
            ),
            (503, String::new(), Trouble::Overloaded),
            (529, "[]".to_owned(), Trouble::Overloaded),
            (424, String::new(), Trouble::Server),
            (504, "<html>".to_owned(), Trouble::Timeout),
            (
                500,
                json!({"error": {"code": 429, "message": "x"}}).to_string(),
                Trouble::RateLimit,
            ),
            (502, "\u{0}\u{fffd}".to_owned(), Trouble::Server),
            // A failed response, as the event that ends a stream has it.
            (
                200,
                json!({"type": "response.failed", "response": {"error": {
                    "code": "context_length_exceeded", "message": "x"}}})
                .to_string(),
                Trouble::ContextLength,
            ),
        ]
    }

    /// Goal: trouble is told by what the provider says, and by the status only then.
    #[test]
    fn trouble_is_told_by_what_the_provider_says() {
        for (status, body, want) in cases() {
            assert_eq!(
                read(status, body.as_bytes()).trouble,
                want,
                "{status} {body}"
            );
        }
        let refused = read(404, br#"{"detail":"Not Found"}"#);
        assert_eq!(refused.message, "Not Found");
        assert_eq!(
            read(400, br#"{"error":"just words"}"#).message,
            "just words"
        );
        assert_eq!(
            read(400, br#"{"error":{"param":"input"}}"#)
                .param
                .as_deref(),
            Some("input")
        );
        assert_eq!(read(500, b"\xff\xfe").trouble, Trouble::Server);
    }

    /// Goal: when to come back is read from the words.
    #[test]
    fn when_to_come_back_is_read_from_the_words() {
        for (words, want) in [
            ("Please try again in 1.5s. Visit x", Some(1500)),
            ("Please try again in 20ms.", Some(20)),
            ("Please try again in 1m3s.", Some(63_000)),
            ("Please try again in a while.", None),
            ("Please try again in 99999999999999999999999h", None),
            ("later", None),
        ] {
            let want = want.map(Duration::from_millis);
            assert_eq!(wait_in(words), want, "{words}");
        }
    }

    /// Goal: a body is OpenAI's, and a stream ends with both events and no end marker.
    #[test]
    fn errors_are_written_in_openais_form() {
        let told = Told {
            status: 429,
            trouble: Trouble::Quota,
            code: "insufficient_quota",
            message: "none \"left\"",
            param: Some("model"),
        };
        let mut tx = TxBuf::new(&BufPool::new());
        put_body(&mut tx, &told);
        let body: Value = serde_json::from_slice(tx.unsent()).unwrap();
        let error = json!({"message": "none \"left\"", "type": "insufficient_quota",
            "param": "model", "code": "insufficient_quota"});
        assert_eq!(body, json!({"error": error}));
        tx.clear();
        put_event(&mut tx, &told);
        let text = std::str::from_utf8(tx.unsent()).unwrap();
        let data: Vec<Value> = text
            .lines()
            .filter_map(|line| serde_json::from_str(line.strip_prefix("data: ")?).ok())
            .collect();
        assert_eq!(data.len(), 2);
        assert_eq!(
            (&data[0]["type"], &data[0]["error"]),
            (&json!("error"), &error)
        );
        assert_eq!(data[1]["type"], "response.failed");
        assert_eq!(data[1]["response"]["error"]["code"], "insufficient_quota");
    }
}
