//! One pipelined connection: many calls on their way, replies matched to them in order.
//!
//! ```text
//!   send ──► out ──flush──► server ──read──► Scanner ──► first call that waits
//!             │                                            │
//!             └── calls: [late late │ waiting … waiting] ◄─┘   until: expired from the front
//!
//!   down ──open──► up ──closed, broken, stalled──► down (all that waits fails) ──pause──► …
//! ```
//!
//! A server that owes a reply beyond its time is left alone until it gives it: what is sent behind
//! it could not be sooner. So a stall costs those calls their deadline that were on their way when
//! it began, and nobody else anything, and when it ends the line works at once. The breaker is for
//! servers that are slow each time: a pause is one failure, however many calls it made late.
//!
//! One task owns the connection; who calls puts bytes into `out` and wakes it. Calls on a line
//! have about the same time, so they expire in the order in which they were sent, and one sleep
//! serves all.
//!
//! Invariants
//! - L1 Each command that was written has one place in `calls`, from then until its reply came or
//!   the connection is gone, whether somebody still waits or not: so order is never lost.
//! - L2 A call ends once: with its reply, at its time, or with the connection.
//! - L3 A line that is down takes nothing.
//! - L4 Nor does one whose server owes a reply beyond its time.

use super::wire::{self, Wire};
use super::{BREAKER, Common, Why};
use crate::base::bytes::TxBuf;
use crate::base::time::Instant;
use crate::cache::remote::resp::{Reply, command_len, put_command, read};
use crate::host::{Host, Link};
use crate::policy::breaker::{Breaker, Outcome, Permit, Turn, Verdict};
use crate::stats::remote::Event;
use crate::stats::view::{State, Tally};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// Commands on their way, at most.
pub(super) const CALLS_MAX: usize = 16_384;

/// Bytes that wait to be sent, at most.
pub(super) const OUT_MAX: usize = 8 << 20;

/// A connection whose oldest call has waited for so long is given up.
const STALL_MAX: Duration = Duration::from_secs(3);

/// The pause before a connection is made anew, doubled by each that failed.
const PAUSE_FIRST: Duration = Duration::from_millis(20);

/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// Reads in a row before others have their turn.
const READS_MAX: usize = 16;

/// Refusals that say that the server cannot work, not that it will not.
const SICK: [&[u8]; 4] = [b"LOADING", b"BUSY", b"MASTERDOWN", b"CLUSTERDOWN"];

/// Whom a line leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Wherever the configured name leads.
    Configured,
    /// A node of a cluster.
    Node(SocketAddr),
}

impl Place {
    pub(super) fn address(self) -> Option<SocketAddr> {
        match self {
            Self::Configured => None,
            Self::Node(at) => Some(at),
        }
    }
}

/// What somebody waits for.
#[derive(Default)]
struct Call {
    outcome: Cell<Option<Result<Reply, Why>>>,
    waker: Cell<Option<Waker>>,
    is_left: Cell<bool>,
}

impl Call {
    fn end(&self, outcome: Result<Reply, Why>) {
        self.outcome.set(Some(outcome));
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

/// The end of a call. Whoever drops it does not wait any more.
pub(super) struct Waiting(Rc<Call>);

impl Future for Waiting {
    type Output = Result<Reply, Why>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let Some(outcome) = self.0.outcome.take() {
            return Poll::Ready(outcome);
        }
        self.0.waker.set(Some(cx.waker().clone()));
        Poll::Pending
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.is_left.set(true);
    }
}

/// A command on its way.
struct Sent {
    at: Instant,
    until: Instant,
    /// `None`: its reply says nothing (ASKING).
    asked: Option<(Permit, Rc<Call>)>,
}

/// What the task and the callers share.
struct Shared {
    /// Whom it is connected to.
    peer: Option<SocketAddr>,
    /// Its first attempt to connect has not ended.
    is_new: bool,
    out: TxBuf,
    calls: VecDeque<Sent>,
    /// How many at the front have expired.
    late: usize,
    breaker: Breaker,
    /// When a failure was last noticed.
    failed: Instant,
    /// The task.
    waker: Option<Waker>,
    is_retired: bool,
}

impl Shared {
    /// Whether a reply should have come before `now`.
    fn owes(&self, now: Instant) -> bool {
        self.calls.front().is_some_and(|oldest| oldest.until <= now)
    }
}

/// A connection, or the attempt to have one.
pub(super) struct Line<H: Host> {
    common: Rc<Common<H>>,
    place: Place,
    shared: RefCell<Shared>,
}

/// Why a connection ended.
enum Ended {
    Retired,
    Closed(String),
    Broken(String),
    Stalled,
}

/// A sleep until an instant.
type Sleep = (Instant, Pin<Box<dyn Future<Output = ()>>>);

impl<H: Host> Line<H> {
    /// A line that is down, until its task runs.
    pub(super) fn new(common: &Rc<Common<H>>, place: Place) -> Self {
        Self {
            place,
            shared: RefCell::new(Shared {
                peer: None,
                is_new: true,
                out: TxBuf::new(&common.buffers),
                calls: VecDeque::new(),
                late: 0,
                breaker: Breaker::default(),
                failed: Instant::default(),
                waker: None,
                is_retired: false,
            }),
            common: Rc::clone(common),
        }
    }

