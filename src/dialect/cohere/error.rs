//! Errors: any body in, Cohere's form out.
//!
//! ```text
//!   {"message":"invalid api token"}
//!   {"type":"message-end","delta":{"finish_reason":"ERROR","error":"…"}}       in a stream
//! ```
//!
//! The official SDK chooses its exception by the HTTP status and hands the body on; in a
//! stream it raises nothing: applications look at the finish reason.
//!
//! Source: Cohere API reference, "Errors" (the sentences are from its examples); `cohere`
//! 7.3.1, `raw_client.py` and `ChatMessageEndEventDelta`.

use crate::base::bytes::TxBuf;
use crate::dialect::model::{Refused, Told, Trouble};
use crate::wire::json::write::put_string;
use serde_json::Value;

/// The most bytes of a plain-text body that are handed on as the provider's own words.
const PLAIN_MAX: usize = 500;

/// What a provider says in the body of an error answer; never fails.
pub fn read(status: u16, body: &[u8]) -> Refused {
    let message = words(body);
    Refused {
        trouble: trouble(status, &message.to_ascii_lowercase()),
        message,
        param: None,
        retry_after: None,
    }
}

/// The sentence in the body: Cohere's own, or that of what stands before it.
fn words(body: &[u8]) -> String {
    let said = |value: &Value| value.as_str().map(str::to_owned);
    match serde_json::from_slice::<Value>(body) {
        Ok(value) => ["message", "error", "detail", "data"]
            .iter()
            .filter_map(|key| value.get(key))
            .find_map(|found| said(found).or_else(|| said(found.get("message")?)))
            .unwrap_or_default(),
        Err(_) if body.trim_ascii_start().starts_with(b"<") => String::new(),
        Err(_) => {
            let text = String::from_utf8_lossy(body.get(..PLAIN_MAX).unwrap_or(body));
            text.trim().to_owned()
        }
    }
}

/// What kind of trouble; `said` in lower case.
fn trouble(status: u16, said: &str) -> Trouble {
    let says = |parts: &[&str]| parts.iter().any(|part| said.contains(part));
    let too_long = (says(&["too many tokens"]) && !says(&["max tokens must be"]))
        || says(&["context length", "prompt is too long", "maximum context"]);
    match status {
        401 => Trouble::Auth,
        402 => Trouble::Quota,
        403 => Trouble::Permission,
        413 => Trouble::TooLarge,
        // The trial key's calls a month are a quota, its calls a minute are not.
        429 if says(&["month", "quota", "billing", "credit"]) => Trouble::Quota,
        429 => Trouble::RateLimit,
        _ if too_long => Trouble::ContextLength,
        _ if says(&["invalid api token", "invalid api key", "no api key"]) => Trouble::Auth,
        498 => Trouble::ContentPolicy,
        _ if says(&[
            "blocked output",
            "blocked input",
            "deny-listed",
            "safety policy",
        ]) =>
        {
            Trouble::ContentPolicy
        }
        404 => Trouble::NotFound,
        408 | 504 => Trouble::Timeout,
        503 | 529 => Trouble::Overloaded,
        _ if says(&["make sure the correct model id"]) => Trouble::NotFound,
        499 => Trouble::Server,
        400..=498 | 501 => Trouble::Invalid,
        _ if says(&["rate limit", "too many requests"]) => Trouble::RateLimit,
        _ if says(&["invalid request"]) => Trouble::Invalid,
        _ if says(&["overloaded", "no healthy upstream"]) => Trouble::Overloaded,
        _ => Trouble::Server,
    }
}

/// Appends the body of an error answer.
pub fn put_body(tx: &mut TxBuf, told: &Told<'_>) {
    tx.put(b"{\"message\":");
    put_string(tx, told.message);
    tx.put(b",\"code\":");
    put_string(tx, told.code);
    if let Some(param) = told.param {
        tx.put(b",\"param\":");
        put_string(tx, param);
    }
    tx.put(b"}");
}

