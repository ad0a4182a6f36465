//! A running gateway: its shards, its control executor, and how to stop it.

use super::admin::{self, Admin};
use super::drain::{self, Ended};
use super::listeners::Listeners;
use super::notify::Notify;
use super::reload::{self, Loader};
use super::resolve::{self, Resolver};
use super::shards::{self, Common, Line};
use super::{gossip, logger, shared, tls, watchdog};
use crate::cache::entry::Account;
use crate::config::Config;
use crate::config::model::Sockets;
use crate::host::Host;
use crate::host::bell::Ringer;
use crate::host::launch::{self, Running};
use crate::host::uring::Uring;
use crate::shard::log::{Entry, Format};
use crate::shard::orders::Task;
use crate::shard::snapshot::Edition;
use crate::sys::inherit::Inherited;
use futures_lite::FutureExt as _;
use rustls::ServerConfig;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

/// How often control looks whether a shard died; signals and new addresses ring.
const LOOK: Duration = Duration::from_millis(500);

/// Run on; drain; drain without patience.
const RUN: u8 = 0;
const DRAIN: u8 = 1;
const HURRY: u8 = 2;

/// Asks a gateway to stop, or to reload. Clones ask the same one.
#[derive(Clone, Debug)]
pub struct Stop(Arc<AtomicU8>, Ringer, Arc<Asked>);

/// What it was asked besides.
#[derive(Debug, Default)]
struct Asked {
    reload: AtomicBool,
    /// The process that has the sockets now; 0: this one.
    heir: AtomicU32,
    /// By a signal, to end.
    end: AtomicBool,
}

impl Stop {
    /// Nobody has asked yet.
    fn new() -> io::Result<Self> {
        let ringer = Ringer::new()?;
        Ok(Self(Arc::default(), ringer, Arc::default()))
    }

    /// Lets running exchanges end, within `timeouts.drain`.
    pub fn drain(&self) {
        self.0.fetch_max(DRAIN, Ordering::Relaxed);
        self.1.ring();
    }

    /// As [`Stop::drain`]; the process `heir` accepts on the same sockets.
    pub fn hand_over(&self, heir: u32) {
        self.2.heir.store(heir, Ordering::Relaxed);
        self.drain();
    }

    /// Whether a successor has the sockets.
    pub fn is_handed_over(&self) -> bool {
        self.2.heir.load(Ordering::Relaxed) != 0
    }

    /// Whether `process` has the sockets, and so nobody does when it has ended.
    pub fn is_heir(&self, process: u32) -> bool {
        self.2.heir.load(Ordering::Relaxed) == process
    }

    /// Somebody wants this process to end: no successor is to take its place.
    pub fn signalled(&self) {
        self.2.end.store(true, Ordering::Relaxed);
    }

    /// Whether somebody wants this process to end.
    pub fn is_signalled(&self) -> bool {
        self.2.end.load(Ordering::Relaxed)
    }

    /// Reads the configuration again.
    pub fn reload(&self) {
        self.2.reload.store(true, Ordering::Relaxed);
        self.1.ring();
    }

    /// Ends the exchanges at once: each with an error.
    pub fn hurry(&self) {
        self.0.store(HURRY, Ordering::Relaxed);
        self.1.ring();
    }

    /// Whether it is not to wait for exchanges any more.
    pub fn is_hurried(&self) -> bool {
        self.0.load(Ordering::Relaxed) == HURRY
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
    ended: Receiver<Result<Ended, String>>,
}

impl Gateway {
    /// Starts shards and control, and returns when all of them listen. Log lines in
    /// `format` go to `log`. With a `loader` it can read its configuration again.
    ///
    /// # Errors
    /// Why it cannot listen or start.
    pub fn start(
        config: &Arc<Config>,
        format: Format,
        log: &SyncSender<Entry>,
        loader: Option<Loader>,
    ) -> Result<Self, String> {
        let alone = (Vec::new(), &Notify::default());
        Self::start_with(config, (format, log), loader, alone)
    }

    /// As [`Gateway::start`], on sockets that were opened by somebody else, as far as they
    /// fit, and with a service manager who wants to know how it goes.
    ///
    /// # Errors
    /// As [`Gateway::start`].
    pub fn start_with(
        config: &Arc<Config>,
        (format, log): (Format, &SyncSender<Entry>),
        loader: Option<Loader>,
        (inherited, notify): (Vec<Inherited>, &Notify),
    ) -> Result<Self, String> {
        let cpus =
            launch::allowed_cpus().map_err(|error| format!("cannot read the CPUs: {error}"))?;
        let count = config.server.shards.unwrap_or(cpus.len()).max(1);
        let (sockets, why) = shards::choose(config.server.sockets)?;
        if let Some(why) = why {
            let said = format!("sockets go by readiness, which costs more CPU: {why}");
            drop(log.try_send(logger::event(format, &said))); // see logger
        }
        let files = Arc::new(tls::load(config, None)?);
        let wanted = (config.server.listen.as_slice(), config.server.admin);
        let mut listeners = Listeners::open(wanted, count, inherited)?;
        if notify.is_heard() {
            listeners.keep();
        }
        let listeners = Arc::new(listeners);
        for note in &listeners.notes {
            drop(log.try_send(logger::event(format, note))); // see logger
        }
        let (ready, is_ready) = sync_channel(count);
        let known = resolve::look_all_up(resolve::system, &resolve::names(config));
        let addresses = resolve::addresses(config, &known);
        let edition = Edition::first(Arc::clone(config), addresses, Some(Arc::clone(&files)));
        let common = Common {
            config: Arc::clone(config),
            addresses: edition.addresses.clone(),
            format,
            log: log.clone(),
            sockets,
            ready,
            tls: Some(files),
            is_shared: listeners.shared(),
            account: Arc::new(Account::new(config.cache.memory_max)),
        };
        let lines = start_shards(&common, &listeners, (count, &cpus), &is_ready)?;
        let stop = Stop::new().map_err(|error| error.to_string())?;
        let resolver = Resolver::start(resolve::system, known, stop.1.clone())
            .map_err(|error| format!("cannot start the resolver: {error}"))?;
        let desk = admin::Desk {
            edition,
            loader,
            resolver,
            notify: notify.clone(),
        };
        let told = Told {
            format,
            log: log.clone(),
            notify: notify.clone(),
        };
        let seat = listeners.admin().map_err(|error| error.to_string())?;
        let (control, admin, ended) = start_control(desk, (lines, seat), &stop, told)?;
        Ok(Self {
            listen: listeners.addresses.clone(),
            listeners,
            admin,
            shards: count,
            sockets,
            stop,
            control,
            ended,
        })
    }

