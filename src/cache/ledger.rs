//! What audits of semantic hits have found, by whom the answers were for.
//!
//! ```text
//!   hit ─ by lot ─► asked upstream too ─► the same? ─► note ─► the last 100 of the tenant
//!                                                                └─ 3 wrong ─► off for an hour
//! ```
//!
//! Invariants
//! - L1 A tenant with [`WRONG_MAX`] wrong answers among its last [`LAST`] audited ones is off for
//!   [`OFF`] from the last of them on; then it begins anew.
//! - L2 What one tenant is told says nothing of another.

use super::entry::Tag;
use crate::base::time::Instant;
use ahash::AHashMap;
use std::time::Duration;

/// Audits of a tenant that are looked back on.
pub const LAST: u32 = 100;

/// Wrong answers among them from which on its requests are not answered by meaning.
pub const WRONG_MAX: u32 = 3;

/// For how long.
pub const OFF: Duration = Duration::from_secs(3600);

/// Tenants that are told apart; with more, those that are not off are forgotten.
const TENANTS_MAX: usize = 4096;

/// The audits of a shard's semantic hits.
#[derive(Debug, Default)]
pub struct Ledger(AHashMap<Tag, Tenant>);

#[derive(Clone, Copy, Debug, Default)]
struct Tenant {
    /// A bit for each audit, the last one lowest; 1: wrong.
    wrong: u128,
    /// It is off until then.
    off: Option<Instant>,
}

impl Ledger {
    /// Whether nothing may be served to `tenant` by meaning.
    pub fn is_off(&self, tenant: Tag, now: Instant) -> bool {
        let off = self.0.get(&tenant).and_then(|tenant| tenant.off);
        off.is_some_and(|until| now < until)
    }

    /// Notes an audit of what `tenant` would have been served; whether it is off from here on.
    pub fn note(&mut self, tenant: Tag, is_wrong: bool, now: Instant) -> bool {
        if self.0.len() >= TENANTS_MAX && !self.0.contains_key(&tenant) {
            self.0
                .retain(|_, it| it.off.is_some_and(|until| now < until));
        }
        let tenant = self.0.entry(tenant).or_default();
        let seen = (1_u128 << LAST) - 1;
        tenant.wrong = (tenant.wrong << 1 | u128::from(is_wrong)) & seen;
        let is_off = tenant.wrong.count_ones() >= WRONG_MAX;
        if is_off {
            *tenant = Tenant {
                wrong: 0,
                off: Some(now + OFF),
            };
        }
        is_off
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Instant {
        Instant::default() + Duration::from_secs(seconds)
    }

    /// Goal: L1 and L2. Method: wrong audits at the edges of the window.
    #[test]
    fn three_wrong_of_a_hundred_are_too_many() {
        let (mine, other) = (Tag::of("client", "a"), Tag::of("client", "b"));
        let mut ledger = Ledger::default();
        assert!(!ledger.is_off(mine, at(0)));
        assert!(!ledger.note(mine, true, at(0)));
        assert!(!ledger.note(mine, true, at(0)));
        for _ in 2..LAST {
            assert!(!ledger.note(mine, false, at(1)));
        }
        // The first one has left the window.
        assert!(!ledger.note(mine, true, at(2)));
        assert!(!ledger.is_off(mine, at(2)));
        for second in 3..=u64::from(LAST) {
            assert!(!ledger.note(mine, second == u64::from(LAST), at(second)));
        }
        assert!(ledger.note(mine, true, at(200)), "three within a hundred");
        assert!(ledger.is_off(mine, at(200)) && !ledger.is_off(other, at(200)));
        assert!(ledger.is_off(mine, at(199 + OFF.as_secs())));
        assert!(!ledger.is_off(mine, at(200 + OFF.as_secs())));
        // It begins anew.
        assert!(!ledger.note(mine, true, at(200 + OFF.as_secs())));
    }

    /// Goal: many tenants take no memory without end, and who is off stays off.
    #[test]
    fn there_is_an_end_to_tenants() {
        let mut ledger = Ledger::default();
        let bad = Tag::of("client", "bad");
        for _ in 0..WRONG_MAX {
            ledger.note(bad, true, at(0));
        }
        for index in 0..2 * TENANTS_MAX {
            ledger.note(Tag::of("client", &index.to_string()), false, at(1));
        }
        assert!(ledger.0.len() <= TENANTS_MAX);
        assert!(ledger.is_off(bad, at(2)));
    }
}
