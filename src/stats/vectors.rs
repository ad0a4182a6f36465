//! What became of asking providers for the vectors of texts, for answers by meaning.
//!
//! These calls are the gateway's own: their tokens are counted here, and nowhere as a client's.

use super::cached::words;
use super::text::Text;
use std::time::Duration;

words! {
    /// How a request came by the vector of its text, or why it did not: then it is a miss.
    Wanted {
        /// The provider was asked.
        Asked = "asked",
        /// The same text was asked for of late.
        Known = "known",
        /// The same text was being asked for.
        Joined = "joined",
        /// It did not come in time.
        Late = "late",
        /// The provider did not give one.
        Failed = "failed",
        /// The provider is not asked, as it failed again and again; or only to see whether it is
        /// back, which nobody waits for.
        Breaker = "breaker",
        /// Too many are being asked for.
        Busy = "busy",
    }
}

words! {
    /// How a call ended.
    Called {
        /// With a vector.
        Done = "done",
        /// Not in time.
        Late = "late",
        /// There was no connection, or it broke.
        Unreachable = "unreachable",
        /// With another status than 200.
        Status = "status",
        /// With something that is no vector.
        Unreadable = "unreadable",
    }
}

/// What one shard counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Vectors {
    wanted: [u64; Wanted::ALL.len()],
    called: [u64; Called::ALL.len()],
    /// Tokens that providers counted.
    pub tokens: u64,
    /// How long calls took, all together.
    pub took: Duration,
}

impl Vectors {
    /// A request wanted one.
    pub fn want(&mut self, how: Wanted) {
        if let Some(count) = self.wanted.get_mut(how as usize) {
            *count += 1;
        }
    }

    /// A call ended.
    pub fn call(&mut self, how: Called, took: Duration) {
        if let Some(count) = self.called.get_mut(how as usize) {
            *count += 1;
        }
        self.took += took;
    }

    /// Adds what another shard counted.
    pub fn add(&mut self, other: &Self) {
        for (mine, theirs) in self.wanted.iter_mut().zip(other.wanted) {
            *mine += theirs;
        }
        for (mine, theirs) in self.called.iter_mut().zip(other.called) {
            *mine += theirs;
        }
        self.tokens += other.tokens;
        self.took += other.took;
    }

    /// Writes all of it.
    pub fn write(&self, out: &mut Text) {
        let rows = Wanted::ALL.iter().map(|how| how.name()).zip(self.wanted);
        let help = "Requests that wanted the vector of a text from a provider.";
        out.family(("shardgate_cache_vectors_total", "result"), help, rows);
        let rows = Called::ALL.iter().map(|how| how.name()).zip(self.called);
        let help = "Calls of providers for the vector of a text.";
        out.family(
            ("shardgate_cache_embedding_calls_total", "result"),
            help,
            rows,
        );
        let name = "shardgate_cache_embedding_tokens_total";
        let help = "Tokens that providers counted for them; no client's usage.";
        out.head(name, "counter", help);
        out.line(name, "", self.tokens);
        let name = "shardgate_cache_embedding_seconds_total";
        out.head(name, "counter", "How long these calls took, all together.");
        out.line(name, "", format!("{:.6}", self.took.as_secs_f64()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::text::Form;

    /// Goal: each word has a row of its own, and shards add up.
    #[test]
    fn words_are_counted_apart() {
        let mut one = Vectors::default();
        for how in Wanted::ALL {
            one.want(*how);
        }
        for how in Called::ALL {
            one.call(*how, Duration::from_millis(10));
        }
        one.tokens = 9;
        one.add(&one.clone());
        let mut text = Text::new(Form::Prometheus);
        one.write(&mut text);
        let text = text.finish();
        let lines: Vec<_> = text.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(
            lines.len(),
            Wanted::ALL.len() + Called::ALL.len() + 2,
            "{text}"
        );
        for line in [
            "shardgate_cache_vectors_total{result=\"joined\"} 2",
            "shardgate_cache_embedding_calls_total{result=\"unreadable\"} 2",
            "shardgate_cache_embedding_tokens_total 18",
            "shardgate_cache_embedding_seconds_total 0.100000",
        ] {
            assert!(lines.contains(&line), "{line}: {text}");
        }
    }
}
