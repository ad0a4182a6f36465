//! Arguments of `shardgate simulate`.

use clap::Args as ClapArgs;
use std::net::SocketAddr;
use std::path::PathBuf;

/// What `--help` says below the options: it has to fit a screen, so the rarer ones stand here.
const ALSO: &str = "Also: --shards N (each on a CPU of its own) or --cpus LIST (0,2-3: one on each), \
    --api-key KEY\n(asked for), and short for --set: --ttft TIME, --rate PER-SECOND, --events N";

/// Run simulated providers of six dialects on loopback, with faults on demand.
#[derive(ClapArgs, Clone, Debug, Default)]
#[command(after_help = ALSO)]
pub struct Args {
    /// The simulator's config file; without it one provider
    #[arg(long, short, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Where to listen, repeatable; port 0 = any [127.0.0.1:9001]
    #[arg(long, short, value_name = "ADDRESS")]
    pub listen: Vec<SocketAddr>,
    /// CPUs to run on, one shard each, as in 0,2-3 [one, any]
    #[arg(long, hide = true, value_name = "LIST", conflicts_with = "shards")]
    pub cpus: Option<String>,
    /// Shards, each on a CPU of its own
    #[arg(long, hide = true, value_name = "N")]
    pub shards: Option<usize>,
    /// Ask for this API key
    #[arg(long, hide = true, value_name = "KEY")]
    pub api_key: Option<String>,
    /// Time to the first content event, e.g. 50ms
    #[arg(long, hide = true, value_name = "TIME")]
    pub ttft: Option<String>,
    /// Content events a second; 0 = back to back
    #[arg(long, hide = true, value_name = "PER-SECOND")]
    pub rate: Option<String>,
    /// Content events of a stream, words of an answer
    #[arg(long, hide = true, value_name = "N")]
    pub events: Option<String>,
    /// Any key of --keys, repeatable, e.g. status=503
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Print every key and how requests ask for it
    #[arg(long)]
    pub keys: bool,
}

impl Args {
    /// The keys that the flags set, in the order in which they count.
    pub fn sets(&self) -> impl Iterator<Item = (&str, &str)> {
        let named = [
            ("ttft", &self.ttft),
            ("rate", &self.rate),
            ("events", &self.events),
        ];
        named
            .into_iter()
            .filter_map(|(key, value)| Some((key, value.as_deref()?)))
            .chain(
                self.set
                    .iter()
                    .map(|set| set.split_once('=').unwrap_or((set, ""))),
            )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{Command, FromArgMatches};

    /// Goal: the arguments do not contradict each other and their help fits a screen; the
    /// flags of a key and `--set` come out in order.
    #[test]
    fn flags_become_keys_and_their_help_fits_a_screen() {
        let mut command = Args::augment_args(Command::new("simulate").max_term_width(100));
        command.clone().debug_assert();
        let help = command.render_long_help().to_string();
        assert!(help.lines().count() <= 24, "{help}");
        for key in ["ttft", "rate", "events", "shards", "cpus", "api-key"] {
            assert!(help.contains(&format!("--{key} ")), "{key} is nowhere");
        }
        assert!(help.lines().all(|line| line.len() <= 100), "{help}");
        let line = "simulate --set no-done --events 3 --set cut=2 --listen 127.0.0.1:0";
        let matches = command.get_matches_from(line.split(' '));
        let args = Args::from_arg_matches(&matches).unwrap();
        let sets: Vec<_> = args.sets().collect();
        assert_eq!(sets, [("events", "3"), ("no-done", ""), ("cut", "2")]);
        assert_eq!(args.listen.len(), 1);
    }
}
