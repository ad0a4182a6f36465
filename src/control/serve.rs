//! `shardgate serve`: limits, signals, and a gateway until it is told to stop.

use super::gateway::{Gateway, Stop};
use super::handover::{self, Place, Takeover};
use super::logger::Say;
use super::notify::Notify;
use super::reload::Loader;
use super::succession::{NO_PLACE, Succession};
use super::{logger, preflight};
use crate::config::Config;
use crate::sys::inherit::{self, Inherited};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR2};
use signal_hook::iterator::Signals;
use std::path::Path;
use std::sync::Arc;
use std::thread;

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
/// `on_hangup`, SIGUSR2 `on_renewal`.
///
/// # Errors
/// When the handlers cannot be installed.
pub fn on_signals(
    stop: Stop,
    on_hangup: impl Fn() + Send + 'static,
    on_renewal: impl Fn() + Send + 'static,
) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("cannot install signal handlers: {error}");
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP, SIGUSR2]).map_err(failed)?;
    let mut is_termed = false;
    let waiter = move || {
        for signal in signals.forever() {
            if signal == SIGHUP {
                on_hangup();
            } else if signal == SIGUSR2 {
                on_renewal();
            } else {
                stop.signalled();
                // The first one hurries nobody who drains already, for a successor.
                if signal == SIGINT || is_termed {
                    stop.hurry();
                } else {
                    is_termed = true;
                    stop.drain();
                }
            }
        }
    };
    thread::Builder::new()
        .name("signals".to_owned())
        .spawn(waiter)
        .map_err(failed)?;
    Ok(())
}

/// Runs the gateway until a signal ends it; `loader` reads the configuration again. With
/// `takeover` it runs on the sockets of the process that runs now.
///
/// # Errors
/// Why it cannot start, or that exchanges had to be cut off at the end.
pub fn serve(config: Config, loader: Loader, takeover: bool) -> Result<(), String> {
    // The environment is read and emptied before there is another thread.
    let inherited = inherit::descriptors()?;
    let notify = Notify::from_environment()?;
    let misfits = preflight::look(&config)?;
    let handover = config.server.handover.clone();
    let (begun, inherited) = begin(handover.as_deref(), takeover, inherited)?;
    let format = logger::format();
    let log = logger::start().map_err(|error| error.to_string())?;
    let config = Arc::new(config);
    let say = Say::new(format, &log);
    for misfit in &misfits {
        say.say(misfit);
    }
    let gateway = Gateway::start_with(&config, (format, &log), Some(loader), (inherited, &notify))?;
    let told = (&notify, &say, &gateway.stop);
    let succession = Succession::new(told, handover.as_deref(), &gateway.listeners);
    watch_signals(&gateway.stop, &say, &succession)?;
    let listen: Vec<_> = gateway.listen.iter().map(ToString::to_string).collect();
    let admin = gateway.admin.map_or("off".to_owned(), |at| at.to_string());
    let text = format!(
        "listening on {}; admin on {admin}; {} shards; sockets: {}",
        listen.join(", "),
        gateway.shards,
        gateway.sockets.name()
    );
    say.say(&text);
    for (name, fd) in gateway.listeners.to_store() {
        notify.store(&name, fd);
    }
    notify.ready(&text);
    if let Some(Err(error)) = begun.map(Takeover::finish) {
        say.say(&format!(
            "the process before this one does not say that it drains: {error}"
        ));
    }
    let (stop, sockets) = (gateway.stop.clone(), Arc::clone(&gateway.listeners));
    let given = stop.clone();
    let place = handover.map(|path| Place::open(&path, sockets, move |heir| given.hand_over(heir)));
    let mut place = place.transpose()?;
    let ended = gateway.wait()?;
    let settled = succession.settle();
    if let Some(place) = place.as_mut().filter(|_| stop.is_handed_over()) {
        place.leave();
    }
    drop(place);
    let (exchanges, receipts, cut) = (ended.exchanges, ended.receipts, ended.cut);
    say.say(&format!(
        "stopped: {exchanges} exchanges, {receipts} receipts, {cut} cut off"
    ));
    logger::flush(&log);
    settled?;
    if cut > 0 {
        Err(format!(
            "{cut} exchanges were cut off before their answer was whole"
        ))
    } else {
        Ok(())
    }
}

/// Gets the sockets of the process that runs now, when they are to be taken over; else `inherited`.
fn begin(
    handover: Option<&Path>,
    takeover: bool,
    inherited: Vec<Inherited>,
) -> Result<(Option<Takeover>, Vec<Inherited>), String> {
    match handover {
        Some(path) if takeover => {
            let (takeover, sockets) = Takeover::begin(path)?;
            Ok((Some(takeover), sockets))
        }
        None if takeover => Err(NO_PLACE.to_owned()),
        Some(path) if handover::is_taken(path) => {
            let path = path.display();
            Err(format!(
                "another process hands over at {path}: start with --takeover, or give this one its own server.handover"
            ))
        }
        _ => Ok((None, inherited)),
    }
}

fn watch_signals(stop: &Stop, say: &Say, succession: &Succession) -> Result<(), String> {
    let (reloaded, say, succession) = (stop.clone(), say.clone(), succession.clone());
    let on_renewal = move || match succession.start() {
        Ok(()) => say.say("SIGUSR2: a successor starts"),
        Err(why) => say.say(&format!("SIGUSR2: {why}")),
    };
    on_signals(stop.clone(), move || reloaded.reload(), on_renewal)
}
