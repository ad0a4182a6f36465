//! A world in which a shard can live: clock, tasks and sockets, all drawn from one seed.
//!
//! ```text
//!   tasks ──ready?──► one at random ──poll──► reads and writes cut short (net.rs)
//!     │ nobody ready                               │ bytes, FIN, RST under way
//!     └──► earliest timer: the clock jumps there ◄─┘
//! ```
//!
//! Invariants
//! - I1 Time passes only when no task can run.
//! - I2 The same seed gives the same trace: [`World::trace`] hashes every step.
//! - I3 A sleep ends at its instant or up to [`Faults::late_us`] later, never early.
//! - I4 A main task that nobody can wake any more is reported as [`Stuck::Deadlock`].
//! - I5 In steady state a world allocates nothing, so `tests/alloc.rs` can count in it.

use super::net::{Accepting, Net, SimLink, SimListener};
use super::rng::Rng;
use shardgate::base::time::Instant;
use shardgate::host::Host;
use std::cell::{Cell, RefCell};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

/// Steps after which a world is taken to spin for ever.
const STEPS_MAX: u64 = 20_000_000;

/// 2026-01-01 00:00:00 UTC in nanoseconds: where the wall clock of every world starts.
const WALL_START: u64 = 1_767_225_600_000_000_000;

/// How rough a world is. Permille are chances in a thousand.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Faults {
    /// Reads and writes are cut to random lengths.
    pub(crate) short_io: bool,
    /// A read or write that could go on says "not yet" once.
    pub(crate) not_yet_permille: u64,
    /// One-way latency of a segment, least and most, in microseconds.
    pub(crate) latency_us: (u64, u64),
    /// A segment is held up for up to [`Faults::stall_ms`] more.
    pub(crate) stall_permille: u64,
    /// The longest hold-up in milliseconds.
    pub(crate) stall_ms: u64,
    /// A segment is answered by the network with a reset of both ends.
    pub(crate) reset_permille: u64,
    /// A reset throws away what had arrived and was not yet read.
    pub(crate) reset_eats: bool,
    /// Bytes that one direction of a link holds, least and most.
    pub(crate) buffer: (usize, usize),
    /// The most that a sleep is late, in microseconds.
    pub(crate) late_us: u64,
    /// Link ends that keep a block while they send, as a completion ring does.
    pub(crate) ring_permille: u64,
}

impl Faults {
    /// A perfect network: 50 µs, whole reads and writes, 64 KiB of buffer.
    pub(crate) const NONE: Self = Self {
        short_io: false,
        not_yet_permille: 0,
        latency_us: (50, 50),
        stall_permille: 0,
        stall_ms: 0,
        reset_permille: 0,
        reset_eats: false,
        buffer: (64 << 10, 64 << 10),
        late_us: 0,
        ring_permille: 0,
    };

    /// A rough network in which every byte still arrives: cut, late, held up for
    /// `stall_ms` at most, small buffers.
    pub(crate) fn rough(rng: &Rng, stall_ms: u64) -> Self {
        let least = rng.pick(&[1, 64, 1 << 10, 4 << 10]);
        Self {
            short_io: rng.chance(900),
            not_yet_permille: rng.pick(&[0, 50, 300]),
            latency_us: (10, rng.pick(&[20, 500, 5_000])),
            stall_permille: rng.pick(&[0, 5]),
            stall_ms,
            reset_permille: 0,
            reset_eats: rng.chance(300),
            buffer: (least, least * rng.pick(&[1, 8, 64])),
            late_us: rng.pick(&[0, 1_000]),
            ring_permille: rng.pick(&[0, 500, 1000]),
        }
    }
}

/// Why a world stopped before its main task was done.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Stuck {
    /// Nothing can run and no timer is set.
    Deadlock,
    /// More steps than [`STEPS_MAX`]: somebody spins.
    Steps,
    /// The main task is not done by its time.
    Time,
}

struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
    fn wake_by_ref(self: &Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

struct Task {
    future: Option<Pin<Box<dyn Future<Output = ()>>>>,
    is_ready: Arc<Flag>,
    waker: Waker,
}

/// What happens at an instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Event {
    /// A sleep ends: slot and its generation (a dropped sleep leaves a stale one behind).
    Wake(usize, u64),
    /// `usize` bytes that end `from` of connection `conn` sent arrive.
    Arrive {
        conn: usize,
        from: usize,
        len: usize,
    },
    /// The FIN of end `from` arrives.
    Fin { conn: usize, from: usize },
    /// A reset arrives at end `to`.
    Reset { conn: usize, to: usize },
}

#[derive(Default)]
struct Slot {
    generation: u64,
    waker: Option<Waker>,
    is_over: bool,
}

