//! The report as a table for a terminal.

use super::{Report, Summary, time};
use std::fmt::{self, Write as _};

/// A share of one CPU above which the generator may have been what was measured.
const BUSY: f64 = 0.85;

/// The report as text.
///
/// # Errors
/// Never in practice: writing to a string does not fail.
pub fn text(report: &Report) -> Result<String, fmt::Error> {
    let mut out = String::new();
    head(report, &mut out)?;
    if !report.times.is_empty() {
        writeln!(
            out,
            "\n{:<22} {:>10} {:>10} {:>10} {:>10} {:>10} {:>10} {:>10}",
            "", "count", "mean", "p50", "p90", "p99", "p99.9", "max"
        )?;
        for times in &report.times {
            row(times, &mut out)?;
        }
    }
    if !report.errors.is_empty() {
        writeln!(out, "\nerrors")?;
        for error in &report.errors {
            writeln!(out, "  {:<20} {:>10}", error.kind, error.count)?;
        }
    }
    if report.generator.cpu_share > BUSY {
        writeln!(
            out,
            "\nnote: the load generator used {:.0} % of its CPU; it may have been the bottleneck",
            report.generator.cpu_share * 100.0
        )?;
    }
    Ok(out)
}

fn head(report: &Report, out: &mut String) -> fmt::Result {
    let run = &report.run;
    let count = run.connections;
    if run.mode == "streams" {
        write!(out, "{count} streams held open")?;
    } else {
        write!(out, "{} loop, {count} connections", run.mode)?;
    }
    if let Some(rate) = run.rate {
        write!(out, ", {rate} requests/s")?;
    }
    writeln!(
        out,
        ", {} byte prompt → {}{}",
        run.prompt_bytes, run.target, run.path
    )?;
    writeln!(
        out,
        "{} answered, {} failed, {} in warm-up, in {:.2} s ({:.1} per second), {} connections opened",
        report.ok, report.failed, report.warmup, report.elapsed_s, report.ok_per_s, report.connects
    )?;
    if run.stream {
        writeln!(
            out,
            "{} content events, {} others, at most {} streams open at once",
            report.content_events, report.other_events, report.open_peak
        )?;
    }
    writeln!(
        out,
        "generator: {:.2} s of CPU, {:.0} % of one CPU",
        report.generator.cpu_s,
        report.generator.cpu_share * 100.0
    )
}

fn row(times: &Summary, out: &mut String) -> fmt::Result {
    write!(out, "{:<22} {:>10}", times.title, times.count)?;
    for us in [
        times.mean_us,
        times.p50_us,
        times.p90_us,
        times.p99_us,
        times.p999_us,
        times.max_us,
    ] {
        write!(out, " {:>10}", time(us))?;
    }
    writeln!(out)
}
