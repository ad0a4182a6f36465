//! Going down without cutting off what can still end.
//!
//! ```text
//!   SIGTERM ─► readyz says no ─► shards accept what is queued, close their listeners,
//!              answer with `Connection: close`; idle connections end
//!           ─► streams run on, up to timeouts.drain ──┬─ all ended ───────────────► exit 0
//!   take-over ─► shards serve what they have accepted; idle connections stay: 5 s of silence
//!   SIGINT, or a second SIGTERM: no more waiting ─────┴─► End: error events ─► 1 s ─► exit 1
//! ```

use super::admin::Admin;
use super::gateway::{Stop, Told};
use super::succession::Patience;
use crate::base::fault::Kind;
use crate::host::Host;
use crate::host::uring::Uring;
use crate::shard::orders::{Report, Task};
use crate::shard::{LAST_WORD, TICK};
use std::rc::Rc;
use std::time::Duration;

/// How often control looks whether the last exchange has ended.
const LOOK: Duration = Duration::from_millis(50);

/// How often once it has taken a while: a look costs each shard a copy of its counters.
const LOOK_LATER: Duration = Duration::from_millis(500);

/// When that begins.
const LATER: Duration = Duration::from_secs(10);

/// For how long connections without an exchange are waited for: longer than the shards accept
/// what is queued, and than a last answer is protected from being reset.
const IDLE_MAX: Duration = Duration::from_secs(3);

/// After a hand-over: how long a client's connection must have been silent before it is closed
/// under it. Whoever sends within this time is answered, and told to come anew.
const QUIET: Duration = Duration::from_secs(5);

/// What came of the exchanges.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ended {
    /// Exchanges that the process has had.
    pub exchanges: u64,
    /// Receipts that it has written.
    pub receipts: u64,
    /// Exchanges that were ended with an error, or cut off altogether.
    pub cut: u64,
}

/// Lets exchanges end, then ends what is left.
pub(super) async fn drain(admin: &Rc<Admin>, stop: &Stop, told: &Told) -> Ended {
    let is_handed_over = stop.is_handed_over();
    admin.is_draining.set(true);
    for shard in &admin.shards {
        if is_handed_over {
            shard.order(Task::HandOver).await;
        }
        shard.order(Task::Drain).await;
    }
    let (idle_max, accepts) = if is_handed_over {
        (QUIET, "a successor accepts")
    } else {
        (IDLE_MAX, "listeners close")
    };
    told.say(&format!(
        "draining: {accepts}, new requests end their connections"
    ));
    let mut patience = Patience::new(&told.notify, is_handed_over);
    let timeout = admin.edition().config.timeouts.drain;
    let began = Uring.now();
    let until = began + timeout;
    let mut quiet_since = None;
    let mut is_quiet = false;
    while !stop.is_hurried() && Uring.now() < until {
        // A successor may also come now.
        admin.is_handed_over.set(stop.is_handed_over());
        let reports = admin.reports().await;
        let accepting = reports.iter().any(|report| report.accepting > 0);
        let open = sum(&reports, |report| report.counters.exchanges_open);
        let connections = sum(&reports, |report| report.counters.connections_open);
        let now = Uring.now();
        let quiet = *quiet_since.get_or_insert(now);
        if open > 0 || accepting {
            quiet_since = None;
        } else if connections == 0 && now.since(quiet) >= LOOK || now.since(quiet) >= idle_max {
            is_quiet = true;
            break;
        }
        patience.ask(now, open);
        let later = open > 0 && now.since(began) > LATER;
        let look = now + if later { LOOK_LATER } else { LOOK };
        Uring.sleep_until(look.min(until)).await;
    }
    if !is_quiet {
        end(admin, stop, told).await;
    }
    // One more tick of every shard, so that the last log lines are handed over.
    Uring.sleep_until(Uring.now() + TICK + LOOK).await;
    let reports = admin.reports().await;
    let open = sum(&reports, |report| report.counters.exchanges_open);
    let told = |report: &Report| {
        let faults = &report.counters.faults;
        faults.get(Kind::ShutDown.code()).copied().unwrap_or(0)
    };
    Ended {
        exchanges: sum(&reports, |report| report.counters.exchanges),
        receipts: sum(&reports, |report| report.counters.receipts),
        cut: open + sum(&reports, told),
    }
}

/// Ends the exchanges that are left: each has a second to tell its client.
async fn end(admin: &Rc<Admin>, stop: &Stop, told: &Told) {
    let reports = admin.reports().await;
    let open = sum(&reports, |report| report.counters.exchanges_open);
    if open > 0 {
        let why = if stop.is_hurried() {
            "told to hurry"
        } else {
            "timeouts.drain is over"
        };
        told.say(&format!("{why}: {open} exchanges end with an error"));
    }
    for shard in &admin.shards {
        shard.order(Task::End).await;
    }
    let until = Uring.now() + LAST_WORD + 2 * LOOK;
    while Uring.now() < until {
        let reports = admin.reports().await;
        if sum(&reports, |report| report.counters.exchanges_open) == 0 {
            return;
        }
        Uring.sleep_until(Uring.now() + LOOK).await;
    }
}

fn sum(reports: &[Report], of: impl Fn(&Report) -> u64) -> u64 {
    reports.iter().map(of).sum()
}
