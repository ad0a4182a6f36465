//! What a simulated provider has seen, one row of counters for each shard.
//!
//! A shard writes its own row alone; whoever asks adds the rows up. A reading while
//! requests run may be one request off between two numbers, never torn within one.
//!
//! Invariants
//! - I1 Each request that was read ends in exactly one of `answered`, `failed`, `streams_done`,
//!   `broken` and `cancelled`; what runs now is the difference to `requests`.

use crate::dialect::model::Dialect;
use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident $reset:literal;)*) => {
        /// The counters of one shard; 128 bytes apart, so that no two shards share a line.
        #[derive(Debug, Default)]
        #[repr(align(128))]
        pub struct Row { $($(#[$doc])* pub $name: Count,)* }

        /// The sum over all rows at one moment.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct Sums { $($(#[$doc])* pub $name: u64,)* }

        impl Row {
            fn reset(&self) {
                $(if $reset { self.$name.set(0); })*
            }

            fn add_to(&self, sums: &mut Sums) {
                $(sums.$name = self.$name.join(sums.$name, stringify!($name));)*
            }
        }

        impl Sums {
            fn each(&self, mut f: impl FnMut(&'static str, u64)) {
                $(f(stringify!($name), self.$name);)*
            }
        }
    };
}

counters! {
    /// Requests to a provider route that were read in full; `/__sim` is not counted.
    requests true;
    /// Of them: to OpenAI's Chat, Completions, Embeddings and Models.
    requests_openai true;
    /// Of them: to OpenAI's Responses.
    requests_responses true;
    /// Of them: to Anthropic's Messages.
    requests_anthropic true;
    /// Of them: to Gemini.
    requests_gemini true;
    /// Of them: to Cohere.
    requests_cohere true;
    /// Of them: to Bedrock.
    requests_bedrock true;
    /// Plain answers given.
    answered true;
    /// Error statuses given, those that were asked for included.
    failed true;
    /// Streams begun.
    streams true;
    /// Streams that are under way.
    streams_open false;
    /// Streams sent in full.
    streams_done true;
    /// Answers that ended with the fault that was asked for (cut, reset, bad chunk, …).
    broken true;
    /// Requests whose client went away before the end of the answer.
    cancelled true;
    /// When the last of them was seen to go, in wall-clock nanoseconds since 1970; 0 = none.
    last_cancelled_unix_ns true;
    /// When the last request was read, in wall-clock nanoseconds since 1970; 0 = none.
    last_request_unix_ns true;
    /// Content events sent.
    events true;
    /// Bytes of request heads and bodies.
    bytes_in true;
    /// Bytes of answers.
    bytes_out true;
    /// Connections accepted.
    connections true;
    /// Connections that are open.
    connections_open false;
}

impl Row {
    /// The requests that came in `dialect`.
    pub const fn requests_in(&self, dialect: Dialect) -> &Count {
        match dialect {
            Dialect::Chat => &self.requests_openai,
            Dialect::Responses => &self.requests_responses,
            Dialect::Anthropic => &self.requests_anthropic,
            Dialect::Gemini => &self.requests_gemini,
            Dialect::Cohere => &self.requests_cohere,
            Dialect::Bedrock => &self.requests_bedrock,
        }
    }
}

/// A counter that one shard writes and any may read.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    /// Adds `by`.
    pub fn add(&self, by: u64) {
        self.0.fetch_add(by, Ordering::Relaxed);
    }

    /// Takes `by` away.
    pub fn sub(&self, by: u64) {
        self.0.fetch_sub(by, Ordering::Relaxed);
    }

    /// Puts `to` in its place.
    pub fn set(&self, to: u64) {
        self.0.store(to, Ordering::Relaxed);
    }

    /// Its value.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Times join to the latest, counts to the sum.
    fn join(&self, sum: u64, name: &str) -> u64 {
        if name.ends_with("_unix_ns") {
            sum.max(self.get())
        } else {
            sum.wrapping_add(self.get())
        }
    }
}

/// The rows of all shards of one provider.
#[derive(Debug)]
pub struct Stats {
    rows: Box<[Row]>,
    spare: Row,
}

impl Stats {
    /// Rows for `shards` shards.
    pub fn new(shards: usize) -> Self {
        Self {
            rows: (0..shards).map(|_| Row::default()).collect(),
            spare: Row::default(),
        }
    }

    /// The row of shard `shard`; all shards beyond the number given share one.
    pub fn row(&self, shard: usize) -> &Row {
        self.rows.get(shard).unwrap_or(&self.spare)
    }

    /// All rows added up.
    pub fn sums(&self) -> Sums {
        let mut sums = Sums::default();
        for row in self.rows.iter().chain([&self.spare]) {
            row.add_to(&mut sums);
        }
        sums
    }

    /// Sets every count to zero; what is open now stays counted.
    pub fn reset(&self) {
        for row in self.rows.iter().chain([&self.spare]) {
            row.reset();
        }
    }

    /// The sums, with the processor time of the whole process, as a JSON object.
    pub fn json(&self) -> String {
        let mut json = String::from("{");
        self.sums().each(|name, value| {
            for part in ["\"", name, "\":", itoa::Buffer::new().format(value), ","] {
                json.push_str(part);
            }
        });
        let cpu = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
        let (seconds, nanos) = (cpu.tv_sec, cpu.tv_nsec);
        json + &format!("\"cpu_seconds\":{seconds}.{nanos:09}}}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: rows add up, times join to the latest, a reset keeps what is open.
    #[test]
    fn rows_add_up_and_a_reset_keeps_what_is_open() {
        let stats = Stats::new(2);
        for shard in 0..3 {
            stats.row(shard).requests.add(2);
            stats.row(shard).connections_open.add(1);
            stats.row(shard).last_cancelled_unix_ns.set(shard as u64);
        }
        let sums = stats.sums();
        assert_eq!((sums.requests, sums.connections_open), (6, 3));
        assert_eq!(sums.last_cancelled_unix_ns, 2);
        stats.reset();
        let sums = stats.sums();
        assert_eq!((sums.requests, sums.connections_open), (0, 3));
        let json: serde_json::Value = serde_json::from_str(&stats.json()).unwrap();
        assert_eq!(json["connections_open"], 3);
        assert!(json["cpu_seconds"].as_f64().unwrap() > 0.0);
    }
}
