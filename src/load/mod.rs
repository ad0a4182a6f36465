//! The load generator: closed loop, open loop, held streams.
//!
//! ```text
//!   Args ─► Plan (checked, bounded) ─► drive on one pinned executor ─► Tally ─► Report
//!                                                                       text  json  html
//! ```
//!
//! It uses its own reply reader, so that what measures does not share the mistakes of what is
//! measured, and sends the same bytes each time, so that it costs little of the CPU that it
//! shares with a simulated provider.

#![forbid(unsafe_code)]

pub mod args;
pub mod ask;
pub mod drive;
mod events;
mod pace;
pub mod reply;
pub mod report;
pub mod schedule;
pub mod tally;
pub mod target;

pub use args::{Args, Plan};
pub use report::Report;

use crate::host::launch;
use crate::host::uring::Uring;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::io::Write as _;
use std::sync::mpsc;
use std::time::Duration;

/// Descriptors that the process needs besides its connections.
const DESCRIPTORS_SPARE: u64 = 64;

/// Runs `shardgate load`: measures, prints, writes the files that were asked for.
///
/// # Errors
/// What is wrong with the options or the machine, or that requests failed (unless
/// `--tolerate-errors`).
pub fn run(args: &Args) -> Result<(), String> {
    let report = measure(&Plan::new(args)?)?;
    let text = report::text::text(&report).map_err(|e| e.to_string())?;
    // A closed stdout must not keep the files from being written.
    let printed = std::io::stdout().write_all(text.as_bytes());
    if let Some(path) = &args.json {
        save(path, &report.json()?)?;
    }
    if let Some(path) = &args.html {
        save(
            path,
            &report::html::html(&report).map_err(|e| e.to_string())?,
        )?;
    }
    printed.map_err(|e| format!("cannot print the report: {e}"))?;
    if report.failed > 0 && !args.tolerate_errors {
        return Err(format!("{} requests failed", report.failed));
    }
    Ok(())
}

/// Runs a plan on an executor of its own and waits for the end.
///
/// # Errors
/// Too few descriptors, no executor.
pub fn measure(plan: &Plan) -> Result<Report, String> {
    enough_descriptors(u64::from(plan.connections))?;
    let (sender, receiver) = mpsc::channel();
    let (cpu, driven) = (plan.cpu, plan.clone());
    let running = launch::start("load", cpu, move || async move {
        let before = cpu_time();
        let tally = drive::drive(Uring, driven).await;
        let used = cpu_time().saturating_sub(before);
        // The receiver lives until the executor is joined.
        let _received = sender.send((tally, used));
    })
    .map_err(|e| format!("cannot start a thread: {e}"))?;
    running.join()?;
    let (tally, used) = receiver
        .try_recv()
        .map_err(|_| "the run ended without a result".to_owned())?;
    Ok(Report::new(plan, &tally?, used))
}

/// Raises the soft limit of descriptors to the hard one.
///
/// # Errors
/// When `connections` do not fit even then.
fn enough_descriptors(connections: u64) -> Result<(), String> {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    setrlimit(Resource::Nofile, raised).map_err(|e| format!("cannot raise RLIMIT_NOFILE: {e}"))?;
    match limit.maximum {
        Some(most) if connections + DESCRIPTORS_SPARE > most => Err(format!(
            "{connections} connections do not fit: this process may open {most} descriptors, of \
             which it needs {DESCRIPTORS_SPARE} for itself; ask for at most {} or raise the hard \
             limit (ulimit -Hn, LimitNOFILE=)",
            most.saturating_sub(DESCRIPTORS_SPARE)
        )),
        _ => Ok(()),
    }
}

/// Processor time that the whole process has used.
fn cpu_time() -> Duration {
    let used = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    let seconds = u64::try_from(used.tv_sec).unwrap_or_default();
    let nanos = u64::try_from(used.tv_nsec).unwrap_or_default();
    Duration::from_secs(seconds) + Duration::from_nanos(nanos)
}

fn save(path: &std::path::Path, content: &str) -> Result<(), String> {
    std::fs::write(path, content).map_err(|e| format!("cannot write {}: {e}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: a number of streams that cannot work is refused before it starts, with the limit.
    #[test]
    fn too_many_streams_are_refused_with_the_limit() {
        let Some(most) = getrlimit(Resource::Nofile).maximum else {
            return;
        };
        let refused = enough_descriptors(most).unwrap_err();
        assert!(refused.contains(&most.to_string()), "{refused}");
        assert_eq!(enough_descriptors(1), Ok(()));
    }
}
