//! One end of a connection on the ring: it writes, reads, gives up, comes back, and meets its
//! fate.
//!
//! Invariants
//! - I1 What arrives is the flow of the other side from its first byte on, without a hole; what
//!   is held unread stays as it came.
//! - I2 On a connection that nobody breaks, all of it arrives, then the end, and no error.

use crate::rng::Rng;
use crate::stream::{Flow, HELLO, greeted, hello};
use crate::world::{Deed, World};
use shardgate::base::bytes::{RxBuf, TxBuf};
use shardgate::host::Link;
use shardgate::host::ring::Socket;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

/// Most bytes of one write.
const WRITE_MAX: u64 = 1 << 20;

/// Most bytes that a side holds unread.
const HOLD_MAX: usize = 64 << 10;

/// How a side ends, and at which of its steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It sends all, reads to the end, and goes.
    Stay,
    /// It sends no more from there on, but reads on.
    Finish(u32),
    /// It goes.
    Drop(u32),
    /// It resets the connection and goes.
    Reset(u32),
    /// It never reads, and goes then.
    Deaf(u32),
}

impl Fate {
    fn draw(rng: &Rng, harsh: u64) -> Self {
        let step = u32::try_from(rng.range(0, 1 << rng.range(0, 6))).unwrap();
        if rng.chance(harsh) {
            let all = [
                Self::Drop(step),
                Self::Drop(step),
                Self::Reset(step),
                Self::Deaf(step),
            ];
            rng.pick(&all)
        } else {
            rng.pick(&[Self::Stay, Self::Stay, Self::Finish(step)])
        }
    }

    /// Whether the other side may count on everything.
    pub(crate) fn is_fair(self) -> bool {
        matches!(self, Self::Stay | Self::Finish(_))
    }
}

/// What one side of a connection is to do.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) name: String,
    /// What it sends, and how much; the other side reads the number at the end.
    pub(crate) out: Flow,
    pub(crate) out_total: Arc<AtomicU64>,
    /// What it gets.
    pub(crate) into: Flow,
    pub(crate) into_total: Arc<AtomicU64>,
    /// Most bytes of one of its writes.
    pub(crate) grain: u64,
    pub(crate) fate: Fate,
    /// Whether both fates are fair, so that nothing may break.
    pub(crate) is_fair: bool,
    pub(crate) seed: u64,
}

/// The two plans of connection `number`: the connector's and the acceptor's. `harsh` in a
/// thousand of the fates break the connection.
pub(crate) fn plans(rng: &Rng, number: usize, harsh: u64) -> (Plan, Plan) {
    let (there, back) = (Flow::draw(rng), Flow::draw(rng));
    let fates = [Fate::draw(rng, harsh), Fate::draw(rng, harsh)];
    let total = || {
        let grain = 1 << rng.range(0, 20);
        let most = (grain * 64).min(WRITE_MAX * 2);
        (grain, Arc::new(AtomicU64::new(rng.range(0, most))))
    };
    let ((grain, there_total), (back_grain, back_total)) = (total(), total());
    let is_fair = fates.iter().all(|fate| fate.is_fair());
    let connector = Plan {
        name: format!("connector {number}, {:?} against {:?}", fates[0], fates[1]),
        out: there,
        out_total: Arc::clone(&there_total),
        into: back,
        into_total: Arc::clone(&back_total),
        grain,
        fate: fates[0],
        is_fair,
        seed: rng.next(),
    };
    let acceptor = Plan {
        name: format!("acceptor {number}, {:?} against {:?}", fates[1], fates[0]),
        out: back,
        out_total: back_total,
        into: there,
        into_total: there_total,
        grain: back_grain,
        fate: fates[1],
        is_fair,
        seed: rng.next(),
    };
    (connector, acceptor)
}

/// What a visit at the link is to try, and for how long.
#[derive(Clone, Copy, Debug)]
struct Visit {
    read: bool,
    flush: bool,
    /// Polls after which it gives up.
    polls: u64,
    /// Time after which it gives up; none: it trusts to be woken.
    time: Option<Duration>,
}

/// One end of a connection.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each way of it has its own states"
)]
pub(crate) struct Side {
    world: World,
    link: Socket,
    rx: RxBuf,
    tx: TxBuf,
    plan: Plan,
    rng: Rng,
    /// Bytes of the flow that were put into `tx`.
    offered: u64,
    /// Bytes of the other flow that were read; `rx` holds the last of them.
    arrived: u64,
    reading: bool,
    sending: bool,
    finished: bool,
    ended: bool,
}