/// Appends the event that ends a stream which cannot be completed.
pub fn put_event(tx: &mut TxBuf, told: &Told<'_>) {
    put_end(tx, told.trouble, told.message);
}

pub(super) fn put_end(tx: &mut TxBuf, trouble: Trouble, message: &str) {
    tx.put(b"event: message-end\ndata: {\"type\":\"message-end\",\"delta\":{\"finish_reason\":");
    tx.put(match trouble {
        Trouble::Timeout => b"\"TIMEOUT\"",
        _ => b"\"ERROR\"",
    });
    tx.put(b",\"error\":");
    put_string(tx, message);
    tx.put(b"}}\n\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::bufpool::BufPool;

    /// Goal: the documented sentences are classified, whatever status they come with; any
    /// bytes give something.
    #[test]
    fn errors_are_classified_by_what_they_say() {
        for (status, body, want) in [
            (401, r#"{"message":"invalid api token"}"#, Trouble::Auth),
            (403, r#"{"message":"no"}"#, Trouble::Permission),
            (
                402,
                r#"{"message":"Please add a payment method"}"#,
                Trouble::Quota,
            ),
            (
                404,
                r#"{"message":"model 'xyz' not found, make sure the correct model ID was used"}"#,
                Trouble::NotFound,
            ),
            (
                400,
                r#"{"message":"too many tokens: total number of tokens in the prompt cannot exceed 4081 - received 4292."}"#,
                Trouble::ContextLength,
            ),
            (
                400,
                r#"{"message":"too many tokens: max tokens must be less than or equal to 4096, the maximum output for this model - received 8192."}"#,
                Trouble::Invalid,
            ),
            (
                400,
                r#"{"message":"invalid request: temperature must be between 0 and 1.0 inclusive."}"#,
                Trouble::Invalid,
            ),
            (422, r#"{"message":"unprocessable"}"#, Trouble::Invalid),
            (
                429,
                r#"{"message":"You are using a Trial key, which is limited to 40 API calls / minute."}"#,
                Trouble::RateLimit,
            ),
            (
                429,
                r#"{"message":"You are using a Trial key, which is limited to 1000 API calls / month."}"#,
                Trouble::Quota,
            ),
            (498, r#"{"message":"x"}"#, Trouble::ContentPolicy),
            (499, r#"{"message":"request cancelled"}"#, Trouble::Server),
            (500, "<html>oops</html>", Trouble::Server),
            (502, "", Trouble::Server),
            (503, "no healthy upstream", Trouble::Overloaded),
            (504, "\u{fffd}", Trouble::Timeout),
            (200, r#"{"message":"invalid api token"}"#, Trouble::Auth),
        ] {
            assert_eq!(
                read(status, body.as_bytes()).trouble,
                want,
                "{status} {body}"
            );
        }
        assert_eq!(read(500, b"<html>x").message, "");
        assert_eq!(read(400, br#"{"error":{"message":"m"}}"#).message, "m");
        assert_eq!(read(400, b"\xff\xfe").message, "\u{fffd}\u{fffd}");
    }

    /// Goal: what is written is what our own readers understand.
    #[test]
    fn a_written_error_reads_back() {
        let told = Told {
            status: 400,
            trouble: Trouble::Invalid,
            code: "invalid_field",
            message: "'a\"b' must be\n1.",
            param: Some("messages[0]"),
        };
        let mut tx = TxBuf::new(&BufPool::new());
        put_body(&mut tx, &told);
        assert_eq!(read(400, tx.unsent()).message, told.message);
        assert_eq!(read(400, tx.unsent()).trouble, Trouble::Invalid);
        tx.clear();
        put_event(&mut tx, &told);
        let data = tx
            .unsent()
            .strip_prefix(b"event: message-end\ndata: ")
            .unwrap();
        assert!(super::super::look::look(None, data).error);
    }
}
