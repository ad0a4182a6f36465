//! How long a body is: every framing rule of HTTP/1.1, in this one file.
//!
//! ```text
//!   request    coding + length → refused      coding, HTTP/1.0 → refused
//!              "chunked" alone → Chunked      other coding → 501, or 400 if chunked is not last
//!              length          → Length       neither → None
//!   response   1xx 204 304, or to HEAD → None, whatever the fields say
//!              the same rules, and neither → UntilClose
//! ```
//!
//! Invariants
//! - I1 `Chunked` needs exactly one `Transfer-Encoding` field, whose value is `chunked`, in any
//!   case, on HTTP/1.1, and no `Content-Length`.
//! - I2 `Length` needs a value of digits alone: no sign, space, list or leading zero, nothing
//!   over `u64`. A request has exactly one such field; a response may repeat it unchanged.
//! - I3 A request is never `UntilClose`.
//!
//! Source: RFC 9112, sections 6.1 to 6.3 and 11.2; RFC 9110, section 8.6.

use super::fields::list;
use super::head::{HeadError, Method, Version};

/// How the end of a body is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// There is no body.
    None,
    /// So many bytes; may be 0.
    Length(u64),
    /// Chunks, see [`Chunked`](super::Chunked).
    Chunked,
    /// Everything up to the end of the connection (responses only).
    UntilClose,
}

impl Framing {
    /// Whether there can be a byte of body.
    pub const fn has_body(self) -> bool {
        !matches!(self, Self::None | Self::Length(0))
    }
}

/// What the framing fields of one head say.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Claims<'b> {
    /// The value of the first `Content-Length`.
    pub(super) length: Option<&'b [u8]>,
    /// Whether a further one says something else.
    pub(super) lengths_differ: bool,
    /// The value of the first `Transfer-Encoding`.
    pub(super) coding: Option<&'b [u8]>,
    /// Whether there is a further one.
    pub(super) coding_repeats: bool,
}

impl<'b> Claims<'b> {
    /// One more `Content-Length`.
    pub(super) fn note_length(&mut self, value: &'b [u8]) {
        match self.length {
            None => self.length = Some(value),
            Some(first) => self.lengths_differ |= first != value,
        }
    }

    /// One more `Transfer-Encoding`.
    pub(super) fn note_coding(&mut self, value: &'b [u8]) {
        self.coding_repeats |= self.coding.is_some();
        self.coding = self.coding.or(Some(value));
    }
}

/// The framing of a request's body.
///
/// # Errors
/// Everything that I1 and I2 forbid.
pub(super) fn of_request(version: Version, claims: &Claims<'_>) -> Result<Framing, HeadError> {
    Ok(claimed(version, claims)?.unwrap_or(Framing::None)) // I3
}

/// The framing of a response's body, and whether the connection is fit for another message:
/// not when the body ends with it, and not when a response that has no body claims one.
///
/// # Errors
/// Everything that I1 and I2 forbid, also where the fields do not count.
pub(super) fn of_response(
    version: Version,
    status: u16,
    asked: Method,
    claims: &Claims<'_>,
) -> Result<(Framing, bool), HeadError> {
    let claimed = claimed(version, claims)?;
    if matches!(status, 100..=199 | 204) {
        let lies = claimed.is_some_and(Framing::has_body);
        return Ok((Framing::None, !lies));
    }
    if status == 304 || asked == Method::Head {
        return Ok((Framing::None, true)); // the length is that of the body it would have had
    }
    Ok(claimed.map_or((Framing::UntilClose, false), |framing| (framing, true)))
}

fn claimed(version: Version, claims: &Claims<'_>) -> Result<Option<Framing>, HeadError> {
    match (claims.coding, claims.length) {
        (None, None) => Ok(None),
        (Some(_), Some(_)) => Err(HeadError::LengthAndCoding),
        (Some(coding), None) => coded(version, coding, claims.coding_repeats).map(Some),
        (None, Some(_)) if claims.lengths_differ => Err(HeadError::BadLength),
        (None, Some(digits)) => length(digits)
            .map(|length| Some(Framing::Length(length)))
            .ok_or(HeadError::BadLength),
    }
}

fn coded(version: Version, coding: &[u8], repeats: bool) -> Result<Framing, HeadError> {
    if version == Version::Http10 {
        return Err(HeadError::CodingOnHttp10);
    }
    if repeats {
        return Err(HeadError::BadCoding);
    }
    if coding.eq_ignore_ascii_case(b"chunked") {
        return Ok(Framing::Chunked); // I1
    }
    // With chunked last the end of the body could be found, but nobody here undoes the rest.
    let mut codings = list(coding);
    let (first, last) = (codings.next(), codings.last());
    let is_chunked = |name: Option<&[u8]>| name.is_some_and(|n| n.eq_ignore_ascii_case(b"chunked"));
    if is_chunked(last) && !is_chunked(first) {
        return Err(HeadError::UnknownCoding);
    }
    Err(HeadError::BadCoding)
}

