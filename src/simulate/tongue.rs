//! What differs between the dialects besides what an answer says: credentials, fields of the
//! head, errors, framing, garbage.
//!
//! ```text
//!   Saying: Speech + names ─► whole answer
//!                          └► Mouth: step ─► Writer ─► events ─► chunks │ bare │ Gemini's list
//! ```
//!
//! Source: the providers' API references; protocols.md, 3, 7, 8, 10; AWS Signature Version 4.

use super::answer::{GARBAGE, Words};
use super::ask::Place;
use super::provider::Head;
use super::refusal::Refusal;
use super::speech::Speech;
use crate::base::bufpool::BufPool;
use crate::base::bytes::TxBuf;
use crate::dialect::anthropic::request::Cloud;
use crate::dialect::bedrock;
use crate::dialect::model::{About, Dialect, Names, Step, Told};
use crate::dialect::route::Route;
use crate::dialect::speak::{self, Writer};
use crate::wire::eventstream;
use crate::wire::http1::{Known, RequestHead, put_chunk, put_decimal_field, put_own_field};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD as BASE64;
use memchr::memmem::find;
use std::time::Duration;

/// Whether the request has the credentials `key`, where its dialect has them. At Bedrock that
/// is a bearer token, or the id of the access key that the request is signed with; the
/// signature is believed.
pub fn has_key(place: Place<'_>, head: &RequestHead, bytes: &[u8], key: &str) -> bool {
    let key = key.as_bytes();
    let field = |name| head.known(name).map(|at| at.bytes(bytes));
    let authorization = field(Known::Authorization).unwrap_or_default();
    let is_bearer = authorization
        .split_at_checked(b"Bearer ".len())
        .is_some_and(|(scheme, given)| scheme.eq_ignore_ascii_case(b"Bearer ") && given == key);
    match place.manners() {
        _ if place.cloud == Some(Cloud::Vertex) => is_bearer,
        Dialect::Chat | Dialect::Responses => is_bearer || field(Known::ApiKey) == Some(key),
        Dialect::Anthropic => is_bearer || field(Known::XApiKey) == Some(key),
        Dialect::Gemini => {
            let mut pairs = head.query.bytes(bytes).split(|&b| b == b'&');
            field(Known::XGoogApiKey) == Some(key)
                || pairs.any(|pair| pair.strip_prefix(b"key=") == Some(key))
        }
        Dialect::Cohere => is_bearer,
        Dialect::Bedrock => {
            let signed = [b"Credential=", key, b"/"].concat();
            is_bearer
                || authorization.starts_with(b"AWS4-HMAC-SHA256 ")
                    && find(authorization, &signed).is_some()
        }
    }
}

/// How the provider refuses credentials that are no good.
pub const fn bad_key(place: Place<'_>) -> Refusal {
    match place.manners() {
        _ if matches!(place.cloud, Some(Cloud::Vertex)) => Refusal::saying(
            401,
            "access_token_type_unsupported",
            "Request had invalid authentication credentials. Expected OAuth 2 access token.",
        ),
        Dialect::Chat | Dialect::Responses => Refusal::of(401),
        Dialect::Anthropic => Refusal::saying(401, "invalid_api_key", "invalid x-api-key"),
        Dialect::Gemini => Refusal::saying(
            400,
            "api_key_invalid",
            "API key not valid. Please pass a valid API key.",
        ),
        Dialect::Cohere => Refusal::saying(401, "invalid_api_token", "invalid api token"),
        Dialect::Bedrock => Refusal::saying(
            403,
            "access_denied",
            "Authentication failed: Please make sure your API Key is valid.",
        ),
    }
}

/// What the dialect's provider says when a field is missing without which it answers nobody.
pub fn missing(place: Place<'_>, head: &RequestHead, bytes: &[u8]) -> Option<Refusal> {
    let is_version = |(name, _): (&[u8], &[u8])| name.eq_ignore_ascii_case(b"anthropic-version");
    let is_told = place.manners() != Dialect::Anthropic || head.fields(bytes).any(is_version);
    (!is_told).then(|| Refusal::bad("invalid_value", "anthropic-version: header is required"))
}

/// The form of the events of `route`, at `cloud` or at home. Gemini's are a list unless events are
/// asked for.
pub fn form_of(cloud: Option<Cloud>, route: Route, query: &[u8]) -> Form {
    let mut pairs = query.split(|&b| b == b'&');
    if cloud == Some(Cloud::Bedrock) {
        Form::Wrapped
    } else if route == Route::StreamGenerate && !pairs.any(|pair| pair == b"alt=sse") {
        Form::List
    } else {
        Form::Own
    }
}

