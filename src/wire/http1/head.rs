//! What the heads of requests and responses have in common: limits, errors, methods,
//! versions, and the one pass over the fields that `httparse` found.
//!
//! Source: RFC 9110, sections 5 to 9; RFC 9112, sections 2 to 5 and 9.3.

use std::fmt;
use std::mem::MaybeUninit;

use super::fields::{Known, KnownSpans, list, may_be_wish, trim};
use super::framing::Claims;
use super::target::TargetFault;
use crate::base::fault::Kind;
use crate::base::span::Span;

/// Most fields that a head can have, whatever [`HeadLimits`] say: the room for `httparse`.
pub const FIELDS_CEILING: usize = 256;
/// Longest method, in bytes. The longest registered one has 17 (`UPDATEREDIRECTREF`).
pub const METHOD_MAX: usize = 32;
/// Most empty lines before a request line; RFC 9112, 2.2 asks for at least one.
pub const LEADING_CRLF_MAX: usize = 4;

/// Room for the fields that `httparse` finds.
pub(super) type Room<'b> = [MaybeUninit<httparse::Header<'b>>; FIELDS_CEILING];

/// The limits of a head, in bytes and in fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadLimits {
    /// The whole head, first line to empty line.
    pub head_max: usize,
    /// The request target; the head's own limit holds too.
    pub target_max: usize,
    /// Fields; at most [`FIELDS_CEILING`].
    pub fields_max: usize,
}

impl HeadLimits {
    /// For requests: 32 KiB, target 16 KiB, 100 fields.
    pub const REQUEST: Self = Self {
        head_max: 32 << 10,
        target_max: 16 << 10,
        fields_max: 100,
    };
    /// For responses: 64 KiB, 200 fields.
    pub const RESPONSE: Self = Self {
        head_max: 64 << 10,
        target_max: 0,
        fields_max: 200,
    };
}

impl Default for HeadLimits {
    fn default() -> Self {
        Self::REQUEST
    }
}

/// The method of a request (RFC 9110, 9.1). Methods are case-sensitive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "each is named as on the wire")]
pub enum Method {
    Get,
    Head,
    Post,
    Put,
    Delete,
    Options,
    Patch,
    Trace,
    Connect,
    /// Any other token; its text is at [`method_text`](super::RequestHead::method_text).
    Other,
}

impl Method {
    /// The method that `token` names.
    pub fn of(token: &[u8]) -> Self {
        match token {
            b"GET" => Self::Get,
            b"HEAD" => Self::Head,
            b"POST" => Self::Post,
            b"PUT" => Self::Put,
            b"DELETE" => Self::Delete,
            b"OPTIONS" => Self::Options,
            b"PATCH" => Self::Patch,
            b"TRACE" => Self::Trace,
            b"CONNECT" => Self::Connect,
            _ => Self::Other,
        }
    }

    /// As on the wire; `OTHER` for [`Method::Other`], for metrics and logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Delete => "DELETE",
            Self::Options => "OPTIONS",
            Self::Patch => "PATCH",
            Self::Trace => "TRACE",
            Self::Connect => "CONNECT",
            Self::Other => "OTHER",
        }
    }
}

/// The version of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// HTTP/1.0.
    Http10,
    /// HTTP/1.1.
    Http11,
}

