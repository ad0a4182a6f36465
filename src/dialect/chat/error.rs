//! Errors: what a provider's words mean, and how the client is told.
//!
//! ```text
//!   {"error":{"message":"…","type":"…","param":null,"code":"…"}}    OpenAI and most others
//!   {"error":"…","code":"…"}                                        xAI
//!   {"object":"error","message":"…","type":"…","code":400}          vLLM, Mistral
//!   {"detail":"…"}  [{"error":{…}}]  <html>…                        FastAPI, Gemini, proxies
//! ```
//!
//! Invariants
//! - I1 Any bytes are understood as some trouble; nothing fails.
//! - I2 What the provider says decides before the status: a wrong key is a 400 at some, a
//!   broken balance a 429, and an error in a stream has no status at all.
//! - I3 What is no JSON is not quoted: a page of a proxy says nothing to a client.
//!
//! Source: OpenAI API reference, "Error codes"; mapping.md, 10; protocols.md, 3, 9, 11, 12.

use crate::base::bytes::TxBuf;
use crate::dialect::model::{Refused, Told, Trouble};
use crate::dialect::openai::error::{put_error, type_of};
use crate::dialect::tree::string;
use serde_json::{Map, Value};
use std::time::Duration;

/// The longest message that is handed on, in bytes.
const MESSAGE_MAX: usize = 2048;

/// The longest wait that is believed.
const WAIT_MAX: Duration = Duration::from_secs(24 * 3600);

/// Understands the body of an answer with this status that is an error, or the data of an
/// event that is one (then `status` is 200, and what the event says decides).
pub fn read(status: u16, body: &[u8]) -> Refused {
    match serde_json::from_slice(body) {
        Ok(value) => of_value(status, &value),
        Err(_) => Refused {
            trouble: by_status(status),
            message: format!("The provider answered with status {status}."), // I3
            param: None,
            retry_after: None,
        },
    }
}

/// Understands a parsed body.
pub(super) fn of_value(status: u16, value: &Value) -> Refused {
    let mut said = Said::default();
    said.look(value);
    let is_bad = || {
        said.codes
            .iter()
            .any(|code| code == "invalid_request_error")
    };
    let status = match said.status {
        _ if status >= 400 => status,
        Some(status) => status,
        None if is_bad() => 400,
        None => status,
    };
    let message = if said.message.is_empty() {
        format!("The provider answered with status {status}.")
    } else {
        cut(said.message)
    };
    let words = message.to_ascii_lowercase();
    Refused {
        trouble: said
            .codes
            .iter()
            .find_map(|code| by_code(code))
            // OpenAI calls an engine that is overloaded, and one that is late, a server_error.
            .filter(|trouble| {
                *trouble != Trouble::Server || !matches!(status, 408 | 503 | 504 | 529)
            })
            .or_else(|| by_words(status, &words))
            .unwrap_or_else(|| by_status(status)),
        retry_after: wait(&words),
        message,
        param: said.param,
    }
}

/// What an error says, wherever it says it.
#[derive(Default)]
struct Said {
    message: String,
    /// `code` and `type`, the nearest first.
    codes: Vec<String>,
    param: Option<String>,
    status: Option<u16>,
}

impl Said {
    fn look(&mut self, value: &Value) {
        match value {
            Value::Array(items) => {
                if let Some(first) = items.first() {
                    self.look(first);
                }
            }
            Value::String(text) => self.message.clone_from(text),
            Value::Object(object) => self.object(object),
            _ => {}
        }
    }

    fn object(&mut self, object: &Map<String, Value>) {
        for key in ["error", "errors", "detail", "choices"] {
            let inner = object.get(key);
            if let Some(inner) = inner.filter(|inner| !inner.is_null()) {
                self.look(inner);
                break;
            }
        }
        for key in ["message", "msg"] {
            if self.message.is_empty()
                && let Some(text) = string(object, key)
            {
                text.clone_into(&mut self.message);
            }
        }
        for key in ["code", "type", "status"] {
            match object.get(key) {
                Some(Value::String(code)) => self.codes.push(code.clone()),
                Some(number) => self.number(number),
                None => {}
            }
        }
        for key in ["status_code", "raw_status_code"] {
            if let Some(number) = object.get(key) {
                self.number(number);
            }
        }
        if self.param.is_none() {
            self.param = string(object, "param").map(str::to_owned);
        }
        for key in ["innererror", "metadata"] {
            if let Some(Value::Object(inner)) = object.get(key) {
                self.beside(inner);
            }
        }
    }

