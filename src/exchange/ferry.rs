//! Flights of other shards: one exchange for identical requests, on whichever shard they arrive.
//!
//! ```text
//!   shard A          home of the key          shard L, which leads
//!     Board ──────────────►│                         the first to ask its home leads
//!     ◄───── Boarded(L) ───┘
//!     Listen ─────────────────────────────────────►  a porter listens to the flight for A
//!     ◄──────────────── Head, Bytes, Bytes, End ───
//!     Leave ──────────────────────────────────────►  nobody on A listens any more
//! ```
//!
//! The home knows one thing of a key: who leads, a shard and the ticket that it asked with
//! ([`Lead`]). A shard that it names, and that does not lead any more, says so; the listener tells
//! the home (`Landed`, as the leader itself does, whichever letter is there first), and asks again.
//! A leader that would leave asks first who is on the way to it: [`super::parting`].
//!
//! Invariants
//! - Y1 Of two shards that ask at once one leads.
//! - Y2 Bytes come in order and are all of them, or the tape that they are for ends with a fault.
//! - Y3 Who gets no answer from the home within [`HOME_WAIT`] leads: an exchange too many is better
//!   than a request that waits for a shard which hangs.
//! - Y4 Nobody listens to a flight that listens itself: a ticket leads, or it does not.

use super::flight::{Coming, Flight, Head, Landed, Waiting, When};
use super::lease::Reading;
use super::parting::{self, Parting};
use super::tape::Tape;
use crate::base::bytes::RxBuf;
use crate::base::fault::Kind;
use crate::cache::key::Key;
use crate::host::Host;
use crate::shard::Shard;
use crate::shard::serve::guarded;
use ahash::AHashMap;
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// How long another shard may take to answer.
pub const HOME_WAIT: Duration = Duration::from_secs(1);

/// What shards tell each other of flights. A ticket is the listener's name for what it asked for.
#[derive(Debug)]
pub enum Hail {
    /// To the home: may I lead?
    Board {
        /// What is asked for.
        key: Key,
        /// The asker's name for this.
        ticket: u64,
    },
    /// From the home: this shard leads.
    Boarded {
        /// As asked.
        ticket: u64,
        /// Which, and as what.
        lead: Lead,
    },
    /// To the home: this one does not lead any more.
    Landed {
        /// What was asked for.
        key: Key,
        /// Which.
        lead: Lead,
    },
    /// To the leader: tell me everything.
    Listen {
        /// What is asked for.
        key: Key,
        /// When.
        when: When,
        /// The ticket under which it leads.
        lead: u64,
        /// The listener's name for this.
        ticket: u64,
    },
    /// To the leader: nobody listens any more.
    Leave {
        /// As listened.
        ticket: u64,
    },
    /// From the leader: an answer begins.
    Head {
        /// As listened.
        ticket: u64,
        /// How.
        head: Head,
    },
    /// From the leader: it goes on.
    Bytes {
        /// As listened.
        ticket: u64,
        /// What came.
        bytes: Arc<[u8]>,
    },
    /// From the leader: that was all.
    End {
        /// As listened.
        ticket: u64,
        /// What it was.
        end: End,
    },
    /// To all: the exchange for this is called off unless somebody is on the way to it.
    Part {
        /// What was asked for.
        key: Key,
        /// The leader's name for this.
        ticket: u64,
    },
    /// To the leader: of those who asked here before, nobody is any more.
    Passed {
        /// As asked.
        ticket: u64,
    },
}

/// Who leads: a shard, and its ticket for what it asked the home.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lead {
    /// Which shard.
    pub shard: usize,
    /// A new one each time that it asks.
    pub ticket: u64,
}

/// How a flight ended, as its leader tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The connection ended: what came is all that there is.
    Closed,
    /// It broke.
    Broken(io::ErrorKind),
    /// There was no answer.
    Failed(Kind),
    /// The leader left, or never was one.
    Over,
}

/// What a shard knows of flights elsewhere.
#[derive(Debug)]
pub struct Ferries<H: Host> {
    /// Who leads, of the keys whose home this is.
    leaders: RefCell<AHashMap<Key, Lead>>,
    /// What was asked of homes and is not answered yet.
    asked: RefCell<AHashMap<u64, Rc<Verdict>>>,
    /// What was asked before exchanges are called off.
    pub(super) partings: RefCell<AHashMap<u64, Rc<Parting>>>,
    /// What is listened to.
    listened: RefCell<AHashMap<u64, Ferry<H>>>,
    /// Who is listened for.
    porters: RefCell<AHashMap<(usize, u64), Rc<Porter>>>,
    tickets: Cell<u64>,
}

