//! `shardgate check`: is a config file good, and what does it come to?

use super::{file, put};
use crate::config::Config;
use crate::config::print::Printed;
use clap::Args;
use std::path::PathBuf;

/// Arguments of `check`.
#[derive(Args, Clone, Debug)]
pub struct CheckArgs {
    /// The config file
    #[arg(long, short, value_name = "FILE")]
    config: PathBuf,
    /// Print it with every default filled in, secrets as references
    #[arg(long)]
    print: bool,
}

/// Checks the file: faults and warnings go to stderr, the verdict or the config to stdout.
///
/// # Errors
/// All faults, one a line.
pub(super) fn run(args: &CheckArgs) -> Result<(), String> {
    let config = file::load(&args.config)?;
    if args.print {
        return put(Printed(&config).to_string().as_bytes());
    }
    let name = args.config.display();
    put(format!("{name}: good: {}\n", summary(&config)).as_bytes())
}

fn summary(config: &Config) -> String {
    let count = |number: usize, one: &str| match number {
        0 => format!("no {one}s"),
        1 => format!("1 {one}"),
        more => format!("{more} {one}s"),
    };
    format!(
        "{}, {}, {}",
        count(config.providers.len(), "provider"),
        count(config.written().len(), "model"),
        count(config.keys.len(), "client key")
    )
}
