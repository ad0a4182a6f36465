//! `shardgate serve`: runs the gateway.

use super::{file, say};
use clap::Args;
use std::path::PathBuf;

/// Arguments of `serve`.
#[derive(Args, Clone, Debug)]
pub struct ServeArgs {
    /// The config file
    #[arg(long, short, value_name = "FILE")]
    config: PathBuf,
}

/// Checks the file and runs the gateway until SIGTERM or SIGINT.
///
/// # Errors
/// All faults of the file, or why the gateway cannot run.
pub(super) fn run(args: &ServeArgs) -> Result<(), String> {
    let checked = file::load(&args.config)?;
    let name = args.config.display().to_string();
    for warning in &checked.warnings.0 {
        say(&format!(
            "{name}:{}:{}: warning: {}",
            warning.line, warning.column, warning.text
        ));
    }
    crate::control::serve::serve(checked.config)
}
