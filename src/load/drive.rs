//! Runs a plan on a host: one task per connection, one watch for deadlines.
//!
//! ```text
//!   lane: turn? ──► wait for its time ──► connect, or the link kept ──► send ──► read … ──┐
//!     ▲        └ none left: end                                                           │
//!     └───────────────────────────── count: answered or trouble ◄─────────────────────────┘
//!   watch: every 50 ms, wakes lanes whose deadline has passed
//! ```
//!
//! Invariants
//! - I1 A lane ends: turns end with the plan, and every wait inside a turn ends at its deadline.
//! - I2 The open loop's latency counts from the scheduled time, however late a lane was free.

use super::args::{Mode, Plan};
use super::ask::{DIGITS, digits};
use super::pace::Pace;
use super::reply::Reply;
use super::schedule::Schedule;
use super::tally::{Primary, Tally, Trouble};
use crate::base::bufpool::BufPool;
use crate::base::bytes::{RxBuf, TxBuf};
use crate::base::time::Instant;
use crate::host::{Host, flush, read};
use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::io::Write as _;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Duration;

/// From the call to the first request: all lanes are ready by then.
const LEAD: Duration = Duration::from_millis(20);
/// How often deadlines are looked at.
const WATCH: Duration = Duration::from_millis(50);
/// How often a line of progress is printed.
const PROGRESS: Duration = Duration::from_secs(1);
/// A lane's pause after a connection failed, so that it does not spin.
const PAUSE: Duration = Duration::from_millis(10);

/// Runs `plan` to its end.
///
/// # Errors
/// As [`Tally::new`].
pub async fn drive<H: Host>(host: H, plan: Plan) -> Result<Tally, String> {
    let board = Rc::new(Board::new(plan, host.now() + LEAD, host.wall_nanos())?);
    let pool = BufPool::new();
    for index in 0..board.plan.connections {
        let slot = Rc::new(Slot::default());
        board.slots.borrow_mut().push(slot.clone());
        board.live.set(board.live.get() + 1);
        let lane = Lane {
            host: host.clone(),
            board: board.clone(),
            slot,
            index,
            link: None,
            rx: RxBuf::new(&pool),
            tx: TxBuf::new(&pool),
            reply: Reply::new(board.plan.shape),
        };
        host.spawn(lane.run());
    }
    host.spawn(watch(host.clone(), board.clone()));
    board.all_left().await;
    let empty = Tally::new(board.start, Primary::Latency)?;
    Ok(board.tally.replace(empty))
}

/// What the lanes share.
struct Board {
    plan: Plan,
    start: Instant,
    end: Instant,
    schedule: RefCell<Schedule>,
    begun: Cell<u64>,
    numbered: Cell<u64>,
    live: Cell<u32>,
    left: RefCell<Option<Waker>>,
    slots: RefCell<Vec<Rc<Slot>>>,
    tally: RefCell<Tally>,
}

impl Board {
    fn new(plan: Plan, start: Instant, wall_nanos: u64) -> Result<Self, String> {
        let primary = match (plan.mode, plan.event_interval) {
            (_, Some(_)) => Primary::Lateness,
            (Mode::Streams { .. }, None) => Primary::Gap,
            _ => Primary::Latency,
        };
        let schedule = match plan.mode {
            Mode::Open { rate, spread } => {
                Schedule::new(rate, spread, plan.duration, plan.requests)
            }
            _ => Schedule::new(1.0, super::args::Spread::Even, Duration::ZERO, 0),
        };
        Ok(Self {
            start,
            end: start + plan.duration,
            schedule: RefCell::new(schedule),
            begun: Cell::new(0),
            // Below a million requests a second no later run says any of them again.
            numbered: Cell::new(wall_nanos / 1000),
            live: Cell::new(0),
            left: RefCell::new(None),
            slots: RefCell::new(Vec::new()),
            tally: RefCell::new(Tally::new(start, primary)?),
            plan,
        })
    }

    fn put_request(&self, tx: &mut TxBuf) {
        let Plan {
            request, number_at, ..
        } = &self.plan;
        let Some(at) = *number_at else {
            return tx.put(request);
        };
        let number = self.numbered.get();
        self.numbered.set(number + 1);
        let (before, rest) = request.split_at(at.min(request.len()));
        let behind = rest.get(DIGITS..).unwrap_or_default();
        tx.put_all([before, &digits(number), behind]);
    }

