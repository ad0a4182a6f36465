//! Learns the entries that other boxes announce, so that they are found by meaning here, too.
//!
//! ```text
//!   another box: stored ─ SET entry ─ XADD news { key, made, until }
//!                                         │            the stream, from its oldest on
//!   here, every shard: ◄── XREAD ─────────┘
//!     stored  ─ this shard is its home? not here yet? ─ GET entry ─► unpack ─► Entry ─► index
//!                                                                        └ Meaning of its text
//!     demoted ─ marked, and known until it ends
//! ```
//!
//! An announcement says only which entry, and its home here fetches it at once, answer and all.
//! The other way was to announce what entries are found by, and to fetch the answer when one is
//! hit. Chosen for these reasons: a hit waits for nobody, so it costs what every hit does, and a
//! slow server makes none late; what is judged at a hit (guard, audits, demotion, purges, its end,
//! the eviction that bounds memory) is judged in one place; and the stream, which is read again
//! from its beginning by each box that starts, carries nothing of a prompt. It costs each box the
//! bytes of what the others store: one value at a time, on the connection that no look-up waits
//! behind, and in the small queue of the index, a tenth of the memory where it is full.
//!
//! Each shard listens, rather than one for all: so none depends on another, and what it takes in
//! is its own to keep. It begins when control has heeded what was purged before ([`join`]), and
//! waits where a fetch meets purges that control has not heeded yet: so what is taken in is good
//! until it is purged anew, and is not forgotten for a purge that was before it.
//!
//! Invariants
//! - R1 What is learnt is given as an entry that was stored here: nothing but its way is another.
//! - R2 An entry is not taken in that was purged, was demoted, is over, or is not for a model that
//!   is compared by meaning here; what becomes of each announcement is counted.
//! - R3 No request waits for anything of this.

use super::keep::{Meant, Question};
use super::packed::unpack;
use super::shared::{self, millis, wall};
use crate::cache::meaning::Meaning;
use crate::cache::news::{Kind, News, is_of};
use crate::config::Config;
use crate::config::cache::Mode;
use crate::host::Host;
use crate::shard::Shard;
use crate::shard::remote::news::{Heeding, listen};
use crate::shard::remote::{self, Remote};
use crate::stats::cached::Lost;
use crate::stats::remote::{Get, Learnt};
use futures_lite::FutureExt;
use std::panic::AssertUnwindSafe;
use std::rc::{Rc, Weak};
use std::time::Duration;

/// How much longer than one that is here an announced entry must live to be fetched, in
/// milliseconds: ends are rounded to seconds on their way.
const LONGER: u64 = 2000;

/// The box has heeded what was purged up to this version of the generations: the shard listens from
/// here on, where it has a use for that.
pub fn join<H: Host>(shard: &Rc<Shard<H>>, version: i64) {
    if let Some(remote) = shard.remote() {
        remote.heed(version);
    }
    hear(shard);
}

/// Listens, where that is allowed, is of use, and is not done yet.
pub fn hear<H: Host>(shard: &Rc<Shard<H>>) {
    let snapshot = shard.snapshot();
    let mut models = snapshot.config.models.iter();
    let is_wanted = models.any(|model| model.cache.mode == Mode::Semantic);
    let Some(remote) = shard.remote().filter(|_| is_wanted) else {
        return;
    };
    if !remote.begins_to_listen() {
        return;
    }
    // Both end although somebody listens.
    let (ours, from) = (Rc::downgrade(shard), Rc::downgrade(&remote));
    let mine = Weak::clone(&ours);
    let heard = move |text: &[u8]| heed(&mine.upgrade()?, &from, text);
    let listening = Box::pin(listen(&remote, Box::new(heard)));
    shard.host.spawn(async move {
        let ended = AssertUnwindSafe(listening).catch_unwind().await;
        if let (Err(_), Some(shard)) = (ended, ours.upgrade()) {
            shard.counters.borrow_mut().panics += 1;
        }
    });
}

fn count<H: Host>(shard: &Shard<H>, what: Learnt) {
    let mut counters = shard.counters.borrow_mut();
    counters.remote.counts.note_learnt(what);
}

/// Heeds an announcement.
fn heed<H: Host>(shard: &Rc<Shard<H>>, from: &Weak<Remote<H>>, text: &[u8]) -> Option<Heeding> {
    let Some(news) = News::read(text) else {
        count(shard, Learnt::Bad);
        return None;
    };
    if news.kind == Kind::Demoted {
        demote(shard, news);
        return None;
    }
    if news.key.home(shard.shards) != shard.index {
        return None; // another shard's
    }
    match known(shard, news) {
        Some(what) => {
            count(shard, what);
            None
        }
        None => Some(Box::pin(fetch(Rc::clone(shard), Weak::clone(from), news))),
    }
}

