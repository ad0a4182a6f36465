//! What is asked of the server: entries, purges, announcements.

use super::nodes::Way;
use super::{Found, HELD_MAX, Inner, NEWS_KEPT, NEWS_MAX, WRITE_MAX, Why};
use crate::base::time::Instant;
use crate::cache::remote::Key;
use crate::cache::remote::envelope::{self, Label};
use crate::cache::remote::generations::{ALL, Generations, Purge, VERSION};
use crate::cache::remote::resp::Reply;
use crate::host::Host;
use crate::stats::remote::{Get, Put};
use futures_lite::future::zip;
use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

impl<H: Host> Inner<H> {
    pub(super) async fn get(&self, way: Way, key: &Key, max: Duration) -> Result<Found, Get> {
        let until = self.common.host.now() + max;
        let names = &self.common.names;
        let (generations, entry) = (&names.generations, names.entry(key));
        let ask = |name, words| self.ask((way, name), words, until);
        let words: [&[u8]; 3] = [b"HGET", generations, VERSION];
        let get: [&[u8]; 2] = [b"GET", &entry];
        let (version, value) = zip(ask(generations, &words), ask(&entry, &get)).await;
        let value = value.map_err(Why::of_get)?;
        let version = version.map_err(Why::of_get)?.number();
        let known = self.generations.borrow().clone();
        let newest = known.filter(|known| Some(known.version()) == version);
        let Reply::Bytes(value) = value else {
            if newest.is_none() {
                // What comes of the request is stamped with them: else nobody would be given it.
                drop(self.renew(way, until).await);
            }
            return Err(Get::Miss);
        };
        let generations = match newest {
            Some(newest) => newest,
            None => self.renew(way, until).await?,
        };
        let (label, payload) = envelope::open(key, &value).map_err(|_| Get::Bad)?;
        if !generations.admits(key, &label.stamp) {
            return Err(Get::Purged);
        }
        let wall = self.common.wall_millis();
        let (age, left) = (label.age(wall), label.left(wall));
        if left.is_zero() {
            return Err(Get::Expired);
        }
        Ok(Found {
            payload,
            age,
            left,
            stamp: label.stamp,
        })
    }

    /// Reads the generations. Of those in a hurry one does; for the others it is not known whether
    /// what they found was purged.
    async fn renew(&self, way: Way, until: Instant) -> Result<Rc<Generations>, Get> {
        let _turn = match way {
            Way::Read => Some(Turn::take(&self.is_learning).ok_or(Get::Purged)?),
            Way::Write => None,
        };
        self.learn(way, until).await.map_err(Why::of_get)
    }

    /// Reads the generations; makes them where there are none.
    pub(super) async fn learn(&self, way: Way, until: Instant) -> Result<Rc<Generations>, Why> {
        let name = &self.common.names.generations;
        let all: [&[u8]; 2] = [b"HGETALL", name];
        let mut read = read_generations(&self.ask((way, name), &all, until).await?);
        if read.is_none() {
            self.make_generations(way, until).await?;
            read = read_generations(&self.ask((way, name), &all, until).await?);
        }
        let learnt = Rc::new(read.ok_or(Why::Refused)?);
        let is_new = self.generations.borrow().as_ref() != Some(&learnt);
        if is_new {
            *self.generations.borrow_mut() = Some(Rc::clone(&learnt));
            if let Some(learner) = self.learner.take() {
                learner.wake();
            }
        }
        Ok(learnt)
    }

    /// Where there are no generations they begin at the time: higher than what was lost.
    async fn make_generations(&self, way: Way, until: Instant) -> Result<(), Why> {
        let name = &self.common.names.generations;
        let now = self.common.host.wall_nanos().to_string();
        // The version comes last: who reads it can read the rest.
        for field in [ALL, VERSION] {
            let words: [&[u8]; 4] = [b"HSETNX", name, field, now.as_bytes()];
            self.ask((way, name), &words, until).await?;
        }
        Ok(())
    }

    pub(super) fn put(
        self: &Rc<Self>,
        key: &Key,
        payload: &[u8],
        (tags, ttl): (&[&[u8]], Duration),
        (before, news): (Option<&Generations>, Option<&[u8]>),
    ) -> Result<(), Put> {
        let name = self.common.names.entry(key);
        let line = self.route(&name, Way::Write);
        line.may_write().map_err(Why::of_put)?;
        let stamp = before.and_then(|before| before.stamp(key, tags));
        let ttl = u32::try_from(ttl.as_secs()).unwrap_or(u32::MAX);
        if ttl == 0 {
            return Err(Put::Unfit); // the server keeps whole seconds
        }
        let label = Label {
            made: self.common.wall_millis(),
            ttl,
            stamp: stamp.ok_or(Put::Unfit)?,
        };
        let sealed = envelope::seal(key, &label, payload).ok_or(Put::Unfit)?;
        let hold = Hold::take(self, sealed.len()).ok_or(Put::Full)?;
        let (seconds, news) = (label.ttl.to_string(), news.map(<[u8]>::to_vec));
        self.common.host.spawn(async move {
            let inner = &hold.0;
            let until = inner.common.host.now() + WRITE_MAX;
            let words: [&[u8]; 5] = [b"SET", &name, &sealed, b"EX", seconds.as_bytes()];
            let outcome = inner.ask((Way::Write, &name), &words, until).await;
            let what = outcome.map_or_else(Why::of_put, |_| Put::Done);
            inner.common.counts.borrow_mut().note_put(what);
            // Whoever hears of it finds it: on a cluster its node is not the stream's.
            if let Some(news) = news.filter(|_| what == Put::Done) {
                inner.announce(&news);
            }
        });
        Ok(())
    }

