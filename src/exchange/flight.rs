//! Identical requests in flight share one exchange with a provider.
//!
//! ```text
//!   first ── leads ──► attempts ──► content ─► tape ─┬─► first
//!   same again ── follows ── waits ────────────────► ├─► from its beginning, then live
//!                                                    └─► …
//! ```
//!
//! Who leads makes attempts as if it were alone. What it delivers in the end, an answer or a
//! provider's last refusal, is what the others get from the [`Tape`]; of attempts before that
//! they see nothing. A fault that ends the leader's exchange ends theirs.
//!
//! The leader's client may leave before there is an answer: the attempts go on for the others who
//! wait, its [`Crowd`], and are called off when the last of them leaves
//! ([`super::down::Down::wait`]). Where others may be on their way from other shards, those are
//! asked first ([`super::parting`]): that question is one of the crowd, too.
//!
//! Invariants
//! - L1 Who leads goes on while anybody waits, whether its own client does or not. Of those that
//!   come to wait in the moment in which it leaves nevertheless one leads next.
//! - L2 A flight ends with the last who knows of it; its tape, and with it the connection, too.
//! - L3 The last one asks who is on the way ([`Flight::part`], [`Crowd::poll_empty`]), and again
//!   if anybody came meanwhile.
//! - L4 Nobody follows a flight that began before a purge that was known when it asked: what comes
//!   of it is stored as of then, by whoever sees its end.

use super::shared::Shared;
use super::tape::Tape;
use crate::base::fault::Kind;
use crate::cache::key::Key;
use crate::host::Host;
use crate::wire::http1::Framing;
use ahash::AHashMap;
use std::cell::{Cell, OnceCell, RefCell};
use std::fmt;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

/// The flights of a shard.
#[derive(Debug)]
pub struct Flights<H: Host>(RefCell<AHashMap<Key, Weak<Flight<H>>>>);

impl<H: Host> Default for Flights<H> {
    fn default() -> Self {
        Self(RefCell::default())
    }
}

impl<H: Host> Flights<H> {
    /// The flight of `key` that is under way [then](When), or since; else a new one, which the
    /// caller leads.
    pub fn board(&self, key: Key, when: When) -> (Rc<Flight<H>>, bool) {
        if let Some(flight) = self.find(&key, when) {
            return (flight, false);
        }
        let flight = Flight::alone(when);
        self.0.borrow_mut().insert(key, Rc::downgrade(&flight));
        (flight, true)
    }

    /// The flight of `key` that is under way [then](When), or since (L4).
    pub fn find(&self, key: &Key, when: When) -> Option<Rc<Flight<H>>> {
        let found = self.0.borrow().get(key).and_then(Weak::upgrade);
        let is_new = |began: When| began.epoch == when.epoch && began.born >= when.born;
        found.filter(|flight| is_new(flight.began) && flight.is_open())
    }

    /// Forgets those that are over.
    pub fn sweep(&self) {
        let mut flights = self.0.borrow_mut();
        flights.retain(|_, flight| flight.strong_count() > 0);
    }

    /// One that somebody knows of, if there is any.
    pub fn find_any(&self) -> Option<Rc<Flight<H>>> {
        self.0.borrow().values().find_map(Weak::upgrade)
    }
}

/// When something was asked for.
#[derive(Clone, Copy, Debug)]
pub struct When {
    /// In which snapshot.
    pub epoch: u64,
    /// The purges that were known ([`crate::cache::index::Index::generation`]).
    pub born: u64,
}

/// One exchange with a provider, for several clients.
#[derive(Debug)]
pub struct Flight<H: Host> {
    stage: RefCell<Stage<H>>,
    wakers: RefCell<Vec<Waker>>,
    crowd: OnceCell<Rc<Crowd>>,
    began: When,
    ticket: Cell<u64>,
    is_stored: Cell<bool>,
    is_spoilt: Cell<bool>,
    shared: OnceCell<Shared<H>>,
    at_end: RefCell<Option<AtEnd>>,
}

/// What is done when nobody knows of a flight any more.
struct AtEnd(Box<dyn FnOnce()>);

impl fmt::Debug for AtEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AtEnd")
    }
}

