//! Purges that boxes share: what this one says to the others, and what it hears from them.
//!
//! ```text
//!   POST /api/cache/purge ─► the server's generations ─► every shard here ─► heeded ─► answer
//!                                    │
//!   another box's ───────────────────┴─► read within a second ─► what changed ─► every shard here
//! ```
//!
//! Control has connections of its own to the shared tier. What it reads of the generations that it
//! did not know is a purge: of what changed or, where it knew none before, of everything (what is
//! stored before the first reading, within a round trip of the start).
//!
//! Invariants
//! - P1 The server comes first, the shards after it: so no copy that a shard fetched before the
//!   purge stays.
//! - P2 What is heard is heeded once, in order, by one task, and counts as heard only then.
//! - P3 Shards are told what is heeded: what other boxes announce they learn only when every purge
//!   that is known is, or it would be forgotten for one that was before it.

use super::admin::Admin;
use crate::base::bufpool::BufPool;
use crate::cache::entry::Tag;
use crate::cache::key::Key;
use crate::cache::purge::Purge;
use crate::cache::remote::generations::{self, Change, Generations};
use crate::config::Config;
use crate::host::Host;
use crate::host::uring::Uring;
use crate::shard::orders::{NewAddresses, Task};
use crate::shard::remote::{Remote, Why, setup, wanted};
use crate::shard::snapshot::{Edition, RemoteNeeds};
use futures_lite::FutureExt;
use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::Duration;

/// How long a purge waits for everything before it to be heeded.
const HEED_MAX: Duration = Duration::from_secs(2);

/// How often somebody who waits for that looks.
const TURN: Duration = Duration::from_millis(2);

/// Its place among the shards of the box, for seeds and names.
const SEED: u64 = 0x5851_f42d_4c95_7f2d;

/// What control has of the shared tier.
#[derive(Default)]
pub struct Shared {
    remote: RefCell<Option<Rc<Remote<Uring>>>>,
    /// What it was made for.
    config: RefCell<Option<Arc<Config>>>,
    /// What was read of the generations and is heeded.
    heard: RefCell<Option<Rc<Generations>>>,
    /// Who heeds, while it has nothing to do.
    heeder: Cell<Option<Waker>>,
    is_hurried: Cell<bool>,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

impl Shared {
    /// Makes it what `edition` says, where that is not what the one before said.
    pub fn renew(&self, edition: &Edition) {
        let config = &edition.config;
        let before = self.config.replace(Some(Arc::clone(config)));
        let settings = wanted(config);
        if before.is_some_and(|before| wanted(&before) == settings) {
            return;
        }
        let old = self.remote.take();
        self.heard.take();
        self.hurry(); // whoever listens to the old one
        let (Some(settings), Some(needs)) = (settings, RemoteNeeds::of(edition)) else {
            return;
        };
        let place = (BufPool::new(), usize::MAX, Uring.wall_nanos() ^ SEED);
        let setup = setup(settings, &needs, old.as_deref(), place);
        // Refused is only what the configuration refuses, too.
        *self.remote.borrow_mut() = Remote::start(&Uring, setup).ok().map(Rc::new);
    }

    /// Lets the heeder look at once.
    fn hurry(&self) {
        self.is_hurried.set(true);
        if let Some(heeder) = self.heeder.take() {
            heeder.wake();
        }
    }

    /// New addresses of a name.
    pub fn set_addresses(&self, new: &NewAddresses) {
        if let Some(remote) = self.remote() {
            remote.set_addresses((&new.host, new.port), &new.addresses);
        }
    }

    fn remote(&self) -> Option<Rc<Remote<Uring>>> {
        self.remote.borrow().clone()
    }

    /// Purges for all boxes; without a shared tier there is nothing to do.
    ///
    /// # Errors
    /// Why it is not certain that it was done.
    pub async fn purge(&self, what: &Purge) -> Result<(), Why> {
        let Some(remote) = self.remote() else {
            return Ok(());
        };
        match what {
            Purge::All => remote.purge(generations::Purge::All).await,
            Purge::Tag(tag) => remote.purge(generations::Purge::Tag(&tag.bytes())).await,
            Purge::Key(key) => remote.purge(generations::Purge::Key(key.bytes())).await,
        }
    }