/// The number that `digits` write; `None` unless I2 holds.
pub(super) fn length(digits: &[u8]) -> Option<u64> {
    match digits {
        [] | [b'0', _, ..] => return None,
        _ => {}
    }
    digits.iter().try_fold(0_u64, |sum, byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        sum.checked_mul(10)?.checked_add(digit)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claims<'b>(lengths: &[&'b [u8]], codings: &[&'b [u8]]) -> Claims<'b> {
        let mut claims = Claims::default();
        for value in lengths {
            claims.note_length(value);
        }
        for value in codings {
            claims.note_coding(value);
        }
        claims
    }

    /// Goal: I2. Method: the border values and every kind of decoration.
    #[test]
    fn a_length_is_digits_and_nothing_else() {
        assert_eq!(length(b"0"), Some(0));
        assert_eq!(length(b"10"), Some(10));
        assert_eq!(length(b"18446744073709551615"), Some(u64::MAX));
        let bad = "|+1|-1|00|01|00005|1 |1,1|1, 1|0x1|1_0|1e0|18446744073709551616|184467440737095516150|\u{a0}1";
        for digits in bad.split('|') {
            assert_eq!(length(digits.as_bytes()), None, "{digits:?}");
        }
    }

    /// Goal: I1. Method: every way to say chunked that is not the one way.
    #[test]
    fn chunked_is_said_in_one_way() {
        let of = |version, lengths: &[&'static [u8]], codings: &[&'static [u8]]| {
            of_request(version, &claims(lengths, codings))
        };
        let v11 = Version::Http11;
        assert_eq!(of(v11, &[], &[b"ChunkeD"]), Ok(Framing::Chunked));
        assert_eq!(of(v11, &[], &[]), Ok(Framing::None));
        assert_eq!(of(v11, &[b"7"], &[]), Ok(Framing::Length(7)));
        assert_eq!(
            of(v11, &[b"0"], &[b"chunked"]),
            Err(HeadError::LengthAndCoding)
        );
        assert_eq!(
            of(Version::Http10, &[], &[b"chunked"]),
            Err(HeadError::CodingOnHttp10)
        );
        assert_eq!(
            of(v11, &[], &[b"chunked", b"chunked"]),
            Err(HeadError::BadCoding)
        );
        for bad in [
            &b""[..],
            b"identity",
            b"chunked, chunked",
            b",chunked",
            b"chunked,",
            b"x",
        ] {
            assert_eq!(of(v11, &[], &[bad]), Err(HeadError::BadCoding));
        }
        for bad in [&b"gzip, chunked"[..], b"chunked, gzip", b"xchunked"] {
            assert!(of(v11, &[], &[bad]).is_err());
        }
        assert_eq!(
            of(v11, &[], &[b"gzip, chunked"]),
            Err(HeadError::UnknownCoding)
        );
    }

    /// Goal: a response that has no body by its status is not framed by its fields, and one
    /// that lies about that ends its connection.
    #[test]
    fn a_response_without_a_body_has_none_whatever_it_claims() {
        let of = |status, asked, lengths: &[&'static [u8]], codings: &[&'static [u8]]| {
            of_response(Version::Http11, status, asked, &claims(lengths, codings))
        };
        assert_eq!(
            of(200, Method::Post, &[b"5", b"5"], &[]),
            Ok((Framing::Length(5), true))
        );
        assert_eq!(
            of(200, Method::Post, &[b"5", b"6"], &[]),
            Err(HeadError::BadLength)
        );
        assert_eq!(
            of(200, Method::Post, &[], &[]),
            Ok((Framing::UntilClose, false))
        );
        assert_eq!(
            of(200, Method::Head, &[b"5"], &[]),
            Ok((Framing::None, true))
        );
        assert_eq!(
            of(304, Method::Get, &[b"5"], &[]),
            Ok((Framing::None, true))
        );
        assert_eq!(of(204, Method::Post, &[], &[]), Ok((Framing::None, true)));
        assert_eq!(
            of(204, Method::Post, &[b"0"], &[]),
            Ok((Framing::None, true))
        );
        assert_eq!(
            of(204, Method::Post, &[b"20"], &[]),
            Ok((Framing::None, false))
        );
        assert_eq!(
            of(100, Method::Post, &[], &[b"chunked"]),
            Ok((Framing::None, false))
        );
        assert_eq!(
            of(204, Method::Post, &[b"x"], &[]),
            Err(HeadError::BadLength)
        );
    }
}
