//! Request targets and authorities: which are valid, and where their parts are.
//!
//! ```text
//!   /v1/chat/completions?x=1          origin-form      path, query
//!   http://host:80/v1/models?x=1      absolute-form    authority, path, query
//!   host:443                          authority-form   authority; CONNECT only
//!   *                                 asterisk-form    path "*"; OPTIONS only
//! ```
//!
//! Invariants
//! - I1 A valid target has only the bytes that RFC 3986 allows in its place, with one
//!   exception: `[` and `]` in a query, which clients of array parameters send unescaped.
//! - I2 Every `%` is followed by two hexadecimal digits; a path or host holds no escaped
//!   control byte.
//! - I3 An authority is a host that is not empty and an optional port up to 65535, no userinfo.
//!   The host is a registered name, an IPv4 address or a bracketed IPv6 address without zone.
//!
//! Source: RFC 9112, section 3.2; RFC 9110, sections 4.2 and 7.2; RFC 3986, section 3.

use std::fmt;
use std::net::Ipv6Addr;

use memchr::memchr;

use super::head::Method;
use crate::base::span::Span;

/// Longest host name, in bytes (RFC 1035, 2.3.4).
const HOST_MAX: usize = 255;

const PATH: u8 = 1;
const QUERY: u8 = 2;
const HOST: u8 = 4;

/// For every byte, the places where it may stand as itself.
const PLACES: [u8; 256] = {
    let mut places = [0; 256];
    put(
        &mut places,
        b"ABCDEFGHIJKLMNOPQRSTUVWXYZ",
        PATH | QUERY | HOST,
    );
    put(
        &mut places,
        b"abcdefghijklmnopqrstuvwxyz",
        PATH | QUERY | HOST,
    );
    put(&mut places, b"0123456789-._~", PATH | QUERY | HOST);
    put(&mut places, b"!$&'()*+;=", PATH | QUERY | HOST);
    // RFC 3986 allows a comma in a host; there it makes one field look like a list of two.
    put(&mut places, b",:@/", PATH | QUERY);
    put(&mut places, b"?[]", QUERY);
    places
};

#[expect(
    clippy::indexing_slicing,
    reason = "evaluated by the compiler, which checks the bounds"
)]
const fn put(places: &mut [u8; 256], bytes: &[u8], place: u8) {
    let mut i = 0;
    while i < bytes.len() {
        places[bytes[i] as usize] |= place;
        i += 1;
    }
}

/// What is wrong with a target or an authority.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TargetFault {
    /// Not one of the four forms, or a form that the method does not take.
    Form,
    /// A scheme other than `http` and `https`.
    Scheme,
    /// I3 is broken.
    Authority,
    /// A byte that must be escaped.
    Byte,
    /// I2 is broken.
    Escape,
}

impl fmt::Display for TargetFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Form => "expected a path, or an absolute http URI, as the target",
            Self::Scheme => "expected http or https as the target's scheme",
            Self::Authority => "expected host or host:port",
            Self::Byte => "the target has a byte that must be percent-encoded",
            Self::Escape => "expected two hexadecimal digits after %, and no control character",
        })
    }
}

/// Where the parts of a target are, as positions in the target.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Parts {
    /// Without `?`; empty in authority-form and in an absolute-form that ends at the host.
    pub(super) path: Span,
    /// Without `?`; empty when there is none.
    pub(super) query: Span,
    /// Only where the target names one.
    pub(super) authority: Option<Span>,
}

/// Checks `target` and finds its parts.
///
/// # Errors
/// The first fault, from left to right.
pub(super) fn parts(method: Method, target: &[u8]) -> Result<Parts, TargetFault> {
    if method == Method::Connect {
        let authority = Span::new(0, target.len());
        return is_authority(target)
            .then_some(Parts {
                authority: Some(authority),
                ..Parts::default()
            })
            .ok_or(TargetFault::Authority);
    }
    match target {
        [b'/', ..] => path_and_query(target, 0),
        b"*" if method == Method::Options => Ok(Parts {
            path: Span::new(0, 1),
            ..Parts::default()
        }),
        _ => absolute(target),
    }
}