impl Drop for Side {
    fn drop(&mut self) {
        if self.reading {
            self.world.count(Deed::DroppedReading, 1);
        }
        if self.sending {
            self.world.count(Deed::DroppedSending, 1);
        }
    }
}

/// Reads the hello of a connection that was accepted: which one it is, and what else came.
/// None when it ends before.
pub(crate) async fn greet(world: &World, link: &mut Socket) -> Option<(usize, RxBuf)> {
    let mut rx = RxBuf::new(&world.pool);
    while rx.len() < HELLO {
        match shardgate::host::read(link, &mut rx).await {
            Ok(1..) => {}
            _ => return None,
        }
    }
    let number = greeted(&rx.data()[..HELLO]).map_err(|fault| world.fault(fault));
    rx.consume(HELLO);
    Some((number.ok()?, rx))
}

impl Side {
    /// The side that connected as number `number`; it says so first.
    pub(crate) fn connector(world: &World, link: Socket, plan: Plan, number: usize) -> Self {
        let mut side = Self::new(world, link, plan, RxBuf::new(&world.pool));
        side.tx.put(&hello(number));
        side
    }

    /// The side that accepted, with what came behind the hello.
    pub(crate) fn acceptor(world: &World, link: Socket, plan: Plan, rx: RxBuf) -> Self {
        Self::new(world, link, plan, rx)
    }

    fn new(world: &World, link: Socket, plan: Plan, rx: RxBuf) -> Self {
        Self {
            world: world.clone(),
            link,
            arrived: rx.len() as u64,
            rx,
            tx: TxBuf::new(&world.pool),
            rng: Rng::new(plan.seed),
            plan,
            offered: 0,
            reading: false,
            sending: false,
            finished: false,
            ended: false,
        }
    }

    /// Lives until its end.
    pub(crate) async fn play(mut self) {
        if let Err(fault) = self.check() {
            return self.fault(&fault);
        }
        for step in 0.. {
            if self.meets_fate(step) || self.is_done() {
                break;
            }
            self.offer();
            self.finish_when_due();
            if let Err(error) = self.visit(self.draw()).await {
                return self.broken(&error);
            }
            if let Err(fault) = self.consume() {
                return self.fault(&fault);
            }
            // A visit that moved nothing did not wait either.
            self.world.rest(&self.rng, Duration::from_millis(2)).await;
        }
        self.end();
    }

    fn fault(&self, what: &str) {
        self.world.fault(format!("{}: {what}", self.plan.name));
    }

    /// Whether this is the step at which it goes.
    fn meets_fate(&mut self, step: u32) -> bool {
        match self.plan.fate {
            Fate::Finish(at) if at == step => {
                self.plan.out_total.store(self.offered, Ordering::SeqCst);
                false
            }
            Fate::Drop(at) | Fate::Deaf(at) => step >= at,
            Fate::Reset(at) if step >= at => {
                self.link.reset();
                self.world.count(Deed::Reset, 1);
                true
            }
            Fate::Stay | Fate::Finish(_) | Fate::Reset(_) => false,
        }
    }

    fn is_done(&self) -> bool {
        self.finished && !self.sending && self.ended && self.rx.is_empty()
    }

    /// Puts more of the flow into `tx`.
    fn offer(&mut self) {
        let left = self
            .plan
            .out_total
            .load(Ordering::SeqCst)
            .saturating_sub(self.offered);
        // Mostly when all is out; sometimes behind what is still on its way.
        if self.finished || left == 0 || !(self.tx.is_empty() || self.rng.chance(100)) {
            return;
        }
        let most = usize::try_from(left.min(self.plan.grain)).unwrap();
        let piece = self.plan.out.bytes(self.offered, self.rng.cut(most));
        self.tx.put(&piece);
        self.offered += piece.len() as u64;
    }

    fn draw(&self) -> Visit {
        let is_deaf = matches!(self.plan.fate, Fate::Deaf(_));
        let both = self.rng.chance(700);
        let read = !is_deaf && (both || self.rng.chance(500));
        let polls = if self.rng.chance(500) {
            1 << 30
        } else {
            self.rng.range(1, 4)
        };
        let patience = Duration::from_micros(self.rng.range(0, 3_000));
        Visit {
            read,
            flush: both || is_deaf || !read,
            polls,
            // Who does both is woken by whatever happens; who does one thing must come back.
            time: (!both || is_deaf).then_some(patience),
        }
    }

