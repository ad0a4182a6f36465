//! `[retry]`, `[breaker]`, `[gossip]` and `stream.keepalive`.

use super::check::{TIMEOUT_MIN, section};
use super::fault::Findings;
use super::model::defaults::{ATTEMPTS_MAX, BREAKER, GOSSIP, RETRY};
use super::model::{Breaker, Gossip, Retry};
use super::value::{Wrong, choice, count, duration, share, show_duration, wrong};
use super::walk::{Known, Section};
use std::time::Duration;
use toml::de::DeValue;

const BREAKER_KEYS: Known = Known {
    now: &[
        "mode",
        "window",
        "error_rate",
        "requests_min",
        "consecutive",
        "open",
        "open_max",
        "ramp",
    ],
    later: &[],
};
const RETRY_KEYS: Known = Known {
    now: &["attempts_max", "budget", "backoff", "wait_max"],
    later: &[],
};
const BACKOFF_KEYS: Known = Known {
    now: &["first", "max"],
    later: &[],
};
const GOSSIP_KEYS: Known = Known {
    now: &["tick"],
    later: &[],
};
const STREAM_KEYS: Known = Known {
    now: &["keepalive"],
    later: &[],
};

/// The shortest tick: each one may wake every other shard.
const TICK_MIN: Duration = Duration::from_millis(10);

/// The longest one: a view that is older helps nobody.
const TICK_MAX: Duration = Duration::from_secs(5);

/// The shortest silence that is filled.
const KEEPALIVE_MIN: Duration = Duration::from_millis(100);

/// The shortest window: it is kept in ten slices.
const WINDOW_MIN: Duration = Duration::from_millis(100);

/// `[retry]`.
pub(super) fn retry(root: &Section<'_, '_>, found: &mut Findings) -> Retry {
    let mut retry = RETRY;
    let Some(section) = section(root, found, "retry", "[retry]", RETRY_KEYS) else {
        return retry;
    };
    let attempts = section.read(found, "attempts_max", |v| count(v, 1..=ATTEMPTS_MAX));
    retry.attempts_max = attempts.unwrap_or(retry.attempts_max);
    if let Some(budget) = section.read(found, "budget", budget) {
        retry.budget_percent = budget;
    }
    let wait_max = section.read(found, "wait_max", |v| duration(v, Duration::ZERO));
    retry.wait_max = wait_max.unwrap_or(retry.wait_max);
    backoff(&section, found, &mut retry);
    retry
}

/// `[retry.backoff]`.
fn backoff(place: &Section<'_, '_>, found: &mut Findings, retry: &mut Retry) {
    let Some(section) = section(place, found, "backoff", "[retry.backoff]", BACKOFF_KEYS) else {
        return;
    };
    for (key, slot) in [
        ("first", &mut retry.backoff_first),
        ("max", &mut retry.backoff_max),
    ] {
        if let Some(length) = section.read(found, key, |v| duration(v, Duration::ZERO)) {
            *slot = length;
        }
    }
    let item = section.item("first").or_else(|| section.item("max"));
    if let (true, Some(item)) = (retry.backoff_first > retry.backoff_max, item) {
        let text = format!(
            "`first` ({}) is longer than `max` ({}); write first <= max",
            show_duration(retry.backoff_first),
            show_duration(retry.backoff_max)
        );
        found.fault(item.at, text);
    }
}

/// A share such as `"20%"`, or `"off"`.
fn budget(value: &DeValue<'_>) -> Result<Option<u32>, Wrong> {
    const RIGHT: &str = "write a share from \"1%\" to \"700%\", or \"off\"";
    let DeValue::String(text) = value else {
        return wrong(RIGHT);
    };
    if text == "off" {
        return Ok(None);
    }
    share(text, 1..=700).map_or_else(|| wrong(RIGHT), |percent| Ok(Some(percent)))
}

