//! The channels over which shards gossip: one for each ordered pair.
//!
//! ```text
//!   mesh(3):  0 ─► 1   0 ─► 2   1 ─► 0   1 ─► 2   2 ─► 0   2 ─► 1
//! ```
//!
//! Built by hand before the shards start, one after the other; each shard binds all its ends
//! at once, in tasks of their own, since an end waits for its other one.

use crate::host::Host;
use crate::host::mesh::{self, Receiver, Sender};
use crate::shard::Shard;
use crate::shard::mail::Letter;
use crate::stats::view::Digest;
use std::rc::Rc;

/// Digests on their way from one shard to another, at most. A shard that does not come to
/// hear them for so long is told the rest later.
const DIGESTS_MAX: usize = 16;

/// Letters on their way from one shard to another, at most; more wait where they are written.
const LETTERS_MAX: usize = 64;

/// The ends of one shard: to each other one, and from each.
#[derive(Debug, Default)]
pub struct Ears {
    mouths: Vec<Sender<Digest>>,
    hearers: Vec<Receiver<Digest>>,
    /// For letters, with the number of the shard at the other end.
    writers: Vec<(usize, Sender<Letter>)>,
    readers: Vec<(usize, Receiver<Letter>)>,
}

/// The ends of `shards` shards, by shard.
pub fn mesh(shards: usize) -> Vec<Ears> {
    let mut all: Vec<Ears> = (0..shards).map(|_| Ears::default()).collect();
    for from in 0..shards {
        for to in (0..shards).filter(|to| *to != from) {
            let (mouth, ear) = mesh::channel(DIGESTS_MAX);
            let (writer, reader) = mesh::channel(LETTERS_MAX);
            if let Some(one) = all.get_mut(from) {
                one.mouths.push(mouth);
                one.writers.push((to, writer));
            }
            if let Some(other) = all.get_mut(to) {
                other.hearers.push(ear);
                other.readers.push((from, reader));
            }
        }
    }
    all
}

/// Lets `shard` take part in the gossip, for as long as it lives.
pub fn join<H: Host>(shard: &Rc<Shard<H>>, ends: Ears) {
    for mouth in ends.mouths {
        let mine = Rc::clone(shard);
        shard.host.spawn(async move {
            let outlet = mouth.connect().await;
            mine.add_peer(Box::new(move |digest| outlet.try_send(digest)));
        });
    }
    for ear in ends.hearers {
        let mine = Rc::clone(shard);
        shard.host.spawn(async move {
            let inlet = ear.connect().await;
            while let Some(digest) = inlet.recv().await {
                mine.hear(&digest);
            }
        });
    }
    for (to, writer) in ends.writers {
        let mine = Rc::clone(shard);
        shard.host.spawn(async move {
            let outlet = writer.connect().await;
            while outlet.send(mine.next_letter(to).await).await {}
        });
    }
    for (from, reader) in ends.readers {
        let mine = Rc::clone(shard);
        shard.host.spawn(async move {
            let inlet = reader.connect().await;
            while let Some(letter) = inlet.recv().await {
                mine.receive(from, letter);
            }
        });
    }
}
