//! The log thread: writes what shards and control hand over, so that no shard ever waits
//! for a terminal, a pipe or a disk.

use crate::shard::log::{self, Entry, Format};
use std::io::{self, IsTerminal, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

/// Batches in flight; a shard whose batch finds no room drops it and counts the lines.
const BATCHES_MAX: usize = 256;

/// How long the end of the process waits for the log: a pipe that nobody reads must not keep
/// it alive.
const FLUSH_MAX: std::time::Duration = std::time::Duration::from_secs(2);

/// The format that suits stderr: text on a terminal, JSON lines otherwise.
pub fn format() -> Format {
    if io::stderr().is_terminal() {
        Format::Text
    } else {
        Format::Json
    }
}

/// Starts the log thread; it ends when every sender is gone.
///
/// # Errors
/// When the thread cannot be started.
pub fn start() -> io::Result<SyncSender<Entry>> {
    let (sender, receiver) = sync_channel(BATCHES_MAX);
    let thread = thread::Builder::new()
        .name("log".to_owned())
        .spawn(move || write_all(&receiver))?;
    drop(thread);
    Ok(sender)
}

fn write_all(batches: &Receiver<Entry>) {
    for entry in batches {
        match entry {
            // When stderr is gone there is nobody left to tell; the shards must not stop for it.
            Entry::Lines(lines) => drop(io::stderr().lock().write_all(lines.as_bytes())),
            Entry::Flush(written) => _ = written.try_send(()),
        }
    }
}

/// Waits until everything that was handed over is written.
pub fn flush(log: &SyncSender<Entry>) {
    let (written, is_written) = sync_channel(1);
    if log.send(Entry::Flush(written)).is_ok() {
        // An error means that the log thread ended: nothing is left to wait for.
        _ = is_written.recv_timeout(FLUSH_MAX);
    }
}

/// Says something in the log; a full log loses the line and nothing else.
#[derive(Clone, Debug)]
pub struct Say {
    format: Format,
    log: SyncSender<Entry>,
}

impl Say {
    /// In `format`, to `log`.
    pub fn new(format: Format, log: &SyncSender<Entry>) -> Self {
        let log = log.clone();
        Self { format, log }
    }

    /// Says it.
    pub fn say(&self, what: &str) {
        drop(self.log.try_send(event(self.format, what)));
    }
}

/// One line from the gateway itself: what happened, in the format of the access log.
pub fn event(format: Format, what: &str) -> Entry {
    Entry::Lines(log::event(format, what))
}
