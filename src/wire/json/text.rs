//! What a JSON string says once its escapes are resolved.
//!
//! Source: RFC 8259, section 7; surrogate pairs as in RFC 2781, section 2.2.

use super::cursor::NAME_MAX;

/// A part of a string.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// Bytes that stand for themselves.
    Plain(&'a [u8]),
    /// A character that stood as an escape.
    Char(char),
    /// A lone surrogate or a broken escape; nothing comes after it.
    Broken,
}

/// The parts of `raw`, the inside of a string, in order.
pub fn pieces(raw: &[u8]) -> Pieces<'_> {
    Pieces { rest: raw }
}

/// Iterator of [`pieces`].
#[derive(Clone, Debug)]
pub struct Pieces<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Pieces<'a> {
    type Item = Piece<'a>;

    fn next(&mut self) -> Option<Piece<'a>> {
        if self.rest.is_empty() {
            return None;
        }
        let plain = memchr::memchr(b'\\', self.rest).unwrap_or(self.rest.len());
        if plain > 0 {
            let (now, later) = self.rest.split_at_checked(plain)?;
            self.rest = later;
            return Some(Piece::Plain(now));
        }
        let Some((c, used)) = escape(self.rest) else {
            self.rest = &[];
            return Some(Piece::Broken);
        };
        self.rest = self.rest.get(used..).unwrap_or_default();
        Some(Piece::Char(c))
    }
}

/// The character of the escape at the start of `raw`, and how many bytes it takes.
fn escape(raw: &[u8]) -> Option<(char, usize)> {
    let simple = match raw.get(1)? {
        b'b' => '\u{8}',
        b'f' => '\u{c}',
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        b'u' => return unicode(raw),
        same @ (b'"' | b'\\' | b'/') => char::from(*same),
        _ => return None,
    };
    Some((simple, 2))
}

fn unicode(raw: &[u8]) -> Option<(char, usize)> {
    let first = unit(raw)?;
    if !(0xD800..0xE000).contains(&first) {
        return Some((char::from_u32(first)?, 6));
    }
    let second = unit(raw.get(6..)?)?;
    if first >= 0xDC00 || !(0xDC00..0xE000).contains(&second) {
        return None;
    }
    let code = 0x1_0000 + ((first - 0xD800) << 10) + (second - 0xDC00);
    Some((char::from_u32(code)?, 12))
}

/// The UTF-16 unit of a `\uXXXX` at the start of `raw`.
fn unit(raw: &[u8]) -> Option<u32> {
    let digits = raw.strip_prefix(b"\\u")?.get(..4)?;
    digits.iter().try_fold(0, |sum, &digit| {
        Some(sum * 16 + char::from(digit).to_digit(16)?)
    })
}

/// Whether `raw` says `name`.
pub(super) fn says(raw: &[u8], name: &str) -> bool {
    let mut left = name;
    for piece in pieces(raw) {
        let rest = match piece {
            Piece::Plain(bytes) => std::str::from_utf8(bytes)
                .ok()
                .and_then(|bytes| left.strip_prefix(bytes)),
            Piece::Char(c) => left.strip_prefix(c),
            Piece::Broken => None,
        };
        let Some(rest) = rest else { return false };
        left = rest;
    }
    left.is_empty()
}

/// What `raw` says, if it fits into `room`.
pub(super) fn resolve_name<'r>(raw: &[u8], room: &'r mut [u8; NAME_MAX]) -> Option<&'r [u8]> {
    let mut used = 0;
    for piece in pieces(raw) {
        let mut four = [0; 4];
        let bytes = match piece {
            Piece::Plain(bytes) => bytes,
            Piece::Char(c) => c.encode_utf8(&mut four).as_bytes(),
            Piece::Broken => return None,
        };
        room.get_mut(used..used + bytes.len())?
            .copy_from_slice(bytes);
        used += bytes.len();
    }
    room.get(..used)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(raw: &str) -> Option<String> {
        let mut out = Vec::new();
        super::super::scan::unescape_into(raw.as_bytes(), &mut out)
            .then(|| String::from_utf8(out).unwrap())
    }

    /// Goal: every escape says what RFC 8259 says; what cannot be said is told apart.
    #[test]
    fn escapes_say_what_the_rfc_says() {
        for (raw, want) in [
            (r#"\"\\\/\b\f\n\r\t"#, Some("\"\\/\u{8}\u{c}\n\r\t")),
            (r"a\u0041\u00e9\u20ac", Some("aAé€")),
            (r"\ud83d\ude00!", Some("😀!")),
            (r"\u0000", Some("\0")),
            (r"\ud800", None),
            (r"\ude00\ud83d", None),
            (r"\ud83dx\ude00", None),
            (r"\ud83d\u0041", None),
            (r"\u12", None),
            (r"\x", None),
            ("\\", None),
        ] {
            assert_eq!(text(raw).as_deref(), want, "{raw}");
        }
    }

    /// Goal: a key is recognised through any escape, and only then.
    #[test]
    fn a_key_is_recognised_through_escapes() {
        for raw in [
            "model",
            r"\u006dodel",
            r"mod\u0065l",
            r"\u006d\u006f\u0064\u0065\u006c",
        ] {
            let mut room = [0; NAME_MAX];
            assert!(says(raw.as_bytes(), "model"), "{raw}");
            assert_eq!(resolve_name(raw.as_bytes(), &mut room), Some(&b"model"[..]));
        }
        for raw in [
            "Model",
            r"\u004dodel",
            "mode",
            "models",
            r"model\u0000",
            r"\ud800",
        ] {
            assert!(!says(raw.as_bytes(), "model"), "{raw}");
        }
    }
}
