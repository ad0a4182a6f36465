//! What other boxes announce, read from the server's stream.
//!
//! ```text
//!   XREAD COUNT 64 BLOCK 1000 STREAMS news ID ──► entries o, n, d ──► heard(d), oldest first
//!     ▲                                                │
//!     └── ID of the last one, kept over connections ◄──┘ when it is heeded
//!
//!   o  who announced it: our own are passed over
//!   n  counts what it announced: what is missing between two was trimmed or never sent
//! ```
//!
//! It begins with the oldest that the server still has, so who starts anew hears what it missed.
//! One announcement is heeded at a time, and nothing is read ahead of that but a reply: what waits
//! waits on the server, within [`super::NEWS_KEPT`].
//!
//! Invariants
//! - N1 An announcement is heeded at most once, as long as the server keeps its clock. Where that
//!   fails it is heard again after a pause, [`TRIES`] times.
//! - N2 What another box announced and is not heeded is counted: a gap between two, one that makes
//!   no sense, one that failed too often.

use super::nodes::Way;
use super::wire::{self, Wire, said};
use super::{Inner, Remote};
use crate::cache::remote::resp::Reply;
use crate::cache::remote::slots::{Redirect, redirect};
use crate::host::{Host, Link};
use crate::stats::remote::Event;
use ahash::AHashMap;
use futures_lite::FutureExt;
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

/// Announcements in one reply, at most.
const AT_ONCE: &[u8] = b"64";

/// How long the server waits for one, in milliseconds.
const BLOCK: &[u8] = b"1000";

/// After how long without any reply the connection is given up.
const SILENCE_MAX: Duration = Duration::from_secs(4);

/// The pause before a connection is made anew.
const PAUSE: Duration = Duration::from_millis(500);

/// How often an announcement is heard before it is given up.
const TRIES: u32 = 8;

/// Boxes whose counts are remembered; more begin anew.
const ORIGINS_MAX: usize = 4096;

/// Before the first announcement.
const FIRST: &[u8] = b"0-0";

/// What is called with each announcement; what it gives is waited for, where it gives something.
pub type Heard = Box<dyn FnMut(&[u8]) -> Option<Heeding>>;

/// Work on an announcement: whether it was done, or is to be tried again.
pub type Heeding = Pin<Box<dyn Future<Output = bool>>>;

/// Calls `heard` with each announcement of another shard or box, from the oldest that the server
/// has on, until the [`Remote`] is dropped. To be spawned. `heard` itself must not take long.
pub fn listen<H: Host>(
    remote: &Remote<H>,
    heard: Heard,
) -> impl Future<Output = ()> + use<H> + 'static {
    let inner = Rc::clone(&remote.0);
    run(inner, heard)
}

async fn run<H: Host>(inner: Rc<Inner<H>>, heard: Heard) {
    let mut reader = Reader {
        inner: &inner,
        origins: Origins::default(),
        last: FIRST.to_vec(),
        tries: 0,
        heard,
    };
    let common = &inner.common;
    while !common.is_retired.get() {
        let place = inner.route(&common.names.news, Way::Read).place();
        let trouble = match wire::open(common, place).await {
            Ok(mut wire) => reader.read_on(&mut wire).await,
            Err(trouble) => trouble,
        };
        if !common.is_retired.get() {
            common.trouble.replace(Some(trouble));
            common.host.sleep_until(common.host.now() + PAUSE).await;
        }
    }
}

/// The counts of who announces.
#[derive(Debug, Default)]
struct Origins(AHashMap<u64, u64>);

impl Origins {
    /// `origin` announced its `number`th; how many before it did not come.
    fn hear(&mut self, origin: u64, number: u64) -> u64 {
        if self.0.len() >= ORIGINS_MAX && !self.0.contains_key(&origin) {
            self.0.clear();
        }
        match self.0.insert(origin, number) {
            Some(before) => number.saturating_sub(before).saturating_sub(1),
            None => 0,
        }
    }
}

/// An announcement.
struct News<'a> {
    id: &'a [u8],
    origin: u64,
    number: u64,
    text: &'a [u8],
}

impl<'a> News<'a> {
    fn read(entry: &'a Reply) -> Option<Self> {
        let [id, fields] = entry.list()? else {
            return None;
        };
        let [o, origin, n, number, d, text] = fields.list()? else {
            return None;
        };
        let is_ours = [(o, b"o"), (n, b"n"), (d, b"d")]
            .iter()
            .all(|(field, name)| field.bytes() == Some(name.as_slice()));
        let count = |reply: &Reply| std::str::from_utf8(reply.bytes()?).ok()?.parse().ok();
        is_ours.then_some(Self {
            id: id.bytes()?,
            origin: count(origin)?,
            number: count(number)?,
            text: text.bytes()?,
        })
    }
}

