//! Understands a request as far as routing needs, whatever its dialect, and cuts its body for
//! upstream.
//!
//! ```text
//!   {"messages":[ … ],"model":"alias","stream":true}
//!   └──── passes ────────────┘└─────┘└── passes ───┘
//!                             "gpt-4o","stream_options":{"include_usage":true}
//! ```
//!
//! Invariants
//! - I1 What the gateway acts on is what upstream reads: a key that decides anything occurs
//!   once, escapes or not, or the body is refused.
//!   Where the path names the model, the body's own `model` means nothing.
//! - I2 Bytes that are not `model` or `stream_options` pass untouched, except that a byte
//!   order mark is left out, and on the routes of `OpenAI` the members `fallbacks` and `cache`,
//!   which are for the gateway.
//! - I3 No allocation, for any body.
//!
//! Source: API references of `OpenAI` (Chat, Completions, Embeddings, Responses), Anthropic
//! (Messages) and Cohere (Chat), which agree on these keys; RFC 8259, section 4, on duplicate
//! names.

use super::openai::usage::whole_number;
use super::pieces::Pieces;
use super::route::{Route, unescape};
use crate::base::fault::Kind;
use crate::base::span::Span;
use crate::wire::json::cursor::{Key, NAME_MAX, ValueKind};
use crate::wire::json::scan::{self, BOM, Member, unescape_into};
use crate::wire::json::{JsonError, JsonFault, text, write};

/// The longest name of a model, in bytes.
pub const MODEL_MAX: usize = 256;

/// A request, understood.
#[derive(Clone, Copy, Debug)]
pub struct Ask {
    /// Whether the answer is to be streamed.
    pub stream: bool,
    /// Whether the caller itself asked for usage in the stream; always where that comes anyway.
    pub wants_usage: bool,
    /// The limit on the answer, in tokens: `max_completion_tokens`, `max_output_tokens`, else
    /// `max_tokens`; only when it is written as a plain whole number.
    pub max_tokens: Option<u64>,
    /// How many answers (`n`); only when it is written as a plain whole number.
    pub n: Option<u64>,
    named: Named,
    usage_place: UsagePlace,
    /// The values of `fallbacks` and `cache`, the gateway's members; empty without them.
    gateways: [Span; 2],
}

/// Where the model's name stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Named {
    /// In the body, inside these quotes.
    Body { quoted: Span, escaped: bool },
    /// In the path.
    Path,
}

/// Where `include_usage` goes when the gateway asks for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum UsagePlace {
    /// There is no `stream_options`: a member behind the model's.
    BehindModel,
    /// `"stream_options": null`: this value is replaced.
    Options(Span),
    /// An object without the key: behind this position (of its brace).
    First { brace: Span, empty: bool },
    /// The key is false or null: this value is replaced.
    Value(Span),
    /// It is asked for already.
    Nowhere,
}

/// Understands `body`.
///
/// # Errors
/// [`Kind::BadJson`], [`Kind::TooDeep`], [`Kind::DuplicateKey`], [`Kind::NoModel`],
/// [`Kind::BadModel`], [`Kind::BadField`].
pub fn ask(route: Route, body: &[u8]) -> Result<Ask, Kind> {
    let mut seen = Seen {
        is_openai: matches!(
            route,
            Route::Chat | Route::Completions | Route::Embeddings | Route::Responses
        ),
        ..Seen::default()
    };
    scan::object(body, |member| seen.look(body, member)).map_err(kind)?;
    if seen.twice {
        return Err(Kind::DuplicateKey);
    }
    let named = if route.names_model() {
        Named::Path
    } else {
        let model = seen.get(Watched::Model).ok_or(Kind::NoModel)?;
        let quoted = Span::new(
            model.value.start as usize + 1,
            (model.value.end as usize).saturating_sub(1),
        );
        if model.kind != ValueKind::String || !is_model_name(quoted.bytes(body)) {
            return Err(Kind::BadModel);
        }
        let escaped = model.value_escaped;
        Named::Body { quoted, escaped }
    };
    let stream = flag(seen.get(Watched::Stream))?;
    let (usage_place, wants_usage) = match seen.get(Watched::StreamOptions) {
        _ if !matches!(route, Route::Chat | Route::Completions | Route::Embeddings) => {
            (UsagePlace::Nowhere, true)
        }
        Some(member) => options(body, &member)?,
        None => (UsagePlace::BehindModel, false),
    };
    let number = |what| {
        let member = seen.get(what)?;
        whole_number(member.value.bytes(body))
    };
    Ok(Ask {
        stream: route.streams().unwrap_or(stream),
        wants_usage,
        max_tokens: number(Watched::MaxCompletionTokens)
            .or_else(|| number(Watched::MaxOutputTokens))
            .or_else(|| number(Watched::MaxTokens)),
        n: number(Watched::N),
        gateways: [Watched::Fallbacks, Watched::Cache].map(|what| {
            seen.get(what)
                .map_or(Span::default(), |member| member.value)
        }),
        named,
        usage_place,
    })
}

