//! What a request itself allows a cache to do: only ever less than the file does.
//!
//! ```text
//!   x-shardgate-cache: no-cache, ttl=10m       ┐
//!   cache-control: max-age=60, no-store        ├─► Directive ─► the tighter of it and the file
//!   "cache": {"no-cache": true, "ttl": 600}    ┘
//! ```
//!
//! | said | means |
//! |---|---|
//! | `no-cache` | no stored answer is given; the new one is stored |
//! | `no-store` | the answer is not stored, and a stored one is not given |
//! | `only-if-cached` | a stored answer or none |
//! | `no-coalesce` | the request goes upstream by itself, whoever asks the same |
//! | `ttl=TIME` | the answer is stored for so long at most |
//! | `max-age=TIME`, `s-maxage` of `LiteLLM` | no stored answer that is older is given |
//! | `min-fresh=TIME` | none that ends sooner than that is given |
//! | `namespace` (body) | entries of this name alone are looked at, and made |
//!
//! Of `Cache-Control` what is not in the table is passed over, as its standard wants; `max-stale`
//! too, since nothing stale is ever given.
//!
//! Invariants
//! - V1 Everything said in several places adds up: of times the shorter `ttl` and `max-age` and
//!   the longer `min-fresh` count.
//! - V2 What cannot be understood is refused, with what would be right.
//!
//! Source: RFC 9111, 5.2.1; the proxy of `LiteLLM`, "Caching", `cache` of a request.

use serde_json::Value;
use std::time::Duration;

/// The gateway's own field.
pub const FIELD: &str = "x-shardgate-cache";
/// The member of a body that says the same.
pub const BODY_FIELD: &str = "cache";

/// Bytes of the body's member, at most.
const BODY_MAX: usize = 4096;

/// Bytes of a namespace, at most.
const NAMESPACE_MAX: usize = 128;

/// What a request allows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "they are the words of the standard, each said or not"
)]
pub struct Directive {
    /// No stored answer is given.
    pub no_cache: bool,
    /// The answer is not stored.
    pub no_store: bool,
    /// A stored answer or none.
    pub only_if_cached: bool,
    /// It goes upstream by itself.
    pub no_coalesce: bool,
    /// How long the answer is kept at most.
    pub ttl: Option<Duration>,
    /// How old a stored answer may be.
    pub max_age: Option<Duration>,
    /// How long a stored answer must have left.
    pub min_fresh: Option<Duration>,
    /// A part of the tenant's entries.
    pub namespace: Option<Box<str>>,
}

/// Why a directive is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bad {
    /// The field at fault, of the head or of the body.
    pub field: &'static str,
    /// What it must be: goes on from the field's name.
    pub why: &'static str,
}

const WHY_OWN: &str = "must list no-cache, no-store, only-if-cached, no-coalesce, ttl=TIME, \
                       max-age=TIME or min-fresh=TIME, such as no-store or ttl=10m";
const WHY_STANDARD: &str = "must give max-age and min-fresh in whole seconds, such as max-age=60";
const WHY_BODY: &str = "must be an object with no-cache, no-store, only-if-cached, no-coalesce or \
                        use-cache (true or false), ttl, s-maxage or max-age (seconds) and namespace (a text of at \
                        most 128 bytes)";

/// Whether the head's field `name` may hold a directive.
pub fn may_say(name: &[u8]) -> bool {
    name.eq_ignore_ascii_case(FIELD.as_bytes()) || name.eq_ignore_ascii_case(b"cache-control")
}

