//! `shardgate verdict`: may the answer to one prompt be served for another?
//!
//! ```text
//!  {"a": …, "b": …} a line on stdin ──► {"verdict", "p", "veto", "barred", "cosine"} a line on stdout
//! ```
//!
//! It asks the guard that the semantic cache asks, at the same operating points, so that anybody
//! can measure it on pairs of their own; `scripts/semantic-eval` does.

use crate::cache::embed::{self, Scratch};
use crate::cache::guard::eligible::{Barred, barred};
use crate::cache::guard::{Guard, Point, Verdict};
use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::io::{self, BufRead, BufWriter, Read, Write};

/// Most bytes of a line.
const LINE_MAX: usize = 1024 * 1024;

/// Arguments of `verdict`.
#[derive(Args, Clone, Debug)]
pub struct VerdictArgs {
    /// How sure to be: balanced serves more, and more of it wrong
    #[arg(long, value_enum, default_value_t)]
    point: PointName,
}

/// An operating point by name.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum PointName {
    #[default]
    Strict,
    Balanced,
}

/// A line of input; other fields are let pass.
#[derive(Deserialize)]
struct Pair {
    a: String,
    b: String,
}

/// A line of output.
#[derive(Serialize)]
struct Line {
    verdict: &'static str,
    /// The chance that one answer serves both; absent where a veto decided.
    p: Option<f32>,
    /// Why they differ whatever the chance.
    veto: Option<&'static str>,
    /// Why the cache would not look either of them up in the first place.
    barred: Option<&'static str>,
    /// Of the built-in embedder; absent where a prompt has no word.
    cosine: Option<f32>,
}

/// What is wrong with a line.
#[derive(Debug)]
enum BadLine {
    TooLong,
    NotText,
    NotPair(serde_json::Error),
    Unreadable(io::Error),
}

impl fmt::Display for BadLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong => write!(f, "over {LINE_MAX} bytes"),
            Self::NotText => f.write_str("not UTF-8"),
            Self::NotPair(why) => {
                write!(f, r#"not {{"a": "a prompt", "b": "another"}}: {why}"#)
            }
            Self::Unreadable(why) => write!(f, "stdin cannot be read: {why}"),
        }
    }
}

/// Answers pairs from stdin on stdout, line by line.
///
/// # Errors
/// The first line that is no pair, by its number; lines before it have been answered. Stdout
/// that cannot be written to, unless its reader has gone away.
pub(super) fn run(args: &VerdictArgs) -> Result<(), String> {
    let point = match args.point {
        PointName::Strict => Point::Strict,
        PointName::Balanced => Point::Balanced,
    };
    let mut out = BufWriter::new(io::stdout().lock());
    let asked = answer(&mut io::stdin().lock(), &mut out, point);
    let flushed = out.flush();
    match asked.and(flushed.map_err(Fault::Out)) {
        Err(Fault::Out(why)) if why.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        Err(Fault::Out(why)) => Err(format!("stdout cannot be written to: {why}")),
        Err(Fault::Line(number, why)) => Err(format!("line {number}: {why}")),
        Ok(()) => Ok(()),
    }
}

enum Fault {
    Line(u64, BadLine),
    Out(io::Error),
}

fn answer(from: &mut impl BufRead, to: &mut impl Write, point: Point) -> Result<(), Fault> {
    let mut scratch = Scratch::default();
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        let limit = LINE_MAX as u64 + 2;
        let read = from.by_ref().take(limit).read_until(b'\n', &mut line);
        match read {
            Ok(0) => break,
            Ok(_) => {}
            Err(why) => return Err(Fault::Line(number, BadLine::Unreadable(why))),
        }
        if line.trim_ascii().is_empty() {
            continue;
        }
        let pair = pair(&line).map_err(|why| Fault::Line(number, why))?;
        let line = judge(&pair, point, &mut scratch);
        serde_json::to_writer(&mut *to, &line).map_err(|why| Fault::Out(why.into()))?;
        to.write_all(b"\n").map_err(Fault::Out)?;
    }
    Ok(())
}

