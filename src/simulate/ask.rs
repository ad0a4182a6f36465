//! What a request asks for: its route, and the few things in its body that decide the answer.
//!
//! ```text
//!   POST /any/prefix/chat/completions?…            {"model":"m","stream":true,"messages":[…]}
//!        └ the end of the path decides              └ one checking pass, nothing copied
//!   POST /openai/deployments/m/chat/completions?api-version=…      Azure: the model stands here
//!   POST /any/prefix/models/m:generateContent                      Gemini, and so at Bedrock
//!   POST /any/prefix/publishers/anthropic/models/m:rawPredict      Anthropic on Vertex
//!   POST /any/prefix/model/m/invoke                                Anthropic on Bedrock
//! ```
//!
//! The whole body is checked as JSON on the way, so that a gateway's splicing is put to the test.

use crate::base::span::Span;
use crate::dialect::anthropic::request::Cloud;
use crate::dialect::model::Dialect;
use crate::dialect::route::Route as Spoken;
use crate::wire::http1::Method;
use crate::wire::json::cursor::{Cursor, Key, ValueKind};
use crate::wire::json::scan::{key_is, unescape_into};
use std::borrow::Cow;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// `/chat/completions`
    Chat,
    /// `/completions`
    Completions,
    /// `/embeddings`
    Embeddings,
    /// `/models`
    Models,
    /// `/models/{id}`
    Model,
    /// A route of another dialect than Chat.
    Spoken(Spoken),
    /// `/__sim/stats`
    Stats,
    /// `/__sim/reset`
    Reset,
}

impl Route {
    /// The dialect that is spoken there; nothing is about the simulator itself.
    pub const fn dialect(self) -> Dialect {
        match self {
            Self::Spoken(route) => route.dialect(),
            _ => Dialect::Chat,
        }
    }
}

/// A route and the name that its path carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place<'p> {
    /// The route.
    pub route: Route,
    /// A model's id, an Azure deployment, or nothing; as it stands in the path.
    pub name: &'p [u8],
    /// The cloud that carries the dialect, where it is not its owner's.
    pub cloud: Option<Cloud>,
    /// The path asks for a stream, where the body would without the cloud.
    pub is_stream: bool,
}

impl<'p> Place<'p> {
    fn of(route: Route, name: &'p [u8]) -> Self {
        Self {
            route,
            name,
            cloud: None,
            is_stream: false,
        }
    }

    /// Whose heads and errors there are.
    pub const fn manners(self) -> Dialect {
        match self.cloud {
            Some(Cloud::Bedrock) => Dialect::Bedrock,
            Some(Cloud::Vertex) => Dialect::Gemini, // Google's
            None => self.route.dialect(),
        }
    }

    /// The same, now that the body is known: at Bedrock the path alone does not tell a question
    /// to Anthropic's models from one to a model of embeddings.
    #[must_use]
    pub fn by_body(self, body: &[u8]) -> Self {
        let is_invoked = self.cloud == Some(Cloud::Bedrock) && !self.is_stream;
        if is_invoked && memchr::memmem::find(body, b"\"anthropic_version\"").is_none() {
            return Self::of(Route::Spoken(Spoken::Invoke), self.name);
        }
        self
    }

    /// Whether the path names the model, and the body does not.
    pub const fn names_model(self) -> bool {
        matches!(self.route, Route::Spoken(route) if route.names_model() || self.cloud.is_some())
    }
}

/// Why there is no route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lost {
    /// No such path.
    Path,
    /// The path takes another method: this one.
    Method(&'static str),
    /// Azure's form without `api-version`.
    ApiVersion,
}

