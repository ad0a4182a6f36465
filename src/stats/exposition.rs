//! What one scrape shows: every shard's counters added up, and each shard's own gauges.
//!
//! Names follow OpenTelemetry's `GenAI` conventions where one exists. Labels come from the
//! configuration and from fixed tables, never from a caller's bytes.
//!
//! Source: OpenTelemetry, "Semantic conventions for generative AI metrics".

use super::counters::{Attempts, Counters, Latency};
use super::handshakes::{OUTCOMES, SIDES};
use super::queued::Queued;
use super::receipt::{AttemptEnd, HedgeEnd};
use super::reloads::Reloads;
use super::text::{Form, Text};
use super::view::State;
use std::collections::BTreeMap;
use std::time::Duration;

/// The names that numbers stand for.
#[derive(Debug, Default)]
pub struct Names<'a> {
    /// Model names by number.
    pub models: Vec<&'a str>,
    /// Provider names by number.
    pub providers: Vec<&'a str>,
    /// Target names by number. One whose provider moved has several.
    pub targets: Vec<&'a str>,
}

impl Names<'_> {
    fn model(&self, index: usize) -> &str {
        self.models.get(index).copied().unwrap_or("unknown")
    }

    fn provider(&self, index: usize) -> &str {
        self.providers.get(index).copied().unwrap_or("unknown")
    }

    fn target(&self, index: usize) -> &str {
        self.targets.get(index).copied().unwrap_or("unknown")
    }
}

/// What a box knows of one target.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TargetGauges {
    /// Attempts under way.
    pub in_flight: u64,
    /// Estimated tokens of them.
    pub tokens: u64,
    /// The time to its first token, of plain answers to the first part; zero before any.
    pub ttft: Duration,
    /// How long its provider wants it to be left alone.
    pub cooling: Duration,
    /// Its breaker.
    pub state: State,
    /// How often it was opened.
    pub trips: u64,
}

/// How one shard hears the others.
#[derive(Clone, Copy, Debug, Default)]
pub struct Hearing {
    /// How old the oldest of its rows is; `None` without others, or before they spoke.
    pub age: Option<Duration>,
    /// Digests that others took of it.
    pub sent: u64,
    /// Digests that found no room.
    pub dropped: u64,
}

/// One scrape. By shard, what is called a list here, but for connections and targets.
#[derive(Debug, Default)]
pub struct Scrape<'a> {
    /// Counters.
    pub counters: Vec<&'a Counters>,
    /// Turns that were too long.
    pub stalls: Vec<&'a Latency>,
    /// Gossip.
    pub hearing: Vec<Hearing>,
    /// Numbers of providers, their idle and leased connections.
    pub connections: Vec<(usize, u64, u64)>,
    /// By name of target, of those that were asked.
    pub targets: Vec<(&'a str, TargetGauges)>,
    /// What became of reloads.
    pub reloads: Reloads,
    /// The configuration in force.
    pub epoch: u64,
}

/// Writes a scrape.
pub fn write(scrape: &Scrape<'_>, names: &Names<'_>, form: Form) -> String {
    let mut all = Counters::default();
    for shard in &scrape.counters {
        all.add(shard);
    }
    let mut text = Text::new(form);
    let out = &mut text;
    requests(out, &all, names);
    tokens(out, &all, names);
    attempts(out, &all, names);
    hedges(out, &all, names);
    targets(out, scrape, names);
    streams(out, scrape, &all);
    queue(out, scrape, &all);
    plain(out, &all);
    let shards = scrape.counters.iter().map(|shard| &shard.cached);
    all.cached.write(out, shards);
    all.vectors.write(out);
    handshakes(out, &all);
    all.remote.write(out);
    gossip(out, scrape);
    scrape.reloads.write(out, scrape.epoch);
    durations(out, scrape, &all);
    text.finish()
}

