//! What a shard counts of the tier that boxes share (`cache.remote`).

use super::text::Text;

/// What became of a look-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Get {
    /// An entry that may be served.
    Hit,
    /// Nothing is stored under the key.
    Miss,
    /// An entry that was purged.
    Purged,
    /// An entry whose time is over.
    Expired,
    /// A value that is not whole, or of another version.
    Bad,
    /// No answer within the deadline.
    Late,
    /// The server refused.
    Refused,
    /// No connection, or it was lost.
    Down,
    /// The server is left alone: it owes a reply, or the breaker is open.
    Open,
    /// Too much was waiting.
    Full,
}

impl Get {
    /// Every one.
    pub const ALL: [Self; 10] = [
        Self::Hit,
        Self::Miss,
        Self::Purged,
        Self::Expired,
        Self::Bad,
        Self::Late,
        Self::Refused,
        Self::Down,
        Self::Open,
        Self::Full,
    ];

    /// As it is shown.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Miss => "miss",
            Self::Purged => "purged",
            Self::Expired => "expired",
            Self::Bad => "bad",
            Self::Late => "late",
            Self::Refused => "refused",
            Self::Down => "down",
            Self::Open => "open",
            Self::Full => "full",
        }
    }
}

/// What became of something that was sent and nobody waits for: an entry, an announcement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Put {
    /// The server has it.
    Done,
    /// It is too long, over within a second, has too many tags, or the generations are not known.
    Unfit,
    /// No answer in time: it may have it.
    Late,
    /// The server refused.
    Refused,
    /// No connection, or it was lost.
    Down,
    /// The server is left alone: it owes a reply, or the breaker is open.
    Open,
    /// Too much was waiting.
    Full,
}

impl Put {
    /// Every one.
    pub const ALL: [Self; 7] = [
        Self::Done,
        Self::Unfit,
        Self::Late,
        Self::Refused,
        Self::Down,
        Self::Open,
        Self::Full,
    ];

    /// As it is shown.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Unfit => "unfit",
            Self::Late => "late",
            Self::Refused => "refused",
            Self::Down => "down",
            Self::Open => "open",
            Self::Full => "full",
        }
    }
}

/// What happened on the connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A connection is ready.
    Connected,
    /// None could be made, or it was refused.
    Unconnected,
    /// The server closed it.
    Closed,
    /// It was given up, as nothing came for too long.
    Stalled,
    /// It was given up, as what came was no reply.
    Broken,
    /// A reply came after its deadline and was thrown away.
    LateReply,
    /// A breaker opened.
    Tripped,
    /// The server named another node.
    Redirected,
    /// An announcement of another shard or box was heeded.
    Heard,
    /// One never came, or could not be heeded.
    Missed,
    /// One made no sense.
    Unread,
}

impl Event {
    /// Every one.
    pub const ALL: [Self; 11] = [
        Self::Connected,
        Self::Unconnected,
        Self::Closed,
        Self::Stalled,
        Self::Broken,
        Self::LateReply,
        Self::Tripped,
        Self::Redirected,
        Self::Heard,
        Self::Missed,
        Self::Unread,
    ];

    /// As it is shown.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Connected => "connected",
            Self::Unconnected => "unconnected",
            Self::Closed => "closed",
            Self::Stalled => "stalled",
            Self::Broken => "broken",
            Self::LateReply => "late_reply",
            Self::Tripped => "tripped",
            Self::Redirected => "redirected",
            Self::Heard => "heard",
            Self::Missed => "missed",
            Self::Unread => "unread",
        }
    }
}

/// What became of an entry of another box that was announced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Learnt {
    /// It was fetched, and is found by meaning here.
    Learnt,
    /// It is here already.
    Known,
    /// It is over, was purged, or is not on the server any more.
    Gone,
    /// It is of no use here: its model is not compared by meaning, or not there, or its text not
    /// one to be compared.
    Foreign,
    /// An audit has found it wrong: it is not found by meaning.
    Demoted,
    /// There is no room for it.
    Full,
    /// What was announced or fetched cannot be read.
    Bad,
}

