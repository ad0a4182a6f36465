//! Starts the shards and keeps the lines to them.

use super::gossip::{self, Ears};
use crate::cache::entry::Account;
use crate::config::Config;
use crate::config::model::Sockets;
use crate::host::launch::{self, Running};
use crate::host::mesh::{self, Inlet, Outlet, Receiver, Sender};
use crate::host::ring::{self, Ring};
use crate::host::tls::Secure;
use crate::host::uring::Uring;
use crate::host::{Host, clock, listen};
use crate::shard::log::{Entry, Format, Log};
use crate::shard::orders::{Answer, Order, Outcome, Report, Task, carry_out};
use crate::shard::serve::{accept_loop, ticker};
use crate::shard::tls::TlsFiles;
use crate::shard::{Setup, Shard};
use std::cell::Cell;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::SyncSender;
use std::time::Duration;

/// Orders in flight to a shard, at most.
const ORDERS_MAX: usize = 64;

/// How often somebody who waits to ask a shard looks whether it is free.
const TURN: Duration = Duration::from_millis(2);

/// What a shard says when it listens, or why it cannot.
pub type Listening = Result<(), String>;

/// The ends of a shard's lines, to be bound on the control executor.
#[derive(Debug)]
pub struct Line {
    orders: Sender<Order>,
    answers: Receiver<Answer>,
}

/// The bound lines to a shard.
#[derive(Debug)]
pub struct Bound {
    orders: Outlet<Order>,
    answers: Inlet<Answer>,
    /// The number of the last order.
    asked: Cell<u64>,
    /// Somebody waits for an answer.
    is_asking: Cell<bool>,
}

/// The one who asks at the moment; ends also when its future is dropped.
struct Asking<'a>(&'a Cell<bool>);

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        self.0.set(false);
    }
}

impl Line {
    /// Binds the ends; waits for the shard to do the same.
    pub async fn bind(self) -> Bound {
        Bound {
            orders: self.orders.connect().await,
            answers: self.answers.connect().await,
            asked: Cell::new(0),
            is_asking: Cell::new(false),
        }
    }
}

impl Bound {
    /// Gives an order and waits for what comes of it; `None` when the shard is gone. One order
    /// at a time; the answer to one that was given up is passed over.
    pub async fn order(&self, what: Task) -> Option<Outcome> {
        while self.is_asking.replace(true) {
            Uring.sleep_until(Uring.now() + TURN).await;
        }
        let asking = Asking(&self.is_asking);
        let number = self.asked.get() + 1;
        self.asked.set(number);
        let mut answer = None;
        if self.orders.send(Order { number, what }).await {
            answer = self.answers.recv().await;
            while answer.as_ref().is_some_and(|answer| answer.number < number) {
                answer = self.answers.recv().await;
            }
        }
        drop(asking);
        answer.map(|answer| answer.outcome)
    }

    /// Asks for the shard's counters; `None` when it is gone.
    pub async fn report(&self) -> Option<Report> {
        match self.order(Task::Report).await? {
            Outcome::Report(report) => Some(*report),
            Outcome::Done | Outcome::Refused(_) => None,
        }
    }
}

/// What the shards of a process share when they start.
#[derive(Clone, Debug)]
pub struct Common {
    /// The checked configuration.
    pub config: Arc<Config>,
    /// Addresses of each provider.
    pub addresses: Vec<Vec<SocketAddr>>,
    /// How log lines look.
    pub format: Format,
    /// Where they go.
    pub log: SyncSender<Entry>,
    /// How sockets are driven: `Ring` or `Poll`.
    pub sockets: Sockets,
    /// Where a shard says that it listens.
    pub ready: SyncSender<Listening>,
    /// What TLS needs.
    pub tls: Option<Arc<TlsFiles>>,
    /// Whether the listening sockets live on somewhere else.
    pub is_shared: Arc<AtomicBool>,
    /// What stored answers hold.
    pub account: Arc<Account>,
}

/// How sockets are driven on this machine: what the configuration says, or what there is,
/// with the reason when that is not the ring.
///
/// # Errors
/// When the ring is demanded and cannot be had.
pub fn choose(wanted: Sockets) -> Result<(Sockets, Option<String>), String> {
    match (wanted, ring::available()) {
        (Sockets::Poll, _) => Ok((Sockets::Poll, None)),
        (_, Ok(())) => Ok((Sockets::Ring, None)),
        (Sockets::Auto, Err(why)) => Ok((Sockets::Poll, Some(why))),
        (Sockets::Ring, Err(why)) => Err(format!("server.sockets = \"ring\": {why}")),
    }
}

