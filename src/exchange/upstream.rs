//! The request that goes upstream: rebuilt from parsed fields, never forwarded raw.
//!
//! ```text
//!   Template (once per provider)                  per attempt
//!   POST /v1/chat/completions HTTP/1.1            content-length, accept,
//!   host, authorization, user-agent, …            the few fields that pass, a signature
//! ```
//!
//! Invariants
//! - I1 Only fields on the lists [`PASSES`] and [`passes_same`] go up: no credentials of the
//!   client, no cookies, no hop-by-hop field, nothing that `Connection` names.
//! - I2 The provider's key stands in the template and nowhere else; it is never logged.
//! - I3 A signature is of what is sent: of the path as it stands in the request line, and of
//!   the body as it goes out, at the time of the attempt.

use crate::base::bytes::TxBuf;
use crate::config::aws::Signer;
use crate::config::model::{Dialect, Flavour, Provider, Secret};
use crate::dialect::anthropic::request::Cloud;
use crate::dialect::model::Dialect as Spoken;
use crate::dialect::pieces::Pieces;
use crate::dialect::route::Route;
use crate::stats::receipt::RequestId;
use crate::wire::http1::{END_OF_HEAD, RequestHead, put_decimal_field, put_field, put_own_field};
use crate::wire::sigv4::{self, Keys, Payload, Place};
use sha2::{Digest, Sha256};
use std::fmt;

/// Fields of the client's request that go up whatever the provider speaks.
const PASSES: [&[u8]; 4] = [
    b"traceparent",
    b"tracestate",
    b"x-client-request-id",
    b"x-session-id",
];

/// Fields that only a provider of the client's own dialect understands.
fn passes_same(provider: &Provider) -> &'static [&'static [u8]] {
    match provider.cloud() {
        Some(Cloud::Vertex) => return &[b"anthropic-beta"],
        Some(Cloud::Bedrock) => return &[], // what the client wants of them is in the body
        None => {}
    }
    match provider.dialect.speaks() {
        Spoken::Chat | Spoken::Responses => &[
            b"idempotency-key",
            b"openai-beta",
            b"openai-organization",
            b"openai-project",
        ],
        Spoken::Anthropic => &[b"anthropic-beta", b"anthropic-version", b"idempotency-key"],
        Spoken::Gemini => &[b"x-goog-api-client", b"x-goog-user-project"],
        Spoken::Cohere => &[b"x-client-name"],
        Spoken::Bedrock => &[b"x-amzn-bedrock-trace"],
    }
}

/// The type of every body.
const CONTENT_TYPE: &str = "application/json";

/// The service that signatures for Bedrock are for, its runtime's too.
const SERVICE: &str = "bedrock";

/// The version of Anthropic's API that is asked for unless the client names one.
const ANTHROPIC_VERSION: &[u8] = b"2023-06-01";

