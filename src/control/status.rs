//! What the admin plane shows: metrics text, and status and configuration as JSON.

use super::reload::Reloaded;
use crate::config::Config;
use crate::config::diff::Roster;
use crate::config::print::Printed;
use crate::shard::orders::Report;
use crate::shard::snapshot::Edition;
use crate::stats::exposition::{Names, write};
use serde_json::{Value, json};

/// The metrics of all shards as Prometheus text.
pub fn metrics(edition: &Edition, roster: &Roster, reports: &[Report]) -> String {
    let counters: Vec<_> = reports
        .iter()
        .map(|report| report.counters.clone())
        .collect();
    let names = Names {
        models: roster.models().iter().map(String::as_str).collect(),
        providers: roster.providers().iter().map(String::as_str).collect(),
    };
    let mut connections: Vec<(usize, u64, u64)> = Vec::new();
    for index in 0..edition.config.providers.len() {
        let of = |report: &Report| report.pools.get(index).copied().unwrap_or_default();
        let sum = reports
            .iter()
            .map(of)
            .fold((0, 0), |(a, b), (idle, leased)| (a + idle, b + leased));
        connections.push((edition.places.provider(index), sum.0, sum.1));
    }
    let mut out = String::new();
    write(&mut out, &counters, &connections, &names);
    out
}

/// Shards, pools and what is under way.
pub fn status(config: &Config, reports: &[Report], is_draining: bool, reloads: &Value) -> Value {
    let shards: Vec<_> = reports.iter().map(|report| shard(config, report)).collect();
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "state": if is_draining { "draining" } else { "ready" },
        "config": reloads,
        "shards": shards,
    })
}

fn shard(config: &Config, report: &Report) -> Value {
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
        "cpu_seconds": std::time::Duration::from_nanos(report.cpu_nanos).as_secs_f64(),
        "duration_ms": { "p50": millis(0.5), "p99": millis(0.99) },
        "pools": pools.collect::<Vec<_>>(),
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