fn requests(out: &mut Text, all: &Counters, names: &Names<'_>) {
    let name = "shardgate_requests_total";
    out.head(name, "counter", "Exchanges by model and status.");
    let mut rows: Vec<_> = all.requests.iter().collect();
    rows.sort_unstable();
    for (&(front, model, code), &count) in rows {
        let model = model.map_or("", |index| names.model(index));
        let front = front.name();
        let labels = format!("front=\"{front}\",model=\"{model}\",code=\"{code}\"");
        out.line(name, &labels, count);
    }
    let name = "shardgate_faults_total";
    out.head(
        name,
        "counter",
        "Exchanges that failed, by what went wrong.",
    );
    let mut rows: Vec<_> = all.faults.iter().collect();
    rows.sort_unstable();
    for (code, &count) in rows {
        out.line(name, &format!("code=\"{code}\""), count);
    }
}

fn tokens(out: &mut Text, all: &Counters, names: &Names<'_>) {
    let name = "gen_ai_client_token_usage";
    out.head(name, "histogram", "Tokens that providers reported.");
    let mut rows: Vec<_> = all.tokens.iter().collect();
    rows.sort_unstable_by_key(|(key, _)| **key);
    for (&(model, provider), sizes) in rows {
        let (model, provider) = (names.model(model), names.provider(provider));
        for (kind, sizes) in ["input", "output"].iter().zip(sizes) {
            let labels = format!(
                "gen_ai_request_model=\"{model}\",gen_ai_provider_name=\"{provider}\",gen_ai_token_type=\"{kind}\""
            );
            out.sizes(name, &labels, sizes);
        }
    }
}

fn attempts(out: &mut Text, all: &Counters, names: &Names<'_>) {
    let name = "shardgate_attempts_total";
    out.head(name, "counter", "Attempts by target and outcome.");
    let mut rows: BTreeMap<&str, Attempts> = BTreeMap::new();
    for (&target, counts) in &all.attempts {
        let row = rows.entry(names.target(target)).or_default();
        for (sum, count) in row.iter_mut().zip(counts) {
            *sum += count;
        }
    }
    for (target, counts) in rows {
        for (end, count) in AttemptEnd::ALL.iter().zip(counts) {
            let labels = format!("target=\"{target}\",outcome=\"{}\"", end.name());
            out.line(name, &labels, count);
        }
    }
    let name = "shardgate_fallbacks_total";
    out.head(name, "counter", "Exchanges that went on to a fallback.");
    let mut rows: Vec<_> = all.fallbacks.iter().collect();
    rows.sort_unstable();
    for (&(from, to, reason), &count) in rows {
        let (from, to) = (names.model(from), names.model(to));
        let labels = format!("from=\"{from}\",to=\"{to}\",reason=\"{reason}\"");
        out.line(name, &labels, count);
    }
}

fn hedges(out: &mut Text, all: &Counters, names: &Names<'_>) {
    let help = "Second attempts beside slow ones by what came of them; denied: not made.";
    let rows = HedgeEnd::ALL.iter().map(|end| end.name()).zip(all.hedges);
    out.family(("shardgate_hedges_total", "outcome"), help, rows);
    let name = "shardgate_hedge_lost_tokens_total";
    let help = "Estimated prompt tokens of attempts that another one was faster than.";
    out.head(name, "counter", help);
    let mut rows: BTreeMap<&str, u64> = BTreeMap::new();
    for (&target, &tokens) in &all.lost_tokens {
        *rows.entry(names.target(target)).or_default() += tokens;
    }
    for (target, tokens) in rows {
        out.line(name, &format!("target=\"{target}\""), tokens);
    }
}

