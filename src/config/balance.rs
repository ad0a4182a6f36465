//! `strategy`, `targets[].tier` and `targets[].price`: how a model's targets are ordered.

use super::fault::Findings;
use super::model::Target;
use super::model::defaults::{PRICE_MAX, TIER_MAX};
use super::value::{Wrong, choice, count, wrong};
use super::walk::{Item, Known, Section};
use crate::dialect::model::Price;
use std::fmt;
use toml::de::DeValue;

const PRICE_KEYS: Known = Known {
    now: &["input", "output"],
    later: &[],
};
const PRICE_RIGHT: &str = "write US dollars for a million tokens, such as 2.5";

/// How a model's targets are ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Strategy {
    /// In proportion to the weights, evenly spread.
    Weighted,
    /// One after the other, whatever the weights.
    RoundRobin,
    /// The one that answers soonest, for what it has under way.
    LeastLatency,
    /// The one with the fewest tokens under way.
    LeastTokens,
    /// Where the conversation was before.
    PrefixAffinity,
    /// The one that costs least.
    Cheapest,
    /// By tiers; without tiers, always in the order of the file.
    Priority,
}

impl Strategy {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Weighted,
        Self::RoundRobin,
        Self::LeastLatency,
        Self::LeastTokens,
        Self::PrefixAffinity,
        Self::Cheapest,
        Self::Priority,
    ];

    /// As it is written in the file.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Weighted => "weighted",
            Self::RoundRobin => "round_robin",
            Self::LeastLatency => "least_latency",
            Self::LeastTokens => "least_tokens",
            Self::PrefixAffinity => "prefix_affinity",
            Self::Cheapest => "cheapest",
            Self::Priority => "priority",
        }
    }
}

/// What tokens cost, in millionths of a US dollar for a million: what one costs in 10⁻¹² $.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Of the prompt.
    pub input: u64,
    /// Of the answer.
    pub output: u64,
}

impl Rate {
    /// As the table has it; `None` when it does not know both.
    pub fn of(price: &Price) -> Option<Self> {
        Some(Self {
            input: Self::micros(price.input?)?,
            output: Self::micros(price.output?)?,
        })
    }

    /// Dollars as millionths, up to [`PRICE_MAX`].
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "within the range that was checked"
    )]
    pub(super) fn micros(dollars: f64) -> Option<u64> {
        let fits = (0.0..=PRICE_MAX).contains(&dollars);
        fits.then(|| (dollars * 1e6).round() as u64)
    }

    /// What so many tokens cost, in 10⁻¹² $.
    pub fn cost(self, prompt: u64, answer: u64) -> u64 {
        let prompt = self.input.saturating_mul(prompt);
        prompt.saturating_add(self.output.saturating_mul(answer))
    }
}

impl fmt::Display for Rate {
    /// As it is written in the file.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let dollars = |micros: u64| format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000);
        let (input, output) = (dollars(self.input), dollars(self.output));
        write!(f, "{{ input = {input}, output = {output} }}")
    }
}

/// `strategy` of a model.
pub(super) fn strategy(model: &Section<'_, '_>, found: &mut Findings) -> Option<Strategy> {
    model.read(found, "strategy", |v| {
        choice(v, &Strategy::ALL.map(|it| (it.name(), it)), &[])
    })
}

/// `tier` of a target.
pub(super) fn tier(target: &Section<'_, '_>, found: &mut Findings) -> Option<u32> {
    let tier = target.read(found, "tier", |v| count(v, 1..=TIER_MAX as usize));
    tier.and_then(|tier| u32::try_from(tier).ok())
}

/// `price` of a target.
pub(super) fn price(target: &Section<'_, '_>, found: &mut Findings) -> Option<Rate> {
    let section = target
        .item("price")?
        .section(found, "`price`", PRICE_KEYS)?;
    let mut part = |key| {
        let right = "write price = { input = 2.5, output = 10.0 }";
        section.need(found, key, right)?.read(found, dollars)
    };
    let (input, output) = (part("input"), part("output"));
    Some(Rate {
        input: input?,
        output: output?,
    })
}

fn dollars(value: &DeValue<'_>) -> Result<u64, Wrong> {
    let text = match value {
        DeValue::Float(number) => number.as_str(),
        DeValue::Integer(number) => number.as_str(),
        _ => return wrong(PRICE_RIGHT),
    };
    let dollars: f64 = text.parse().or_else(|_| wrong(PRICE_RIGHT))?;
    Rate::micros(dollars).map_or_else(|| wrong(PRICE_RIGHT), Ok)
}

/// What goes for all targets of a model together: tiers of `priority`, prices of `cheapest`.
pub(super) fn settle(
    (item, name): (Item<'_, '_>, &str),
    strategy: Strategy,
    targets: &mut [Target],
    written: &[Option<u32>],
    found: &mut Findings,
) {
    let count = written.iter().flatten().count();
    if strategy == Strategy::Priority {
        if (1..written.len()).contains(&count) {
            let text = "`targets` has a `tier` for some only; write it for all or for none";
            found.fault(item.at, text.to_owned());
        }
        let places = (1..).zip(targets.iter_mut());
        places
            .filter(|_| count == 0)
            .for_each(|(place, target)| target.tier = place);
    }
    let is_known = |target: &Target| target.rate(name).is_some();
    if strategy == Strategy::Cheapest
        && let Some(at) = targets.iter().position(|target| !is_known(target))
    {
        let text = format!(
            "the price of target {} is not known, so it is asked last; \
             write price = {{ input = 2.5, output = 10.0 }}",
            at + 1
        );
        found.warn(item.at, text);
    }
}
