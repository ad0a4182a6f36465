//! What a body says beyond what the model between the dialects carries.
//!
//! ```text
//!   {"model":"m","messages":[ … ],"temperature":0.7,"top_a":0.1}
//!    └ skipped   └ carried, as far as the table says    └ beyond: "top_a", 0.1
//!                  └ "content":[{"type":"text","text":"a","x":1}]   "messages[0].content[0].x", 1
//! ```
//!
//! Readers leave out what has no place in the model, and a provider of the client's own dialect
//! gets the body as it came. So whatever the tables of [`super::shapes`] do not name becomes part
//! of the key, under its place, and the dialect with it. What even a tree of JSON does not show
//! (a name twice, a whole number without end) is [`Odd`]: such a request is not cached.
//!
//! Invariants
//! - B1 Of two bodies that differ in a place that is not [`Shape::Skip`], either what the model
//!   carries differs or what is beyond it, or one of them is odd.
//! - B2 The order of members, white space and the spelling of a number change nothing.
//! - B3 Most bodies have nothing beyond the model, and then nothing is allocated but the room for
//!   hashes of names.

use super::key::{Fold, Key};
use super::shapes::{Members, Shape, of};
use crate::dialect::gemini::keys::camel;
use crate::dialect::model::Dialect;
use crate::dialect::route::Route;
use crate::dialect::tree::Path;
use crate::wire::json::cursor::{Cursor, Key as Name, ValueKind};
use crate::wire::json::scan::{BOM, unescape_into};
use crate::wire::json::{JsonError, JsonFault};
use std::borrow::Cow;

/// A body that two readers may understand in two ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Odd;

/// Adds to `fold` what `body`, which came by `route` and holds `turns` turns, says beyond what
/// the model carries.
pub(super) fn fold_in(fold: &mut Fold, route: Route, body: &[u8], turns: usize) -> Result<(), Odd> {
    let shape = of(route).ok_or(Odd)?;
    let start = if body.starts_with(BOM) { BOM.len() } else { 0 };
    let mut walk = Walk {
        body,
        turns,
        has_two_spellings: route.dialect() == Dialect::Gemini,
        names: Vec::new(),
        beyond: Vec::new(),
        limits: Vec::new(),
        is_odd: false,
    };
    let mut cursor = Cursor::new(body, start);
    let walked = walk.step(&mut cursor, shape, &Path::TOP);
    if walked.is_err() || walk.is_odd {
        return Err(Odd);
    }
    if walk.limits.len() > 1 {
        walk.beyond.append(&mut walk.limits);
    }
    fold.count(walk.beyond.len());
    if walk.beyond.is_empty() {
        return Ok(());
    }
    fold.text(route.dialect().name());
    walk.beyond.sort_unstable(); // B2
    walk.beyond.iter().for_each(|part| fold.key(part));
    Ok(())
}

struct Walk<'b> {
    body: &'b [u8],
    turns: usize,
    /// Names of members are written in camelCase or with underscores.
    has_two_spellings: bool,
    /// Hashes of the names in the objects that are open.
    names: Vec<u64>,
    beyond: Vec<Key>,
    /// Limits on the answer: beyond the model when there are several.
    limits: Vec<Key>,
    is_odd: bool,
}

impl<'b> Walk<'b> {
    /// Steps over what comes next, which should be as `shape` says.
    fn step(
        &mut self,
        cursor: &mut Cursor<'b>,
        shape: &'static Shape,
        path: &Path<'_>,
    ) -> Result<(), JsonError> {
        use ValueKind::{False, Null, Number, String, True};
        let kind = cursor.peek()?;
        match (shape, kind) {
            // Null is as if nothing were there.
            (Shape::Skip, _)
            | (_, Null)
            | (Shape::Text | Shape::TextOr(_), String)
            | (Shape::Flag, True | False) => cursor.skip().map(|_| ()),
            (Shape::Any, _) | (Shape::Number, Number) => self.anything(cursor),
            (Shape::Url, String) => self.tested(cursor, path, is_plain_url),
            (Shape::Words(words) | Shape::WordsOr(words, _), String) => {
                self.tested(cursor, path, |text| {
                    words.iter().any(|word| word.as_bytes() == text)
                })
            }
            (Shape::Natural, Number) if self.next(cursor) != b'-' => self.anything(cursor),
            (Shape::Limit, Number) => {
                let limit = self.value(cursor, path)?;
                self.limits.push(limit);
                Ok(())
            }
            (Shape::Empty, ValueKind::Array) => {
                if Cursor::new(self.body, cursor.at()).skip()?.empty {
                    return cursor.skip().map(|_| ());
                }
                self.leave(cursor, path)
            }
            (Shape::List(each) | Shape::TextOr(each), ValueKind::Array) => {
                self.list(cursor, each, path)
            }
            (Shape::Messages { lone, each }, ValueKind::Array) => {
                self.messages(cursor, lone, each, path)
            }
            (Shape::Contents(each), ValueKind::Array) => self.contents(cursor, each, path),
            (Shape::WordsOr(_, object), ValueKind::Object) => self.step(cursor, object, path),
            (Shape::Object(members), ValueKind::Object) => self.object(cursor, members, path),
            (Shape::Union(members), ValueKind::Object) => self.union(cursor, members, path),
            (Shape::Kinds { by, .. }, ValueKind::Object) => match self.kind(cursor, shape, by) {
                Some(shape) => self.step(cursor, shape, path),
                None => self.leave(cursor, path),
            },
            _ => self.leave(cursor, path),
        }
    }