/// Finds the route of a path without its query.
///
/// # Errors
/// [`Lost`]: 404, or 405 with the method that would be right.
pub fn route<'p>(method: Method, path: &'p [u8], query: &[u8]) -> Result<Place<'p>, Lost> {
    const MODELS: &[u8] = b"/models/";
    let (route, wanted, right) = if path.ends_with(b"/chat/completions") {
        (Route::Chat, Method::Post, "POST")
    } else if path.ends_with(b"/completions") {
        (Route::Completions, Method::Post, "POST")
    } else if path.ends_with(b"/embeddings") {
        (Route::Embeddings, Method::Post, "POST")
    } else if let Some(place) = spoken(path) {
        return match method {
            Method::Post => Ok(place),
            _ => Err(Lost::Method("POST")),
        };
    } else if path.ends_with(b"/models") {
        (Route::Models, Method::Get, "GET")
    } else if path == b"/__sim/stats" {
        (Route::Stats, Method::Get, "GET")
    } else if path == b"/__sim/reset" {
        (Route::Reset, Method::Post, "POST")
    } else if memchr::memmem::find(path, MODELS).is_some() {
        (Route::Model, Method::Get, "GET")
    } else {
        return Err(Lost::Path);
    };
    if method != wanted {
        return Err(Lost::Method(right));
    }
    let after = |mark: &[u8]| {
        let at = memchr::memmem::find(path, mark)? + mark.len();
        path.get(at..)
    };
    if route == Route::Model {
        let name = after(MODELS).unwrap_or_default();
        return Ok(Place::of(route, name));
    }
    let Some(rest) = after(b"/openai/deployments/") else {
        return Ok(Place::of(route, b""));
    };
    if !query.starts_with(b"api-version=")
        && memchr::memmem::find(query, b"&api-version=").is_none()
    {
        return Err(Lost::ApiVersion);
    }
    let name = rest.split(|&b| b == b'/').next().unwrap_or_default();
    Ok(Place::of(route, name))
}

/// The route of another dialect than Chat.
fn spoken(path: &[u8]) -> Option<Place<'_>> {
    const WHOLE: [(&[u8], Spoken); 5] = [
        (b"/messages", Spoken::Messages),
        (b"/messages/count_tokens", Spoken::CountTokens),
        (b"/responses", Spoken::Responses),
        (b"/v2/chat", Spoken::CohereChat),
        (b"/v2/embed", Spoken::CohereEmbed),
    ];
    const NAMING: [(&[u8], &[u8], Spoken); 7] = [
        (b"/models/", b":generateContent", Spoken::Generate),
        (
            b"/models/",
            b":streamGenerateContent",
            Spoken::StreamGenerate,
        ),
        (b"/models/", b":embedContent", Spoken::EmbedContent),
        (
            b"/models/",
            b":batchEmbedContents",
            Spoken::BatchEmbedContents,
        ),
        (b"/model/", b"/invoke", Spoken::Invoke),
        (b"/model/", b"/converse", Spoken::Converse),
        (b"/model/", b"/converse-stream", Spoken::ConverseStream),
    ];
    const VERTEX: &[u8] = b"/publishers/anthropic/models/";
    const CLOUDS: [(&[u8], &[u8], Cloud, bool); 4] = [
        (VERTEX, b":rawPredict", Cloud::Vertex, false),
        (VERTEX, b":streamRawPredict", Cloud::Vertex, true),
        (b"/model/", b"/invoke", Cloud::Bedrock, false),
        (
            b"/model/",
            b"/invoke-with-response-stream",
            Cloud::Bedrock,
            true,
        ),
    ];
    if let Some((_, route)) = WHOLE.iter().find(|(end, _)| path.ends_with(end)) {
        return Some(Place::of(Route::Spoken(*route), b""));
    }
    let named = |mark: &[u8], end: &[u8]| {
        let before = path.strip_suffix(end)?;
        let at = memchr::memmem::find(before, mark)? + mark.len();
        before.get(at..).filter(|name| !name.is_empty())
    };
    let clouds = CLOUDS.iter().find_map(|&(mark, end, cloud, is_stream)| {
        Some(Place {
            cloud: Some(cloud),
            is_stream,
            ..Place::of(Route::Spoken(Spoken::Messages), named(mark, end)?)
        })
    });
    let owners = || {
        NAMING.iter().find_map(|(mark, end, route)| {
            let cloud = memchr::memmem::find(path, b"/publishers/google/").map(|_| Cloud::Vertex);
            Some(Place {
                cloud,
                ..Place::of(Route::Spoken(*route), named(mark, end)?)
            })
        })
    };
    clouds.or_else(owners)
}

