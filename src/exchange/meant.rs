//! Finds a stored answer by what the request's last text means, and audits what it finds.
//!
//! ```text
//!   no entry under the key ─► Meaning ─► nearest eight of the partition ─► alike? ─► the surest
//!                              └ its vector asked of a provider ([`super::vectors`]), where one is named
//!                                                                              │
//!                       shadow: counted, no more ◄─────────────────────────────┤
//!                       by lot: asked upstream ─► agree? ─no─► demoted, ledger ┤
//!                       else: told, with how sure that is ◄────────────────────┘
//! ```
//!
//! Invariants
//! - A1 What is found this way was asked by the same tenant, for the same model, with everything
//!   but the last text the same: no other partition is ever searched.
//! - A2 Whatever is in doubt is a miss, and the request goes on as if nothing had been found.
//! - A3 Of the text stays what the guard needs, its words in lower case, as long as the entry, and
//!   on the server that boxes share, the text ([`super::packed`]); it is never shown.

use super::audits;
use super::course::Course;
use super::down::Down;
use super::flight::Coming;
use super::keep::{Meant, Print, Question, Told, unframed};
use super::reply::Manner;
use super::settle::Settle;
use super::stored::Stored;
use super::vectors::Embedder;
use super::{relay, shared, vectors};
use crate::base::fault::Kind;
use crate::base::time::Instant;
use crate::cache::admit::bypass_near;
use crate::cache::agree::agree;
use crate::cache::directive::Directive;
use crate::cache::entry::Tag;
use crate::cache::fingerprint::{Near, Unlike};
use crate::cache::index::Index;
use crate::cache::key::Key;
use crate::cache::meaning::{self, Meaning, Partitions};
use crate::cache::near::Search;
use crate::config::Config;
use crate::config::cache::{Caching, Threshold};
use crate::dialect::events::Wire;
use crate::dialect::model::{Block, Dialect};
use crate::dialect::whole;
use crate::host::Host;
use crate::policy::plan::Step;
use crate::shard::Shard;
use crate::shard::cache::{Cache, Found};
use crate::shard::snapshot::Served;
use crate::stats::cached::{Audited, Bypass, Looked, Lost, Tier};
use std::fmt;
use std::rc::Rc;

/// Where a request of the same meaning would be, and the text to compare.
pub struct Likeness(Result<Question, Unlike>);

impl fmt::Debug for Likeness {
    /// Nothing of a prompt is ever shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Likeness").finish_non_exhaustive()
    }
}

impl Likeness {
    /// Of what a request's print says.
    pub fn of(near: Result<Near<'_>, Unlike>) -> Self {
        Self(near.map(|near| Question {
            partition: near.partition,
            text: near.text.into(),
            placed: None,
        }))
    }
}

/// What a search by meaning came to.
#[derive(Debug)]
pub enum Came {
    /// Nothing that may be told.
    Nothing,
    /// This may be told; [`told`] is to hear whether it was.
    Hit(Found, Told),
    /// This might have been, and is to be compared with a new answer.
    Audit(Found),
}

/// Looks for a stored answer by what the request of `print` means, where it may; what comes of the
/// request is found by it then, too. It is counted, but for [`Came::Hit`].
///
/// # Errors
/// [`Kind::ClientGone`], where a provider is asked for the vector.
pub async fn find<H: Host>(
    served: Served<'_, H>,
    (caching, manner): (&Caching, Manner),
    (down, settle): (&mut Down<H::Stream>, &Settle<H>),
    about: (&mut Print, Likeness),
) -> Result<Came, Kind> {
    let Some(embedder) = Embedder::of(caching) else {
        return Ok(look(served, caching, settle, about).await);
    };
    let course = Course::new(served, down, settle.receipt.began, manner);
    let within = (caching, course.ok_or(Kind::Internal)?.total);
    // Not a part of every connection's task.
    Box::pin(ask(served, embedder, (down, settle), about, within)).await
}

/// By the table that is compiled in.
async fn look<H: Host>(
    served: Served<'_, H>,
    caching: &Caching,
    settle: &Settle<H>,
    (print, likeness): (&mut Print, Likeness),
) -> Came {
    match read(served.0, caching, print, likeness) {
        Ok(read) => print.meant = Some(Meant::new(read)),
        Err(why) => return bypass(served.0, why),
    }
    search(served, caching, settle, print).await
}

