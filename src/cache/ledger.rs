//! What audits of semantic hits have found, by whom the answers were for.
//!
//! ```text
//!   hit ─ by lot ─► asked upstream too ─► the same? ─► note ─► the last 100 of the tenant
//!                                                                └─ 3 wrong ─► off for an hour
//! ```
//!
//! Invariants
//! - L1 A tenant with [`WRONG_MAX`] wrong answers among its last [`LAST`] audited ones is off for
//!   [`OFF`] from the last of them on; then it begins anew. All its audits are noted in one ledger
//!   of the box; the others are told when it is off.
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

/// What an audit means for its tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing.
    Fine,
    /// It is off.
    Off {
        /// Until then.
        until: Instant,
        /// For so many wrong answers
        wrong: u32,
        /// among so many that were audited.
        audited: u32,
    },
}

/// The audits of semantic hits of the tenants whose home a shard is, and who is off.
#[derive(Debug, Default)]
pub struct Ledger(AHashMap<Tag, Tenant>);

#[derive(Clone, Copy, Debug, Default)]
struct Tenant {
    /// A bit for each audit, the last one lowest; 1: wrong.
    wrong: u128,
    /// How many there were, up to [`LAST`].
    audited: u32,
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
    pub fn note(&mut self, tenant: Tag, is_wrong: bool, now: Instant) -> Verdict {
        let tenant = self.place(tenant, now);
        let seen = (1_u128 << LAST) - 1;
        tenant.wrong = (tenant.wrong << 1 | u128::from(is_wrong)) & seen;
        tenant.audited = (tenant.audited + 1).min(LAST);
        let (wrong, audited) = (tenant.wrong.count_ones(), tenant.audited);
        if wrong < WRONG_MAX {
            return Verdict::Fine;
        }
        let until = now + OFF;
        *tenant = Tenant {
            off: Some(until),
            ..Tenant::default()
        };
        Verdict::Off {
            until,
            wrong,
            audited,
        }
    }

    /// Another ledger says that `tenant` is off `until` then.
    pub fn turn_off(&mut self, tenant: Tag, until: Instant, now: Instant) {
        self.place(tenant, now).off = Some(until);
    }

    fn place(&mut self, tenant: Tag, now: Instant) -> &mut Tenant {
        if self.0.len() >= TENANTS_MAX && !self.0.contains_key(&tenant) {
            self.0
                .retain(|_, it| it.off.is_some_and(|until| now < until));
        }
        self.0.entry(tenant).or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Instant {
        Instant::default() + Duration::from_secs(seconds)
    }

    /// Goal: L1 and L2. Method: wrong audits at the edges of the window; another ledger is told.
    #[test]
    fn three_wrong_of_a_hundred_are_too_many() {
        let (mine, other) = (Tag::of("client", "a"), Tag::of("client", "b"));
        let mut ledger = Ledger::default();
        let mut note = |is_wrong, second| ledger.note(mine, is_wrong, at(second));
        assert_eq!(note(true, 0), Verdict::Fine);
        assert_eq!(note(true, 0), Verdict::Fine);
        for _ in 2..LAST {
            assert_eq!(note(false, 1), Verdict::Fine);
        }
        // The first one has left the window.
        assert_eq!(note(true, 2), Verdict::Fine);
        for second in 3..=u64::from(LAST) {
            let is_wrong = second == u64::from(LAST);
            assert_eq!(note(is_wrong, second), Verdict::Fine);
        }
        let off = note(true, 200);
        let until = at(200) + OFF;
        let (wrong, audited) = (WRONG_MAX, LAST);
        let want = Verdict::Off {
            until,
            wrong,
            audited,
        };
        assert_eq!(off, want, "three within a hundred");
        let mut second = Ledger::default();
        second.turn_off(mine, until, at(201));
        for ledger in [&ledger, &second] {
            assert!(ledger.is_off(mine, at(201)) && !ledger.is_off(other, at(201)));
            assert!(ledger.is_off(mine, at(199 + OFF.as_secs())));
            assert!(!ledger.is_off(mine, at(200 + OFF.as_secs())));
        }
        // It begins anew.
        let mut note = |is_wrong| ledger.note(mine, is_wrong, at(200 + OFF.as_secs()));
        assert_eq!([note(true), note(true)], [Verdict::Fine; 2]);
        assert!(matches!(note(true), Verdict::Off { audited: 3, .. }));
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
