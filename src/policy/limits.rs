//! What a provider says of its limits, and until when it is better left alone.
//!
//! ```text
//!   429, retry-after: 7                                 ─► 7 s
//!   200, x-ratelimit-remaining-requests: 0, …-reset-requests: 1m30s ─► 60 s at the most
//!   200, x-ratelimit-remaining-requests: 41             ─► nothing
//! ```
//!
//! Every form that is in use is read: whole and broken seconds, milliseconds, `1m30s`, a date
//! (RFC 9110), a date and time (RFC 3339). What makes no sense is as if it were not there.
//!
//! Invariants
//! - L1 No text makes a wait longer than [`WAIT_MAX`]; of a quota or a key [`KEY_MAX`].
//! - L2 An answer that is no refusal makes one only where it says that nothing is left.
//!
//! Source: `../shared/reliability/report.md`, 3.1; the providers' API references.

use std::time::Duration;

/// The longest that a limit keeps a target alone.
pub const WAIT_MAX: Duration = Duration::from_secs(60);

/// The longest that a spent quota keeps a provider's key alone.
pub const KEY_MAX: Duration = Duration::from_secs(3600);

/// For how long a target is left alone that refuses for a limit and says no more.
pub const WAIT: Duration = Duration::from_secs(1);

/// For how long a key is left alone whose quota is spent, where nothing more is said.
pub const QUOTA_WAIT: Duration = Duration::from_secs(60);

/// For how long a key, or a target that it may not use, is left alone once it was refused: a
/// reload may bring a new one.
pub const REFUSED_WAIT: Duration = Duration::from_secs(10);

/// Of what a provider allows so much in a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Counted {
    Requests,
    Tokens,
    Input,
    Output,
}

const COUNTED: [(&[u8], Counted); 4] = [
    (b"requests", Counted::Requests),
    (b"tokens", Counted::Tokens),
    (b"input-tokens", Counted::Input),
    (b"output-tokens", Counted::Output),
];

/// One of the limits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Limit {
    remaining: Option<u64>,
    reset: Option<Duration>,
}

/// What the fields of an answer say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Announced {
    wait: Option<Duration>,
    limits: [Limit; COUNTED.len()],
}

/// Whether a field that says what remains may say that it is too little: only then all fields
/// are worth reading.
pub fn is_low(name: &[u8], value: &[u8]) -> bool {
    // x-ratelimit-remaining-…, anthropic-ratelimit-…-remaining: fewer than a thousand.
    value.len() < 4
        && name
            .windows(9)
            .any(|part| part.eq_ignore_ascii_case(b"remaining"))
}

impl Announced {
    /// Reads a field; `wall` is the time since 1970.
    pub fn note(&mut self, name: &[u8], value: &[u8], wall: Duration) {
        let mut room = [0; 48];
        let Some(lower) = room.get_mut(..name.len()) else {
            return;
        };
        lower.copy_from_slice(name);
        lower.make_ascii_lowercase();
        let name = &*lower;
        let text = std::str::from_utf8(value).unwrap_or_default().trim();
        match name {
            b"retry-after" => self.wait = self.wait.max(when(text, wall)),
            b"retry-after-ms" => {
                let ms = text.parse::<f64>().ok().map(|ms| ms / 1000.0);
                self.wait = self.wait.max(ms.and_then(seconds));
            }
            _ => {
                let found = openai(name).or_else(|| anthropic(name));
                let Some((limit, is_reset)) = found.and_then(|(counted, is_reset)| {
                    Some((self.limits.get_mut(counted as usize)?, is_reset))
                }) else {
                    return;
                };
                if is_reset {
                    limit.reset = when(text, wall);
                } else {
                    limit.remaining = text.parse().ok();
                }
            }
        }
    }

    /// The same for a time that the body says.
    pub fn wait(&mut self, wait: Option<Duration>) {
        self.wait = self.wait.max(wait);
    }

    /// How long to leave the target alone after an answer with this status, which was for
    /// `tokens`; `None`: not at all (L2).
    pub fn verdict(&self, status: u16, tokens: u64) -> Option<Duration> {
        let is_refusal = matches!(status, 429 | 503 | 529);
        let spent = COUNTED
            .iter()
            .zip(&self.limits)
            .filter(|((_, counted), limit)| {
                let needed = match counted {
                    Counted::Tokens | Counted::Input => tokens.max(1),
                    Counted::Requests | Counted::Output => 1,
                };
                limit.remaining.is_some_and(|left| left < needed)
            });
        let reset = spent.filter_map(|(_, limit)| limit.reset).max();
        let wait = if is_refusal {
            self.wait.max(reset)
        } else {
            reset
        };
        let wait = match wait {
            None if status == 429 => Some(WAIT),
            wait => wait,
        };
        wait.map(|wait| wait.min(WAIT_MAX))
            .filter(|wait| !wait.is_zero())
    }