/// Why a head is refused. Positions count from the first byte pushed, limits are bytes or
/// fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadError {
    /// An LF without a CR before it.
    BareLf {
        /// Where.
        at: usize,
    },
    /// A CR without an LF after it.
    BareCr {
        /// Where.
        at: usize,
    },
    /// A control character other than HTAB.
    Control {
        /// Which.
        byte: u8,
        /// Where.
        at: usize,
    },
    /// More empty lines before the request than are skipped.
    LeadingCrlf {
        /// How many are.
        limit: usize,
    },
    /// The first bytes are no method.
    BadMethod {
        /// The byte that is not one of a token.
        byte: u8,
    },
    /// The method is longer than any.
    MethodTooLong {
        /// How long it may be.
        limit: usize,
    },
    /// Not `method SP target SP version`.
    BadRequestLine,
    /// The target is not valid for this method.
    BadTarget(TargetFault),
    /// The target is too long.
    TargetTooLong {
        /// How long it may be.
        limit: usize,
    },
    /// Well-formed, but neither HTTP/1.1 nor HTTP/1.0.
    BadVersion {
        /// Major version.
        major: u8,
        /// Minor version.
        minor: u8,
    },
    /// Not `HTTP/1.x SP status [SP reason]`, status from 100 to 599.
    BadStatusLine,
    /// 101: an answer to an Upgrade that was never asked for.
    Switched,
    /// A field line that begins with white space.
    ObsFold,
    /// Not `name: value`.
    BadField,
    /// Too many fields.
    TooManyFields {
        /// How many may be.
        limit: usize,
    },
    /// The head does not end in time.
    HeadTooLarge {
        /// How large it may be.
        limit: usize,
    },
    /// HTTP/1.1 without `Host`.
    NoHost,
    /// The value of `Host` is no authority.
    BadHost,
    /// A field that must not be repeated.
    Repeated(Known),
    /// `Content-Length` is no length, or several differ.
    BadLength,
    /// `Content-Length` and `Transfer-Encoding`.
    LengthAndCoding,
    /// `Transfer-Encoding` on HTTP/1.0.
    CodingOnHttp10,
    /// `Transfer-Encoding` does not end in one `chunked`.
    BadCoding,
    /// `Transfer-Encoding` names a coding besides `chunked`.
    UnknownCoding,
    /// `Expect` with something else than `100-continue`.
    BadExpectation,
}

impl HeadError {
    /// The fault of a request with this error. A response's is always
    /// [`Kind::UpstreamBadHead`].
    pub const fn kind(&self) -> Kind {
        match self {
            Self::TargetTooLong { .. } => Kind::TargetTooLong,
            Self::HeadTooLarge { .. } | Self::TooManyFields { .. } => Kind::HeadTooLarge,
            Self::BadVersion { .. } => Kind::BadVersion,
            Self::MethodTooLong { .. } | Self::UnknownCoding => Kind::NotImplemented,
            Self::BadExpectation => Kind::BadExpectation,
            _ => Kind::BadRequest,
        }
    }
}

impl fmt::Display for HeadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Self::BareLf { at } => return write!(f, "expected CRLF, came a bare LF at byte {at}"),
            Self::BareCr { at } => return write!(f, "expected CRLF, came a bare CR at byte {at}"),
            Self::Control { byte, at } => {
                return write!(
                    f,
                    "expected text, came control byte {byte:#04x} at byte {at}"
                );
            }
            Self::LeadingCrlf { limit } => {
                return write!(f, "expected a request, came more than {limit} empty lines");
            }
            Self::BadMethod { byte } => {
                return write!(f, "expected a method and a space, came byte {byte:#04x}");
            }
            Self::MethodTooLong { limit } => {
                return write!(f, "expected a method of at most {limit} bytes");
            }
            Self::BadTarget(fault) => return fault.fmt(f),
            Self::TargetTooLong { limit } => {
                return write!(f, "expected a target of at most {limit} bytes");
            }
            Self::BadVersion { major, minor } => {
                return write!(
                    f,
                    "expected HTTP/1.1 or HTTP/1.0, came HTTP/{major}.{minor}"
                );
            }
            Self::TooManyFields { limit } => return write!(f, "expected at most {limit} fields"),
            Self::HeadTooLarge { limit } => {
                return write!(f, "expected the head to end within {limit} bytes");
            }
            Self::Repeated(known) => return write!(f, "expected {} only once", known.name()),
            Self::BadRequestLine => "expected 'method target HTTP/1.1' as the request line",
            Self::BadStatusLine => "expected 'HTTP/1.1' and a status from 100 to 599",
            Self::Switched => "came 101, but no upgrade was asked for",
            Self::ObsFold => "expected a field name, came white space (a folded line)",
            Self::BadField => "expected 'name: value'",
            Self::NoHost => "expected a Host field",
            Self::BadHost => "expected host or host:port as the value of Host",
            Self::BadLength => "expected one Content-Length of digits without leading zeros",
            Self::LengthAndCoding => "came both Content-Length and Transfer-Encoding",
            Self::CodingOnHttp10 => "came Transfer-Encoding on HTTP/1.0",
            Self::BadCoding => "expected exactly 'chunked' as the Transfer-Encoding",
            Self::UnknownCoding => "came a transfer coding other than chunked",
            Self::BadExpectation => "expected no other expectation than 100-continue",
        };
        f.write_str(text)
    }
}

