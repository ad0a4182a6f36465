//! Errors: `google.rpc.Status` in an object, as a body and as an event.
//!
//! ```text
//!   {"error":{"code":429,"message":"…","status":"RESOURCE_EXHAUSTED","details":[
//!     {"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"34.4s"}, …]}}
//! ```
//!
//! Sometimes the object stands in a list of one. A bad key is a 400 here, so that the status
//! alone says little.
//!
//! Source: `google/rpc/status.proto`, `code.proto`, `error_details.proto`; mapping.md, 10.

use crate::base::bytes::TxBuf;
use crate::dialect::model::{Refused, Told, Trouble};
use crate::dialect::tree::string;
use crate::wire::json::write::put_string;
use serde_json::{Map, Value};
use std::time::Duration;

/// The most bytes of a body that is no JSON which are told as its message.
const MESSAGE_MAX: usize = 300;

/// The longest wait that is believed: a day.
const RETRY_MAX_S: f64 = 86_400.0;

/// Reads the body of an error answer; any bytes will do.
pub fn read(status: u16, body: &[u8]) -> Refused {
    let body_read: Option<Value> = serde_json::from_slice(body).ok();
    let error = body_read.as_ref().and_then(error_in);
    let Some(error) = error else {
        return Refused {
            trouble: by_status(status),
            message: message_of(status, body),
            param: None,
            retry_after: None,
        };
    };
    let status = match error.get("code").and_then(Value::as_u64) {
        Some(code) if !(400..600).contains(&status) => u16::try_from(code).unwrap_or(500),
        _ => status,
    };
    let message = string(error, "message").unwrap_or_default();
    let details: Vec<&Map<String, Value>> = error
        .get("details")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_object)
        .collect();
    let of_type = |name: &str| {
        let is_it = |detail: &&&Map<String, Value>| {
            string(detail, "@type").is_some_and(|kind| kind.ends_with(name))
        };
        details.iter().find(is_it).copied()
    };
    let reason = of_type("ErrorInfo").and_then(|info| string(info, "reason"));
    let is_daily = of_type("QuotaFailure").is_some_and(|failure| {
        let violations = failure.get("violations").and_then(Value::as_array);
        violations.into_iter().flatten().any(|violation| {
            let id = violation.get("quotaId").and_then(Value::as_str);
            id.is_some_and(|id| id.contains("PerDay"))
        })
    });
    let delay = of_type("RetryInfo").and_then(|info| string(info, "retryDelay"));
    let param = of_type("BadRequest").and_then(|bad| {
        let first = bad.get("fieldViolations")?.as_array()?.first()?;
        Some(first.get("field")?.as_str()?.to_owned())
    });
    let name = string(error, "status").unwrap_or_default();
    Refused {
        trouble: classify(status, name, reason.unwrap_or_default(), message, is_daily),
        message: if message.is_empty() {
            message_of(status, b"")
        } else {
            message.to_owned()
        },
        param,
        retry_after: delay.and_then(seconds).or_else(|| retry_in(message)),
    }
}

fn error_in(body: &Value) -> Option<&Map<String, Value>> {
    let object = match body {
        Value::Array(items) => items.first()?,
        one => one,
    };
    object.get("error")?.as_object()
}