    /// Azure's `innererror` and `OpenRouter`'s `metadata`, which quotes the provider behind it.
    fn beside(&mut self, inner: &Map<String, Value>) {
        if let Some(code) = string(inner, "code") {
            self.codes.push(code.to_owned());
        }
        if let Some(raw) = string(inner, "raw") {
            self.message.push_str(": ");
            self.message.push_str(raw);
        }
    }

    fn number(&mut self, number: &Value) {
        let number = number.as_u64().and_then(|n| u16::try_from(n).ok());
        if self.status.is_none() {
            self.status = number.filter(|status| (400..600).contains(status));
        }
    }
}

/// Codes and types that say it all.
fn by_code(code: &str) -> Option<Trouble> {
    const CODES: [(&str, Trouble); 31] = [
        ("context_length_exceeded", Trouble::ContextLength),
        ("exceed_context_size_error", Trouble::ContextLength),
        ("too_many_prompt_tokens", Trouble::ContextLength),
        ("content_filter", Trouble::ContentPolicy),
        ("content_policy_violation", Trouble::ContentPolicy),
        ("responsibleaipolicyviolation", Trouble::ContentPolicy),
        ("insufficient_quota", Trouble::Quota),
        ("insufficient_balance", Trouble::Quota),
        ("billing_hard_limit_reached", Trouble::Quota),
        ("billing_not_active", Trouble::Quota),
        ("rate_limit_exceeded", Trouble::RateLimit),
        ("rate_limit_error", Trouble::RateLimit),
        ("ratelimitreached", Trouble::RateLimit),
        ("too_many_requests", Trouble::RateLimit),
        ("resource_exhausted", Trouble::RateLimit),
        ("invalid_api_key", Trouble::Auth),
        ("authentication_error", Trouble::Auth),
        ("unauthenticated", Trouble::Auth),
        ("401", Trouble::Auth),
        ("permission_error", Trouble::Permission),
        ("permission_denied", Trouble::Permission),
        ("model_not_found", Trouble::NotFound),
        ("deploymentnotfound", Trouble::NotFound),
        ("not_found_error", Trouble::NotFound),
        ("overloaded_error", Trouble::Overloaded),
        ("engine_overloaded", Trouble::Overloaded),
        ("unavailable_error", Trouble::Overloaded),
        ("timeout_error", Trouble::Timeout),
        ("timeout", Trouble::Timeout),
        ("server_error", Trouble::Server),
        ("internal_server_error", Trouble::Server),
    ];
    CODES
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(code))
        .map(|&(_, trouble)| trouble)
}

/// Sentences (in lower case) that say what neither the code nor the status does.
fn by_words(status: u16, words: &str) -> Option<Trouble> {
    const CONTEXT: [&str; 11] = [
        "context length",
        "maximum context",
        "context window",
        "context size",
        "exceeded max context",
        "prompt is too long",
        "prompt too long",
        "input is too long",
        "exceeds the maximum number of tokens",
        "input tokens exceeded",
        "total length of all messages is too long",
    ];
    const KEY: [&str; 4] = [
        "incorrect api key",
        "invalid api key",
        "api key not valid",
        "invalid authentication",
    ];
    const QUOTA: [&str; 4] = [
        "insufficient balance",
        "insufficient credits",
        "exceeded your current quota",
        "requires more credits",
    ];
    let says = |list: &[&str]| list.iter().any(|part| words.contains(part));
    // A failing engine may speak of its context size, too; that is its own trouble.
    let is_ours = matches!(status, 200..=299 | 400 | 413 | 422 | 429);
    if says(&KEY) {
        return Some(Trouble::Auth);
    }
    if says(&QUOTA) {
        return Some(Trouble::Quota);
    }
    if is_ours && says(&CONTEXT) && !words.contains("try again") {
        return Some(Trouble::ContextLength);
    }
    let is_policy = words.contains("content management policy");
    (is_ours && is_policy).then_some(Trouble::ContentPolicy)
}

