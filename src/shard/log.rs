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
use crate::stats::receipt::{Receipt, Why};
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

    /// Says what happened to the gateway itself, at once.
    pub fn say(&self, what: &str) {
        if self.format == Format::Off {
            return;
        }
        self.lines.borrow_mut().push_str(&event(self.format, what));
        self.count.set(self.count.get() + 1);
        self.send();
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

/// The line of what happened to the gateway itself.
pub fn event(format: Format, what: &str) -> String {
    match format {
        Format::Off => String::new(),
        Format::Text => format!("shardgate: {what}\n"),
        Format::Json => format!("{}\n", serde_json::json!({ "message": what })),
    }
}

/// What stands before each value of a line, and behind the last one.
type Columns = [&'static str; 20];

const JSON: Columns = [
    "{\"time_us\":",
    ",\"id\":\"",
    "\",\"key\":\"",
    "\",\"front\":\"",
    "\",\"route\":\"",
    "\",\"model\":\"",
    "\",\"target\":\"",
    "\",\"attempts\":",
    ",\"status\":",
    ",\"end\":\"",
    "\",\"fault\":\"",
    "\",\"bytes_in\":",
    ",\"events\":",
    ",\"tokens_in\":",
    ",\"tokens_out\":",
    ",\"ttft_us\":",
    ",\"duration_us\":",
    ",\"overhead_us\":",
    ",\"tries\":[",
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
    " status=",
    " end=",
    " fault=",
    " bytes_in=",
    " events=",
    " tokens_in=",
    " tokens_out=",
    " ttft_us=",
    " duration_us=",
    " overhead_us=",
    " tries=",
    "\n",
];

/// What stands around the attempts and their values: before the first one, before each other
/// one, before outcome, reason and milliseconds, behind each, behind all.
type Tries = [&'static str; 7];

const JSON_TRIES: Tries = [
    "{\"target\":\"",
    ",{\"target\":\"",
    "\",\"end\":\"",
    "\",\"why\":\"",
    "\",\"ms\":",
    "}",
    "]",
];

const TEXT_TRIES: Tries = ["", ";", ",", ",", ",", "", ""];

/// A value of a line.
#[derive(Clone, Copy)]
enum Value<'a> {
    Word(&'a str),
    Number(u64),
    Tries,
}

/// Writes a line. Names come from the configuration, which restricts their letters, so
/// nothing needs escaping.
fn write_line<H: Host>(
    out: &mut String,
    format: Format,
    (shard, config): (&Shard<H>, &Config),
    receipt: &Receipt,
) {
    use Value::{Number, Tries, Word};
    let key = receipt.key().and_then(|i| config.keys.get(i));
    let model = receipt.model().and_then(|i| config.models.get(i));
    let tried = receipt.last.as_ref().and_then(|last| config.tried(last));
    let target = tried.and_then(|(_, target)| config.provider(target));
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
        Number(receipt.status.into()),
        Word(receipt.end.name()),
        Word(fault),
        Number(receipt.bytes_in),
        Number(receipt.events),
        Number(tokens.0),
        Number(tokens.1),
        Number(receipt.first_content.map_or(0, micros)),
        Number(micros(took)),
        Number(micros(took.saturating_sub(receipt.upstream))),
        Tries,
    ];
    let columns = if format == Format::Json { &JSON } else { &TEXT };
    let (end, names) = columns.split_last().unwrap_or((&"\n", &[]));
    for (name, value) in names.iter().zip(values) {
        out.push_str(name);
        match value {
            Word(word) => out.push_str(word),
            Number(number) => out.push_str(itoa::Buffer::new().format(number)),
            Tries => write_tries(out, format, (config, receipt)),
        }
    }
    if let Some(cache) = receipt.cache {
        let (before, behind) = match format {
            Format::Json => (",\"cache\":\"", "\""),
            _ => (" cache=", ""),
        };
        out.push_str(before);
        out.push_str(cache.name());
        out.push_str(behind);
    }
    if receipt.hedge.is_some() || receipt.continued.count() > 0 {
        write_rare(out, format, receipt);
    }
    out.push_str(end);
}

/// Writes what most lines have nothing of.
fn write_rare(out: &mut String, format: Format, receipt: &Receipt) {
    let (hedge, behind, continuations, estimated) = match format {
        Format::Json => (
            ",\"hedge\":\"",
            "\"",
            ",\"continuations\":",
            ",\"tokens_estimated\":",
        ),
        _ => (" hedge=", "", " continuations=", " tokens_estimated="),
    };
    if let Some(end) = receipt.hedge {
        out.push_str(hedge);
        out.push_str(end.name());
        out.push_str(behind);
    }
    let count = receipt.continued.count();
    if count > 0 {
        out.push_str(continuations);
        out.push_str(itoa::Buffer::new().format(count));
        let is_estimated = receipt.continued.is_estimated();
        out.push_str(estimated);
        out.push_str(if is_estimated { "true" } else { "false" });
    }
}

/// Writes what became of each attempt: target, outcome, reason, milliseconds.
fn write_tries(out: &mut String, format: Format, (config, receipt): (&Config, &Receipt)) {
    let [open, next, end, why, ms, close, last] = match format {
        Format::Json => JSON_TRIES,
        _ => TEXT_TRIES,
    };
    let mut before = open;
    for one in receipt.tries() {
        let Some((model, target)) = config.tried(one) else {
            continue;
        };
        out.push_str(before);
        let provider = config.provider(target);
        out.push_str(provider.map_or("-", |provider| &provider.name));
        out.push('/');
        out.push_str(config.upstream_name((model, one.model.into()), target));
        out.push_str(end);
        out.push_str(one.end.name());
        out.push_str(why);
        match one.why {
            Why::Nothing => out.push('-'),
            Why::Status(status) => out.push_str(itoa::Buffer::new().format(status)),
            Why::Fault(kind) => out.push_str(kind.code()),
        }
        out.push_str(ms);
        // Of a thousand more than the part that is written, the last three digits.
        let (whole, part) = (one.micros / 1000, one.micros % 1000 + 1000);
        out.push_str(itoa::Buffer::new().format(whole));
        out.push('.');
        let mut digits = itoa::Buffer::new();
        out.push_str(digits.format(part).get(1..).unwrap_or_default());
        out.push_str(close);
        before = next;
    }
    out.push_str(last);
}

/// Whole microseconds.
fn micros(time: Duration) -> u64 {
    time.as_secs()
        .saturating_mul(1_000_000)
        .saturating_add(u64::from(time.subsec_micros()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::fault::Kind;
    use crate::config::{FixedSecrets, check};
    use crate::stats::receipt::AttemptEnd;

    const CONFIG: &str = "
        [providers.p]
        dialect = \"openai\"
        base_url = \"http://127.0.0.1:1/v1\"
        [providers.q]
        dialect = \"anthropic\"
        base_url = \"http://127.0.0.1:1\"
        [models.first]
        targets = [{ provider = \"p\", model = \"x/y\" }, { provider = \"q\" }]
        fallbacks = [\"second\"]
        [models.second]
        targets = [{ provider = \"q\", model = \"z\" }]
        [models.\"*\"]
        targets = [{ provider = \"p\" }]
    ";

    /// Goal: a line has each attempt with its target's name in the metrics, and JSON stays JSON.
    #[test]
    fn every_attempt_is_named_with_its_end_and_its_time() {
        let config = check(CONFIG, &FixedSecrets(&[])).unwrap().config;
        let mut receipt = Receipt::default();
        let written = |receipt: &Receipt| {
            let (mut text, mut json) = (String::new(), "[".to_owned());
            write_tries(&mut text, Format::Text, (&config, receipt));
            write_tries(&mut json, Format::Json, (&config, receipt));
            (
                text,
                serde_json::from_str::<serde_json::Value>(&json).unwrap(),
            )
        };
        assert_eq!(written(&receipt), (String::new(), serde_json::json!([])));
        let tries = [
            (0, 0, AttemptEnd::Refused, Why::Status(429), 12_345),
            (
                0,
                1,
                AttemptEnd::Failed,
                Why::Fault(Kind::FirstTokenTimeout),
                700_020,
            ),
            (1, 0, AttemptEnd::Cut, Why::Fault(Kind::UpstreamCut), 7),
            (2, 0, AttemptEnd::Done, Why::Nothing, 1_000),
            (3, 0, AttemptEnd::Cancelled, Why::Nothing, 0),
        ];
        for (model, place, end, why, micros) in tries {
            receipt.begin_try(model, place);
            receipt.end_try(end, why, Duration::from_micros(micros));
        }
        let (text, json) = written(&receipt);
        assert_eq!(
            text,
            "p/x/y,refused,429,12.345;q/first,failed,upstream_first_token_timeout,700.020;\
             q/z,cut,upstream_cut,0.007;p/*,done,-,1.000;p/*,cancelled,-,0.000"
        );
        let one = |target, end, why, ms| serde_json::json!({"target": target, "end": end, "why": why, "ms": ms});
        let want = serde_json::json!([
            one("p/x/y", "refused", "429", 12.345),
            one("q/first", "failed", "upstream_first_token_timeout", 700.02),
            one("q/z", "cut", "upstream_cut", 0.007),
            one("p/*", "done", "-", 1.0),
            one("p/*", "cancelled", "-", 0.0),
        ]);
        assert_eq!(json, want);
    }
}