fn classify(status: u16, name: &str, reason: &str, message: &str, is_daily: bool) -> Trouble {
    let says = |text: &str| message.contains(text);
    if reason.starts_with("API_KEY_")
        || reason.starts_with("ACCESS_TOKEN_")
        || reason == "CREDENTIALS_MISSING"
        || says("API key not valid")
        || says("API key expired")
    {
        return Trouble::Auth;
    }
    if reason == "BILLING_DISABLED" {
        return Trouble::Quota;
    }
    match (name, status) {
        ("RESOURCE_EXHAUSTED", _) | (_, 429) if is_daily => Trouble::Quota,
        ("INVALID_ARGUMENT" | "OUT_OF_RANGE", _)
            if says("maximum number of tokens") || says("input token count") =>
        {
            Trouble::ContextLength
        }
        ("INVALID_ARGUMENT", _) if says("payload size exceeds") => Trouble::TooLarge,
        ("INVALID_ARGUMENT", _) if says("Responsible AI") || says("content policy") => {
            Trouble::ContentPolicy
        }
        ("FAILED_PRECONDITION", _) if says("location is not supported") => Trouble::Permission,
        ("FAILED_PRECONDITION", _) if says("billing") => Trouble::Quota,
        ("INVALID_ARGUMENT" | "FAILED_PRECONDITION" | "OUT_OF_RANGE", _) => Trouble::Invalid,
        ("UNAUTHENTICATED", _) => Trouble::Auth,
        ("PERMISSION_DENIED", _) => Trouble::Permission,
        ("NOT_FOUND", _) => Trouble::NotFound,
        ("RESOURCE_EXHAUSTED", _) => Trouble::RateLimit,
        ("UNAVAILABLE", _) => Trouble::Overloaded,
        ("DEADLINE_EXCEEDED", _) => Trouble::Timeout,
        ("INTERNAL" | "UNKNOWN" | "CANCELLED" | "ABORTED" | "DATA_LOSS", _) => Trouble::Server,
        _ => by_status(status),
    }
}

const fn by_status(status: u16) -> Trouble {
    match status {
        401 => Trouble::Auth,
        402 => Trouble::Quota,
        403 => Trouble::Permission,
        404 => Trouble::NotFound,
        408 | 504 => Trouble::Timeout,
        413 => Trouble::TooLarge,
        429 => Trouble::RateLimit,
        503 | 529 => Trouble::Overloaded,
        400..=498 => Trouble::Invalid,
        _ => Trouble::Server,
    }
}

/// What a body says that is no error in this dialect: its text, unless it is a page.
fn message_of(status: u16, body: &[u8]) -> String {
    let text = body.get(..MESSAGE_MAX).unwrap_or(body).trim_ascii();
    match std::str::from_utf8(text) {
        Ok(text) if !text.is_empty() && !text.starts_with('<') => text.to_owned(),
        _ => format!("The provider answered with status {status}."),
    }
}

/// A `google.protobuf.Duration`: `34.4s`.
fn seconds(text: &str) -> Option<Duration> {
    let seconds: f64 = text.trim().strip_suffix('s')?.parse().ok()?;
    let is_sane = (0.0..=RETRY_MAX_S).contains(&seconds);
    is_sane.then(|| Duration::from_secs_f64(seconds))
}

/// `Please retry in 48.9s.`
fn retry_in(message: &str) -> Option<Duration> {
    let (_, rest) = message.split_once("retry in ")?;
    let end = rest.find('s')?;
    seconds(rest.get(..=end)?)
}

/// Google's name for an HTTP status. Source: `google/rpc/code.proto`.
const fn status_name(status: u16) -> &'static str {
    match status {
        401 => "UNAUTHENTICATED",
        403 => "PERMISSION_DENIED",
        404 => "NOT_FOUND",
        408 | 504 => "DEADLINE_EXCEEDED",
        409 => "ABORTED",
        429 => "RESOURCE_EXHAUSTED",
        499 => "CANCELLED",
        501 => "UNIMPLEMENTED",
        502 | 503 | 529 => "UNAVAILABLE",
        400..=498 => "INVALID_ARGUMENT",
        _ => "INTERNAL",
    }
}

/// Appends the body of an error answer.
pub fn put_body(tx: &mut TxBuf, told: &Told<'_>) {
    put_body_about(tx, told, None);
}

