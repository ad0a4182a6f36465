//! The one table of keys by which a behaviour is asked for, wherever it is asked for.
//!
//! ```text
//!   default ◄ config file / flags ◄ first matching rule ◄ model name ◄ `user` field ◄ x-sim-… fields
//!             ttft = "50ms"         [[rule]]              sim/ttft-50ms/cut-5        x-sim-ttft: 50ms
//! ```
//!
//! Each layer sets keys of [`KEYS`] through [`Behaviour::set`]; what is right of another wins.
//! A gateway in between may drop header fields, so the model name and the `user` field
//! reach every key, in letters that gateways let through: `sim/KEY-VALUE/KEY/…`.
//!
//! Invariants
//! - I1 A key or value that is not understood is refused and named, never skipped.
//! - I2 A behaviour is a plain value; setting a key twice leaves the later value.

use super::behave::{Behaviour, Close, Fate, Finish};
use std::time::Duration;

/// Longest time that a key may name.
pub const TIME_MAX: Duration = Duration::from_secs(24 * 3600);

/// Most content events, and most tokens that may be claimed.
pub const EVENTS_MAX: u32 = 10_000_000;

/// Largest plain answer, in bytes.
pub const BYTES_MAX: u32 = 256 << 20;

/// Most calls of tools in an answer.
pub const CALLS_MAX: u32 = 128;

/// Most numbers in an embedding.
pub const DIMS_MAX: u32 = 16_384;

/// What may follow the model prefix: `sim/` at the start or after another `/`.
const PREFIX: &str = "sim/";

/// A key: its name, the form of its value, what it does.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// As written in model names, header fields and flags; a config file may write `_` for `-`.
    pub name: &'static str,
    /// The form of the value; in brackets when it may be left out.
    pub value: &'static str,
    /// What it does, for the help text.
    pub does: &'static str,
}

macro_rules! keys {
    ($($name:literal $value:literal $does:literal;)*) => {
        /// Every key, in the order of the help text.
        pub const KEYS: &[Key] = &[$(Key { name: $name, value: $value, does: $does },)*];
    };
}

keys! {
    "delay" "TIME" "wait before the head of the answer";
    "ttft" "TIME" "from request read to first content event, or to a plain answer";
    "rate" "PER-SECOND" "content events a second; 0 = back to back";
    "events" "N" "content events of a stream, words of a plain answer";
    "bytes" "N" "size of a plain answer's body; smaller than its frame = natural size";
    "thinking" "N" "thoughts before the text, a content event each";
    "tools" "N" "N calls of the tools that the request offers, instead of text; text once it has their results";
    "refusal" "" "the model declines";
    "recite" "[SEED]" "a text that is always the same; asked to go on with it, go on where it stopped, without the fault below";
    "overlap" "N" "recite: repeat the last N words first";
    "again" "" "recite: begin again instead";
    "relapse" "" "recite: with the fault";
    "no-prefill" "" "refuse a conversation that ends with the assistant (400)";
    "status" "CODE" "answer with this status and an error body of the dialect; 200 = a normal answer";
    "html" "[CODE]" "answer with a CDN's HTML error page (502)";
    "retry-after" "TIME" "when to come back after an error, where the dialect says it (429: 1s)";
    "stall" "[N]" "hang after N content events; without N before the head";
    "cut" "[N]" "end the connection after N content events, framing left open; without N before the head";
    "reset" "[N]" "reset the connection (RST) after N content events; without N before the head";
    "error-event" "[N]" "an error event after N content events, then the end without [DONE] or its like";
    "malformed" "[N]" "an event that is broken JSON after N content events; a plain body is broken JSON";
    "bad-chunk" "[N]" "a broken chunk size after N content events, then the end of the connection";
    "bad-head" "" "a head that is not HTTP, then the end of the connection";
    "fail-rate" "PERCENT" "the share of requests that get the fault above (alone: status 500)";
    "drip" "TIME" "send byte by byte, this far apart";
    "close" "" "announce connection: close and close";
    "hangup" "" "close after the answer without announcing it";
    "no-done" "" "end a stream cleanly, without [DONE] or what else says in the dialect that it is whole";
    "no-role" "" "no opening chunk with the role";
    "no-usage" "" "never report usage";
    "finish" "REASON" "why it ended: stop, length, content_filter, tool_calls, in the dialect's word for it";
    "prompt-tokens" "N" "usage: prompt tokens (a quarter of the body's bytes)";
    "completion-tokens" "N" "usage: completion tokens (the content events)";
    "cached-tokens" "N" "usage: prompt tokens read from a cache (0)";
    "written-tokens" "N" "usage: prompt tokens written to a cache (0)";
    "reasoning-tokens" "N" "usage: reasoning tokens (the thoughts)";
    "dims" "N" "numbers of an embedding (1536)";
    "by-text" "" "embeddings that say what their texts say: like texts are near; else all have one";
}

