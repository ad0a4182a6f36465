//! Arguments of `shardgate simulate`.

use clap::Args as ClapArgs;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Arguments of `simulate`.
#[derive(ClapArgs, Clone, Debug, Default)]
pub struct Args {
    /// The simulator's config file (TOML); without it one provider with the flags below
    #[arg(long, short, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Where to listen, repeatable; port 0 = any free one, printed [default: 127.0.0.1:9001]
    #[arg(long, short, value_name = "ADDRESS")]
    pub listen: Vec<SocketAddr>,
    /// CPUs to run on, one shard each, as in 0,2-3 [default: one shard on any CPU]
    #[arg(long, value_name = "LIST", conflicts_with = "shards")]
    pub cpus: Option<String>,
    /// Shards, each on a CPU of its own
    #[arg(long, value_name = "N")]
    pub shards: Option<usize>,
    /// Ask for this API key
    #[arg(long, value_name = "KEY")]
    pub api_key: Option<String>,
    /// From request read to first content event, e.g. 50ms
    #[arg(long, value_name = "TIME")]
    pub ttft: Option<String>,
    /// Content events a second; 0 = back to back
    #[arg(long, value_name = "PER-SECOND")]
    pub rate: Option<String>,
    /// Content events of a stream, words of a plain answer
    #[arg(long, value_name = "N")]
    pub events: Option<String>,
    /// Any key of --keys, repeatable, e.g. --set status=503 --set fail-rate=5
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Print every key, and how requests ask for them, and end
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
