//! The idle upstream connections of a shard, per target address book.
//!
//! Last in, first out: the warmest connection is used first and the coldest age out.
//!
//! Invariants
//! - I1 Only a connection whose exchange ended cleanly is put here: its answer was read to
//!   the end, no byte was left over, both sides allowed keep-alive.
//! - I2 A connection on which anything arrived while it was idle (bytes or FIN) is never
//!   lent: an answer nobody asked for must not become the answer to the next request.
//! - I3 At most `idle_max` connections a target, none older than `age_max`, none idle for
//!   longer than `idle`.

use crate::base::bufpool::BufPool;
use crate::base::bytes::RxBuf;
use crate::base::time::Instant;
use crate::config::model::Pool as Settings;
use crate::host::Link;
use std::cell::{Cell, RefCell};
use std::task::{Context, Waker};

/// A pooled connection and its history.
#[derive(Debug)]
pub struct Pooled<L> {
    /// The connection.
    pub link: L,
    /// When it was opened.
    pub opened: Instant,
    /// Since when it is idle.
    idle_since: Instant,
}

/// The idle connections to one provider.
#[derive(Debug)]
pub struct Pool<L> {
    idle: RefCell<Vec<Pooled<L>>>,
    leased: Cell<usize>,
    settings: Cell<Settings>,
    is_retired: Cell<bool>,
}

impl<L: Link> Pool<L> {
    /// An empty pool.
    pub fn new(settings: Settings) -> Self {
        Self {
            idle: RefCell::default(),
            leased: Cell::new(0),
            settings: Cell::new(settings),
            is_retired: Cell::new(false),
        }
    }

    /// Other settings, from here on.
    pub fn set(&self, settings: Settings) {
        self.settings.set(settings);
    }

    /// Nobody leases from it any more: what it keeps and what comes back is closed.
    pub fn retire(&self) {
        self.is_retired.set(true);
        self.clear();
    }

    /// Idle connections.
    pub fn idle(&self) -> usize {
        self.idle.borrow().len()
    }

    /// Connections in use.
    pub fn leased(&self) -> usize {
        self.leased.get()
    }

    /// A connection left for use, fresh or reused.
    pub fn note_lease(&self) {
        self.leased.set(self.leased.get() + 1);
    }

    /// A connection in use was closed or came back.
    pub fn note_return(&self) {
        self.leased.set(self.leased.get().saturating_sub(1));
    }

    /// The warmest connection that is still silent and young enough; the others found on
    /// the way are closed.
    pub fn take(&self, now: Instant, buffers: &BufPool) -> Option<Pooled<L>> {
        loop {
            let mut found = self.idle.borrow_mut().pop()?;
            if self.is_fresh(&found, now) && is_silent(&mut found.link, buffers) {
                return Some(found);
            }
        }
    }

    /// Puts a connection back after a clean exchange (I1); closes it when the pool is full,
    /// it has lived long enough, or something has come over it already. It is read from now
    /// on: a host on completions learns only of what it has asked for, and at the next lease
    /// it would be too late to ask (I2).
    pub fn put(&self, mut link: L, opened: Instant, now: Instant, buffers: &BufPool) {
        if !is_silent(&mut link, buffers) {
            return;
        }
        let pooled = Pooled {
            link,
            opened,
            idle_since: now,
        };
        let mut idle = self.idle.borrow_mut();
        let has_room = !self.is_retired.get() && idle.len() < self.settings.get().idle_max;
        if has_room && self.is_fresh(&pooled, now) {
            idle.push(pooled);
        }
    }

    /// Closes what is too old or no longer silent; called on the shard's tick.
    pub fn sweep(&self, now: Instant, buffers: &BufPool) {
        self.idle.borrow_mut().retain_mut(|pooled| {
            self.is_fresh(pooled, now) && is_silent(&mut pooled.link, buffers)
        });
    }

    /// Closes all idle connections.
    pub fn clear(&self) {
        self.idle.borrow_mut().clear();
    }

    fn is_fresh(&self, pooled: &Pooled<L>, now: Instant) -> bool {
        now.since(pooled.idle_since) < self.settings.get().idle
            && now.since(pooled.opened) < self.settings.get().age_max
    }
}

/// I2: nothing has arrived, not even the end.
fn is_silent<L: Link>(link: &mut L, buffers: &BufPool) -> bool {
    let mut rx = RxBuf::new(buffers);
    link.poll_read(&mut Context::from_waker(Waker::noop()), &mut rx)
        .is_pending()
        && !link.holds_part()
}