fn targets(out: &mut Text, scrape: &Scrape<'_>, names: &Names<'_>) {
    type Of = fn(&TargetGauges) -> u64;
    let families: [(&str, &str, &str, Of); 4] = [
        (
            "shardgate_in_flight",
            "gauge",
            "Attempts that are under way.",
            |target| target.in_flight,
        ),
        (
            "shardgate_tokens_in_flight",
            "gauge",
            "Estimated tokens of the attempts that are under way.",
            |target| target.tokens,
        ),
        (
            "shardgate_breaker_state",
            "gauge",
            "Breakers: 0 closed, 1 half-open, 2 open.",
            |target| target.state.gauge(),
        ),
        (
            "shardgate_breaker_trips_total",
            "counter",
            "How often a breaker was opened.",
            |target| target.trips,
        ),
    ];
    for (name, kind, help, of) in families {
        out.head(name, kind, help);
        for (target, gauges) in &scrape.targets {
            let labels = format!("target=\"{target}\"");
            out.line(name, &labels, of(gauges));
        }
    }
    let name = "shardgate_target_cooling_seconds";
    let help = "For how long a target is left alone, since its provider said so.";
    out.head(name, "gauge", help);
    for (target, gauges) in &scrape.targets {
        let labels = format!("target=\"{target}\"");
        out.line(name, &labels, gauges.cooling.as_secs_f64());
    }
    let name = "shardgate_target_ttft_seconds";
    let help =
        "Estimated time to the first token, which a slow answer or a failure raises at once.";
    out.head(name, "gauge", help);
    for (target, gauges) in scrape.targets.iter().filter(|(_, g)| !g.ttft.is_zero()) {
        let labels = format!("target=\"{target}\"");
        out.line(name, &labels, gauges.ttft.as_secs_f64());
    }
    let name = "shardgate_upstream_connections";
    out.head(name, "gauge", "Upstream connections.");
    for (provider, idle, leased) in &scrape.connections {
        let provider = names.provider(*provider);
        for (state, count) in [("idle", idle), ("leased", leased)] {
            let labels = format!("target=\"{provider}\",state=\"{state}\"");
            out.line(name, &labels, count);
        }
    }
}

fn streams(out: &mut Text, scrape: &Scrape<'_>, all: &Counters) {
    let name = "shardgate_streams_open";
    out.head(name, "gauge", "Streams that are open.");
    for (index, shard) in scrape.counters.iter().enumerate() {
        out.line(name, &format!("shard=\"{index}\""), shard.streams_open);
    }
    let rows = ["done", "error", "cancelled"].into_iter().zip(all.streams);
    out.family(
        ("shardgate_streams_total", "end"),
        "Streams by how they ended.",
        rows,
    );
}

fn queue(out: &mut Text, scrape: &Scrape<'_>, all: &Counters) {
    let name = "shardgate_queue_depth";
    out.head(name, "gauge", "Requests that wait for room.");
    for (index, shard) in scrape.counters.iter().enumerate() {
        out.line(name, &format!("shard=\"{index}\""), shard.queue_depth);
    }
    let help = "Requests that came when there was no room, by what became of them.";
    let rows = Queued::ALL
        .into_iter()
        .map(|it| (it.name(), all.queued.of(it)));
    out.family(("shardgate_queued_total", "outcome"), help, rows);
}

fn plain(out: &mut Text, all: &Counters) {
    let gauges = [
        (
            "shardgate_exchanges_open",
            "Exchanges that are under way.",
            all.exchanges_open,
        ),
        (
            "shardgate_connections_open",
            "Client connections that are open.",
            all.connections_open,
        ),
    ];
    let counters = [
        (
            "shardgate_exchanges_total",
            "Exchanges that began.",
            all.exchanges,
        ),
        (
            "shardgate_receipts_total",
            "Exchanges that were settled.",
            all.receipts,
        ),
        (
            "shardgate_connections_total",
            "Client connections accepted.",
            all.connections,
        ),
        (
            "shardgate_connections_shed_total",
            "Client connections refused for load.",
            all.connections_shed,
        ),
        (
            "shardgate_reconnects_total",
            "Requests sent again after a reused connection failed.",
            all.reconnects,
        ),
        (
            "shardgate_continuations_total",
            "How often another target went on with an answer that was cut.",
            all.continuations,
        ),
        (
            "shardgate_retry_budget_spent_total",
            "Further attempts that were not made, as the budget was spent.",
            all.budget_spent,
        ),
        (
            "shardgate_panics_total",
            "Connection tasks that panicked.",
            all.panics,
        ),
        (
            "shardgate_log_dropped_total",
            "Access-log lines dropped.",
            all.log_dropped,
        ),
    ];
    let gauges = gauges.map(|row| ("gauge", row));
    let counters = counters.map(|row| ("counter", row));
    for (kind, (name, help, value)) in gauges.into_iter().chain(counters) {
        out.head(name, kind, help);
        out.line(name, "", value);
    }
}