fn kind(error: JsonError) -> Kind {
    match error.what {
        JsonFault::TooDeep => Kind::TooDeep,
        _ => Kind::BadJson,
    }
}

/// The top-level keys that decide something.
#[derive(Clone, Copy)]
enum Watched {
    Model,
    Messages,
    Input,
    Prompt,
    Stream,
    StreamOptions,
    MaxTokens,
    MaxCompletionTokens,
    MaxOutputTokens,
    N,
    Fallbacks,
    Cache,
}

impl Watched {
    fn named(name: &[u8]) -> Option<Self> {
        Some(match name {
            b"model" => Self::Model,
            b"messages" => Self::Messages,
            b"input" => Self::Input,
            b"prompt" => Self::Prompt,
            b"stream" => Self::Stream,
            b"stream_options" => Self::StreamOptions,
            b"max_tokens" => Self::MaxTokens,
            b"max_completion_tokens" => Self::MaxCompletionTokens,
            b"max_output_tokens" => Self::MaxOutputTokens,
            b"n" => Self::N,
            b"fallbacks" => Self::Fallbacks,
            b"cache" => Self::Cache,
            _ => return None,
        })
    }
}

/// What the scan has met.
#[derive(Default)]
struct Seen {
    members: [Option<Member>; Watched::Cache as usize + 1],
    twice: bool,
    /// The members `fallbacks` and `cache` are the gateway's.
    is_openai: bool,
}

impl Seen {
    fn look(&mut self, body: &[u8], member: &Member) {
        let key = Key {
            raw: member.key.bytes(body),
            span: member.key,
            escaped: member.key_escaped,
        };
        let mut room = [0; NAME_MAX];
        let what = match Watched::named(key.name(&mut room)) {
            Some(Watched::Fallbacks | Watched::Cache) if !self.is_openai => return,
            Some(what) => what,
            None => return,
        };
        if let Some(slot) = self.members.get_mut(what as usize) {
            self.twice |= slot.is_some(); // I1
            *slot = Some(*member);
        }
    }

    fn get(&self, what: Watched) -> Option<Member> {
        self.members.get(what as usize).copied().flatten()
    }
}

/// Whether `byte` is white space between values.
const fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

/// The member with this `value`, one of the gateway's: from the quote before its name, which has
/// none in it, however it is escaped.
fn member_of(body: &[u8], value: Span) -> Span {
    let before = body.get(..value.start as usize).unwrap_or_default();
    let closing = memchr::memrchr(b'"', before).unwrap_or_default();
    let name = before.get(..closing).unwrap_or_default();
    let quote = memchr::memrchr(b'"', name).unwrap_or(closing);
    Span::new(quote, value.end as usize)
}

/// What of `body` goes with `members`, one or several in a row: themselves and one comma beside.
fn cut_out(body: &[u8], members: Span) -> Span {
    let (quote, end) = (members.start as usize, members.end as usize);
    let behind = body.get(end..).unwrap_or_default();
    let spaces = behind.iter().take_while(|byte| is_space(**byte)).count();
    if behind.get(spaces) == Some(&b',') {
        return Span::new(quote, end + spaces + 1);
    }
    let before = body.get(..quote).unwrap_or_default();
    let spaces = before
        .iter()
        .rev()
        .take_while(|byte| is_space(**byte))
        .count();
    let comma = before.len().saturating_sub(spaces + 1);
    if before.get(comma) == Some(&b',') {
        return Span::new(comma, end);
    }
    Span::new(quote, end)
}

