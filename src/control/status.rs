//! What the admin plane shows: metrics text, and status and configuration as JSON.

use super::reload::Reloaded;
use crate::base::time::Instant;
use crate::config::Config;
use crate::config::diff::Roster;
use crate::config::print::Printed;
use crate::policy::peak::Peak;
use crate::shard::orders::Report;
use crate::shard::snapshot::Edition;
use crate::stats::cached::{Looked, Tier};
use crate::stats::exposition::{Hearing, Names, Scrape, TargetGauges, write};
use crate::stats::reloads::Reloads;
use crate::stats::text::Form;
use crate::stats::view::{Cell, Mark};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// The metrics of all shards, with the edition in force, all names and what became of reloads.
pub fn metrics(
    (edition, roster, reloads): (&Edition, &Roster, Reloads),
    reports: &[Report],
    form: Form,
) -> String {
    let names = Names {
        models: roster.models().iter().map(String::as_str).collect(),
        providers: roster.providers().iter().map(String::as_str).collect(),
        targets: roster.targets().iter().map(|(n, _)| n.as_str()).collect(),
    };
    let connections = (0..edition.config.providers.len()).map(|index| {
        let of = |report: &Report| report.pools.get(index).copied().unwrap_or_default();
        let pools = reports.iter().map(of);
        let (idle, leased) = pools.fold((0, 0), |(a, b), (idle, leased)| (a + idle, b + leased));
        (edition.places.provider(index), idle, leased)
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
        targets: gauges((edition, roster), reports),
        reloads,
        epoch: edition.epoch,
    };
    write(&scrape, &names, form)
}

/// What the box knows of each target: sums, and the newest of the shards' marks. Of a target
/// that is not configured any more, only while something is under way at it.
fn gauges<'a>(
    (edition, roster): (&Edition, &'a Roster),
    reports: &[Report],
) -> Vec<(&'a str, TargetGauges)> {
    let current: BTreeSet<_> = edition.places.targets().map(|(number, _)| number).collect();
    let mut all: BTreeMap<&str, (TargetGauges, Mark, Peak)> = BTreeMap::new();
    for report in reports {
        for (target, cell) in &report.gossip.own {
            let is_current = current.contains(target);
            let Some((name, _)) = roster.targets().get(*target) else {
                continue;
            };
            if !is_current && cell.in_flight == 0 {
                continue;
            }
            let (gauges, mark, peak) = all.entry(name).or_default();
            gauges.in_flight += u64::from(cell.in_flight);
            gauges.tokens = gauges.tokens.saturating_add(cell.tokens);
            gauges.trips += report.gossip.trips.get(*target).copied().unwrap_or(0);
            if is_current {
                *mark = mark.join(cell.mark);
                gauges.state = mark.state;
                let cooling = cell.cool_until.since(report.gossip.at);
                gauges.cooling = gauges.cooling.max(cooling);
                peak.hear(cell.ttft);
                gauges.ttft = Duration::from_nanos(peak.nanos(report.gossip.at));
            }
        }
    }
    let all = all.into_iter();
    all.map(|(name, (gauges, ..))| (name, gauges)).collect()
}

/// Shards, pools and what is under way.
pub fn status(
    (edition, roster): (&Edition, &Roster),
    reports: &[Report],
    is_draining: bool,
    reloads: &Value,
) -> Value {
    let config = &edition.config;
    let shards = reports.iter().map(|report| shard(config, roster, report));
    let shards: Vec<_> = shards.collect();
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "state": if is_draining { "draining" } else { "ready" },
        "config": reloads,
        "shards": shards,
    })
}

fn shard(config: &Config, roster: &Roster, report: &Report) -> Value {
    let counters = &report.counters;
    let millis = |quantile: f64| counters.duration.quantile(quantile).as_secs_f64() * 1000.0;
    let counts = report.pools.iter().zip(&report.addresses);
    let pools = config
        .providers
        .iter()
        .zip(counts)
        .map(|(provider, (pool, addresses))| {
            json!({
                "provider": provider.name, "idle": pool.0, "leased": pool.1,
                "addresses": addresses.0, "addresses_failing": addresses.1,
            })
        });
    json!({
        "shard": report.shard,
        "epoch": report.epoch,
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
        "cache_remote": report.remote.as_ref().map(|remote| json!({
            "connections_up": remote.total.lines.0,
            "connections": remote.total.lines.1,
            "breakers_open": remote.total.open,
            "in_flight": remote.in_flight,
            "held_bytes": remote.held,
            "last_trouble": remote.trouble,
        })),
        "stalls": {
            "count": report.stalls.count(),
            "longest_ms": millis_of(report.stalls.quantile(1.0)),
        },
        "gossip": {
            "sent_total": report.gossip.sent,
            "dropped_total": report.gossip.dropped,
            "ages_ms": ages(report),
        },
        "targets": targets(roster, report),
        "cache": {
            "entries": counters.cached.entries,
            "bytes": counters.cached.bytes,
            "hits_total": counters.cached.looked(Tier::Exact, Looked::Hit),
            "misses_total": counters.cached.looked(Tier::Exact, Looked::Miss),
            "coalesced_total": counters.cached.looked(Tier::Exact, Looked::Coalesced),
            "stored_total": counters.cached.stored,
        },
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
fn targets(roster: &Roster, report: &Report) -> Value {
    let gossip = &report.gossip;
    let rows = gossip.own.iter().filter_map(|(index, own)| {
        let (name, id) = roster.targets().get(*index)?;
        let heard = gossip.view.rows.iter().enumerate();
        let heard = heard.filter_map(|(shard, row)| {
            let heard = row.cells.get(id)?;
            let age = millis_of(gossip.at.since(heard.at));
            let value = json!({ "age_ms": age, "says": cell(&heard.cell, gossip.at) });
            Some((shard.to_string(), value))
        });
        let p95 = report.p95.iter().find(|(target, _)| target == index);
        let p95 = p95.map(|(_, [plain, stream])| {
            json!({ "plain": plain.map(millis_of), "stream": stream.map(millis_of) })
        });
        Some(json!({
            "target": name,
            "hedge_p95_ms": p95,
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
        "cooling_ms": millis_of(cell.cool_until.since(now)),
        "in_flight": cell.in_flight,
        "tokens_in_flight": cell.tokens,
        "ttft_ms": millis_of(Duration::from_nanos(cell.ttft.nanos)),
        "attempts": cell.window.attempts,
        "failures": cell.window.failures,
    })
}

/// The configuration in force, secrets as references.
pub fn config(config: &Config) -> String {
    Printed(config).to_string()
}

/// The epoch in force, and what became of the last reloads.
pub fn reloads(epoch: u64, last: Option<&Reloaded>, failed: Option<&Reloaded>) -> Value {
    let shown = |reloaded: &Reloaded| {
        json!({
            "time_us": reloaded.time_us,
            "result": reloaded.end.name(),
            "epoch": reloaded.epoch,
            "message": reloaded.text,
            "details": reloaded.lines,
        })
    };
    json!({
        "epoch": epoch,
        "last_reload": last.map(shown),
        "last_error": failed.map(shown),
    })
}