struct Inner {
    rng: Rng,
    faults: Faults,
    now: Cell<u64>,
    steps: Cell<u64>,
    trace: Cell<u64>,
    tasks: RefCell<Vec<Option<Task>>>,
    scratch: RefCell<Vec<usize>>,
    events: RefCell<BinaryHeap<Reverse<(u64, u64, Event)>>>,
    slots: RefCell<Vec<Slot>>,
    free: RefCell<Vec<usize>>,
    net: RefCell<Net>,
}

/// A world; clones are the same world.
#[derive(Clone)]
pub(crate) struct World(Rc<Inner>);

impl std::fmt::Debug for World {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (at, steps) = (self.0.now.get(), self.0.steps.get());
        write!(to, "World(at {at} ns, {steps} steps)")
    }
}

impl World {
    /// The world that `seed` names, as rough as `faults` says.
    pub(crate) fn new(seed: u64, faults: Faults) -> Self {
        Self(Rc::new(Inner {
            rng: Rng::new(seed),
            faults,
            now: Cell::new(1_000_000_000),
            steps: Cell::new(0),
            trace: Cell::new(0xcbf2_9ce4_8422_2325),
            tasks: RefCell::default(),
            scratch: RefCell::default(),
            events: RefCell::default(),
            slots: RefCell::default(),
            free: RefCell::default(),
            net: RefCell::default(),
        }))
    }

    /// The dice.
    pub(crate) fn rng(&self) -> &Rng {
        &self.0.rng
    }

    /// How rough it is.
    pub(crate) fn faults(&self) -> Faults {
        self.0.faults
    }

    /// The state of the network.
    pub(crate) fn net(&self) -> &RefCell<Net> {
        &self.0.net
    }

    /// The hash of everything that has happened so far (I2).
    pub(crate) fn trace(&self) -> u64 {
        self.0.trace.get()
    }

    /// Tasks that are not done.
    pub(crate) fn tasks(&self) -> usize {
        self.0.tasks.borrow().iter().flatten().count()
    }

    /// Writes `what` into the trace.
    pub(crate) fn note(&self, what: u64) {
        let mixed = (self.0.trace.get() ^ what).wrapping_mul(0x0100_0000_01b3);
        self.0.trace.set(mixed ^ (mixed >> 29));
    }

    /// Lets `event` happen at `at` nanoseconds; among equals the dice decide.
    pub(crate) fn at(&self, at: u64, event: Event) {
        let tie = self.0.rng.next();
        self.0.events.borrow_mut().push(Reverse((at, tie, event)));
    }

    /// Waits for `time`.
    pub(crate) async fn sleep(&self, time: Duration) {
        self.sleep_until(self.now() + time).await;
    }

    /// Runs until `main` is done, for `time` at most.
    pub(crate) fn run<T: 'static>(
        &self,
        time: Duration,
        main: impl Future<Output = T> + 'static,
    ) -> Result<T, Stuck> {
        let result = Rc::new(RefCell::new(None));
        let to = result.clone();
        self.spawn(async move {
            let value = main.await;
            *to.borrow_mut() = Some(value);
        });
        let end = (self.now() + time).as_nanos();
        let start = self.0.steps.get();
        loop {
            if let Some(value) = result.borrow_mut().take() {
                return Ok(value);
            }
            if self.0.steps.get() - start > STEPS_MAX {
                return Err(Stuck::Steps);
            }
            if !self.step(end) {
                let more = !self.0.events.borrow().is_empty();
                return Err(if more { Stuck::Time } else { Stuck::Deadlock });
            }
        }
    }

    /// Ends every task and closes every listener; what is left open afterwards leaks.
    pub(crate) fn end(&self) {
        let tasks = std::mem::take(&mut *self.0.tasks.borrow_mut());
        drop(tasks);
        let listeners = self.0.net.borrow_mut().take_listeners();
        drop(listeners);
    }

    /// One task's turn, or one event; false when there is neither before `end`.
    fn step(&self, end: u64) -> bool {
        self.0.steps.set(self.0.steps.get() + 1);
        let chosen = {
            let mut ready = self.0.scratch.borrow_mut();
            ready.clear();
            let tasks = self.0.tasks.borrow();
            let is_ready = |t: &Task| t.is_ready.0.load(Ordering::Relaxed);
            ready.extend((0..tasks.len()).filter(|&i| tasks[i].as_ref().is_some_and(is_ready)));
            (!ready.is_empty()).then(|| ready[self.0.rng.index(ready.len())])
        };
        match chosen {
            Some(id) => self.poll(id),
            None => return self.pass_time(end),
        }
        true
    }

    fn poll(&self, id: usize) {
        self.note(id as u64);
        let (mut future, waker) = {
            let mut tasks = self.0.tasks.borrow_mut();
            let task = tasks[id].as_mut().unwrap();
            task.is_ready.0.store(false, Ordering::Relaxed);
            (task.future.take().unwrap(), task.waker.clone())
        };
        let done = future
            .as_mut()
            .poll(&mut Context::from_waker(&waker))
            .is_ready();
        let mut tasks = self.0.tasks.borrow_mut();
        if done {
            tasks[id] = None;
            drop(tasks);
            drop(future); // may close links, which looks into the world
        } else {
            tasks[id].as_mut().unwrap().future = Some(future);
        }
    }

    fn pass_time(&self, end: u64) -> bool {
        loop {
            let Some(Reverse((at, _, event))) = self.0.events.borrow().peek().copied() else {
                return false;
            };
            if let Event::Wake(slot, generation) = event
                && self.0.slots.borrow()[slot].generation != generation
            {
                self.0.events.borrow_mut().pop(); // its sleep was dropped: no time passes
                continue;
            }
            if at > end {
                return false;
            }
            self.0.events.borrow_mut().pop();
            assert!(at >= self.0.now.get(), "time goes backwards");
            self.0.now.set(at);
            self.note(at);
            match event {
                Event::Wake(slot, _) => {
                    let mut slots = self.0.slots.borrow_mut();
                    slots[slot].is_over = true;
                    if let Some(waker) = slots[slot].waker.take() {
                        waker.wake();
                    }
                }
                other => self.happens(other),
            }
            return true;
        }
    }
}

