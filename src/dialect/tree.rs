//! Reads JSON values that somebody else wrote, and says which field is at fault.
//!
//! ```text
//!   At { value, path }  ── .get("messages") ──►  .items()  ──►  .text()?
//!                                                                └ messages[2].content must be a string
//! ```
//!
//! A path is a list of links on the stack, written out only when something is wrong.

use super::model::BadAsk;
use serde_json::{Map, Value};
use std::fmt::Write as _;

/// How to get to a value from the top of the body.
#[derive(Clone, Copy, Debug)]
enum Link<'a> {
    Top,
    Key(&'a Path<'a>, &'a str),
    Index(&'a Path<'a>, usize),
}

/// A place in a body.
#[derive(Clone, Copy, Debug)]
pub struct Path<'a>(Link<'a>);

impl Default for Path<'_> {
    fn default() -> Self {
        Self::TOP
    }
}

impl<'a> Path<'a> {
    /// The whole body.
    pub const TOP: Self = Self(Link::Top);

    /// The member `key` of the object here.
    #[must_use]
    pub const fn key(&'a self, key: &'a str) -> Path<'a> {
        Path(Link::Key(self, key))
    }

    /// The item at `index` of the array here.
    #[must_use]
    pub const fn index(&'a self, index: usize) -> Path<'a> {
        Path(Link::Index(self, index))
    }

    /// The place as clients write it: `messages[2].content`.
    pub fn text(&self) -> String {
        let mut out = String::new();
        self.put(&mut out);
        out
    }

    fn put(&self, out: &mut String) {
        match self.0 {
            Link::Top => {}
            Link::Key(outer, key) => {
                outer.put(out);
                if !out.is_empty() {
                    out.push('.');
                }
                out.push_str(key);
            }
            Link::Index(outer, index) => {
                outer.put(out);
                // Writing to a string does not fail.
                _ = write!(out, "[{index}]");
            }
        }
    }

    /// What is here must be otherwise; see [`BadAsk::wanted`].
    pub fn bad(&self, wanted: &'static str) -> BadAsk {
        BadAsk {
            field: self.text(),
            wanted,
        }
    }

    /// The object that `value` must be.
    ///
    /// # Errors
    /// It is none.
    pub fn object<'v>(&self, value: &'v Value) -> Result<&'v Map<String, Value>, BadAsk> {
        value
            .as_object()
            .ok_or_else(|| self.bad("must be an object"))
    }

    /// The array that `value` must be.
    ///
    /// # Errors
    /// It is none.
    pub fn array<'v>(&self, value: &'v Value) -> Result<&'v [Value], BadAsk> {
        value
            .as_array()
            .map(Vec::as_slice)
            .ok_or_else(|| self.bad("must be an array"))
    }

    /// The string that `value` must be.
    ///
    /// # Errors
    /// It is none.
    pub fn string<'v>(&self, value: &'v Value) -> Result<&'v str, BadAsk> {
        value.as_str().ok_or_else(|| self.bad("must be a string"))
    }

    /// The number that `value` must be.
    ///
    /// # Errors
    /// It is none.
    pub fn number(&self, value: &Value) -> Result<f64, BadAsk> {
        value.as_f64().ok_or_else(|| self.bad("must be a number"))
    }

    /// The whole number, 0 or more, that `value` must be; `3.0` is one.
    ///
    /// # Errors
    /// It is none.
    pub fn whole(&self, value: &Value) -> Result<u64, BadAsk> {
        whole(value).ok_or_else(|| self.bad("must be a whole number, 0 or more"))
    }

    /// The switch that `value` must be.
    ///
    /// # Errors
    /// It is none.
    pub fn flag(&self, value: &Value) -> Result<bool, BadAsk> {
        value
            .as_bool()
            .ok_or_else(|| self.bad("must be true or false"))
    }
}

/// A whole number, 0 or more; `3.0` is one.
pub fn whole(value: &Value) -> Option<u64> {
    const EXACT_MAX: f64 = 9_007_199_254_740_992.0; // 2^53
    value.as_u64().or_else(|| {
        let number = value.as_f64()?;
        let fits = number.fract() == 0.0 && (0.0..EXACT_MAX).contains(&number);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "checked in the line above"
        )]
        fits.then_some(number as u64)
    })
}

/// The member `key` of `object`, unless it is missing or null.
pub fn some<'v>(object: &'v Map<String, Value>, key: &str) -> Option<&'v Value> {
    object.get(key).filter(|value| !value.is_null())
}

/// The string at `key` of `object`, if there is one.
pub fn string<'v>(object: &'v Map<String, Value>, key: &str) -> Option<&'v str> {
    object.get(key)?.as_str()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// Goal: a fault names the field as clients write it.
    #[test]
    fn a_fault_names_the_field_as_clients_write_it() {
        let top = Path::TOP;
        let messages = top.key("messages");
        let (third, value) = (messages.index(2), json!({"content": 7}));
        let content = third.key("content");
        let fault = content.string(&value["content"]).unwrap_err();
        assert_eq!(fault.field, "messages[2].content");
        assert_eq!(fault.wanted, "must be a string");
    }

    /// Goal: numbers are whole or not, whatever they look like.
    #[test]
    fn whole_numbers_are_told_apart() {
        for (text, want) in [
            ("3", Some(3)),
            ("3.0", Some(3)),
            ("1e2", Some(100)),
            ("3.5", None),
            ("-1", None),
            ("1e300", None),
            ("\"3\"", None),
        ] {
            assert_eq!(whole(&serde_json::from_str(text).unwrap()), want, "{text}");
        }
    }
}