/// Starts shard `index` of `shards` on `cpu`, accepting on the sockets of `listen`.
///
/// # Errors
/// When its thread cannot be started; everything later comes over `common.ready`.
pub fn start(
    common: &Common,
    (index, shards): (usize, usize),
    cpu: Option<usize>,
    (listen, ears): (Vec<OwnedFd>, Ears),
) -> io::Result<(Running, Line)> {
    let (orders, order_end) = mesh::channel(ORDERS_MAX);
    let (answer_end, answers) = mesh::channel(ORDERS_MAX);
    let common = common.clone();
    let running = launch::start(&format!("shard-{index}"), cpu, move || async move {
        let seat = Seat {
            index,
            shards,
            listen,
            orders: order_end,
            answers: answer_end,
            ears,
        };
        match common.sockets {
            Sockets::Poll => seat.run(Secure(Uring), common).await,
            Sockets::Auto | Sockets::Ring => match Ring::start() {
                Ok(ring) => seat.run(Secure(ring), common).await,
                Err(error) => {
                    let why = format!("no completion ring for shard {index}: {error}");
                    drop(common.ready.send(Err(why))); // nobody listens: nobody needs it
                }
            },
        }
    })?;
    Ok((running, Line { orders, answers }))
}

/// What a shard is given at its start.
struct Seat {
    index: usize,
    shards: usize,
    listen: Vec<OwnedFd>,
    orders: Receiver<Order>,
    answers: Sender<Answer>,
    ears: Ears,
}

impl Seat {
    /// Runs the shard on `host` for as long as the process lives.
    async fn run<H: Host>(self, host: H, common: Common) {
        let Self {
            index,
            shards,
            listen,
            orders,
            answers,
            ears,
        } = self;
        let Common {
            config,
            addresses,
            format,
            log,
            sockets: _,
            ready,
            tls,
            is_shared,
            account,
        } = common;
        let seed = host.wall_nanos() ^ (index as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let setup = Setup {
            index,
            shards,
            config,
            addresses,
            tls,
            seed,
            log: Log::new(format, log),
            account,
        };
        let shard = Shard::new(host, setup);
        let listening = listen_all(&shard, listen, &is_shared);
        let is_up = listening.is_ok();
        if ready.send(listening).is_ok() && is_up {
            shard.host.spawn(obey(Rc::clone(&shard), orders, answers));
            gossip::join(&shard, ears);
            ticker(shard).await;
        }
    }
}

/// Accepts on the sockets until the shard drains. Then they refuse, at once and although control
/// has them too, unless they live on somewhere else.
fn listen_all<H: Host>(
    shard: &Rc<Shard<H>>,
    listen: Vec<OwnedFd>,
    is_shared: &Arc<AtomicBool>,
) -> Listening {
    for fd in listen {
        let failed = |error: io::Error| format!("cannot accept on a listening socket: {error}");
        let own = fd.try_clone().map_err(failed)?;
        let listener = shard.host.listen_on(fd).map_err(failed)?;
        let accepting = accept_loop(Rc::clone(shard), listener);
        let is_shared = Arc::clone(is_shared);
        shard.host.spawn(async move {
            accepting.await;
            if !is_shared.load(Ordering::Relaxed) {
                listen::hush(&own);
            }
        });
    }
    Ok(())
}

/// Carries out orders for as long as control lives, and answers each once.
async fn obey<H: Host>(shard: Rc<Shard<H>>, orders: Receiver<Order>, answers: Sender<Answer>) {
    let orders = orders.connect().await;
    let answers = answers.connect().await;
    while let Some(Order { number, what }) = orders.recv().await {
        let cpu_nanos = clock::thread_cpu_nanos();
        let carried = catch_unwind(AssertUnwindSafe(|| carry_out(&shard, &what, cpu_nanos)));
        let outcome = carried.unwrap_or_else(|_| {
            shard.counters.borrow_mut().panics += 1;
            Outcome::Refused(format!("shard {} panicked over it", shard.index))
        });
        // Control asks one thing at a time and takes every answer, so there is room.
        answers.send(Answer { number, outcome }).await;
    }
}
