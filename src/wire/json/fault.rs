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
    EndsBefore(&'static str),
    /// Something else stands where this was expected.
    Expected(&'static str),
    /// A control character stands raw in a string.
    ControlInString,
    /// A backslash is followed by none of the escapes of RFC 8259, section 7.
    BadEscape,
    /// Bytes other than whitespace follow the value.
    TrailingBytes,
    /// The value is valid, but no object.
    NotAnObject,
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
    pub(super) const fn expected(wanted: &'static str, json: &[u8], at: usize) -> Self {
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