    /// How long to leave the key alone whose quota is spent.
    pub fn quota(&self) -> Duration {
        self.wait.unwrap_or(QUOTA_WAIT).clamp(WAIT, KEY_MAX)
    }
}

/// `x-ratelimit-remaining-tokens`: what is counted, and whether it is the time.
fn openai(name: &[u8]) -> Option<(Counted, bool)> {
    let rest = name.strip_prefix(b"x-ratelimit-")?;
    let time = rest.strip_prefix(b"reset-").map(|what| (what, true));
    let (what, is_reset) = time.or_else(|| Some((rest.strip_prefix(b"remaining-")?, false)))?;
    Some((counted(what)?, is_reset))
}

/// `anthropic-ratelimit-tokens-remaining`: the same.
fn anthropic(name: &[u8]) -> Option<(Counted, bool)> {
    let rest = name.strip_prefix(b"anthropic-ratelimit-")?;
    let time = rest.strip_suffix(b"-reset").map(|what| (what, true));
    let (what, is_reset) = time.or_else(|| Some((rest.strip_suffix(b"-remaining")?, false)))?;
    Some((counted(what)?, is_reset))
}

fn counted(what: &[u8]) -> Option<Counted> {
    let known = COUNTED.iter().find(|(name, _)| *name == what);
    known.map(|(_, counted)| *counted)
}

/// A time to wait in any of its forms.
fn when(text: &str, wall: Duration) -> Option<Duration> {
    let number = text.parse::<f64>().ok();
    if let Some(number) = number.filter(|_| text.starts_with(|c: char| c.is_ascii_digit())) {
        return seconds(number);
    }
    duration(text).or_else(|| {
        let since_1970 = httpdate::parse_http_date(text)
            .ok()
            .and_then(|at| at.duration_since(std::time::UNIX_EPOCH).ok())
            .or_else(|| rfc3339(text))?;
        Some(since_1970.saturating_sub(wall))
    })
}

fn seconds(number: f64) -> Option<Duration> {
    Duration::try_from_secs_f64(number).ok()
}

/// `1h2m3.5s`, `6ms`: parts with units, the larger ones first (as Go writes a duration).
fn duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut sum = None;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, behind) = rest.split_at(end);
        let unit = behind
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(behind.len());
        let (unit, more) = behind.split_at(unit);
        let scale = match unit {
            "ms" => 0.001,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            "d" => 86_400.0,
            _ => return None,
        };
        let part = seconds(number.parse::<f64>().ok()? * scale)?;
        sum = Some(sum.unwrap_or(Duration::ZERO).saturating_add(part));
        rest = more;
    }
    sum
}

