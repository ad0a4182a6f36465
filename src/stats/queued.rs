//! What became of requests that came when a shard had all the exchanges that it may have.

/// What became of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Queued {
    /// It waited and got its turn.
    Admitted,
    /// It waited in vain: 503.
    Late,
    /// Too many waited already: 503 at once.
    Full,
    /// The shard began to drain: 503.
    Draining,
    /// Its client left.
    Gone,
}

impl Queued {
    /// Every one.
    pub const ALL: [Self; 5] = [
        Self::Admitted,
        Self::Late,
        Self::Full,
        Self::Draining,
        Self::Gone,
    ];

    /// As it is shown.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Admitted => "admitted",
            Self::Late => "late",
            Self::Full => "full",
            Self::Draining => "draining",
            Self::Gone => "gone",
        }
    }
}

/// How many there were of each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts([u64; Queued::ALL.len()]);

impl Counts {
    /// Counts one.
    pub fn note(&mut self, outcome: Queued) {
        if let Some(count) = self.0.get_mut(outcome as usize) {
            *count += 1;
        }
    }

    /// How many there were.
    pub fn of(&self, outcome: Queued) -> u64 {
        self.0.get(outcome as usize).copied().unwrap_or_default()
    }

    /// Adds what another shard counted.
    pub fn add(&mut self, other: &Self) {
        for (mine, theirs) in self.0.iter_mut().zip(other.0) {
            *mine += theirs;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: each outcome has a count and a name of its own.
    #[test]
    fn outcomes_are_counted_apart() {
        let mut counts = Counts::default();
        for (at, outcome) in Queued::ALL.into_iter().enumerate() {
            assert_eq!(outcome as usize, at);
            counts.note(outcome);
            assert_eq!(counts.of(outcome), 1);
        }
        counts.add(&counts.clone());
        assert!(Queued::ALL.iter().all(|outcome| counts.of(*outcome) == 2));
    }
}