/// A JSON string of the body.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Text {
    inside: Span,
    escaped: bool,
}

impl Text {
    /// What stands between the quotes, escapes and all.
    pub fn raw(self, body: &[u8]) -> &[u8] {
        self.inside.bytes(body)
    }

    /// What it says; `None` when that is no Unicode.
    pub fn says(self, body: &[u8]) -> Option<Cow<'_, str>> {
        if !self.escaped {
            return std::str::from_utf8(self.raw(body)).ok().map(Cow::Borrowed);
        }
        let mut out = Vec::new();
        if !unescape_into(self.raw(body), &mut out) {
            return None;
        }
        String::from_utf8(out).ok().map(Cow::Owned)
    }
}

/// How an embedding is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Coding {
    /// As numbers.
    #[default]
    Float,
    /// As base64 of them.
    Base64,
}

/// What decides the answer.
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent things that a body has or has not"
)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ask {
    /// `model`, when it is a string.
    pub model: Option<Text>,
    /// `user`, when it is a string.
    pub user: Option<Text>,
    /// `stream` is `true`.
    pub stream: bool,
    /// `stream_options.include_usage` is `true`.
    pub wants_usage: bool,
    /// `encoding_format`.
    pub coding: Coding,
    /// How many texts `input` has.
    pub inputs: u32,
    /// `dimensions`.
    pub dims: Option<u32>,
    /// `messages`, `prompt` or `input` is there.
    pub has_prompt: bool,
    /// Chat: something is there that the answer has to heed: a tool that must be called, what
    /// a tool gave, a schema, an image, a text to stop at.
    pub is_rich: bool,
    /// Chat: the limit on the answer.
    pub limit: Option<u32>,
}

/// Reads a body; `None` when it is not one JSON object in UTF-8.
pub fn ask(body: &[u8]) -> Option<Ask> {
    simdutf8::basic::from_utf8(body).ok()?;
    let mut ask = Ask::default();
    let mut cursor = Cursor::new(body, 0);
    cursor
        .object(|cursor, key| member(cursor, key, body, &mut ask))
        .ok()?;
    cursor.end().ok()?;
    Some(ask)
}

type Step = Result<(), crate::wire::json::JsonError>;

fn member<'b>(cursor: &mut Cursor<'b>, key: &Key<'b>, body: &'b [u8], ask: &mut Ask) -> Step {
    let is = |name| key_is(key.raw, key.escaped, name);
    if is("input") {
        ask.has_prompt = true;
        ask.inputs = inputs(cursor)?;
        return Ok(());
    }
    if is("stream_options") && cursor.peek()? == ValueKind::Object {
        return cursor.object(|cursor, key| {
            let value = cursor.skip()?;
            if key_is(key.raw, key.escaped, "include_usage") {
                ask.wants_usage = value.kind == ValueKind::True;
            }
            Ok(())
        });
    }
    let value = cursor.skip()?;
    let text = (value.kind == ValueKind::String).then(|| Text {
        inside: Span {
            start: value.span.start + 1,
            end: value.span.end.saturating_sub(1),
        },
        escaped: value.escaped,
    });
    if is("model") {
        ask.model = text;
    } else if is("messages") || is("prompt") {
        ask.has_prompt = true;
        ask.is_rich |= is("messages") && is_rich(value.span.bytes(body));
    } else if is("tool_choice") {
        ask.is_rich |= value.kind == ValueKind::Object
            || text.is_some_and(|text| text.raw(body) == b"required");
    } else if is("response_format") {
        let json = memchr::memmem::find(value.span.bytes(body), b"\"json_");
        ask.is_rich |= json.is_some();
    } else if is("stop") {
        ask.is_rich |= matches!(value.kind, ValueKind::String | ValueKind::Array);
    } else if is("max_tokens") || is("max_completion_tokens") {
        let digits = std::str::from_utf8(value.span.bytes(body)).unwrap_or_default();
        ask.limit = digits.parse().ok().or(ask.limit);
    } else if is("stream") {
        ask.stream = value.kind == ValueKind::True;
    } else if is("user") {
        ask.user = text;
    } else if is("encoding_format") {
        if text.is_some_and(|text| text.raw(body) == b"base64") {
            ask.coding = Coding::Base64;
        }
    } else if is("dimensions") {
        let digits = std::str::from_utf8(value.span.bytes(body)).unwrap_or_default();
        ask.dims = digits.parse().ok();
    }
    Ok(())
}

