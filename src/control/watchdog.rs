//! Tells the service manager that every shard does its work, as long as that is so.
//!
//! ```text
//!   half a period ──► every shard is asked ──► all answered, every tick moved ──► alive
//!                                │ one hangs: no answer comes, nothing is said
//! ```
//!
//! One shard that hangs must not hide behind the others, nor behind this thread.

use super::admin::Admin;
use super::gateway::Stop;
use super::notify::Notify;
use crate::host::Host;
use crate::host::uring::Uring;
use crate::shard::orders::Report;
use std::rc::Rc;

/// Starts it on the control executor, when somebody asks for it.
pub(super) fn start(admin: &Rc<Admin>, notify: &Notify, stop: &Stop) {
    let Some(period) = notify.watchdog() else {
        return;
    };
    let (admin, notify, stop) = (Rc::clone(admin), notify.clone(), stop.clone());
    Uring.spawn(async move {
        let mut seen = Vec::new();
        // A successor speaks for itself.
        while !stop.is_handed_over() {
            Uring.sleep_until(Uring.now() + period / 2).await;
            let ticks = ticks(&admin.reports().await);
            if ticks.len() == admin.shards.len() && moved(&seen, &ticks) {
                notify.alive();
                seen = ticks;
            }
        }
    });
}

fn ticks(reports: &[Report]) -> Vec<u64> {
    reports.iter().map(|report| report.ticks).collect()
}

/// Whether every shard ticked since.
fn moved(seen: &[u64], now: &[u64]) -> bool {
    seen.iter().zip(now).all(|(before, now)| now > before)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: one shard that stands still is enough.
    #[test]
    fn every_shard_must_have_moved() {
        assert!(moved(&[], &[0, 0]));
        assert!(moved(&[1, 7], &[2, 8]));
        assert!(!moved(&[1, 7], &[2, 7]));
    }
}
