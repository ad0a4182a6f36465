//! What became of requests and answers at the cache.

use super::text::Text;

/// Declares a closed set of words, each with its place and its name in metrics.
macro_rules! words {
    ($(#[$doc:meta])* $set:ident { $($(#[$word_doc:meta])* $word:ident = $name:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $set {
            $($(#[$word_doc])* $word,)*
        }

        impl $set {
            /// All of them, each at its place.
            pub const ALL: &[Self] = &[$(Self::$word,)*];

            /// Its name in metrics.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$word => $name,)*
                }
            }
        }
    };
}

pub(super) use words;

words! {
    /// How an answer was looked for.
    Tier {
        /// Under the request's own key.
        Exact = "exact",
        /// By what the last message means.
        Semantic = "semantic",
        /// At the cache that boxes share.
        Remote = "remote",
    }
}

words! {
    /// What came of it.
    Looked {
        /// A stored answer was given.
        Hit = "hit",
        /// There was none.
        Miss = "miss",
        /// Another request's answer was given as it came.
        Coalesced = "coalesced",
        /// It was not looked for: see [`Bypass`].
        Bypass = "bypass",
        /// There was one, and it was only to be reported, or to be compared with a new answer.
        Shadow = "shadow",
        /// It could not be looked for in time.
        Error = "error",
    }
}

words! {
    /// Why an answer was not looked for, or not by meaning.
    Bypass {
        /// The request wants none, or nothing stored.
        Directive = "directive",
        /// Its temperature is above the limit.
        Temperature = "temperature",
        /// It asks for no answer in a conversation.
        Route = "route",
        /// Its JSON may be understood in two ways.
        Odd = "odd_json",
        /// It goes on with what the provider keeps.
        State = "provider_state",
        /// The provider runs a tool of its own.
        ProviderTool = "provider_tool",
        /// The provider is to keep the answer, or to work in the background.
        Effect = "side_effect",
        /// By meaning: its last turn is not a text of the user.
        NoText = "no_text",
        /// By meaning: a tool was called in the conversation.
        ToolTurn = "tool_turn",
        /// By meaning: it shows an image, a document, sound or video.
        Media = "media",
        /// By meaning: it wants several answers.
        Several = "several",
        /// By meaning: it wants the probabilities of tokens.
        Logprobs = "logprobs",
        /// By meaning: it is a text to go on with.
        Completion = "completion",
        /// By meaning: it says something that only its own dialect knows.
        Foreign = "foreign",
        /// By meaning: its last text is not one that can be compared.
        Text = "text",
        /// By meaning: audits have found too many wrong answers for its tenant.
        Audit = "audit",
    }
}

words! {
    /// Why an answer was not stored.
    Unstored {
        /// The request does not want it.
        Directive = "directive",
        /// The request's temperature is above the limit.
        Temperature = "temperature",
        /// It is an error.
        Status = "error",
        /// It broke off, or its end is not known.
        Cut = "cut",
        /// Another target went on with it.
        Continued = "continued",
        /// Not all of it was seen, or it could not be read.
        Unread = "unread",
        /// Another model answered.
        Fallback = "fallback",
        /// A filter cut it, or the model declined.
        Filtered = "filtered",
        /// It ended before it was done: the context was full, or the provider pauses.
        Unfinished = "unfinished",
        /// It calls a tool.
        ToolCall = "tool_call",
        /// It says nothing.
        Empty = "empty",
        /// It is larger than `entry_max`, or than a shard's share.
        TooLarge = "too_large",
        /// It was asked for before a purge.
        Purged = "purged",
        /// There is a newer one.
        Older = "older",
        /// The shard that keeps it takes no more for now.
        Busy = "busy",
        /// The memory is full.
        Memory = "memory",
    }
}

words! {
    /// Why an entry is not kept any more.
    Lost {
        /// It gave way to others.
        Evicted = "evicted",
        /// It was over.
        Expired = "expired",
        /// It was purged.
        Purged = "purged",
        /// It is not found by meaning any more: an answer from upstream was another one.
        Demoted = "demoted",
    }
}

