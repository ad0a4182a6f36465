//! The options of `shardgate load`, and the [`Plan`] that they make once checked.
//!
//! Invariants
//! - I1 A plan is bounded: its length, its connections, its requests and its waits each have a
//!   limit named here, so a run always ends by itself.
//! - I2 A plan for an address that is not loopback exists only when `--allow-remote` was given.

use super::ask::{self, Shape};
use super::target::{self, Target};
use std::path::PathBuf;
use std::time::Duration;

/// Longest run, in seconds: one hour.
pub const DURATION_MAX: Duration = Duration::from_secs(3600);
/// Longest wait for one reply.
pub const TIMEOUT_MAX: Duration = Duration::from_secs(3600);
/// Most connections or streams at once.
pub const CONNECTIONS_MAX: u32 = 200_000;
/// Most requests of one run.
pub const REQUESTS_MAX: u64 = 1_000_000_000;
/// Most requests a second in the open loop.
pub const RATE_MAX: f64 = 1_000_000.0;
/// Largest prompt, in bytes.
pub const PROMPT_MAX: usize = 64 << 20;

/// How arrivals of the open loop are spread.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Spread {
    /// One every `1/rate` seconds.
    Even,
    /// As independent callers would come (Poisson), the same ones in every run.
    Random,
}

/// What `--help` says below the options: it has to fit a screen, so the rarer ones stand here.
const ALSO: &str = "Also: --path PATH (/v1/chat/completions), --key KEY, --warmup TIME (0s), \
    --ramp TIME (2s),\n--spread even|random, --distinct (prompts), --progress, --tolerate-errors, --allow-remote";

// No doc comment: clap would show it in place of what the command is called.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = ALSO)]
#[expect(
    missing_docs,
    reason = "clap would print it; the module says what it is"
)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a flag of its own on the command line"
)]
pub struct Args {
    /// Where to send: scheme, host, port
    #[arg(long, default_value = "http://127.0.0.1:8080", value_name = "URL")]
    pub url: String,
    /// What to ask for
    #[arg(
        long,
        hide = true,
        default_value = "/v1/chat/completions",
        value_name = "PATH"
    )]
    pub path: String,
    /// Model to name in the request
    #[arg(long, default_value = "sim/ttft-0ms/events-20", value_name = "NAME")]
    pub model: String,
    /// Length of the prompt in bytes
    #[arg(long, default_value_t = 500, value_name = "N")]
    pub prompt_bytes: usize,
    /// Begin each prompt with another number, so that no cache knows it
    #[arg(long, hide = true)]
    pub distinct: bool,
    /// Ask for a stream and count its events
    #[arg(long)]
    pub stream: bool,
    /// Key to send as `Authorization: Bearer`
    #[arg(long, hide = true, value_name = "KEY", conflicts_with = "key_env")]
    pub key: Option<String>,
    /// Environment variable with the key, sent as `Authorization: Bearer`
    #[arg(long, value_name = "VAR")]
    pub key_env: Option<String>,
    /// Connections; an open loop uses at most these
    #[arg(long, short = 'c', default_value_t = 16, value_name = "N")]
    pub connections: u32,
    /// How long to send, at most 1h
    #[arg(long, short = 'd', default_value = "10s", value_parser = duration, value_name = "TIME")]
    pub duration: Duration,
    /// Stop after so many requests if that comes first
    #[arg(long, short = 'n', value_name = "N")]
    pub requests: Option<u64>,
    /// Open loop: requests a second; latency counts from the scheduled time
    #[arg(long, short = 'r', value_name = "N", conflicts_with = "streams")]
    pub rate: Option<f64>,
    /// Open loop: how arrivals are spread
    #[arg(long, hide = true, value_enum, default_value_t = Spread::Even)]
    pub spread: Spread,
    /// Held streams: so many at once; each must complete
    #[arg(long, value_name = "N")]
    pub streams: Option<u32>,
    /// Held streams: open them evenly over this time
    #[arg(long, hide = true, default_value = "2s", value_parser = duration, value_name = "TIME")]
    pub ramp: Duration,
    /// Time between two content events; measures how late each is against it
    #[arg(long, value_parser = duration, value_name = "TIME")]
    pub event_interval: Option<Duration>,
    /// Not measured: requests that begin this soon after the start
    #[arg(long, hide = true, default_value = "0s", value_parser = duration, value_name = "TIME")]
    pub warmup: Duration,
    /// Longest wait for a whole reply [default: 30s, held streams 5m]
    #[arg(long, value_parser = duration, value_name = "TIME")]
    pub timeout: Option<Duration>,
    /// Pin to this CPU
    #[arg(long, visible_alias = "cpus", value_name = "CPU")]
    pub cpu: Option<usize>,
    /// Write the numbers as JSON
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Write one self-contained HTML page with plots
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
    /// Print a line each second to stderr
    #[arg(long, hide = true)]
    pub progress: bool,
    /// Allow addresses other than loopback
    #[arg(long, hide = true)]
    pub allow_remote: bool,
    /// Exit 0 also when requests failed
    #[arg(long, hide = true)]
    pub tolerate_errors: bool,
}