    /// Polls the link as `visit` says, then gives up whatever waits.
    async fn visit(&mut self, visit: Visit) -> io::Result<()> {
        let world = self.world.clone();
        let mut timer = visit.time.map(|time| Box::pin(world.pause(time)));
        let mut left = visit.polls;
        let is_cut = poll_fn(|cx| {
            left -= 1;
            if self.poll(cx, visit)? {
                return Poll::Ready(Ok::<_, io::Error>(false));
            }
            if left == 0 {
                return Poll::Ready(Ok(true));
            }
            match &mut timer {
                Some(timer) => Pin::as_mut(timer).poll(cx).map(|()| Ok(true)),
                None => Poll::Pending,
            }
        })
        .await?;
        world.count(Deed::ReadCut, u64::from(is_cut && self.reading));
        world.count(Deed::FlushCut, u64::from(is_cut && self.sending));
        Ok(())
    }

    /// One poll of what the visit wants. Returns whether anything moved or nothing is left.
    fn poll(&mut self, cx: &mut Context<'_>, visit: Visit) -> io::Result<bool> {
        let (mut moved, mut waits) = (false, false);
        let may_hand_over = visit.flush && !self.tx.is_empty() && self.rng.chance(400);
        if may_hand_over && self.link.hand_over(&mut self.tx)? {
            self.world.count(Deed::HandedOver, 1);
            (self.sending, moved) = (true, true); // a flush tells when it is out
        } else if visit.flush && (self.sending || !self.tx.is_empty()) {
            let flushed = self.link.poll_flush(cx, &mut self.tx);
            self.sending = flushed.is_pending();
            match flushed {
                Poll::Ready(flushed) => flushed.map(|()| moved = true)?,
                Poll::Pending => waits = true,
            }
        }
        if visit.read && !self.ended && self.rx.len() < HOLD_MAX {
            let read = self.link.poll_read(cx, &mut self.rx);
            self.reading = read.is_pending();
            match read {
                Poll::Ready(count) => {
                    let count = count?;
                    self.arrived += count as u64;
                    self.ended = count == 0;
                    moved = true;
                }
                Poll::Pending => waits = true,
            }
        }
        Ok(moved || !waits)
    }

    /// FIN, when there is nothing more to say; sometimes with the last of it still on its way.
    fn finish_when_due(&mut self) {
        let total = self.plan.out_total.load(Ordering::SeqCst);
        if self.finished || self.offered < total || !self.tx.is_empty() {
            return;
        }
        if self.sending {
            if self.rng.chance(700) {
                return;
            }
            self.world.count(Deed::FinishedSending, 1);
        }
        self.link.finish();
        self.finished = true;
    }

    /// I1: what is held unread must be right, now as when it came.
    fn check(&self) -> Result<(), String> {
        let held = self.rx.data();
        self.plan.into.check(self.arrived - held.len() as u64, held)
    }

    /// Takes some of what arrived, or all, or nothing yet.
    fn consume(&mut self) -> Result<(), String> {
        self.check()?;
        if self.rx.is_empty() || (self.rng.chance(300) && self.rx.len() < HOLD_MAX) {
            return Ok(());
        }
        let some = self.rng.cut(self.rx.len());
        self.rx
            .consume(if self.ended { self.rx.len() } else { some });
        Ok(())
    }

    /// A read or flush failed.
    fn broken(&mut self, error: &io::Error) {
        self.world.count(Deed::Broken, 1);
        if self.plan.is_fair {
            let (arrived, offered) = (self.arrived, self.offered);
            self.fault(&format!("{error} after {arrived} in and {offered} out"));
        }
        // What came before the break is held to the law, too.
        if let Err(fault) = self.check() {
            self.fault(&fault);
        }
    }

    /// The end, as it was planned.
    fn end(&mut self) {
        self.world.count(Deed::Bytes, self.arrived);
        let total = self.plan.into_total.load(Ordering::SeqCst);
        if self.plan.is_fair {
            self.world.count(Deed::Whole, 1);
            if self.arrived != total {
                self.fault(&format!("{} of {total} bytes arrived", self.arrived));
            }
        }
    }
}