/// What a status says when nothing else does.
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
        400..=499 => Trouble::Invalid,
        _ => Trouble::Server,
    }
}

/// The wait that a sentence (in lower case) names: `try again in 1.5s`, `retry after 20 seconds`.
fn wait(words: &str) -> Option<Duration> {
    let after = ["try again in ", "retry after ", "retry in "];
    let rest = after
        .iter()
        .find_map(|lead| words.split_once(lead))
        .map(|(_, rest)| rest)?;
    let digits = rest
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(rest.len());
    let (number, unit) = rest.split_at_checked(digits)?;
    let number: f64 = number.trim_end_matches('.').parse().ok()?;
    let unit = unit.trim_start();
    let seconds = if unit.starts_with("ms") || unit.starts_with("milli") {
        number / 1000.0
    } else if unit.starts_with('m') {
        number * 60.0
    } else if unit.starts_with('h') {
        number * 3600.0
    } else if unit.starts_with('s') {
        number
    } else {
        return None;
    };
    let wait = Duration::try_from_secs_f64(seconds).ok()?;
    (wait <= WAIT_MAX).then_some(wait)
}

/// At most [`MESSAGE_MAX`] bytes of `message`.
fn cut(mut message: String) -> String {
    if message.len() > MESSAGE_MAX {
        let mut end = MESSAGE_MAX;
        while !message.is_char_boundary(end) {
            end -= 1;
        }
        message.truncate(end);
    }
    message
}

/// How the client is told of what a provider refused in mid-stream.
pub(super) fn told(refused: &Refused) -> Told<'_> {
    let (status, code) = match refused.trouble {
        Trouble::Auth => (502, "upstream_refused_key"),
        Trouble::Permission => (403, "permission_denied"),
        Trouble::NotFound => (404, "model_not_found"),
        Trouble::Invalid => (400, "invalid_request"),
        Trouble::ContextLength => (400, "context_length_exceeded"),
        Trouble::ContentPolicy => (400, "content_filter"),
        Trouble::TooLarge => (413, "body_too_large"),
        Trouble::RateLimit => (429, "rate_limit_exceeded"),
        Trouble::Quota => (429, "insufficient_quota"),
        Trouble::Overloaded => (503, "overloaded"),
        Trouble::Server => (502, "upstream_error"),
        Trouble::Timeout => (504, "upstream_timeout"),
    };
    let message = match refused.trouble {
        Trouble::Auth => "The provider refused the gateway's credentials.",
        _ => &refused.message,
    };
    Told {
        status,
        trouble: refused.trouble,
        code,
        message,
        param: refused.param.as_deref(),
    }
}

/// Appends the body of an error answer.
pub fn put_body(tx: &mut TxBuf, told: &Told<'_>) {
    // Clients of OpenAI look for exactly these.
    let code = match told.trouble {
        Trouble::ContextLength => "context_length_exceeded",
        Trouble::ContentPolicy => "content_filter",
        Trouble::Quota => "insufficient_quota",
        _ => told.code,
    };
    let r#type = match told.trouble {
        Trouble::Quota => "insufficient_quota",
        _ => type_of(told.status),
    };
    put_error(tx, told.message, r#type, told.param, code);
}

