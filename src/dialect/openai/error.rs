//! Errors in OpenAI's form: as a body, and as an event in a stream that has begun.
//!
//! ```text
//!   {"error":{"message":"…","type":"invalid_request_error","param":"model","code":"invalid_model"}}
//! ```
//!
//! The official SDKs choose their exception by the HTTP status and read `message`, `type`,
//! `param` and `code` from the body; in a stream they raise on any event whose data has an
//! `error`.
//!
//! Source: OpenAI API reference, "Error codes"; `openai-python`, `_base_client.py` and
//! `_streaming.py`.

use crate::base::bytes::TxBuf;
use crate::base::fault::Kind;
use crate::wire::json::write::put_string;

/// The `type` that goes with an HTTP status.
pub const fn type_of(status: u16) -> &'static str {
    match status {
        401 => "authentication_error",
        403 => "permission_error",
        429 => "rate_limit_error",
        500..=599 => "server_error",
        _ => "invalid_request_error",
    }
}

/// The `param` that an error is about.
const fn param_of(kind: Kind) -> Option<&'static str> {
    match kind {
        Kind::NoModel | Kind::BadModel | Kind::NoSuchModel | Kind::ModelForbidden => Some("model"),
        _ => None,
    }
}

/// Appends the body of an error answer.
pub fn put_error_body(tx: &mut TxBuf, kind: Kind) {
    put_error(
        tx,
        kind.text(),
        type_of(kind.status()),
        param_of(kind),
        kind.code(),
    );
}

/// Appends the event that ends a stream which cannot be completed; no `[DONE]` follows.
pub fn put_error_event(tx: &mut TxBuf, kind: Kind) {
    tx.put(b"data: ");
    put_error_body(tx, kind);
    tx.put(b"\n\n");
}

/// Appends an error object of any words; every string is escaped.
pub fn put_error(tx: &mut TxBuf, message: &str, r#type: &str, param: Option<&str>, code: &str) {
    tx.put(b"{\"error\":{\"message\":");
    put_string(tx, message);
    tx.put(b",\"type\":");
    put_string(tx, r#type);
    tx.put(b",\"param\":");
    match param {
        Some(param) => put_string(tx, param),
        None => tx.put(b"null"),
    }
    tx.put(b",\"code\":");
    put_string(tx, code);
    tx.put(b"}}");
}
