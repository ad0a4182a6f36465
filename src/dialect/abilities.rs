//! What models can do, by their names: a table that is shipped.
//!
//! ```text
//!   us.anthropic.claude-opus-5-5-v1:0      exact? ─ no ─► the rest, between what is put before and behind:
//!   └ region └ vendor            └ version                 claude-opus-5-5
//! ```
//!
//! The data is `models.json`, made by `scripts/models` with its date. It states what a model
//! *lacks*: an ability that is missing there is assumed, since a provider's own refusal is
//! better than one of the gateway's that is wrong. The configuration overrides it per target.
//!
//! `context` is what the source calls input tokens: where a provider counts prompt and answer
//! together it is both, for `OpenAI`'s reasoning models it is the prompt alone.
//!
//! Invariants
//! - I1 The same name gives the same facts; an unknown one gives [`Abilities::default`].
//! - I2 An exact name wins over a part of one. Among models of the same bare name, the one
//!   without a provider's prefix wins, then the one with less behind its name, then the later.
//! - I3 The table is read once; a look-up allocates nothing but what it returns.

use super::model::{Abilities, Effort, Efforts, Price, Thinking};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::sync::LazyLock;

/// The table as it is shipped.
const JSON: &str = include_str!("models.json");

#[derive(Debug, Default, Deserialize)]
struct File {
    date: &'static str,
    models: BTreeMap<&'static str, Row>,
}

/// A line of the table; what is missing is as the default says.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Row {
    by: &'static str,
    mode: Option<&'static str>,
    context: Option<u64>,
    output: Option<u64>,
    lacks: &'static str,
    thinking: &'static str,
    efforts: Option<&'static str>,
    reasoner: bool,
    late_system: bool,
    price: Vec<Option<f64>>,
    retires: Option<&'static str>,
}

#[derive(Debug, Default)]
struct Table {
    date: &'static str,
    /// By name.
    models: Vec<(&'static str, Row)>,
    /// Bare names with the place of the model that they stand for, by name.
    bare: Vec<(&'static str, usize)>,
}

static TABLE: LazyLock<Table> = LazyLock::new(|| {
    let file: File = serde_json::from_str(JSON).unwrap_or_default();
    debug_assert!(
        !file.models.is_empty(),
        "models.json is what scripts/models makes"
    );
    let models: Vec<(&str, Row)> = file.models.into_iter().collect();
    let mut bare: Vec<(&str, usize)> = models
        .iter()
        .enumerate()
        .map(|(at, (name, _))| (bare(name), at))
        .collect();
    let preferred = |at: usize| {
        let name = models.get(at).map_or("", |(name, _)| name);
        let before = name.len() - without_front(name).len();
        (before, name.len(), std::cmp::Reverse(name)) // I2
    };
    bare.sort_by(|a, b| (a.0, preferred(a.1)).cmp(&(b.0, preferred(b.1))));
    bare.dedup_by_key(|(name, _)| *name);
    Table {
        date: file.date,
        models,
        bare,
    }
});

/// A model of the table.
#[derive(Clone, Debug)]
pub struct Listed {
    /// Its name.
    pub name: &'static str,
    /// Who serves it, by the name of the source.
    pub provider: &'static str,
    /// `chat`, `embedding`, `completion`.
    pub mode: &'static str,
    /// The day on which the provider ends it, as `2026-12-31`.
    pub retires: Option<&'static str>,
    /// What it can do.
    pub abilities: Abilities,
}

/// The day of the table, as `2026-12-31`.
pub fn date() -> &'static str {
    TABLE.date
}

/// All models of the table, by name.
pub fn list() -> impl Iterator<Item = Listed> {
    TABLE.models.iter().map(|(name, row)| Listed {
        name,
        provider: row.by,
        mode: row.mode.unwrap_or("chat"),
        retires: row.retires,
        abilities: row.abilities(),
    })
}

/// What `model` can do; the default for a name that nobody knows.
pub fn of(model: &str) -> Abilities {
    find(model).map_or_else(Abilities::default, Row::abilities)
}

/// Whether the table knows `model`.
pub fn knows(model: &str) -> bool {
    find(model).is_some()
}

fn find(model: &str) -> Option<&'static Row> {
    let table = &*TABLE;
    let exact = |name: &str| {
        let at = table
            .models
            .binary_search_by(|(other, _)| (*other).cmp(name));
        at.ok().and_then(|at| table.models.get(at))
    };
    let part = |name: &str| {
        let at = table.bare.binary_search_by(|(other, _)| (*other).cmp(name));
        let (_, at) = table.bare.get(at.ok()?)?;
        table.models.get(*at)
    };
    let front = without_front(model);
    exact(model)
        .or_else(|| exact(front))
        .or_else(|| part(front))
        .or_else(|| part(bare(model)))
        .map(|(_, row)| row)
}

