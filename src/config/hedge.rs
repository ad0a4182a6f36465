//! `hedge` of a model: when a second attempt starts beside a slow one, and how many of them may.

use super::check::TIMEOUT_MIN;
use super::fault::Findings;
use super::value::{Wrong, duration, share, show_duration, wrong};
use super::walk::{Known, Section, entries};
use std::fmt;
use std::time::Duration;
use toml::de::DeValue;

const HEDGE_KEYS: Known = Known {
    now: &["after", "extra_max"],
    later: &[],
};
const AFTER_RIGHT: &str =
    "write a percentile from \"p50\" to \"p99\", or a duration such as \"800ms\"";
const EXTRA_RIGHT: &str = "write a share from \"1%\" to \"100%\"";

/// What may be written, and what is taken where it is not.
const DEFAULT: Hedge = Hedge {
    after: After::Percentile(95),
    extra_percent: 5,
};

/// `models.*.hedge`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hedge {
    /// When the second attempt starts.
    pub after: After,
    /// `extra_max`: how many may start, in percent of the model's exchanges, 1 to 100.
    pub extra_percent: u32,
}

/// How long the first attempt has for its first content before a second one starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// As long as this many of a hundred answers of its target take, 50 to 99.
    Percentile(u32),
    /// So long.
    Time(Duration),
}

impl fmt::Display for After {
    /// As it is written in the file.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Percentile(percent) => write!(f, "p{percent}"),
            Self::Time(time) => f.write_str(&show_duration(*time)),
        }
    }
}

/// `hedge` of the model `title`, which has `others` targets and fallbacks beside its first.
pub(super) fn hedge(
    model: &Section<'_, '_>,
    found: &mut Findings,
    title: &str,
    others: usize,
) -> Option<Hedge> {
    let item = model.item("hedge")?;
    match item.value {
        DeValue::String(word) if word == "off" => return None,
        DeValue::Table(_) => {}
        _ => {
            let right = "write { after = \"p95\", extra_max = \"5%\" } or \"off\"";
            item.refuse(
                found,
                Wrong {
                    what: None,
                    right: right.to_owned(),
                },
            );
            return None;
        }
    }
    let section = item.section(found, title, HEDGE_KEYS)?;
    let mut hedge = DEFAULT;
    hedge.after = section.read(found, "after", after).unwrap_or(hedge.after);
    let extra = section.read(found, "extra_max", extra);
    hedge.extra_percent = extra.unwrap_or(hedge.extra_percent);
    if others == 0 {
        let text = "`hedge` has no other target to turn to; add a target or a fallback";
        found.warn(item.key_at, text.to_owned());
    }
    Some(hedge)
}

/// Warns of each model that hedges though no exchange has a second attempt.
pub(super) fn settle(root: &Section<'_, '_>, attempts_max: usize, found: &mut Findings) {
    if attempts_max > 1 {
        return;
    }
    let models = root.item("models");
    let Some(DeValue::Table(models)) = models.map(|item| item.value) else {
        return;
    };
    for model in entries(models) {
        let DeValue::Table(keys) = model.value else {
            continue;
        };
        let is_on = |value: &DeValue<'_>| matches!(value, DeValue::Table(_));
        let hedge = entries(keys).into_iter().find(|item| item.key == "hedge");
        if let Some(item) = hedge.filter(|item| is_on(item.value)) {
            let text = "`hedge` never comes to bear, as `retry.attempts_max` is 1; \
                        write attempts_max = 2 or more";
            found.warn(item.key_at, text.to_owned());
        }
    }
}

fn after(value: &DeValue<'_>) -> Result<After, Wrong> {
    if let DeValue::String(text) = value
        && let Some(percent) = text.strip_prefix('p')
    {
        let percent = percent.parse().ok();
        let percent = percent.filter(|percent| (50..=99).contains(percent));
        return percent.map_or_else(|| wrong(AFTER_RIGHT), |it| Ok(After::Percentile(it)));
    }
    match duration(value, TIMEOUT_MIN) {
        Ok(time) => Ok(After::Time(time)),
        Err(_) => wrong(AFTER_RIGHT),
    }
}

fn extra(value: &DeValue<'_>) -> Result<u32, Wrong> {
    let DeValue::String(text) = value else {
        return wrong(EXTRA_RIGHT);
    };
    share(text, 1..=100).map_or_else(|| wrong(EXTRA_RIGHT), Ok)
}
