//! `shardgate check`: is a config file good, and what does it come to?

use super::{file, put, say};
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
    let checked = file::load(&args.config)?;
    let name = args.config.display().to_string();
    for warning in &checked.warnings.0 {
        say(&format!(
            "{name}:{}:{}: warning: {}",
            warning.line, warning.column, warning.text
        ));
    }
    if args.print {
        return put(Printed(&checked.config).to_string().as_bytes());
    }
    put(format!("{name}: good: {}\n", summary(&checked.config)).as_bytes())
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