/// The name without what stands before and behind it.
fn bare(name: &str) -> &str {
    without_back(without_front(name))
}

/// The name behind paths (`models/`, `openai/`), regions (`us.`) and vendors (`anthropic.`). A
/// dot in front of a digit belongs to the name (`gpt-4.1`).
fn without_front(name: &str) -> &str {
    let mut rest = name.rsplit_once('/').map_or(name, |(_, rest)| rest);
    while let Some((front, back)) = rest.split_once('.') {
        let is_word = front
            .bytes()
            .all(|b| b.is_ascii_alphabetic() || b == b'-' || b == b'_');
        let is_name = back.starts_with(|c: char| c.is_ascii_alphabetic());
        if !is_word || !is_name {
            break;
        }
        rest = back;
    }
    rest
}

/// The name before dates, versions of Bedrock and `-latest`.
fn without_back(name: &str) -> &str {
    let mut rest = name;
    loop {
        let shorter = rest
            .strip_suffix("-latest")
            .or_else(|| without_version(rest))
            .or_else(|| without_date(rest));
        match shorter.filter(|shorter| !shorter.is_empty()) {
            Some(shorter) => rest = shorter,
            None => return rest,
        }
    }
}

/// Without `-v1:0`, `-v1`, `:0`.
fn without_version(name: &str) -> Option<&str> {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if let Some((front, back)) = name.rsplit_once(':')
        && is_number(back)
    {
        return Some(front);
    }
    let (front, back) = name.rsplit_once("-v")?;
    is_number(back).then_some(front)
}

/// Without `-20251001`, `@20251001`, `-2025-08-07`, `-03-2025`.
fn without_date(name: &str) -> Option<&str> {
    const SHAPES: [&str; 4] = ["-dddd-dd-dd", "-dddddddd", "@dddddddd", "-dd-dddd"];
    SHAPES.iter().find_map(|shape| {
        let at = name.len().checked_sub(shape.len())?;
        let (front, back) = name.split_at_checked(at)?;
        let fits = back.bytes().zip(shape.bytes()).all(|(b, want)| match want {
            b'd' => b.is_ascii_digit(),
            _ => b == want,
        });
        // The year must be of this century: `-1024` and the like are sizes.
        let is_year = |at: usize| back.get(at..at + 2) == Some("20");
        (fits && (is_year(1) || is_year(4))).then_some(front)
    })
}