/// `[breaker]`.
pub(super) fn breaker(root: &Section<'_, '_>, found: &mut Findings) -> Breaker {
    let mut breaker = BREAKER;
    let Some(section) = section(root, found, "breaker", "[breaker]", BREAKER_KEYS) else {
        return breaker;
    };
    let modes = [("on", true), ("off", false)];
    if let Some(is_on) = section.read(found, "mode", |v| choice(v, &modes, &[])) {
        breaker.is_on = is_on;
    }
    if let Some(percent) = section.read(found, "error_rate", percent) {
        breaker.error_percent = percent;
    }
    for (key, slot) in [
        ("requests_min", &mut breaker.requests_min),
        ("consecutive", &mut breaker.consecutive),
    ] {
        let number = section.read(found, key, |v| count(v, 1..=1_000_000));
        if let Some(number) = number.and_then(|number| u32::try_from(number).ok()) {
            *slot = number;
        }
    }
    for (key, slot, min) in [
        ("window", &mut breaker.window, WINDOW_MIN),
        ("open", &mut breaker.open, TIMEOUT_MIN),
        ("open_max", &mut breaker.open_max, TIMEOUT_MIN),
        ("ramp", &mut breaker.ramp, Duration::ZERO),
    ] {
        if let Some(length) = section.read(found, key, |v| duration(v, min)) {
            *slot = length;
        }
    }
    let item = section.item("open").or_else(|| section.item("open_max"));
    if let (true, Some(item)) = (breaker.open > breaker.open_max, item) {
        let text = format!(
            "`open` ({}) is longer than `open_max` ({}); write open <= open_max",
            show_duration(breaker.open),
            show_duration(breaker.open_max)
        );
        found.fault(item.at, text);
    }
    breaker
}

/// A share between 0 and 1 in whole percent.
fn percent(value: &DeValue<'_>) -> Result<u32, Wrong> {
    const RIGHT: &str = "write a share from 0.01 to 1.0 in whole percent, such as 0.5";
    let text = match value {
        DeValue::Float(number) => number.as_str(),
        DeValue::Integer(number) => number.as_str(),
        _ => return wrong(RIGHT),
    };
    let share: f64 = text.parse().or_else(|_| wrong(RIGHT))?;
    let found = (1..=100_u32).find(|percent| (f64::from(*percent) - share * 100.0).abs() < 1e-6);
    found.map_or_else(|| wrong(RIGHT), Ok)
}

/// `[gossip]`.
pub(super) fn gossip(root: &Section<'_, '_>, found: &mut Findings) -> Gossip {
    let mut gossip = GOSSIP;
    let tick = section(root, found, "gossip", "[gossip]", GOSSIP_KEYS)
        .and_then(|section| section.read(found, "tick", tick));
    if let Some(tick) = tick {
        gossip.tick = tick;
    }
    gossip
}

fn tick(value: &DeValue<'_>) -> Result<Duration, Wrong> {
    match duration(value, TICK_MIN) {
        Ok(tick) if tick > TICK_MAX => {
            wrong(format!("write at most \"{}\"", show_duration(TICK_MAX)))
        }
        read => read,
    }
}

/// `continuation` of a model with so many targets and fallbacks, where those could be read.
pub(super) fn continuation(
    model: &Section<'_, '_>,
    found: &mut Findings,
    [targets, fallbacks]: [Option<usize>; 2],
) -> bool {
    const WORDS: [(&str, bool); 2] = [("off", false), ("prefill", true)];
    let continues = model.read(found, "continuation", |v| choice(v, &WORDS, &[]));
    let item = model
        .item("continuation")
        .filter(|_| continues == Some(true));
    if let (Some(item), Some(1), Some(0)) = (item, targets, fallbacks) {
        let text = "`continuation` finds nobody to go on with a stream that is cut: there is \
                    one target and no fallback; add one, or write \"off\"";
        found.warn(item.at, text.to_owned());
    }
    continues.unwrap_or_default()
}

/// The key `stream.keepalive` of `place`, which is the file or a model; `base` without it.
pub(super) fn keepalive(
    place: &Section<'_, '_>,
    found: &mut Findings,
    title: &str,
    base: Option<Duration>,
) -> Option<Duration> {
    section(place, found, "stream", title, STREAM_KEYS)
        .and_then(|section| {
            section.read(found, "keepalive", |value| match value {
                DeValue::String(s) if s == "off" => Ok(None),
                other => match duration(other, KEEPALIVE_MIN) {
                    Ok(every) => Ok(Some(every)),
                    Err(wrong) => Err(Wrong {
                        right: format!("{}, or \"off\"", wrong.right),
                        ..wrong
                    }),
                },
            })
        })
        .unwrap_or(base)
}
