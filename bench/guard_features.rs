//! Prints what the guard's trees see: JSON lines `{"a", "b", …}` in, one line of numbers out.
//!
//! ```text
//!  {"a": …, "b": …}  ──►  veto|-  p  feature feature …
//! ```
//!
//! `scripts/guard/train.py` trains on this output, so that training and serving cannot differ.

#![expect(
    clippy::unwrap_used,
    reason = "a tool of the developers: a bad line ends it"
)]

use shardgate::cache::guard::{Guard, NAMES, Point, Verdict};
use std::io::{self, BufRead, BufWriter, Write};

fn main() {
    let guard = Guard::builtin();
    let mut out = BufWriter::new(io::stdout().lock());
    writeln!(out, "veto p {}", NAMES.join(" ")).unwrap();
    for line in io::stdin().lock().lines() {
        let pair: serde_json::Value = serde_json::from_str(&line.unwrap()).unwrap();
        let text = |name: &str| pair.get(name).and_then(|v| v.as_str()).unwrap_or_default();
        let (a, b) = (guard.sketch(text("a")), guard.sketch(text("b")));
        let (features, veto) = guard.judge(&a, &b);
        let p = match guard.verdict(&a, &b, Point::Strict) {
            Verdict::Same { p } | Verdict::Doubt { p } => p,
            Verdict::Different { .. } => 0.0,
        };
        write!(out, "{} {p}", veto.map_or("-", |veto| veto.name())).unwrap();
        for feature in features {
            write!(out, " {feature}").unwrap();
        }
        writeln!(out).unwrap();
    }
}