/// The kind of load.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Mode {
    /// Each connection sends when its last request is answered.
    Closed,
    /// Requests leave on a schedule, `rate` a second.
    Open {
        /// Requests a second.
        rate: f64,
        /// How they are spread.
        spread: Spread,
    },
    /// Each connection holds one stream.
    Streams {
        /// Time over which they are opened.
        ramp: Duration,
    },
}

/// What to do, checked.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Where to connect.
    pub target: Target,
    /// The whole request, head and body, sent as it is each time but for a number.
    pub request: Vec<u8>,
    /// Where that is, if there is one ([`ask::digits`]).
    pub number_at: Option<usize>,
    /// How content is told from other events in a stream.
    pub shape: Shape,
    /// Path asked for.
    pub path: String,
    /// Model asked for.
    pub model: String,
    /// Prompt length in bytes.
    pub prompt_bytes: usize,
    /// Whether a stream is asked for.
    pub stream: bool,
    /// The kind of load.
    pub mode: Mode,
    /// Connections or streams at once.
    pub connections: u32,
    /// How long requests are begun.
    pub duration: Duration,
    /// Most requests.
    pub requests: u64,
    /// Expected time between content events.
    pub event_interval: Option<Duration>,
    /// Requests begun this early are not measured.
    pub warmup: Duration,
    /// Longest wait for one reply.
    pub timeout: Duration,
    /// CPU to pin to.
    pub cpu: Option<usize>,
    /// Whether to print a line each second.
    pub progress: bool,
}

impl Plan {
    /// Checks `args` and builds the request.
    ///
    /// # Errors
    /// One sentence: which option is wrong and what would be right.
    pub fn new(args: &Args) -> Result<Self, String> {
        let target = target::parse(&args.url, args.allow_remote)?; // I2
        let connections = args.streams.unwrap_or(args.connections);
        within("connections or streams", connections, 1, CONNECTIONS_MAX)?;
        within("--prompt-bytes", args.prompt_bytes, 0, PROMPT_MAX)?;
        within("--requests", args.requests.unwrap_or(1), 1, REQUESTS_MAX)?;
        let timeout = args.timeout.unwrap_or(match args.streams {
            Some(_) => Duration::from_secs(300),
            None => Duration::from_secs(30),
        });
        at_most("--duration", args.duration, DURATION_MAX)?;
        at_most("--ramp", args.ramp, DURATION_MAX)?;
        at_most("--timeout", timeout, TIMEOUT_MAX)?;
        if args.warmup > args.duration {
            return Err("--warmup must be shorter than --duration".into());
        }
        let mode = match (args.rate, args.streams) {
            (Some(rate), _) if !(rate > 0.0 && rate <= RATE_MAX) => {
                return Err(format!(
                    "--rate {rate}: expected more than 0 and at most {RATE_MAX}"
                ));
            }
            (Some(rate), _) => Mode::Open {
                rate,
                spread: args.spread,
            },
            (None, Some(_)) => Mode::Streams { ramp: args.ramp },
            (None, None) => Mode::Closed,
        };
        let stream = args.stream || args.streams.is_some();
        let key = key_of(args)?;
        let wanted = ask::Wanted {
            host: &target.host,
            path: &args.path,
            model: &args.model,
            prompt_bytes: args.prompt_bytes,
            stream,
            key: key.as_deref(),
        };
        let request = ask::request(&wanted)?;
        let number_at = ask::number_at(&request).filter(|_| args.distinct);
        if args.distinct && number_at.is_none() {
            let least = ask::DIGITS;
            return Err(format!(
                "--distinct needs --prompt-bytes of {least} or more"
            ));
        }
        Ok(Self {
            request,
            number_at,
            shape: ask::shape(&args.path),
            target,
            path: args.path.clone(),
            model: args.model.clone(),
            prompt_bytes: args.prompt_bytes,
            stream,
            mode,
            connections,
            duration: args.duration,
            requests: args.requests.unwrap_or(REQUESTS_MAX),
            event_interval: args.event_interval,
            warmup: args.warmup,
            timeout,
            cpu: args.cpu,
            progress: args.progress,
        })
    }
}

