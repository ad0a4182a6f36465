//! Metrics as text: Prometheus' format 0.0.4 or `OpenMetrics` 1.0.
//!
//! The two differ in few places: in `OpenMetrics` a counter's family has no `_total`, and
//! the text ends with `# EOF`. Bounds of buckets are written as Go does, which `OpenMetrics`
//! demands.
//!
//! Source: Prometheus, "Exposition formats"; `OpenMetrics` 1.0.0, "Text format".

use super::counters::{Latency, SIZE_BOUNDS, Sizes};
use std::fmt::Write;
use std::time::Duration;

/// Which text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// Prometheus' own, version 0.0.4.
    #[default]
    Prometheus,
    /// `OpenMetrics` 1.0.0.
    OpenMetrics,
}

impl Form {
    /// What a client that sends this `Accept` field understands.
    pub fn accepted(accept: &[u8]) -> Self {
        const NAME: &[u8] = b"application/openmetrics-text";
        if accept
            .windows(NAME.len())
            .any(|part| part.eq_ignore_ascii_case(NAME))
        {
            Self::OpenMetrics
        } else {
            Self::Prometheus
        }
    }

    /// The value of `Content-Type`.
    pub const fn media(self) -> &'static str {
        match self {
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// Upper bounds of histogram buckets in seconds, as the `GenAI` conventions advise, with
/// finer ones at the short end for the gateway's own overhead.
const BOUNDS: [(&str, f64); 18] = [
    ("5e-05", 0.000_05),
    ("0.0001", 0.000_1),
    ("0.00025", 0.000_25),
    ("0.001", 0.001),
    ("0.005", 0.005),
    ("0.01", 0.01),
    ("0.02", 0.02),
    ("0.04", 0.04),
    ("0.08", 0.08),
    ("0.16", 0.16),
    ("0.32", 0.32),
    ("0.64", 0.64),
    ("1.28", 1.28),
    ("2.56", 2.56),
    ("5.12", 5.12),
    ("10.24", 10.24),
    ("20.48", 20.48),
    ("81.92", 81.92),
];

/// [`SIZE_BOUNDS`] as they are written.
const SIZES: [&str; SIZE_BOUNDS.len()] = [
    "1.0",
    "4.0",
    "16.0",
    "64.0",
    "256.0",
    "1024.0",
    "4096.0",
    "16384.0",
    "65536.0",
    "262144.0",
    "1.048576e+06",
    "4.194304e+06",
    "1.6777216e+07",
    "6.7108864e+07",
];

/// A text that is being written.
#[derive(Debug)]
pub struct Text {
    out: String,
    form: Form,
}

impl Text {
    /// Nothing yet.
    pub fn new(form: Form) -> Self {
        Self {
            out: String::new(),
            form,
        }
    }

    /// The whole text.
    pub fn finish(mut self) -> String {
        if self.form == Form::OpenMetrics {
            self.out.push_str("# EOF\n");
        }
        self.out
    }

    /// The head of a metric: `counter`, `gauge` or `histogram`.
    pub fn head(&mut self, name: &str, kind: &str, help: &str) {
        let family = match self.form {
            Form::OpenMetrics => name.strip_suffix("_total").unwrap_or(name),
            Form::Prometheus => name,
        };
        self.push(format_args!(
            "# HELP {family} {help}\n# TYPE {family} {kind}\n"
        ));
    }

    /// A counter with a row for each word of `label`.
    pub fn family(
        &mut self,
        (name, label): (&str, &str),
        help: &str,
        rows: impl Iterator<Item = (&'static str, u64)>,
    ) {
        self.head(name, "counter", help);
        for (word, count) in rows {
            self.line(name, &format!("{label}=\"{word}\""), count);
        }
    }

    /// One sample; `labels` without braces.
    pub fn line(&mut self, name: &str, labels: &str, value: impl std::fmt::Display) {
        if labels.is_empty() {
            self.push(format_args!("{name} {value}\n"));
        } else {
            self.push(format_args!("{name}{{{labels}}} {value}\n"));
        }
    }

    /// Buckets, sum and count of durations.
    pub fn durations(&mut self, name: &str, labels: &str, latency: &Latency) {
        for (le, bound) in BOUNDS {
            let count = latency.at_most(Duration::from_secs_f64(bound));
            self.bucket(name, labels, le, count);
        }
        self.bucket(name, labels, "+Inf", latency.count());
        self.line(&format!("{name}_sum"), labels, latency.sum().as_secs_f64());
        self.line(&format!("{name}_count"), labels, latency.count());
    }

    /// Buckets, sum and count of sizes.
    pub fn sizes(&mut self, name: &str, labels: &str, sizes: &Sizes) {
        let mut count = 0;
        for (le, bucket) in SIZES.iter().zip(sizes.buckets) {
            count += bucket;
            self.bucket(name, labels, le, count);
        }
        self.bucket(name, labels, "+Inf", sizes.count);
        self.line(&format!("{name}_sum"), labels, sizes.sum);
        self.line(&format!("{name}_count"), labels, sizes.count);
    }

    fn bucket(&mut self, name: &str, labels: &str, le: &str, count: u64) {
        let comma = if labels.is_empty() { "" } else { "," };
        self.push(format_args!(
            "{name}_bucket{{{labels}{comma}le=\"{le}\"}} {count}\n"
        ));
    }

    /// Writing into a `String` cannot fail.
    fn push(&mut self, text: std::fmt::Arguments<'_>) {
        if self.out.write_fmt(text).is_err() {
            debug_assert!(false, "a String takes everything");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: the bounds that are written are those that are counted by.
    #[test]
    fn bounds_are_written_as_they_are() {
        for (le, bound) in BOUNDS {
            assert_eq!(
                le.parse::<f64>().unwrap().to_bits(),
                bound.to_bits(),
                "{le}"
            );
        }
        for (le, bound) in SIZES.iter().zip(SIZE_BOUNDS) {
            assert_eq!(le.parse::<f64>().unwrap().to_string(), bound.to_string());
        }
    }

    /// Goal: who asks for `OpenMetrics` gets it, as a scraper asks.
    #[test]
    fn the_form_is_what_is_asked_for() {
        let accept = b"application/openmetrics-text;version=1.0.0;q=0.5,text/plain;q=0.2";
        assert_eq!(Form::accepted(accept), Form::OpenMetrics);
        assert_eq!(Form::accepted(b"text/plain"), Form::Prometheus);
        assert_eq!(Form::accepted(b""), Form::Prometheus);
    }

    /// Goal: sizes are counted into the bucket that holds them, and more than the largest
    /// bound only into the sum of all.
    #[test]
    fn sizes_are_counted_by_their_bounds() {
        let mut sizes = Sizes::default();
        for size in [0, 1, 2, 4, 5, 1 << 40] {
            sizes.record(size);
        }
        let mut text = Text::new(Form::OpenMetrics);
        text.head("a_total", "counter", "A.");
        text.sizes("s", "x=\"y\"", &sizes);
        let text = text.finish();
        assert!(
            text.starts_with("# HELP a A.\n# TYPE a counter\n"),
            "{text}"
        );
        for line in [
            "s_bucket{x=\"y\",le=\"1.0\"} 2",
            "s_bucket{x=\"y\",le=\"4.0\"} 4",
            "s_bucket{x=\"y\",le=\"6.7108864e+07\"} 5",
            "s_bucket{x=\"y\",le=\"+Inf\"} 6",
            "s_count{x=\"y\"} 6",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} in {text}");
        }
        assert!(text.ends_with("# EOF\n"));
    }
}
