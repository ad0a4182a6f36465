//! `models.*.fallback_on`: after which failures another model is asked.
//!
//! Other targets of the same model are tried after every failure that may not be theirs, too;
//! this is about the step to another model, which may be dearer or answer otherwise.

use super::fault::Findings;
use super::model::defaults::FALLBACK_ON;
use super::value::choice;
use super::walk::Section;

/// Why an attempt gave no answer, as far as it matters for who is asked next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The provider failed, is out, or cannot be reached.
    Error,
    /// It took too long.
    Timeout,
    /// It has a limit that is reached.
    RateLimit,
    /// The prompt does not fit its model.
    ContextLength,
    /// It refuses for what the prompt or the answer says.
    ContentPolicy,
}

impl Reason {
    /// Every one.
    pub const ALL: [Self; 5] = [
        Self::Error,
        Self::Timeout,
        Self::RateLimit,
        Self::ContextLength,
        Self::ContentPolicy,
    ];

    /// As it is written in the file.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Timeout => "timeout",
            Self::RateLimit => "rate_limit",
            Self::ContextLength => "context_length",
            Self::ContentPolicy => "content_policy",
        }
    }
}

/// A set of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reasons(u8);

impl Reasons {
    /// None of them.
    pub const NONE: Self = Self(0);

    /// These and `reason`.
    #[must_use]
    pub const fn with(self, reason: Reason) -> Self {
        Self(self.0 | 1 << reason as u8)
    }

    /// Whether `reason` is among them.
    pub const fn has(self, reason: Reason) -> bool {
        self.0 & 1 << reason as u8 != 0
    }

    /// Whether any of `others` is among them.
    pub const fn meets(self, others: Self) -> bool {
        self.0 & others.0 != 0
    }

    /// Those that there are, in the order of [`Reason::ALL`].
    pub fn iter(self) -> impl Iterator<Item = Reason> {
        Reason::ALL.into_iter().filter(move |one| self.has(*one))
    }
}

/// Reads `fallback_on` of a model.
pub(super) fn fallback_on(model: &Section<'_, '_>, found: &mut Findings) -> Reasons {
    const RIGHT: &str = "write a list such as [\"error\", \"timeout\", \"rate_limit\"]";
    let Some(item) = model.item("fallback_on") else {
        return FALLBACK_ON;
    };
    let words = Reason::ALL.map(|reason| (reason.name(), reason));
    let mut reasons = Reasons::NONE;
    for element in item.list(found, Reason::ALL.len(), RIGHT) {
        if let Some(reason) = element.read(found, |value| choice(value, &words, &[])) {
            if reasons.has(reason) {
                let text = format!("`fallback_on` has {:?} twice; write it once", reason.name());
                found.fault(element.at, text);
            }
            reasons = reasons.with(reason);
        }
    }
    reasons
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: a set has what was put in, under names of their own.
    #[test]
    fn a_set_has_what_was_put_in() {
        for one in Reason::ALL {
            let alone = Reasons::NONE.with(one);
            for other in Reason::ALL {
                let is_same = one == other;
                assert_eq!(alone.has(other), is_same);
                assert_eq!(alone.meets(Reasons::NONE.with(other)), is_same);
                assert_eq!(one.name() == other.name(), is_same);
            }
            assert!(!Reasons::NONE.has(one) && alone.iter().eq([one]));
        }
    }
}
