//! What the admin plane shows: metrics text, and status and configuration as JSON.

use crate::base::time::Instant;
use crate::config::Config;
use crate::config::print::Printed;
use crate::policy::targets::List;
use crate::shard::orders::Report;
use crate::stats::exposition::{Hearing, Names, Scrape, TargetGauges, write};
use crate::stats::text::Form;
use crate::stats::view::{Cell, Mark};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

/// The metrics of all shards.
pub fn metrics(config: &Config, reports: &[Report], form: Form) -> String {
    let list = List::new(config);
    let names = Names {
        models: config.models.iter().map(|m| m.name.as_str()).collect(),
        providers: config.providers.iter().map(|p| p.name.as_str()).collect(),
        targets: list.names.iter().map(|(name, _)| name.as_str()).collect(),
    };
    let connections = (0..config.providers.len()).map(|index| {
        let of = |report: &Report| report.pools.get(index).copied().unwrap_or_default();
        let pools = reports.iter().map(of);
        pools.fold((0, 0), |(a, b), (idle, leased)| (a + idle, b + leased))
    });
    let hearing = reports.iter().map(|report| Hearing {
        age: report.gossip.view.age(report.shard, report.gossip.at),
        sent: report.gossip.sent,
        dropped: report.gossip.dropped,
    });
    let scrape = Scrape {
        counters: reports.iter().map(|report| &report.counters).collect(),
        stalls: reports.iter().map(|report| &report.stalls).collect(),
        hearing: hearing.collect(),
        connections: connections.collect(),
        targets: gauges(reports),
    };
    write(&scrape, &names, form)
}

/// What the box knows of each target: sums, and the newest of the shards' marks.
fn gauges(reports: &[Report]) -> Vec<(usize, TargetGauges)> {
    let mut all: BTreeMap<usize, (TargetGauges, Mark)> = BTreeMap::new();
    for report in reports {
        for (target, cell) in &report.gossip.own {
            let (gauges, mark) = all.entry(*target).or_default();
            gauges.in_flight += u64::from(cell.in_flight);
            gauges.tokens = gauges.tokens.saturating_add(cell.tokens);
            gauges.trips += report.gossip.trips.get(*target).copied().unwrap_or(0);
            *mark = mark.join(cell.mark);
            gauges.state = mark.state;
        }
    }
    let all = all.into_iter();
    all.map(|(target, (gauges, _))| (target, gauges)).collect()
}

/// Shards, pools and what is under way.
pub fn status(config: &Config, reports: &[Report], is_draining: bool) -> Value {
    let list = List::new(config);
    let shards = reports.iter().map(|report| shard(config, &list, report));
    let shards: Vec<_> = shards.collect();
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "state": if is_draining { "draining" } else { "ready" },
        "shards": shards,
    })
}

fn shard(config: &Config, list: &List, report: &Report) -> Value {
    let counters = &report.counters;
    let millis = |quantile: f64| counters.duration.quantile(quantile).as_secs_f64() * 1000.0;
    let pools = config.providers.iter().zip(&report.pools).map(|(provider, (idle, leased))| {
        json!({ "provider": provider.name, "idle": idle, "leased": leased })
    });
    json!({
        "shard": report.shard,
        "connections_open": counters.connections_open,
        "connections_total": counters.connections,
        "exchanges_open": counters.exchanges_open,
        "exchanges_total": counters.exchanges,
        "receipts_total": counters.receipts,
        "streams_open": counters.streams_open,
        "panics_total": counters.panics,
        "log_dropped_total": counters.log_dropped,
        "buffers_lent_bytes": report.buffers_lent,
        "cpu_seconds": Duration::from_nanos(report.cpu_nanos).as_secs_f64(),
        "duration_ms": { "p50": millis(0.5), "p99": millis(0.99) },
        "pools": pools.collect::<Vec<_>>(),
        "stalls": {
            "count": report.stalls.count(),
            "longest_ms": millis_of(report.stalls.quantile(1.0)),
        },
        "gossip": {
            "sent_total": report.gossip.sent,
            "dropped_total": report.gossip.dropped,
            "ages_ms": ages(report),
        },
        "targets": targets(list, report),
    })
}

fn millis_of(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

/// How old what each other shard said last is; `null` before it spoke.
fn ages(report: &Report) -> Value {
    let rows = report.gossip.view.rows.iter().enumerate();
    let ages = rows
        .filter(|(shard, _)| *shard != report.shard)
        .map(|(shard, row)| {
            let age = row.at.map(|at| millis_of(report.gossip.at.since(at)));
            (shard.to_string(), json!(age))
        });
    Value::Object(ages.collect())
}

/// What a shard goes by for each target, and what it heard of it, with its age.
fn targets(list: &List, report: &Report) -> Value {
    let gossip = &report.gossip;
    let rows = gossip.own.iter().filter_map(|(index, own)| {
        let (name, id) = list.names.get(*index)?;
        let heard = gossip.view.rows.iter().enumerate();
        let heard = heard.filter_map(|(shard, row)| {
            let heard = row.cells.get(id)?;
            let age = millis_of(gossip.at.since(heard.at));
            let value = json!({ "age_ms": age, "says": cell(&heard.cell, gossip.at) });
            Some((shard.to_string(), value))
        });
        Some(json!({
            "target": name,
            "trips_total": gossip.trips.get(*index),
            "own": cell(own, gossip.at),
            "heard": Value::Object(heard.collect()),
        }))
    });
    Value::Array(rows.collect())
}

fn cell(cell: &Cell, now: Instant) -> Value {
    let Mark { state, until, .. } = cell.mark;
    json!({
        "breaker": state.name(),
        "retry_in_ms": millis_of(until.since(now)),
        "in_flight": cell.in_flight,
        "tokens_in_flight": cell.tokens,
        "ttft_ms": f64::from(cell.ttft_us) / 1000.0,
        "attempts": cell.window.attempts,
        "failures": cell.window.failures,
    })
}

/// The configuration in force, secrets as references.
pub fn config(config: &Config) -> String {
    Printed(config).to_string()
}