impl Directive {
    /// What the head's `fields` and the body's member `cache` say.
    ///
    /// # Errors
    /// V2.
    pub fn read<'b>(
        fields: impl Iterator<Item = (&'b [u8], &'b [u8])>,
        in_body: Option<&[u8]>,
    ) -> Result<Self, Bad> {
        let mut said = Self::default();
        for (name, value) in fields.filter(|(name, _)| may_say(name)) {
            if name.len() == FIELD.len() {
                said.own(value)?;
            } else {
                said.standard(value)?;
            }
        }
        if let Some(value) = in_body {
            said.body(value)?;
        }
        Ok(said)
    }

    /// Whether a stored answer may be given at all.
    pub const fn may_look(&self) -> bool {
        !self.no_cache && !self.no_store
    }

    /// Whether an entry that was made `age` ago and lives for `left` more may be given.
    pub fn takes(&self, age: Duration, left: Duration) -> bool {
        self.may_look()
            && self.max_age.is_none_or(|max| age <= max)
            && self.min_fresh.is_none_or(|min| left >= min)
    }

    /// Whether the request wants nothing stored.
    pub fn stores_nothing(&self) -> bool {
        self.no_store || self.ttl == Some(Duration::ZERO)
    }

    /// How long an answer is kept, of `ttl` at most, before it is
    /// [spread](super::entry::jittered), which makes it no longer than the request says.
    pub fn ttl(&self, ttl: Duration) -> Duration {
        self.ttl.map_or(ttl, |said| ttl.min(said / 11 * 10))
    }

    /// One of the words.
    fn word(&mut self, word: &str) -> bool {
        let slot = match word {
            "no-cache" => &mut self.no_cache,
            "no-store" => &mut self.no_store,
            "only-if-cached" => &mut self.only_if_cached,
            "no-coalesce" => &mut self.no_coalesce,
            _ => return false,
        };
        *slot = true;
        true
    }

    /// One of the times.
    fn time(&mut self, name: &str, time: Duration) -> bool {
        let (slot, is_least) = match name {
            "ttl" => (&mut self.ttl, true),
            "max-age" | "s-maxage" | "s-max-age" => (&mut self.max_age, true),
            "min-fresh" => (&mut self.min_fresh, false),
            _ => return false,
        };
        // V1
        let tighter = slot.map_or(time, |before| {
            if is_least {
                before.min(time)
            } else {
                before.max(time)
            }
        });
        *slot = Some(tighter);
        true
    }

    /// The value of the gateway's own field.
    fn own(&mut self, value: &[u8]) -> Result<(), Bad> {
        let bad = Bad {
            field: FIELD,
            why: WHY_OWN,
        };
        let text = std::str::from_utf8(value).ok().ok_or_else(|| bad.clone())?;
        for part in text.split(',') {
            let part = part.trim().to_ascii_lowercase();
            let is_known = match part.split_once('=') {
                None => self.word(&part),
                Some(("s-maxage" | "s-max-age", _)) => false,
                Some((name, value)) => {
                    time(value.trim()).is_some_and(|time| self.time(name.trim(), time))
                }
            };
            if !is_known {
                return Err(bad);
            }
        }
        Ok(())
    }

    /// The value of `Cache-Control`: what nobody knows is passed over.
    fn standard(&mut self, value: &[u8]) -> Result<(), Bad> {
        let text = String::from_utf8_lossy(value);
        for part in text.split(',') {
            let part = part.trim().to_ascii_lowercase();
            let (name, value) = part.split_once('=').unwrap_or((&part, ""));
            match name.trim() {
                "no-coalesce" => {}
                name @ ("max-age" | "min-fresh") => {
                    let digits = value.trim().trim_matches('"');
                    let seconds = whole(digits).ok_or(Bad {
                        field: "cache-control",
                        why: WHY_STANDARD,
                    })?;
                    self.time(name, Duration::from_secs(seconds));
                }
                name => {
                    self.word(name);
                }
            }
        }
        Ok(())
    }

    /// The value of the body's member.
    fn body(&mut self, value: &[u8]) -> Result<(), Bad> {
        let bad = Bad {
            field: BODY_FIELD,
            why: WHY_BODY,
        };
        if value.len() > BODY_MAX {
            return Err(bad);
        }
        let object = match serde_json::from_slice(value) {
            Ok(Value::Object(object)) => object,
            Ok(Value::Null) => return Ok(()),
            _ => return Err(bad),
        };
        for (name, value) in &object {
            let is_known = match (name.as_str(), value) {
                (_, Value::Null) => true,
                // Caches of LiteLLM that are off by default are switched on by it.
                ("use-cache", Value::Bool(is_on)) => {
                    self.no_cache |= !is_on;
                    self.no_store |= !is_on;
                    true
                }
                (name, Value::Bool(true)) => self.word(name),
                (name, Value::Bool(false)) => Self::default().word(name),
                ("min-fresh", _) => false,
                (name, Value::Number(number)) => number
                    .as_f64()
                    .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
                    .is_some_and(|time| self.time(name, time)),
                ("namespace", Value::String(text)) if text.len() <= NAMESPACE_MAX => {
                    self.namespace = Some(text.as_str().into());
                    true
                }
                _ => false,
            };
            if !is_known {
                return Err(bad);
            }
        }
        Ok(())
    }
}

