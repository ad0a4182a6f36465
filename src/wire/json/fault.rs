//! What is wrong with a JSON text, and where.

use std::fmt;

/// The rule that a text breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JsonFault {
    /// The bytes are not UTF-8 (RFC 8259, 8.1).
    BadUtf8,
    /// More than [`super::scan::DEPTH_MAX`] objects and arrays are open at once.
    TooDeep,
    /// The text ends where this was expected.
    EndsBefore(Wanted),
    /// Something else stands where this was expected.
    Expected(Wanted),
    /// A control character stands raw in a string.
    ControlInString,
    /// A backslash is followed by none of the escapes of RFC 8259, section 7.
    BadEscape,
    /// Bytes other than whitespace follow the value.
    TrailingBytes,
    /// The value is valid, but no object.
    NotAnObject,
}

/// What the grammar wants at some place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// A value of any kind.
    Value,
    /// The rest of `true`, `false` or `null`.
    Literal,
    /// A digit of a number.
    Digit,
    /// The quote that ends a string.
    ClosingQuote,
    /// The key of a member.
    Key,
    /// The colon behind a key.
    Colon,
    /// Another member or the end of the object.
    CommaOrBrace,
    /// Another item or the end of the array.
    CommaOrBracket,
    /// An array.
    Array,
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Value => "a value",
            Self::Literal => "true, false or null",
            Self::Digit => "a digit",
            Self::ClosingQuote => "a closing quote",
            Self::Key => "a key in quotes",
            Self::Colon => "':'",
            Self::CommaOrBrace => "',' or '}'",
            Self::CommaOrBracket => "',' or ']'",
            Self::Array => "an array",
        })
    }
}

/// A fault and the byte position at which it was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JsonError {
    /// What is wrong.
    pub what: JsonFault,
    /// Where, in bytes from the start of the text.
    pub at: usize,
}

impl JsonError {
    pub(super) const fn new(what: JsonFault, at: usize) -> Self {
        Self { what, at }
    }

    /// `wanted` is missing at `at`: because the text ends, or because something else is there.
    pub(super) const fn expected(wanted: Wanted, json: &[u8], at: usize) -> Self {
        if at < json.len() {
            Self::new(JsonFault::Expected(wanted), at)
        } else {
            Self::new(JsonFault::EndsBefore(wanted), json.len())
        }
    }
}

impl fmt::Display for JsonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.what {
            JsonFault::BadUtf8 => write!(f, "expected UTF-8, came a byte that is not"),
            JsonFault::TooDeep => write!(
                f,
                "expected at most {} levels of nesting, came one more",
                super::scan::DEPTH_MAX
            ),
            JsonFault::EndsBefore(wanted) => write!(f, "expected {wanted}, came the end"),
            JsonFault::Expected(wanted) => write!(f, "expected {wanted}, came something else"),
            JsonFault::ControlInString => {
                write!(f, "expected text, came a control character in a string")
            }
            JsonFault::BadEscape => write!(f, "expected an escape after the backslash, came none"),
            JsonFault::TrailingBytes => write!(f, "expected the end, came more bytes"),
            JsonFault::NotAnObject => write!(f, "expected an object, came another value"),
        }?;
        write!(f, " (at byte {})", self.at)
    }
}

impl std::error::Error for JsonError {}

#[cfg(test)]
mod tests {
    use super::super::scan::validate;

    /// Goal: an error says what was expected, what came, and where.
    #[test]
    fn an_error_says_what_was_expected_and_where() {
        for (json, want) in [
            ("{\"a\" 1}", "expected ':', came something else (at byte 5)"),
            ("[1", "expected ',' or ']', came the end (at byte 2)"),
            ("[1] x", "expected the end, came more bytes (at byte 4)"),
            (
                "\"a\nb\"",
                "expected text, came a control character in a string (at byte 2)",
            ),
        ] {
            assert_eq!(validate(json.as_bytes()).unwrap_err().to_string(), want);
        }
        // An error travels in two registers: it is passed through every level of a scan.
        assert_eq!(size_of::<Result<(), super::JsonError>>(), 16);
    }
}