impl<H: Host> Drop for Flight<H> {
    fn drop(&mut self) {
        if let Some(AtEnd(act)) = self.at_end.take() {
            act();
        }
    }
}

/// Those who wait for what a flight comes to, beside who leads it.
#[derive(Debug, Default)]
pub struct Crowd {
    count: Cell<usize>,
    /// The leader, when its client is gone.
    leader: RefCell<Option<Waker>>,
    /// Where others may be on the way: asks them, and waits as one of the crowd meanwhile.
    door: OnceCell<Door>,
    /// They were asked, and nobody has come since.
    is_free: Cell<bool>,
}

/// Begins to ask who is on the way; whether it does.
struct Door(Box<dyn Fn() -> bool>);

impl fmt::Debug for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Door")
    }
}

/// One of a [`Crowd`], until it is dropped.
#[derive(Debug)]
pub struct Waiting(Rc<Crowd>);

impl Crowd {
    /// One more waits.
    pub fn join(self: &Rc<Self>) -> Waiting {
        self.count.set(self.count.get() + 1);
        self.is_free.set(false);
        Waiting(Rc::clone(self))
    }

    /// The same for the question who is on the way, which does not count as somebody who came.
    pub fn join_to_ask(self: &Rc<Self>) -> Waiting {
        let waiting = self.join();
        self.is_free.set(true);
        waiting
    }

    /// Others may be on the way: `ask` begins to ask them, if it can.
    pub fn set_door(&self, ask: impl Fn() -> bool + 'static) {
        self.door.get_or_init(|| Door(Box::new(ask))); // who leads does so once
    }

    /// Nobody is here: whether those are asked first who may be on the way (L3).
    fn asks(&self) -> bool {
        !self.is_free.get() && self.door.get().is_some_and(|Door(ask)| ask())
    }

    /// Ready when nobody waits, or nobody does any more, and nobody is on the way.
    pub fn poll_empty(&self, cx: &Context<'_>) -> Poll<()> {
        if self.count.get() == 0 && !self.asks() {
            return Poll::Ready(());
        }
        *self.leader.borrow_mut() = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let Crowd { count, leader, .. } = &*self.0;
        count.set(count.get().saturating_sub(1));
        if count.get() == 0
            && let Some(leader) = leader.take()
        {
            leader.wake();
        }
    }
}

#[derive(Debug)]
enum Stage<H: Host> {
    /// For what the leader's attempts come to.
    Waiting,
    /// Everybody may listen.
    Comes(Rc<Coming<H>>),
    /// There is no answer, and why.
    Failed(Kind),
    /// The leader left without one.
    Over,
}

/// What a flight came to.
#[derive(Debug)]
pub enum Landed<H: Host> {
    /// An answer.
    Comes(Rc<Coming<H>>),
    /// There is none.
    Failed(Kind),
    /// Whoever still wants one has to see to it (L1).
    Over,
}

/// An answer on its way, and what is known of it.
#[derive(Debug)]
pub struct Coming<H: Host> {
    /// What comes behind the head.
    pub tape: Rc<Tape<H>>,
    /// Its head.
    pub head: Head,
    /// Whether the connection may be used again.
    pub is_reusable: bool,
}

impl<H: Host> Coming<H> {
    /// Whether it is of use to those who come now: what is refused or broke off is for those who
    /// were there then.
    fn is_open(&self) -> bool {
        self.head.status < 400 && !self.tape.is_broken() && self.tape.is_whole_so_far()
    }
}

/// The head of an answer, as far as it concerns everybody who listens, and who answers.
#[derive(Clone, Debug)]
pub struct Head {
    /// As it would be sent.
    pub bytes: Arc<[u8]>,
    /// How the body is framed on the tape.
    pub framing: Framing,
    /// Its status.
    pub status: u16,
    /// Its media type.
    pub media: Arc<str>,
    /// Whether it is a stream.
    pub is_stream: bool,
    /// Index of the model that answers.
    pub model_index: usize,
    /// Place of its target there.
    pub target_index: usize,
}

