//! The indexes of several shards as one cache: what they give, keep and forget, whatever becomes
//! of their messages.

use proptest::prelude::*;
use shardgate::base::time::Instant;
use shardgate::cache::entry::{Account, Entry, Making, Tag};
use shardgate::cache::index::{Index, OFFER_WAIT, Unkept, share};
use shardgate::cache::key::Key;
use shardgate::cache::message::Message;
use shardgate::cache::purge::Purge;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// Numbers that look random and are always the same.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

/// Keys are spread evenly, as those of requests are.
fn key(number: u64) -> Key {
    let mut dice = Dice(number);
    let mut bytes = [0; Key::LEN];
    for word in bytes.chunks_mut(8) {
        word.copy_from_slice(&dice.roll().to_le_bytes());
    }
    Key::new(bytes)
}

/// Shards with their channels, and the time.
pub(crate) struct Gateway {
    account: Arc<Account>,
    pub(crate) shards: Vec<Index<u64>>,
    /// By teller, then by hearer.
    channels: BTreeMap<(usize, usize), VecDeque<Message<u64>>>,
    now: Instant,
    purges: u64,
}

const SECOND: Duration = Duration::from_secs(1);
const TTL: Duration = Duration::from_secs(100);

impl Gateway {
    pub(crate) fn new(shards: usize, memory: usize, entry: usize) -> Self {
        let part = share(memory, entry, shards);
        Self {
            account: Arc::new(Account::new(memory)),
            shards: (0..shards).map(|at| Index::new(at, shards, part)).collect(),
            channels: BTreeMap::new(),
            now: Instant::from_nanos(1),
            purges: 0,
        }
    }

    /// Of an entry under `number` that was asked for when `born` purges were known.
    fn making(&self, number: u64, size: usize, born: u64) -> Making {
        Making {
            key: key(number),
            partition: None,
            tags: Box::new([Tag::of("model", &(number % 3).to_string())]),
            made: self.now,
            ttl: TTL,
            born,
            payload: size,
            beside: 0,
        }
    }

    fn make(&self, number: u64, size: usize, born: u64) -> Option<Arc<Entry<u64>>> {
        let making = self.making(number, size, born);
        Entry::make(&self.account, self.shards.len(), making, number)
    }

    pub(crate) fn store(&mut self, at: usize, number: u64, size: usize) -> Result<(), Unkept> {
        let born = self.shards[at].generation();
        let making = self.making(number, size, born);
        self.shards[at].make_room(&making);
        let entry = Entry::make(&self.account, self.shards.len(), making, number);
        let entry = entry.ok_or(Unkept::TooLarge)?;
        self.now = self.now + Duration::from_nanos(1);
        self.shards[at].store(entry, self.now)
    }

    pub(crate) fn get(&mut self, at: usize, number: u64) -> Option<u64> {
        let found = self.shards[at].get(&key(number), self.now);
        found.map(|entry| entry.payload)
    }

    /// Puts what shards have to say into the channels.
    fn speak(&mut self) {
        for from in 0..self.shards.len() {
            for to in (0..self.shards.len()).filter(|to| *to != from) {
                while let Some(message) = self.shards[from].next(to) {
                    self.channels
                        .entry((from, to))
                        .or_default()
                        .push_back(message);
                }
            }
        }
    }

    /// Delivers everything, in order, until nobody has anything to say.
    pub(crate) fn settle(&mut self) {
        loop {
            self.speak();
            let mut is_quiet = true;
            for ((from, to), channel) in &mut self.channels {
                while let Some(message) = channel.pop_front() {
                    self.shards[*to].hear(*from, message, self.now);
                    is_quiet = false;
                }
            }
            if is_quiet {
                return;
            }
        }
    }

    pub(crate) fn tick(&mut self) {
        for shard in &mut self.shards {
            shard.tick(self.now);
        }
    }

    fn purge(&mut self, what: &Purge) {
        self.purges += 1;
        for shard in &mut self.shards {
            shard.purge(what, self.purges);
        }
    }

    /// X3.
    pub(crate) fn check_memory(&self) {
        assert!(self.account.used() <= self.account.max());
        let kept: usize = self.shards.iter().map(Index::bytes).sum();
        assert!(
            kept <= self.account.used(),
            "{kept} of {}",
            self.account.used()
        );
    }
}

