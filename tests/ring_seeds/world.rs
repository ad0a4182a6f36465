//! One world: a ring with its tasks and raw peers, what they found wrong, and how it ends.
//!
//! ```text
//!   spawn(task) ──► Berth { task } ◄── glommio polls it
//!                      ▲
//!                      └── sink(): the future is dropped between two polls, whatever it waits for
//! ```
//!
//! Invariants
//! - I1 A world that ends quietly ends all its tasks by themselves, within [`STUCK_MAX`].
//! - I2 Once nothing runs, no operation is in flight and no block is lent, within [`REST_MAX`].

use crate::rng::Rng;
use shardgate::base::bufpool::BufPool;
use shardgate::base::time::Instant;
use shardgate::host::ring::{Listener, Ring};
use shardgate::host::{Host, clock};
use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::{Future, poll_fn};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::thread::JoinHandle;
use std::time::Duration;

/// Longest that a world may take until everything in it has ended.
pub(crate) const STUCK_MAX: Duration = Duration::from_secs(30);

/// Longest that the kernel may take to end what was in flight when its owners went.
pub(crate) const REST_MAX: Duration = Duration::from_secs(5);

/// Raw peers that run, those of worlds that nobody waits for included.
pub(crate) static PEERS: AtomicUsize = AtomicUsize::new(0);

/// What happened in worlds, counted, so that a hunt that meets nothing is noticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Deed {
    /// A read was given up while it waited.
    ReadCut,
    /// A flush was given up while it waited.
    FlushCut,
    /// Bytes were handed over.
    HandedOver,
    /// A connect was given up while it waited.
    ConnectCut,
    /// An accept was given up while it waited.
    AcceptCut,
    /// A socket went with a receive in flight.
    DroppedReading,
    /// A socket went with a send in flight.
    DroppedSending,
    /// FIN was asked for with a send in flight.
    FinishedSending,
    /// A listener went with an accept in flight.
    ListenerDropped,
    /// A reset was asked for.
    Reset,
    /// A read or flush failed because the other side had gone.
    Broken,
    /// A connect was refused.
    Refused,
    /// More receives waited at once than there are provided blocks.
    Crowded,
    /// A task was dropped from outside, between two polls.
    Sunk,
    /// A connection carried all that it should, both ways.
    Whole,
    /// Bytes that arrived and were right.
    Bytes,
}

/// How many deeds there are.
pub(crate) const DEEDS: usize = Deed::Bytes as usize + 1;

/// Every deed, in its own order.
pub(crate) const ALL: [Deed; DEEDS] = [
    Deed::ReadCut,
    Deed::FlushCut,
    Deed::HandedOver,
    Deed::ConnectCut,
    Deed::AcceptCut,
    Deed::DroppedReading,
    Deed::DroppedSending,
    Deed::FinishedSending,
    Deed::ListenerDropped,
    Deed::Reset,
    Deed::Broken,
    Deed::Refused,
    Deed::Crowded,
    Deed::Sunk,
    Deed::Whole,
    Deed::Bytes,
];

/// A task that can be dropped from outside.
pub(crate) struct Berth {
    name: String,
    task: RefCell<Option<Pin<Box<dyn Future<Output = ()>>>>>,
    waker: Cell<Option<Waker>>,
}

impl Berth {
    fn poll(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut slot = self.task.borrow_mut();
        let Some(task) = slot.as_mut() else {
            return Poll::Ready(());
        };
        if task.as_mut().poll(cx).is_ready() {
            *slot = None;
            return Poll::Ready(());
        }
        self.waker.set(Some(cx.waker().clone()));
        Poll::Pending
    }

    /// Drops the task wherever it stands. Returns whether there was one.
    pub(crate) fn sink(&self) -> bool {
        let task = self.task.borrow_mut().take();
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
        task.is_some()
    }

    fn is_afloat(&self) -> bool {
        self.task.borrow().is_some()
    }
}

/// What the tasks of a world share; clones share it.
#[derive(Clone)]
pub(crate) struct World {
    pub(crate) host: Ring,
    pub(crate) pool: BufPool,
    /// Everything is over: what breaks from now on is meant to.
    pub(crate) over: Arc<AtomicBool>,
    book: Rc<Book>,
}

#[derive(Default)]
struct Book {
    faults: RefCell<Vec<String>>,
    deeds: RefCell<[u64; DEEDS]>,
    crew: RefCell<Vec<Rc<Berth>>>,
    peers: RefCell<Vec<JoinHandle<Raw>>>,
    kept: RefCell<Vec<OwnedFd>>,
}

/// What a peer on a thread of its own has to say: bytes that were right, or what was wrong.
pub(crate) type Raw = Result<u64, String>;

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("World")
    }
}

impl World {
    pub(crate) fn new(host: Ring) -> Self {
        Self {
            host,
            pool: BufPool::new(),
            over: Arc::new(AtomicBool::new(false)),
            book: Rc::new(Book::default()),
        }
    }

    /// The law is broken.
    pub(crate) fn fault(&self, what: String) {
        self.book.faults.borrow_mut().push(what);
    }

    pub(crate) fn count(&self, deed: Deed, times: u64) {
        self.book.deeds.borrow_mut()[deed as usize] += times;
    }

    /// Runs `task` until it ends or is sunk.
    pub(crate) fn spawn(
        &self,
        name: String,
        task: impl Future<Output = ()> + 'static,
    ) -> Rc<Berth> {
        let berth = Rc::new(Berth {
            name,
            task: RefCell::new(Some(Box::pin(task))),
            waker: Cell::new(None),
        });
        self.book.crew.borrow_mut().push(Rc::clone(&berth));
        let polled = Rc::clone(&berth);
        self.host.spawn(poll_fn(move |cx| polled.poll(cx)));
        berth
    }