fn absolute(target: &[u8]) -> Result<Parts, TargetFault> {
    let colon = memchr(b':', target).ok_or(TargetFault::Form)?;
    let (scheme, rest) = target.split_at_checked(colon).ok_or(TargetFault::Form)?;
    let Some(rest) = rest.strip_prefix(b"://") else {
        return Err(TargetFault::Form);
    };
    if !scheme.eq_ignore_ascii_case(b"http") && !scheme.eq_ignore_ascii_case(b"https") {
        return Err(TargetFault::Scheme);
    }
    let start = colon + b"://".len();
    let ends = |byte: &u8| matches!(byte, b'/' | b'?');
    let len = rest.iter().position(ends).unwrap_or(rest.len());
    if !rest.get(..len).is_some_and(is_authority) {
        return Err(TargetFault::Authority);
    }
    let found = path_and_query(target, start + len)?;
    Ok(Parts {
        authority: Some(Span::new(start, start + len)),
        ..found
    })
}

fn path_and_query(target: &[u8], start: usize) -> Result<Parts, TargetFault> {
    let rest = target.get(start..).unwrap_or_default();
    let len = memchr(b'?', rest).unwrap_or(rest.len());
    let (path, query) = rest.split_at_checked(len).unwrap_or((rest, b""));
    check(path, PATH)?;
    check(query, QUERY)?;
    let end = start + len;
    Ok(Parts {
        path: Span::new(start, end),
        query: Span::new((end + 1).min(target.len()), target.len()),
        authority: None,
    })
}

fn check(bytes: &[u8], place: u8) -> Result<(), TargetFault> {
    let mut rest = bytes.iter();
    while let Some(byte) = rest.next() {
        if PLACES
            .get(usize::from(*byte))
            .is_some_and(|places| places & place != 0)
        {
            continue;
        }
        if *byte != b'%' {
            return Err(TargetFault::Byte);
        }
        let (high, low) = {
            let mut digit = || rest.next().copied().and_then(hex);
            (digit(), digit())
        };
        let (Some(high), Some(low)) = (high, low) else {
            return Err(TargetFault::Escape);
        };
        let is_control = high < 2 || (high, low) == (7, 15);
        if is_control && place != QUERY {
            return Err(TargetFault::Escape); // I2
        }
    }
    Ok(())
}

fn hex(byte: u8) -> Option<u32> {
    char::from(byte).to_digit(16)
}

/// Whether `bytes` is a valid authority: I3. Also the rule for the value of `Host`.
pub(super) fn is_authority(bytes: &[u8]) -> bool {
    if let [b'[', rest @ ..] = bytes {
        let Some(end) = memchr(b']', rest) else {
            return false;
        };
        let (address, after) = rest.split_at_checked(end).unwrap_or_default();
        let is_address =
            std::str::from_utf8(address).is_ok_and(|address| address.parse::<Ipv6Addr>().is_ok());
        return is_address
            && match after.strip_prefix(b"]") {
                Some([b':', port @ ..]) => is_port(port),
                Some(rest) => rest.is_empty(),
                None => false,
            };
    }
    let (host, port) = match memchr(b':', bytes) {
        Some(colon) => bytes.split_at_checked(colon).unwrap_or_default(),
        None => (bytes, &b""[..]),
    };
    !host.is_empty()
        && host.len() <= HOST_MAX
        && check(host, HOST).is_ok()
        && is_port(port.strip_prefix(b":").unwrap_or_default())
}