impl Row {
    fn abilities(&self) -> Abilities {
        let can = |what: &str| !self.lacks.split(' ').any(|lacks| lacks == what);
        let price = |at: usize| self.price.get(at).copied().flatten();
        Abilities {
            context: self.context,
            output: self.output,
            images: can("images"),
            documents: can("documents"),
            audio: can("audio"),
            tools: can("tools"),
            forced_tool: can("forced_tool"),
            schema: can("schema"),
            sampling: can("sampling"),
            prefill: can("prefill"),
            // Others of the table may run somewhere else, too, on engines that can.
            completions: self.mode.is_some() || !matches!(self.by, "openai" | "azure"),
            logprobs: can("logprobs"),
            thinking: match self.thinking {
                "never" => Thinking::Never,
                "budget" => Thinking::Budget,
                "adaptive" => Thinking::Adaptive { can_rest: true },
                "always" => Thinking::Adaptive { can_rest: false },
                _ => Thinking::Effort,
            },
            efforts: self.efforts.map_or(Efforts::ALL, |list| {
                let known = list.split(' ').filter_map(Effort::named);
                known.fold(Efforts::NONE, Efforts::with)
            }),
            is_reasoner: self.reasoner,
            late_system: self.late_system,
            price: Price {
                input: price(0),
                output: price(1),
                cache_read: price(2),
                cache_write: price(3),
                thinking: price(4),
            },
            ..Abilities::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: the file is read as it was made; its words are words that are known here.
    #[test]
    fn the_table_is_read_whole() {
        let raw: serde_json::Value = serde_json::from_str(JSON).unwrap();
        let rows = raw["models"].as_object().unwrap();
        assert_eq!(list().count(), rows.len());
        assert!(
            rows.len() > 1000 && date().len() == 10,
            "{} as of {}",
            rows.len(),
            date()
        );
        let words = |key: &str| {
            let found = rows.values().filter_map(|row| row[key].as_str());
            let mut words: Vec<&str> = found.flat_map(|text| text.split(' ')).collect();
            words.sort_unstable();
            words.dedup();
            words
        };
        let known = [
            "audio",
            "documents",
            "forced_tool",
            "images",
            "logprobs",
            "prefill",
            "sampling",
            "schema",
            "tools",
        ];
        assert_eq!(words("lacks"), known);
        assert_eq!(
            words("thinking"),
            ["adaptive", "always", "budget", "effort", "never"]
        );
        assert!(
            words("efforts")
                .into_iter()
                .all(|word| Effort::named(word).is_some())
        );
        assert!(TABLE.models.is_sorted_by(|a, b| a.0 < b.0));
        assert!(TABLE.bare.is_sorted_by(|a, b| a.0 < b.0));
    }

    /// Goal: a name is found through all that stands before and behind it (I2).
    #[test]
    fn a_name_is_found_through_what_is_put_around_it() {
        for (name, bared) in [
            ("gpt-4.1", "gpt-4.1"),
            ("openai/gpt-4.1-2025-04-14", "gpt-4.1"),
            ("models/gemini-2.5-pro", "gemini-2.5-pro"),
            (
                "us.anthropic.claude-haiku-4-5-20251001-v1:0",
                "claude-haiku-4-5",
            ),
            ("us-gov.anthropic.claude-sonnet-5-5", "claude-sonnet-5-5"),
            ("claude-opus-4-5@20251101", "claude-opus-4-5"),
            ("command-a-03-2025", "command-a"),
            ("mistral/mistral-large-latest", "mistral-large"),
            ("amazon.nova-pro-v1:0", "nova-pro"),
            ("meta.llama3-1-8b-instruct-v1:0", "llama3-1-8b-instruct"),
            ("x-1234-5678", "x-1234-5678"),
            ("-latest", "-latest"),
            ("", ""),
            ("é.é-v1", "é.é"),
        ] {
            assert_eq!(bare(name), bared, "{name}");
        }
        let haiku = of("claude-haiku-4-5");
        assert_eq!(haiku.thinking, Thinking::Budget);
        for name in [
            "claude-haiku-4-5-20251001",
            "claude-haiku-4-5-latest",
            "anthropic/claude-haiku-4-5",
            "claude-haiku-4-5@20251001",
        ] {
            assert_eq!(of(name), haiku, "{name}");
        }
        let bedrock = of("us.anthropic.claude-haiku-4-5-20251001-v1:0");
        assert_eq!(
            bedrock.price.input,
            Some(1.1),
            "an exact name has its own facts"
        );
        assert_eq!(
            of("command-a"),
            of("command-a-03-2025"),
            "the dated one stands in"
        );
        assert!(of("openai/gpt-5-2025-08-07").is_reasoner);
    }

    /// Goal: some facts that are known from elsewhere (mapping.md, 6.2) are in the table.
    #[test]
    fn known_facts_are_in_the_table() {
        let opus = of("claude-opus-5-5");
        assert_eq!(opus.thinking, Thinking::Adaptive { can_rest: false });
        assert!(!opus.sampling && !opus.forced_tool && !opus.prefill && opus.schema);
        assert!(opus.efforts.has(Effort::Max) && !opus.efforts.has(Effort::None));
        assert_eq!(
            (opus.context, opus.output),
            (Some(1_000_000), Some(128_000))
        );
        assert_eq!(opus.price.input, Some(4.0));
        assert_eq!(opus.price.output, Some(20.0));
        assert_eq!(
            of("claude-haiku-5-5").thinking,
            Thinking::Adaptive { can_rest: true }
        );
        assert_eq!(of("gemini-2.5-pro").thinking, Thinking::Budget);
        let gpt = of("gpt-5");
        assert!(gpt.is_reasoner && !gpt.sampling && gpt.efforts.has(Effort::Minimal));
        assert!(!gpt.efforts.has(Effort::None) && !of("gpt-4o").is_reasoner);
        assert!(of("gpt-5.2").sampling && of("gpt-5.2").efforts.has(Effort::None));
        assert!(!of("gpt-3.5-turbo").images && of("gpt-4o").images);
        assert_eq!(of("gpt-4o").thinking, Thinking::Never);
        for name in ["gpt-4o", "gpt-5", "azure/gpt-4o", "gpt-3.5-turbo"] {
            assert!(!of(name).completions, "{name} only chats");
        }
        for name in ["gpt-3.5-turbo-instruct", "davinci-002", "command-nightly"] {
            assert!(of(name).completions, "{name}");
        }
    }

    /// Goal: I1.
    #[test]
    fn an_unknown_name_gets_the_default() {
        for name in ["my-llama", "", "/", ".", "models/", "gpt-4o-mega"] {
            assert_eq!(of(name), Abilities::default(), "{name}");
            assert!(!knows(name), "{name}");
        }
    }
}
