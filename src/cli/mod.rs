//! The command line.
//!
//! ```text
//!   argv ──clap──► Command ──run──► Ok            exit code 0
//!            │                └───► what is wrong exit code 1, said on stderr
//!            └───► usage                          exit code 2, said on stderr
//! ```

#![forbid(unsafe_code)]

pub mod check;
pub mod file;
pub mod serve;
pub mod verdict;

use clap::{CommandFactory, Parser, Subcommand};
use clap_complete::Shell;
use std::io::{self, Write};
use std::process::ExitCode;

const NAME: &str = "shardgate";

/// An LLM gateway: one share-nothing shard per CPU.
#[derive(Debug, Parser)]
#[command(name = NAME, version, max_term_width = 100, disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the gateway
    Serve(serve::ServeArgs),
    /// Show the main job: simulated providers, a gateway, four requests
    Demo {
        /// End after the four requests
        #[arg(long)]
        once: bool,
    },
    /// Check a config file: every fault at once, with its line and column
    Check(check::CheckArgs),
    /// Run simulated providers on loopback
    Simulate(crate::simulate::args::Args),
    /// Put load on a gateway and measure it
    Load(Box<crate::load::Args>),
    /// Say of pairs of prompts whether one's answer may be served for the other
    Verdict(verdict::VerdictArgs),
    /// Write a completion script for a shell to stdout
    #[command(hide = true)]
    Completions {
        /// Which shell
        shell: Shell,
    },
    /// Write the man page to stdout
    #[command(hide = true)]
    Man,
}

impl Command {
    fn run(self) -> Result<(), String> {
        match self {
            Self::Serve(args) => serve::run(&args),
            Self::Check(args) => check::run(&args),
            Self::Demo { once } => crate::control::demo::demo(once, &mut io::stdout()),
            Self::Simulate(args) => crate::simulate::run(&args),
            Self::Load(args) => crate::load::run(&args),
            Self::Verdict(args) => verdict::run(&args),
            Self::Completions { shell } => completions(shell),
            Self::Man => man(),
        }
    }
}

/// Runs the program; returns its exit code: 0, 1 (it said what is wrong) or 2 (usage).
pub fn run() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(usage) => {
            // Nobody is left to tell when stderr cannot be written to.
            drop(usage.print());
            return ExitCode::from(u8::try_from(usage.exit_code()).unwrap_or(2));
        }
    };
    match cli.command.run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(text) => {
            say(&text);
            ExitCode::FAILURE
        }
    }
}

/// Writes `text` to stderr, on lines of its own.
fn say(text: &str) {
    // Nobody is left to tell when stderr cannot be written to.
    drop(writeln!(io::stderr().lock(), "{}", text.trim_end()));
}

/// Writes `bytes` to stdout. A reader that has gone away (`| head`) is no fault.
fn put(bytes: &[u8]) -> Result<(), String> {
    let mut out = io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(format!("stdout cannot be written to: {error}"))
        }
        _ => Ok(()),
    }
}

fn completions(shell: Shell) -> Result<(), String> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), NAME, &mut script);
    put(&script)
}

fn man() -> Result<(), String> {
    let mut page = Vec::new();
    clap_mangen::Man::new(Cli::command())
        .render(&mut page)
        .map_err(|error| format!("the man page cannot be made: {error}"))?;
    put(&page)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lines of a terminal as it was in 1978 and as every help text must fit.
    const SCREEN_LINES: usize = 24;

    /// Goal: the commands and their arguments do not contradict each other.
    #[test]
    fn the_commands_are_consistent() {
        Cli::command().debug_assert();
    }

    /// Goal: `--help` of the program and of each command fits a screen.
    #[test]
    fn each_help_text_fits_a_screen() {
        let mut cli = Cli::command();
        cli.build();
        let mut commands = vec![cli.clone()];
        commands.extend(cli.get_subcommands().cloned());
        assert!(commands.len() > 1);
        for mut command in commands {
            let help = command.render_help().to_string();
            let lines = help.lines().count();
            assert!(lines <= SCREEN_LINES, "{lines} lines:\n{help}");
            assert!(help.lines().all(|line| line.len() <= 100), "{help}");
        }
    }
}