impl<H: Host> Flight<H> {
    /// One that nobody else knows of.
    pub fn alone(began: When) -> Rc<Self> {
        Rc::new(Self {
            stage: RefCell::new(Stage::Waiting),
            wakers: RefCell::default(),
            crowd: OnceCell::new(),
            began,
            ticket: Cell::new(0),
            is_stored: Cell::new(false),
            is_spoilt: Cell::new(false),
            shared: OnceCell::new(),
            at_end: RefCell::default(),
        })
    }

    /// When it began.
    pub const fn began(&self) -> When {
        self.began
    }

    /// Where else what comes of it is stored; `None`: nowhere.
    pub fn shared(&self) -> Option<&Shared<H>> {
        self.shared.get()
    }

    /// It is stored there, too. Who leads says so once, before it asks.
    pub fn set_shared(&self, shared: Shared<H>) {
        self.shared.get_or_init(|| shared);
    }

    /// What its shard asked with who leads; 0: nobody was asked.
    pub fn ticket(&self) -> u64 {
        self.ticket.get()
    }

    /// Its shard asks with this who leads.
    pub fn set_ticket(&self, ticket: u64) {
        self.ticket.set(ticket);
    }

    /// `act` is called when nobody knows of it any more.
    pub fn at_end(&self, act: impl FnOnce() + 'static) {
        *self.at_end.borrow_mut() = Some(AtEnd(Box::new(act)));
    }

    /// Who waits for what it comes to, beside who leads it.
    pub fn crowd(&self) -> &Rc<Crowd> {
        self.crowd.get_or_init(Rc::default)
    }

    /// Whether it is of use to those who come now.
    fn is_open(&self) -> bool {
        match &*self.stage.borrow() {
            Stage::Waiting => true,
            Stage::Comes(coming) => !self.is_spoilt.get() && coming.is_open(),
            Stage::Failed(_) | Stage::Over => false,
        }
    }

    /// Whether more of an answer is to come, and who joins now gets all of it.
    fn goes_on(&self) -> bool {
        !self.is_stored.get()
            && matches!(&*self.stage.borrow(), Stage::Comes(coming) if coming.tape.goes_on())
    }

    /// One who knows of it is about to leave. If that is the last one and an answer is under way,
    /// it goes on until it is known whether anybody is on the way (L3).
    pub fn part(self: &Rc<Self>) {
        if Rc::strong_count(self) == 1
            && self.goes_on()
            && let Some(crowd) = self.crowd.get()
        {
            crowd.asks();
        }
    }

    /// Whether nothing has come of it.
    fn is_waiting(&self) -> bool {
        matches!(*self.stage.borrow(), Stage::Waiting)
    }

    /// Whether the leader left without an answer.
    pub fn is_over(&self) -> bool {
        matches!(*self.stage.borrow(), Stage::Over)
    }

    /// The leader delivers this.
    pub fn comes(&self, coming: Rc<Coming<H>>) {
        self.land(Stage::Comes(coming));
    }

    /// The leader's exchange ended with a fault.
    pub fn fail(&self, kind: Kind) {
        self.land(Stage::Failed(kind));
    }

    /// The leader is gone.
    pub fn leave(&self) {
        self.land(Stage::Over);
    }

    /// The first landing counts.
    fn land(&self, stage: Stage<H>) {
        if !self.is_waiting() {
            return;
        }
        *self.stage.borrow_mut() = stage;
        for waker in self.wakers.take() {
            waker.wake();
        }
    }

    /// What it came to.
    pub fn poll_landed(&self, cx: &Context<'_>) -> Poll<Landed<H>> {
        Poll::Ready(match &*self.stage.borrow() {
            Stage::Waiting => {
                let mut wakers = self.wakers.borrow_mut();
                if !wakers.iter().any(|waker| waker.will_wake(cx.waker())) {
                    wakers.push(cx.waker().clone());
                }
                return Poll::Pending;
            }
            Stage::Comes(coming) => Landed::Comes(Rc::clone(coming)),
            Stage::Failed(kind) => Landed::Failed(*kind),
            Stage::Over => Landed::Over,
        })
    }

    /// What comes of it is no whole answer, as who leads has found: nobody joins any more.
    pub fn spoil(&self) {
        self.is_spoilt.set(true);
    }

    /// Whether the caller is the first to see the end of the answer: it stores it.
    pub fn claim_storing(&self) -> bool {
        !self.is_stored.replace(true)
    }
}