/// The parts of a request head that never change, for one provider.
pub struct Template {
    /// The path before the route, ready for a request line.
    path: String,
    /// Azure: what follows the route.
    query: String,
    dialect: Dialect,
    flavour: Option<Flavour>,
    /// Fields of a client of the same dialect that go up.
    same: &'static [&'static [u8]],
    /// `host`, credentials, user agent: whole field lines.
    fields: Vec<u8>,
    /// The value of `host`, which is signed.
    host: String,
    /// What requests are signed with.
    signer: Option<Box<Signer>>,
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
        let host = provider.base_url.authority();
        field("host", &host);
        if let Some(key) = &provider.api_key {
            let key = key.reveal();
            match (provider.dialect, provider.flavour) {
                (Dialect::Azure, _) | (_, Some(Flavour::Azure)) => field("api-key", key),
                (Dialect::Anthropic, None) => field("x-api-key", key),
                (Dialect::Gemini, None) => field("x-goog-api-key", key),
                _ => field("authorization", &format!("Bearer {key}")),
            }
        }
        field(
            "user-agent",
            concat!("shardgate/", env!("CARGO_PKG_VERSION")),
        );
        field("accept-encoding", "identity");
        field("content-type", CONTENT_TYPE);
        let version = provider.api_version.as_ref();
        Self {
            path: provider.base_url.path.clone(),
            query: version
                .map(|v| format!("?api-version={v}"))
                .unwrap_or_default(),
            dialect: provider.dialect,
            flavour: provider.flavour,
            same: passes_same(provider),
            fields,
            host,
            signer: provider.aws.clone(),
        }
    }

    /// Writes the request line for `model`: the route of the client where it is the provider's
    /// own, else the provider's route for an answer in a conversation.
    fn put_line(&self, tx: &mut TxBuf, out: &Outgoing<'_>) {
        let path = self.path.as_bytes();
        tx.put(b"POST ");
        tx.put(path);
        // Base URLs are written with and without the version, as the SDKs have them.
        let version = |tx: &mut TxBuf, version: &[u8]| {
            if !path.ends_with(version) {
                tx.put(version);
            }
        };
        match self.dialect {
            Dialect::OpenAi | Dialect::Azure => {
                if self.dialect == Dialect::Azure {
                    tx.put(b"/openai/deployments/");
                    put_segment(tx, out.model);
                }
                tx.put(match out.route {
                    Route::Completions if !out.is_translated => b"/completions".as_slice(),
                    route if route.embeds() => b"/embeddings",
                    _ => b"/chat/completions",
                });
            }
            Dialect::Responses => {
                if self.flavour.is_some() {
                    version(tx, b"/openai/v1");
                }
                tx.put(b"/responses");
            }
            Dialect::Anthropic if self.flavour == Some(Flavour::Vertex) => {
                let ways = [":rawPredict", ":streamRawPredict"];
                put_model(tx, "/models/", out, ways);
            }
            Dialect::Anthropic if self.flavour.is_some() => {
                let ways = ["/invoke", "/invoke-with-response-stream"];
                put_model(tx, "/model/", out, ways);
            }
            Dialect::Anthropic => {
                version(tx, b"/v1");
                tx.put(b"/messages");
                if out.route == Route::CountTokens {
                    tx.put(b"/count_tokens");
                }
            }
            Dialect::Gemini => {
                if self.flavour.is_none() {
                    version(tx, b"/v1beta");
                }
                let ways = match out.route {
                    Route::EmbedContent if !out.is_translated => [":embedContent"; 2],
                    route if route.embeds() => [":batchEmbedContents"; 2],
                    _ => [":generateContent", ":streamGenerateContent?alt=sse"],
                };
                put_model(tx, "/models/", out, ways);
            }
            Dialect::Cohere => {
                version(tx, b"/v2");
                tx.put(if out.route.embeds() {
                    b"/embed".as_slice()
                } else {
                    b"/chat"
                });
            }
            Dialect::Bedrock => {
                let ways = match out.route {
                    route if route.embeds() => ["/invoke"; 2],
                    _ => ["/converse", "/converse-stream"],
                };
                put_model(tx, "/model/", out, ways);
            }
        }
        tx.put(self.query.as_bytes());
        tx.put(b" HTTP/1.1\r\n");
    }

    /// Writes the fields that a signature needs, and the signature (I3); `line` is the request
    /// line.
    fn put_signature(&self, tx: &mut TxBuf, signer: &Signer, line: &[u8], out: &Outgoing<'_>) {
        let mut hash = Sha256::new();
        out.body.iter().for_each(|piece| hash.update(piece));
        let payload = Payload::Hash(hash.finalize().into());
        let hash = payload.text();
        let target = line.split(|byte| *byte == b' ').nth(1).unwrap_or_default();
        let target = String::from_utf8_lossy(target);
        let (path, query) = target.split_once('?').unwrap_or((&target, ""));
        let ask = sigv4::Ask {
            method: "POST",
            path,
            query,
            headers: &[
                ("content-type", CONTENT_TYPE),
                ("host", &self.host),
                ("x-amz-content-sha256", &hash),
            ],
            payload,
        };
        let token = signer.session_token.as_ref().map(Secret::reveal);
        let keys = Keys {
            id: signer.access_key_id.reveal(),
            secret: signer.secret_access_key.reveal(),
            token,
        };
        let place = Place {
            region: &signer.region,
            service: SERVICE,
        };
        let made = sigv4::sign(&ask, &keys, place, out.now);
        put_own_field(tx, "x-amz-date", made.date.as_bytes());
        put_own_field(tx, "x-amz-content-sha256", hash.as_bytes());
        if let Some(token) = token {
            put_own_field(tx, "x-amz-security-token", token.as_bytes());
        }
        put_own_field(tx, "authorization", made.authorization.as_bytes());
    }
}

