//! The response object around the items of an answer.
//!
//! The official SDKs want every field that their types require, with the same `id` from the
//! first event to the last; what the gateway does not know of the request stands there as
//! its default.
//!
//! Source: `openai-python`, `types/responses/response.py`.

use super::tokens;
use crate::base::bytes::TxBuf;
use crate::dialect::model::{Names, Stop, Tokens};
use crate::wire::json::write::put_string;

/// What there is to say of a response.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape<'a> {
    pub(super) id: &'a str,
    pub(super) status: Status<'a>,
    /// The items, as JSON texts with commas between them.
    pub(super) output: &'a [u8],
    pub(super) usage: Option<&'a Tokens>,
}

/// How far it is, or how it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status<'a> {
    InProgress,
    Completed,
    Incomplete(&'static str),
    Failed { code: &'a str, message: &'a str },
}

impl Status<'_> {
    /// How an answer that stopped so ended. Source: mapping.md, 8.
    pub(super) const fn of(stop: Stop) -> Self {
        match stop {
            Stop::End | Stop::Sequence | Stop::Tool | Stop::Pause => Self::Completed,
            Stop::Length | Stop::Context => Self::Incomplete("max_output_tokens"),
            Stop::Filtered => Self::Incomplete("content_filter"),
            Stop::Malformed => Self::Failed {
                code: "server_error",
                message: "The model made a tool call that cannot be read; ask again.",
            },
        }
    }

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::InProgress => "in_progress",
            Self::Completed => "completed",
            Self::Incomplete(_) => "incomplete",
            Self::Failed { .. } => "failed",
        }
    }
}

/// The name of an answer: the provider's own if it has the form, else one of the gateway's.
pub(super) fn id_of(theirs: &str, names: &Names<'_>) -> String {
    if theirs.starts_with("resp_") {
        return theirs.to_owned();
    }
    format!("resp_{}", names.id)
}

/// Appends the response object.
pub(super) fn put(tx: &mut TxBuf, shape: &Shape<'_>, created: u64, model: &str) {
    tx.put(b"{\"id\":");
    put_string(tx, shape.id);
    tx.put(b",\"object\":\"response\",\"created_at\":");
    tx.put_decimal(created);
    tx.put(b",\"status\":");
    put_string(tx, shape.status.name());
    tx.put(b",\"background\":false,\"error\":");
    match shape.status {
        Status::Failed { code, message } => {
            tx.put(b"{\"code\":");
            put_string(tx, code);
            tx.put(b",\"message\":");
            put_string(tx, message);
            tx.put(b"}");
        }
        _ => tx.put(b"null"),
    }
    tx.put(b",\"incomplete_details\":");
    match shape.status {
        Status::Incomplete(reason) => {
            tx.put(b"{\"reason\":");
            put_string(tx, reason);
            tx.put(b"}");
        }
        _ => tx.put(b"null"),
    }
    tx.put(b",\"instructions\":null,\"max_output_tokens\":null,\"metadata\":{},\"model\":");
    put_string(tx, model);
    tx.put(b",\"output\":[");
    tx.put(shape.output);
    tx.put(b"],\"parallel_tool_calls\":true,\"previous_response_id\":null");
    tx.put(b",\"reasoning\":{\"effort\":null,\"summary\":null},\"store\":false");
    tx.put(b",\"temperature\":null,\"text\":{\"format\":{\"type\":\"text\"}}");
    tx.put(b",\"tool_choice\":\"auto\",\"tools\":[],\"top_p\":null");
    tx.put(b",\"truncation\":\"disabled\",\"usage\":");
    match shape.usage {
        Some(usage) => tokens::put(tx, usage),
        None => tx.put(b"null"),
    }
    tx.put(b",\"user\":null}");
}
