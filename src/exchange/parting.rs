//! Before an exchange is called off: who is on the way to it from another shard?
//!
//! ```text
//!   L, where the last one leaves     A, on which somebody asks right now who leads
//!     Part ───────────────────────────►  (to every other shard)
//!                                        … the home says: L
//!     ◄──────────────────────── Listen ─
//!     ◄──────────────────────── Passed ─  at once where nobody asks for this key
//! ```
//!
//! Between two shards letters keep their order: when all have passed, everybody who had asked when
//! its shard heard of it is here, or is not coming. Meanwhile the exchange goes on, the question
//! being one of its crowd; who comes meanwhile keeps it, and if that one leaves, too, they are
//! asked again. Where a stream is under way nobody reads it meanwhile, and who comes gets all of
//! it.
//!
//! Only who leads for other shards, too, asks them, and only when its exchange would be called off
//! otherwise: never of an answer that has come to its end.
//!
//! Invariants
//! - D1 While anybody waits who had asked a home before the last one left, there is no second
//!   exchange. Not promised: for who asks from another snapshot, in the moment of a reload; and for
//!   who has still to be told of an answer that ended ([`super::keep`] gives that 100 ms).
//! - D2 It lasts [`HOME_WAIT`] at most: a shard that hangs holds no exchange open. Nor is anybody
//!   asked when the time of exchanges is over.

use super::ferry::{HOME_WAIT, Hail};
use super::flight::Flight;
use crate::cache::key::Key;
use crate::host::Host;
use crate::shard::Shard;
use crate::shard::serve::guarded;
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};

/// A question to the other shards.
#[derive(Debug)]
pub struct Parting {
    /// How many have not answered.
    left: Cell<usize>,
    waker: RefCell<Option<Waker>>,
}

impl Parting {
    /// One more has answered.
    pub fn passed(&self) {
        self.left.set(self.left.get().saturating_sub(1));
        if self.left.get() == 0
            && let Some(waker) = self.waker.take()
        {
            waker.wake();
        }
    }
}

/// From here on, the exchange of `flight`, which leads for `key`, is called off only after the
/// others were asked.
pub fn watch<H: Host>(shard: &Rc<Shard<H>>, key: Key, flight: &Rc<Flight<H>>) {
    let (mine, weak) = (Rc::clone(shard), Rc::downgrade(flight));
    flight.crowd().set_door(move || {
        let flight = weak.upgrade().filter(|_| !mine.is_over()); // D2
        flight.is_some_and(|flight| {
            ask(&mine, key, flight);
            true
        })
    });
}

/// Asks the others who is on the way to `flight`, and keeps it until they have answered.
fn ask<H: Host>(shard: &Rc<Shard<H>>, key: Key, flight: Rc<Flight<H>>) {
    let waiting = flight.crowd().join_to_ask();
    let (ferries, own) = (&shard.ferries, shard.index);
    let ticket = ferries.ticket();
    let parting = Rc::new(Parting {
        left: Cell::new(shard.shards - 1),
        waker: RefCell::default(),
    });
    let partings = &ferries.partings;
    partings.borrow_mut().insert(ticket, Rc::clone(&parting));
    for to in (0..shard.shards).filter(|to| *to != own) {
        shard.mail.post(to, Hail::Part { key, ticket });
    }
    let mine = Rc::clone(shard);
    guarded(shard, async move {
        let timer = mine.deadlines.timer();
        timer.arm(mine.host.now() + HOME_WAIT);
        poll_fn(|cx| {
            if parting.left.get() == 0 {
                return Poll::Ready(());
            }
            *parting.waker.borrow_mut() = Some(cx.waker().clone());
            timer.poll_fired(cx)
        })
        .await;
        mine.ferries.partings.borrow_mut().remove(&ticket);
        drop(waiting);
        flight.part(); // somebody may have come and left meanwhile
    });
}