/// What an attempt sends.
#[derive(Clone, Copy, Debug)]
pub struct Outgoing<'a> {
    /// The client's head, if it is for one client, and the buffer that its spans point into.
    pub head: Option<&'a RequestHead>,
    /// See `head`.
    pub data: &'a [u8],
    /// Which route.
    pub route: Route,
    /// Whether the body was written anew for the provider's dialect.
    pub is_translated: bool,
    /// The name of the model upstream.
    pub model: &'a str,
    /// The body.
    pub body: &'a Pieces<'a>,
    /// Whether a stream is asked for.
    pub stream: bool,
    /// The exchange's name, for the provider's logs.
    pub id: RequestId,
    /// Seconds since 1970, for a signature.
    pub now: u64,
}

/// Writes the head of the upstream request.
pub fn put_head(tx: &mut TxBuf, template: &Template, out: &Outgoing<'_>) {
    tx.reserve(512 + template.fields.len() + out.model.len());
    match &template.signer {
        None => template.put_line(tx, out),
        Some(signer) => {
            let mut line = TxBuf::new(tx.pool());
            template.put_line(&mut line, out);
            tx.put(line.unsent());
            template.put_signature(tx, signer, line.unsent(), out);
        }
    }
    tx.put(&template.fields);
    tx.put(match (out.stream, template.dialect) {
        (true, Dialect::Bedrock) => b"accept: application/vnd.amazon.eventstream\r\n".as_slice(),
        // It means what is in the frames.
        (true, _) if template.flavour != Some(Flavour::Bedrock) => b"accept: text/event-stream\r\n",
        _ => b"accept: application/json\r\n",
    });
    tx.put(b"x-request-id: ");
    tx.put(out.id.bytes());
    tx.put(b"\r\n");
    let same: &[&[u8]] = if out.is_translated {
        &[]
    } else {
        template.same
    };
    let mut has_version = false;
    if let Some(head) = out.head {
        for (name, value) in head.fields(out.data) {
            let mut known = PASSES.iter().chain(same);
            let passes = known.any(|known| name.eq_ignore_ascii_case(known));
            if passes && !head.connection_lists(out.data, name) {
                put_field(tx, name, value); // I1
                has_version |= name.eq_ignore_ascii_case(b"anthropic-version");
            }
        }
    }
    if template.dialect == Dialect::Anthropic && !has_version && template.flavour.is_none() {
        put_own_field(tx, "anthropic-version", ANTHROPIC_VERSION);
    }
    put_decimal_field(tx, "content-length", out.body.len() as u64);
    tx.put(END_OF_HEAD);
}

