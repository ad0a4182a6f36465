//! What a run found, ready to be written as text, JSON or HTML.
//!
//! Times are microseconds in JSON; the text and the page choose a unit that reads well.

pub mod html;
mod svg;
pub mod text;

use super::args::{Mode, Plan};
use super::tally::{Tally, Times};
use serde::Serialize;
use std::time::Duration;

/// Points of a percentile curve.
const CURVE_POINTS: u32 = 160;
/// Right end of a percentile curve in nines: 99.999 %.
const CURVE_NINES: f64 = 5.0;

/// A whole report.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Name and version of the tool.
    pub tool: String,
    /// What was asked for.
    pub run: Run,
    /// From the start to the last answer, in seconds.
    pub elapsed_s: f64,
    /// Requests answered well, warm-up left out.
    pub ok: u64,
    /// Requests answered well during warm-up.
    pub warmup: u64,
    /// Requests that failed.
    pub failed: u64,
    /// Requests answered well per second, warm-up and its time left out.
    pub ok_per_s: f64,
    /// Bytes of replies.
    pub reply_bytes: u64,
    /// Connections opened.
    pub connects: u64,
    /// Content events of all streams, warm-up included.
    pub content_events: u64,
    /// Events without content, warm-up included; end marks are not counted.
    pub other_events: u64,
    /// Most streams open at once.
    pub open_peak: u64,
    /// Failures by kind.
    pub errors: Vec<ErrorCount>,
    /// Times: latency, and what else applied to this run.
    pub times: Vec<Summary>,
    /// Width of a row of the timeline in seconds.
    pub row_s: f64,
    /// Which time the timeline shows.
    pub row_shows: &'static str,
    /// What happened when.
    pub timeline: Vec<RowReport>,
    /// Processor time of this process in seconds, and as a share of one CPU.
    pub generator: Generator,
}

/// What was asked for.
#[derive(Clone, Debug, Serialize)]
pub struct Run {
    /// `closed`, `open` or `streams`.
    pub mode: &'static str,
    /// Address.
    pub target: String,
    /// Path.
    pub path: String,
    /// Model.
    pub model: String,
    /// Prompt length in bytes.
    pub prompt_bytes: usize,
    /// Whether streams were asked for.
    pub stream: bool,
    /// Connections or streams at once.
    pub connections: u32,
    /// Open loop: requests a second.
    pub rate: Option<f64>,
    /// How long requests were begun, in seconds; none for held streams.
    pub duration_s: Option<f64>,
    /// Unmeasured time at the start in seconds.
    pub warmup_s: f64,
    /// Expected time between content events in seconds.
    pub event_interval_s: Option<f64>,
    /// Longest wait for a reply in seconds.
    pub timeout_s: f64,
}

/// Failures of one kind.
#[derive(Clone, Debug, Serialize)]
pub struct ErrorCount {
    /// The kind.
    pub kind: String,
    /// How many.
    pub count: u64,
}

/// One kind of time, in microseconds.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// `latency`, `ttft`, `gap`, `lateness` or `send_delay`.
    pub name: &'static str,
    /// What it is, for people.
    pub title: &'static str,
    /// How many were measured.
    pub count: u64,
    /// Shortest.
    pub min_us: f64,
    /// Mean.
    pub mean_us: f64,
    /// Median.
    pub p50_us: f64,
    /// 75 % are at or under it.
    pub p75_us: f64,
    /// 90 % are at or under it.
    pub p90_us: f64,
    /// 99 % are at or under it.
    pub p99_us: f64,
    /// 99.9 % are at or under it.
    pub p999_us: f64,
    /// 99.99 % are at or under it.
    pub p9999_us: f64,
    /// Longest.
    pub max_us: f64,
    /// The percentile curve: (nines, microseconds); 2 nines are 99 %.
    #[serde(skip)]
    pub curve: Vec<(f64, f64)>,
}

/// One row of the timeline.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct RowReport {
    /// Its start in seconds.
    pub t_s: f64,
    /// Requests answered well.
    pub ok: u64,
    /// Requests that failed.
    pub failed: u64,
    /// Measured content events.
    pub events: u64,
    /// Median in microseconds, none when nothing was measured.
    pub p50_us: Option<f64>,
    /// 99 %.
    pub p99_us: Option<f64>,
    /// Longest.
    pub max_us: Option<f64>,
}

/// What the load generator itself used.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Generator {
    /// Processor time in seconds.
    pub cpu_s: f64,
    /// Share of one CPU, 0 to 1.
    pub cpu_share: f64,
}

