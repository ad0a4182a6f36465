//! `shardgate serve`: runs the gateway.

use super::file;
use crate::control::reload::Loader;
use crate::control::serve::serve;
use clap::Args;
use std::path::PathBuf;

/// Arguments of `serve`.
#[derive(Args, Clone, Debug)]
pub struct ServeArgs {
    /// The config file
    #[arg(long, short, value_name = "FILE")]
    config: PathBuf,
    /// Take the listening sockets over from the running process, which then drains
    #[arg(long)]
    takeover: bool,
}

/// Checks the file and runs the gateway until SIGTERM or SIGINT.
///
/// # Errors
/// All faults of the file, or why the gateway cannot run.
pub(super) fn run(args: &ServeArgs) -> Result<(), String> {
    let path = args.config.clone();
    let loader = Loader::new(move || file::read_config(&path));
    serve(file::load(&args.config)?, loader, args.takeover)
}