/// Appends the body of an error answer. Gemini says in it when to come back.
pub fn put_error(tx: &mut TxBuf, dialect: Dialect, told: &Told<'_>, wait: Option<Duration>) {
    speak::put_error_about(dialect, told, About { id: b"", wait }, tx);
}

/// Appends an event in the shape of the dialect that cannot be read.
fn put_garbage(tx: &mut TxBuf, dialect: Dialect) {
    let event: &[u8] = match dialect {
        Dialect::Chat => GARBAGE,
        Dialect::Responses => {
            b"event: response.output_text.delta\n\
              data: {\"type\":\"response.output_text.delta\",\"delta\":\"tok\n\n"
        }
        Dialect::Anthropic => {
            b"event: content_block_delta\n\
              data: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\n\n"
        }
        Dialect::Gemini => b"data: {\"candidates\":[{\"content\":{\"parts\":[{\"text\n\n",
        Dialect::Cohere => {
            b"event: content-delta\n\
              data: {\"type\":\"content-delta\",\"index\":0,\"delta\":{\"message\n\n"
        }
        Dialect::Bedrock => {
            let broken: &[u8] = b"{\"contentBlockIndex\":0,\"delta\":{\"text";
            return eventstream::put_event(tx, "contentBlockDelta", &[broken]);
        }
    };
    tx.put(event);
}

/// The rate limits that every answer of OpenAI's tells of.
const LIMITS: &[u8] = b"x-ratelimit-limit-requests: 10000\r\n\
    x-ratelimit-remaining-requests: 9999\r\nx-ratelimit-reset-requests: 6ms\r\n\
    x-ratelimit-limit-tokens: 2000000\r\nx-ratelimit-remaining-tokens: 1999000\r\n\
    x-ratelimit-reset-tokens: 30ms\r\n";

/// The same, used up.
const LIMITED: &[u8] = b"x-ratelimit-limit-requests: 10000\r\n\
    x-ratelimit-remaining-requests: 0\r\nx-ratelimit-reset-requests: 1s\r\n\
    x-ratelimit-limit-tokens: 2000000\r\nx-ratelimit-remaining-tokens: 0\r\n\
    x-ratelimit-reset-tokens: 1s\r\n";

/// Appends what the dialect's provider has in its heads: names, limits, when to come back.
pub fn put_fields(tx: &mut TxBuf, head: &Head) {
    let name: &[u8] = match head.dialect {
        Dialect::Chat | Dialect::Responses => b"x-request-id: req_sim",
        Dialect::Anthropic => b"request-id: req_sim",
        Dialect::Gemini => b"x-gemini-service-tier: standard",
        Dialect::Cohere => b"x-debug-trace-id: sim",
        Dialect::Bedrock => b"x-amzn-requestid: sim",
    };
    tx.put(name);
    if head.dialect != Dialect::Gemini {
        tx.put_decimal(head.id);
    }
    tx.put(b"\r\n");
    let is_openai = matches!(head.dialect, Dialect::Chat | Dialect::Responses);
    if is_openai {
        tx.put(b"openai-version: 2020-10-01\r\n");
        tx.put(if head.status == 429 { LIMITED } else { LIMITS });
    } else if head.dialect == Dialect::Anthropic {
        let left = if head.status == 429 { 0 } else { 999 };
        put_decimal_field(tx, "anthropic-ratelimit-requests-limit", 1000);
        put_decimal_field(tx, "anthropic-ratelimit-requests-remaining", left);
    } else if head.dialect == Dialect::Bedrock && head.status >= 400 {
        let told = Refusal::of(head.status).told("");
        let name = bedrock::error::error_type(&told);
        let value = format!("{name}:http://internal.amazon.com/coral/com.amazon.bedrock/");
        put_own_field(tx, "x-amzn-errortype", value.as_bytes());
    }
    // Gemini says it in the body.
    if let Some(wait) = head.retry_after.filter(|_| head.dialect != Dialect::Gemini) {
        let millis = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        put_decimal_field(tx, "retry-after", millis.div_ceil(1000));
        if is_openai {
            put_decimal_field(tx, "retry-after-ms", millis);
        }
    }
}

/// In which form events are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// As the dialect has them.
    Own,
    /// Gemini: items of a list.
    List,
    /// In Bedrock's frames, though the dialect is another.
    Wrapped,
}

/// An answer, with the names that stand in it and how it is framed.
#[derive(Debug)]
pub struct Saying {
    /// What it says.
    pub speech: Speech,
    /// To what.
    pub route: Route,
    /// Its own name, letters and digits.
    pub id: String,
    /// The model, by the name that it was asked for.
    pub model: String,
    /// Seconds since 1970.
    pub created: u64,
    /// Chat: the client asked for the usage event.
    pub wants_usage: bool,
    /// The body is chunked.
    pub is_chunked: bool,
    /// In which form its events are.
    pub form: Form,
}

