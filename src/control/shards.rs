//! Starts the shards and keeps the lines to them.

use super::gossip::{self, Ears};
use crate::config::Config;
use crate::config::model::Sockets;
use crate::host::launch::{self, Running};
use crate::host::mesh::{self, Inlet, Outlet, Receiver, Sender};
use crate::host::ring::{self, Ring};
use crate::host::uring::Uring;
use crate::host::{Host, clock};
use crate::shard::log::{Entry, Format, Log};
use crate::shard::orders::{Order, Report, report};
use crate::shard::serve::{accept_loop, ticker};
use crate::shard::{Setup, Shard};
use std::cell::Cell;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::Duration;

/// Orders in flight to a shard, at most.
const ORDERS_MAX: usize = 64;

/// How often somebody who waits to ask a shard looks whether it is free.
const TURN: Duration = Duration::from_millis(2);

/// What a shard says when it listens, or why it cannot: its data addresses.
pub type Listening = Result<Vec<SocketAddr>, String>;

/// The ends of a shard's lines, to be bound on the control executor.
#[derive(Debug)]
pub struct Line {
    orders: Sender<Order>,
    reports: Receiver<Report>,
}

/// The bound lines to a shard.
#[derive(Debug)]
pub struct Bound {
    orders: Outlet<Order>,
    reports: Inlet<Report>,
    /// The number of the last question.
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
            reports: self.reports.connect().await,
            asked: Cell::new(0),
            is_asking: Cell::new(false),
        }
    }
}

impl Bound {
    /// Gives an order. False when the shard is gone.
    pub async fn order(&self, order: Order) -> bool {
        self.orders.send(order).await
    }

    /// Asks for the shard's counters; `None` when it is gone. One question at a time; the
    /// answer to one that was given up is passed over.
    pub async fn report(&self) -> Option<Report> {
        while self.is_asking.replace(true) {
            Uring.sleep_until(Uring.now() + TURN).await;
        }
        let asking = Asking(&self.is_asking);
        let number = self.asked.get() + 1;
        self.asked.set(number);
        let mut answer = None;
        if self.orders.send(Order::Report(number)).await {
            answer = self.reports.recv().await;
            while answer.as_ref().is_some_and(|report| report.number < number) {
                answer = self.reports.recv().await;
            }
        }
        drop(asking);
        answer
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

/// Starts shard `index` of `shards` on `cpu`, listening at `listen`.
///
/// # Errors
/// When its thread cannot be started; everything later comes over `common.ready`.
pub fn start(
    common: &Common,
    (index, shards): (usize, usize),
    cpu: Option<usize>,
    listen: Vec<SocketAddr>,
    ears: Ears,
) -> io::Result<(Running, Line)> {
    let (orders, order_end) = mesh::channel(ORDERS_MAX);
    let (report_end, reports) = mesh::channel(ORDERS_MAX);
    let common = common.clone();
    let running = launch::start(&format!("shard-{index}"), cpu, move || async move {
        let seat = Seat {
            index,
            shards,
            listen,
            orders: order_end,
            reports: report_end,
            ears,
        };
        match common.sockets {
            Sockets::Poll => seat.run(Uring, common).await,
            Sockets::Auto | Sockets::Ring => match Ring::start() {
                Ok(ring) => seat.run(ring, common).await,
                Err(error) => {
                    let why = format!("no completion ring for shard {index}: {error}");
                    drop(common.ready.send(Err(why))); // nobody listens: nobody needs it
                }
            },
        }
    })?;
    Ok((running, Line { orders, reports }))
}

/// What a shard is given at its start.
struct Seat {
    index: usize,
    shards: usize,
    listen: Vec<SocketAddr>,
    orders: Receiver<Order>,
    reports: Sender<Report>,
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
            reports,
            ears,
        } = self;
        let Common {
            config,
            addresses,
            format,
            log,
            sockets: _,
            ready,
        } = common;
        let seed = host.wall_nanos() ^ (index as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let setup = Setup {
            index,
            shards,
            config,
            addresses,
            seed,
            log: Log::new(format, log),
        };
        let shard = Shard::new(host, setup);
        let listening = listen_all(&shard, &listen);
        let is_up = listening.is_ok();
        if ready.send(listening).is_ok() && is_up {
            shard.host.spawn(obey(Rc::clone(&shard), orders, reports));
            gossip::join(&shard, ears);
            ticker(shard).await;
        }
    }
}

fn listen_all<H: Host>(shard: &Rc<Shard<H>>, listen: &[SocketAddr]) -> Listening {
    let mut addresses = Vec::new();
    for &at in listen {
        let failed = |error: io::Error| format!("cannot listen on {at}: {error}");
        let listener = shard.host.listen(at).map_err(failed)?;
        addresses.push(shard.host.local_addr(&listener).map_err(failed)?);
        shard.host.spawn(accept_loop(Rc::clone(shard), listener));
    }
    Ok(addresses)
}

/// Carries out orders for as long as control lives.
async fn obey<H: Host>(shard: Rc<Shard<H>>, orders: Receiver<Order>, reports: Sender<Report>) {
    let orders = orders.connect().await;
    let reports = reports.connect().await;
    while let Some(order) = orders.recv().await {
        match order {
            Order::Drain => shard.drain(),
            Order::Addresses(provider, addresses) => {
                if let Some(upstream) = shard.upstreams.get(provider) {
                    upstream.set_addresses(&addresses);
                }
            }
            Order::Report(number) => {
                // Without room the questions before were given up, and their answers wait.
                reports.try_send(report(&shard, number, clock::thread_cpu_nanos()));
            }
        }
    }
}