    /// Keeps `fd` open until the world has come to rest.
    pub(crate) fn keep(&self, fd: OwnedFd) {
        self.book.kept.borrow_mut().push(fd);
    }

    /// Runs `peer` on a thread of its own.
    pub(crate) fn thread(&self, peer: impl FnOnce() -> Raw + Send + 'static) {
        PEERS.fetch_add(1, Ordering::SeqCst);
        let run = move || {
            let said = peer();
            PEERS.fetch_sub(1, Ordering::SeqCst);
            said
        };
        self.book.peers.borrow_mut().push(std::thread::spawn(run));
    }

    pub(crate) async fn pause(&self, time: Duration) {
        self.host.sleep_until(self.host.now() + time).await;
    }

    /// Lets others run, for a moment or for up to `most`.
    pub(crate) async fn rest(&self, rng: &Rng, most: Duration) {
        if rng.chance(800) {
            self.host.breathe().await;
        } else {
            let micros = u64::try_from(most.as_micros()).unwrap();
            self.pause(Duration::from_micros(rng.range(0, micros)))
                .await;
        }
    }

    /// A listener on loopback, of either family.
    pub(crate) fn listen(&self, rng: &Rng) -> (Listener, SocketAddr) {
        let six = SocketAddr::from((Ipv6Addr::LOCALHOST, 0));
        let six = rng.chance(200).then(|| self.host.listen(six).ok());
        let listener = six.flatten().unwrap_or_else(|| {
            let four = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
            self.host.listen(four).unwrap()
        });
        let at = self.host.local_addr(&listener).unwrap();
        (listener, at)
    }

    /// Waits until everything has ended by itself (I1).
    pub(crate) async fn until_done(&self) {
        let patience = Patience::new(STUCK_MAX);
        while self.is_busy() {
            if patience.is_over() {
                let crew = self.book.crew.borrow();
                let afloat = crew.iter().filter(|berth| berth.is_afloat());
                let names: Vec<_> = afloat.map(|berth| berth.name.clone()).collect();
                let peers = self.book.peers.borrow();
                let peers = peers.iter().filter(|peer| !peer.is_finished()).count();
                self.fault(format!("stuck: {names:?} and {peers} raw peers"));
                break;
            }
            self.pause(Duration::from_millis(1)).await;
        }
    }

    fn is_busy(&self) -> bool {
        self.book
            .crew
            .borrow_mut()
            .retain(|berth| berth.is_afloat());
        let mut peers = self.book.peers.borrow_mut();
        let (done, running) = peers.drain(..).partition(JoinHandle::is_finished);
        *peers = running;
        drop(peers);
        for peer in Vec::from_iter::<Vec<JoinHandle<Raw>>>(done) {
            match peer
                .join()
                .unwrap_or_else(|_| Err("it panicked".to_owned()))
            {
                Ok(bytes) => self.count(Deed::Bytes, bytes),
                Err(_) if self.over.load(Ordering::SeqCst) => {}
                Err(fault) => self.fault(format!("raw peer: {fault}")),
            }
        }
        !self.book.crew.borrow().is_empty() || !self.book.peers.borrow().is_empty()
    }

    /// Drops every task, wherever it stands.
    pub(crate) fn sink_all(&self) {
        self.over.store(true, Ordering::SeqCst);
        // Tasks may spawn, but not when they are dropped.
        let crew = std::mem::take(&mut *self.book.crew.borrow_mut());
        for berth in crew {
            self.count(Deed::Sunk, u64::from(berth.sink()));
        }
    }

    /// I2.
    pub(crate) async fn until_rest(&self) {
        let patience = Patience::new(REST_MAX);
        loop {
            let left = (self.host.in_flight(), self.host.lent(), self.pool.lent());
            if left == (0, 0, 0) {
                return;
            }
            if patience.is_over() {
                let what = "left behind (operations, received, own)";
                return self.fault(format!("{what}: {left:?}"));
            }
            self.pause(Duration::from_millis(1)).await;
        }
    }

    /// What went wrong and what was done.
    pub(crate) fn report(&self) -> (Vec<String>, [u64; DEEDS]) {
        let faults = std::mem::take(&mut *self.book.faults.borrow_mut());
        (faults, *self.book.deeds.borrow())
    }
}

/// A bounded wait.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience(Instant);

impl Patience {
    pub(crate) fn new(most: Duration) -> Self {
        Self(clock::now() + most)
    }

    pub(crate) fn is_over(self) -> bool {
        clock::now() >= self.0
    }
}

/// Polls `future` at most `polls` times, waiting for its wake-up in between, then drops it.
pub(crate) async fn cut_after<T>(polls: u64, future: impl Future<Output = T>) -> Option<T> {
    let mut future = std::pin::pin!(future);
    let mut left = polls;
    poll_fn(|cx| {
        left -= 1;
        match future.as_mut().poll(cx) {
            Poll::Ready(value) => Poll::Ready(Some(value)),
            Poll::Pending if left == 0 => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

/// Runs `future` until `time` has passed, then drops it.
pub(crate) async fn within<T>(
    world: &World,
    time: Duration,
    future: impl Future<Output = T>,
) -> Option<T> {
    let mut future = std::pin::pin!(future);
    let mut timer = std::pin::pin!(world.pause(time));
    poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(value) => Poll::Ready(Some(value)),
        Poll::Pending => timer.as_mut().poll(cx).map(|()| None),
    })
    .await
}