/// A switch that may be missing or null.
fn flag(member: Option<Member>) -> Result<bool, Kind> {
    match member.map(|m| m.kind) {
        Some(ValueKind::True) => Ok(true),
        Some(ValueKind::False | ValueKind::Null) | None => Ok(false),
        Some(_) => Err(Kind::BadField),
    }
}

/// Reads `stream_options`: where the gateway's own wish goes, and whether it is there.
fn options(body: &[u8], member: &Member) -> Result<(UsagePlace, bool), Kind> {
    match member.kind {
        ValueKind::Null => return Ok((UsagePlace::Options(member.value), false)),
        ValueKind::Object => {}
        _ => return Err(Kind::BadField),
    }
    let object = member.value.bytes(body);
    let (mut found, mut twice, mut empty) = (None, false, true);
    scan::object(object, |inner| {
        empty = false;
        if scan::key_is(inner.key.bytes(object), inner.key_escaped, "include_usage") {
            twice |= found.is_some();
            found = Some(*inner);
        }
    })
    .map_err(kind)?;
    if twice {
        return Err(Kind::DuplicateKey);
    }
    let start = member.value.start as usize;
    Ok(match (flag(found)?, found) {
        (true, _) => (UsagePlace::Nowhere, true),
        (false, Some(inner)) => (UsagePlace::Value(inner.value.shifted(start)), false),
        (false, None) => {
            let brace = Span::new(start, start + 1);
            (UsagePlace::First { brace, empty }, false)
        }
    })
}

/// Whether a string, as it stands between its quotes, is a name of a model: 1 to 256 of
/// `A-Z a-z 0-9 . _ : / @ -` and no `..`. Some providers put it into a path.
fn is_model_name(raw: &[u8]) -> bool {
    let mut length = 0;
    let mut before = '\0';
    let mut good = |c: char| {
        let twice = c == '.' && before == '.';
        before = c;
        length += 1;
        !twice
            && length <= MODEL_MAX
            && (c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | ':' | '/' | '@' | '-'))
    };
    let all_good = text::pieces(raw).all(|piece| match piece {
        text::Piece::Plain(bytes) => bytes.iter().all(|&b| good(char::from(b))),
        text::Piece::Char(c) => good(c),
        text::Piece::Broken => false,
    });
    all_good && length > 0
}