/// Why a key was not set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// No such key.
    Key(String),
    /// The key's value is not of its form.
    Value {
        /// The key.
        key: &'static str,
        /// What came.
        came: String,
        /// The form that is right.
        form: &'static str,
    },
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Key(came) => write!(f, "there is no key '{came}'; see simulate --help"),
            Self::Value { key, came, form } => {
                let form = if form.is_empty() { "no value" } else { form };
                write!(f, "'{key}' takes {form}; '{came}' came")
            }
        }
    }
}

impl Behaviour {
    /// Sets one key of [`KEYS`]; `_` counts as `-` in its name. An empty value is "without a
    /// value", as is `true`; `false` takes a flag or fault back.
    ///
    /// # Errors
    /// [`Refused`]: no such key, or a value that is not of the key's form.
    pub fn set(&mut self, key: &str, value: &str) -> Result<(), Refused> {
        let key = find(&key.replace('_', "-")).ok_or_else(|| Refused::Key(key.to_owned()))?;
        let value = value.trim();
        self.put(key.name, value).ok_or_else(|| Refused::Value {
            key: key.name,
            came: value.to_owned(),
            form: key.value,
        })
    }

    fn put(&mut self, key: &'static str, value: &str) -> Option<()> {
        match key {
            "delay" => self.delay = time(value)?,
            "ttft" => self.ttft = time(value)?,
            "rate" => self.gap = gap(value)?,
            "events" => self.events = number(value, EVENTS_MAX)?,
            "bytes" => self.bytes = number(value, BYTES_MAX)?,
            "thinking" => self.thinking = number(value, EVENTS_MAX)?,
            "tools" => self.tools = number(value, CALLS_MAX)?,
            "refusal" => self.refusal = flag(value)?,
            "recite" => {
                let seed = if value.is_empty() { "1" } else { value };
                self.recite = Some(number(seed, EVENTS_MAX)?);
            }
            "overlap" => self.overlap = number(value, EVENTS_MAX)?,
            "again" => self.again = flag(value)?,
            "relapse" => self.relapse = flag(value)?,
            "no-prefill" => self.no_prefill = flag(value)?,
            "dims" => self.dims = number(value, DIMS_MAX)?.max(1),
            "by-text" => self.by_text = flag(value)?,
            "drip" => self.drip = time(value)?,
            "fail-rate" => self.fail_ppm = Some(percent(value)?),
            "retry-after" => self.retry_after = Some(time(value)?),
            "finish" => self.finish = Finish::named(value)?,
            "close" => self.end(value, Close::Announced)?,
            "hangup" => self.end(value, Close::Silent)?,
            "no-done" => self.no_done = flag(value)?,
            "no-role" => self.no_role = flag(value)?,
            "no-usage" => self.no_usage = flag(value)?,
            "prompt-tokens" => self.tokens.prompt = Some(number(value, EVENTS_MAX)?),
            "completion-tokens" => self.tokens.completion = Some(number(value, EVENTS_MAX)?),
            "cached-tokens" => self.tokens.cached = number(value, EVENTS_MAX)?,
            "written-tokens" => self.tokens.written = number(value, EVENTS_MAX)?,
            "reasoning-tokens" => self.tokens.reasoning = number(value, EVENTS_MAX)?,
            fault => self.fate = fate(fault, value)?,
        }
        Some(())
    }

