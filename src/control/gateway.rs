//! A running gateway: its shards, its control executor, and how to stop it.

use super::admin::{self, Admin};
use super::shards::{self, Common, Line};
use super::{gossip, logger, resolve};
use crate::config::Config;
use crate::config::model::Sockets;
use crate::host::Host;
use crate::host::bell::Ringer;
use crate::host::launch::{self, Running};
use crate::host::uring::Uring;
use crate::shard::log::{Entry, Format};
use crate::shard::orders::Order;
use futures_lite::FutureExt as _;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

/// How often control looks whether a shard died and for new addresses; a signal rings.
const LOOK: Duration = Duration::from_millis(500);

/// How often control looks whether the last exchange has ended.
const DRAIN_LOOK: Duration = Duration::from_millis(50);

/// Run on; drain; drain without patience.
const RUN: u8 = 0;
const DRAIN: u8 = 1;
const HURRY: u8 = 2;

/// Asks a gateway to stop. Clones ask the same one.
#[derive(Clone, Debug)]
pub struct Stop(Arc<AtomicU8>, Ringer);

impl Stop {
    /// Nobody has asked yet.
    fn new() -> io::Result<Self> {
        Ok(Self(Arc::default(), Ringer::new()?))
    }

    /// Lets running exchanges end, within `timeouts.drain`.
    pub fn drain(&self) {
        self.0.fetch_max(DRAIN, Ordering::Relaxed);
        self.1.ring();
    }

    /// Ends at once.
    pub fn hurry(&self) {
        self.0.store(HURRY, Ordering::Relaxed);
        self.1.ring();
    }

    /// Whether it was asked to stop.
    pub fn is_asked(&self) -> bool {
        self.0.load(Ordering::Relaxed) != RUN
    }
}

/// A gateway that listens.
#[derive(Debug)]
pub struct Gateway {
    /// Addresses of the data plane, as they were bound.
    pub listen: Vec<SocketAddr>,
    /// Address of the admin plane.
    pub admin: Option<SocketAddr>,
    /// Number of shards.
    pub shards: usize,
    /// How its sockets are driven.
    pub sockets: Sockets,
    /// Ends it.
    pub stop: Stop,
    control: Running,
    ended: Receiver<Result<u64, String>>,
    /// Dropped at the end: the resolver stops.
    _resolver: SyncSender<()>,
}

impl Gateway {
    /// Starts shards and control, and returns when all of them listen. Log lines in
    /// `format` go to `log`.
    ///
    /// # Errors
    /// Why it cannot listen or start.
    pub fn start(
        config: &Arc<Config>,
        format: Format,
        log: &SyncSender<Entry>,
    ) -> Result<Self, String> {
        let cpus =
            launch::allowed_cpus().map_err(|error| format!("cannot read the CPUs: {error}"))?;
        let count = config.server.shards.unwrap_or(cpus.len()).max(1);
        let (sockets, why) = shards::choose(config.server.sockets)?;
        if let Some(why) = why {
            let said = format!("sockets go by readiness, which costs more CPU: {why}");
            drop(log.try_send(logger::event(format, &said))); // see logger
        }
        let (ready, is_ready) = sync_channel(count);
        let addresses = resolve::all(config);
        let common = Common {
            config: Arc::clone(config),
            addresses,
            format,
            log: log.clone(),
            sockets,
            ready,
        };
        let mut listen = config.server.listen.clone();
        let mut lines = Vec::new();
        for (index, ears) in gossip::mesh(count).into_iter().enumerate() {
            let cpu = cpus.get(index % cpus.len().max(1)).copied();
            let failed = |error: io::Error| format!("cannot start shard {index}: {error}");
            let (running, line) = shards::start(&common, (index, count), cpu, listen.clone(), ears)
                .map_err(failed)?;
            match is_ready.recv() {
                // The first shard's ports are everybody's, also where the file says 0.
                Ok(Ok(bound)) => listen = bound,
                Ok(Err(why)) => return Err(why),
                Err(_) => {
                    return Err(running
                        .join()
                        .err()
                        .unwrap_or_else(|| format!("shard {index} ended")));
                }
            }
            lines.push((line, running));
        }
        let (resolver, resolver_end) = sync_channel(1);
        let updates = resolve::start(config, common.addresses, resolver_end)
            .map_err(|error| error.to_string())?;
        let stop = Stop::new().map_err(|error| error.to_string())?;
        let (control, admin, ended) =
            start_control(config, lines, updates, &stop, (format, log.clone()))?;
        Ok(Self {
            listen,
            admin,
            shards: count,
            sockets,
            stop,
            control,
            ended,
            _resolver: resolver,
        })
    }