    /// Whom it leads to.
    pub(super) fn place(&self) -> Place {
        self.place
    }

    /// Whether it is connected.
    pub(super) fn is_up(&self) -> bool {
        self.peer().is_some()
    }

    /// Whether it is not known yet if it can be connected.
    pub(super) fn is_new(&self) -> bool {
        self.shared.borrow().is_new
    }

    /// Whom it is connected to.
    pub(super) fn peer(&self) -> Option<SocketAddr> {
        self.shared.borrow().peer
    }

    /// Commands whose reply has not come.
    pub(super) fn in_flight(&self) -> usize {
        self.shared.borrow().calls.len()
    }

    /// How its breaker stands.
    pub(super) fn breaker(&self) -> State {
        self.shared.borrow().breaker.mark().state
    }

    /// It ends, and whatever waits for it.
    pub(super) fn retire(&self) {
        let mut shared = self.shared.borrow_mut();
        shared.is_retired = true;
        if let Some(waker) = shared.waker.take() {
            waker.wake();
        }
    }

    fn turn(&self) -> Turn<'static> {
        Turn {
            settings: &BREAKER,
            me: self.common.shard,
            now: self.common.host.now(),
            random: self.common.random(),
        }
    }

    /// Whether a small write may be tried: [`Line::send`] would take it, or it is not known yet.
    ///
    /// # Errors
    /// Why not.
    pub(super) fn may_write(&self) -> Result<(), Why> {
        let shared = self.shared.borrow();
        if shared.peer.is_none() {
            return shared.is_new.then_some(()).ok_or(Why::Down); // L3
        }
        if shared.calls.len() >= CALLS_MAX || shared.out.len() >= OUT_MAX {
            return Err(Why::Full);
        }
        let turn = self.turn();
        let may_ask = !shared.owes(turn.now) && shared.breaker.may_ask(&turn);
        may_ask.then_some(()).ok_or(Why::Open)
    }

    /// Sends a command, behind ASKING when `once`; its reply must come before `until`.
    ///
    /// # Errors
    /// Why it was not sent.
    pub(super) fn send(&self, words: &[&[u8]], once: bool, until: Instant) -> Result<Waiting, Why> {
        let turn = self.turn();
        let mut shared = self.shared.borrow_mut();
        if shared.peer.is_none() || shared.is_retired {
            return Err(Why::Down); // L3
        }
        let room = CALLS_MAX.saturating_sub(shared.calls.len());
        if room < 2 || shared.out.len() + command_len(words) > OUT_MAX {
            return Err(Why::Full);
        }
        if shared.owes(turn.now) {
            return Err(Why::Open); // L4
        }
        let verdict = shared.breaker.ask(&turn);
        if matches!(verdict, Verdict::Reject { .. }) {
            return Err(Why::Open);
        }
        let permit = shared.breaker.permit(verdict);
        let call = Rc::new(Call::default());
        if once {
            put_command(&mut shared.out, &[b"ASKING"]);
            shared.calls.push_back(Sent {
                at: turn.now,
                until,
                asked: None,
            });
        }
        put_command(&mut shared.out, words);
        shared.calls.push_back(Sent {
            at: turn.now,
            until,
            asked: Some((permit, Rc::clone(&call))),
        });
        if let Some(waker) = &shared.waker {
            waker.wake_by_ref();
        }
        Ok(Waiting(call))
    }

