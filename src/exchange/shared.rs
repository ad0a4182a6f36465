//! What boxes share of stored answers: the way there and back.
//!
//! ```text
//!   lead, nothing here ─ look ─► envelope ─ unpack ─► Entry ─► index, other shards ─► hit
//!         │ nothing there, or not in time
//!         └─► attempts ─► stored here ─ put ─► there, stamped with the generations from before
//!                                        └─ found by meaning: announced ─► [`super::heard`]
//!   audit: wrong ─► taken from there, and announced
//! ```
//!
//! Only who leads looks, once a request: who follows waits for it as for any leader, and finds
//! the entry in the index then.
//!
//! Invariants
//! - S1 Without a shared tier nothing of this runs.
//! - S2 A request never fails for what the tier does, and waits for it once, for its deadline.
//! - S3 An answer is put with the generations that were known before it was asked for: one that
//!   was purged meanwhile, by whomever, is served by nobody.
//! - S4 A copy is given here as any entry: as old as it is, no longer than it may live, and not
//!   after a purge that was heard of here since the request began; and found by meaning as the
//!   request for it would be, unless it is known as demoted.
//! - S5 What an audit found wrong is on the server no more, as far as that can be reached; every
//!   box that hears of it finds it by its own key alone.

use super::keep::{Meant, Print, Question};
use super::packed::{pack, unpack};
use super::settle::Settle;
use super::stored::Stored;
use crate::cache::entry::{Entry, Making, Tag};
use crate::cache::key::Key;
use crate::cache::news::{Kind, LEN, News};
use crate::cache::remote::generations::{Generations, Stamp};
use crate::host::Host;
use crate::shard::cache::{Cache, Found};
use crate::shard::remote::Remote;
use crate::shard::snapshot::Served;
use crate::shard::{self, Shard};
use crate::stats::cached::{Looked, Tier};
use crate::stats::remote::Get;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// Where an answer is stored beside this box.
#[derive(Debug)]
pub struct Shared<H: Host> {
    remote: Rc<Remote<H>>,
    /// As they were before the answer was asked for (S3).
    before: Option<Rc<Generations>>,
}

/// Whether the answer to `print` is stored in the index now, as another box has it: `tier`, from
/// which answers came until now, says so, too. If not, what comes for `settle` is put there.
/// `born` are the purges that were known when the request began.
pub async fn look<H: Host>(
    served: Served<'_, H>,
    settle: &mut Settle<H>,
    about: (&Print, u64),
    tier: &mut Tier,
) -> bool {
    if *tier == Tier::Remote {
        return false; // what was there could not be told
    }
    let Some(remote) = served.0.remote() else {
        return false;
    };
    // Not a part of every connection's task.
    let is_here = Box::pin(look_at(remote, served, settle, about)).await;
    if is_here {
        *tier = Tier::Remote;
    }
    is_here
}

/// Counts an answer that was stored, and in which tier it was.
pub fn note_hit<H: Host>(shard: &Shard<H>, tier: Tier) {
    let mut counters = shard.counters.borrow_mut();
    counters.cached.look(tier, Looked::Hit);
    if tier != Tier::Exact {
        counters.cached.look(Tier::Exact, Looked::Miss);
    }
}

async fn look_at<H: Host>(
    remote: Rc<Remote<H>>,
    served: Served<'_, H>,
    settle: &mut Settle<H>,
    (print, born): (&Print, u64),
) -> bool {
    let shard = served.0;
    if print.directive.may_look() {
        let came = match remote.look(print.key.bytes()).await {
            Ok(found) => copy(served, settle, (print, born), &found),
            Err(Get::Miss | Get::Purged | Get::Expired) => Err(Looked::Miss),
            Err(_) => Err(Looked::Error),
        };
        match came {
            Ok(()) => {
                shard.mail.ring();
                return true;
            }
            Err(came) => shard.counters.borrow_mut().cached.look(Tier::Remote, came),
        }
    }
    if let Some(cached) = &settle.cached {
        let before = remote.generations();
        cached.flight.set_shared(Shared { remote, before });
    }
    false
}