/// By the vector that a provider is asked for, and waited for until `total` at most. Without it
/// nothing is found, and what comes of the request is not found by meaning.
async fn ask<H: Host>(
    served: Served<'_, H>,
    embedder: Embedder<'_>,
    (down, settle): (&mut Down<H::Stream>, &Settle<H>),
    (print, likeness): (&mut Print, Likeness),
    (caching, total): (&Caching, Instant),
) -> Result<Came, Kind> {
    let (shard, snapshot) = served;
    let (mut question, meaning) = match read(shard, caching, print, likeness) {
        Ok(read) => read,
        Err(why) => return Ok(bypass(shard, why)),
    };
    let tenant = tenant(&snapshot.config, settle);
    let is_off = shard.cache.borrow().ledger.is_off(tenant, shard.host.now());
    if is_off {
        return Ok(bypass(shard, Bypass::Audit));
    }
    let placed = vectors::vector(served, down, embedder, &question.text, total).await?;
    question.placed = placed;
    if question.placed.is_none() {
        if print.directive.may_look() {
            return Ok(count(shard, Looked::Miss));
        }
        return Ok(bypass(shard, Bypass::Directive));
    }
    print.meant = Some(Meant::new((question, meaning)));
    Ok(search(served, caching, settle, print).await)
}

/// Looks for what is `print`'s.
async fn search<H: Host>(
    (shard, snapshot): Served<'_, H>,
    caching: &Caching,
    settle: &Settle<H>,
    print: &Print,
) -> Came {
    let directive = &print.directive;
    if !directive.may_look() {
        return bypass(shard, Bypass::Directive);
    }
    let tenant = tenant(&snapshot.config, settle);
    if shard.cache.borrow().ledger.is_off(tenant, shard.host.now()) {
        return bypass(shard, Bypass::Audit);
    }
    let Some(meant) = &print.meant else {
        return count(shard, Looked::Miss);
    };
    let sought = seek(shard, meant).await;
    let now = shard.host.now();
    let mut cache = shard.cache.borrow_mut();
    cache.heed_gone(now);
    let Cache {
        index, partitions, ..
    } = &mut *cache;
    let threshold = caching.semantic.threshold;
    let about = (meant, directive);
    let best = surest(index, (partitions, sought), about, threshold, now);
    let Some((sure, key)) = best else {
        return count(shard, Looked::Miss);
    };
    if caching.semantic.shadow {
        return count(shard, Looked::Shadow);
    }
    let Some(entry) = index.get(&key, now).cloned() else {
        return count(shard, Looked::Miss);
    };
    let is_drawn = (shard.random() >> 32) % 100 < u64::from(caching.semantic.audit_percent);
    if is_drawn && !directive.only_if_cached {
        count(shard, Looked::Shadow);
        return Came::Audit(entry);
    }
    let told = Told {
        age: entry.age(now),
        similarity: Some(sure),
    };
    Came::Hit(entry, told)
}

/// Searches a partition that is too large for that to be done at once: others have their turn
/// between. `None`: it is small.
async fn seek<H: Host>(shard: &Rc<Shard<H>>, meant: &Meant) -> Option<Box<Search>> {
    let Meant {
        partition, meaning, ..
    } = meant;
    let begun = shard
        .cache
        .borrow_mut()
        .partitions
        .begin(partition, meaning);
    let mut search = begun?;
    while !shard
        .cache
        .borrow()
        .partitions
        .go_on(partition, &mut search)
    {
        shard.host.breathe().await;
    }
    Some(search)
}

/// The entry of whose answer it is surest that it answers what is `meant`, and how sure.
fn surest(
    index: &Index<Stored>,
    (partitions, sought): (&mut Partitions, Option<Box<Search>>),
    (meant, directive): (&Meant, &Directive),
    threshold: Threshold,
    now: Instant,
) -> Option<(f32, Key)> {
    let Meant {
        partition, meaning, ..
    } = meant;
    let mut demoted = Vec::new();
    let nearest = match sought {
        Some(search) => partitions.end(partition, search),
        None => partitions.nearest(partition, meaning),
    };
    let others = nearest.iter().filter_map(|found| {
        let entry = index.peek(&found.key, now)?;
        let theirs = entry.payload.meaning.as_deref()?;
        if entry.partition() != Some(partition) {
            return None;
        }
        if theirs.is_demoted() {
            demoted.push(found.key);
            return None;
        }
        let takes = directive.takes(entry.age(now), entry.left(now));
        takes.then_some((found.key, theirs))
    });
    let best = meaning::surest(meaning, others, threshold);
    for key in demoted {
        partitions.remove(partition, &key);
    }
    best
}