    /// What is known and not heeded yet.
    fn is_behind(&self) -> bool {
        let now = self.remote().and_then(|remote| remote.generations());
        let heard = self.heard.borrow();
        match (&now, &*heard) {
            (Some(now), Some(heard)) => !Rc::ptr_eq(now, heard),
            (Some(_), None) => true,
            (None, _) => false,
        }
    }

    /// Waits until everything that was read is heeded, so that nothing is forgotten for it later.
    pub async fn caught_up(&self) {
        let until = Uring.now() + HEED_MAX;
        while self.is_behind() && Uring.now() < until {
            self.hurry();
            Uring.sleep_until(Uring.now() + TURN).await;
        }
    }

    /// Until there is something that is not heeded, or the shared tier may be another one.
    async fn rest(&self) {
        let hurried = poll_fn(|cx| {
            if self.is_hurried.take() {
                return Poll::Ready(());
            }
            self.heeder.set(Some(cx.waker().clone()));
            Poll::Pending
        });
        let Some(remote) = self.remote() else {
            return hurried.await;
        };
        let heard = self.heard.borrow().clone();
        hurried
            .or(async { drop(remote.newer(heard.as_ref()).await) })
            .await;
    }
}

/// What a shard has to forget for `change`.
fn purge_of(change: Change) -> Purge {
    match change {
        Change::All => Purge::All,
        Change::Tag(tag) => match <[u8; 8]>::try_from(tag.as_slice()) {
            Ok(tag) => Purge::Tag(Tag::from_bytes(tag)),
            Err(_) => Purge::All, // nobody of ours tags so
        },
        Change::Key(key) => Purge::Key(Key::new(key)),
    }
}

/// Heeds what other boxes purge (P2), as long as control runs.
pub async fn heed(admin: Rc<Admin>) {
    let shared = &admin.shared;
    loop {
        shared.rest().await;
        let Some(remote) = shared.remote() else {
            continue;
        };
        let Some(now) = remote.generations().filter(|_| shared.is_behind()) else {
            continue;
        };
        let before = shared.heard.borrow().clone();
        let changes = match before {
            Some(before) => now.since(&before),
            None => vec![Change::All],
        };
        for change in changes {
            admin.purge(purge_of(change)).await;
        }
        let turn = admin.take_turn().await; // no other configuration meanwhile
        let is_same = shared.remote().is_some_and(|it| Rc::ptr_eq(&it, &remote));
        if is_same {
            for shard in &admin.shards {
                shard.order(Task::Heeded(now.version())).await; // P3
            }
            shared.heard.replace(Some(now));
        }
        drop(turn);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: what a box says to the others is what they forget.
    #[test]
    fn a_purge_is_the_same_on_all_boxes() {
        let all = |what: &generations::Purge<'_>| {
            let read = |more: &[(&[u8], i64)]| {
                let fields = [(generations::VERSION, 1), (generations::ALL, 1)];
                Generations::read(fields.into_iter().chain(more.iter().copied())).unwrap()
            };
            let changes = match what {
                generations::Purge::All => vec![Change::All],
                _ => read(&[(&what.field(), 1)]).since(&read(&[])),
            };
            changes.into_iter().map(purge_of).collect::<Vec<_>>()
        };
        let (tag, key) = (Tag::of("model", "a b"), Key::new([9; 32]));
        let said = generations::Purge::Tag(&tag.bytes()).field();
        assert_eq!(said.len(), 9);
        assert_eq!(all(&generations::Purge::All), [Purge::All]);
        assert_eq!(
            all(&generations::Purge::Tag(&tag.bytes())),
            [Purge::Tag(tag)]
        );
        assert_eq!(
            all(&generations::Purge::Key(key.bytes())),
            [Purge::Key(key)]
        );
        assert_eq!(all(&generations::Purge::Tag(b"odd")), [Purge::All]);
    }
}