/// Goal: an answer that one shard stored is given by all, under its key alone, until it is over.
#[test]
fn every_shard_gives_what_one_has_stored() {
    for shards in 1..=4 {
        let mut all = Gateway::new(shards, 1 << 20, 1 << 12);
        for number in 0..20 {
            let at = usize::try_from(number).unwrap() % shards;
            all.store(at, number, 100).unwrap();
            assert_eq!(all.get(at, number), Some(number), "at once");
        }
        all.settle();
        for at in 0..shards {
            for number in 0..20 {
                assert_eq!(all.get(at, number), Some(number), "{at} of {shards}");
            }
            assert_eq!(all.get(at, 20), None);
        }
        all.now = all.now + TTL * 2;
        all.tick();
        all.settle();
        assert!(all.shards.iter().all(|shard| shard.bytes() == 0));
        for at in 0..shards {
            for number in 0..20 {
                assert_eq!(all.get(at, number), None);
            }
        }
        assert_eq!(all.account.used(), 0, "of {shards}");
    }
}

/// Goal: a purge of everything, of a model and of a key takes just that, also what was asked for
/// before it and arrives later; what is asked for after it is stored again.
#[test]
fn a_purge_takes_what_was_asked_for_before_it() {
    let whats = [
        (Purge::All, BTreeSet::from([0, 1, 2, 3, 4, 5])),
        (Purge::Tag(Tag::of("model", "1")), BTreeSet::from([1, 4])),
        (Purge::Key(key(2)), BTreeSet::from([2])),
    ];
    for (what, gone) in whats {
        let mut all = Gateway::new(2, 1 << 20, 1 << 12);
        for number in 0..6 {
            all.store(0, number, 100).unwrap();
        }
        all.settle();
        let late = all.make(4, 100, all.shards[1].generation()).unwrap();
        all.purge(&what);
        for at in 0..2 {
            for number in 0..6 {
                assert_eq!(
                    all.get(at, number).is_none(),
                    gone.contains(&number),
                    "{what:?}"
                );
            }
        }
        let is_late = gone.contains(&4);
        let stored = all.shards[1].store(late, all.now);
        assert_eq!(stored.is_err(), is_late, "{what:?}");
        all.settle();
        assert_eq!(all.get(0, 4).is_none(), is_late);
        for number in 0..6 {
            all.store(1, number, 100).unwrap();
        }
        all.settle();
        assert!(
            (0..6).all(|number| all.get(0, number).is_some()),
            "{what:?}"
        );
    }
}

/// Goal: the newer answer of two stays, whoever made it, and what was told of the older one
/// changes nothing.
#[test]
fn the_newer_answer_stays() {
    let mut all = Gateway::new(2, 1 << 20, 1 << 12);
    let (one, two) = (all.make(7, 100, 0).unwrap(), {
        all.now = all.now + SECOND;
        all.make(7, 200, 0).unwrap()
    });
    let made = two.made();
    all.shards[0].store(Arc::clone(&two), all.now).unwrap();
    all.shards[1].store(one, all.now).unwrap();
    all.settle();
    drop(two);
    for at in 0..2 {
        let found = all.shards[at].peek(&key(7), all.now).unwrap();
        assert_eq!(found.made(), made);
    }
    let late = Entry::make(
        &all.account,
        2,
        Making {
            key: key(7),
            partition: None,
            tags: Box::new([]),
            made: Instant::from_nanos(1),
            ttl: TTL,
            born: 0,
            payload: 0,
            beside: 0,
        },
        0,
    );
    let home = key(7).home(2);
    let refused = all.shards[home].store(late.unwrap(), all.now);
    assert_eq!(refused, Err(Unkept::Older));
}

/// Goal: what its home never heard of is forgotten; what is too large is refused.
#[test]
fn what_no_home_keeps_is_forgotten() {
    let mut all = Gateway::new(2, 64 << 10, 1 << 10);
    let number = (0..99).find(|number| key(*number).home(2) == 1).unwrap();
    all.store(0, number, 100).unwrap();
    all.speak();
    all.channels.clear(); // lost
    assert!(all.get(0, number).is_some());
    all.now = all.now + OFFER_WAIT;
    all.tick();
    assert!(all.get(0, number).is_none());
    assert_eq!(all.account.used(), 0);
    assert_eq!(all.store(0, number, 40 << 10), Err(Unkept::TooLarge));
}

/// Goal: a hit that was counted far away keeps an entry. Method: one that the other shard asks
/// for, among many that nobody asks for.
#[test]
fn hits_elsewhere_keep_an_entry() {
    let mut all = Gateway::new(2, 128 << 10, 1 << 10);
    let mut of_home = (0..10_000).filter(|number| key(*number).home(2) == 0);
    let wanted = of_home.next().unwrap();
    all.store(0, wanted, 500).unwrap();
    all.settle();
    for number in of_home.by_ref().take(500) {
        for _ in 0..3 {
            all.get(1, wanted);
        }
        all.tick();
        all.settle();
        let _kept = all.store(0, number, 500);
        all.settle();
    }
    assert!(all.get(0, wanted).is_some() && all.get(1, wanted).is_some());
    assert!(all.shards[0].take_events().evicted > 300);
    all.check_memory();
}