/// Whether messages hold more than text. Within a string each quotation mark has a backslash
/// before it, so that none of these can be text.
fn is_rich(messages: &[u8]) -> bool {
    const SIGNS: [&[u8]; 4] = [
        b"\"tool_call_id\"",
        b"\"image_url\"",
        b"\"input_audio\"",
        b"\"file\"",
    ];
    let holds = |sign: &&[u8]| memchr::memmem::find(messages, sign).is_some();
    SIGNS.iter().any(holds)
}

/// How many texts an `input` has: a string or a list of token numbers is one text.
fn inputs(cursor: &mut Cursor<'_>) -> Result<u32, crate::wire::json::JsonError> {
    if cursor.peek()? != ValueKind::Array {
        return cursor.skip().map(|_| 1);
    }
    let (mut texts, mut numbers) = (0_u32, false);
    cursor.array(|cursor| {
        match cursor.skip()?.kind {
            ValueKind::Number => numbers = true,
            _ => texts += 1,
        }
        Ok(())
    })?;
    Ok(texts + u32::from(numbers))
}

/// A name of the path with its percent signs resolved.
pub fn unquoted(name: &[u8]) -> String {
    let mut out = Vec::with_capacity(name.len());
    let mut rest = name;
    while let Some((&first, tail)) = rest.split_first() {
        let escape = (first == b'%')
            .then(|| tail.split_at_checked(2))
            .flatten()
            .and_then(|(hex, after)| {
                let hex = std::str::from_utf8(hex).ok()?;
                Some((u8::from_str_radix(hex, 16).ok()?, after))
            });
        let (byte, after) = escape.unwrap_or((first, tail));
        out.push(byte);
        rest = after;
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: the end of the path decides, whatever stands before it.
    #[test]
    fn the_end_of_a_path_decides() {
        let find = |method, path: &'static str, query: &str| {
            route(method, path.as_bytes(), query.as_bytes()).map(|p| (p.route, p.name))
        };
        let none: &[u8] = b"";
        for (path, want) in [
            ("/v1/chat/completions", Route::Chat),
            ("/chat/completions", Route::Chat),
            ("/openai/v1/completions", Route::Completions),
            ("/v1/embeddings", Route::Embeddings),
        ] {
            assert_eq!(find(Method::Post, path, ""), Ok((want, none)), "{path}");
            assert_eq!(find(Method::Get, path, ""), Err(Lost::Method("POST")));
        }
        assert_eq!(
            find(Method::Get, "/v1/models", ""),
            Ok((Route::Models, none))
        );
        assert_eq!(
            find(Method::Get, "/v1/models/sim/cut-5", ""),
            Ok((Route::Model, &b"sim/cut-5"[..]))
        );
        let azure = "/openai/deployments/gpt4o/chat/completions";
        assert_eq!(
            find(Method::Post, azure, "a=b&api-version=2024-10-21"),
            Ok((Route::Chat, &b"gpt4o"[..]))
        );
        assert_eq!(find(Method::Post, azure, ""), Err(Lost::ApiVersion));
        assert_eq!(find(Method::Post, "/v1/chat", ""), Err(Lost::Path));
        for (path, route, name) in [
            ("/v1/responses", Spoken::Responses, ""),
            ("/a/v1/messages", Spoken::Messages, ""),
            ("/v1/messages/count_tokens", Spoken::CountTokens, ""),
            ("/v2/chat", Spoken::CohereChat, ""),
            (
                "/v1beta/models/sim/cut-5:generateContent",
                Spoken::Generate,
                "sim/cut-5",
            ),
            (
                "/v1beta/models/m:streamGenerateContent",
                Spoken::StreamGenerate,
                "m",
            ),
            ("/model/sim%2Fcut/converse", Spoken::Converse, "sim%2Fcut"),
            ("/model/m/converse-stream", Spoken::ConverseStream, "m"),
        ] {
            let want = (Route::Spoken(route), name.as_bytes());
            assert_eq!(find(Method::Post, path, ""), Ok(want), "{path}");
            assert_eq!(find(Method::Get, path, ""), Err(Lost::Method("POST")));
        }
        assert_eq!(
            find(Method::Get, "/__sim/stats", ""),
            Ok((Route::Stats, none))
        );
    }

    /// Goal: a cloud's paths are told from its owner's.
    #[test]
    fn clouds_have_paths_of_their_own() {
        for (path, cloud, is_stream) in [
            (
                "/x/publishers/anthropic/models/a@1:rawPredict",
                Cloud::Vertex,
                false,
            ),
            (
                "/x/publishers/anthropic/models/a@1:streamRawPredict",
                Cloud::Vertex,
                true,
            ),
            ("/model/a@1/invoke", Cloud::Bedrock, false),
            (
                "/model/a@1/invoke-with-response-stream",
                Cloud::Bedrock,
                true,
            ),
        ] {
            let place = route(Method::Post, path.as_bytes(), b"").unwrap();
            assert_eq!(place.route, Route::Spoken(Spoken::Messages), "{path}");
            assert_eq!((place.cloud, place.is_stream), (Some(cloud), is_stream));
            assert_eq!(place.name, b"a@1");
            assert!(place.names_model());
        }
        let google = b"/v1/publishers/google/models/m:generateContent";
        let place = route(Method::Post, google, b"").unwrap();
        assert_eq!((place.cloud, place.name), (Some(Cloud::Vertex), &b"m"[..]));
    }

    /// Goal: what decides is found, escapes understood; what is no JSON object is refused.
    #[test]
    fn what_decides_is_found_and_broken_json_refused() {
        let body = br#"{"messages":[{"model":"no"}],"m\u006fdel":"sim\/cut-1","stream":true,
            "stream_options":{"x":[1],"include_usage":true},"user":"u"}"#;
        let got = ask(body).unwrap();
        assert_eq!(got.model.unwrap().says(body).unwrap(), "sim/cut-1");
        assert_eq!(got.model.unwrap().raw(body), br"sim\/cut-1");
        assert_eq!(got.user.unwrap().says(body).unwrap(), "u");
        assert!(got.stream && got.wants_usage && got.has_prompt);
        for (input, want) in [
            ("\"a\"", 1),
            ("[\"a\",\"b\"]", 2),
            ("[1,2,3]", 1),
            ("[[1],[2,3]]", 2),
        ] {
            let body =
                format!("{{\"input\":{input},\"dimensions\":8,\"encoding_format\":\"base64\"}}");
            let got = ask(body.as_bytes()).unwrap();
            assert_eq!(
                (got.inputs, got.dims, got.coding),
                (want, Some(8), Coding::Base64)
            );
        }
        for broken in [
            "",
            "[]",
            "{",
            "{\"a\":}",
            "{} {}",
            "{nope}",
            "{\"a\":\"\u{1}\"}",
        ] {
            assert_eq!(ask(broken.as_bytes()), None, "{broken}");
        }
        assert_eq!(ask(b"{\"a\":\"\xff\"}"), None);
    }

    /// Goal: names in paths lose their percent signs, broken ones stay as they are.
    #[test]
    fn percent_signs_are_resolved() {
        assert_eq!(unquoted(b"a%2Fb%20c"), "a/b c");
        assert_eq!(unquoted(b"a%2"), "a%2");
        assert_eq!(unquoted(b"%zz%"), "%zz%");
    }
}
