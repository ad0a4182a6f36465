//! Entries of other boxes, which nobody has asked for here.

use super::index::{Gateway, key};
use shardgate::cache::index::Unkept;
use shardgate::cache::purge::Purge;
use std::sync::Arc;
use std::time::Duration;

/// Goal: what comes from other boxes, however much and however often, pushes nothing out that was
/// asked for here; all shards have it; its home alone takes it in, and not what was purged.
/// Method: one after the other, far more than there is room for, and all of it again.
#[test]
fn what_nobody_asked_for_pushes_nothing_out() {
    let mut all = Gateway::new(2, 1 << 20, 4 << 10);
    for number in 0..100 {
        all.store(0, number, 1000).unwrap();
    }
    all.settle();
    for _ in 0..3 {
        assert!((0..100).all(|number| all.get(0, number).is_some()));
    }
    all.tick();
    all.settle();
    let born = all.shards[0].generation();
    let take_in = |all: &mut Gateway, number: u64, born| {
        let home = key(number).home(2);
        let making = all.making(number, 1000, born);
        all.shards[home].make_room(&making);
        let entry = all.make(number, 1000, born).unwrap();
        all.now = all.now + Duration::from_nanos(1);
        let elsewhere = all.shards[1 - home].take_in(Arc::clone(&entry));
        assert!(elsewhere.is_err());
        all.shards[home].take_in(entry)
    };
    for _ in 0..6 {
        for number in 1000..1700 {
            take_in(&mut all, number, born).unwrap();
            all.settle();
            all.check_memory();
        }
    }
    for at in 0..2 {
        assert!((0..100).all(|number| all.get(at, number).is_some()));
        assert!(all.get(at, 1699).is_some() && all.get(at, 1000).is_none());
    }
    all.purge(&Purge::All);
    assert_eq!(take_in(&mut all, 5, born), Err(Unkept::Purged));
}
