//! Errors: `{"message":…}`, with the type in the header `x-amzn-errortype` or, in a stream, in
//! the header of an exception frame.
//!
//! Invariants
//! - I1 Any bytes are an error that can be told; nothing fails.
//! - I2 What the provider says about the gateway's credentials is never passed on.
//!
//! Source: Amazon Bedrock Runtime API, errors of `Converse` and exceptions of
//! `ConverseStreamOutput`; AWS JSON protocol (`__type`); mapping.md, 10.

use crate::base::bytes::TxBuf;
use crate::base::fault::Kind;
use crate::dialect::model::{Refused, Told, Trouble};
use crate::wire::eventstream;
use crate::wire::json::write::put_string;
use serde_json::Value;
use std::borrow::Cow;

/// Most characters of a provider's sentence that are kept.
const MESSAGE_MAX: usize = 2000;

/// Reads an error answer.
pub fn read(status: u16, body: &[u8]) -> Refused {
    let value: Value = serde_json::from_slice(body).unwrap_or(Value::Null);
    // An operation that the service does not know is answered in a wrapper.
    let value = value.get("Output").unwrap_or(&value);
    let name = value.get("__type").and_then(Value::as_str).unwrap_or("");
    refused(name, status, value)
}

/// Reads an exception in mid-stream: its type, and its payload.
pub fn exception(name: &str, data: &[u8]) -> Refused {
    let value: Value = serde_json::from_slice(data).unwrap_or(Value::Null);
    let status = value
        .get("originalStatusCode")
        .and_then(Value::as_u64)
        .and_then(|status| u16::try_from(status).ok());
    refused(name, status.unwrap_or(0), &value)
}

fn refused(name: &str, status: u16, value: &Value) -> Refused {
    let text = ["message", "Message", "originalMessage", "errorMessage"]
        .iter()
        .find_map(|key| value.get(key)?.as_str())
        .unwrap_or("");
    let trouble = trouble(name, status, text);
    let message = if trouble == Trouble::Auth {
        "The provider refused the gateway's credentials.".to_owned() // I2
    } else if text.is_empty() {
        "The provider reported an error without a message.".to_owned()
    } else {
        text.chars().take(MESSAGE_MAX).collect()
    };
    Refused {
        trouble,
        message,
        param: None,
        retry_after: None,
    }
}

/// What kind of trouble: by the type where there is one, else by the words, else by the status.
fn trouble(name: &str, status: u16, text: &str) -> Trouble {
    let text = text.to_ascii_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| text.contains(word));
    // `com.amazon.coral.service#UnknownOperationException`, `ThrottlingException:http://…`.
    let name = name.rsplit('#').next().unwrap_or("");
    let name = name.split(':').next().unwrap_or("").to_ascii_lowercase();
    let is = |words: &[&str]| words.iter().any(|word| name.contains(word));
    let is_rate = is(&["throttling", "toomanyrequests"]) || name.is_empty() && status == 429;
    if is(&["servicequota"]) || status == 402 {
        Trouble::Quota
    } else if is(&["modelnotready", "serviceunavailable"]) {
        Trouble::Overloaded
    } else if is_rate {
        if says(&["per day", "daily", "quota"]) {
            Trouble::Quota
        } else if says(&["not ready"]) {
            Trouble::Overloaded
        } else {
            Trouble::RateLimit
        }
    } else if is(&[
        "unrecognizedclient",
        "expiredtoken",
        "invalidsignature",
        "incompletesignature",
        "signaturedoesnotmatch",
        "missingauthenticationtoken",
        "invalidclienttokenid",
        "requestexpired",
    ]) {
        Trouble::Auth
    } else if is(&["accessdenied", "optinrequired"]) || matches!(status, 401 | 403) {
        denied(status, &says)
    } else if is(&["resourcenotfound", "unknownoperation"]) {
        Trouble::NotFound
    } else if is(&["timeout"]) {
        Trouble::Timeout
    } else if is(&[
        "modelerror",
        "modelstreamerror",
        "internalserver",
        "internalfailure",
    ]) {
        Trouble::Server
    } else if is(&["validation"]) || matches!(status, 400 | 422) {
        invalid(&says)
    } else {
        by_status(status)
    }
}

