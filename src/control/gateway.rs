//! A running gateway: its shards, its control executor, and how to stop it.

use super::admin::{self, Admin};
use super::listeners::Listeners;
use super::notify::Notify;
use super::shards::{self, Common, Line};
use super::{logger, resolve, succession, watchdog};
use crate::config::Config;
use crate::config::model::Sockets;
use crate::host::Host;
use crate::host::bell::Ringer;
use crate::host::launch::{self, Running};
use crate::host::uring::Uring;
use crate::shard::log::{Entry, Format};
use crate::shard::orders::Order;
use crate::sys::inherit::Inherited;
use futures_lite::FutureExt as _;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

/// How often control looks whether a shard died and for new addresses; a signal rings.
const LOOK: Duration = Duration::from_millis(500);

/// How often control looks whether the last exchange has ended.
const DRAIN_LOOK: Duration = Duration::from_millis(50);

/// After a hand-over: how long a client's connection must have been silent before it is closed
/// under it. Whoever sends within this time is answered, and told to come anew.
const QUIET: Duration = Duration::from_secs(5);

/// Run on; drain; drain without patience.
const RUN: u8 = 0;
const DRAIN: u8 = 1;
const HURRY: u8 = 2;

/// Asks a gateway to stop. Clones ask the same one.
#[derive(Clone, Debug)]
pub struct Stop(Arc<AtomicU8>, Ringer, Arc<AtomicBool>);

impl Stop {
    /// Nobody has asked yet.
    fn new() -> io::Result<Self> {
        Ok(Self(Arc::default(), Ringer::new()?, Arc::default()))
    }

    /// Lets running exchanges end, within `timeouts.drain`.
    pub fn drain(&self) {
        self.0.fetch_max(DRAIN, Ordering::Relaxed);
        self.1.ring();
    }

    /// As [`Stop::drain`]; a successor accepts on the same sockets.
    pub fn hand_over(&self) {
        self.2.store(true, Ordering::Relaxed);
        self.drain();
    }

    /// Whether a successor has the sockets.
    pub fn is_handed_over(&self) -> bool {
        self.2.load(Ordering::Relaxed)
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
    /// Its listening sockets.
    pub listeners: Arc<Listeners>,
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
        Self::start_with(config, (format, log), Vec::new(), &Notify::default())
    }

    /// As [`Gateway::start`], on sockets that were opened by somebody else, as far as they
    /// fit, and with a service manager who wants to know how it goes.
    ///
    /// # Errors
    /// As [`Gateway::start`].
    pub fn start_with(
        config: &Arc<Config>,
        (format, log): (Format, &SyncSender<Entry>),
        inherited: Vec<Inherited>,
        notify: &Notify,
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
        let wanted = (config.server.listen.as_slice(), config.server.admin);
        let listeners = Arc::new(Listeners::open(wanted, count, inherited)?);
        for note in &listeners.notes {
            drop(log.try_send(logger::event(format, note))); // see logger
        }
        let mut lines = Vec::new();
        for index in 0..count {
            let cpu = cpus.get(index % cpus.len().max(1)).copied();
            let failed = |error: io::Error| format!("cannot start shard {index}: {error}");
            let sockets = listeners.of(index).map_err(failed)?;
            let (running, line) =
                shards::start(&common, (index, count), cpu, sockets).map_err(failed)?;
            match is_ready.recv() {
                Ok(Ok(())) => {}
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
        let told = Told {
            format,
            log: log.clone(),
            notify: notify.clone(),
        };
        let seat = listeners.admin().map_err(|error| error.to_string())?;
        let (control, admin, ended) = start_control(config, (lines, seat), updates, &stop, told)?;
        Ok(Self {
            listen: listeners.addresses.clone(),
            listeners,
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

/// The admin plane's socket and where it listens.
type Seat = (OwnedFd, SocketAddr);

/// Who is told how it goes.
struct Told {
    format: Format,
    log: SyncSender<Entry>,
    notify: Notify,
}

impl Told {
    /// A full log loses this line and nothing else.
    fn say(&self, what: &str) {
        drop(self.log.try_send(logger::event(self.format, what)));
    }
}

fn start_control(
    config: &Arc<Config>,
    (lines, seat): (Vec<(Line, Running)>, Option<Seat>),
    updates: Receiver<resolve::Update>,
    stop: &Stop,
    told: Told,
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
        let listening = listen_admin(&admin, seat);
        let is_up = listening.is_ok();
        if ready.send(listening).is_err() || !is_up {
            return;
        }
        watchdog::start(&admin, &told.notify, &stop);
        let cut = run(&admin, &threads, &updates, &stop, &told).await;
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

fn listen_admin(admin: &Rc<Admin>, seat: Option<Seat>) -> Result<Option<SocketAddr>, String> {
    let Some((fd, at)) = seat else {
        return Ok(None);
    };
    let failed = |error: io::Error| format!("cannot listen on {at} (server.admin): {error}");
    let listener = Uring.listen_on(fd).map_err(failed)?;
    Uring.spawn(admin::accept_loop(Rc::clone(admin), listener));
    Ok(Some(at))
}

/// Control's own work until it is asked to stop; gives how many exchanges were cut off. A
/// shard that died takes the process with it: its clients would hang, and whoever started
/// the process knows how to start it again.
async fn run(
    admin: &Rc<Admin>,
    threads: &[Running],
    updates: &Receiver<resolve::Update>,
    stop: &Stop,
    told: &Told,
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
    admin.is_handed_over.set(stop.is_handed_over());
    for shard in &admin.shards {
        if stop.is_handed_over() {
            shard.order(Order::HandOver).await;
        }
        shard.order(Order::Drain).await;
    }
    told.say("draining: new requests end their connections");
    let mut busy = Uring.now();
    let until = busy + admin.config.timeouts.drain;
    let quiet = if stop.is_handed_over() {
        QUIET
    } else {
        Duration::ZERO
    };
    let mut patience = succession::Patience::new(&told.notify, stop.is_handed_over());
    loop {
        let reports = admin.reports().await;
        let open: u64 = reports.iter().map(|r| r.counters.exchanges_open).sum();
        let connections: u64 = reports.iter().map(|r| r.counters.connections_open).sum();
        let accepting = reports.iter().any(|r| r.accepting > 0);
        let now = Uring.now();
        if open > 0 || accepting {
            busy = now;
        }
        let is_quiet = open == 0 && !accepting && (connections == 0 || now >= busy + quiet);
        if is_quiet || now >= until || stop.0.load(Ordering::Relaxed) == HURRY {
            // One more tick of every shard, so that the last log lines are handed over.
            Uring
                .sleep_until(Uring.now() + crate::shard::TICK + DRAIN_LOOK)
                .await;
            return Ok(open);
        }
        patience.ask(now, open);
        Uring.sleep_until(Uring.now() + DRAIN_LOOK).await;
    }
}