/// Writes a path with the model in it: behind `front`, before what the plain way and the way of
/// streams end with.
fn put_model(tx: &mut TxBuf, front: &str, out: &Outgoing<'_>, [plain, stream]: [&str; 2]) {
    tx.put(front.as_bytes());
    put_segment(tx, out.model);
    tx.put(if out.stream { stream } else { plain }.as_bytes());
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
    use crate::config::{FixedSecrets, check};
    use crate::wire::http1::{HeadLimits, RequestReader};

    const SECRET: &str = "wJalrXUtnFEMI/K7MDENG";

    fn provider(token: &str) -> Provider {
        let text = format!(
            "[providers.p]\ndialect = \"bedrock\"\nbase_url = \"http://127.0.0.1:81/base\"\n\
             aws = {{ region = \"eu-west-1\", access_key_id = {{ env = \"ID\" }}, \
             secret_access_key = {{ env = \"KEY\" }}{token} }}\n"
        );
        let secrets = [("ID", "AKID"), ("KEY", SECRET), ("TOKEN", "tok/en+==")];
        let mut config = check(&text, &FixedSecrets(&secrets)).unwrap().config;
        config.providers.remove(0)
    }

    /// Goal: I3. Method: the head for a body in pieces is verified as a provider does it, with
    /// the body in one piece; another body's is refused.
    #[test]
    fn what_is_sent_is_what_is_signed() {
        const CLIENTS: &[u8] = b"POST /model/a/converse HTTP/1.1\r\nhost: h\r\n\
              authorization: AWS4-HMAC-SHA256 x\r\nx-amz-date: 1\r\n\r\n";
        let now = 1_800_000_000;
        for (token, stream) in [("", false), (", session_token = { env = \"TOKEN\" }", true)] {
            let template = Template::new(&provider(token));
            assert!(!format!("{template:?}").contains(SECRET));
            let mut tx = TxBuf::new(&BufPool::new());
            let ask = b"{\"model\":\"a\",\"messages\":[]}";
            let parsed = crate::dialect::ask::ask(Route::Chat, ask).unwrap();
            let body = parsed.pieces(ask, Some("long-name"), false);
            assert!(body.iter().count() > 1);
            let clients = RequestReader::new(HeadLimits::REQUEST).push(CLIENTS);
            let out = Outgoing {
                head: Some(&clients.unwrap().unwrap()),
                data: CLIENTS,
                route: Route::Converse,
                is_translated: true,
                model: "eu.anthropic.m-v1:0",
                body: &body,
                stream,
                id: RequestId::new(1, 2),
                now,
            };
            put_head(&mut tx, &template, &out);
            let data = tx.unsent();
            let sent = RequestReader::new(HeadLimits::REQUEST).push(data);
            let sent = sent.unwrap().unwrap();
            let text = |bytes| std::str::from_utf8(bytes).unwrap();
            let headers: Vec<_> = sent
                .fields(data)
                .map(|(name, value)| (text(name), text(value)))
                .collect();
            let joined = body.iter().collect::<Vec<_>>().concat();
            let ask = sigv4::Ask {
                method: "POST",
                path: text(sent.path.bytes(data)),
                query: text(sent.query.bytes(data)),
                headers: &headers,
                payload: Payload::Bytes(&joined),
            };
            let end = if stream {
                "converse-stream"
            } else {
                "converse"
            };
            let path = format!("/base/model/eu.anthropic.m-v1%3A0/{end}");
            assert_eq!(ask.path, path);
            let one = |name: &str| {
                let mut all = headers.iter().filter(|(n, _)| *n == name);
                let value = all.next().map(|(_, value)| *value);
                assert_eq!(all.next(), None, "{name} twice");
                value
            };
            let authorization = one("authorization").unwrap();
            let credential = sigv4::Credential::read(authorization).unwrap();
            assert_eq!(
                (credential.id, credential.place.region),
                ("AKID", "eu-west-1")
            );
            assert_eq!(credential.place.service, "bedrock");
            assert_eq!(sigv4::verify(&ask, &credential, SECRET, now), Ok(()));
            assert_eq!(one("x-amz-content-sha256"), Some(&*ask.payload.text()));
            assert_eq!(one("x-amz-security-token"), stream.then_some("tok/en+=="));
            assert_eq!(credential.signed.contains("x-amz-security-token"), stream);
            let other = sigv4::Ask {
                payload: Payload::Bytes(b"{}"),
                ..ask
            };
            assert!(sigv4::verify(&other, &credential, SECRET, now).is_err());
        }
    }

    /// Goal: a model's name cannot leave its path segment.
    #[test]
    fn a_name_stays_in_its_path_segment() {
        let mut tx = TxBuf::new(&BufPool::new());
        put_segment(&mut tx, "a/b:c@d-e_f.g");
        assert_eq!(tx.unsent(), b"a%2Fb%3Ac%40d-e_f.g");
    }
}