/// What was found was told to the client, or could not be.
pub fn told<H: Host>(shard: &Rc<Shard<H>>, is_told: bool) {
    count(shard, if is_told { Looked::Hit } else { Looked::Miss });
}

fn count<H: Host>(shard: &Rc<Shard<H>>, came: Looked) -> Came {
    let mut counters = shard.counters.borrow_mut();
    counters.cached.look(Tier::Semantic, came);
    Came::Nothing
}

fn bypass<H: Host>(shard: &Rc<Shard<H>>, why: Bypass) -> Came {
    shard
        .counters
        .borrow_mut()
        .cached
        .bypass(Tier::Semantic, why);
    Came::Nothing
}

/// What the request means, by the built-in embedder.
fn read<H: Host>(
    shard: &Rc<Shard<H>>,
    caching: &Caching,
    print: &Print,
    likeness: Likeness,
) -> Result<(Question, Meaning), Bypass> {
    let question = likeness.0?;
    if print.directive.no_store {
        return Err(Bypass::Directive);
    }
    if let Some(why) = bypass_near(caching, print.temperature) {
        return Err(why);
    }
    let ttl = print.directive.ttl(caching.ttl);
    let scratch = &mut shard.cache.borrow_mut().partitions.scratch;
    let meaning = Meaning::of(&question.text, ttl, scratch).ok_or(Bypass::Text)?;
    Ok((question, meaning))
}

/// Whose answers are audited together: those of a client key.
fn tenant<H: Host>(config: &Config, settle: &Settle<H>) -> Tag {
    let key = settle.receipt.key().and_then(|at| config.keys.get(at));
    key.map_or_else(|| Tag::of("open", ""), |key| Tag::of("client", &key.name))
}

/// Compares `entry` with what was answered instead of it. An error says nothing of it.
pub fn audit<H: Host>(
    course: &Course<'_, H>,
    settle: &Settle<H>,
    entry: &Found,
    (step, coming): (&Step<'_>, &Rc<Coming<H>>),
) {
    let (shard, stored) = (course.shard, &entry.payload);
    let body = coming.tape.with_reel(|reel| unframed(reel, &coming.head));
    let is_comparable = coming.head.status == 200 && step.fallback.is_none();
    let body = body.flatten().filter(|_| is_comparable);
    let new = body.and_then(|body| {
        let (dialect, wire) = (step.provider.dialect.speaks(), relay::wire(step.provider));
        text((dialect, wire), &body, coming.head.is_stream)
    });
    let old = text(
        (stored.dialect, stored.wire),
        &stored.body.bytes(),
        stored.is_stream,
    );
    let mut cache = shard.cache.borrow_mut();
    let scratch = &mut cache.partitions.scratch;
    let found = match new.zip(old) {
        None => Audited::Unknown,
        Some((new, old)) if agree(&new, &old, scratch) => Audited::Same,
        Some(_) => Audited::Other,
    };
    let mut counters = shard.counters.borrow_mut();
    let cached = &mut counters.cached;
    cached.audit(found);
    if found == Audited::Unknown {
        return;
    }
    let is_wrong = found == Audited::Other;
    if is_wrong && stored.meaning.as_ref().is_some_and(|it| it.demote()) {
        cached.lose(Lost::Demoted, 1);
        shared::demote(shard, &mut cache, entry);
    }
    drop((counters, cache));
    let config = &course.snapshot.config;
    let key = settle
        .receipt
        .key()
        .and_then(|index| config.keys.get(index));
    let name = key.map_or("-", |key| &key.name); // as in its line of the log
    audits::report(shard, (tenant(config, settle), name), is_wrong);
}

/// What an answer says; `None`: it is not whole, or not only a text.
fn text((dialect, wire): (Dialect, Wire), body: &[u8], is_stream: bool) -> Option<String> {
    let answer = if is_stream {
        whole::of_stream(dialect, wire, body)
    } else {
        whole::of_plain(dialect, body)
    };
    let mut said = String::new();
    for block in answer.ok()?.blocks {
        match block {
            Block::Text { text, .. } | Block::Refusal(text) => said.push_str(&text),
            Block::Thinking { .. } => {}
            _ => return None,
        }
    }
    Some(said)
}