fn key_of(args: &Args) -> Result<Option<String>, String> {
    let Some(name) = &args.key_env else {
        return Ok(args.key.clone());
    };
    let key = std::env::var(name)
        .map_err(|_| format!("--key-env {name}: no such environment variable, or not text"))?;
    Ok(Some(key))
}

fn within<T: Copy + PartialOrd + std::fmt::Display>(
    name: &str,
    value: T,
    min: T,
    max: T,
) -> Result<(), String> {
    if value < min || value > max {
        return Err(format!("{name}: {value} is not between {min} and {max}"));
    }
    Ok(())
}

fn at_most(name: &str, value: Duration, max: Duration) -> Result<(), String> {
    if value > max {
        return Err(format!("{name}: at most {} s", max.as_secs()));
    }
    Ok(())
}

/// Reads `250ms`, `10s`, `1.5s`, `2m`, `1h`, `500us`.
///
/// # Errors
/// What was expected.
pub fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}`: expected a number and a unit, like 250ms, 10s or 2m");
    let digits = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .ok_or_else(wrong)?;
    let (number, unit) = text.split_at(digits);
    let scale = match unit {
        "us" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return Err(wrong()),
    };
    let number: f64 = number.parse().map_err(|_| wrong())?;
    Duration::try_from_secs_f64(number * scale).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn plan(line: &[&str]) -> Result<Plan, String> {
        let line = Line::try_parse_from(["load"].iter().chain(line)).map_err(|e| e.to_string())?;
        Plan::new(&line.args)
    }

    /// Goal: `--help` fits a screen of 24 lines of 100 and names every option.
    #[test]
    fn the_help_fits_a_screen_and_is_complete() {
        use clap::CommandFactory as _;
        let mut command = Line::command().about("x").max_term_width(100);
        let shown = command.try_get_matches_from_mut(["load", "--help"]);
        let help = shown.unwrap_err().to_string();
        assert!(
            help.lines().count() <= 24,
            "{}\n{help}",
            help.lines().count()
        );
        assert!(help.lines().all(|line| line.len() <= 100), "{help}");
        for arg in command.get_arguments().filter_map(clap::Arg::get_long) {
            assert!(help.contains(&format!("--{arg}")), "{arg}");
        }
    }

    /// Goal: durations are read with their unit, and nothing else passes.
    #[test]
    fn a_duration_needs_its_unit() {
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(duration("1.5s"), Ok(Duration::from_millis(1500)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        for wrong in [
            "",
            "10",
            "s",
            "-1s",
            "1 s",
            "1d",
            "1..5s",
            "99999999999999999999h",
        ] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }

    /// Goal: the options choose the mode, streams ask for a stream.
    #[test]
    fn options_choose_the_mode() {
        assert_eq!(plan(&[]).unwrap().mode, Mode::Closed);
        let open = plan(&["--rate", "500"]).unwrap();
        assert!(matches!(open.mode, Mode::Open { rate, .. } if (rate - 500.0).abs() < 1e-9));
        let held = plan(&["--streams", "7", "--ramp", "1s"]).unwrap();
        assert_eq!((held.connections, held.stream), (7, true));
        assert!(plan(&["--rate", "1", "--streams", "1"]).is_err());
    }

    /// Goal: I1 and I2. Method: step over each limit.
    #[test]
    fn a_plan_is_bounded_and_stays_on_loopback() {
        for line in [
            ["--duration", "2h"],
            ["--connections", "0"],
            ["--rate", "-1"],
            ["--rate", "nan"],
            ["--requests", "0"],
            ["--warmup", "11s"],
            ["--timeout", "2h"],
            ["--url", "http://192.0.2.1:80"],
            ["--key-env", "SHARDGATE_NO_SUCH_VARIABLE"],
        ] {
            assert!(plan(&line).is_err(), "{line:?}");
        }
        assert!(plan(&["--url", "http://192.0.2.1:80", "--allow-remote"]).is_ok());
    }
}
