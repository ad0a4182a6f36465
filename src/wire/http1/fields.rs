//! The fields of a head: the names that the gateway reads, and a walk over all of them.
//!
//! ```text
//!   GET / HTTP/1.1␍␊ Host: a␍␊ X-B:  c ␍␊ ␍␊
//!                    └ start              └ end      ─►  (Host, a)  (X-B, c)
//! ```
//!
//! Invariants
//! - I1 The walk yields exactly the fields that the reader accepted, in order, values without
//!   the white space around them.
//! - I2 Over bytes that no reader accepted the walk ends early; it never panics.
//!
//! Source: RFC 9110, sections 5 and 7.6.1.

use crate::base::span::Span;
use crate::wire::lanes::near;

macro_rules! known {
    ($($name:ident = $text:literal,)*) => {
        /// A field that the gateway itself reads.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Known {
            $(#[doc = concat!("`", $text, "`")] $name,)*
        }

        impl Known {
            /// Every one, in the order of their numbers.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The name, in lower case.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

known! {
    Accept = "accept",
    AcceptEncoding = "accept-encoding",
    ApiKey = "api-key",
    Authorization = "authorization",
    Connection = "connection",
    ContentEncoding = "content-encoding",
    ContentLength = "content-length",
    ContentType = "content-type",
    Date = "date",
    Expect = "expect",
    Host = "host",
    Location = "location",
    RequestId = "request-id",
    RetryAfter = "retry-after",
    RetryAfterMs = "retry-after-ms",
    Server = "server",
    Trailer = "trailer",
    TransferEncoding = "transfer-encoding",
    Upgrade = "upgrade",
    UserAgent = "user-agent",
    XApiKey = "x-api-key",
    XGoogApiKey = "x-goog-api-key",
    XRequestId = "x-request-id",
}

impl Known {
    /// The field called `name`, in any case.
    pub fn of(name: &[u8]) -> Option<Self> {
        let guess = match (name.len(), name.first()?.to_ascii_lowercase()) {
            (4, b'd') => Self::Date,
            (4, b'h') => Self::Host,
            (6, b'a') => Self::Accept,
            (6, b'e') => Self::Expect,
            (6, b's') => Self::Server,
            (7, b'a') => Self::ApiKey,
            (7, b't') => Self::Trailer,
            (7, b'u') => Self::Upgrade,
            (8, b'l') => Self::Location,
            (9, b'x') => Self::XApiKey,
            (10, b'c') => Self::Connection,
            (10, b'r') => Self::RequestId,
            (10, b'u') => Self::UserAgent,
            (11, b'r') => Self::RetryAfter,
            (12, b'c') => Self::ContentType,
            (12, b'x') => Self::XRequestId,
            (13, b'a') => Self::Authorization,
            (14, b'c') => Self::ContentLength,
            (14, b'r') => Self::RetryAfterMs,
            (14, b'x') => Self::XGoogApiKey,
            (15, b'a') => Self::AcceptEncoding,
            (16, b'c') => Self::ContentEncoding,
            (17, b't') => Self::TransferEncoding,
            _ => return None,
        };
        is_same(name, guess.name().as_bytes()).then_some(guess)
    }

    /// Whether a request may carry it only once. Two credentials or two types could be read
    /// differently here and behind us.
    pub(super) const fn is_single(self) -> bool {
        matches!(
            self,
            Self::ApiKey
                | Self::Authorization
                | Self::ContentEncoding
                | Self::ContentLength
                | Self::ContentType
                | Self::Host
                | Self::TransferEncoding
                | Self::XApiKey
                | Self::XGoogApiKey
        )
    }
}

/// Whether the field `name` may be one by which a client tells the gateway what to do: the
/// gateway's own, and those of `LiteLLM` that it understands.
pub fn may_be_wish(name: &[u8]) -> bool {
    // Others are told by two bytes.
    matches!(name, [b'x' | b'X', b'-', b's' | b'S' | b'l' | b'L', ..])
        && [b"x-shardgate-".as_slice(), b"x-litellm-"]
            .iter()
            .any(|start| {
                name.get(..start.len())
                    .is_some_and(|begins| is_same(begins, start))
            })
}

/// Whether the token `name` is `known` in any case. In the known names, lower-case letters and
/// hyphens, every byte has the bit `0x20` set, and no other token byte becomes one by it.
fn is_same(name: &[u8], known: &[u8]) -> bool {
    const BIT: u64 = u64::from_ne_bytes([0x20; 8]);
    let (words, rest) = name.as_chunks::<8>();
    let (known_words, known_rest) = known.as_chunks::<8>();
    let mut pairs = words.iter().zip(known_words);
    name.len() == known.len()
        && pairs.all(|(a, b)| u64::from_ne_bytes(*a) | BIT == u64::from_ne_bytes(*b))
        && rest.iter().zip(known_rest).all(|(a, b)| a | 0x20 == *b)
}

/// Where the first field of each known name has its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct KnownSpans([Span; Known::ALL.len()]);

impl KnownSpans {
    pub(super) const NONE: Self = Self([Span { start: 0, end: 0 }; Known::ALL.len()]);

    /// The value of `name`; no value starts at position 0, so that stands for "absent".
    pub(super) fn get(&self, name: Known) -> Option<Span> {
        let span = self.0.get(name as usize)?;
        (span.start > 0).then_some(*span)
    }

    /// Notes the value of `name`. Says whether it is the first.
    pub(super) fn note(&mut self, name: Known, value: Span) -> bool {
        match self.0.get_mut(name as usize) {
            Some(span) if span.start == 0 => {
                *span = value;
                true
            }
            _ => false,
        }
    }
}

/// Iterator over the fields of an accepted head: `(name as sent, value)`.
#[derive(Clone, Debug)]
pub struct Fields<'b>(&'b [u8]);

impl<'b> Fields<'b> {
    /// The fields in `bytes`, which begin after the first line and end with the empty one.
    pub(super) fn new(bytes: &'b [u8]) -> Self {
        Self(bytes)
    }
}

impl<'b> Iterator for Fields<'b> {
    type Item = (&'b [u8], &'b [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.first() == Some(&b'\r') {
            return None; // the empty line
        }
        let colon = near(self.0, b':')?;
        let (name, rest) = (self.0.get(..colon)?, self.0.get(colon + 1..)?);
        let end = near(rest, b'\r')?;
        self.0 = rest.get(end + 2..).unwrap_or_default();
        Some((name, trim(rest.get(..end)?)))
    }
}

/// `value` without the optional white space (SP, HTAB) around it; RFC 9110, 5.6.3.
pub(super) fn trim(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] = value {
        value = rest;
    }
    while let [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}

/// The elements of a comma-separated list that are not empty; RFC 9110, 5.6.1.
pub(super) fn list(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value
        .split(|byte| *byte == b',')
        .map(trim)
        .filter(|element| !element.is_empty())
}

/// Whether a `Connection` field among `fields` lists `name`, in any case.
pub(super) fn connection_lists(fields: Fields<'_>, name: &[u8]) -> bool {
    let mut values = fields
        .filter(|(field, _)| field.eq_ignore_ascii_case(b"connection"))
        .map(|(_, value)| value);
    values.any(|value| list(value).any(|option| option.eq_ignore_ascii_case(name)))
}

/// For every byte, whether it may stand in a token.
#[expect(
    clippy::indexing_slicing,
    reason = "evaluated by the compiler, which checks the bounds"
)]
const TOKEN: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0_u8;
    while byte < 0x80 {
        table[byte as usize] = byte.is_ascii_alphanumeric()
            || matches!(byte, b'!' | b'#'..=b'\'' | b'*' | b'+' | b'-' | b'.' | b'^'..=b'`')
            || matches!(byte, b'|' | b'~');
        byte += 1;
    }
    table
};