/// The same; it says when to come back.
pub fn put_body_about(tx: &mut TxBuf, told: &Told<'_>, wait: Option<Duration>) {
    const TYPE: &[u8] = b"{\"@type\":\"type.googleapis.com/google.rpc.";
    tx.put(b"{\"error\":{\"code\":");
    tx.put_decimal(told.status.into());
    tx.put(b",\"message\":");
    put_string(tx, told.message);
    tx.put(b",\"status\":\"");
    tx.put(status_name(told.status).as_bytes());
    tx.put(b"\",\"details\":[");
    tx.put(TYPE);
    tx.put(b"ErrorInfo\",\"reason\":");
    put_string(tx, &told.code.to_ascii_uppercase());
    tx.put(b",\"domain\":\"shardgate\"}");
    if let Some(param) = told.param {
        tx.put(b",");
        tx.put(TYPE);
        tx.put(b"BadRequest\",\"fieldViolations\":[{\"field\":");
        put_string(tx, param);
        tx.put(b",\"description\":");
        put_string(tx, told.message);
        tx.put(b"}]}");
    }
    if let Some(wait) = wait {
        tx.put(b",");
        tx.put(TYPE);
        tx.put(b"RetryInfo\",\"retryDelay\":\"");
        tx.put(format!("{}s", wait.as_secs_f64()).as_bytes());
        tx.put(b"\"}");
    }
    tx.put(b"]}}");
}

/// Appends the event that ends a stream which cannot be completed.
pub fn put_event(tx: &mut TxBuf, told: &Told<'_>) {
    tx.put(b"data: ");
    put_body(tx, told);
    tx.put(b"\n\n");
}