/// Puts what was found into the index (S4).
fn copy<H: Host>(
    (shard, snapshot): Served<'_, H>,
    settle: &Settle<H>,
    (print, born): (&Print, u64),
    found: &shard::remote::Found,
) -> Result<(), Looked> {
    let (stored, _) = unpack(&found.payload).ok_or(Looked::Error)?;
    let asked = settle.receipt.model().unwrap_or_default();
    let is_ours = stored.step(&snapshot.config, asked).is_some();
    if !is_ours || !print.directive.takes(found.age, found.left) {
        return Err(Looked::Miss);
    }
    let meant = print.meant.clone();
    let entry = entry(shard, (print.key, born), found, (stored, meant)).ok_or(Looked::Error)?;
    let now = shard.host.now();
    let kept = shard.cache.borrow_mut().store(&entry, now);
    kept.map_err(|_| Looked::Error) // no room, or purged meanwhile
}

/// The entry under `key` of what another box stored; `born` are the purges that were known before
/// it was asked for. `None`: there is no room for it, or it is not of ours, or no answer.
pub fn entry<H: Host>(
    shard: &Shard<H>,
    (key, born): (Key, u64),
    found: &shard::remote::Found,
    (mut stored, meant): (Stored, Option<Meant>),
) -> Option<Found> {
    if !stored.is_answer() {
        return None;
    }
    let mut cache = shard.cache.borrow_mut();
    let made = wall(shard).saturating_sub(millis(found.age));
    let meant = meant.filter(|_| !cache.demoted.has(&key, made));
    let partition = meant.as_ref().map(|it| it.partition);
    stored.meaning = meant.map(|it| it.meaning);
    let payload = stored.bytes();
    let making = Making {
        key,
        partition,
        tags: tags(&found.stamp)?,
        made: shard.host.now(),
        ttl: found.left,
        born,
        payload,
        beside: partition.map_or(0, |it| cache.partitions.beside(&it)),
    };
    let account = Arc::clone(&cache.account);
    cache.index.make_room(&making);
    Entry::copy(&account, shard.shards, (making, found.age), stored)
}

/// The tags of who made it: purges of them are purges of the copy, whoever asked for it here.
/// `None`: they are not of ours.
fn tags(stamp: &Stamp) -> Option<Box<[Tag]>> {
    let tag = |(tag, _): &(Vec<u8>, i64)| tag.as_slice().try_into().ok().map(Tag::from_bytes);
    stamp.tags.iter().map(tag).collect()
}

/// Puts an answer that was stored here there, too, in the background; where it is the answer to a
/// `question` that it is found by, the other boxes hear of it.
pub fn put<H: Host>(
    shard: &Shard<H>,
    to: Option<&Shared<H>>,
    entry: &Found,
    question: Option<&Question>,
) {
    let Some(Shared { remote, before }) = to else {
        return;
    };
    let Some(packed) = pack(&entry.payload, question) else {
        return; // an entry of 4 GiB was not stored here, either
    };
    let names: Vec<_> = entry.tags().iter().map(|tag| tag.bytes()).collect();
    let names: Vec<&[u8]> = names.iter().map(<[u8; 8]>::as_slice).collect();
    let about = (&*names, entry.left(shard.host.now()));
    let news = question.map(|_| news(shard, Kind::Stored, entry).pack());
    let then = (before.as_deref(), news.as_ref().map(<[u8; LEN]>::as_slice));
    remote.put_and_tell(entry.key().bytes(), &packed, about, then);
}

/// An audit found that `entry` is wrong (S5).
pub fn demote<H: Host>(shard: &Shard<H>, cache: &mut Cache, entry: &Found) {
    let news = news(shard, Kind::Demoted, entry);
    let times = (news.made, news.until);
    cache.demoted.note(news.key, times, wall(shard));
    if let Some(remote) = shard.remote() {
        remote.withdraw(entry.key().bytes(), &news.pack());
    }
}

fn news<H: Host>(shard: &Shard<H>, kind: Kind, entry: &Found) -> News {
    let (now, wall) = (shard.host.now(), wall(shard));
    News {
        kind,
        key: *entry.key(),
        made: wall.saturating_sub(millis(entry.age(now))),
        until: wall.saturating_add(millis(entry.left(now))),
    }
}

/// Milliseconds since 1970.
pub fn wall<H: Host>(shard: &Shard<H>) -> u64 {
    shard.host.wall_nanos() / 1_000_000
}

/// Whole milliseconds.
pub fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