fn handshakes(out: &mut Text, all: &Counters) {
    let name = "shardgate_tls_handshakes_total";
    out.head(name, "counter", "TLS handshakes by how they ended.");
    for (side, side_name) in SIDES {
        for (outcome, end) in OUTCOMES {
            let labels = format!("side=\"{side_name}\",outcome=\"{end}\"");
            out.line(name, &labels, all.handshakes.of(side, outcome));
        }
    }
}

fn gossip(out: &mut Text, scrape: &Scrape<'_>) {
    let name = "shardgate_gossip_age_seconds";
    out.head(name, "gauge", "Age of the oldest row of a shard's view.");
    for (shard, hearing) in scrape.hearing.iter().enumerate() {
        if let Some(age) = hearing.age {
            out.line(name, &format!("shard=\"{shard}\""), age.as_secs_f64());
        }
    }
    let name = "shardgate_gossip_sent_total";
    out.head(name, "counter", "Digests that another shard took.");
    for (shard, hearing) in scrape.hearing.iter().enumerate() {
        out.line(name, &format!("shard=\"{shard}\""), hearing.sent);
    }
    let name = "shardgate_gossip_dropped_total";
    let help = "Digests that found no room at another shard.";
    out.head(name, "counter", help);
    for (shard, hearing) in scrape.hearing.iter().enumerate() {
        out.line(name, &format!("shard=\"{shard}\""), hearing.dropped);
    }
}

fn durations(out: &mut Text, scrape: &Scrape<'_>, all: &Counters) {
    let families = [
        (
            "gen_ai_server_request_duration_seconds",
            "From the request's first byte to the end.",
            &all.duration,
        ),
        (
            "gen_ai_server_time_to_first_token_seconds",
            "From the request's first byte to the first content.",
            &all.first_content,
        ),
        (
            "gen_ai_server_time_per_output_token_seconds",
            "Streams: from the first content to the end, per token behind the first.",
            &all.per_token,
        ),
        (
            "shardgate_overhead_seconds",
            "Time a plain exchange spent in the gateway itself.",
            &all.overhead,
        ),
    ];
    for (name, help, latency) in families {
        out.head(name, "histogram", help);
        out.durations(name, "", latency);
    }
    let name = "shardgate_shard_stall_seconds";
    let help = "Turns in which tasks held a shard's CPU for more than 10 ms.";
    out.head(name, "histogram", help);
    for (shard, stalls) in scrape.stalls.iter().enumerate() {
        out.durations(name, &format!("shard=\"{shard}\""), stalls);
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
                    model_index: Some(0),
                    ended: Instant::from_nanos(micros * 1000),
                    ..Receipt::default()
                },
                (Some(0), None),
            );
        }
        let names = Names {
            models: vec!["gpt-4o"],
            ..Names::default()
        };
        let scrape = Scrape {
            counters: vec![&shard, &shard],
            ..Scrape::default()
        };
        let out = write(&scrape, &names, Form::Prometheus);
        let line = "shardgate_requests_total{front=\"openai\",model=\"gpt-4o\",code=\"200\"} 6\n";
        assert!(out.contains(line), "{out}");
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