/// Whether `byte` may stand in a token: names of fields, methods; RFC 9110, 5.6.2.
pub(super) fn is_token_byte(byte: u8) -> bool {
    TOKEN.get(usize::from(byte)).copied().unwrap_or_default()
}

/// Whether `bytes` is a token: at least one byte, all of them token bytes.
pub(super) fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|byte| is_token_byte(*byte))
}

/// Whether `byte` may stand in a field value: HTAB, SP, visible, obs-text; RFC 9110, 5.5.
pub(super) const fn is_value_byte(byte: u8) -> bool {
    byte == b'\t' || (byte >= b' ' && byte != 0x7f)
}

/// Whether the field `name` concerns one connection only and is never passed on: the list of
/// RFC 9110, 7.6.1, and what older and newer clients send besides. Fields that `Connection`
/// lists come on top: `connection_lists` of a head.
pub fn is_hop_by_hop(name: &[u8]) -> bool {
    const NAMES: [&[u8]; 10] = [
        b"connection",
        b"http2-settings",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    ];
    NAMES.iter().any(|known| name.eq_ignore_ascii_case(known))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: the guess by length and first letter finds every known name and no other.
    /// Method: every name in three spellings, then near misses.
    #[test]
    fn every_known_name_is_found_in_any_case() {
        for known in Known::ALL {
            let name = known.name();
            assert_eq!(Known::of(name.as_bytes()), Some(*known));
            assert_eq!(Known::of(name.to_uppercase().as_bytes()), Some(*known));
            let near = format!("{}x", &name[..name.len() - 1]);
            assert_eq!(Known::of(near.as_bytes()), None, "{near}");
        }
        assert_eq!(Known::of(b""), None);
    }

    /// Goal: a token has the bytes that RFC 9110, 5.6.2 lists, and a known name with one byte
    /// changed to another token byte is not known.
    #[test]
    fn tokens_have_token_bytes_and_near_names_are_not_known() {
        for byte in 0..=u8::MAX {
            let is_listed = b"!#$%&'*+-.^_`|~".contains(&byte) || byte.is_ascii_alphanumeric();
            assert_eq!(is_token_byte(byte), is_listed, "{byte:#x}");
            for known in Known::ALL {
                let mut name = known.name().as_bytes().to_vec();
                for at in 0..name.len() {
                    let was = std::mem::replace(&mut name[at], byte);
                    let is_near = is_listed && byte.to_ascii_lowercase() != was;
                    assert!(!is_near || Known::of(&name) != Some(*known));
                    name[at] = was;
                }
            }
        }
    }

    /// Goal: I1 and I2 of the walk.
    #[test]
    fn the_walk_yields_trimmed_fields_and_survives_anything() {
        let got: Vec<_> = Fields::new(b"A: b\r\nC:\r\nD:\t e f \t\r\n\r\nX: y\r\n").collect();
        let want: [(&[u8], &[u8]); 3] = [(b"A", b"b"), (b"C", b""), (b"D", b"e f")];
        assert_eq!(got, want);
        for junk in [
            &b""[..],
            b"\r",
            b"\r\n",
            b"a\r",
            b"a:b",
            b"a:b\r",
            b":\r:\r:",
        ] {
            assert!(Fields::new(junk).count() < 4);
        }
    }

    /// Goal: an empty value is present, an absent field is not, and the second is not the first.
    #[test]
    fn an_empty_value_is_not_an_absent_one() {
        let mut spans = KnownSpans::NONE;
        assert_eq!(spans.get(Known::Host), None);
        assert!(spans.note(Known::Host, Span::new(7, 7)));
        assert!(!spans.note(Known::Host, Span::new(9, 10)));
        assert_eq!(spans.get(Known::Host), Some(Span::new(7, 7)));
    }

    /// Goal: hop-by-hop names in any case, and no end-to-end one.
    #[test]
    fn connection_fields_stay_on_their_connection() {
        for name in [
            &b"Connection"[..],
            b"TE",
            b"Transfer-Encoding",
            b"HTTP2-Settings",
        ] {
            assert!(is_hop_by_hop(name));
        }
        for name in [&b"Content-Type"[..], b"Authorization", b"t", b""] {
            assert!(!is_hop_by_hop(name));
        }
    }
}