    /// The byte that comes next, where white space was stepped over.
    fn next(&self, cursor: &Cursor<'_>) -> u8 {
        self.body.get(cursor.at()).copied().unwrap_or_default()
    }

    /// Steps over a text that is carried if it is as `is_good` says.
    fn tested(
        &mut self,
        cursor: &mut Cursor<'b>,
        path: &Path<'_>,
        is_good: impl Fn(&[u8]) -> bool,
    ) -> Result<(), JsonError> {
        let text = cursor.skip()?;
        let bytes = text.span.bytes(self.body);
        let inside = bytes.get(1..bytes.len().saturating_sub(1));
        if text.escaped || !inside.is_some_and(is_good) {
            let part = self.part(bytes, path);
            self.beyond.push(part);
        }
        Ok(())
    }

    fn list(
        &mut self,
        cursor: &mut Cursor<'b>,
        each: &'static Shape,
        path: &Path<'_>,
    ) -> Result<(), JsonError> {
        let mut at = 0;
        cursor.array(|cursor| {
            let stepped = self.element(cursor, each, &path.index(at));
            at += 1;
            stepped
        })
    }

    /// An element of a list, where null is something else than nothing.
    fn element(
        &mut self,
        cursor: &mut Cursor<'b>,
        each: &'static Shape,
        path: &Path<'_>,
    ) -> Result<(), JsonError> {
        if cursor.peek()? == ValueKind::Null {
            return self.leave(cursor, path);
        }
        self.step(cursor, each, path)
    }

    /// Messages: readers take the first ones of the role `lone` together.
    fn messages(
        &mut self,
        cursor: &mut Cursor<'b>,
        lone: &str,
        each: &'static Shape,
        path: &Path<'_>,
    ) -> Result<(), JsonError> {
        let mut at = 0;
        cursor.array(|cursor| {
            let is_alone = at == 0 || self.word(cursor, "role") != Some(lone.as_bytes());
            let stepped = if is_alone {
                self.element(cursor, each, &path.index(at))
            } else {
                self.leave(cursor, &path.index(at))
            };
            at += 1;
            stepped
        })
    }

    /// Contents: where some were taken together, their borders are beyond the model.
    fn contents(
        &mut self,
        cursor: &mut Cursor<'b>,
        each: &'static Shape,
        path: &Path<'_>,
    ) -> Result<(), JsonError> {
        let from = cursor.at();
        let mut count = 0;
        let mut counted = Cursor::new(self.body, from);
        counted.array(|cursor| {
            count += 1;
            cursor.skip().map(|_| ())
        })?;
        if count == self.turns {
            self.list(cursor, each, path)
        } else {
            self.leave(cursor, path)
        }
    }

    fn object(
        &mut self,
        cursor: &mut Cursor<'b>,
        members: Members,
        path: &Path<'_>,
    ) -> Result<(), JsonError> {
        let base = self.names.len();
        cursor.object(|cursor, name| {
            let said = self.name(name);
            self.names.push(hash(said.as_bytes()));
            let known = members.iter().find(|(known, _)| *known == said);
            let here = path.key(&said);
            match known {
                Some((_, shape)) => self.step(cursor, shape, &here),
                None => self.leave(cursor, &here),
            }
        })?;
        self.close(base);
        Ok(())
    }

    /// An object that says one thing: readers may choose among several.
    fn union(
        &mut self,
        cursor: &mut Cursor<'b>,
        members: Members,
        path: &Path<'_>,
    ) -> Result<(), JsonError> {
        let from = cursor.at();
        let mut count = 0;
        let mut counted = Cursor::new(self.body, from);
        counted.object(|cursor, _| {
            count += 1;
            cursor.skip().map(|_| ())
        })?;
        if count == 1 {
            self.object(cursor, members, path)
        } else {
            self.leave(cursor, path)
        }
    }