struct Reader<'a, H: Host> {
    inner: &'a Inner<H>,
    origins: Origins,
    /// Of the last announcement that needs no more work.
    last: Vec<u8>,
    /// How often the one behind it has failed.
    tries: u32,
    heard: Heard,
}

impl<H: Host> Reader<'_, H> {
    /// Reads until the connection is of no use; gives why.
    async fn read_on<L: Link>(&mut self, wire: &mut Wire<L>) -> String {
        loop {
            let (name, last) = (&self.inner.common.names.news, &self.last);
            let words: [&[u8]; 8] = [
                b"XREAD", b"COUNT", AT_ONCE, b"BLOCK", BLOCK, b"STREAMS", name, last,
            ];
            let reply = match self.say(wire, &words).await {
                Ok(reply) => reply,
                Err(trouble) => return trouble,
            };
            if let Reply::List(streams) = &reply {
                for entry in streams
                    .iter()
                    .filter_map(|it| it.list()?.get(1)?.list())
                    .flatten()
                {
                    if self.inner.common.is_retired.get() {
                        return String::new();
                    }
                    if !self.take(entry).await {
                        return "an announced entry is to be fetched once more".to_owned();
                    }
                }
            }
            if self.inner.common.is_retired.get() {
                return String::new();
            }
            self.inner.common.host.breathe().await;
        }
    }

    async fn say<L: Link>(&self, wire: &mut Wire<L>, words: &[&[u8]]) -> Result<Reply, String> {
        let common = &self.inner.common;
        let until = common.host.now() + SILENCE_MAX;
        let late = async {
            common.host.sleep_until(until).await;
            Err("the server did not answer XREAD in time".to_owned())
        };
        let reply = wire.say(words).or(late).await?;
        let Some(text) = reply.error() else {
            return Ok(reply);
        };
        // Where the slot is on its way, its stream is where it was until it has moved.
        if let Some(to @ Redirect::Moved(..)) = redirect(text, wire.peer) {
            self.inner.follow(to, Way::Read);
        }
        Err(format!("the stream was refused: {}", said(text)))
    }

    /// Whether what was announced with `entry` needs no more work.
    async fn take(&mut self, entry: &Reply) -> bool {
        let inner = self.inner;
        let common = &inner.common;
        let id = entry.list().and_then(|it| it.first()?.bytes());
        let Some(news) = News::read(entry) else {
            common.note(Event::Unread);
            self.pass(id);
            return true;
        };
        debug_assert!(!news.id.is_empty());
        if news.origin == common.origin {
            self.pass(id);
            return true;
        }
        let missed = self.origins.hear(news.origin, news.number);
        common.counts.borrow_mut().note(Event::Missed, missed);
        let heeding = (self.heard)(news.text);
        let is_done = match heeding {
            None => true,
            Some(heeding) => heeding.await,
        };
        if !is_done {
            self.tries += 1;
            if self.tries < TRIES {
                return false; // N1
            }
        }
        common.note(if is_done { Event::Heard } else { Event::Missed });
        self.pass(id);
        true
    }

    /// The next announcement is the one behind `id`.
    fn pass(&mut self, id: Option<&[u8]>) {
        self.tries = 0;
        if let Some(id) = id {
            id.clone_into(&mut self.last);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::remote::resp::read;

    /// Goal: N2.
    #[test]
    fn gaps_are_counted_by_origin() {
        let mut origins = Origins::default();
        let steps = [
            (1, 5, 0),
            (1, 6, 0),
            (2, 0, 0),
            (1, 9, 2),
            (2, 1, 0),
            (1, 3, 0),
            (1, 4, 0),
        ];
        for (origin, number, missed) in steps {
            assert_eq!(origins.hear(origin, number), missed, "{origin} {number}");
        }
        for origin in 0..2 * ORIGINS_MAX as u64 {
            origins.hear(origin, 1);
        }
        assert!(origins.0.len() <= ORIGINS_MAX);
    }

    /// Goal: an announcement is read, anything else is not.
    #[test]
    fn announcements_are_read() {
        let entry = |fields: &str| read(format!("*2\r\n$3\r\n1-1\r\n{fields}").as_bytes()).unwrap();
        let good = "*6\r\n+o\r\n$2\r\n17\r\n+n\r\n$1\r\n3\r\n+d\r\n$3\r\na\0b\r\n";
        let entry_good = entry(good);
        let news = News::read(&entry_good).unwrap();
        assert_eq!(
            (news.id, news.origin, news.number),
            (b"1-1".as_slice(), 17, 3)
        );
        assert_eq!(news.text, b"a\0b");
        for bad in [
            "*0\r\n",
            "$-1\r\n",
            &good.replace("+d", "+x"),
            &good.replace("17", "-1"),
        ] {
            assert!(News::read(&entry(bad)).is_none(), "{bad}");
        }
        assert!(News::read(&Reply::Null).is_none());
    }
}
