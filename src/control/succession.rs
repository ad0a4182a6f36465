//! From this process to the next one: who starts it, and how long the old one may take.

#![expect(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "the threads here are main and one for each successor, never a shard"
)]

use super::gateway::Stop;
use super::handover::Place;
use super::listeners::Listeners;
use super::logger::Say;
use super::notify::Notify;
use crate::base::time::Instant;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// How often the service manager is asked for patience.
const EVERY: Duration = Duration::from_secs(2);

/// For how long each time.
const FOR: Duration = Duration::from_secs(15);

/// Said to a take-over without a place for it.
pub const NO_PLACE: &str =
    "server.handover is \"off\": give it a path on which sockets can be handed over";

/// Successors that may fail, one after the other, before the service manager has to help.
const TRIES: u32 = 5;

/// The pause before each.
const PAUSE: Duration = Duration::from_millis(100);

/// How often it is looked at while it starts.
const LOOK: Duration = Duration::from_millis(50);

/// Asks the service manager for time while exchanges run on.
#[derive(Debug)]
pub struct Patience {
    notify: Notify,
    /// A successor is the main process: this one says nothing.
    is_silent: bool,
    next: Option<Instant>,
}

impl Patience {
    /// The drain begins.
    pub fn new(notify: &Notify, is_handed_over: bool) -> Self {
        if !is_handed_over {
            notify.stopping();
        }
        Self {
            notify: notify.clone(),
            is_silent: is_handed_over,
            next: None,
        }
    }

    /// `open` exchanges go on at `now`.
    pub fn ask(&mut self, now: Instant, open: u64) {
        if self.is_silent || self.next.is_some_and(|next| now < next) {
            return;
        }
        self.next = Some(now + EVERY);
        self.notify.extend(FOR);
        self.notify
            .status(&format!("draining: {open} exchanges are open"));
    }
}

/// Starts successors: when it is told to, and again when one dies that this process has made
/// room for. Clones are the same one.
///
/// While this process drains, the successor is its child: its end is nobody else's to see. (To
/// systemd such a main process is "not our child", and the service is over, without a restart,
/// when the last process has ended.)
#[derive(Clone, Debug)]
pub struct Succession(Arc<Parts>);

#[derive(Debug)]
struct Parts {
    notify: Notify,
    say: Say,
    stop: Stop,
    /// `server.handover`.
    path: Option<PathBuf>,
    listeners: Arc<Listeners>,
    /// Held while there is no successor for what was handed over; true: there will be none.
    is_vacant: Mutex<bool>,
}

impl Succession {
    /// Over `path` the sockets of `listeners` go.
    pub fn new(
        (notify, say, stop): (&Notify, &Say, &Stop),
        path: Option<&Path>,
        listeners: &Arc<Listeners>,
    ) -> Self {
        Self(Arc::new(Parts {
            notify: notify.clone(),
            say: say.clone(),
            stop: stop.clone(),
            path: path.map(Path::to_owned),
            listeners: Arc::clone(listeners),
            is_vacant: Mutex::default(),
        }))
    }

    /// Starts a successor, and says how it ended unless it was well.
    ///
    /// # Errors
    /// Why it cannot be started.
    pub fn start(&self) -> Result<(), String> {
        let path = self.0.path.clone().ok_or(NO_PLACE)?;
        let failed = |error: io::Error| format!("cannot start a successor: {error}");
        let mut child = spawn(&self.0.notify).map_err(failed)?;
        let own = self.clone();
        let waiting = move || {
            loop {
                let Some(why) = how_it_ended(&mut child) else {
                    return;
                };
                own.0.say.say(&why);
                match own.0.replace(&path, child.id()) {
                    Some(next) => child = next,
                    None => return,
                }
            }
        };
        let thread = thread::Builder::new().name("successor".to_owned());
        thread.spawn(waiting).map_err(failed)?;
        Ok(())
    }

    /// To be called at the end of this process: waits until a successor has what was handed
    /// over, if one is being started.
    ///
    /// # Errors
    /// There is none, and will be none: the service manager has to start one.
    pub fn settle(&self) -> Result<(), String> {
        if *locked(&self.0.is_vacant) {
            return Err("there is no successor: nobody accepts".to_owned());
        }
        Ok(())
    }
}

impl Parts {
    /// The successor `dead` has ended. When it had the sockets, and not because this process was
    /// told to stop, another one is started. (Another process may have taken them in the
    /// meantime: then nothing is missing.)
    fn replace(&self, path: &Path, dead: u32) -> Option<Child> {
        let mut is_vacant = locked(&self.is_vacant);
        // It may have said that it listens just now.
        thread::sleep(PAUSE);
        if !self.stop.is_heir(dead) {
            return None;
        }
        for _ in 0..TRIES {
            if self.stop.is_signalled() {
                return None;
            }
            self.say.say("a successor starts in its place");
            match self.again(path) {
                Ok(child) => return Some(child),
                Err(why) => self.say.say(&why),
            }
            thread::sleep(PAUSE);
        }
        // The manager starts one when its main process ends with a failure.
        *is_vacant = true;
        self.notify.main();
        self.stop.hurry();
        None
    }

    /// Starts a successor and waits until it has the sockets.
    fn again(&self, path: &Path) -> Result<Child, String> {
        let (given, is_given) = channel();
        let stop = self.stop.clone();
        let given = move |heir| {
            stop.hand_over(heir);
            given.send(()).unwrap_or_default();
        };
        let mut place = Place::open(path, Arc::clone(&self.listeners), given)?;
        let mut child =
            spawn(&self.notify).map_err(|error| format!("cannot start a successor: {error}"))?;
        loop {
            match is_given.recv_timeout(LOOK) {
                Ok(()) => {
                    place.leave();
                    return Ok(child);
                }
                Err(_) if matches!(child.try_wait(), Ok(None)) => {}
                Err(_) => return Err(how_it_ended(&mut child).unwrap_or_default()),
            }
        }
    }
}

fn locked(flag: &Mutex<bool>) -> MutexGuard<'_, bool> {
    flag.lock().unwrap_or_else(PoisonError::into_inner)
}

/// This program again, from its file as it is now and with `--takeover`.
fn spawn(notify: &Notify) -> io::Result<Child> {
    let mut command = Command::new(own_file()?);
    let arguments = std::env::args_os()
        .skip(1)
        .filter(|word| word != "--takeover");
    command.args(arguments).arg("--takeover");
    command.envs(notify.variables().iter().map(|(name, value)| (name, value)));
    command.spawn()
}

/// Waits for its end; `None`: it was well.
fn how_it_ended(child: &mut Child) -> Option<String> {
    match child.wait() {
        Ok(status) if status.success() => None,
        Ok(status) => Some(format!("the successor ended: {status}")),
        Err(error) => Some(format!("the successor is lost: {error}")),
    }
}

/// The program's file: the new one where it has been replaced.
fn own_file() -> io::Result<PathBuf> {
    let own = std::env::current_exe()?;
    let shown = own.to_string_lossy();
    Ok(shown
        .strip_suffix(" (deleted)")
        .map(PathBuf::from)
        .unwrap_or(own.clone()))
}
