//! `shardgate serve`: limits, signals, and a gateway until it is told to stop.

use super::gateway::{Gateway, Stop};
use super::logger;
use super::reload::Loader;
use crate::config::Config;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::sync::Arc;
use std::thread;

/// Descriptors that are neither client nor provider connections: rings, listeners, files.
const SPARE_DESCRIPTORS: u64 = 256;

/// Raises the soft limit of descriptors to the hard one; gives it.
pub fn raise_descriptors() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    if setrlimit(Resource::Nofile, raised).is_err() {
        return limit.current.unwrap_or(u64::MAX);
    }
    limit.maximum.unwrap_or(u64::MAX)
}

/// Ends `stop`'s gateway on SIGTERM; a second one, or SIGINT, hurries. SIGHUP calls
/// `on_hangup`.
///
/// # Errors
/// When the handlers cannot be installed.
pub fn on_signals(stop: Stop, on_hangup: impl Fn() + Send + 'static) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("cannot install signal handlers: {error}");
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP]).map_err(failed)?;
    let waiter = move || {
        for signal in signals.forever() {
            if signal == SIGHUP {
                on_hangup();
            } else if signal == SIGINT || stop.is_asked() {
                stop.hurry();
            } else {
                stop.drain();
            }
        }
    };
    thread::Builder::new()
        .name("signals".to_owned())
        .spawn(waiter)
        .map_err(failed)?;
    Ok(())
}

/// Runs the gateway until a signal ends it; `loader` reads the configuration again.
///
/// # Errors
/// Why it cannot start, or that exchanges had to be cut off at the end.
pub fn serve(config: Config, loader: Loader) -> Result<(), String> {
    let descriptors = raise_descriptors();
    let format = logger::format();
    let log = logger::start().map_err(|error| error.to_string())?;
    let config = Arc::new(config);
    let wanted = (config.limits.streams_max as u64)
        .saturating_mul(2)
        .saturating_add(SPARE_DESCRIPTORS);
    let say = |what: &str| drop(log.try_send(logger::event(format, what))); // see logger
    if descriptors < wanted {
        say(&format!(
            "limits.streams_max = {} needs {wanted} descriptors, this process may open {descriptors}: \
             at most {} streams fit; raise it (LimitNOFILE={wanted}) or lower streams_max",
            config.limits.streams_max,
            descriptors.saturating_sub(SPARE_DESCRIPTORS) / 2
        ));
    }
    let gateway = Gateway::start(&config, format, &log, Some(loader))?;
    let reloader = gateway.stop.clone();
    on_signals(gateway.stop.clone(), move || reloader.reload())?;
    let listen: Vec<_> = gateway.listen.iter().map(ToString::to_string).collect();
    let admin = gateway.admin.map_or("off".to_owned(), |at| at.to_string());
    say(&format!(
        "listening on {}; admin on {admin}; {} shards; sockets: {}",
        listen.join(", "),
        gateway.shards,
        gateway.sockets.name()
    ));
    let ended = gateway.wait()?;
    let (exchanges, receipts, cut) = (ended.exchanges, ended.receipts, ended.cut);
    say(&format!(
        "stopped: {exchanges} exchanges, {receipts} receipts, {cut} cut off"
    ));
    logger::flush(&log);
    if cut > 0 {
        Err(format!(
            "{cut} exchanges were cut off before their answer was whole"
        ))
    } else {
        Ok(())
    }
}
