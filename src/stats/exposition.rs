//! Counters as Prometheus text (exposition format 0.0.4).
//!
//! Names follow OpenTelemetry's `GenAI` conventions where one exists. Labels come from the
//! configuration and from fixed tables, never from a caller's bytes.
//!
//! Source: Prometheus, "Exposition formats"; OpenTelemetry, "Semantic conventions for
//! generative AI metrics".

use super::counters::{Counters, Latency};
use super::handshakes::{OUTCOMES, SIDES};
use super::receipt::AttemptEnd;
use std::fmt::Write;
use std::time::Duration;

/// Upper bounds of histogram buckets in seconds, as the `GenAI` conventions advise, with
/// finer ones at the short end for the gateway's own overhead.
const BOUNDS: [f64; 18] = [
    0.000_05, 0.000_1, 0.000_25, 0.001, 0.005, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28,
    2.56, 5.12, 10.24, 20.48, 81.92,
];

/// The names that indices stand for.
#[derive(Debug)]
pub struct Names<'a> {
    /// Model names by index.
    pub models: Vec<&'a str>,
    /// Provider names by index.
    pub providers: Vec<&'a str>,
}

impl Names<'_> {
    fn model(&self, index: usize) -> &str {
        self.models.get(index).copied().unwrap_or("unknown")
    }

    fn provider(&self, index: usize) -> &str {
        self.providers.get(index).copied().unwrap_or("unknown")
    }
}

/// One scrape: every shard's counters, added up, and each shard's own gauges.
pub fn write(
    out: &mut String,
    shards: &[Counters],
    connections: &[(usize, u64, u64)],
    names: &Names<'_>,
) {
    let mut all = Counters::default();
    for shard in shards {
        all.add(shard);
    }
    requests(out, &all, names);
    targets(out, &all, connections, names);
    streams(out, shards, &all);
    plain(out, &all);
    handshakes(out, &all);
    histogram(
        out,
        "gen_ai_server_request_duration_seconds",
        "From the request's first byte to the end.",
        &all.duration,
    );
    histogram(
        out,
        "gen_ai_server_time_to_first_token_seconds",
        "From the request's first byte to the first content.",
        &all.first_content,
    );
    histogram(
        out,
        "shardgate_overhead_seconds",
        "Time a plain exchange spent in the gateway itself.",
        &all.overhead,
    );
}

fn streams(out: &mut String, shards: &[Counters], all: &Counters) {
    head(
        out,
        "shardgate_streams_open",
        "gauge",
        "Streams that are open.",
    );
    for (index, shard) in shards.iter().enumerate() {
        line(
            out,
            "shardgate_streams_open",
            &format!("shard=\"{index}\""),
            shard.streams_open,
        );
    }
    head(
        out,
        "shardgate_streams_total",
        "counter",
        "Streams by how they ended.",
    );
    for (end, count) in ["done", "error", "cancelled"].iter().zip(all.streams) {
        line(
            out,
            "shardgate_streams_total",
            &format!("end=\"{end}\""),
            count,
        );
    }
}

fn plain(out: &mut String, all: &Counters) {
    let plain = [
        (
            "shardgate_exchanges_open",
            "gauge",
            "Exchanges that are under way.",
            all.exchanges_open,
        ),
        (
            "shardgate_exchanges_total",
            "counter",
            "Exchanges that began.",
            all.exchanges,
        ),
        (
            "shardgate_receipts_total",
            "counter",
            "Exchanges that were settled.",
            all.receipts,
        ),
        (
            "shardgate_connections_open",
            "gauge",
            "Client connections that are open.",
            all.connections_open,
        ),
        (
            "shardgate_connections_total",
            "counter",
            "Client connections accepted.",
            all.connections,
        ),
        (
            "shardgate_connections_shed_total",
            "counter",
            "Client connections refused for load.",
            all.connections_shed,
        ),
        (
            "shardgate_reconnects_total",
            "counter",
            "Requests sent again after a reused connection failed.",
            all.reconnects,
        ),
        (
            "shardgate_panics_total",
            "counter",
            "Connection tasks that panicked.",
            all.panics,
        ),
        (
            "shardgate_log_dropped_total",
            "counter",
            "Access-log lines dropped.",
            all.log_dropped,
        ),
    ];
    for (name, kind, help, value) in plain {
        head(out, name, kind, help);
        line(out, name, "", value);
    }
}

fn handshakes(out: &mut String, all: &Counters) {
    const NAME: &str = "shardgate_tls_handshakes_total";
    head(out, NAME, "counter", "TLS handshakes by how they ended.");
    for (side, side_name) in SIDES {
        for (outcome, name) in OUTCOMES {
            let labels = format!("side=\"{side_name}\",outcome=\"{name}\"");
            line(out, NAME, &labels, all.handshakes.of(side, outcome));
        }
    }
}