words! {
    /// What an audit found of an answer that would have been given by meaning.
    Audited {
        /// The one from upstream says the same.
        Same = "same",
        /// It says something else.
        Other = "other",
        /// They cannot be compared: there was no whole answer, or it is not a text.
        Unknown = "unknown",
    }
}

/// What one shard counts of its cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cached {
    looked: [[u64; Looked::ALL.len()]; Tier::ALL.len()],
    bypassed: [u64; Bypass::ALL.len()],
    unstored: [u64; Unstored::ALL.len()],
    lost: [u64; Lost::ALL.len()],
    audited: [u64; Audited::ALL.len()],
    /// Times that a tenant got no more answers by meaning for a while.
    pub tripped: u64,
    /// Answers that were stored.
    pub stored: u64,
    /// Times that another shard was told to forget, since it did not listen.
    pub forgotten: u64,
    /// Bytes that the shard keeps for the box; set when it is copied.
    pub bytes: u64,
    /// Entries that the shard can give; set when it is copied.
    pub entries: u64,
}

fn count(slot: Option<&mut u64>, by: u64) {
    if let Some(count) = slot {
        *count += by;
    }
}

impl Cached {
    /// A request was looked for.
    pub fn look(&mut self, tier: Tier, came: Looked) {
        let row = self.looked.get_mut(tier as usize);
        count(row.and_then(|row| row.get_mut(came as usize)), 1);
    }

    /// A request was not looked for in `tier`.
    pub fn bypass(&mut self, tier: Tier, why: Bypass) {
        self.look(tier, Looked::Bypass);
        count(self.bypassed.get_mut(why as usize), 1);
    }

    /// An answer was not stored.
    pub fn unstore(&mut self, why: Unstored) {
        count(self.unstored.get_mut(why as usize), 1);
    }

    /// So many entries are not kept any more.
    pub fn lose(&mut self, why: Lost, entries: u64) {
        count(self.lost.get_mut(why as usize), entries);
    }

    /// An answer that would have been given was compared with a new one.
    pub fn audit(&mut self, found: Audited) {
        count(self.audited.get_mut(found as usize), 1);
    }

    /// How often it came to that.
    pub fn looked(&self, tier: Tier, came: Looked) -> u64 {
        let row = self.looked.get(tier as usize);
        let count = row.and_then(|row| row.get(came as usize));
        count.copied().unwrap_or_default()
    }

    /// How many were not stored.
    pub fn unstored(&self, why: Unstored) -> u64 {
        self.unstored.get(why as usize).copied().unwrap_or_default()
    }

    /// Adds what another shard counted.
    pub fn add(&mut self, other: &Self) {
        let add = |mine: &mut [u64], theirs: &[u64]| {
            for (mine, theirs) in mine.iter_mut().zip(theirs) {
                *mine += theirs;
            }
        };
        for (mine, theirs) in self.looked.iter_mut().zip(&other.looked) {
            add(mine, theirs);
        }
        add(&mut self.bypassed, &other.bypassed);
        add(&mut self.unstored, &other.unstored);
        add(&mut self.lost, &other.lost);
        add(&mut self.audited, &other.audited);
        self.tripped += other.tripped;
        self.stored += other.stored;
        self.forgotten += other.forgotten;
        self.bytes += other.bytes;
        self.entries += other.entries;
    }

