//! TLS handshakes by side and outcome.

/// Which side the other end is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Clients.
    Downstream,
    /// Providers.
    Upstream,
}

/// How a handshake ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// In a new session.
    Done,
    /// In an earlier session that went on.
    Resumed,
    /// A certificate was refused, by either side.
    Certificate,
    /// The peer spoke HTTP without TLS.
    Plain,
    /// Anything else that went wrong.
    Failed,
    /// It took too long, or nobody waited any more.
    Abandoned,
}

/// Both sides with their names.
pub const SIDES: [(Side, &str); 2] = [
    (Side::Downstream, "downstream"),
    (Side::Upstream, "upstream"),
];

/// All outcomes with their names.
pub const OUTCOMES: [(Outcome, &str); 6] = [
    (Outcome::Done, "done"),
    (Outcome::Resumed, "resumed"),
    (Outcome::Certificate, "certificate"),
    (Outcome::Plain, "plain"),
    (Outcome::Failed, "failed"),
    (Outcome::Abandoned, "abandoned"),
];

/// How often each happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Handshakes([[u64; OUTCOMES.len()]; SIDES.len()]);

impl Handshakes {
    /// Counts one.
    pub fn count(&mut self, side: Side, outcome: Outcome) {
        if let Some(count) = self.slot(side, outcome) {
            *count += 1;
        }
    }

    /// How many there were.
    pub fn of(&self, side: Side, outcome: Outcome) -> u64 {
        let row = self.0.get(side as usize);
        row.and_then(|row| row.get(outcome as usize))
            .copied()
            .unwrap_or_default()
    }

    /// Adds what another shard counted.
    pub fn add(&mut self, other: &Self) {
        for (side, _) in SIDES {
            for (outcome, _) in OUTCOMES {
                if let Some(count) = self.slot(side, outcome) {
                    *count += other.of(side, outcome);
                }
            }
        }
    }

    fn slot(&mut self, side: Side, outcome: Outcome) -> Option<&mut u64> {
        self.0.get_mut(side as usize)?.get_mut(outcome as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: each outcome has its own count, and adding keeps them apart.
    #[test]
    fn each_outcome_has_its_own_count() {
        let (mut one, mut two) = (Handshakes::default(), Handshakes::default());
        one.count(Side::Upstream, Outcome::Abandoned);
        two.count(Side::Upstream, Outcome::Abandoned);
        two.count(Side::Downstream, Outcome::Done);
        one.add(&two);
        assert_eq!(one.of(Side::Upstream, Outcome::Abandoned), 2);
        assert_eq!(one.of(Side::Downstream, Outcome::Done), 1);
        assert_eq!(one.of(Side::Downstream, Outcome::Abandoned), 0);
    }
}
