//! The report as one page that needs nothing else: style and plots inside, light and dark.

use super::svg::{Axis, Line, Scale, plot};
use super::{Report, RowReport, Summary, float, grouped, time};
use std::fmt::{self, Write as _};

const STYLE: &str = include_str!("style.css");

/// The page.
///
/// # Errors
/// Never in practice: writing to a string does not fail.
pub fn html(report: &Report) -> Result<String, fmt::Error> {
    let run = &report.run;
    let mut out =
        String::from("<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"/>");
    write!(
        out,
        "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\
         <title>Load on {target}</title><style>{STYLE}</style></head><body><main>\
         <h1>Load on {target}{path}</h1><p class=\"sub\">{what}</p>",
        target = escaped(&run.target),
        path = escaped(&run.path),
        what = escaped(&sentence(report)),
    )?;
    tiles(&mut out, report)?;
    section(&mut out, "Percentiles", &percentiles(report)?)?;
    table(&mut out, &report.times)?;
    let shows = report.row_shows;
    section(&mut out, &format!("{shows} over time"), &over_time(report)?)?;
    section(&mut out, "Rate over time", &rate(report)?)?;
    errors(&mut out, report)?;
    writeln!(
        out,
        "<p class=\"note\">{}. The generator used {:.0} % of one CPU. Times of an open loop \
         count from the scheduled time.</p></main></body></html>",
        escaped(&report.tool),
        report.generator.cpu_share * 100.0
    )?;
    Ok(out)
}

fn sentence(report: &Report) -> String {
    let run = &report.run;
    let kind = match (run.mode, run.rate) {
        ("open", Some(rate)) => format!("Open loop at {rate} requests/s"),
        ("streams", _) => format!("{} streams held open", run.connections),
        _ => format!("Closed loop, {} connections", run.connections),
    };
    let pace = run
        .event_interval_s
        .map_or_else(String::new, |every| format!(", an event every {every} s"));
    format!(
        "{kind}{pace} · model {} · {} byte prompt · {:.1} s",
        run.model, run.prompt_bytes, report.elapsed_s
    )
}

fn tiles(out: &mut String, report: &Report) -> fmt::Result {
    let failed = if report.failed == 0 { "good" } else { "bad" };
    let mut tiles = vec![
        ("", grouped(report.ok), "answered".to_owned()),
        (
            "",
            format!("{:.1}", report.ok_per_s),
            "per second".to_owned(),
        ),
        (failed, grouped(report.failed), "failed".to_owned()),
    ];
    if report.run.stream {
        let events = grouped(report.content_events);
        tiles.push(("", events, "content events".to_owned()));
        let peak = grouped(report.open_peak);
        tiles.push(("", peak, "streams at once, at most".to_owned()));
    }
    let held = report.run.mode == "streams";
    let mut main = ["lateness", "gap", "latency"]
        .into_iter()
        .skip(if held { 0 } else { 2 });
    if let Some(times) = main.find_map(|name| report.times(name)) {
        let title = times.title.to_lowercase();
        tiles.push(("", time(times.p50_us), format!("{title}, p50")));
        tiles.push(("", time(times.p99_us), format!("{title}, p99")));
    }
    out.push_str("<div class=\"tiles\">");
    for (class, value, name) in tiles {
        write!(
            out,
            "<div class=\"tile {class}\"><b>{value}</b><span>{name}</span></div>"
        )?;
    }
    out.push_str("</div>");
    Ok(())
}

fn section(out: &mut String, title: &str, inner: &str) -> fmt::Result {
    if inner.is_empty() {
        return Ok(());
    }
    write!(out, "<section><h2>{title}</h2>{inner}</section>")
}

fn percentiles(report: &Report) -> Result<String, fmt::Error> {
    let lines: Vec<_> = report
        .times
        .iter()
        .enumerate()
        .map(|(colour, times)| line(times.title, colour, times.curve.iter().copied()))
        .collect();
    let all = || report.times.iter().flat_map(|times| &times.curve);
    let ticks = [
        (0.0, "0 %"),
        (std::f64::consts::LOG10_2, "50 %"),
        (1.0, "90 %"),
        (2.0, "99 %"),
        (3.0, "99.9 %"),
        (4.0, "99.99 %"),
        (5.0, "99.999 %"),
    ];
    let last = all().fold(1.0, |last: f64, point| last.max(point.0)).ceil();
    let x = Axis {
        scale: Scale::Linear,
        min: 0.0,
        max: last,
        ticks: ticks
            .into_iter()
            .filter(|(at, _)| *at <= last)
            .map(|(at, label)| (at, label.to_owned()))
            .collect(),
        title: "share of all, each step ten times rarer".into(),
    };
    plot_times("Percentile curve", &x, all().map(|point| point.1), &lines)
}

fn over_time(report: &Report) -> Result<String, fmt::Error> {
    let series = |name: &str, colour, value: fn(&RowReport) -> Option<f64>| Line {
        name: name.into(),
        colour,
        points: points(report, value),
    };
    let lines = [
        series("p50", 0, |row| row.p50_us),
        series("p99", 1, |row| row.p99_us),
        series("longest", 3, |row| row.max_us),
    ];
    let all = report
        .timeline
        .iter()
        .flat_map(|row| [row.p50_us, row.max_us]);
    plot_times("Times over time", &clock(report), all.flatten(), &lines)
}

fn rate(report: &Report) -> Result<String, fmt::Error> {
    let per_s = |count: u64| float(count) / report.row_s.max(1e-9);
    let line = |name: &str, colour, count: fn(&RowReport) -> u64| Line {
        name: name.into(),
        colour,
        points: points(report, |row| Some(per_s(count(row)))),
    };
    let mut lines = vec![line("answered", 2, |row| row.ok)];
    if report.timeline.iter().any(|row| row.events > 0) {
        lines.push(line("content events", 0, |row| row.events));
    }
    if report.failed > 0 {
        lines.push(line("failed", 1, |row| row.failed));
    }
    let values = lines.iter().flat_map(|line| &line.points);
    let most = values.fold(0.0, |most: f64, point| most.max(point.1.unwrap_or(0.0)));
    let y = Axis::linear(most.max(1.0), "per second", |v| format!("{v:.0}"));
    if report.timeline.is_empty() {
        return Ok(String::new());
    }
    plot("Rate over time", &clock(report), &y, &lines)
}

fn line(name: &str, colour: usize, points: impl Iterator<Item = (f64, f64)>) -> Line {
    Line {
        name: name.into(),
        colour,
        points: points.map(|(x, y)| (x, Some(y))).collect(),
    }
}

fn points(report: &Report, value: impl Fn(&RowReport) -> Option<f64>) -> Vec<(f64, Option<f64>)> {
    let rows = report.timeline.iter();
    rows.map(|row| (row.t_s, value(row))).collect()
}

fn clock(report: &Report) -> Axis {
    let end = report.timeline.last().map_or(1.0, |row| row.t_s);
    Axis::linear(end.max(1.0), "seconds since the start", |v| {
        if v.fract() > 1e-9 {
            format!("{v:.1}")
        } else {
            format!("{v:.0}")
        }
    })
}

/// A plot with times on a log axis; empty when there are none.
fn plot_times(
    title: &str,
    x: &Axis,
    values: impl Iterator<Item = f64>,
    lines: &[Line],
) -> Result<String, fmt::Error> {
    let (mut low, mut high) = (f64::INFINITY, 0.0_f64);
    for value in values {
        (low, high) = (low.min(value), high.max(value));
    }
    if !low.is_finite() {
        return Ok(String::new());
    }
    // Lateness has zeros; a log axis starts at a microsecond then.
    plot(title, x, &Axis::log(low.max(1.0), high, "", short), lines)
}

/// A tick: no digits behind the point.
fn short(us: f64) -> String {
    match us {
        us if us < 1e3 => format!("{us:.0} µs"),
        us if us < 1e6 => format!("{:.0} ms", us / 1e3),
        us => format!("{:.0} s", us / 1e6),
    }
}

fn table(out: &mut String, all: &[Summary]) -> fmt::Result {
    if all.is_empty() {
        return Ok(());
    }
    out.push_str(
        "<section><div class=\"scroll\"><table><tr><th></th><th>count</th><th>mean</th>\
         <th>p50</th><th>p90</th><th>p99</th><th>p99.9</th><th>p99.99</th><th>longest</th></tr>",
    );
    for times in all {
        let count = grouped(times.count);
        write!(out, "<tr><td>{}</td><td>{count}</td>", times.title)?;
        for us in [
            times.mean_us,
            times.p50_us,
            times.p90_us,
            times.p99_us,
            times.p999_us,
            times.p9999_us,
            times.max_us,
        ] {
            write!(out, "<td>{}</td>", time(us))?;
        }
        out.push_str("</tr>");
    }
    out.push_str("</table></div></section>");
    Ok(())
}

fn errors(out: &mut String, report: &Report) -> fmt::Result {
    if report.errors.is_empty() {
        return section(out, "Errors", "<p class=\"note\">None.</p>");
    }
    let mut rows = String::from("<table><tr><th>kind</th><th>count</th></tr>");
    for error in &report.errors {
        let (kind, count) = (escaped(&error.kind), grouped(error.count));
        write!(rows, "<tr><td>{kind}</td><td>{count}</td></tr>")?;
    }
    rows.push_str("</table>");
    section(out, "Errors", &rows)
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            c => out.push(c),
        }
    }
    out
}