impl Host for World {
    type Stream = SimLink;
    type Listener = SimListener;

    fn now(&self) -> Instant {
        Instant::from_nanos(self.0.now.get())
    }

    fn wall_nanos(&self) -> u64 {
        WALL_START + self.0.now.get()
    }

    fn sleep_until(&self, at: Instant) -> impl Future<Output = ()> {
        Sleep {
            world: self.clone(),
            at,
            slot: None,
        }
    }

    fn listen(&self, at: SocketAddr) -> io::Result<SimListener> {
        Ok(self.bind(at))
    }

    fn local_addr(&self, listener: &SimListener) -> io::Result<SocketAddr> {
        Ok(listener.addr())
    }

    fn accept(&self, on: &SimListener) -> impl Future<Output = io::Result<SimLink>> {
        Accepting::new(on)
    }

    fn connect(&self, to: SocketAddr) -> impl Future<Output = io::Result<SimLink>> {
        self.clone().dial(to)
    }

    fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        let is_ready = Arc::new(Flag(AtomicBool::new(true)));
        let waker = Waker::from(is_ready.clone());
        let task = Task {
            future: Some(Box::pin(task)),
            is_ready,
            waker,
        };
        let mut tasks = self.0.tasks.borrow_mut();
        match tasks.iter_mut().find(|t| t.is_none()) {
            Some(place) => *place = Some(task),
            None => tasks.push(Some(task)),
        }
    }

    fn breathe(&self) -> impl Future<Output = ()> {
        let mut has_waited = false;
        std::future::poll_fn(move |cx| {
            if std::mem::replace(&mut has_waited, true) {
                return Poll::Ready(());
            }
            cx.waker().wake_by_ref();
            Poll::Pending
        })
    }
}

struct Sleep {
    world: World,
    at: Instant,
    slot: Option<usize>,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let inner = self.world.0.clone();
        let Some(slot) = self.slot else {
            if inner.now.get() >= self.at.as_nanos() {
                return Poll::Ready(());
            }
            if self.at == Instant::FAR {
                return Poll::Pending; // nothing will ever wake it, and no timer keeps time going
            }
            let free = inner.free.borrow_mut().pop();
            let mut slots = inner.slots.borrow_mut();
            let slot = free.unwrap_or_else(|| {
                slots.push(Slot::default());
                slots.len() - 1
            });
            slots[slot].is_over = false;
            slots[slot].waker = Some(cx.waker().clone());
            let late = inner.rng.range(0, inner.faults.late_us) * 1000; // I3
            let event = Event::Wake(slot, slots[slot].generation);
            self.world
                .at(self.at.as_nanos().saturating_add(late), event);
            self.slot = Some(slot);
            return Poll::Pending;
        };
        let mut slots = inner.slots.borrow_mut();
        if slots[slot].is_over {
            return Poll::Ready(());
        }
        slots[slot].waker = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(slot) = self.slot {
            let mut slots = self.world.0.slots.borrow_mut();
            slots[slot].generation += 1;
            slots[slot].waker = None;
            self.world.0.free.borrow_mut().push(slot);
        }
    }
}
