//! Access-log lines of a shard, handed to the log thread in batches.
//!
//! A shard never writes to a file: it formats into its own buffer and gives the buffer away
//! on its tick, or when it is half full. When the log thread cannot keep up the batch is
//! dropped, and the number of lines is counted.
//!
//! One line per exchange, without prompts, answers or keys.

use super::Shard;
use crate::host::Host;
use crate::stats::receipt::Receipt;
use std::cell::{Cell, RefCell};
use std::fmt::Write;
use std::sync::mpsc::SyncSender;

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

    /// Writes the line of a settled exchange.
    pub fn receipt<H: Host>(&self, shard: &Shard<H>, receipt: &Receipt) {
        if self.format == Format::Off {
            return;
        }
        let mut lines = self.lines.borrow_mut();
        if write_line(&mut lines, self.format, shard, receipt).is_err() {
            debug_assert!(false, "a String takes everything");
        }
        self.count.set(self.count.get() + 1);
        if lines.len() >= BATCH {
            drop(lines);
            self.send();
        }
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

/// The columns of a line. Names come from the configuration, which restricts their letters,
/// so nothing needs escaping.
fn write_line<H: Host>(
    out: &mut String,
    format: Format,
    shard: &Shard<H>,
    receipt: &Receipt,
) -> std::fmt::Result {
    let config = &shard.config;
    let key = receipt
        .key
        .and_then(|i| config.keys.get(i))
        .map_or("-", |key| &key.name);
    let model = receipt
        .model
        .and_then(|i| config.models.get(i))
        .map_or("-", |model| &model.name);
    let target = receipt
        .provider
        .and_then(|i| config.providers.get(i))
        .map_or("-", |p| &p.name);
    let route = receipt.route.map_or("-", crate::exchange::route::name);
    let fault = receipt.fault.map_or("-", crate::base::fault::Kind::code);
    let took = receipt.ended.since(receipt.began);
    let overhead = took.saturating_sub(receipt.upstream).as_micros();
    let (tokens_in, tokens_out) = receipt.usage.map_or((0, 0), |u| (u.input, u.output));
    let ttft = receipt.first_content.map_or(0, |t| t.as_micros());
    let micros = shard.host.wall_nanos() / 1000;
    let id = std::str::from_utf8(receipt.id.bytes()).unwrap_or("-");
    let (status, end, attempts) = (receipt.status, receipt.end.name(), receipt.attempts);
    let (took, events, bytes) = (took.as_micros(), receipt.events, receipt.bytes_in);
    match format {
        Format::Json => writeln!(
            out,
            "{{\"time_us\":{micros},\"id\":\"{id}\",\"key\":\"{key}\",\"front\":\"openai\",\"route\":\"{route}\",\
             \"model\":\"{model}\",\"target\":\"{target}\",\"attempts\":{attempts},\"status\":{status},\
             \"end\":\"{end}\",\"fault\":\"{fault}\",\"bytes_in\":{bytes},\"events\":{events},\
             \"tokens_in\":{tokens_in},\"tokens_out\":{tokens_out},\"ttft_us\":{ttft},\
             \"duration_us\":{took},\"overhead_us\":{overhead}}}"
        ),
        _ => writeln!(
            out,
            "time_us={micros} id={id} key={key} front=openai route={route} model={model} target={target} \
             attempts={attempts} status={status} end={end} fault={fault} bytes_in={bytes} events={events} \
             tokens_in={tokens_in} tokens_out={tokens_out} ttft_us={ttft} duration_us={took} \
             overhead_us={overhead}"
        ),
    }
}
