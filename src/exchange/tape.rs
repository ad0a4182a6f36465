//! An answer on its way that several listen to: what has come is kept, whoever wants more reads
//! for all.
//!
//! ```text
//!   provider ─► source ─► [ ■■■■■■■■■■■■■■■■ ]      what came, framing and all
//!                              ▲       ▲    ▲
//!                          player   player  player   each at its own pace; the hungry one reads
//! ```
//!
//! The client that caused the exchange is a player like any other: when it leaves, or stops
//! taking anything, the others go on. The connection is closed when nobody listens any more.
//!
//! Invariants
//! - T1 Every player sees every byte once and in order, whenever it joined.
//! - T2 Who waits is woken by what comes, whoever reads it; when the one leaves whose task the
//!   connection would wake, the others are woken to take its place.
//! - T3 A tape keeps whole what is at most `longest` bytes. Beyond, nobody may join any more, and
//!   what all players have is dropped: nothing of it will be stored.
//! - T4 The connection goes home only when a player has seen the clean end of the body.
//! - T5 Who would be woken by the connection next waits for it and for nothing else: of several
//!   nobody else asks it ([`Player::may_look`]).

use super::lease::{Lease, Reading};
use crate::base::alike::{Alike, Reader};
use crate::base::bufpool::BufPool;
use crate::base::bytes::RxBuf;
use crate::base::reel::Reel;
use crate::host::Host;
use smallvec::SmallVec;
use std::cell::RefCell;
use std::io;
use std::mem;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// Bytes that a player takes at a time of what is there already.
const GULP: usize = 64 << 10;

/// An answer that is being kept.
#[derive(Debug)]
pub struct Tape<H: Host>(RefCell<State<H>>);

/// In the order of use: an event of a stream finds it in a cold cache, line by line.
#[derive(Debug)]
#[repr(C)]
struct State<H: Host> {
    /// What came behind the head; of a tape that became too long the beginning is let go (T3).
    reel: Reel,
    longest: usize,
    /// The players; `None`: a place that is free.
    ears: SmallVec<[Option<Ear>; 1]>,
    /// Where more comes from, until it ended.
    source: Source<H>,
    /// It ended like this, if not cleanly.
    fault: Option<io::ErrorKind>,
}

#[derive(Debug)]
enum Source<H: Host> {
    /// A connection.
    Lease(Lease<H>),
    /// Another shard, which tells what it hears.
    Fed,
    /// It ended.
    Nothing,
}

#[derive(Debug)]
struct Ear {
    at: usize,
    waker: Option<Waker>,
    /// Stands where `at` is, or before; while that is the end only from [`State::put`] on.
    reader: Reader,
}

impl<H: Host> State<H> {
    fn new(pool: &BufPool, longest: usize, source: Source<H>) -> Self {
        Self {
            reel: Reel::new(pool),
            longest,
            ears: SmallVec::new(),
            source,
            fault: None,
        }
    }

    /// More comes; gives what it is, where that is known. Who has read it already is beyond the
    /// end.
    fn put(&mut self, bytes: &[u8]) -> Option<Alike> {
        let came = self.reel.came();
        for ear in self.ears.iter_mut().flatten() {
            if ear.at == came {
                ear.reader = self.reel.reader();
            }
        }
        self.reel.put(bytes)
    }

    /// The same, read from the source by `me`, who has it already.
    #[inline]
    fn put_read(&mut self, me: usize, bytes: &[u8]) -> Option<Alike> {
        if self.ears.len() == 1 {
            return self.reel.put(bytes);
        }
        let alike = self.put(bytes);
        self.wake_others(me); // T2
        alike
    }

    /// Something changed: everybody but `me` looks.
    fn wake_others(&self, me: usize) {
        for (index, ear) in self.ears.iter().enumerate() {
            if index != me
                && let Some(waker) = ear.as_ref().and_then(|ear| ear.waker.as_ref())
            {
                waker.wake_by_ref();
            }
        }
    }

    /// Drops what all players have, where the tape is too long (T3).
    #[inline]
    fn trim(&mut self) {
        if self.reel.came() > self.longest {
            self.let_go();
        }
    }

    #[inline(never)]
    fn let_go(&mut self) {
        let came = self.reel.came();
        let late = self.ears.iter().flatten().filter(|ear| ear.at < came);
        let needed = late.map(|ear| ear.reader.needs()).min();
        self.reel.let_go(needed.unwrap_or(usize::MAX));
    }
}

impl<H: Host> Tape<H> {
    /// What comes over `source`, from behind the head on, of which `first` is here already.
    /// Gives the first player, which has seen that.
    pub fn begin(source: Lease<H>, pool: &BufPool, first: &[u8], longest: usize) -> Player<H> {
        let mut state = State::new(pool, longest, Source::Lease(source));
        state.reel.put(first);
        Player::new(&Rc::new(Self(RefCell::new(state))), first.len())
    }

    /// One that another shard feeds, and who listens first. Its length is that shard's concern.
    pub fn fed(pool: &BufPool) -> Player<H> {
        let state = State::new(pool, usize::MAX, Source::Fed);
        Player::new(&Rc::new(Self(RefCell::new(state))), 0)
    }

    /// More of it.
    pub fn feed(&self, bytes: &[u8]) {
        let mut state = self.0.borrow_mut();
        state.put(bytes);
        state.wake_others(usize::MAX);
    }