fn pair(line: &[u8]) -> Result<Pair, BadLine> {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    if line.len() > LINE_MAX {
        return Err(BadLine::TooLong);
    }
    let text = std::str::from_utf8(line).map_err(|_| BadLine::NotText)?;
    serde_json::from_str(text).map_err(BadLine::NotPair)
}

fn judge(pair: &Pair, point: Point, scratch: &mut Scratch) -> Line {
    let guard = Guard::builtin();
    let (a, b) = (guard.sketch(&pair.a), guard.sketch(&pair.b));
    let (p, veto) = match guard.verdict(&a, &b, point) {
        Verdict::Same { p } | Verdict::Doubt { p } => (Some(p), None),
        Verdict::Different { veto } => (None, Some(veto.name())),
    };
    let is_same = guard.verdict(&a, &b, point).is_same();
    let mut vector = |text: &str| embed::builtin().embed(text, scratch);
    let cosine = match (vector(&pair.a), vector(&pair.b)) {
        (Some(a), Some(b)) => Some(a.cosine(&b)),
        _ => None,
    };
    let out = [&pair.a, &pair.b]
        .into_iter()
        .find_map(|text| barred(guard, text, false));
    Line {
        verdict: if is_same { "same" } else { "different" },
        p,
        veto,
        barred: out.map(Barred::name),
        cosine,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answers(input: &[u8]) -> (String, Option<String>) {
        let mut out = Vec::new();
        let fault = answer(&mut &*input, &mut out, Point::Strict).err();
        let fault = fault.map(|fault| match fault {
            Fault::Line(number, why) => format!("line {number}: {why}"),
            Fault::Out(why) => format!("out: {why}"),
        });
        (String::from_utf8(out).unwrap(), fault)
    }

    /// Goal: each pair gets its line, in order; blank lines and other fields are let pass.
    #[test]
    fn each_pair_gets_one_line() {
        let input = concat!(
            r#"{"a": "What is a monad?", "b": "what's a monad", "label": 1}"#,
            "\n\n",
            r#"{"a": "What is 2 + 2?", "b": "What is 2 + 3?"}"#,
            "\n",
            r#"{"b": "", "a": "What is the weather like today?"}"#,
        );
        let (out, fault) = answers(input.as_bytes());
        assert_eq!(fault, None);
        let lines: Vec<serde_json::Value> = out
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(lines.len(), 3, "{out}");
        assert_eq!(lines[0]["verdict"], "same");
        assert!(lines[0]["p"].as_f64().unwrap() > 0.9);
        assert!(lines[0]["cosine"].as_f64().unwrap() > 0.5);
        assert_eq!(lines[1]["verdict"], "different");
        assert_eq!(lines[1]["veto"], "number");
        assert!(lines[1]["p"].is_null());
        assert_eq!(lines[2]["verdict"], "different");
        assert_eq!(lines[2]["barred"], "time");
        assert!(lines[2]["cosine"].is_null());
    }

    /// Goal: what is no pair is named by its line, and lines before it are answered.
    #[test]
    fn a_bad_line_is_named() {
        let good = r#"{"a": "x", "b": "x"}"#;
        let long = vec![b' '; LINE_MAX + 1];
        let bad: [(&[u8], &str); 8] = [
            (b"nonsense", "not {\"a\""),
            (b"{\"a\": \"x\"}", "missing field `b`"),
            (b"{\"a\": 1, \"b\": \"x\"}", "invalid type"),
            (b"[1, 2]", "invalid"),
            (b"{\"a\": \"x\", \"b\": \"x\"} more", "trailing"),
            (b"{\"a\": \"x\", \"b\": \"\\ud800\"}", "not {\"a\""),
            (b"{\"a\": \"\xff\", \"b\": \"x\"}", "not UTF-8"),
            (&[&long[..], b"x"].concat(), "over 1048576 bytes"),
        ];
        for (line, why) in bad {
            let input = [good.as_bytes(), b"\n", line, b"\n", good.as_bytes()].concat();
            let (out, fault) = answers(&input);
            let fault = fault.unwrap();
            assert!(
                fault.starts_with("line 2: ") && fault.contains(why),
                "{fault}"
            );
            assert_eq!(out.lines().count(), 1, "{fault}");
        }
    }
}
