//! `shardgate simulate` as a process: config, executors, addresses on stdout, signals.
//!
//! ```text
//!   main thread                       shard 0, 1, …  (one executor each)
//!   config ──► start shard 0 ───────► listen (port 0 gets its number) ─► serve …
//!              ◄── addresses ─────────┘
//!              start the others ────► listen on the same addresses (SO_REUSEPORT)
//!              print "listening on …"
//!              wait for SIGINT or SIGTERM
//! ```

use super::args::Args;
use super::config::{self, Config};
use super::keys::KEYS;
use super::provider::Provider;
use super::serve;
use super::stats::Stats;
use crate::host::Host;
use crate::host::launch::{Running, allowed_cpus, start};
use crate::host::uring::Uring;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::future::pending;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};

/// Most shards.
pub const SHARDS_MAX: usize = 1024;

/// Where a provider listens when nothing says so.
const LISTEN: &str = "127.0.0.1:9001";

/// Runs the simulated providers that `args` ask for until SIGINT or SIGTERM.
///
/// # Errors
/// What is wrong with the arguments or the config file, or what kept a shard from running.
pub fn run(args: &Args) -> Result<(), String> {
    if args.keys {
        return print(&help_of_keys());
    }
    let mut signals = Signals::new([SIGINT, SIGTERM]).map_err(|e| format!("signals: {e}"))?;
    let simulation = Simulation::start(configs(args)?, &placement(args)?)?;
    for at in simulation.addresses.iter().flatten() {
        print(&format!("listening on {at}\n"))?;
    }
    signals.forever().next();
    Ok(())
}

/// Providers that are running, each on all shards. Their executors end with the process.
#[derive(Debug)]
pub struct Simulation {
    /// Where each provider listens, in the order of the configs.
    pub addresses: Vec<Vec<SocketAddr>>,
    /// The counters of each.
    pub stats: Vec<Arc<Stats>>,
}

impl Simulation {
    /// Starts `configs` on one executor for each of `cpus` (`None` = on any CPU), and waits
    /// until all of them listen.
    ///
    /// # Errors
    /// What kept an executor or a listener from starting.
    pub fn start(configs: Vec<Config>, cpus: &[Option<usize>]) -> Result<Self, String> {
        let stats: Vec<_> = configs
            .iter()
            .map(|_| Arc::new(Stats::new(cpus.len())))
            .collect();
        let mut addresses: Vec<_> = configs.iter().map(|c| c.listen.clone()).collect();
        let configs: Vec<_> = configs.into_iter().map(Arc::new).collect();
        for (shard, &cpu) in cpus.iter().enumerate() {
            let (say, hear) = channel();
            let providers: Vec<_> = configs
                .iter()
                .zip(&stats)
                .zip(&addresses)
                .map(|((config, stats), at)| (Arc::clone(config), Arc::clone(stats), at.clone()))
                .collect();
            let name = format!("simulate-{shard}");
            let running = start(&name, cpu, move || shard_main(shard, providers, say))
                .map_err(|e| format!("{name}: {e}"))?;
            addresses = match hear.recv() {
                Ok(listening) => listening?,
                Err(_) => return Err(failure(running)),
            };
        }
        Ok(Self { addresses, stats })
    }
}

type Seat = (Arc<Config>, Arc<Stats>, Vec<SocketAddr>);

/// What one shard does: listens for every provider, says where, serves for ever.
async fn shard_main(
    shard: usize,
    seats: Vec<Seat>,
    say: Sender<Result<Vec<Vec<SocketAddr>>, String>>,
) {
    let host = Uring;
    let mut addresses = Vec::with_capacity(seats.len());
    let mut listening = Vec::new();
    for (config, stats, listen) in seats {
        let provider = Rc::new(Provider::new(config, stats, shard));
        let mut got = Vec::with_capacity(listen.len());
        for at in listen {
            let bound = host
                .listen(at)
                .and_then(|listener| Ok((host.local_addr(&listener)?, listener)));
            match bound {
                Ok((at, listener)) => {
                    got.push(at);
                    listening.push((Rc::clone(&provider), listener));
                }
                Err(error) => {
                    // The main thread waits for this and then ends the process.
                    drop(say.send(Err(format!("cannot listen on {at}: {error}"))));
                    return;
                }
            }
        }
        addresses.push(got);
    }
    for (provider, listener) in listening {
        host.spawn(serve(host, provider, listener));
    }
    drop(say.send(Ok(addresses)));
    pending::<()>().await;
}

