//! `targets[].abilities`: what a target's model can do, where the table that is shipped does not
//! know it, or knows another model of that name.

use super::fault::Findings;
use super::value::{choice, count, wrong};
use super::walk::{Item, Known};
use crate::dialect::model::{Abilities, Thinking};
use std::fmt::{self, Write as _};
use toml::de::DeValue;

const KEYS: Known = Known {
    now: &[
        "context",
        "output",
        "thinking",
        "images",
        "documents",
        "audio",
        "tools",
        "forced_tool",
        "schema",
        "sampling",
        "prefill",
        "completions",
    ],
    later: &[],
};

/// The switches, and where each stands.
type Switch = (&'static str, fn(&mut Abilities) -> &mut bool);

const SWITCHES: [Switch; 9] = [
    ("images", |can| &mut can.images),
    ("documents", |can| &mut can.documents),
    ("audio", |can| &mut can.audio),
    ("tools", |can| &mut can.tools),
    ("forced_tool", |can| &mut can.forced_tool),
    ("schema", |can| &mut can.schema),
    ("sampling", |can| &mut can.sampling),
    ("prefill", |can| &mut can.prefill),
    ("completions", |can| &mut can.completions),
];

const THINKING: &[(&str, Thinking)] = &[
    ("off", Thinking::Never),
    ("effort", Thinking::Effort),
    ("budget", Thinking::Budget),
    ("adaptive", Thinking::Adaptive { can_rest: true }),
    ("always", Thinking::Adaptive { can_rest: false }),
];

/// Most tokens that a limit may be.
const TOKENS_MAX: usize = 1 << 30;

/// What the file says of a target's model; everything else is as the table says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overrides {
    context: Option<u64>,
    output: Option<u64>,
    thinking: Option<(&'static str, Thinking)>,
    switches: Vec<(&'static str, bool)>,
}

impl Overrides {
    /// Whether the model goes on from the beginning of an answer, where the file says so.
    pub fn prefill(&self) -> Option<bool> {
        let mut switches = self.switches.iter();
        switches
            .find(|(name, _)| *name == "prefill")
            .map(|(_, is_on)| *is_on)
    }

    /// `can`, corrected.
    pub fn correct(&self, can: &mut Abilities) {
        can.context = self.context.or(can.context);
        can.output = self.output.or(can.output);
        if let Some((_, thinking)) = self.thinking {
            can.thinking = thinking;
        }
        for (name, is_on) in &self.switches {
            if let Some((_, place)) = SWITCHES.iter().find(|(known, _)| known == name) {
                *place(can) = *is_on;
            }
        }
    }
}

impl fmt::Display for Overrides {
    /// As it is written in the file.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = String::new();
        let mut part = |name: &str, value: &dyn fmt::Display| {
            let comma = if parts.is_empty() { "" } else { ", " };
            write!(parts, "{comma}{name} = {value}")
        };
        for (name, tokens) in [("context", self.context), ("output", self.output)] {
            if let Some(tokens) = tokens {
                part(name, &tokens)?;
            }
        }
        if let Some((word, _)) = self.thinking {
            part("thinking", &format_args!("{word:?}"))?;
        }
        for (name, is_on) in &self.switches {
            part(name, is_on)?;
        }
        write!(f, "{{ {parts} }}")
    }
}

/// Reads the table.
pub(super) fn abilities(item: Item<'_, '_>, found: &mut Findings) -> Overrides {
    let mut all = Overrides::default();
    let Some(section) = item.section(found, "abilities", KEYS) else {
        return all;
    };
    let tokens = |found: &mut Findings, key| {
        let tokens = section.read(found, key, |v| count(v, 1..=TOKENS_MAX));
        tokens.map(|tokens| tokens as u64)
    };
    all.context = tokens(found, "context");
    all.output = tokens(found, "output");
    let words: Vec<_> = THINKING.iter().map(|row| (row.0, *row)).collect();
    all.thinking = section.read(found, "thinking", |v| choice(v, &words, &[]));
    for (name, _) in SWITCHES {
        let is_on = section.read(found, name, |v| match v {
            DeValue::Boolean(is_on) => Ok(*is_on),
            _ => wrong("write true or false"),
        });
        all.switches.extend(is_on.map(|is_on| (name, is_on)));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: each key that is taken changes something, and nothing else does.
    #[test]
    fn each_key_changes_something() {
        for name in KEYS.now {
            let mut all = Overrides::default();
            match *name {
                "context" => all.context = Some(7),
                "output" => all.output = Some(7),
                "thinking" => all.thinking = Some(("always", THINKING[4].1)),
                switch => {
                    let known = SWITCHES.iter().find(|(known, _)| *known == switch);
                    all.switches.push((known.unwrap().0, false));
                }
            }
            let (before, mut can) = (Abilities::default(), Abilities::default());
            all.correct(&mut can);
            assert_ne!(can, before, "{name}");
            assert!(all.to_string().contains(name), "{all}");
        }
        let mut can = Abilities::default();
        Overrides::default().correct(&mut can);
        assert_eq!(can, Abilities::default());
    }
}