    /// When the next request of a lane should leave; none when the run is over.
    fn turn(&self, index: u32, turns: u64, now: Instant) -> Option<Instant> {
        match self.plan.mode {
            Mode::Closed => {
                let begun = self.begun.get();
                self.begun.set(begun + 1);
                (begun < self.plan.requests && now < self.end).then(|| now.max(self.start))
            }
            Mode::Open { .. } => {
                let at = self.start + self.schedule.borrow_mut().next()?;
                if now > self.end + self.plan.timeout {
                    self.tally.borrow_mut().failed(Trouble::Unsent, now);
                    self.unsent(now);
                    return None;
                }
                Some(at)
            }
            Mode::Streams { ramp } => {
                let share = f64::from(index) / f64::from(self.plan.connections);
                (turns == 0).then(|| self.start + ramp.mul_f64(share))
            }
        }
    }

    /// Counts what is left of the schedule when time is up.
    fn unsent(&self, now: Instant) {
        let (mut schedule, mut tally) = (self.schedule.borrow_mut(), self.tally.borrow_mut());
        for _ in schedule.by_ref() {
            tally.failed(Trouble::Unsent, now);
        }
    }

    fn count(&self, pace: &Pace, outcome: Result<(), Trouble>, from: Instant, now: Instant) {
        let mut tally = self.tally.borrow_mut();
        if let Some(first) = pace.first().filter(|_| pace.is_measured()) {
            tally.ttft.record(first.since(from)); // I2
        }
        match outcome {
            Ok(()) => tally.answered(from, now, pace.is_measured()), // I2
            Err(trouble) => tally.failed(trouble, now),
        }
    }

    fn leave(&self) {
        self.live.set(self.live.get().saturating_sub(1));
        if self.live.get() == 0
            && let Some(waker) = self.left.take()
        {
            waker.wake();
        }
    }

    async fn all_left(&self) {
        poll_fn(|cx| {
            if self.live.get() == 0 {
                return Poll::Ready(());
            }
            self.left.replace(Some(cx.waker().clone()));
            Poll::Pending
        })
        .await;
    }
}

/// A lane's deadline, and how to wake it then.
#[derive(Debug, Default)]
struct Slot {
    deadline: Cell<Option<Instant>>,
    is_late: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Slot {
    fn arm(&self, deadline: Option<Instant>) {
        self.deadline.set(deadline);
        self.is_late.set(false);
    }

    fn look(&self, now: Instant) {
        if self.deadline.get().is_some_and(|deadline| now >= deadline) {
            self.is_late.set(true);
            if let Some(waker) = self.waker.take() {
                waker.wake();
            }
        }
    }

    /// `work`, unless the deadline passes first.
    async fn until<T>(&self, work: impl Future<Output = T>) -> Result<T, Trouble> {
        let mut work = pin!(work);
        poll_fn(|cx| {
            if let Poll::Ready(value) = work.as_mut().poll(cx) {
                return Poll::Ready(Ok(value));
            }
            if self.is_late.get() {
                return Poll::Ready(Err(Trouble::Timeout));
            }
            let mut waker = self.waker.borrow_mut();
            if !waker
                .as_ref()
                .is_some_and(|known| known.will_wake(cx.waker()))
            {
                *waker = Some(cx.waker().clone());
            }
            Poll::Pending
        })
        .await
    }
}

/// Wakes lanes that are past their deadline and prints progress.
async fn watch<H: Host>(host: H, board: Rc<Board>) {
    let mut print_at = board.start + PROGRESS;
    while board.live.get() > 0 {
        let now = host.now();
        for slot in board.slots.borrow().iter() {
            slot.look(now);
        }
        if board.plan.progress && now >= print_at {
            progress(&board, now);
            print_at = print_at + PROGRESS;
        }
        host.sleep_until(now + WATCH).await;
    }
}

fn progress(board: &Board, now: Instant) {
    let tally = board.tally.borrow();
    // Nothing to do when stderr is closed: the run goes on.
    let _closed = writeln!(
        std::io::stderr(),
        "t={}s answered={} errors={} open={} events={}",
        now.since(board.start).as_secs(),
        tally.ok + tally.warm,
        tally.error_count(),
        tally.open,
        tally.content_events,
    );
}

/// One connection.
struct Lane<H: Host> {
    host: H,
    board: Rc<Board>,
    slot: Rc<Slot>,
    index: u32,
    link: Option<H::Stream>,
    rx: RxBuf,
    tx: TxBuf,
    reply: Reply,
}

impl<H: Host> Lane<H> {
    async fn run(mut self) {
        let board = self.board.clone();
        let mut turns = 0;
        while let Some(from) = board.turn(self.index, turns, self.host.now()) {
            turns += 1;
            if from > self.host.now() {
                self.host.sleep_until(from).await;
            }
            self.exchange(from).await;
        }
        board.leave();
    }