impl Report {
    /// Puts `tally` into a report; `cpu` is the processor time that the generator used.
    pub fn new(plan: &Plan, tally: &Tally, cpu: Duration) -> Self {
        let elapsed = tally.elapsed().as_secs_f64();
        let measured = (elapsed - plan.warmup.as_secs_f64()).max(1e-9);
        let times = [
            ("latency", "Latency", &tally.latency),
            ("ttft", "Time to first content", &tally.ttft),
            ("gap", "Gap between events", &tally.gap),
            ("lateness", "Event lateness", &tally.lateness),
            ("send_delay", "Send delay", &tally.send_delay),
        ];
        let errors = tally.errors.iter().map(|(kind, &count)| ErrorCount {
            kind: kind.to_string(),
            count,
        });
        Self {
            tool: format!("shardgate load {}", env!("CARGO_PKG_VERSION")),
            run: Run::new(plan),
            elapsed_s: elapsed,
            ok: tally.ok,
            warmup: tally.warm,
            failed: tally.error_count(),
            ok_per_s: float(tally.ok) / measured,
            reply_bytes: tally.bytes,
            connects: tally.connects,
            content_events: tally.content_events,
            other_events: tally.other_events,
            open_peak: tally.open_peak,
            errors: errors.collect(),
            times: times
                .into_iter()
                .filter(|(_, _, times)| times.count() > 0)
                .map(|(name, title, times)| Summary::new(name, title, times))
                .collect(),
            row_s: tally.timeline.width.as_secs_f64(),
            row_shows: tally.primary().name(),
            timeline: rows(tally),
            generator: Generator {
                cpu_s: cpu.as_secs_f64(),
                cpu_share: cpu.as_secs_f64() / elapsed.max(1e-9),
            },
        }
    }

    /// The times called `name`, if any were measured.
    pub fn times(&self, name: &str) -> Option<&Summary> {
        self.times.iter().find(|times| times.name == name)
    }

    /// The report as JSON with line breaks.
    ///
    /// # Errors
    /// What the writer says.
    pub fn json(&self) -> Result<String, String> {
        serde_json::to_string_pretty(self).map_err(|e| e.to_string())
    }
}

impl Run {
    fn new(plan: &Plan) -> Self {
        let (mode, rate) = match plan.mode {
            Mode::Closed => ("closed", None),
            Mode::Open { rate, .. } => ("open", Some(rate)),
            Mode::Streams { .. } => ("streams", None),
        };
        Self {
            mode,
            target: plan.target.addr.to_string(),
            path: plan.path.clone(),
            model: plan.model.clone(),
            prompt_bytes: plan.prompt_bytes,
            stream: plan.stream,
            connections: plan.connections,
            rate,
            duration_s: (mode != "streams").then_some(plan.duration.as_secs_f64()),
            warmup_s: plan.warmup.as_secs_f64(),
            event_interval_s: plan.event_interval.map(|every| every.as_secs_f64()),
            timeout_s: plan.timeout.as_secs_f64(),
        }
    }
}

impl Summary {
    fn new(name: &'static str, title: &'static str, times: &Times) -> Self {
        let us = |quantile| float(times.at(quantile)) / 1e3;
        let (min, mean, max) = times.edges();
        Self {
            name,
            title,
            count: times.count(),
            min_us: float(min) / 1e3,
            mean_us: mean / 1e3,
            p50_us: us(0.5),
            p75_us: us(0.75),
            p90_us: us(0.9),
            p99_us: us(0.99),
            p999_us: us(0.999),
            p9999_us: us(0.9999),
            max_us: float(max) / 1e3,
            curve: curve(times),
        }
    }
}

/// Up to where there are measurements: 1,000 of them say nothing about 99.99 %.
fn curve(times: &Times) -> Vec<(f64, f64)> {
    let known = float(times.count()).log10().min(CURVE_NINES);
    (0..=CURVE_POINTS)
        .map(|point| CURVE_NINES * f64::from(point) / f64::from(CURVE_POINTS))
        .take_while(|&nines| nines <= known)
        .map(|nines| {
            let quantile = 1.0 - 10_f64.powf(-nines);
            (nines, float(times.at(quantile)) / 1e3)
        })
        .collect()
}

fn rows(tally: &Tally) -> Vec<RowReport> {
    let width = tally.timeline.width.as_secs_f64();
    let mut start = 0.0;
    let row = |row: &super::tally::Row| {
        let most = row.times.max(); // a quantile is the top of its bucket, which may lie above
        let us = |nanos: u64| (!row.times.is_empty()).then(|| float(nanos.min(most)) / 1e3);
        let report = RowReport {
            t_s: start,
            ok: row.ok,
            failed: row.errors,
            events: row.events,
            p50_us: us(row.times.value_at_quantile(0.5)),
            p99_us: us(row.times.value_at_quantile(0.99)),
            max_us: us(most),
        };
        start += width;
        report
    };
    tally.timeline.rows.iter().map(row).collect()
}

#[expect(
    clippy::cast_precision_loss,
    reason = "counts and nanoseconds of one run stay far below 2^53"
)]
pub(crate) fn float(number: u64) -> f64 {
    number as f64
}

/// A time with a unit that reads well.
pub(crate) fn time(us: f64) -> String {
    match us {
        us if us < 1e3 => format!("{us:.1} µs"),
        us if us < 1e6 => format!("{:.2} ms", us / 1e3),
        us => format!("{:.2} s", us / 1e6),
    }
}

/// A number with its thousands set apart by a thin space.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() * 2);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push('\u{2009}');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: units and groups read well at their edges.
    #[test]
    fn numbers_read_well() {
        assert_eq!(time(12.34), "12.3 µs");
        assert_eq!(time(1234.0), "1.23 ms");
        assert_eq!(time(61_000_000.0), "61.00 s");
        let plain = |n| grouped(n).replace('\u{2009}', " ");
        assert_eq!(plain(0), "0");
        assert_eq!(plain(999), "999");
        assert_eq!(plain(1_234_567), "1 234 567");
    }
}
