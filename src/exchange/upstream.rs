//! The request that goes upstream: rebuilt from parsed fields, never forwarded raw.
//!
//! ```text
//!   Template (once per provider)                  per attempt
//!   POST /v1/chat/completions HTTP/1.1            content-length, accept,
//!   host, authorization, user-agent, …            the few fields that pass
//! ```
//!
//! Invariants
//! - I1 Only fields on the list [`PASSES`] go up: no credentials of the client, no cookies,
//!   no hop-by-hop field, nothing that `Connection` names.
//! - I2 The provider's key stands in the template and nowhere else; it is never logged.

use crate::base::bytes::TxBuf;
use crate::config::model::{Dialect, Provider};
use crate::dialect::openai::Pieces;
use crate::dialect::openai::ask::Route;
use crate::stats::receipt::RequestId;
use crate::wire::http1::{END_OF_HEAD, RequestHead, put_decimal_field, put_field};
use std::fmt;

/// Fields of the client's request that a provider of the same dialect may need.
const PASSES: [&[u8]; 8] = [
    b"idempotency-key",
    b"openai-beta",
    b"openai-organization",
    b"openai-project",
    b"traceparent",
    b"tracestate",
    b"x-client-request-id",
    b"x-session-id",
];

/// The parts of a request head that never change, for one provider.
pub struct Template {
    /// The path before the route, ready for a request line.
    path: String,
    /// Azure: what follows the route.
    query: String,
    dialect: Dialect,
    /// `host`, credentials, user agent: whole field lines.
    fields: Vec<u8>,
}

impl fmt::Debug for Template {
    /// I2: the fields hold the provider's key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Template")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

impl Template {
    /// The template of `provider`.
    pub fn new(provider: &Provider) -> Self {
        let mut fields = Vec::new();
        let mut field = |name: &str, value: &str| {
            fields.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
        };
        field("host", &provider.base_url.authority());
        if let Some(key) = &provider.api_key {
            match provider.dialect {
                Dialect::OpenAi => field("authorization", &format!("Bearer {}", key.reveal())),
                Dialect::Azure => field("api-key", key.reveal()),
            }
        }
        field(
            "user-agent",
            concat!("shardgate/", env!("CARGO_PKG_VERSION")),
        );
        field("accept-encoding", "identity");
        field("content-type", "application/json");
        let version = provider.api_version.as_ref();
        Self {
            path: provider.base_url.path.clone(),
            query: version
                .map(|v| format!("?api-version={v}"))
                .unwrap_or_default(),
            dialect: provider.dialect,
            fields,
        }
    }

    /// Writes the request line for `route` and `model`.
    fn put_line(&self, tx: &mut TxBuf, route: Route, model: &str) {
        tx.put(b"POST ");
        tx.put(self.path.as_bytes());
        if self.dialect == Dialect::Azure {
            tx.put(b"/openai/deployments/");
            put_segment(tx, model);
        }
        tx.put(match route {
            Route::Chat => b"/chat/completions".as_slice(),
            Route::Completions => b"/completions",
            Route::Embeddings => b"/embeddings",
        });
        tx.put(self.query.as_bytes());
        tx.put(b" HTTP/1.1\r\n");
    }
}

/// What an attempt sends.
#[derive(Clone, Copy, Debug)]
pub struct Outgoing<'a> {
    /// The client's head, and the buffer that its spans point into.
    pub head: &'a RequestHead,
    /// See `head`.
    pub data: &'a [u8],
    /// Which route.
    pub route: Route,
    /// The name of the model upstream.
    pub model: &'a str,
    /// The body.
    pub body: &'a Pieces<'a>,
    /// Whether a stream is asked for.
    pub stream: bool,
    /// The exchange's name, for the provider's logs.
    pub id: RequestId,
}

/// Writes the head of the upstream request.
pub fn put_head(tx: &mut TxBuf, template: &Template, out: &Outgoing<'_>) {
    tx.reserve(512 + template.fields.len() + out.model.len());
    template.put_line(tx, out.route, out.model);
    tx.put(&template.fields);
    let accept: &[u8] = if out.stream {
        b"accept: text/event-stream\r\n"
    } else {
        b"accept: application/json\r\n"
    };
    tx.put(accept);
    tx.put(b"x-request-id: ");
    tx.put(out.id.bytes());
    tx.put(b"\r\n");
    for (name, value) in out.head.fields(out.data) {
        let passes = PASSES.iter().any(|known| name.eq_ignore_ascii_case(known));
        if passes && !out.head.connection_lists(out.data, name) {
            put_field(tx, name, value); // I1
        }
    }
    put_decimal_field(tx, "content-length", out.body.len() as u64);
    tx.put(END_OF_HEAD);
}

/// Writes `text` as one path segment (RFC 3986, 3.3).
fn put_segment(tx: &mut TxBuf, text: &str) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            tx.put(&[byte]);
        } else {
            let digit = |value: u8| {
                b"0123456789ABCDEF"
                    .get(usize::from(value))
                    .copied()
                    .unwrap_or(b'0')
            };
            tx.put(&[b'%', digit(byte >> 4), digit(byte & 15)]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::bufpool::BufPool;

    /// Goal: a model's name cannot leave its path segment.
    #[test]
    fn a_name_stays_in_its_path_segment() {
        let mut tx = TxBuf::new(&BufPool::new());
        put_segment(&mut tx, "a/b:c@d-e_f.g");
        assert_eq!(tx.unsent(), b"a%2Fb%3Ac%40d-e_f.g");
    }
}