    /// One request and its reply, counted.
    async fn exchange(&mut self, from: Instant) {
        let board = self.board.clone();
        let began = self.host.now();
        let is_measured = from >= board.start + board.plan.warmup;
        let mut pace = Pace::new(board.plan.event_interval, is_measured);
        if is_measured && matches!(board.plan.mode, Mode::Open { .. }) {
            board
                .tally
                .borrow_mut()
                .send_delay
                .record(began.since(from));
        }
        self.slot.arm(Some(began + board.plan.timeout));
        let outcome = self.deliver(&mut pace).await;
        self.slot.arm(None);
        let now = self.host.now();
        board.count(&pace, outcome, from, now);
        if outcome.is_err_and(|trouble| !matches!(trouble, Trouble::Status(_))) {
            self.host.sleep_until(now + PAUSE).await;
        }
    }

    /// Sends on the link that was kept, and once more on a new one if that gave no byte: the
    /// other side may close a connection while it is idle.
    async fn deliver(&mut self, pace: &mut Pace) -> Result<(), Trouble> {
        if let Some(link) = self.link.take() {
            match self.attempt(link, pace).await {
                Err(Trouble::Reset | Trouble::Cut) if self.reply.status() == 0 => {}
                outcome => return outcome,
            }
        }
        let connect = self.host.connect(self.board.plan.target.addr);
        let link = self.slot.until(connect).await?;
        let link = link.map_err(|_| Trouble::Connect)?;
        self.board.tally.borrow_mut().connects += 1;
        self.attempt(link, pace).await
    }

    async fn attempt(&mut self, mut link: H::Stream, pace: &mut Pace) -> Result<(), Trouble> {
        self.reply.reset();
        self.rx.clear();
        self.tx.clear();
        self.board.put_request(&mut self.tx);
        let sent = self.slot.until(flush(&mut link, &mut self.tx)).await?;
        sent.map_err(|_| Trouble::Reset)?;
        let mut open = Open(None);
        while !self.reply.is_done() {
            let came = self.slot.until(read(&mut link, &mut self.rx)).await?;
            let came = came.map_err(|_| Trouble::Reset)?;
            if came == 0 && !self.reply.close() {
                return Err(Trouble::Cut);
            }
            let seen = self.reply.feed(self.rx.data());
            self.rx.clear();
            let seen = seen.map_err(|_| Trouble::Malformed)?;
            if open.0.is_none() && self.reply.is_events() {
                open = Open::new(&self.board);
            }
            let mut tally = self.board.tally.borrow_mut();
            tally.bytes += u64::try_from(came).unwrap_or_default();
            pace.seen(seen, self.host.now(), &mut tally);
        }
        if self.reply.is_kept() {
            self.link = Some(link);
        }
        self.verdict(pace)
    }

    /// Whether a reply that ended was a good one.
    fn verdict(&self, pace: &Pace) -> Result<(), Trouble> {
        let status = self.reply.status();
        if !(200..300).contains(&status) {
            return Err(Trouble::Status(status));
        }
        match (self.board.plan.stream, self.reply.is_events()) {
            (true, false) => Err(Trouble::NotStream),
            (true, true) if pace.error => Err(Trouble::ErrorEvent),
            (true, true) if !pace.ended => Err(Trouble::Cut),
            (false, _) | (true, true) => Ok(()),
        }
    }
}

/// Counts a stream as open while it lives.
struct Open(Option<Rc<Board>>);

impl Open {
    fn new(board: &Rc<Board>) -> Self {
        board.tally.borrow_mut().opened();
        Self(Some(board.clone()))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        if let Some(board) = &self.0 {
            board.tally.borrow_mut().closed();
        }
    }
}