    /// Waits until it has stopped; gives the number of exchanges that were cut off.
    ///
    /// # Errors
    /// When control or a shard died.
    pub fn wait(self) -> Result<u64, String> {
        let cut = self
            .ended
            .recv()
            .map_err(|_| "the control executor ended unasked".to_owned())??;
        self.control.join()?;
        Ok(cut)
    }
}

type Control = (Running, Option<SocketAddr>, Receiver<Result<u64, String>>);

fn start_control(
    config: &Arc<Config>,
    lines: Vec<(Line, Running)>,
    updates: Receiver<resolve::Update>,
    stop: &Stop,
    (format, log): (Format, SyncSender<Entry>),
) -> Result<Control, String> {
    let (ready, is_ready) = sync_channel::<Result<Option<SocketAddr>, String>>(1);
    let (ended, has_ended) = sync_channel(1);
    let (config, stop) = (Arc::clone(config), stop.clone());
    let running = launch::start("control", None, move || async move {
        let mut bound = Vec::with_capacity(lines.len());
        let mut threads = Vec::with_capacity(lines.len());
        for (line, running) in lines {
            bound.push(line.bind().await);
            threads.push(running);
        }
        let admin = Admin::new(Arc::clone(&config), bound);
        let listening = listen_admin(&admin);
        let is_up = listening.is_ok();
        if ready.send(listening).is_err() || !is_up {
            return;
        }
        let cut = run(&admin, &threads, &updates, &stop, (format, &log)).await;
        drop(ended.send(cut)); // nobody waits: then nobody asks either
    })
    .map_err(|error| format!("cannot start the control executor: {error}"))?;
    match is_ready.recv() {
        Ok(listening) => Ok((running, listening?, has_ended)),
        Err(_) => Err(running
            .join()
            .err()
            .unwrap_or_else(|| "control ended".to_owned())),
    }
}

fn listen_admin(admin: &Rc<Admin>) -> Result<Option<SocketAddr>, String> {
    let Some(at) = admin.config.server.admin else {
        return Ok(None);
    };
    let failed = |error: io::Error| format!("cannot listen on {at} (server.admin): {error}");
    let listener = Uring.listen(at).map_err(failed)?;
    let bound = Uring.local_addr(&listener).map_err(failed)?;
    Uring.spawn(admin::accept_loop(Rc::clone(admin), listener));
    Ok(Some(bound))
}

/// Control's own work until it is asked to stop; gives how many exchanges were cut off. A
/// shard that died takes the process with it: its clients would hang, and whoever started
/// the process knows how to start it again.
async fn run(
    admin: &Rc<Admin>,
    threads: &[Running],
    updates: &Receiver<resolve::Update>,
    stop: &Stop,
    (format, log): (Format, &SyncSender<Entry>),
) -> Result<u64, String> {
    let mut bell = stop.1.bell().map_err(|error| error.to_string())?;
    while !stop.is_asked() {
        if let Some(shard) = threads.iter().position(Running::is_finished) {
            return Err(format!("shard {shard} died"));
        }
        while let Ok((provider, addresses)) = updates.try_recv() {
            for shard in &admin.shards {
                shard
                    .order(Order::Addresses(provider, addresses.clone()))
                    .await;
            }
        }
        let heard = poll_fn(|cx| bell.poll_heard(cx));
        heard.or(Uring.sleep_until(Uring.now() + LOOK)).await;
    }
    admin.is_draining.set(true);
    for shard in &admin.shards {
        shard.order(Order::Drain).await;
    }
    let said = logger::event(format, "draining: new requests end their connections");
    drop(log.try_send(said)); // a full log loses this line and nothing else
    let until = Uring.now() + admin.config.timeouts.drain;
    loop {
        let open: u64 = admin
            .reports()
            .await
            .iter()
            .map(|r| r.counters.exchanges_open)
            .sum();
        if open == 0 || Uring.now() >= until || stop.0.load(Ordering::Relaxed) == HURRY {
            // One more tick of every shard, so that the last log lines are handed over.
            Uring
                .sleep_until(Uring.now() + crate::shard::TICK + DRAIN_LOOK)
                .await;
            return Ok(open);
        }
        Uring.sleep_until(Uring.now() + DRAIN_LOOK).await;
    }
}