fn requests(out: &mut String, all: &Counters, names: &Names<'_>) {
    head(
        out,
        "shardgate_requests_total",
        "counter",
        "Exchanges by model and status.",
    );
    let mut rows: Vec<_> = all.requests.iter().collect();
    rows.sort_unstable();
    for (&(model, code), &count) in rows {
        let model = model.map_or("", |index| names.model(index));
        let labels = format!("front=\"openai\",model=\"{model}\",code=\"{code}\"");
        line(out, "shardgate_requests_total", &labels, count);
    }
    head(
        out,
        "shardgate_faults_total",
        "counter",
        "Exchanges that failed, by what went wrong.",
    );
    let mut rows: Vec<_> = all.faults.iter().collect();
    rows.sort_unstable();
    for (code, &count) in rows {
        line(
            out,
            "shardgate_faults_total",
            &format!("code=\"{code}\""),
            count,
        );
    }
    head(
        out,
        "gen_ai_client_token_usage",
        "counter",
        "Tokens that providers reported.",
    );
    let mut rows: Vec<_> = all.tokens.iter().collect();
    rows.sort_unstable();
    for (&model, &(input, output)) in rows {
        let model = names.model(model);
        for (kind, count) in [("input", input), ("output", output)] {
            let labels = format!("gen_ai_request_model=\"{model}\",gen_ai_token_type=\"{kind}\"");
            line(out, "gen_ai_client_token_usage", &labels, count);
        }
    }
}

fn targets(out: &mut String, all: &Counters, connections: &[(usize, u64, u64)], names: &Names<'_>) {
    let mut rows: Vec<_> = all.targets.iter().collect();
    rows.sort_unstable_by_key(|(key, _)| **key);
    head(
        out,
        "shardgate_attempts_total",
        "counter",
        "Attempts by target and outcome.",
    );
    for &(&(model, provider), counters) in &rows {
        let target = format!("{}/{}", names.provider(provider), names.model(model));
        for end in AttemptEnd::ALL {
            let count = counters.attempts.get(end.index()).copied().unwrap_or(0);
            let labels = format!("target=\"{target}\",outcome=\"{}\"", end.name());
            line(out, "shardgate_attempts_total", &labels, count);
        }
    }
    head(
        out,
        "shardgate_in_flight",
        "gauge",
        "Attempts that are under way.",
    );
    for &(&(model, provider), counters) in &rows {
        let target = format!("{}/{}", names.provider(provider), names.model(model));
        line(
            out,
            "shardgate_in_flight",
            &format!("target=\"{target}\""),
            counters.in_flight,
        );
    }
    head(
        out,
        "shardgate_upstream_connections",
        "gauge",
        "Upstream connections.",
    );
    for &(provider, idle, leased) in connections {
        let provider = names.provider(provider);
        for (state, count) in [("idle", idle), ("leased", leased)] {
            let labels = format!("target=\"{provider}\",state=\"{state}\"");
            line(out, "shardgate_upstream_connections", &labels, count);
        }
    }
}

fn head(out: &mut String, name: &str, kind: &str, help: &str) {
    push(
        out,
        format_args!("# HELP {name} {help}\n# TYPE {name} {kind}\n"),
    );
}

fn line(out: &mut String, name: &str, labels: &str, value: u64) {
    if labels.is_empty() {
        push(out, format_args!("{name} {value}\n"));
    } else {
        push(out, format_args!("{name}{{{labels}}} {value}\n"));
    }
}

fn histogram(out: &mut String, name: &str, help: &str, latency: &Latency) {
    head(out, name, "histogram", help);
    for bound in BOUNDS {
        let count = latency.at_most(Duration::from_secs_f64(bound));
        push(
            out,
            format_args!("{name}_bucket{{le=\"{bound}\"}} {count}\n"),
        );
    }
    let (count, sum) = (latency.count(), latency.sum().as_secs_f64());
    push(
        out,
        format_args!(
            "{name}_bucket{{le=\"+Inf\"}} {count}\n{name}_sum {sum}\n{name}_count {count}\n"
        ),
    );
}

/// Writing into a `String` cannot fail.
fn push(out: &mut String, text: std::fmt::Arguments<'_>) {
    if out.write_fmt(text).is_err() {
        debug_assert!(false, "a String takes everything");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::time::Instant;
    use crate::stats::receipt::Receipt;

    /// Goal: what was counted can be read back, buckets only grow, labels are names.
    #[test]
    fn a_scrape_shows_what_was_counted() {
        let mut shard = Counters::default();
        for micros in [40, 900, 30_000] {
            shard.settle(
                &Receipt {
                    status: 200,
                    model: Some(0),
                    ended: Instant::from_nanos(micros * 1000),
                    ..Receipt::default()
                },
                Some(0),
            );
        }
        let mut out = String::new();
        let names = Names {
            models: vec!["gpt-4o"],
            providers: vec![],
        };
        write(&mut out, &[shard.clone(), shard], &[], &names);
        assert!(
            out.contains(
                "shardgate_requests_total{front=\"openai\",model=\"gpt-4o\",code=\"200\"} 6\n"
            ),
            "{out}"
        );
        let buckets: Vec<u64> = out
            .lines()
            .filter(|l| l.starts_with("gen_ai_server_request_duration_seconds_bucket"))
            .map(|l| l.rsplit(' ').next().unwrap().parse().unwrap())
            .collect();
        assert!(
            buckets.is_sorted() && buckets.last() == Some(&6),
            "{buckets:?}"
        );
        assert!(buckets[0] == 2, "{buckets:?}");
    }
}
