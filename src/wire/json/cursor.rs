//! Walks through a JSON text one value at a time, checking it on the way; no tree, no recursion.
//!
//! ```text
//!   {"model":"m","messages":[{"role":"user", …}]}
//!   └ object(|c, key| …)
//!      └ key "model"      c.skip() → Value { span, kind: String }
//!                         └ key "messages"  c.skip() → one straight loop over all of it
//! ```
//!
//! The caller goes *into* the few objects that it knows with [`Cursor::object`] and
//! [`Cursor::array`] (nested as deep as its own code is) and steps *over* everything else
//! with [`Cursor::skip`].
//!
//! Invariants
//! - I1 Every byte is looked at once, and every byte stepped over obeys the grammar.
//! - I2 At most [`DEPTH_MAX`] containers are open: the kinds of the open ones are the bits
//!   of one integer, so memory is constant.
//! - I3 The cursor checks grammar, not UTF-8: that is one call over the whole text, and
//!   the caller's choice.
//!
//! Source: RFC 8259, sections 2 to 7 and 9 (limits are the implementation's).

use super::fault::{JsonError, JsonFault, Wanted};
use super::lex::{Bits, byte, literal_end, number_end, skip_space, string_end};
use super::scan::DEPTH_MAX;
use super::text::resolve_name;
use crate::base::span::Span;

/// The kinds of JSON value; `true` and `false` apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValueKind {
    /// `null`
    Null,
    /// `true`
    True,
    /// `false`
    False,
    /// A number, by the grammar; never converted.
    Number,
    /// A string.
    String,
    /// An object.
    Object,
    /// An array.
    Array,
}

/// A value that was stepped over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Value {
    /// All of it, with the quotes or brackets.
    pub span: Span,
    /// Its kind.
    pub kind: ValueKind,
    /// For strings: whether it holds an escape.
    pub escaped: bool,
    /// For strings, objects and arrays: whether there is nothing inside.
    pub empty: bool,
}

/// A member's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key<'a> {
    /// The bytes between the quotes, as they stand.
    pub raw: &'a [u8],
    /// Where they stand.
    pub span: Span,
    /// Whether they hold an escape.
    pub escaped: bool,
}

/// Room for a resolved key; a longer one is none of those that the gateway knows.
pub const NAME_MAX: usize = 40;

impl<'a> Key<'a> {
    /// The key with its escapes resolved, to be matched against known names. A key that
    /// does not fit into `room` comes back raw, and then holds a backslash, which no known
    /// name does.
    #[inline]
    pub fn name<'r>(&self, room: &'r mut [u8; NAME_MAX]) -> &'r [u8]
    where
        'a: 'r,
    {
        if self.escaped {
            resolve_name(self.raw, room).unwrap_or(self.raw)
        } else {
            self.raw
        }
    }
}

/// A position in a JSON text.
#[derive(Debug)]
pub struct Cursor<'a> {
    json: &'a [u8],
    at: usize,
    depth: usize,
    bits: Bits,
}

impl<'a> Cursor<'a> {
    /// At position `at` of `json`.
    pub fn new(json: &'a [u8], at: usize) -> Self {
        Self {
            json,
            at,
            depth: 0,
            bits: Bits::default(),
        }
    }

    /// The position, in bytes.
    pub fn at(&self) -> usize {
        self.at
    }

    /// Whether everything that was stepped over is ASCII, and so UTF-8. May be false of a text
    /// that has other bytes further on.
    pub(super) fn is_ascii(&self) -> bool {
        self.bits.are_ascii()
    }

    /// What kind of value comes next, judged by its first byte.
    ///
    /// # Errors
    /// No value starts here.
    #[inline]
    pub fn peek(&mut self) -> Result<ValueKind, JsonError> {
        self.at = skip_space(self.json, self.at);
        match byte(self.json, self.at) {
            b'"' => Ok(ValueKind::String),
            b'{' => Ok(ValueKind::Object),
            b'[' => Ok(ValueKind::Array),
            b'-' | b'0'..=b'9' => Ok(ValueKind::Number),
            b't' => Ok(ValueKind::True),
            b'f' => Ok(ValueKind::False),
            b'n' => Ok(ValueKind::Null),
            _ => Err(JsonError::expected(Wanted::Value, self.json, self.at)),
        }
    }