#[derive(Debug)]
struct Ferry<H: Host> {
    key: Key,
    lead: Lead,
    flight: Weak<Flight<H>>,
    tape: Option<Weak<Tape<H>>>,
}

#[derive(Debug)]
struct Verdict {
    key: Key,
    lead: Cell<Option<Lead>>,
    waker: RefCell<Option<Waker>>,
    /// Leaders that wait for what comes of it: shards and their tickets.
    partings: RefCell<Vec<(usize, u64)>>,
}

/// Somebody asks a home who leads, and goes there; dropped when that is done.
struct Asking<'a, H: Host> {
    shard: &'a Shard<H>,
    ticket: u64,
    verdict: Rc<Verdict>,
}

impl<H: Host> Drop for Asking<'_, H> {
    fn drop(&mut self) {
        self.shard.ferries.asked.borrow_mut().remove(&self.ticket);
        for (to, ticket) in self.verdict.partings.take() {
            self.shard.mail.post(to, Hail::Passed { ticket });
        }
    }
}

#[derive(Debug, Default)]
struct Porter {
    is_over: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl<H: Host> Default for Ferries<H> {
    fn default() -> Self {
        Self {
            leaders: RefCell::default(),
            asked: RefCell::default(),
            partings: RefCell::default(),
            listened: RefCell::default(),
            porters: RefCell::default(),
            tickets: Cell::new(0),
        }
    }
}

impl<H: Host> Ferries<H> {
    pub(super) fn ticket(&self) -> u64 {
        self.tickets.set(self.tickets.get() + 1);
        self.tickets.get()
    }

    /// Who leads `key` from now on, when `asker` asks its home.
    fn leader(&self, key: Key, asker: Lead) -> Lead {
        let mut leaders = self.leaders.borrow_mut();
        let lead = leaders.entry(key).or_insert(asker);
        if lead.shard == asker.shard {
            *lead = asker; // who comes there finds its newest flight
        }
        *lead
    }

    /// `lead` does not lead `key` any more.
    fn landed(&self, key: &Key, lead: Lead) {
        let mut leaders = self.leaders.borrow_mut();
        if leaders.get(key) == Some(&lead) {
            leaders.remove(key);
        }
    }

    /// Flights that homes have given away, that homes are asked for, that are listened to, that are
    /// listened to from elsewhere, and that may be called off.
    pub fn counts(&self) -> [usize; 5] {
        [
            self.leaders.borrow().len(),
            self.asked.borrow().len(),
            self.listened.borrow().len(),
            self.porters.borrow().len(),
            self.partings.borrow().len(),
        ]
    }