    /// The line's task: connects, serves, and does it again, until it retires.
    pub(super) async fn run(self: Rc<Self>) {
        let mut failures = 0_u32;
        while !self.shared.borrow().is_retired {
            let opened = wire::open(&self.common, self.place).await;
            self.shared.borrow_mut().is_new = false;
            let trouble = match opened {
                Ok(wire) => {
                    let (ended, has_worked) = self.serve(wire).await;
                    failures = if has_worked { 0 } else { failures + 1 };
                    let (event, text) = match ended {
                        Ended::Retired => break,
                        Ended::Closed(text) => (Event::Closed, text),
                        Ended::Broken(text) => (Event::Broken, text),
                        Ended::Stalled => (Event::Stalled, "nothing came for too long".to_owned()),
                    };
                    self.common.note(event);
                    text
                }
                Err(text) => {
                    failures += 1;
                    text
                }
            };
            self.common.trouble.replace(Some(trouble));
            self.pause(failures).await;
        }
        self.lose();
    }

    /// Waits before the next attempt: half of the pause, and up to as much again.
    async fn pause(&self, failures: u32) {
        let pause = PAUSE_FIRST
            .saturating_mul(1 << failures.min(10))
            .min(PAUSE_MAX);
        let luck = u32::try_from(self.common.random() % 1025).unwrap_or(0);
        let pause = pause / 2 + pause.saturating_mul(luck) / 2048;
        let mut sleep = pin!(self.common.host.sleep_until(self.common.host.now() + pause));
        poll_fn(|cx| {
            if self.listen(cx) {
                return Poll::Ready(());
            }
            sleep.as_mut().poll(cx)
        })
        .await;
    }

    /// From here on the task hears of what is sent; whether it is to end.
    fn listen(&self, cx: &Context<'_>) -> bool {
        let mut shared = self.shared.borrow_mut();
        let is_new = shared
            .waker
            .as_ref()
            .is_none_or(|waker| !waker.will_wake(cx.waker()));
        if is_new {
            shared.waker = Some(cx.waker().clone());
        }
        shared.is_retired
    }

    /// Serves a connection until it ends; gives how, and whether any call got a reply.
    async fn serve(&self, mut wire: Wire<H::Stream>) -> (Ended, bool) {
        self.begin(wire.peer);
        self.common.note(Event::Connected);
        self.common.hurry();
        let (mut sleep, mut has_worked) = (None, false);
        let ended = poll_fn(|cx| self.poll(cx, &mut wire, (&mut sleep, &mut has_worked))).await;
        self.lose();
        (ended, has_worked)
    }

    /// There is a connection. What the breaker knew was of another one.
    fn begin(&self, peer: SocketAddr) {
        let mut shared = self.shared.borrow_mut();
        (shared.peer, shared.breaker) = (Some(peer), Breaker::default());
    }

    /// The connection is gone, and whatever waited.
    fn lose(&self) {
        let mut shared = self.shared.borrow_mut();
        shared.peer = None;
        shared.out.clear();
        shared.late = 0;
        for sent in std::mem::take(&mut shared.calls) {
            if let Some((_, call)) = sent.asked {
                call.end(Err(Why::Down));
            }
        }
    }

    fn poll(
        &self,
        cx: &mut Context<'_>,
        wire: &mut Wire<H::Stream>,
        (sleep, has_worked): (&mut Option<Sleep>, &mut bool),
    ) -> Poll<Ended> {
        if self.listen(cx) {
            return Poll::Ready(Ended::Retired);
        }
        let flushed = wire.link.poll_flush(cx, &mut self.shared.borrow_mut().out);
        if let Poll::Ready(Err(error)) = flushed {
            return Poll::Ready(Ended::Closed(format!("the connection broke: {error}")));
        }
        // What has come counts, however late we are to read it.
        let replies = self.poll_replies(cx, wire, has_worked);
        match replies.and_then(|()| self.poll_expired(cx, sleep)) {
            Ok(()) => Poll::Pending,
            Err(ended) => Poll::Ready(ended),
        }
    }