    /// Steps over one value of any kind.
    ///
    /// # Errors
    /// The value breaks the grammar or is nested too deeply.
    #[inline]
    pub fn skip(&mut self) -> Result<Value, JsonError> {
        let kind = self.peek()?;
        let start = self.at;
        let mut escaped = false;
        let mut empty = false;
        match kind {
            ValueKind::Object | ValueKind::Array => {
                self.skip_container()?;
                empty = skip_space(self.json, start + 1) + 1 == self.at;
            }
            ValueKind::String => {
                (_, escaped) = self.string()?;
                empty = start + 2 == self.at;
            }
            _ => self.scalar(kind)?,
        }
        Ok(Value {
            span: Span::new(start, self.at),
            kind,
            escaped,
            empty,
        })
    }

    /// Goes through the object that comes next; `each` gets the cursor on each member's
    /// value and must step over exactly that (with [`Cursor::skip`] or by going in).
    ///
    /// # Errors
    /// No object comes next, it breaks the grammar, or `each` failed.
    pub fn object<F>(&mut self, mut each: F) -> Result<(), JsonError>
    where
        F: FnMut(&mut Self, &Key<'a>) -> Result<(), JsonError>,
    {
        if self.peek()? != ValueKind::Object {
            return Err(JsonError::new(JsonFault::NotAnObject, self.at));
        }
        self.go_in()?;
        if self.take(b'}') {
            self.depth -= 1;
            return Ok(());
        }
        loop {
            let key = self.key()?;
            each(self, &key)?;
            if !self.take(b',') {
                break;
            }
        }
        self.depth -= 1;
        if self.take(b'}') {
            return Ok(());
        }
        Err(JsonError::expected(
            Wanted::CommaOrBrace,
            self.json,
            self.at,
        ))
    }

    /// Goes through the array that comes next; `each` gets the cursor on each item and must
    /// step over exactly that.
    ///
    /// # Errors
    /// No array comes next, it breaks the grammar, or `each` failed.
    pub fn array<F>(&mut self, mut each: F) -> Result<(), JsonError>
    where
        F: FnMut(&mut Self) -> Result<(), JsonError>,
    {
        if self.peek()? != ValueKind::Array {
            return Err(JsonError::expected(Wanted::Array, self.json, self.at));
        }
        self.go_in()?;
        if self.take(b']') {
            self.depth -= 1;
            return Ok(());
        }
        loop {
            each(self)?;
            if !self.take(b',') {
                break;
            }
        }
        self.depth -= 1;
        if self.take(b']') {
            return Ok(());
        }
        Err(JsonError::expected(
            Wanted::CommaOrBracket,
            self.json,
            self.at,
        ))
    }

    /// Nothing but whitespace may follow.
    ///
    /// # Errors
    /// Something does.
    pub fn end(&mut self) -> Result<(), JsonError> {
        self.at = skip_space(self.json, self.at);
        if self.at < self.json.len() {
            return Err(JsonError::new(JsonFault::TrailingBytes, self.at));
        }
        Ok(())
    }

    fn go_in(&mut self) -> Result<(), JsonError> {
        if self.depth >= DEPTH_MAX {
            return Err(JsonError::new(JsonFault::TooDeep, self.at)); // I2
        }
        self.depth += 1;
        self.at += 1;
        Ok(())
    }

    /// Steps over `what` if it comes next, whitespace aside.
    #[inline]
    fn take(&mut self, what: u8) -> bool {
        self.at = skip_space(self.json, self.at);
        let there = byte(self.json, self.at) == what;
        self.at += usize::from(there);
        there
    }

    /// A key and the colon behind it.
    #[inline]
    fn key(&mut self) -> Result<Key<'a>, JsonError> {
        self.at = skip_space(self.json, self.at);
        if byte(self.json, self.at) != b'"' {
            return Err(JsonError::expected(Wanted::Key, self.json, self.at));
        }
        let (span, escaped) = self.string()?;
        if !self.take(b':') {
            return Err(JsonError::expected(Wanted::Colon, self.json, self.at));
        }
        Ok(Key {
            raw: span.bytes(self.json),
            span,
            escaped,
        })
    }