/// Digits alone; what is larger than any number counts as the largest.
fn whole(text: &str) -> Option<u64> {
    let are_digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    are_digits.then(|| text.parse().unwrap_or(u64::MAX))
}

/// Seconds, or a whole number with its unit; zero too: that nothing is old enough.
fn time(text: &str) -> Option<Duration> {
    const UNITS: [(&str, u64); 4] = [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000)];
    let found = UNITS
        .iter()
        .find_map(|(unit, millis)| Some((text.strip_suffix(unit)?, *millis)));
    let (digits, millis) = found.unwrap_or((text, 1000));
    Some(Duration::from_millis(whole(digits)?.saturating_mul(millis)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(fields: &[(&str, &str)], body: Option<&str>) -> Result<Directive, Bad> {
        let fields = fields.iter();
        let fields = fields.map(|(name, value)| (name.as_bytes(), value.as_bytes()));
        Directive::read(fields, body.map(str::as_bytes))
    }

    fn own(value: &str) -> Result<Directive, Bad> {
        read(&[("X-Shardgate-Cache", value)], None)
    }

    fn none() -> Directive {
        Directive::default()
    }

    const SECOND: Duration = Duration::from_secs(1);

    /// Goal: every word and every time of the gateway's own field, and V2.
    #[test]
    fn the_own_field_is_read_or_refused() {
        let all = own("no-cache, No-Store,only-if-cached , no-coalesce").unwrap();
        assert!(all.no_cache && all.no_store && all.only_if_cached && all.no_coalesce);
        for (text, seconds) in [
            ("ttl=90", 90),
            ("ttl=2m", 120),
            ("TTL = 1h", 3600),
            ("ttl=0", 0),
        ] {
            let ttl = Some(SECOND * seconds);
            assert_eq!(own(text), Ok(Directive { ttl, ..none() }), "{text}");
        }
        let both = own("max-age=5s, min-fresh=500ms").unwrap();
        assert_eq!(both.max_age, Some(5 * SECOND));
        assert_eq!(both.min_fresh, Some(SECOND / 2));
        for text in [
            "",
            "no-cache,",
            "nocache",
            "ttl",
            "ttl=",
            "ttl=-1",
            "ttl=1d",
            "ttl=1.5",
            "no-cache=1",
            "s-maxage=5",
            "public",
            "ttl=1 m",
        ] {
            let bad = own(text).unwrap_err();
            assert_eq!((bad.field, bad.why), (FIELD, WHY_OWN), "{text}");
        }
    }

    /// Goal: of the standard's field what has a meaning is obeyed, what nobody knows is passed
    /// over, and a number that is none is refused.
    #[test]
    fn the_standards_field_is_read() {
        let read = |value| read(&[("Cache-Control", value)], None);
        assert_eq!(
            read("no-transform, max-stale=9, x=y, no-coalesce"),
            Ok(none())
        );
        let no_cache = Directive {
            no_cache: true,
            ..none()
        };
        assert_eq!(read("No-Cache"), Ok(no_cache));
        let both = read("max-age=\"60\", min-fresh=7, no-store, only-if-cached").unwrap();
        assert_eq!(both.max_age, Some(60 * SECOND));
        assert_eq!(both.min_fresh, Some(7 * SECOND));
        assert!(both.no_store && both.only_if_cached && both.ttl.is_none());
        for text in ["max-age", "max-age=", "max-age=1m", "min-fresh=x"] {
            assert_eq!(read(text).unwrap_err().field, "cache-control", "{text}");
        }
    }

    /// Goal: `LiteLLM`'s member, and V2 for it.
    #[test]
    fn the_bodys_member_is_read_or_refused() {
        let read = |value| read(&[], Some(value));
        let some = read(r#"{"no-cache":true,"no-store":false,"ttl":600,"s-maxage":1.5}"#).unwrap();
        assert!(some.no_cache && !some.no_store);
        assert_eq!(some.ttl, Some(600 * SECOND));
        assert_eq!(some.max_age, Some(SECOND * 3 / 2));
        let named = read(r#"{"namespace":"a","use-cache":true,"ttl":null}"#).unwrap();
        assert_eq!(
            (named.namespace.as_deref(), named.may_look()),
            (Some("a"), true)
        );
        assert!(!read(r#"{"use-cache":false}"#).unwrap().may_look());
        assert_eq!(read("null"), Ok(none()));
        assert_eq!(read("{}"), Ok(none()));
        let long = format!(r#"{{"namespace":"{}"}}"#, "n".repeat(129));
        for text in [
            "[]",
            "true",
            r#"{"ttl":"600"}"#,
            r#"{"ttl":-1}"#,
            r#"{"no-cache":1}"#,
            r#"{"x":true}"#,
            r#"{"namespace":5}"#,
            r#"{"min-fresh":5}"#,
            &long,
        ] {
            let bad = read(text).unwrap_err();
            assert_eq!((bad.field, bad.why), (BODY_FIELD, WHY_BODY), "{text}");
        }
    }

    /// Goal: V1, and that a file's time is never made longer.
    #[test]
    fn the_tighter_counts() {
        let fields = [
            ("x-shardgate-cache", "ttl=10, min-fresh=1"),
            ("cache-control", "max-age=9, min-fresh=3"),
            ("x-shardgate-cache", "ttl=20, max-age=30"),
        ];
        let said = read(&fields, Some(r#"{"ttl":15,"max-age":12}"#)).unwrap();
        assert_eq!(said.ttl, Some(10 * SECOND));
        assert_eq!(said.max_age, Some(9 * SECOND));
        assert_eq!(said.min_fresh, Some(3 * SECOND));
        assert_eq!(said.ttl(5 * SECOND), 5 * SECOND);
        // Spread by a tenth it is no more than was said.
        assert_eq!(said.ttl(60 * SECOND), 10 * SECOND / 11 * 10);
        assert!(said.ttl(60 * SECOND) * 11 / 10 <= 10 * SECOND);
        assert!(said.takes(9 * SECOND, 3 * SECOND));
        assert!(!said.takes(10 * SECOND, 3 * SECOND));
        assert!(!said.takes(9 * SECOND, 2 * SECOND));
        assert!(none().takes(Duration::MAX, Duration::ZERO));
    }

    proptest! {
        /// Goal: no value is a panic, and none says more than the file.
        #[test]
        fn any_value_is_read_or_refused(own in ".{0,24}", standard in ".{0,24}", body in ".{0,24}") {
            let fields = [("x-shardgate-cache", &*own), ("cache-control", &*standard)];
            if let Ok(said) = read(&fields, Some(&body)) {
                prop_assert!(said.ttl(SECOND) <= SECOND);
            }
        }
    }
}