    /// Shard `from` would call its exchange for `key` off: whether nobody here asks for that now.
    /// If somebody does, it hears when that one has come to it, or gone elsewhere.
    fn passes(&self, from: usize, key: &Key, ticket: u64) -> bool {
        let asked = self.asked.borrow();
        match asked.values().find(|verdict| verdict.key == *key) {
            Some(verdict) => {
                verdict.partings.borrow_mut().push((from, ticket));
                false
            }
            None => true,
        }
    }
}

/// Whether this shard leads the fresh `flight` of `key`; if not, another one does, and tells it
/// everything from here on.
pub async fn leads<H: Host>(shard: &Rc<Shard<H>>, key: Key, flight: &Rc<Flight<H>>) -> bool {
    if shard.shards < 2 {
        return true;
    }
    let (own, home) = (shard.index, key.home(shard.shards));
    let ticket = shard.ferries.ticket();
    let me = Lead { shard: own, ticket };
    flight.set_ticket(ticket); // who is told of it may be here before we are
    let (lead, _asking) = if home == own {
        (shard.ferries.leader(key, me), None)
    } else {
        let (lead, asking) = ask_home(shard, home, key, me).await;
        (lead, Some(asking))
    };
    if lead.shard == own {
        let mine = Rc::clone(shard);
        flight.at_end(move || landed(&mine, key, me));
        parting::watch(shard, key, flight);
        return true;
    }
    let ferry = Ferry {
        key,
        lead,
        flight: Rc::downgrade(flight),
        tape: None,
    };
    shard.ferries.listened.borrow_mut().insert(ticket, ferry);
    let (leader, when, lead) = (lead.shard, flight.began(), lead.ticket);
    shard.mail.post(
        leader,
        Hail::Listen {
            key,
            when,
            lead,
            ticket,
        },
    );
    let mine = Rc::clone(shard);
    flight.at_end(move || {
        if mine.ferries.listened.borrow_mut().remove(&ticket).is_some() {
            mine.mail.post(leader, Hail::Leave { ticket });
        }
    });
    false
}

/// Tells its home that `lead` does not lead `key` any more.
fn landed<H: Host>(shard: &Shard<H>, key: Key, lead: Lead) {
    let home = key.home(shard.shards);
    if home == shard.index {
        shard.ferries.landed(&key, lead);
    } else {
        shard.mail.post(home, Hail::Landed { key, lead });
    }
}

/// Who leads, as the home says (Y3).
async fn ask_home<H: Host>(
    shard: &Rc<Shard<H>>,
    home: usize,
    key: Key,
    me: Lead,
) -> (Lead, Asking<'_, H>) {
    let verdict = Rc::new(Verdict {
        key,
        lead: Cell::new(None),
        waker: RefCell::default(),
        partings: RefCell::default(),
    });
    let ticket = me.ticket;
    let asked = &shard.ferries.asked;
    asked.borrow_mut().insert(ticket, Rc::clone(&verdict));
    let asking = Asking {
        shard,
        ticket,
        verdict,
    };
    shard.mail.post(home, Hail::Board { key, ticket });
    let timer = shard.deadlines.timer();
    timer.arm(shard.host.now() + HOME_WAIT);
    let lead = poll_fn(|cx| {
        if let Some(lead) = asking.verdict.lead.get() {
            return Poll::Ready(lead);
        }
        *asking.verdict.waker.borrow_mut() = Some(cx.waker().clone());
        timer.poll_fired(cx).map(|()| me)
    })
    .await;
    (lead, asking)
}

/// Hears what shard `from` says.
pub fn hear<H: Host>(shard: &Rc<Shard<H>>, from: usize, hail: Hail) {
    let ferries = &shard.ferries;
    match hail {
        Hail::Board { key, ticket } => {
            let asker = Lead {
                shard: from,
                ticket,
            };
            let lead = ferries.leader(key, asker);
            shard.mail.post(from, Hail::Boarded { ticket, lead });
        }
        Hail::Boarded { ticket, lead } => {
            let verdict = ferries.asked.borrow().get(&ticket).cloned();
            if let Some(verdict) = verdict {
                verdict.lead.set(Some(lead));
                if let Some(waker) = verdict.waker.take() {
                    waker.wake();
                }
            }
        }
        Hail::Landed { key, lead } => ferries.landed(&key, lead),
        Hail::Listen {
            key,
            when,
            lead,
            ticket,
        } => {
            let flight = shard.flights.find(&key, when);
            let flight = flight.filter(|flight| flight.ticket() == lead); // Y4
            listen(shard, (from, ticket), flight);
        }
        Hail::Leave { ticket } => {
            let porter = ferries.porters.borrow_mut().remove(&(from, ticket));
            if let Some(porter) = porter {
                porter.is_over.set(true);
                if let Some(waker) = porter.waker.take() {
                    waker.wake();
                }
            }
        }
        Hail::Head { ticket, head } => begins(shard, ticket, &head),
        Hail::Bytes { ticket, bytes } => {
            if let Some(tape) = ferries.tape_of(ticket) {
                tape.feed(&bytes);
            }
        }
        Hail::End { ticket, end } => ends(shard, ticket, end),
        Hail::Part { key, ticket } => {
            if ferries.passes(from, &key, ticket) {
                shard.mail.post(from, Hail::Passed { ticket });
            }
        }
        Hail::Passed { ticket } => {
            let parting = ferries.partings.borrow().get(&ticket).cloned();
            if let Some(parting) = parting {
                parting.passed();
            }
        }
    }
}

/// A porter carries what comes of `flight`, if there is one, to the listener `(shard, ticket)`.
fn listen<H: Host>(shard: &Rc<Shard<H>>, to: (usize, u64), flight: Option<Rc<Flight<H>>>) {
    let (from, ticket) = to;
    let Some(flight) = flight else {
        let end = End::Over;
        return shard.mail.post(from, Hail::End { ticket, end });
    };
    let porter = Rc::new(Porter::default());
    let porters = &shard.ferries.porters;
    porters.borrow_mut().insert(to, Rc::clone(&porter));
    let (mine, waiting) = (Rc::clone(shard), flight.crowd().join());
    guarded(shard, async move {
        let end = carry(&mine, (&flight, waiting), &porter, to).await;
        mine.ferries.porters.borrow_mut().remove(&to);
        if !porter.is_over.get() {
            mine.mail.post(from, Hail::End { ticket, end });
        }
        flight.part();
    });
}

/// An answer begins that is listened to.
fn begins<H: Host>(shard: &Shard<H>, ticket: u64, head: &Head) {
    let ferries = &shard.ferries;
    let Some(flight) = ferries.of(ticket) else {
        return;
    };
    let player = Tape::fed(&shard.buffers);
    if let Some(ferry) = ferries.listened.borrow_mut().get_mut(&ticket) {
        ferry.tape = Some(Rc::downgrade(player.tape()));
    }
    flight.comes(Rc::new(Coming {
        tape: Rc::clone(player.tape()),
        head: head.clone(),
        is_reusable: false,
    }));
}

/// What is listened to ended.
fn ends<H: Host>(shard: &Shard<H>, ticket: u64, end: End) {
    let ferries = &shard.ferries;
    let (tape, flight) = (ferries.tape_of(ticket), ferries.of(ticket));
    let ferry = ferries.listened.borrow_mut().remove(&ticket);
    if end == End::Over
        && let Some(Ferry { key, lead, .. }) = ferry
    {
        landed(shard, key, lead); // before anybody here asks again
    }
    if let Some(tape) = tape {
        tape.end_feed(match end {
            End::Closed => None,
            End::Broken(kind) => Some(kind),
            End::Failed(_) | End::Over => Some(io::ErrorKind::ConnectionAborted),
        });
    }
    if let Some(flight) = flight {
        match end {
            End::Failed(kind) => flight.fail(kind),
            _ => flight.leave(), // unless something came of it
        }
    }
}

impl<H: Host> Ferries<H> {
    fn of(&self, ticket: u64) -> Option<Rc<Flight<H>>> {
        self.listened.borrow().get(&ticket)?.flight.upgrade()
    }

