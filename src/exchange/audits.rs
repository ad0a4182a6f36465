//! What audits of answers by meaning found, told to the shard that keeps count of it.
//!
//! ```text
//!   shard that audits ── Found ──► home of the tenant ─► ledger ─ too many wrong ─► log, metrics
//!                                                            └── Off ──► every shard
//! ```
//!
//! That an entry was wrong is marked in the entry itself ([`Meaning::demote`]), which is one for
//! all shards. How often a tenant was told wrong is known to its home alone, so that it is the
//! same limit on a box of one shard and of many.
//!
//! Invariants
//! - A1 Each audit is noted once, in one ledger; a tenant that goes off is logged and counted once.
//! - A2 A tenant is off on every shard as soon as the letter came, and until the same moment.
//!
//! [`Meaning::demote`]: crate::cache::meaning::Meaning::demote

use crate::base::time::Instant;
use crate::cache::entry::Tag;
use crate::cache::ledger::{OFF, Verdict};
use crate::host::Host;
use crate::shard::Shard;

/// What shards tell each other of audits.
#[derive(Debug)]
pub enum Audit {
    /// To the home of the tenant: an answer was compared with a new one.
    Found {
        /// Whose.
        tenant: Tag,
        /// Its name in the log.
        name: Box<str>,
        /// It said something else.
        is_wrong: bool,
    },
    /// From the home: nothing is answered by meaning until then.
    Off {
        /// Whose.
        tenant: Tag,
        /// Until when.
        until: Instant,
    },
}

/// An answer of `tenant`, called `name` in the log, was compared with a new one.
pub fn report<H: Host>(shard: &Shard<H>, (tenant, name): (Tag, &str), is_wrong: bool) {
    let home = tenant.home(shard.shards);
    if home == shard.index {
        return note(shard, (tenant, name), is_wrong);
    }
    let name = name.into();
    let found = Audit::Found {
        tenant,
        name,
        is_wrong,
    };
    shard.mail.post(home, found);
}

/// Hears what another shard says.
pub fn hear<H: Host>(shard: &Shard<H>, audit: Audit) {
    match audit {
        Audit::Found {
            tenant,
            name,
            is_wrong,
        } => note(shard, (tenant, &name), is_wrong),
        Audit::Off { tenant, until } => {
            let now = shard.host.now();
            let ledger = &mut shard.cache.borrow_mut().ledger;
            ledger.turn_off(tenant, until, now);
        }
    }
}

/// Notes it, as the home of the tenant.
fn note<H: Host>(shard: &Shard<H>, (tenant, name): (Tag, &str), is_wrong: bool) {
    let now = shard.host.now();
    let verdict = shard.cache.borrow_mut().ledger.note(tenant, is_wrong, now);
    let Verdict::Off {
        until,
        wrong,
        audited,
    } = verdict
    else {
        return;
    };
    shard.counters.borrow_mut().cached.tripped += 1;
    let hours = OFF.as_secs() / 3600;
    shard.log.say(&format!(
        "warning: key {name}: {wrong} of its last {audited} audited answers by meaning were wrong: \
         none is given to it for {hours} h"
    ));
    for other in (0..shard.shards).filter(|other| *other != shard.index) {
        shard.mail.post(other, Audit::Off { tenant, until });
    }
}