/// What is to be said of an announced entry that need not be fetched.
fn known<H: Host>(shard: &Shard<H>, news: News) -> Option<Learnt> {
    let (now, wall) = (shard.host.now(), wall(shard));
    let cache = shard.cache.borrow();
    if news.until <= wall {
        return Some(Learnt::Gone);
    }
    if cache.demoted.has(&news.key, news.made) {
        return Some(Learnt::Demoted);
    }
    let entry = cache.index.peek(&news.key, now)?;
    let meaning = entry.payload.meaning.as_ref();
    let left = meaning
        .filter(|it| !it.is_demoted())
        .map(|_| entry.left(now))?;
    let end = wall.saturating_add(millis(left));
    (end.saturating_add(LONGER) >= news.until).then_some(Learnt::Known)
}

/// An audit of another shard or box found an entry wrong.
fn demote<H: Host>(shard: &Shard<H>, news: News) {
    let (now, wall) = (shard.host.now(), wall(shard));
    let mut cache = shard.cache.borrow_mut();
    let times = (news.made, news.until);
    cache.demoted.note(news.key, times, wall);
    let entry = cache.index.peek(&news.key, now);
    let entry = entry.filter(|it| is_of(wall.saturating_sub(millis(it.age(now))), news.made));
    let meaning = entry.and_then(|entry| entry.payload.meaning.as_ref());
    let mut counters = shard.counters.borrow_mut();
    if meaning.is_some_and(|meaning| meaning.demote()) {
        counters.cached.lose(Lost::Demoted, 1);
        counters.remote.counts.note_learnt(Learnt::Demoted);
    }
}

/// Fetches an entry; whether that is over.
async fn fetch<H: Host>(shard: Rc<Shard<H>>, from: Weak<Remote<H>>, news: News) -> bool {
    let Some(remote) = from.upgrade() else {
        return true;
    };
    let (heeded, born) = (remote.heeded(), shard.cache.borrow().index.generation());
    let fetched = remote.fetch(news.key.bytes()).await;
    let version = remote.generations().map(|known| known.version());
    let what = match fetched {
        Ok(_) if version != heeded => return false, // until control has heeded it
        Ok(found) => take_in(&shard, (news, born), &found),
        Err(Get::Miss | Get::Purged | Get::Expired) => Learnt::Gone,
        Err(Get::Bad) => Learnt::Bad,
        Err(_) => return false, // the server's trouble: once more
    };
    count(&shard, what);
    shard.mail.ring();
    true
}

/// Takes in what was fetched (R2).
fn take_in<H: Host>(shard: &Shard<H>, (news, born): (News, u64), found: &remote::Found) -> Learnt {
    if let Some(what) = known(shard, news) {
        return what; // it came otherwise
    }
    let Some((stored, question)) = unpack(&found.payload) else {
        return Learnt::Bad;
    };
    let config = &shard.snapshot().config;
    let place = place(config, &stored.model);
    let is_ours = place.is_some_and(|place| stored.step(config, place).is_some());
    let Some(question) = question.filter(|_| is_ours) else {
        return Learnt::Foreign;
    };
    let Some(meant) = meant(shard, question, found) else {
        return Learnt::Foreign;
    };
    let entry = shared::entry(shard, (news.key, born), found, (stored, Some(meant)));
    let Some(entry) = entry else {
        return Learnt::Full;
    };
    if entry.payload.meaning.is_none() {
        return Learnt::Demoted;
    }
    let now = shard.host.now();
    match shard.cache.borrow_mut().take_in(&entry, now) {
        Ok(()) => Learnt::Learnt,
        Err(_) => Learnt::Gone,
    }
}

/// The model of that name, if it is compared by meaning here.
fn place(config: &Config, name: &str) -> Option<usize> {
    let mut models = config.models.iter();
    models.position(|it| *it.name == *name && it.cache.mode == Mode::Semantic)
}

/// What `question` means by this box's tables. How long its answer was to live says which words of
/// time do no harm; that is what it lives for, without what spreads ends.
fn meant<H: Host>(shard: &Shard<H>, question: Question, found: &remote::Found) -> Option<Meant> {
    let life: Duration = found.age.saturating_add(found.left) * 10 / 11;
    let scratch = &mut shard.cache.borrow_mut().partitions.scratch;
    let meaning = Meaning::of(&question.text, life, scratch)?;
    Some(Meant::new((question, meaning)))
}
