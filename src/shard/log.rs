//! Access-log lines of a shard, handed to the log thread in batches.
//!
//! A shard never writes to a file: it formats into its own buffer and gives the buffer away
//! on its tick, or when it is half full. When the log thread cannot keep up the batch is
//! dropped, and the number of lines is counted.
//!
//! One line per exchange, without prompts, answers or keys.

use super::Shard;
use crate::config::Config;
use crate::dialect::route::Route;
use crate::host::Host;
use crate::stats::receipt::Receipt;
use std::cell::{Cell, RefCell};
use std::sync::mpsc::SyncSender;
use std::time::Duration;

/// Bytes that are collected before they are handed over early.
const BATCH: usize = 32 << 10;

/// What goes to the log thread.
#[derive(Debug)]
pub enum Entry {
    /// Whole lines.
    Lines(String),
    /// Answer when everything before this is written.
    Flush(SyncSender<()>),
}

/// How lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// `key=value` pairs, for a terminal.
    Text,
    /// One JSON object a line.
    Json,
    /// No lines at all.
    #[default]
    Off,
}

/// A shard's log.
#[derive(Debug, Default)]
pub struct Log {
    format: Format,
    sink: Option<SyncSender<Entry>>,
    lines: RefCell<String>,
    count: Cell<u64>,
    dropped: Cell<u64>,
}

impl Log {
    /// A log that hands its batches to `sink`.
    pub fn new(format: Format, sink: SyncSender<Entry>) -> Self {
        Self {
            format,
            sink: Some(sink),
            ..Self::default()
        }
    }

    /// Writes the line of a settled exchange; true when it is the first since the last
    /// handing over.
    pub fn receipt<H: Host>(&self, shard: &Shard<H>, config: &Config, receipt: &Receipt) -> bool {
        if self.format == Format::Off {
            return false;
        }
        let mut lines = self.lines.borrow_mut();
        let is_first = lines.is_empty();
        write_line(&mut lines, self.format, (shard, config), receipt);
        self.count.set(self.count.get() + 1);
        if lines.len() >= BATCH {
            drop(lines);
            self.send();
        }
        is_first
    }

    fn send(&self) {
        let lines = self.lines.take();
        if lines.is_empty() {
            return;
        }
        let count = self.count.replace(0);
        if self
            .sink
            .as_ref()
            .is_none_or(|sink| sink.try_send(Entry::Lines(lines)).is_err())
        {
            self.dropped.set(self.dropped.get() + count);
        }
    }

    /// Hands over what has been collected; returns how many lines were dropped since the
    /// last call.
    pub fn hand_over(&self) -> u64 {
        self.send();
        self.dropped.replace(0)
    }
}

/// What stands before each value of a line, and behind the last one.
type Columns = [&'static str; 21];

const JSON: Columns = [
    "{\"time_us\":",
    ",\"id\":\"",
    "\",\"key\":\"",
    "\",\"front\":\"",
    "\",\"route\":\"",
    "\",\"model\":\"",
    "\",\"target\":\"",
    "\",\"attempts\":",
    ",\"continuations\":",
    ",\"status\":",
    ",\"end\":\"",
    "\",\"fault\":\"",
    "\",\"bytes_in\":",
    ",\"events\":",
    ",\"tokens_in\":",
    ",\"tokens_out\":",
    ",\"tokens_estimated\":",
    ",\"ttft_us\":",
    ",\"duration_us\":",
    ",\"overhead_us\":",
    "}\n",
];

const TEXT: Columns = [
    "time_us=",
    " id=",
    " key=",
    " front=",
    " route=",
    " model=",
    " target=",
    " attempts=",
    " continuations=",
    " status=",
    " end=",
    " fault=",
    " bytes_in=",
    " events=",
    " tokens_in=",
    " tokens_out=",
    " tokens_estimated=",
    " ttft_us=",
    " duration_us=",
    " overhead_us=",
    "\n",
];

/// A value of a line.
#[derive(Clone, Copy)]
enum Value<'a> {
    Word(&'a str),
    Number(u64),
}

/// Writes a line. Names come from the configuration, which restricts their letters, so
/// nothing needs escaping.
fn write_line<H: Host>(
    out: &mut String,
    format: Format,
    (shard, config): (&Shard<H>, &Config),
    receipt: &Receipt,
) {
    use Value::{Number, Word};
    let key = receipt.key.and_then(|i| config.keys.get(i));
    let model = receipt.model.and_then(|i| config.models.get(i));
    let target = receipt.provider.and_then(|i| config.providers.get(i));
    let route = receipt.route.map_or("-", Route::name);
    let fault = receipt.fault.map_or("-", crate::base::fault::Kind::code);
    let took = receipt.ended.since(receipt.began);
    let tokens = receipt.usage.map_or((0, 0), |u| (u.input, u.output));
    let values = [
        Number(shard.host.wall_nanos() / 1000),
        Word(std::str::from_utf8(receipt.id.bytes()).unwrap_or("-")),
        Word(key.map_or("-", |key| &key.name)),
        Word(receipt.front().name()),
        Word(route),
        Word(model.map_or("-", |model| &model.name)),
        Word(target.map_or("-", |target| &target.name)),
        Number(receipt.attempts.into()),
        Number(receipt.continued.count().into()),
        Number(receipt.status.into()),
        Word(receipt.end.name()),
        Word(fault),
        Number(receipt.bytes_in),
        Number(receipt.events),
        Number(tokens.0),
        Number(tokens.1),
        Word(if receipt.continued.is_estimated() {
            "true"
        } else {
            "false"
        }),
        Number(receipt.first_content.map_or(0, micros)),
        Number(micros(took)),
        Number(micros(took.saturating_sub(receipt.upstream))),
    ];
    let columns = if format == Format::Json { &JSON } else { &TEXT };
    let (end, names) = columns.split_last().unwrap_or((&"\n", &[]));
    for (name, value) in names.iter().zip(values) {
        out.push_str(name);
        match value {
            Word(word) => out.push_str(word),
            Number(number) => out.push_str(itoa::Buffer::new().format(number)),
        }
    }
    out.push_str(end);
}

/// Whole microseconds.
fn micros(time: Duration) -> u64 {
    time.as_secs()
        .saturating_mul(1_000_000)
        .saturating_add(u64::from(time.subsec_micros()))
}