    /// Waits until it has stopped; gives what came of its exchanges.
    ///
    /// # Errors
    /// When control or a shard died.
    pub fn wait(self) -> Result<Ended, String> {
        let ended = self
            .ended
            .recv()
            .map_err(|_| "the control executor ended unasked".to_owned())??;
        self.control.join()?;
        Ok(ended)
    }
}

/// Starts the shards, one after the other; each says that it accepts on its sockets.
fn start_shards(
    common: &Common,
    listeners: &Listeners,
    (count, cpus): (usize, &[usize]),
    is_ready: &Receiver<shards::Listening>,
) -> Result<Vec<(Line, Running)>, String> {
    let mut lines = Vec::with_capacity(count);
    for (index, ears) in gossip::mesh(count).into_iter().enumerate() {
        let cpu = cpus.get(index % cpus.len().max(1)).copied();
        let failed = |error: io::Error| format!("cannot start shard {index}: {error}");
        let sockets = listeners.of(index).map_err(failed)?;
        let (running, line) =
            shards::start(common, (index, count), cpu, (sockets, ears)).map_err(failed)?;
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
    Ok(lines)
}

type Control = (Running, Option<SocketAddr>, Receiver<Result<Ended, String>>);

/// The admin plane's socket and where it listens.
type Seat = (OwnedFd, SocketAddr);

/// Who is told how it goes.
#[derive(Clone)]
pub(super) struct Told {
    format: Format,
    log: SyncSender<Entry>,
    /// The service manager.
    pub(super) notify: Notify,
}

impl Told {
    /// A full log loses this line and nothing else.
    pub(super) fn say(&self, what: &str) {
        drop(self.log.try_send(logger::event(self.format, what)));
    }
}

fn start_control(
    desk: admin::Desk,
    (lines, seat): (Vec<(Line, Running)>, Option<Seat>),
    stop: &Stop,
    told: Told,
) -> Result<Control, String> {
    let (ready, is_ready) = sync_channel::<Result<Option<SocketAddr>, String>>(1);
    let (ended, has_ended) = sync_channel(1);
    let stop = stop.clone();
    let running = launch::start("control", None, move || async move {
        let mut bound = Vec::with_capacity(lines.len());
        let mut threads = Vec::with_capacity(lines.len());
        for (line, running) in lines {
            bound.push(line.bind().await);
            threads.push(running);
        }
        let admin = Admin::new(desk, bound);
        let listening = listen_admin(&admin, seat);
        let is_up = listening.is_ok();
        if ready.send(listening).is_err() || !is_up {
            return;
        }
        watchdog::start(&admin, &told.notify, &stop);
        Uring.spawn(shared::heed(Rc::clone(&admin)));
        let end = run(&admin, &threads, &stop, &told).await;
        drop(ended.send(end)); // nobody waits: then nobody asks either
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

/// Hands a certificate that was replaced to the shards, or says why it cannot be used.
async fn certificate(
    admin: &Rc<Admin>,
    outcome: Result<Arc<ServerConfig>, String>,
    say: impl Fn(&str),
) {
    match outcome {
        Ok(config) => {
            for shard in &admin.shards {
                shard.order(Task::Certificate(Arc::clone(&config))).await;
            }
            say("server.tls: the certificate was replaced");
        }
        Err(why) => say(&format!(
            "server.tls: the certificate is not replaced: {why}"
        )),
    }
}

/// Control's own work until it is asked to stop; gives what came of the exchanges. A shard
/// that died takes the process with it: its clients would hang, and whoever started the
/// process knows how to start it again.
async fn run(
    admin: &Rc<Admin>,
    threads: &[Running],
    stop: &Stop,
    told: &Told,
) -> Result<Ended, String> {
    let mut bell = stop.1.bell().map_err(|error| error.to_string())?;
    let heard = told.clone();
    admin.hear(move |what| heard.say(what));
    while !stop.is_asked() {
        if let Some(shard) = threads.iter().position(Running::is_finished) {
            return Err(format!("shard {shard} died"));
        }
        while let Ok(new) = admin.resolver.updates.try_recv() {
            let new = Arc::new(new);
            admin.shared.set_addresses(&new);
            for shard in &admin.shards {
                shard.order(Task::Addresses(Arc::clone(&new))).await;
            }
        }
        if let Some(outcome) = admin.look_at_certificate(Uring.now()) {
            certificate(admin, outcome, |what| told.say(what)).await;
        }
        if !admin.is_reloading.get() && stop.2.reload.swap(false, Ordering::Relaxed) {
            let admin = Rc::clone(admin);
            Uring.spawn(async move { drop(reload::reload(&admin).await) });
        }
        let heard = poll_fn(|cx| bell.poll_heard(cx));
        heard.or(Uring.sleep_until(Uring.now() + LOOK)).await;
    }
    Ok(drain::drain(admin, stop, told).await)
}