/// Appends the event that ends a stream which cannot be completed; no `[DONE]` follows.
pub fn put_event(tx: &mut TxBuf, told: &Told<'_>) {
    tx.put(b"data: ");
    put_body(tx, told);
    tx.put(b"\n\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::bufpool::BufPool;
    use serde_json::json;

    /// Goal: I2. Method: errors as providers word them, with the status that they came with.
    #[test]
    #[expect(clippy::too_many_lines, reason = "one list of cases")]
    fn what_a_provider_says_decides() {
        for (status, body, want) in [
            (
                400,
                json!({"code": "Client specified an invalid argument",
                    "error": "Incorrect API key provided: xa***"}),
                Trouble::Auth,
            ),
            (
                400,
                json!({"error": {"message": "This model's maximum context length is 8192 tokens",
                    "type": "invalid_request_error", "code": null}}),
                Trouble::ContextLength,
            ),
            (
                429,
                json!({"error": {"message": "You exceeded your current quota",
                    "type": "insufficient_quota", "code": "insufficient_quota"}}),
                Trouble::Quota,
            ),
            (
                429,
                json!({"error": {"message": "Slow down", "type": "requests",
                    "code": "rate_limit_exceeded"}}),
                Trouble::RateLimit,
            ),
            (
                200,
                json!({"error": {"message": "busy", "code": 503}}),
                Trouble::Overloaded,
            ),
            (
                200,
                json!({"error": {"message": "no such tool", "status_code": 400,
                    "type": "invalid_request_error"}}),
                Trouble::Invalid,
            ),
            (
                200,
                json!({"error": {"message": "no", "type": "invalid_request_error"}}),
                Trouble::Invalid,
            ),
            (
                400,
                json!({"error": {"code": "content_filter", "message": "filtered",
                    "innererror": {"code": "ResponsibleAIPolicyViolation"}}}),
                Trouble::ContentPolicy,
            ),
            (401, json!({"detail": "Unauthorized"}), Trouble::Auth),
            (
                422,
                json!({"detail": [{"loc": ["body"], "msg": "field required"}]}),
                Trouble::Invalid,
            ),
            (
                404,
                json!([{"error": {"code": 404, "message": "gone", "status": "NOT_FOUND"}}]),
                Trouble::NotFound,
            ),
            (
                200,
                json!({"message": "failed to decode, try again, increasing context size"}),
                Trouble::Server,
            ),
            (529, json!(null), Trouble::Overloaded),
            (
                503,
                json!({"error": {"message": "later", "type": "server_error"}}),
                Trouble::Overloaded,
            ),
            (
                400,
                json!({"error": {"message": "later", "type": "server_error"}}),
                Trouble::Server,
            ),
        ] {
            let refused = read(status, body.to_string().as_bytes());
            assert_eq!(refused.trouble, want, "{body}");
            assert!(!refused.message.is_empty());
        }
    }

    /// Goal: I1 and I3.
    #[test]
    fn a_page_is_not_quoted() {
        for (status, body, want) in [
            (502, "<html><h1>nginx 1.2.3</h1></html>", Trouble::Server),
            (503, "", Trouble::Overloaded),
            (401, "\u{0}", Trouble::Auth),
        ] {
            let refused = read(status, body.as_bytes());
            assert_eq!(refused.trouble, want);
            assert!(!refused.message.contains("nginx"), "{}", refused.message);
        }
    }

    /// Goal: a wait in the words is found, and a silly one is not believed.
    #[test]
    fn a_wait_in_the_words_is_found() {
        for (words, want) in [
            ("please try again in 1.5s. visit", Some(1500)),
            ("please try again in 20ms.", Some(20)),
            ("try again in 6m0s", Some(360_000)),
            ("please retry after 60 seconds.", Some(60_000)),
            ("retry after lunch", None),
            ("try again in 99999999999 seconds", None),
            ("try again", None),
        ] {
            assert_eq!(wait(words), want.map(Duration::from_millis), "{words}");
        }
    }

    /// Goal: a client finds the codes that it looks for; the gateway's key is never told of.
    #[test]
    fn a_client_finds_the_codes_that_it_looks_for() {
        let body = json!({"error": {"message": "a \"quote\" of sk-123",
            "code": "context_length_exceeded", "param": "messages"}});
        let mut refused = read(400, body.to_string().as_bytes());
        let mut tx = TxBuf::new(&BufPool::new());
        put_event(&mut tx, &told(&refused));
        let text = std::str::from_utf8(tx.unsent()).unwrap();
        let data = text.strip_prefix("data: ").unwrap();
        let event: Value = serde_json::from_str(data).unwrap();
        assert_eq!(event["error"]["code"], "context_length_exceeded");
        assert_eq!(event["error"]["type"], "invalid_request_error");
        assert_eq!(event["error"]["param"], "messages");
        assert_eq!(event["error"]["message"], "a \"quote\" of sk-123");
        refused.trouble = Trouble::Auth;
        assert!(!told(&refused).message.contains("sk-123"));
    }
}