    pub(super) fn withdraw(self: &Rc<Self>, key: &Key, news: &[u8]) {
        let (inner, news) = (Rc::clone(self), news.to_vec());
        let name = self.common.names.entry(key);
        self.common.host.spawn(async move {
            let until = inner.common.host.now() + WRITE_MAX;
            let gone: [&[u8]; 2] = [b"DEL", &name];
            // Where that fails, those who hear the news know that it is no good.
            drop(inner.ask((Way::Write, &name), &gone, until).await);
            inner.announce(&news);
        });
    }

    pub(super) fn announce(self: &Rc<Self>, news: &[u8]) {
        if let Err(what) = self.try_announce(news) {
            self.common.counts.borrow_mut().note_told(what);
        }
    }

    fn try_announce(self: &Rc<Self>, news: &[u8]) -> Result<(), Put> {
        if news.len() > NEWS_MAX {
            return Err(Put::Unfit);
        }
        // Also one that is not sent has a number, so that who listens knows what it missed.
        let number = self.told.get();
        self.told.set(number + 1);
        let line = self.route(&self.common.names.news, Way::Write);
        line.may_write().map_err(Why::of_put)?;
        let hold = Hold::take(self, news.len()).ok_or(Put::Full)?;
        let news = news.to_vec();
        self.common.host.spawn(async move {
            let inner = &hold.0;
            let until = inner.common.host.now() + WRITE_MAX;
            let name = &inner.common.names.news;
            let origin = inner.common.origin.to_string();
            let number = number.to_string();
            let words: [&[u8]; 12] = [
                b"XADD",
                name,
                b"MAXLEN",
                b"~",
                NEWS_KEPT.as_bytes(),
                b"*",
                b"o",
                origin.as_bytes(),
                b"n",
                number.as_bytes(),
                b"d",
                &news,
            ];
            let outcome = inner.ask((Way::Write, name), &words, until).await;
            let what = outcome.map_or_else(Why::of_put, |_| Put::Done);
            inner.common.counts.borrow_mut().note_told(what);
        });
        Ok(())
    }

    pub(super) async fn purge(&self, what: Purge<'_>) -> Result<(), Why> {
        let until = self.common.host.now() + WRITE_MAX;
        let name = &self.common.names.generations;
        let known = self.learn(Way::Write, until).await?;
        let ask = |words| self.ask((Way::Write, name), words, until);
        if known.is_full(what) {
            // What begins anew is higher than everything before.
            let gone: [&[u8]; 2] = [b"DEL", name];
            ask(&gone).await?;
            self.make_generations(Way::Write, until).await?;
        } else {
            let field = what.field();
            let count: [&[u8]; 4] = [b"HINCRBY", name, &field, b"1"];
            let version: [&[u8]; 4] = [b"HINCRBY", name, VERSION, b"1"];
            // The version comes last: who sees it sees what it counts.
            ask(&count).await?;
            ask(&version).await?;
        }
        if let Purge::Key(key) = what {
            let entry = self.common.names.entry(key);
            let gone: [&[u8]; 2] = [b"DEL", &entry];
            self.ask((Way::Write, &entry), &gone, until).await?;
        }
        self.learn(Way::Write, until).await.map(drop)
    }
}

/// The only look-up that reads the generations, until this is dropped.
struct Turn<'a>(&'a Cell<bool>);

impl<'a> Turn<'a> {
    fn take(is_taken: &'a Cell<bool>) -> Option<Self> {
        (!is_taken.replace(true)).then_some(Self(is_taken))
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.set(false);
    }
}

/// Bytes that are on their way, counted until this is dropped.
struct Hold<H: Host>(Rc<Inner<H>>, usize);

impl<H: Host> Hold<H> {
    /// `None`: there is no room (T4).
    fn take(inner: &Rc<Inner<H>>, bytes: usize) -> Option<Self> {
        let held = inner.held.get() + bytes;
        (held <= HELD_MAX).then(|| {
            inner.held.set(held);
            Self(Rc::clone(inner), bytes)
        })
    }
}

impl<H: Host> Drop for Hold<H> {
    fn drop(&mut self) {
        self.0.held.set(self.0.held.get().saturating_sub(self.1));
    }
}

fn read_generations(reply: &Reply) -> Option<Generations> {
    let fields = reply.list()?.chunks_exact(2);
    let pairs = fields.filter_map(|pair| match pair {
        [field, count] => Some((field.bytes()?, count.number()?)),
        _ => None,
    });
    Generations::read(pairs)
}