    /// There is no more of it, and why if it did not end by itself.
    pub fn end_feed(&self, fault: Option<io::ErrorKind>) {
        let mut state = self.0.borrow_mut();
        state.source = Source::Nothing;
        state.fault = fault;
        state.wake_others(usize::MAX);
    }

    /// Another player, from the beginning; `None`: there is no beginning any more (T3).
    pub fn join(self: &Rc<Self>) -> Option<Player<H>> {
        self.is_whole_so_far().then(|| Player::new(self, 0))
    }

    /// Whether everything that came is still there.
    pub fn is_whole_so_far(&self) -> bool {
        let state = self.0.borrow();
        state.reel.came() <= state.longest && state.reel.is_whole()
    }

    /// Whether more may come, and who joins now gets all of it.
    pub fn goes_on(&self) -> bool {
        !matches!(self.0.borrow().source, Source::Nothing) && self.is_whole_so_far()
    }

    /// Whether it ended with a fault.
    pub fn is_broken(&self) -> bool {
        self.0.borrow().fault.is_some()
    }

    /// How many bytes came.
    pub fn len(&self) -> usize {
        self.0.borrow().reel.came()
    }

    /// Whether nothing came.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Calls `with` with everything that came, unless some of it was dropped.
    pub fn with_reel<T>(&self, with: impl FnOnce(&Reel) -> T) -> Option<T> {
        self.is_whole_so_far().then(|| with(&self.0.borrow().reel))
    }
}

/// Somebody who listens.
#[derive(Debug)]
pub struct Player<H: Host> {
    tape: Rc<Tape<H>>,
    ear: usize,
    /// What it has read last, where the tape knows that for an event like one before.
    alike: Option<Alike>,
}

impl<H: Host> Player<H> {
    fn new(tape: &Rc<Tape<H>>, at: usize) -> Self {
        let mut state = tape.0.borrow_mut();
        let ear = Some(Ear {
            at,
            waker: None,
            reader: Reader::default(),
        });
        let free = state.ears.iter().position(Option::is_none);
        let place = free.unwrap_or(state.ears.len());
        match state.ears.get_mut(place) {
            Some(room) => *room = ear,
            None => state.ears.push(ear),
        }
        Self {
            tape: Rc::clone(tape),
            ear: place,
            alike: None,
        }
    }

    /// What this player's last [`Player::poll_read`] read, where the tape knows it for an event
    /// like one before.
    pub fn take_alike(&mut self) -> Option<Alike> {
        self.alike.take()
    }

    /// What it listens to.
    pub fn tape(&self) -> &Rc<Tape<H>> {
        &self.tape
    }

    /// Whether somebody may [`Player::poll_read`] who will wait for something else if nothing is
    /// here (T5): for its client, which may take nothing for long.
    pub fn may_look(&self) -> bool {
        let state = self.tape.0.borrow();
        let is_behind = |ear: &Ear| ear.at < state.reel.came();
        let ear = state.ears.get(self.ear).and_then(Option::as_ref);
        state.ears.len() == 1 || ear.is_some_and(is_behind)
    }

    /// Reads more into `rx`, as a connection would: `Ok(0)` at its end.
    pub fn poll_read(
        &mut self,
        reading: Reading,
        cx: &mut Context<'_>,
        rx: &mut RxBuf,
    ) -> Poll<io::Result<usize>> {
        let state = &mut *self.tape.0.borrow_mut();
        let end = state.reel.came();
        let Some(Some(ear)) = state.ears.get_mut(self.ear) else {
            return Poll::Ready(Ok(0));
        };
        if ear.at < end {
            let count = state.reel.copy(&mut ear.reader, ear.at, GULP, rx);
            ear.at += count;
            self.alike = None;
            state.trim();
            return Poll::Ready(Ok(count));
        }
        let read = match &mut state.source {
            Source::Lease(lease) => lease.poll_read_for(reading, cx, rx),
            Source::Fed => Poll::Pending,
            Source::Nothing => {
                return Poll::Ready(state.fault.map_or(Ok(0), |kind| Err(kind.into())));
            }
        };
        match read {
            Poll::Pending => {
                let is_known = |waker: &Waker| waker.will_wake(cx.waker());
                if !ear.waker.as_ref().is_some_and(is_known) {
                    ear.waker = Some(cx.waker().clone());
                }
                Poll::Pending
            }
            Poll::Ready(Ok(count @ 1..)) => {
                let data = rx.data();
                let fresh = data.get(data.len().saturating_sub(count)..);
                ear.at = end + count;
                self.alike = state.put_read(self.ear, fresh.unwrap_or_default());
                state.trim();
                Poll::Ready(Ok(count))
            }
            Poll::Ready(ended) => {
                state.source = Source::Nothing;
                state.fault = ended.as_ref().err().map(io::Error::kind);
                state.wake_others(self.ear);
                Poll::Ready(ended)
            }
        }
    }

    /// The body ended cleanly, as this player has seen: its connection may be used again (T4).
    pub fn give_back(&mut self) {
        let mut state = self.tape.0.borrow_mut();
        if let Source::Lease(mut lease) = mem::replace(&mut state.source, Source::Nothing) {
            lease.give_back();
            state.wake_others(self.ear);
        }
    }
}

impl<H: Host> Drop for Player<H> {
    fn drop(&mut self) {
        let mut state = self.tape.0.borrow_mut();
        if let Some(place) = state.ears.get_mut(self.ear) {
            *place = None;
        }
        state.trim();
        if let Source::Lease(_) = state.source {
            state.wake_others(self.ear); // T2
        }
    }
}