    /// What a member is called: with escapes resolved, in one spelling.
    fn name(&self, name: &Name<'b>) -> Cow<'b, str> {
        let said = resolved(name);
        if self.has_two_spellings && said.contains('_') {
            return Cow::Owned(camel(&said).into_owned());
        }
        said
    }

    /// The text of the member `by` of the object that comes next.
    fn word(&self, cursor: &Cursor<'b>, by: &str) -> Option<&'b [u8]> {
        let mut found = None;
        // It ends with an error where the member was found.
        let _read = Cursor::new(self.body, cursor.at()).object(|cursor, name| {
            let value = cursor.skip()?;
            if name.raw == by.as_bytes() {
                let inside = value.span.bytes(self.body);
                let is_plain = value.kind == ValueKind::String && !value.escaped;
                found = inside.get(1..inside.len() - 1).filter(|_| is_plain);
                return Err(JsonError {
                    what: JsonFault::NotAnObject,
                    at: cursor.at(),
                });
            }
            Ok(())
        });
        found
    }

    /// Which of its kinds the object is that comes next.
    fn kind(&self, cursor: &Cursor<'b>, shape: &'static Shape, by: &str) -> Option<&'static Shape> {
        let Shape::Kinds {
            of,
            is_last_default,
            ..
        } = shape
        else {
            return None;
        };
        let word = self.word(cursor, by);
        let named = of.iter().find(|(name, _)| Some(name.as_bytes()) == word);
        let other = of.last().filter(|_| word.is_none() && *is_last_default);
        named.or(other).map(|(_, shape)| shape)
    }

    /// Steps over what the model does not carry.
    fn leave(&mut self, cursor: &mut Cursor<'b>, path: &Path<'_>) -> Result<(), JsonError> {
        let part = self.value(cursor, path)?;
        self.beyond.push(part);
        Ok(())
    }

    /// What comes next, with its place.
    fn value(&mut self, cursor: &mut Cursor<'b>, path: &Path<'_>) -> Result<Key, JsonError> {
        cursor.peek()?;
        let from = cursor.at();
        self.anything(cursor)?;
        let text = self.body.get(from..cursor.at()).unwrap_or_default();
        Ok(self.part(text, path))
    }

    /// The value that `text` says, with its place.
    fn part(&mut self, text: &[u8], path: &Path<'_>) -> Key {
        let mut fold = Fold::new("beyond");
        fold.text(&path.text());
        match serde_json::from_slice(text) {
            Ok(value) => fold.value(&value),
            Err(_) => self.is_odd = true,
        }
        fold.finish()
    }

    /// Steps over any value, and looks for what a tree of it would not show.
    fn anything(&mut self, cursor: &mut Cursor<'b>) -> Result<(), JsonError> {
        match cursor.peek()? {
            ValueKind::Object => {
                let base = self.names.len();
                cursor.object(|cursor, name| {
                    self.names.push(hash(resolved(name).as_bytes()));
                    self.anything(cursor)
                })?;
                self.close(base);
                Ok(())
            }
            ValueKind::Array => cursor.array(|cursor| self.anything(cursor)),
            ValueKind::Number => {
                let number = cursor.skip()?;
                self.is_odd |= !is_exact(number.span.bytes(self.body));
                Ok(())
            }
            _ => cursor.skip().map(|_| ()),
        }
    }

    /// Closes an object: a name that it has twice is odd.
    fn close(&mut self, base: usize) {
        /// From so many names on they are sorted to be compared.
        const FEW: usize = 12;
        let own = self.names.get_mut(base..).unwrap_or_default();
        let is_twice = if own.len() > FEW {
            own.sort_unstable();
            own.windows(2).any(|pair| matches!(pair, [a, b] if a == b))
        } else {
            let mut left = &*own;
            let mut is_twice = false;
            while let [first, rest @ ..] = left {
                is_twice |= rest.contains(first);
                left = rest;
            }
            is_twice
        };
        self.is_odd |= is_twice;
        self.names.truncate(base);
    }
}

/// What a name says, its escapes resolved.
fn resolved<'b>(name: &Name<'b>) -> Cow<'b, str> {
    if let (false, Ok(text)) = (name.escaped, std::str::from_utf8(name.raw)) {
        return Cow::Borrowed(text);
    }
    let mut text = Vec::new();
    let _is_whole = unescape_into(name.raw, &mut text);
    Cow::Owned(String::from_utf8_lossy(&text).into_owned())
}

/// Whether a number is the same one for whoever reads it: a fraction is a double to all; a whole
/// number is what it says only as far as it fits.
fn is_exact(number: &[u8]) -> bool {
    /// Digits that always fit.
    const SHORT: usize = 18;
    let is_whole = |text: &str| !text.contains(['.', 'e', 'E']);
    number.len() <= SHORT
        || std::str::from_utf8(number).is_ok_and(|text| {
            !is_whole(text) || text.parse::<u64>().is_ok() || text.parse::<i64>().is_ok()
        })
}

/// Whether nothing but its type stands before the data of a URL that holds them.
fn is_plain_url(url: &[u8]) -> bool {
    let Some(rest) = url.strip_prefix(b"data:") else {
        return true;
    };
    let head = rest.split(|byte| *byte == b',').next().unwrap_or(rest);
    let ends = memchr::memchr(b';', head);
    ends.and_then(|at| head.get(at..)) == Some(b";base64")
}

/// A hash of a name. That two names may share one makes a request odd, no more.
fn hash(name: &[u8]) -> u64 {
    const PRIME: u64 = 0x9fb2_1c65_1e98_df25;
    let (words, rest) = name.as_chunks::<8>();
    let mut sum = name.len() as u64;
    for word in words {
        sum = (sum ^ u64::from_le_bytes(*word)).wrapping_mul(PRIME);
        sum ^= sum >> 32;
    }
    let last = rest
        .iter()
        .fold(0, |word, byte| word << 8 | u64::from(*byte));
    let sum = (sum ^ last).wrapping_mul(PRIME);
    sum ^ sum >> 32
}