/// `2026-11-28T18:00:00Z`, with a fraction or an offset too, as the time since 1970.
fn rfc3339(text: &str) -> Option<Duration> {
    let number = |from: usize, to: usize| text.get(from..to)?.parse::<i64>().ok();
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    let is_date = (1..=12).contains(&month) && (1..=31).contains(&day);
    if !is_date || !matches!(text.as_bytes().get(10), Some(b'T' | b't' | b' ')) {
        return None;
    }
    let rest = text.get(19..)?;
    let zone = rest.trim_start_matches(|c: char| c == '.' || c.is_ascii_digit());
    let offset = match zone.as_bytes() {
        [b'Z' | b'z'] => 0,
        [sign @ (b'+' | b'-'), ..] => {
            let part = |from: usize, to: usize| zone.get(from..to)?.parse::<i64>().ok();
            let minutes = part(1, 3)? * 60 + part(4, 6)?;
            if *sign == b'+' { minutes } else { -minutes }
        }
        _ => return None,
    };
    // Days since 1970 (Hinnant, "chrono-compatible low-level date algorithms").
    let moved = if month > 2 { year } else { year - 1 };
    let era = moved.div_euclid(400);
    let of_era = moved.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let days = era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468;
    let all = days * 86_400 + hour * 3600 + (minute - offset) * 60 + second;
    u64::try_from(all).ok().map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// 2026-11-28T18:00:00Z.
    const WALL: Duration = Duration::from_secs(1_795_888_800);

    fn announced(fields: &[(&str, &str)]) -> Announced {
        let mut all = Announced::default();
        for (name, value) in fields {
            all.note(name.as_bytes(), value.as_bytes(), WALL);
        }
        all
    }

    fn ms(fields: &[(&str, &str)], status: u16) -> Option<u128> {
        announced(fields)
            .verdict(status, 500)
            .map(|wait| wait.as_millis())
    }

    /// Goal: every form of a time is read, and nonsense is as if it were not there.
    #[test]
    fn every_form_of_a_time_is_read() {
        for (text, want) in [
            ("7", Some(7000)),
            ("1.5", Some(1500)),
            ("6m0s", Some(360_000)),
            ("1.5s", Some(1500)),
            ("6ms", Some(6)),
            ("1h2m3s", Some(3_723_000)),
            ("34.4s", Some(34_400)),
            ("Sat, 28 Nov 2026 18:00:30 GMT", Some(30_000)),
            ("Sat, 28 Nov 2026 17:00:30 GMT", Some(0)),
            ("2026-11-28T18:00:09Z", Some(9000)),
            ("2026-11-28T19:00:09.123+01:00", Some(9000)),
            ("2024-02-29T00:00:00-02:30", Some(0)),
            ("-3", None),
            ("soon", None),
            ("", None),
            ("1.2.3", None),
            ("nan", None),
            ("inf", None),
            ("3 apples", None),
            ("1e400", None),
            ("2026-13-01T00:00:00Z", None),
            ("2026-11-28", None),
        ] {
            assert_eq!(
                when(text, WALL).map(|wait| wait.as_millis()),
                want,
                "{text}"
            );
        }
    }

    /// Goal: L1, L2: what leaves a target alone, and for how long.
    #[test]
    fn only_what_is_spent_keeps_a_target_alone() {
        let none: &[(&str, &str)] = &[];
        let plenty = [
            ("x-ratelimit-remaining-requests", "9999"),
            ("x-ratelimit-reset-requests", "6ms"),
            ("retry-after", "3"),
        ];
        let spent = [
            ("X-RateLimit-Remaining-Requests", "0"),
            ("x-ratelimit-reset-requests", "20s"),
            ("x-ratelimit-remaining-tokens", "800"),
            ("x-ratelimit-reset-tokens", "40s"),
        ];
        let few = [
            ("anthropic-ratelimit-input-tokens-remaining", "499"),
            (
                "anthropic-ratelimit-input-tokens-reset",
                "2026-11-28T18:00:09Z",
            ),
        ];
        for (fields, status, want) in [
            (none, 200, None),
            (none, 503, None),
            (none, 429, Some(1000)),
            (&plenty, 200, None),
            (&plenty, 429, Some(3000)),
            (&plenty, 529, Some(3000)),
            (&spent, 200, Some(20_000)),
            (&spent, 429, Some(20_000)),
            (&few, 200, Some(9000)),
            (&[("retry-after-ms", "250")], 429, Some(250)),
            (
                &[("retry-after", "1"), ("retry-after-ms", "1250")],
                429,
                Some(1250),
            ),
            (&[("retry-after", "99999999")], 429, Some(60_000)),
            (&[("x-ratelimit-remaining-requests", "0")], 200, None),
        ] {
            assert_eq!(ms(fields, status), want, "{status} {fields:?}");
        }
        assert_eq!(Announced::default().quota(), QUOTA_WAIT);
        assert_eq!(announced(&[("retry-after", "99999999")]).quota(), KEY_MAX);
    }

    /// Goal: only a field that may matter leads to more reading.
    #[test]
    fn most_fields_are_passed_by() {
        for (name, value, want) in [
            ("x-ratelimit-remaining-requests", "0", true),
            ("anthropic-ratelimit-tokens-Remaining", "12", true),
            ("x-ratelimit-remaining-requests", "9999", false),
            ("x-ratelimit-limit-requests", "60", false),
            ("x-ratelimit-reset-requests", "6ms", false),
        ] {
            assert_eq!(is_low(name.as_bytes(), value.as_bytes()), want, "{name}");
        }
    }

    proptest! {
        /// Goal: L1: no field panics or makes a wait too long.
        #[test]
        fn no_field_makes_a_wait_too_long(
            at in 0_usize..9,
            value in prop_oneof!["[0-9.:TZ+ms-]{0,24}", "\\PC{0,12}"],
            status in prop_oneof![Just(200_u16), Just(429), Just(503)],
        ) {
            const NAMES: [&str; 9] = [
                "retry-after", "retry-after-ms", "x-ratelimit-reset-tokens",
                "x-ratelimit-remaining-tokens", "x-ratelimit-reset-", "anthropic-ratelimit-",
                "anthropic-ratelimit-tokens-reset", "x-ratelimit-reset-output-tokens",
                "a-name-that-is-far-longer-than-any-that-is-known-here",
            ];
            let mut all = announced(&[("x-ratelimit-remaining-tokens", "0")]);
            all.note(NAMES[at].as_bytes(), value.as_bytes(), WALL);
            prop_assert!(all.verdict(status, 9).is_none_or(|wait| wait <= WAIT_MAX));
            prop_assert!(all.quota() <= KEY_MAX);
        }
    }
}