    /// Writes all of it; `shards` are what each counts by itself.
    pub fn write<'s>(&self, out: &mut Text, shards: impl Iterator<Item = &'s Self>) {
        let name = "shardgate_cache_requests_total";
        let help =
            "Requests to models with a cache, by how an answer was looked for and what came of it.";
        out.head(name, "counter", help);
        for (tier, row) in Tier::ALL.iter().zip(&self.looked) {
            for (came, count) in Looked::ALL.iter().zip(row) {
                let labels = format!("tier=\"{}\",result=\"{}\"", tier.name(), came.name());
                out.line(name, &labels, count);
            }
        }
        let rows = [
            (
                "shardgate_cache_bypass_total",
                "Why no stored answer was looked for.",
                named(Bypass::ALL, Bypass::name, &self.bypassed),
            ),
            (
                "shardgate_cache_refused_total",
                "Answers that were not stored.",
                named(Unstored::ALL, Unstored::name, &self.unstored),
            ),
            (
                "shardgate_cache_evictions_total",
                "Entries that are not kept any more.",
                named(Lost::ALL, Lost::name, &self.lost),
            ),
        ];
        for (name, help, counts) in rows {
            out.family((name, "reason"), help, counts.into_iter());
        }
        let help = "Answers by meaning that were compared with a new one instead of given.";
        let rows = named(Audited::ALL, Audited::name, &self.audited).into_iter();
        out.family(("shardgate_cache_audits_total", "result"), help, rows);
        let name = "shardgate_cache_tenants_off_total";
        let help = "Times that a tenant got no more answers by meaning for a while.";
        out.head(name, "counter", help);
        out.line(name, "", self.tripped);
        let name = "shardgate_cache_stored_total";
        out.head(name, "counter", "Answers that were stored.");
        out.line(name, "", self.stored);
        let name = "shardgate_cache_forgotten_total";
        let help = "Times that a shard was told to forget, as it did not listen.";
        out.head(name, "counter", help);
        out.line(name, "", self.forgotten);
        let name = "shardgate_cache_bytes";
        out.head(
            name,
            "gauge",
            "Bytes of stored answers, with their indexes.",
        );
        out.line(name, "", self.bytes);
        let name = "shardgate_cache_entries";
        out.head(name, "gauge", "Entries that a shard can give.");
        for (shard, cached) in shards.enumerate() {
            out.line(name, &format!("shard=\"{shard}\""), cached.entries);
        }
    }
}

fn named<T: Copy>(
    all: &[T],
    name: fn(T) -> &'static str,
    counts: &[u64],
) -> Vec<(&'static str, u64)> {
    let counts = counts.iter().copied();
    all.iter().map(|word| name(*word)).zip(counts).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::text::Form;

    /// Goal: each word has a count and a name of its own, and shards add up.
    #[test]
    fn words_are_counted_apart() {
        let mut one = Cached::default();
        for tier in Tier::ALL {
            for came in Looked::ALL {
                one.look(*tier, *came);
                assert_eq!(one.looked(*tier, *came), 1);
            }
        }
        for why in Unstored::ALL {
            one.unstore(*why);
            assert_eq!(one.unstored(*why), 1);
        }
        for why in Bypass::ALL {
            one.bypass(Tier::Exact, *why);
        }
        for why in Lost::ALL {
            one.lose(*why, 3);
        }
        for found in Audited::ALL {
            one.audit(*found);
        }
        one.tripped = 2;
        one.bytes = 7;
        one.add(&one.clone());
        let mut text = Text::new(Form::Prometheus);
        one.write(&mut text, [&one].into_iter());
        let text = text.finish();
        let lines: Vec<_> = text.lines().filter(|line| !line.starts_with('#')).collect();
        let words = Unstored::ALL.len() + Bypass::ALL.len() + Lost::ALL.len();
        assert_eq!(lines.len(), 18 + words + Audited::ALL.len() + 5, "{text}");
        for (line, count) in [
            (
                "shardgate_cache_requests_total{tier=\"remote\",result=\"error\"}",
                2,
            ),
            ("shardgate_cache_bypass_total{reason=\"odd_json\"}", 2),
            ("shardgate_cache_refused_total{reason=\"cut\"}", 2),
            ("shardgate_cache_evictions_total{reason=\"evicted\"}", 6),
            ("shardgate_cache_audits_total{result=\"other\"}", 2),
            ("shardgate_cache_tenants_off_total", 4),
            ("shardgate_cache_bytes", 14),
        ] {
            assert!(
                lines.contains(&&*format!("{line} {count}")),
                "{line}: {text}"
            );
        }
    }
}