/// What happens to a box.
#[derive(Clone, Debug)]
enum Step {
    Store(usize, u64, usize),
    Get(usize, u64),
    Wait(u64),
    Tick,
    Purge(u8),
    /// The message at this place of a channel is delivered, or lost, or told twice.
    Deliver(usize, usize, Fate),
    Resize(usize),
}

#[derive(Clone, Copy, Debug)]
enum Fate {
    Heard,
    Lost,
    Twice,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let fate = prop_oneof![
        6 => Just(Fate::Heard),
        1 => Just(Fate::Lost),
        1 => Just(Fate::Twice),
    ];
    let step = prop_oneof![
        6 => (0..4_usize, 0..24_u64, 0..6000_usize)
            .prop_map(|(at, number, size)| Step::Store(at, number, size)),
        8 => (0..4_usize, 0..24_u64).prop_map(|(at, n)| Step::Get(at, n)),
        2 => (1..40_u64).prop_map(Step::Wait),
        2 => Just(Step::Tick),
        1 => (0..6_u8).prop_map(Step::Purge),
        10 => (0..16_usize, 0..4_usize, fate)
            .prop_map(|(channel, at, fate)| Step::Deliver(channel, at, fate)),
        1 => (20..80_usize).prop_map(Step::Resize),
    ];
    proptest::collection::vec(step, 1..300)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Goal: X1, X2, X3 whatever becomes of messages. Method: shards whose messages are lost,
    /// doubled and heard in any order, beside a model that knows when each answer was asked for
    /// and made; in the end everything is delivered and all is given back.
    #[test]
    fn nothing_wrong_is_given_and_memory_is_bounded(shards in 1..=4_usize, steps in steps()) {
        let memory = 64 << 10;
        let mut all = Gateway::new(shards, memory, 8 << 10);
        // By number: the last purge that took it. By its place in time an answer is known.
        let mut taken: BTreeMap<u64, u64> = BTreeMap::new();
        for step in steps {
            match step {
                Step::Store(at, number, size) => {
                    let _kept = all.store(at % shards, number, size);
                }
                Step::Get(at, number) => {
                    let purged = taken.get(&number).copied().unwrap_or_default();
                    let now = all.now;
                    if let Some(entry) = all.shards[at % shards].get(&key(number), now) {
                        prop_assert_eq!(entry.key(), &key(number));
                        prop_assert_eq!(entry.payload, number);
                        prop_assert!(entry.age(now) < TTL + TTL / 10);
                        prop_assert!(entry.born() >= purged);
                    }
                }
                Step::Wait(seconds) => {
                    all.now = all.now + Duration::from_secs(seconds);
                }
                Step::Tick => {
                    all.tick();
                    all.speak();
                }
                Step::Purge(which) => {
                    let (what, of): (Purge, fn(u64) -> bool) = match which {
                        0 => (Purge::All, |_| true),
                        1 => (Purge::Key(key(5)), |number| number == 5),
                        2 => (Purge::Tag(Tag::of("model", "0")), |number| number % 3 == 0),
                        _ => (Purge::Tag(Tag::of("model", "1")), |number| number % 3 == 1),
                    };
                    all.purge(&what);
                    let purges = all.purges;
                    let gone = (0..24).filter(|number| of(*number));
                    taken.extend(gone.map(|number| (number, purges)));
                }
                Step::Deliver(channel, at, fate) => {
                    all.speak();
                    let (from, to) = (channel / 4 % shards, channel % shards);
                    let Some(channel) = all.channels.get_mut(&(from, to)) else { continue };
                    let Some(message) = channel.remove(at) else { continue };
                    match fate {
                        Fate::Lost => {}
                        Fate::Heard => all.shards[to].hear(from, message, all.now),
                        Fate::Twice => {
                            let again = match &message {
                                Message::Offer(entry) => Message::Offer(Arc::clone(entry)),
                                Message::Insert { entry, told } => Message::Insert {
                                    entry: Arc::clone(entry),
                                    told: *told,
                                },
                                Message::Drop { which, told } => Message::Drop {
                                    which: which.clone(),
                                    told: *told,
                                },
                                Message::Forget { told } => Message::Forget { told: *told },
                                Message::Hits(hits) => Message::Hits(hits.clone()),
                            };
                            all.shards[to].hear(from, message, all.now);
                            all.shards[to].hear(from, again, all.now);
                        }
                    }
                }
                Step::Resize(percent) => {
                    let part = share(memory * percent / 100, 8 << 10, shards);
                    all.shards.iter_mut().for_each(|shard| shard.resize(part));
                }
            }
            prop_assert!(all.account.used() <= memory);
        }
        all.check_memory();
        // All are over after a while: then nothing is given, and nothing is held but what a lost
        // message left behind, until it is asked for.
        all.now = all.now + TTL * 2;
        for _ in 0..4 {
            all.tick();
            all.settle();
        }
        for at in 0..shards {
            for number in 0..24 {
                prop_assert!(all.get(at, number).is_none());
            }
        }
        all.settle();
        prop_assert_eq!(all.account.used(), 0);
    }