/// Appends the event for what a provider said in mid-stream.
pub(super) fn put_refused(tx: &mut TxBuf, refused: &Refused) {
    let (status, code) = match refused.trouble {
        Trouble::Auth => (502, "upstream_refused_key"),
        Trouble::Permission => (403, "permission_denied"),
        Trouble::NotFound => (404, "not_found"),
        Trouble::Invalid => (400, "invalid_request"),
        Trouble::ContextLength => (400, "context_length_exceeded"),
        Trouble::ContentPolicy => (400, "content_policy"),
        Trouble::TooLarge => (413, "request_too_large"),
        Trouble::RateLimit => (429, "rate_limit_exceeded"),
        Trouble::Quota => (429, "quota_exceeded"),
        Trouble::Overloaded => (503, "overloaded"),
        Trouble::Server => (500, "upstream_error"),
        Trouble::Timeout => (504, "timeout"),
    };
    let message = if refused.trouble == Trouble::Auth {
        "The provider refused the gateway's credentials."
    } else {
        &refused.message
    };
    let told = Told {
        status,
        trouble: refused.trouble,
        code,
        message,
        param: refused.param.as_deref(),
    };
    put_event(tx, &told);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::bufpool::BufPool;

    fn read_json(status: u16, name: &str, message: &str, detail: &str) -> Refused {
        let body = format!(
            r#"{{"error":{{"code":{status},"message":"{message}","status":"{name}","details":[{detail}]}}}}"#
        );
        read(status, body.as_bytes())
    }

    /// Goal: an error is classified by what it says, not by its status alone.
    #[test]
    fn an_error_is_classified_by_what_it_says() {
        const BAD_KEY: &str =
            r#"{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"API_KEY_INVALID"}"#;
        const DAILY: &str = r#"{"@type":"type.googleapis.com/google.rpc.QuotaFailure","violations":[{"quotaId":"RequestsPerDayPerModel"}]}"#;
        const MINUTE: &str = r#"{"@type":"type.googleapis.com/google.rpc.QuotaFailure","violations":[{"quotaId":"RequestsPerMinute"}]}"#;
        use Trouble::*;
        for (status, name, message, detail, want) in [
            (400, "INVALID_ARGUMENT", "no", BAD_KEY, Auth),
            (400, "INVALID_ARGUMENT", "API key expired. Renew.", "", Auth),
            (400, "INVALID_ARGUMENT", "no", "", Invalid),
            (
                400,
                "INVALID_ARGUMENT",
                "The input token count (2) exceeds the maximum number of tokens allowed (1).",
                "",
                ContextLength,
            ),
            (
                400,
                "INVALID_ARGUMENT",
                "Request payload size exceeds the limit: 20971520 bytes.",
                "",
                TooLarge,
            ),
            (
                400,
                "FAILED_PRECONDITION",
                "User location is not supported for the API use.",
                "",
                Permission,
            ),
            (401, "UNAUTHENTICATED", "no", "", Auth),
            (403, "PERMISSION_DENIED", "no", "", Permission),
            (404, "NOT_FOUND", "no", "", NotFound),
            (429, "RESOURCE_EXHAUSTED", "no", MINUTE, RateLimit),
            (429, "RESOURCE_EXHAUSTED", "no", DAILY, Quota),
            (500, "INTERNAL", "no", "", Server),
            (
                503,
                "UNAVAILABLE",
                "The model is overloaded.",
                "",
                Overloaded,
            ),
            (504, "DEADLINE_EXCEEDED", "no", "", Timeout),
            (418, "NEW_NAME", "no", "", Invalid),
        ] {
            let refused = read_json(status, name, message, detail);
            assert_eq!(refused.trouble, want, "{status} {name} {message}");
            assert_eq!(refused.message, message);
        }
    }

    /// Goal: any bytes are an error; a page is not shown.
    #[test]
    fn any_bytes_are_an_error() {
        for (status, body, trouble, message) in [
            (
                502,
                "<html><h1>Bad Gateway",
                Trouble::Server,
                "The provider answered with status 502.",
            ),
            (503, "try later", Trouble::Overloaded, "try later"),
            (
                403,
                "",
                Trouble::Permission,
                "The provider answered with status 403.",
            ),
            (500, "{\"error\":7}", Trouble::Server, "{\"error\":7}"),
        ] {
            let refused = read(status, body.as_bytes());
            assert_eq!(
                (refused.trouble, refused.message.as_str()),
                (trouble, message)
            );
        }
        // In a list of one, within a 200.
        let refused = read(
            200,
            br#"[{"error":{"code":503,"message":"m","status":"UNAVAILABLE"}}]"#,
        );
        assert_eq!(refused.trouble, Trouble::Overloaded);
    }

    /// Goal: when to come back is read from the details, else from the sentence; nonsense is
    /// not believed.
    #[test]
    fn when_to_come_back_is_read() {
        for (message, delay, want_ms) in [
            ("no", "\"34.4s\"", Some(34_400)),
            ("Please retry in 48.939s.", "7", Some(48_939)),
            ("no", "\"-1s\"", None),
            ("no", "\"1e300s\"", None),
            ("retry in s", "\"x\"", None),
        ] {
            let detail = format!(
                r#"{{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":{delay}}}"#
            );
            let refused = read_json(429, "RESOURCE_EXHAUSTED", message, &detail);
            assert_eq!(
                refused.retry_after.map(|d| d.as_millis()),
                want_ms,
                "{message}"
            );
        }
    }

    /// Goal: what is written is read back: class, words, field; also as an event.
    #[test]
    fn what_is_written_is_read_back() {
        let told = Told {
            status: 400,
            trouble: Trouble::Invalid,
            code: "invalid_field",
            message: "Say \"please\".",
            param: Some("contents[0].role"),
        };
        let mut tx = TxBuf::new(&BufPool::new());
        put_body(&mut tx, &told);
        let refused = read(400, tx.unsent());
        assert_eq!(refused.trouble, Trouble::Invalid);
        assert_eq!(refused.message, told.message);
        assert_eq!(refused.param.as_deref(), told.param);
        let body: Value = serde_json::from_slice(tx.unsent()).unwrap();
        assert_eq!(body["error"]["status"], "INVALID_ARGUMENT");
        assert_eq!(body["error"]["details"][0]["reason"], "INVALID_FIELD");
        let mut waits = TxBuf::new(&BufPool::new());
        put_body_about(&mut waits, &told, Some(Duration::from_millis(21_500)));
        assert_eq!(
            read(429, waits.unsent()).retry_after,
            Some(Duration::from_millis(21_500))
        );
        let mut event = TxBuf::new(&BufPool::new());
        put_event(&mut event, &told);
        let want = [b"data: ", tx.unsent(), b"\n\n"].concat();
        assert_eq!(event.unsent(), want);
    }
}