impl Saying {
    /// As writers want it.
    pub fn names(&self) -> Names<'_> {
        Names {
            id: &self.id,
            model: &self.model,
            created: self.created,
            wants_usage: self.wants_usage,
        }
    }

    /// The media type of a stream.
    pub fn mime(&self) -> &'static str {
        match self.route.dialect() {
            Dialect::Bedrock => eventstream::MEDIA_TYPE,
            _ if self.form == Form::Wrapped => eventstream::MEDIA_TYPE,
            _ if self.form == Form::List => "application/json; charset=UTF-8",
            _ => "text/event-stream; charset=utf-8",
        }
    }

    /// The body of a plain answer; `bytes` long if that is not zero and can be.
    pub fn whole(&self, pool: &BufPool, words: &Words, bytes: u32) -> Vec<u8> {
        let written = |longer| {
            let mut tx = TxBuf::new(pool);
            let answer = self.speech.answer(words, longer);
            speak::put_answer(self.route, &answer, &self.names(), &mut tx);
            tx.unsent().to_vec()
        };
        let natural = written(0);
        let more = isize::try_from(bytes).unwrap_or(isize::MAX);
        let more = more.saturating_sub_unsigned(natural.len());
        match bytes {
            0 => natural,
            _ => written(more),
        }
    }
}

/// Says a stream.
#[derive(Debug)]
pub struct Mouth<'s> {
    saying: &'s Saying,
    writer: Box<Writer>,
    fresh: TxBuf,
    has_begun: bool,
}

impl<'s> Mouth<'s> {
    /// At the beginning of `saying`.
    pub fn new(saying: &'s Saying, pool: &BufPool) -> Self {
        Self {
            saying,
            writer: Box::new(Writer::new(saying.route)),
            fresh: TxBuf::new(pool),
            has_begun: false,
        }
    }

    /// Appends the events of `step` to `tx`.
    pub fn say(&mut self, step: &Step<'_>, tx: &mut TxBuf) {
        self.writer
            .write(step, &self.saying.names(), &mut self.fresh);
        self.flush(tx);
    }

    /// Appends an event that cannot be read.
    pub fn garble(&mut self, tx: &mut TxBuf) {
        put_garbage(&mut self.fresh, self.saying.route.dialect());
        self.flush(tx);
    }

    /// Appends what ends a stream that cannot be completed.
    pub fn fail(&mut self, told: &Told<'_>, tx: &mut TxBuf) {
        if self.saying.form == Form::Wrapped {
            let mut exception = TxBuf::new(tx.pool());
            speak::put_error_event(Dialect::Bedrock, told, &mut exception);
            return put(self.saying.is_chunked, &[exception.unsent()], tx);
        }
        speak::put_error_event(self.saying.route.dialect(), told, &mut self.fresh);
        self.flush(tx);
    }

    /// Appends the end of the body's own form; framing is not its business.
    pub fn close(&mut self, tx: &mut TxBuf) {
        if self.saying.form == Form::List {
            let end: &[u8] = if self.has_begun { b"]" } else { b"[]" };
            put(self.saying.is_chunked, &[end], tx);
        }
    }

    fn flush(&mut self, tx: &mut TxBuf) {
        let is_chunked = self.saying.is_chunked;
        if self.saying.form == Form::Wrapped {
            let lines = self.fresh.unsent().split(|&b| b == b'\n');
            for event in lines.filter_map(|line| line.strip_prefix(b"data: ")) {
                let text = BASE64.encode(event);
                let payload = format!("{{\"bytes\":\"{text}\",\"p\":\"abcdef\"}}");
                let mut frame = TxBuf::new(tx.pool());
                eventstream::put_event(&mut frame, "chunk", &[payload.as_bytes()]);
                put(is_chunked, &[frame.unsent()], tx);
            }
        } else if self.saying.form == Form::List {
            let lines = self.fresh.unsent().split(|&b| b == b'\n');
            for event in lines.filter_map(|line| line.strip_prefix(b"data: ")) {
                let mark: &[u8] = if self.has_begun { b",\r\n" } else { b"[" };
                self.has_begun = true;
                put(is_chunked, &[mark, event], tx);
            }
        } else if !self.fresh.is_empty() {
            put(is_chunked, &[self.fresh.unsent()], tx);
        }
        self.fresh.clear();
    }
}

fn put(is_chunked: bool, parts: &[&[u8]], tx: &mut TxBuf) {
    if is_chunked {
        return put_chunk(tx, parts);
    }
    for part in parts {
        tx.put(part);
    }
}

#[cfg(test)]
#[path = "tongue_tests.rs"]
mod tests;