impl Ask {
    /// The name of the model, borrowed from `body`, or resolved in `scratch` when it stands
    /// there with escapes, or in the path, of which it is the part `in_path`. `None` when the
    /// path names none, and when `body` is not the one that was asked about.
    pub fn model<'b>(
        &self,
        body: &'b [u8],
        in_path: &[u8],
        scratch: &'b mut Vec<u8>,
    ) -> Option<&'b str> {
        scratch.clear();
        match self.named {
            Named::Body { quoted, escaped } => {
                let raw = quoted.of(body)?;
                if !escaped {
                    return std::str::from_utf8(raw).ok();
                }
                if !unescape_into(raw, scratch) {
                    return None;
                }
            }
            Named::Path => {
                if !unescape(in_path, scratch)
                    || scratch.contains(&b'\\')
                    || !is_model_name(scratch)
                {
                    return None;
                }
            }
        }
        std::str::from_utf8(scratch).ok()
    }

    /// The value of the member `fallbacks`, on routes where that is the gateway's.
    pub fn fallbacks(&self) -> Option<Span> {
        let [value, _] = self.gateways;
        (!value.is_empty()).then_some(value)
    }

    /// The value of the member `cache`, on routes where that is the gateway's.
    pub fn cache(&self) -> Option<Span> {
        let [_, value] = self.gateways;
        (!value.is_empty()).then_some(value)
    }

    /// What is left out of `body`, the gateway's members: in two places, or in one where they
    /// stand side by side.
    fn left_out(&self, body: &[u8]) -> [Option<Span>; 2] {
        let [a, b] = self.gateways;
        let (first, last) = if a.start <= b.start { (a, b) } else { (b, a) };
        if last.is_empty() {
            return [None; 2];
        }
        let last = member_of(body, last);
        if first.is_empty() {
            return [Some(cut_out(body, last)), None];
        }
        let first = member_of(body, first);
        let between = Span::new(first.end as usize, last.start as usize);
        let is_empty = |byte: &u8| is_space(*byte) || *byte == b',';
        if between.bytes(body).iter().all(is_empty) {
            let both = Span::new(first.start as usize, last.end as usize);
            return [Some(cut_out(body, both)), None];
        }
        [Some(cut_out(body, first)), Some(cut_out(body, last))]
    }

    /// Where the model's name stands in the body, inside its quotes; `None` for one in the path.
    pub const fn quoted(&self) -> Option<Span> {
        match self.named {
            Named::Body { quoted, .. } => Some(quoted),
            Named::Path => None,
        }
    }

    /// The upstream body: `body` with the model's name replaced (if `upstream_model` is
    /// given, which must satisfy [`write::is_plain`]) and, if `ask_usage`, with
    /// `stream_options.include_usage` true.
    pub fn pieces<'a>(
        &self,
        body: &'a [u8],
        upstream_model: Option<&'a str>,
        ask_usage: bool,
    ) -> Pieces<'a> {
        let start = if body.starts_with(BOM) { BOM.len() } else { 0 };
        let mut cut = Cut {
            body,
            at: start,
            pieces: Pieces::new(),
        };
        let usage = if ask_usage {
            self.usage_place
        } else {
            UsagePlace::Nowhere
        };
        let Named::Body { quoted, .. } = self.named else {
            return cut.finish();
        };
        let model = upstream_model.map(|name| {
            debug_assert!(write::is_plain(name));
            (quoted, [name.as_bytes(), b""])
        });
        let left_out = self.left_out(body);
        let [one, other] = left_out.map(|span| span.map(|span| (span, [b"".as_slice(); 2])));
        let mut edits = [model, usage.edit(quoted), one, other];
        // They never overlap; most bodies have one or two.
        edits.sort_unstable_by_key(|edit| edit.map(|(span, _)| (span.start, span.end)));
        for (span, by) in edits.into_iter().flatten() {
            cut.replace(span, by);
        }
        cut.finish()
    }
}

/// A span of the body, and what takes its place.
type Edit<'a> = (Span, [&'a [u8]; 2]);

impl UsagePlace {
    /// What asks for usage here; the model's name is `quoted`.
    fn edit<'a>(self, quoted: Span) -> Option<Edit<'a>> {
        Some(match self {
            Self::BehindModel => {
                let behind = quoted.end as usize + 1;
                let member = b",\"stream_options\":{\"include_usage\":true}";
                (Span::new(behind, behind), [member, b""])
            }
            Self::Options(span) => (span, [b"{\"include_usage\":true}", b""]),
            Self::Value(span) => (span, [b"true", b""]),
            Self::First { brace, empty } => {
                let comma: &[u8] = if empty { b"" } else { b"," };
                (brace, [b"{\"include_usage\":true", comma])
            }
            Self::Nowhere => return None,
        })
    }
}

/// Walks through the body from the left, replacing spans.
struct Cut<'a> {
    body: &'a [u8],
    at: usize,
    pieces: Pieces<'a>,
}

impl<'a> Cut<'a> {
    fn replace(&mut self, span: Span, by: [&'a [u8]; 2]) {
        debug_assert!(self.at <= span.start as usize);
        self.pieces
            .push(Span::new(self.at, span.start as usize).bytes(self.body));
        for part in by {
            self.pieces.push(part);
        }
        self.at = span.end as usize;
    }

    fn finish(mut self) -> Pieces<'a> {
        self.pieces
            .push(self.body.get(self.at..).unwrap_or_default());
        self.pieces
    }
}