impl Learnt {
    /// Every one.
    pub const ALL: [Self; 7] = [
        Self::Learnt,
        Self::Known,
        Self::Gone,
        Self::Foreign,
        Self::Demoted,
        Self::Full,
        Self::Bad,
    ];

    /// As it is shown.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Learnt => "learnt",
            Self::Known => "known",
            Self::Gone => "gone",
            Self::Foreign => "foreign",
            Self::Demoted => "demoted",
            Self::Full => "full",
            Self::Bad => "bad",
        }
    }
}

/// How many there were of each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    gets: [u64; Get::ALL.len()],
    puts: [u64; Put::ALL.len()],
    told: [u64; Put::ALL.len()],
    events: [u64; Event::ALL.len()],
    learnt: [u64; Learnt::ALL.len()],
}

fn note(counts: &mut [u64], at: usize, many: u64) {
    if let Some(count) = counts.get_mut(at) {
        *count += many;
    }
}

impl Counts {
    /// Counts a look-up.
    pub fn note_get(&mut self, what: Get) {
        note(&mut self.gets, what as usize, 1);
    }

    /// Counts an entry that was to be stored.
    pub fn note_put(&mut self, what: Put) {
        note(&mut self.puts, what as usize, 1);
    }

    /// Counts an announcement that was to be made.
    pub fn note_told(&mut self, what: Put) {
        note(&mut self.told, what as usize, 1);
    }

    /// Counts an entry that was announced.
    pub fn note_learnt(&mut self, what: Learnt) {
        note(&mut self.learnt, what as usize, 1);
    }

    /// Counts what happened on a connection, `many` times.
    pub fn note(&mut self, what: Event, many: u64) {
        note(&mut self.events, what as usize, many);
    }

    /// Look-ups that ended so.
    pub fn gets(&self, what: Get) -> u64 {
        self.gets.get(what as usize).copied().unwrap_or_default()
    }

    /// Entries to be stored that ended so.
    pub fn puts(&self, what: Put) -> u64 {
        self.puts.get(what as usize).copied().unwrap_or_default()
    }

    /// Announcements that ended so.
    pub fn told(&self, what: Put) -> u64 {
        self.told.get(what as usize).copied().unwrap_or_default()
    }

    /// Announced entries of which that became.
    pub fn learnt(&self, what: Learnt) -> u64 {
        self.learnt.get(what as usize).copied().unwrap_or_default()
    }

    /// How often that happened on a connection.
    pub fn events(&self, what: Event) -> u64 {
        self.events.get(what as usize).copied().unwrap_or_default()
    }

    /// Adds what another shard counted.
    pub fn add(&mut self, other: &Self) {
        let pairs = [
            (self.gets.as_mut_slice(), other.gets.as_slice()),
            (&mut self.puts, &other.puts),
            (&mut self.told, &other.told),
            (&mut self.events, &other.events),
            (&mut self.learnt, &other.learnt),
        ];
        for (mine, theirs) in pairs {
            for (mine, theirs) in mine.iter_mut().zip(theirs) {
                *mine += theirs;
            }
        }
    }
}

/// What the shards of a box have together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Total {
    /// What they counted.
    pub counts: Counts,
    /// Connections that are up, and all that should be.
    pub lines: (u64, u64),
    /// Lines whose breaker is open.
    pub open: u64,
}

impl Total {
    /// Adds what a shard has.
    pub fn add(&mut self, other: &Self) {
        self.counts.add(&other.counts);
        self.lines.0 += other.lines.0;
        self.lines.1 += other.lines.1;
        self.open += other.open;
    }