/// Whether `digits` is a port; none at all is the scheme's own (RFC 3986, 3.2.3).
fn is_port(digits: &[u8]) -> bool {
    digits.len() <= 5
        && digits.iter().all(u8::is_ascii_digit)
        && digits
            .iter()
            .fold(0, |sum, digit| sum * 10 + u32::from(digit - b'0'))
            <= 65535
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(method: Method, target: &str) -> Result<[&str; 3], TargetFault> {
        let parts = parts(method, target.as_bytes())?;
        let text = |span: Span| std::str::from_utf8(span.bytes(target.as_bytes())).unwrap();
        Ok([
            parts.authority.map_or("", text),
            text(parts.path),
            text(parts.query),
        ])
    }

    /// Goal: the parts of each form are where RFC 9112, 3.2 says.
    #[test]
    fn every_form_gives_its_parts() {
        let post = |target| read(Method::Post, target);
        assert_eq!(post("/"), Ok(["", "/", ""]));
        assert_eq!(
            post("/v1/models?a=b?c&d[]=%20"),
            Ok(["", "/v1/models", "a=b?c&d[]=%20"])
        );
        assert_eq!(post("//h/v1?"), Ok(["", "//h/v1", ""]));
        assert_eq!(post("http://h:1/v1?q"), Ok(["h:1", "/v1", "q"]));
        assert_eq!(post("HTTPS://h"), Ok(["h", "", ""]));
        assert_eq!(post("http://h?q"), Ok(["h", "", "q"]));
        assert_eq!(read(Method::Options, "*"), Ok(["", "*", ""]));
        assert_eq!(read(Method::Connect, "h:443"), Ok(["h:443", "", ""]));
    }

    /// Goal: I1, I2 and the forms. Method: one broken thing per target.
    #[test]
    fn a_target_that_is_no_target_is_refused() {
        use TargetFault::{Authority, Byte, Escape, Form, Scheme};
        let cases = [
            ("", Form),
            ("*", Form),
            ("v1", Form),
            ("h:443", Form),
            ("\\v1", Form),
            ("http:/v1", Form),
            ("ftp://h/", Scheme),
            ("http:///v1", Authority),
            ("http://u@h/", Authority),
            ("http://h:x/", Authority),
            ("/a#b", Byte),
            ("/a<b", Byte),
            ("/a\u{e9}", Byte),
            ("/a[b", Byte),
            ("/a?b|c", Byte),
            ("/a%", Escape),
            ("/a%2", Escape),
            ("/a%2g", Escape),
            ("/a?b%+1", Escape),
            ("/a%00", Escape),
            ("/a%0d%0a", Escape),
            ("/a%7f", Escape),
        ];
        for (target, fault) in cases {
            assert_eq!(read(Method::Post, target), Err(fault), "{target}");
        }
        assert_eq!(read(Method::Connect, "/v1"), Err(Authority));
        assert_eq!(read(Method::Options, "**"), Err(Form));
    }

    /// Goal: I3.
    #[test]
    fn an_authority_is_a_host_and_perhaps_a_port() {
        let long = "a".repeat(HOST_MAX);
        for good in [
            "a",
            "a.b-c_d.",
            "1.2.3.4",
            "a:",
            "a:0",
            "a:65535",
            "[::1]",
            "[::1]:80",
            "[::1]:",
            "[::ffff:1.2.3.4]",
            "a%20b",
            &long,
        ] {
            assert!(is_authority(good.as_bytes()), "{good}");
        }
        let longer = "a".repeat(HOST_MAX + 1);
        for bad in [
            "",
            ":",
            ":80",
            "a:b",
            "a:-1",
            "a:65536",
            "a:000080",
            "a:80:80",
            "a/b",
            "a#b",
            "a?b",
            "a\\b",
            "u@a",
            "a b",
            "a,b",
            "[",
            "[]",
            "[::1",
            "[::1]x",
            "[::1]80",
            "[fe80::1%25e]",
            "[v1.a]",
            "::1",
            "a%0",
            "a%00",
            "\u{e9}",
            &longer,
        ] {
            assert!(!is_authority(bad.as_bytes()), "{bad}");
        }
    }
}