/// Credentials that are no good, or good ones that do not reach this far.
fn denied(status: u16, says: &impl Fn(&[&str]) -> bool) -> Trouble {
    let words = [
        "security token",
        "signature",
        "credential",
        "api key",
        "bearer token",
        "authentication",
        "expired",
    ];
    if status == 401 || says(&words) {
        Trouble::Auth
    } else {
        Trouble::Permission
    }
}

/// What is wrong with a request, by what the provider says.
fn invalid(says: &impl Fn(&[&str]) -> bool) -> Trouble {
    let too_long = [
        "too long",
        "input tokens exceeded",
        "input token count exceed",
        "maximum context",
        "context length",
        "context window",
        "context limit",
        "too many input tokens",
        "too many total text",
        "exceeds the maximum number of tokens",
    ];
    let unknown_model = [
        "model identifier is invalid",
        "identifier is invalid",
        "on-demand throughput isn",
        "end of its life",
        "resource not found",
    ];
    if says(&too_long) {
        Trouble::ContextLength
    } else if says(&unknown_model) {
        Trouble::NotFound
    } else if says(&["content filter", "content polic", "blocked by"]) {
        Trouble::ContentPolicy
    } else if says(&["quota", "billing", "payment instrument"]) {
        Trouble::Quota
    } else {
        Trouble::Invalid
    }
}

const fn by_status(status: u16) -> Trouble {
    match status {
        404 => Trouble::NotFound,
        408 | 504 => Trouble::Timeout,
        413 => Trouble::TooLarge,
        503 | 529 => Trouble::Overloaded,
        405..=499 if status != 424 => Trouble::Invalid,
        _ => Trouble::Server,
    }
}

/// Appends the body of an error answer; the header goes with it, see [`error_type`].
pub fn put_body(tx: &mut TxBuf, told: &Told<'_>) {
    tx.put(b"{\"message\":");
    put_string(tx, told.message);
    tx.put(b"}");
}

/// The value of the header `x-amzn-errortype`, by which the SDKs choose their exception.
pub fn error_type(told: &Told<'_>) -> &'static str {
    match (told.status, told.trouble) {
        _ if told.code == Kind::BadSignature.code() => "InvalidSignatureException",
        _ if told.code == Kind::BadKey.code() => "UnrecognizedClientException",
        (401, _) => "UnrecognizedClientException",
        (403, _) => "AccessDeniedException",
        (404, _) => "ResourceNotFoundException",
        (429, Trouble::Quota) => "ServiceQuotaExceededException",
        (429, _) => "ThrottlingException",
        (503 | 529, _) => "ServiceUnavailableException",
        (408 | 504, _) => "ModelTimeoutException",
        (424, _) => "ModelErrorException",
        (400..=499, _) => "ValidationException",
        _ => "InternalServerException",
    }
}

/// Appends the frame that ends a stream which cannot be completed.
pub fn put_event(tx: &mut TxBuf, told: &Told<'_>) {
    put_exception(tx, told.trouble, told.message);
}

/// Appends an exception frame; a stream knows fewer types than an answer.
pub(super) fn put_exception(tx: &mut TxBuf, trouble: Trouble, message: &str) {
    let name = match trouble {
        Trouble::RateLimit | Trouble::Quota => "throttlingException",
        Trouble::Overloaded => "serviceUnavailableException",
        Trouble::Timeout => "modelStreamErrorException",
        Trouble::Auth | Trouble::Server => "internalServerException",
        Trouble::Permission
        | Trouble::NotFound
        | Trouble::Invalid
        | Trouble::ContextLength
        | Trouble::ContentPolicy
        | Trouble::TooLarge => "validationException",
    };
    let message: Cow<'_, str> = if trouble == Trouble::Auth {
        Cow::Borrowed("The provider refused the gateway's credentials.") // I2
    } else {
        message.into()
    };
    let mut body = TxBuf::new(tx.pool());
    body.put(b"{\"message\":");
    put_string(&mut body, &message);
    body.put(b"}");
    eventstream::put_exception(tx, name, &[body.unsent()]);
}
