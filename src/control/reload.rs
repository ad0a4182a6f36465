//! Another configuration for a gateway that runs, in two stages.
//!
//! ```text
//!   SIGHUP ────────┐                                         bad   ─► nothing changed, said why
//!   POST /api/reload ─► a thread reads, checks, looks names up ─┤
//!                                                            good ─► Prepare on every shard
//!                       every one done ─► Commit on every shard ◄─┘
//!                       one refused, or silent for 10 s ─► Abort on every shard
//! ```
//!
//! Invariants
//! - L1 One reload at a time; who asks meanwhile by SIGHUP gets one more afterwards.
//! - L2 Commit goes to all shards or to none; between the first and the last no report is
//!   taken, so nobody sees two epochs.
//! - L3 A reload ends whether or not who asked for it still waits.

use super::admin::Admin;
use super::resolve::{self, Name, Watch};
use super::shards::Bound;
use super::tls;
use crate::config::diff::{self, Kept};
use crate::config::{Config, Faults};
use crate::host::Host;
use crate::host::clock;
use crate::host::uring::Uring;
use crate::shard::orders::{Outcome, Task};
use crate::shard::snapshot::Edition;
use crate::shard::tls::TlsFiles;
use crate::stats::reloads::ReloadEnd;
use futures_lite::FutureExt as _;
use serde_json::{Value, json};
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};
use std::thread;
use std::time::Duration;

/// How long a shard may take to prepare.
const PREPARE_MAX: Duration = Duration::from_secs(10);

/// How often control looks whether the file is read.
const LOOK: Duration = Duration::from_millis(2);

/// A file that was read and found good.
#[derive(Debug)]
pub struct Loaded {
    /// What it says.
    pub config: Config,
    /// What works, but hardly as it is meant: whole lines.
    pub warnings: Vec<String>,
}

/// Why a file gives no configuration.
#[derive(Debug)]
pub enum NotLoaded {
    /// It cannot be read; why.
    Unreadable(String),
    /// Its name and its faults.
    Bad(String, Faults),
}

/// Reads and checks the config file, secrets included; may block.
#[derive(Clone)]
pub struct Loader(Arc<dyn Fn() -> Result<Loaded, NotLoaded> + Send + Sync>);

impl Loader {
    /// A loader that calls `load`.
    pub fn new(load: impl Fn() -> Result<Loaded, NotLoaded> + Send + Sync + 'static) -> Self {
        Self(Arc::new(load))
    }
}

impl fmt::Debug for Loader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Loader").finish_non_exhaustive()
    }
}

/// What became of a reload.
#[derive(Clone, Debug)]
pub struct Reloaded {
    /// How it ended.
    pub end: ReloadEnd,
    /// The epoch in force now.
    pub epoch: u64,
    /// When it ended, in microseconds since 1970.
    pub time_us: u64,
    /// What changed, or why nothing did.
    pub text: String,
    /// Faults of the file, each with its place; warnings of a good one.
    pub lines: Vec<Value>,
}

impl Reloaded {
    /// The status of the answer to `POST /api/reload`.
    pub fn status(&self) -> u16 {
        match self.end {
            ReloadEnd::Done => 200,
            ReloadEnd::Bad => 400,
            ReloadEnd::Refused => 409,
        }
    }

    /// Its body.
    pub fn body(&self) -> Value {
        match self.end {
            ReloadEnd::Done => {
                json!({ "epoch": self.epoch, "changes": self.text, "warnings": self.lines })
            }
            ReloadEnd::Bad | ReloadEnd::Refused => json!({
                "error": { "message": self.text, "faults": self.lines },
                "epoch": self.epoch,
            }),
        }
    }

    /// Lines for the log.
    pub fn log(&self) -> Vec<String> {
        let head = match self.end {
            ReloadEnd::Done => format!("reloaded: epoch {}: {}", self.epoch, self.text),
            ReloadEnd::Bad | ReloadEnd::Refused => {
                let epoch = self.epoch;
                format!("not reloaded, epoch {epoch} stays in force: {}", self.text)
            }
        };
        let lines = self.lines.iter().map(|line| match line {
            Value::String(text) => text.clone(),
            fault => {
                let word = |key: &str| fault.get(key).and_then(Value::as_str).unwrap_or("");
                let number = |key: &str| fault.get(key).and_then(Value::as_u64).unwrap_or(0);
                let (line, column) = (number("line"), number("column"));
                format!("{}:{line}:{column}: {}", word("file"), word("text"))
            }
        });
        std::iter::once(head).chain(lines).collect()
    }
}

/// Why a reload did not come into force: what it was, the sentence, and the faults.
type Refusal = (ReloadEnd, String, Vec<Value>);

/// What was read off the shards: the configuration, its warnings, the names that are new, and
/// the certificates.
type Read = Result<(Loaded, Watch, Arc<TlsFiles>), NotLoaded>;

/// Reloads, and notes what came of it. Runs to its end (L3): call it in a task of its own.
pub async fn reload(admin: &Rc<Admin>) -> Reloaded {
    let mut is_tried = false;
    let outcome = if admin.is_draining.get() {
        Err(refused("the gateway is shutting down"))
    } else if admin.is_reloading.replace(true) {
        Err(refused(
            "another reload is under way; ask again when it is over",
        ))
    } else {
        is_tried = true;
        admin.notify.reloading(Uring.now());
        let outcome = read_and_change(admin).await;
        admin.is_reloading.set(false);
        outcome
    };
    let epoch = admin.edition().epoch;
    let (end, text, lines) = match outcome {
        Ok((text, warnings)) => {
            let lines = warnings.into_iter().map(Value::String);
            (ReloadEnd::Done, text, lines.collect())
        }
        Err(refusal) => refusal,
    };
    let reloaded = Reloaded {
        end,
        epoch,
        time_us: Uring.wall_nanos() / 1000,
        text,
        lines,
    };
    admin.note_reload(&reloaded);
    if is_tried && !admin.is_draining.get() {
        let epoch = reloaded.epoch;
        let said = format!("epoch {epoch} is in force: {}", reloaded.text);
        admin.notify.reloaded(&said);
    }
    reloaded
}