    fn end(&mut self, value: &str, close: Close) -> Option<()> {
        self.close = if flag(value)? { close } else { Close::Never };
        Some(())
    }

    /// Sets the keys that a model name or `user` field carries: the segments after `sim/`.
    /// A name without that prefix carries none.
    ///
    /// # Errors
    /// [`Refused`] for the first segment that is no key, or whose value is not of its form.
    pub fn set_from_name(&mut self, name: &str) -> Result<(), Refused> {
        let Some(segments) = segments(name) else {
            return Ok(());
        };
        for segment in segments.split('/').filter(|s| !s.is_empty()) {
            let (key, value) = split(segment).ok_or_else(|| Refused::Key(segment.to_owned()))?;
            self.set(key, value)?;
        }
        Ok(())
    }
}

/// The segments after `sim/` in a name, if it has them.
pub fn segments(name: &str) -> Option<&str> {
    if let Some(rest) = name.strip_prefix(PREFIX) {
        return Some(rest);
    }
    name.match_indices(PREFIX)
        .find(|&(at, _)| name.get(..at).is_some_and(|before| before.ends_with('/')))
        .and_then(|(at, found)| name.get(at + found.len()..))
}

fn find(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.name == name)
}

/// `KEY-VALUE` or `KEY`; of two keys that fit, the longer is meant.
fn split(segment: &str) -> Option<(&'static str, &str)> {
    KEYS.iter()
        .filter_map(|key| {
            let rest = segment.strip_prefix(key.name)?;
            let value = match rest.strip_prefix('-') {
                Some(value) if !value.is_empty() => value,
                None if rest.is_empty() => rest,
                _ => return None,
            };
            Some((key.name, value))
        })
        .max_by_key(|(name, _)| name.len())
}

/// `None` when the value is of another form; a plain flag has no value.
fn flag(value: &str) -> Option<bool> {
    match value {
        "" | "true" => Some(true),
        "false" => Some(false),
        _ => None,
    }
}

fn number(value: &str, max: u32) -> Option<u32> {
    value.parse().ok().filter(|&n| n <= max)
}

/// A number with a unit: `us`, `ms`, `s`, `m`, `h`; a bare `0` is fine.
fn time(value: &str) -> Option<Duration> {
    if value == "0" {
        return Some(Duration::ZERO);
    }
    let unit_at = value.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let (number, unit) = value.split_at_checked(unit_at)?;
    let scale = match unit {
        "us" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return None,
    };
    let time = Duration::try_from_secs_f64(number.parse::<f64>().ok()? * scale).ok()?;
    (time <= TIME_MAX).then_some(time)
}

fn gap(rate: &str) -> Option<Duration> {
    let rate: f64 = rate.parse().ok()?;
    if rate == 0.0 {
        return Some(Duration::ZERO);
    }
    let gap = Duration::try_from_secs_f64(rate.recip()).ok()?;
    (gap <= TIME_MAX).then_some(gap)
}

/// Parts per million.
fn percent(value: &str) -> Option<u32> {
    let value: f64 = value.trim_end_matches('%').parse().ok()?;
    (0.0..=100.0).contains(&value).then(|| {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "0 to 1,000,000 by the check before"
        )]
        let ppm = (value * 10_000.0).round() as u32;
        ppm
    })
}