    fn tape_of(&self, ticket: u64) -> Option<Rc<Tape<H>>> {
        let listened = self.listened.borrow();
        listened.get(&ticket)?.tape.as_ref()?.upgrade()
    }
}

/// Listens to `flight` for another shard, until that one leaves.
async fn carry<H: Host>(
    shard: &Rc<Shard<H>>,
    (flight, waiting): (&Rc<Flight<H>>, Waiting),
    porter: &Porter,
    (to, ticket): (usize, u64),
) -> End {
    let landed = poll_fn(|cx| {
        if porter.poll_over(cx).is_ready() {
            return Poll::Ready(Landed::Over);
        }
        flight.poll_landed(cx)
    });
    let landed = landed.await;
    drop(waiting);
    let coming = match landed {
        Landed::Comes(coming) => coming,
        Landed::Failed(kind) => return End::Failed(kind),
        Landed::Over => return End::Over,
    };
    let Some(mut player) = coming.tape.join() else {
        return End::Over;
    };
    let head = coming.head.clone();
    shard.mail.post(to, Hail::Head { ticket, head });
    let mut rx = RxBuf::new(&shard.buffers);
    loop {
        let read = poll_fn(|cx| match porter.poll_over(cx) {
            Poll::Ready(()) => Poll::Ready(Ok(0)),
            Poll::Pending => player.poll_read(Reading::Collected, cx, &mut rx),
        });
        match read.await {
            Ok(0) => return End::Closed,
            Ok(_) => {}
            Err(error) => return End::Broken(error.kind()),
        }
        // Not before: who waits for room must not be who is woken by more (T5 of the tape).
        let room = poll_fn(|cx| match porter.poll_over(cx) {
            Poll::Ready(()) => Poll::Ready(()),
            Poll::Pending => shard.mail.poll_room(to, cx),
        });
        room.await;
        let bytes = rx.data().into();
        rx.clear();
        shard.mail.post(to, Hail::Bytes { ticket, bytes });
    }
}

impl Porter {
    fn poll_over(&self, cx: &Context<'_>) -> Poll<()> {
        if self.is_over.get() {
            return Poll::Ready(());
        }
        let mut waker = self.waker.borrow_mut();
        if !waker.as_ref().is_some_and(|it| it.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
        Poll::Pending
    }
}