    fn poll_replies(
        &self,
        cx: &mut Context<'_>,
        wire: &mut Wire<H::Stream>,
        has_worked: &mut bool,
    ) -> Result<(), Ended> {
        for _ in 0..READS_MAX {
            *has_worked |= self.take_replies(wire)?;
            match wire.link.poll_read(cx, &mut wire.rx) {
                Poll::Pending => return Ok(()),
                Poll::Ready(Ok(1..)) => {}
                Poll::Ready(Ok(_)) => {
                    return Err(Ended::Closed("the server closed the connection".to_owned()));
                }
                Poll::Ready(Err(error)) => {
                    return Err(Ended::Closed(format!("the connection broke: {error}")));
                }
            }
        }
        *has_worked |= self.take_replies(wire)?;
        cx.waker().wake_by_ref();
        Ok(())
    }

    /// Gives the replies that have come to who waits for them; whether there were any.
    fn take_replies(&self, wire: &mut Wire<H::Stream>) -> Result<bool, Ended> {
        let mut has_any = false;
        loop {
            let found = wire.scanner.push(wire.rx.data());
            let Some(len) = found.map_err(|error| Ended::Broken(error.to_string()))? else {
                return Ok(has_any);
            };
            let data = wire.rx.data().get(..len).unwrap_or_default();
            if data.first() != Some(&b'>') {
                self.take_reply(data)?;
                has_any = true;
            }
            wire.rx.consume(len);
        }
    }

    /// L1.
    fn take_reply(&self, data: &[u8]) -> Result<(), Ended> {
        let mut shared = self.shared.borrow_mut();
        let Some(sent) = shared.calls.pop_front() else {
            return Err(Ended::Broken("a reply that nobody asked for".to_owned()));
        };
        if let Some(less) = shared.late.checked_sub(1) {
            shared.late = less;
            self.common.note(Event::LateReply);
            return Ok(());
        }
        let Some((permit, call)) = sent.asked else {
            return Ok(());
        };
        let refusal = data.strip_prefix(b"-");
        let is_sick = refusal.is_some_and(|text| SICK.iter().any(|word| text.starts_with(word)));
        let outcome = if is_sick {
            Outcome::Failure
        } else {
            Outcome::Success
        };
        self.settle(&mut shared.breaker, permit, outcome);
        if !call.is_left.get() {
            call.end(read(data).map_err(|_| Why::Refused));
        }
        Ok(())
    }

    fn settle(&self, breaker: &mut Breaker, permit: Permit, outcome: Outcome) {
        let has_changed = breaker.settle(permit, outcome, |_| Tally::default(), &self.turn());
        if has_changed && breaker.mark().state == State::Open {
            self.common.note(Event::Tripped);
        }
    }

    fn poll_expired(&self, cx: &mut Context<'_>, sleep: &mut Option<Sleep>) -> Result<(), Ended> {
        loop {
            let next = self.expire(self.common.host.now())?;
            // One that ends too early is as good: it ends, and the next is made.
            if let Some(next) = next
                && sleep.as_ref().is_none_or(|(at, _)| *at > next)
            {
                let host = self.common.host.clone();
                *sleep = Some((next, Box::pin(async move { host.sleep_until(next).await })));
            }
            let Some((_, asleep)) = sleep else {
                return Ok(());
            };
            if asleep.as_mut().poll(cx).is_pending() {
                return Ok(());
            }
            *sleep = None;
        }
    }

    /// Ends the calls whose time is over (L2); gives when the next one's is.
    fn expire(&self, now: Instant) -> Result<Option<Instant>, Ended> {
        let mut shared = self.shared.borrow_mut();
        let Shared {
            calls,
            late,
            breaker,
            failed,
            ..
        } = &mut *shared;
        let Some(stalls) = calls.front().map(|oldest| oldest.at + STALL_MAX) else {
            return Ok(None);
        };
        if stalls <= now {
            return Err(Ended::Stalled);
        }
        while let Some(sent) = calls.get_mut(*late).filter(|sent| sent.until <= now) {
            if let Some((permit, call)) = sent.asked.take() {
                let outcome = if permit.is_probe() || sent.at >= *failed {
                    *failed = now;
                    Outcome::Failure
                } else {
                    Outcome::Neutral
                };
                self.settle(breaker, permit, outcome);
                call.end(Err(Why::Late));
            }
            *late += 1;
        }
        Ok(Some(
            calls
                .get(*late)
                .map_or(stalls, |sent| sent.until.min(stalls)),
        ))
    }
}