impl std::error::Error for HeadError {}

/// What one pass over the fields of a head tells.
#[derive(Debug)]
pub(super) struct Seen<'b> {
    pub(super) known: KnownSpans,
    pub(super) claims: Claims<'b>,
    /// The first name that must not be repeated in a request, but is.
    pub(super) repeated: Option<Known>,
    /// `Connection` lists `close`.
    pub(super) closes: bool,
    /// `Connection` lists `keep-alive`.
    pub(super) keeps: bool,
    /// Every `Expect` is `100-continue`; `None` when there is none.
    pub(super) expects_continue: Option<bool>,
    /// A field that is not known begins with a prefix of the gateway's own.
    pub(super) has_wishes: bool,
}

impl<'b> Seen<'b> {
    /// Looks at `fields`, whose names and values lie in `data`.
    pub(super) fn new(data: &'b [u8], fields: &[httparse::Header<'b>]) -> Self {
        let mut seen = Self {
            known: KnownSpans::NONE,
            claims: Claims::default(),
            repeated: None,
            closes: false,
            keeps: false,
            expects_continue: None,
            has_wishes: false,
        };
        for field in fields {
            if let Some(known) = Known::of(field.name.as_bytes()) {
                let value = trim(field.value);
                let at = position(data, field.name.as_bytes(), value);
                let is_first = seen.known.note(known, at);
                if !is_first && known.is_single() {
                    seen.repeated = seen.repeated.or(Some(known));
                }
                seen.note(known, value);
            } else {
                seen.has_wishes |= may_be_wish(field.name.as_bytes());
            }
        }
        seen
    }

    fn note(&mut self, known: Known, value: &'b [u8]) {
        match known {
            Known::ContentLength => self.claims.note_length(value),
            Known::TransferEncoding => self.claims.note_coding(value),
            Known::Connection => {
                for option in list(value) {
                    self.closes |= option.eq_ignore_ascii_case(b"close");
                    self.keeps |= option.eq_ignore_ascii_case(b"keep-alive");
                }
            }
            Known::Expect => {
                let is_continue = value.eq_ignore_ascii_case(b"100-continue");
                self.expects_continue = Some(self.expects_continue.unwrap_or(true) & is_continue);
            }
            _ => {}
        }
    }

    /// Whether the connection may carry another message (RFC 9112, 9.3).
    pub(super) fn keep_alive(&self, version: Version) -> bool {
        !self.closes && (version == Version::Http11 || self.keeps)
    }
}

/// Where `value` lies in `data`; an empty value lies behind its name.
fn position(data: &[u8], name: &[u8], value: &[u8]) -> Span {
    let offset = |part: &[u8]| part.as_ptr().addr().wrapping_sub(data.as_ptr().addr());
    if value.is_empty() {
        let end = offset(name) + name.len();
        return Span::new(end, end);
    }
    let start = offset(value);
    debug_assert!(start + value.len() <= data.len());
    Span::new(start, start + value.len())
}