fn fate(key: &str, value: &str) -> Option<Fate> {
    if value == "false" {
        return Some(Fate::Answer);
    }
    let value = if value == "true" { "" } else { value };
    let after = match value {
        "" => None,
        n => Some(number(n, EVENTS_MAX.max(999))?),
    };
    let status = |n: u32| u16::try_from(n).ok().filter(|s| (200..=599).contains(s));
    Some(match key {
        "status" => match status(after?)? {
            200 => Fate::Answer,
            code => Fate::Status(code),
        },
        "html" => Fate::Html(status(after.unwrap_or(502))?),
        "stall" => Fate::Stall(after),
        "cut" => Fate::Cut(after),
        "reset" => Fate::Reset(after),
        "error-event" => Fate::ErrorEvent(after.unwrap_or(0)),
        "malformed" => Fate::Malformed(after.unwrap_or(0)),
        "bad-chunk" => Fate::BadChunk(after.unwrap_or(0)),
        "bad-head" if after.is_none() => Fate::BadHead,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str) -> Result<Behaviour, Refused> {
        let mut behaviour = Behaviour::default();
        behaviour.set_from_name(name).map(|()| behaviour)
    }

    /// Goal: the example of the header means what it says.
    #[test]
    fn a_model_name_carries_its_behaviour() {
        let got = named("sim/ttft-50ms/rate-100/events-20/cut-5").unwrap();
        assert_eq!(got.ttft, Duration::from_millis(50));
        assert_eq!(got.gap, Duration::from_millis(10));
        assert_eq!((got.events, got.fate), (20, Fate::Cut(Some(5))));
        let got = named("local/sim/retry-after-1.5s/status-429/no-done/close").unwrap();
        assert_eq!(got.retry_after, Some(Duration::from_millis(1500)));
        assert_eq!((got.fate, got.no_done), (Fate::Status(429), true));
        assert_eq!(got.close, Close::Announced);
        assert_eq!(named("gpt-4o"), Ok(Behaviour::default()));
        assert_eq!(named("mysim/cut-5"), Ok(Behaviour::default()));
    }

    /// Goal: I1.
    #[test]
    fn what_is_not_understood_is_refused_by_name() {
        for (name, word) in [
            ("sim/tfft-50ms", "tfft-50ms"),
            ("sim/ttft-50", "'50'"),
            ("sim/ttft", "TIME"),
            ("sim/ttft-", "ttft-"),
            ("sim/status-99", "CODE"),
            ("sim/close-5", "no value"),
            ("sim/bad-head-5", "no value"),
            ("sim/rate--1", "PER-SECOND"),
            ("sim/fail-rate-101", "PERCENT"),
            ("sim/events-10000001", "N"),
        ] {
            let refused = named(name).unwrap_err().to_string();
            assert!(refused.contains(word), "{name}: {refused}");
        }
    }

    /// Goal: the table and the code agree. Method: every key, with a value of its form, is
    /// taken, and none of them is split into another key.
    #[test]
    fn every_key_of_the_table_is_taken() {
        for key in KEYS {
            let value = match key.value.trim_matches(['[', ']']) {
                "" => "",
                "TIME" => "5ms",
                "CODE" => "503",
                "REASON" => "length",
                _ => "7",
            };
            let mut behaviour = Behaviour::default();
            assert_eq!(behaviour.set(key.name, value), Ok(()), "{}", key.name);
            assert_ne!(behaviour, Behaviour::default(), "{}", key.name);
            let segment = [key.name, value].join("-");
            let segment = segment.trim_end_matches('-');
            assert_eq!(split(segment), Some((key.name, value)));
            if key.value.starts_with('[') {
                assert_eq!(behaviour.set(key.name, ""), Ok(()), "{}", key.name);
            }
        }
    }

    /// Goal: I2, and that a fault or flag can be taken back by a later layer.
    #[test]
    fn a_later_layer_wins() {
        let mut behaviour = Behaviour::default();
        for (key, value) in [
            ("cut", "true"),
            ("cut", "false"),
            ("no_role", "true"),
            ("no_role", "false"),
            ("close", ""),
            ("close", "false"),
            ("rate", "0"),
            ("status", "200"),
        ] {
            behaviour.set(key, value).unwrap();
        }
        assert_eq!(behaviour, Behaviour::default());
    }
}