    /// Goal: room is made for all that an entry takes, indexes included, and for no more: it can be
    /// made then, nothing goes when it is stored, and what is held is within the limit after each
    /// insert. For what is too large nothing goes. Method: entries of all sizes, with tags and what
    /// each shard holds beside, made by their homes.
    #[test]
    fn room_is_made_for_the_whole_entry(
        shards in 1..=4_usize,
        stores in proptest::collection::vec(
            (0..60_u64, 0..9000_usize, 0..6_usize, 0..700_usize),
            1..200,
        ),
    ) {
        let memory = 128 << 10;
        let part = share(memory, 8 << 10, shards);
        let mut all = Gateway::new(shards, memory, 8 << 10);
        for (number, size, tags, beside) in stores {
            let home = key(number).home(shards);
            let tag = |at: usize| Tag::of("tag", &at.to_string());
            let making = Making {
                tags: (0..tags).map(tag).collect(),
                beside,
                ..all.making(number, size, 0)
            };
            let apart = Arc::new(Account::new(usize::MAX));
            let bytes = Entry::make(&apart, shards, making.clone(), number).unwrap().bytes();
            let before = all.shards[home].bytes();
            all.shards[home].make_room(&making);
            let (left, events) = (all.shards[home].bytes(), all.shards[home].take_events());
            prop_assert!(bytes > part || left + bytes <= part, "room");
            prop_assert!(before + bytes > part && bytes <= part || left == before, "for no more");
            prop_assert_eq!(left == before, events.evicted == 0);
            all.settle();
            let entry = Entry::make(&all.account, shards, making, number).unwrap();
            prop_assert_eq!(entry.bytes(), bytes);
            all.now = all.now + Duration::from_nanos(1);
            let stored = all.shards[home].store(entry, all.now);
            prop_assert_eq!(stored.is_err(), bytes > part);
            prop_assert_eq!(all.shards[home].take_events().evicted, 0);
            prop_assert!(all.account.used() <= memory);
            prop_assert!(all.shards[home].bytes() <= part);
            all.settle();
        }
        all.check_memory();
    }

    /// Goal: with channels that lose nothing and keep their order, as those of the gateway do, all
    /// shards have the same in the end, whatever the pace.
    #[test]
    fn all_shards_come_to_have_the_same(
        shards in 2..=4_usize,
        stores in proptest::collection::vec((0..4_usize, 0..200_u64, 0..3000_usize), 1..300),
        pace in 1..30_usize,
    ) {
        let mut all = Gateway::new(shards, 128 << 10, 4 << 10);
        for (step, (at, number, size)) in stores.into_iter().enumerate() {
            let _kept = all.store(at % shards, number, size);
            if step % pace == 0 {
                all.settle();
            }
        }
        all.settle();
        let has = |shard: &Index<u64>| -> BTreeSet<u64> {
            let now = all.now;
            (0..200).filter(|number| shard.peek(&key(*number), now).is_some()).collect()
        };
        let first = has(&all.shards[0]);
        prop_assert!(!first.is_empty());
        for shard in &all.shards {
            prop_assert_eq!(has(shard), first.clone());
        }
        let kept: usize = all.shards.iter().map(Index::bytes).sum();
        prop_assert_eq!(all.account.used(), kept, "nothing is held that nobody keeps");
    }
}

/// Goal: X2 for drops: one that overtakes what it is about leaves nothing behind, and one that is
/// lost is made up for by the next message of its home.
#[test]
fn drops_that_are_early_or_lost_leave_nothing_behind() {
    let mut of_home = (0..99).filter(|number| key(*number).home(2) == 0);
    let (one, two) = (of_home.next().unwrap(), of_home.next().unwrap());
    for is_lost in [false, true] {
        let mut all = Gateway::new(2, 1 << 20, 1 << 12);
        let part = share(1 << 20, 1 << 12, 2);
        all.store(0, one, 100).unwrap();
        let insert = all.shards[0].next(1).unwrap();
        all.shards[0].resize(0);
        all.shards[0].resize(part);
        let dropped = all.shards[0].next(1).unwrap();
        let now = all.now;
        if is_lost {
            all.shards[1].hear(0, insert, now);
            assert!(all.shards[1].peek(&key(one), now).is_some());
            all.store(0, two, 100).unwrap();
            all.settle();
        } else {
            all.shards[1].hear(0, dropped, now);
            all.shards[1].hear(0, insert, now);
        }
        assert!(
            all.shards[1].peek(&key(one), now).is_none(),
            "lost: {is_lost}"
        );
        assert_eq!(all.shards[1].len(), usize::from(is_lost));
    }
}