fn failure(running: Running) -> String {
    running
        .join()
        .err()
        .unwrap_or_else(|| "a shard ended at once".to_owned())
}

fn configs(args: &Args) -> Result<Vec<Config>, String> {
    let mut configs = match &args.config {
        Some(path) => config::load(path)?,
        None => vec![Config::default()],
    };
    for config in &mut configs {
        for (key, value) in args.sets() {
            config.set_default(key, value).map_err(|e| e.to_string())?;
        }
        if args.api_key.is_some() {
            config.api_key.clone_from(&args.api_key);
        }
    }
    match &mut configs[..] {
        [only] if !args.listen.is_empty() => only.listen.clone_from(&args.listen),
        [only] if only.listen.is_empty() => only.listen.extend(LISTEN.parse::<SocketAddr>()),
        several => {
            if !args.listen.is_empty() {
                return Err("--listen is for one provider; the file has several".to_owned());
            }
            if several.iter().any(|config| config.listen.is_empty()) {
                return Err("each of several providers needs a listen = […]".to_owned());
            }
        }
    }
    Ok(configs)
}

/// The CPU of each shard.
fn placement(args: &Args) -> Result<Vec<Option<usize>>, String> {
    if let Some(list) = &args.cpus {
        let cpus = cpu_list(list).ok_or_else(|| {
            format!("--cpus takes numbers and ranges such as 0,2-3; '{list}' came")
        })?;
        return Ok(cpus.into_iter().map(Some).collect());
    }
    let Some(shards) = args.shards else {
        return Ok(vec![None]);
    };
    let cpus = allowed_cpus().map_err(|e| format!("the CPUs of this process: {e}"))?;
    if shards == 0 || shards > cpus.len() {
        return Err(format!(
            "--shards takes 1 to {}, the CPUs of this process; {shards} came",
            cpus.len()
        ));
    }
    Ok(cpus.into_iter().take(shards).map(Some).collect())
}

fn cpu_list(list: &str) -> Option<Vec<usize>> {
    let mut cpus = Vec::new();
    for part in list.split(',') {
        let (from, to) = part.split_once('-').unwrap_or((part, part));
        let (from, to): (usize, usize) = (from.trim().parse().ok()?, to.trim().parse().ok()?);
        if to < from || to - from >= SHARDS_MAX {
            return None;
        }
        cpus.extend(from..=to);
    }
    (cpus.len() <= SHARDS_MAX).then_some(cpus)
}

fn help_of_keys() -> String {
    let mut help = String::from(
        "A request gets what these keys say, the later over the earlier:\n  \
         config file ([defaults]: ttft = \"50ms\"), flags (--set ttft=50ms), the first [[rule]]\n  \
         that fits the model, the model's name (sim/ttft-50ms/cut-5/no-done), the body's \"user\"\n  \
         (the same form; Anthropic: metadata.user_id), header fields (x-sim-ttft: 50ms)\n\
         Without keys it heeds the request: tools that must be called, results, schemas, limits, stops.\n\n",
    );
    for key in KEYS {
        let left = format!("{} {}", key.name, key.value);
        for part in ["  ", &format!("{left:<22} "), key.does, "\n"] {
            help.push_str(part);
        }
    }
    help
}

fn print(text: &str) -> Result<(), String> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(format!("stdout cannot be written to: {error}"))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: lists of CPUs are read, and nothing else is.
    #[test]
    fn lists_of_cpus_are_read() {
        assert_eq!(cpu_list("0,2-4"), Some(vec![0, 2, 3, 4]));
        for bad in ["", "a", "3-1", "0-99999", "0,"] {
            assert_eq!(cpu_list(bad), None, "{bad}");
        }
    }

    /// Goal: flags count after the file; an address is for one provider only.
    #[test]
    fn flags_reach_the_config() {
        let args = Args {
            rate: Some("100".to_owned()),
            set: vec!["cut=5".to_owned(), "no-done".to_owned()],
            ..Args::default()
        };
        let configs = configs(&args).unwrap();
        let how = configs[0].behaviour_for("m");
        assert_eq!(how.gap.as_millis(), 10);
        assert!(how.no_done);
        assert_eq!(configs[0].listen, [LISTEN.parse().unwrap()]);
        let args = Args {
            set: vec!["nokey=5".to_owned()],
            ..Args::default()
        };
        assert!(super::configs(&args).unwrap_err().contains("nokey"));
    }
}