    /// Writes all of it.
    pub fn write(&self, out: &mut Text) {
        let counts = &self.counts;
        let rows = Get::ALL.into_iter().map(|it| (it.name(), counts.gets(it)));
        let help = "Look-ups at the shared server, by what came of them.";
        out.family(("shardgate_cache_remote_gets_total", "result"), help, rows);
        let rows = Put::ALL.into_iter().map(|it| (it.name(), counts.puts(it)));
        let help = "Entries that were to be stored on the shared server, by what became of them.";
        out.family(
            ("shardgate_cache_remote_stores_total", "result"),
            help,
            rows,
        );
        let rows = Put::ALL.into_iter().map(|it| (it.name(), counts.told(it)));
        let help = "Entries that were to be announced to other boxes, by what became of it.";
        out.family(
            ("shardgate_cache_remote_announcements_total", "result"),
            help,
            rows,
        );
        let rows = Learnt::ALL
            .into_iter()
            .map(|it| (it.name(), counts.learnt(it)));
        let help = "Entries that other boxes announced, by what became of them here.";
        out.family(("shardgate_cache_remote_news_total", "result"), help, rows);
        let rows = Event::ALL
            .into_iter()
            .map(|it| (it.name(), counts.events(it)));
        let help = "What happened on connections to the shared server.";
        out.family(("shardgate_cache_remote_events_total", "event"), help, rows);
        let name = "shardgate_cache_remote_connections";
        out.head(name, "gauge", "Connections to the shared server.");
        let (up, all) = self.lines;
        out.line(name, "state=\"up\"", up);
        out.line(name, "state=\"down\"", all.saturating_sub(up));
        let name = "shardgate_cache_remote_breakers_open";
        let help = "Connections that are left alone, as the server was slow each time.";
        out.head(name, "gauge", help);
        out.line(name, "", self.open);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::text::Form;
    use std::collections::BTreeSet;

    /// Goal: each outcome has a count and a name of its own, and sums are sums.
    #[test]
    fn outcomes_are_counted_apart() {
        let mut counts = Counts::default();
        for (at, what) in Get::ALL.into_iter().enumerate() {
            assert_eq!(what as usize, at);
            counts.note_get(what);
        }
        for (at, what) in Put::ALL.into_iter().enumerate() {
            assert_eq!(what as usize, at);
            counts.note_put(what);
            counts.note_told(what);
        }
        for (at, what) in Learnt::ALL.into_iter().enumerate() {
            assert_eq!(what as usize, at);
            counts.note_learnt(what);
        }
        for (at, what) in Event::ALL.into_iter().enumerate() {
            assert_eq!(what as usize, at);
            counts.note(what, 3);
        }
        counts.add(&counts.clone());
        assert!(Get::ALL.iter().all(|what| counts.gets(*what) == 2));
        assert!(
            Put::ALL
                .iter()
                .all(|what| counts.puts(*what) == 2 && counts.told(*what) == 2)
        );
        assert!(Event::ALL.iter().all(|what| counts.events(*what) == 6));
        assert!(Learnt::ALL.iter().all(|what| counts.learnt(*what) == 2));
        let names: BTreeSet<_> = Learnt::ALL.iter().map(|what| what.name()).collect();
        assert_eq!(names.len(), Learnt::ALL.len());
        let names: BTreeSet<_> = Get::ALL.iter().map(|what| what.name()).collect();
        assert_eq!(names.len(), Get::ALL.len());
        let names: BTreeSet<_> = Event::ALL.iter().map(|what| what.name()).collect();
        assert_eq!(names.len(), Event::ALL.len());
    }
    /// Goal: everything that is counted is shown, under labels of closed sets.
    #[test]
    fn everything_is_shown() {
        let mut total = Total::default();
        total.counts.note_get(Get::Hit);
        total.counts.note_put(Put::Late);
        total.counts.note_told(Put::Down);
        total.counts.note_learnt(Learnt::Full);
        total.counts.note(Event::Missed, 5);
        (total.lines, total.open) = ((1, 3), 1);
        total.add(&total.clone());
        let mut text = Text::new(Form::Prometheus);
        total.write(&mut text);
        let shown = text.finish();
        for line in [
            "shardgate_cache_remote_gets_total{result=\"hit\"} 2",
            "shardgate_cache_remote_stores_total{result=\"late\"} 2",
            "shardgate_cache_remote_announcements_total{result=\"down\"} 2",
            "shardgate_cache_remote_news_total{result=\"full\"} 2",
            "shardgate_cache_remote_events_total{event=\"missed\"} 10",
            "shardgate_cache_remote_connections{state=\"up\"} 2",
            "shardgate_cache_remote_connections{state=\"down\"} 4",
            "shardgate_cache_remote_breakers_open 2",
        ] {
            assert!(shown.lines().any(|shown| shown == line), "{line}\n{shown}");
        }
    }
}