fn refused(why: &str) -> Refusal {
    (ReloadEnd::Refused, why.to_owned(), Vec::new())
}

async fn read_and_change(admin: &Rc<Admin>) -> Result<(String, Vec<String>), Refusal> {
    let Some(source) = admin.loader.clone() else {
        return Err(refused("this gateway was not started from a file"));
    };
    let old = admin.edition();
    let known = resolve::names(&old.config);
    let reading = read_aside(source, known, old.tls.clone()).map_err(|why| refused(&why))?;
    let (loaded, found, files) = match received(&reading).await {
        Some(read) => read.map_err(not_loaded)?,
        None => return Err(refused("reading the file panicked; the log has the place")),
    };
    let config = Arc::new(loaded.config);
    let fixed = diff::needs_restart(&old.config.server, &config.server);
    if !fixed.is_empty() {
        let keys = fixed.join(", ");
        return Err(refused(&format!("{keys} cannot change without a restart")));
    }
    let changes = diff::summary(&old.config, &config);
    let places = admin.roster.borrow_mut().enter(&config);
    let edition = Arc::new(Edition {
        epoch: old.epoch + 1,
        kept: Kept::between(&old.config, &config),
        addresses: resolve::addresses(&config, &found),
        tls: Some(files),
        places,
        config: Arc::clone(&config),
    });
    bring_into_force(admin, &edition).await?;
    let names = resolve::names(&config).into_iter().map(|name| {
        let is_it = |(known, _): &&(Name, _)| *known == name;
        let addresses = found.iter().find(is_it).map(|(_, all)| all.clone());
        (name, addresses.unwrap_or_default())
    });
    admin.resolver.watch(names.collect());
    Ok((changes, loaded.warnings))
}

/// Starts a thread that reads the file and looks up the names that are not `known`.
fn read_aside(
    loader: Loader,
    known: Vec<Name>,
    before: Option<Arc<TlsFiles>>,
) -> Result<Receiver<Read>, String> {
    let (sender, receiver) = sync_channel(1);
    let work = move || {
        let read = (loader.0)().and_then(|loaded| {
            let files = tls::load(&loaded.config, before.as_deref());
            let files = Arc::new(files.map_err(NotLoaded::Unreadable)?);
            let mut names = resolve::names(&loaded.config);
            names.retain(|name| !known.contains(name));
            let found = resolve::look_all_up(resolve::system, &names);
            Ok((loaded, found, files))
        });
        drop(sender.send(read)); // control is gone: then nobody waits for it
    };
    let thread = thread::Builder::new().name("reload".to_owned()).spawn(work);
    thread.map_err(|error| format!("cannot start a thread: {error}"))?;
    Ok(receiver)
}

async fn received<T>(receiver: &Receiver<T>) -> Option<T> {
    loop {
        match receiver.try_recv() {
            Ok(value) => return Some(value),
            Err(TryRecvError::Disconnected) => return None,
            Err(TryRecvError::Empty) => Uring.sleep_until(clock::now() + LOOK).await,
        }
    }
}

fn not_loaded(why: NotLoaded) -> Refusal {
    match why {
        NotLoaded::Unreadable(why) => (ReloadEnd::Bad, why, Vec::new()),
        NotLoaded::Bad(file, faults) => {
            let lines = faults.0.iter().map(|fault| {
                json!({
                    "file": file,
                    "line": fault.line,
                    "column": fault.column,
                    "text": fault.text,
                })
            });
            let count = faults.0.len();
            let plural = if count == 1 { "" } else { "s" };
            let text = format!("{file} has {count} fault{plural}");
            (ReloadEnd::Bad, text, lines.collect())
        }
    }
}

/// Prepare on every shard; then commit on every one, or abort.
async fn bring_into_force(admin: &Rc<Admin>, edition: &Arc<Edition>) -> Result<(), Refusal> {
    for (index, shard) in admin.shards.iter().enumerate() {
        let Err(why) = prepared(shard, edition).await else {
            continue;
        };
        for shard in &admin.shards {
            // A shard that hangs gets it when it goes on; whoever died needs none.
            let patience = Uring.sleep_until(Uring.now() + PREPARE_MAX);
            let abort = async { drop(shard.order(Task::Abort).await) };
            abort.or(patience).await;
        }
        return Err(refused(&format!("shard {index} did not prepare: {why}")));
    }
    let turn = admin.take_turn().await; // L2
    for shard in &admin.shards {
        // It is prepared; a shard that dies now takes the process with it.
        shard.order(Task::Commit(edition.epoch)).await;
    }
    admin.set_edition(Arc::clone(edition));
    drop(turn);
    Ok(())
}

async fn prepared(shard: &Bound, edition: &Arc<Edition>) -> Result<(), String> {
    let patience = async {
        Uring.sleep_until(Uring.now() + PREPARE_MAX).await;
        Some(Outcome::Refused("it gave no answer in time".to_owned()))
    };
    match shard
        .order(Task::Prepare(Arc::clone(edition)))
        .or(patience)
        .await
    {
        Some(Outcome::Done | Outcome::Report(_)) => Ok(()),
        Some(Outcome::Refused(why)) => Err(why),
        None => Err("it is gone".to_owned()),
    }
}