    /// Steps over a key and its colon.
    #[inline]
    fn skip_key(&mut self) -> Result<(), JsonError> {
        self.at = skip_space(self.json, self.at);
        if byte(self.json, self.at) != b'"' {
            return Err(JsonError::expected(Wanted::Key, self.json, self.at));
        }
        self.at = string_end(self.json, self.at + 1, &mut self.bits)?.0 + 1;
        if self.take(b':') {
            return Ok(());
        }
        Err(JsonError::expected(Wanted::Colon, self.json, self.at))
    }

    /// Steps over the string whose opening quote is here; the span is the inside.
    #[inline]
    fn string(&mut self) -> Result<(Span, bool), JsonError> {
        let start = self.at + 1;
        let (end, escaped) = string_end(self.json, start, &mut self.bits)?;
        self.at = end + 1;
        Ok((Span::new(start, end), escaped))
    }

    #[inline]
    fn scalar(&mut self, kind: ValueKind) -> Result<(), JsonError> {
        self.at = match kind {
            ValueKind::Number => number_end(self.json, self.at)?,
            ValueKind::True => literal_end(self.json, self.at, "true")?,
            ValueKind::False => literal_end(self.json, self.at, "false")?,
            _ => literal_end(self.json, self.at, "null")?,
        };
        Ok(())
    }

    /// Steps over the container that opens here, with all that is in it: one loop, one bit
    /// a level.
    fn skip_container(&mut self) -> Result<(), JsonError> {
        let mut open = Open::default();
        loop {
            match self.peek()? {
                ValueKind::Object => {
                    open.push(true, self.depth, self.at)?;
                    self.at += 1;
                    if !self.take(b'}') {
                        self.skip_key()?;
                        continue;
                    }
                    open.pop();
                }
                ValueKind::Array => {
                    open.push(false, self.depth, self.at)?;
                    self.at += 1;
                    if !self.take(b']') {
                        continue;
                    }
                    open.pop();
                }
                ValueKind::String => {
                    self.at = string_end(self.json, self.at + 1, &mut self.bits)?.0 + 1;
                }
                scalar => self.scalar(scalar)?,
            }
            if self.close(&mut open)? {
                return Ok(());
            }
        }
    }

    /// Behind a value: closes what ends here. `true` when nothing is open any more, `false`
    /// when another value comes.
    #[inline]
    fn close(&mut self, open: &mut Open) -> Result<bool, JsonError> {
        while open.depth > 0 {
            self.at = skip_space(self.json, self.at);
            let (is_object, end) = if open.in_object() {
                (true, b'}')
            } else {
                (false, b']')
            };
            match byte(self.json, self.at) {
                b',' => {
                    self.at += 1;
                    if is_object {
                        self.skip_key()?;
                    }
                    return Ok(false);
                }
                b if b == end => {
                    self.at += 1;
                    open.pop();
                }
                _ if is_object => {
                    return Err(JsonError::expected(
                        Wanted::CommaOrBrace,
                        self.json,
                        self.at,
                    ));
                }
                _ => {
                    return Err(JsonError::expected(
                        Wanted::CommaOrBracket,
                        self.json,
                        self.at,
                    ));
                }
            }
        }
        Ok(true)
    }
}

/// The kinds of the open containers, innermost in the lowest bit (1 = object).
#[derive(Default)]
struct Open {
    kinds: u128,
    depth: usize,
}

// I2: one bit for each level that may be open.
const _: () = assert!(DEPTH_MAX <= u128::BITS as usize);

impl Open {
    fn push(&mut self, is_object: bool, outside: usize, at: usize) -> Result<(), JsonError> {
        if outside + self.depth >= DEPTH_MAX {
            return Err(JsonError::new(JsonFault::TooDeep, at));
        }
        self.kinds = (self.kinds << 1) | u128::from(is_object);
        self.depth += 1;
        Ok(())
    }

    fn pop(&mut self) {
        debug_assert!(self.depth > 0);
        self.kinds >>= 1;
        self.depth = self.depth.saturating_sub(1);
    }

    fn in_object(&self) -> bool {
        self.kinds & 1 == 1
    }
}
