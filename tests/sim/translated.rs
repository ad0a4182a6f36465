//! The laws of a translated stream, over a whole shard in a rough world.
//!
//! ```text
//!   client (Chat, Messages) ◄──links──► shard ◄──links──► provider (Messages, Chat, Converse)
//!      └── hear(bytes so far) ──────► judge ◄────────── play(answer), and how it went on
//! ```
//!
//! Two exchanges in each world, one after the other. The provider's bytes come cut at any
//! place and at any time; it may cut the stream at any byte, say in it that it gives up, turn
//! into nonsense, or wait with each word until the client has the one before. The client may
//! read slowly or leave at any byte.
//!
//! - L1 What the client got is in order, whenever one looks, and complete exactly when the
//!   provider's stream was; else it says that it broke.
//! - L2 Complete, it says what the provider said; broken, all words that came, and no more.
//! - L3 A word is passed on before the next one comes.
//! - L4 A slow client holds back the provider: what the shard holds is bounded.
//! - L5 The provider's connection is used again when its answer was whole and delimited, and
//!   only then.
//! - L6 The receipt says what the client saw, and the provider's counts.

use super::exchange::{provider, stage};
use super::rng::Rng;
use super::tongues::{Answer, Framing, Heard, Played, Tongue, broken, framed, hear, play};
use super::world::{Faults, World};
use super::{for_every_seed, http, law};
use serde_json::Value;
use shardgate::base::bufpool::BufPool;
use shardgate::base::bytes::{RxBuf, TxBuf};
use shardgate::host::{Host, Link, flush, read};
use shardgate::shard::Shard;
use shardgate::shard::log::Entry;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

/// The pairs: who asks, who answers.
const PAIRS: [(Tongue, Tongue); 3] = [
    (Tongue::Chat, Tongue::Anthropic),
    (Tongue::Anthropic, Tongue::Chat),
    (Tongue::Chat, Tongue::Bedrock),
];

/// How long the client may wait for a word that the provider has written.
const WORD_MAX: Duration = Duration::from_secs(10);

/// Bytes of buffers that a shard may lend to one exchange, whatever its length: what is read
/// at once, what was written of it, and what the client has not taken (`ROUND_MAX`), each in a
/// block of up to twice its size. 80 KiB are seen.
const LENT_MAX: usize = 96 << 10;

/// How a provider's stream goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// To its end.
    Whole,
    /// The same; each word waits until the client has the one before (L3).
    Step,
    /// It closes before this byte of the wire.
    Close(usize),
    /// It resets there.
    Reset(usize),
    /// It says nothing more there.
    Stall(usize),
    /// In place of the event that begins at this byte of the body it says that it gives up.
    Error(usize),
    /// Or something that is nothing.
    Nonsense(usize),
}

/// One exchange, and what came of it.
#[derive(Debug)]
struct Scene {
    answer: Answer,
    played: Played,
    fate: Fate,
    framing: Framing,
    wire: Vec<u8>,
    /// How many bytes of the wire bring so many of the body.
    at: Vec<usize>,
    pause_ms: u64,
    read_pause_ms: u64,
    /// The client leaves after so many bytes.
    leaves: Option<usize>,
    /// Characters that the client has.
    heard: Cell<usize>,
    /// Bytes that the provider wrote.
    written: Cell<usize>,
    got: RefCell<Vec<u8>>,
    reply: RefCell<Option<http::Message>>,
}

impl Scene {
    fn random(rng: &Rng, tongue: Tongue) -> Self {
        let answer = Answer::random(rng);
        let mut played = play(tongue, &answer);
        let whole = played.body.len();
        let (sort, start) = (rng.range(0, 9), *rng.pick_ref(&played.starts));
        let is_broken = sort < 2;
        if is_broken {
            let bytes = broken(tongue, sort == 0);
            drop(played.body.splice(start..whole, bytes));
            played.words_at.retain(|at| *at <= start);
        }
        let framing = rng.pick(&[Framing::Length, Framing::Chunked, Framing::Close]);
        let (wire, at) = framed(rng, tongue, framing, &played.body);
        // as likely between two events, or near the end of the answer, as anywhere
        let cut = match rng.range(0, 3) {
            2 => at[start.min(played.body.len())],
            0 => at[played.finished_at.min(played.body.len()) - 1] + rng.index(8),
            1 => wire.len() - 1 - rng.index(8),
            _ => rng.index(wire.len()),
        };
        let cut = cut.min(wire.len() - 1);
        let fate = match sort {
            0 => Fate::Error(start),
            1 => Fate::Nonsense(start),
            2 => Fate::Close(cut),
            3 => Fate::Reset(cut),
            4 => Fate::Stall(cut),
            5 | 6 => Fate::Step,
            _ => Fate::Whole,
        };
        let leaves = (fate != Fate::Step && rng.chance(150)).then(|| rng.index(4000));
        Self {
            answer,
            played,
            fate,
            framing,
            wire,
            at,
            pause_ms: rng.pick(&[0, 0, 1, 100]),
            read_pause_ms: rng.pick(&[0, 0, 1, 50]),
            leaves,
            heard: Cell::default(),
            written: Cell::default(),
            got: RefCell::default(),
            reply: RefCell::default(),
        }
    }

    /// Bytes of the wire that the provider writes.
    fn sends(&self) -> usize {
        match self.fate {
            Fate::Close(cut) | Fate::Reset(cut) | Fate::Stall(cut) => cut,
            _ => self.wire.len(),
        }
    }

    /// It may count as whole, and it must.
    fn can_be_whole(&self) -> (bool, bool) {
        if let Fate::Error(_) | Fate::Nonsense(_) = self.fate {
            return (false, false);
        }
        // The last LF of a blank line may be taken for granted.
        let can = self.sends() + 1 >= self.at[self.played.finished_at];
        (can, self.sends() == self.wire.len())
    }

    /// Words whose events came, and those that may have been seen: all but the last LF came.
    fn words(&self) -> (usize, usize) {
        let (end, body) = match self.fate {
            Fate::Error(start) | Fate::Nonsense(start) => (usize::MAX, start),
            _ => (self.sends(), usize::MAX),
        };
        let came = |slack: usize| {
            let words = self.played.words_at.iter();
            words
                .take_while(|at| **at <= body && self.at[**at] <= end.saturating_add(slack))
                .count()
        };
        (came(0), came(1))
    }
}

/// What a shard lends at most.
struct Probe(Rc<Shard<World>>, Cell<usize>);

impl Probe {
    fn look(&self) {
        self.1.set(self.1.get().max(self.0.buffers.lent()));
    }
}

/// Plays `scenes` in order, one for each request; gives the number of connections.
fn serve(world: &World, scenes: &[Rc<Scene>], probe: &Rc<Probe>) -> Rc<Cell<usize>> {
    let (host, probe) = (world.clone(), Rc::clone(probe));
    let queue = Rc::new(RefCell::new(scenes.to_vec()));
    let count = Rc::new(Cell::new(0));
    let connections = Rc::clone(&count);
    let listener = world.listen(provider(0)).unwrap();
    world.spawn(async move {
        while let Ok(mut link) = host.accept(&listener).await {
            connections.set(connections.get() + 1);
            let (world, queue) = (host.clone(), Rc::clone(&queue));
            let probe = Rc::clone(&probe);
            host.spawn(async move {
                let mut rx = RxBuf::new(&BufPool::new());
                while request(&mut link, &mut rx).await {
                    let scene = queue.borrow_mut().remove(0);
                    let is_sent = answer(&world, &mut link, &scene, &probe).await;
                    match scene.fate {
                        _ if !is_sent => return,
                        Fate::Reset(_) => return link.reset(),
                        Fate::Close(_) => return,
                        Fate::Stall(_) => while let Ok(1..) = read(&mut link, &mut rx).await {},
                        _ if scene.framing == Framing::Close => return,
                        _ => (),
                    }
                }
            });
        }
    });
    count
}

/// Reads a request; false when there is none.
async fn request<L: Link>(link: &mut L, rx: &mut RxBuf) -> bool {
    loop {
        if http::message(rx.data(), false, false).is_some_and(|message| message.is_whole) {
            rx.clear();
            return true;
        }
        if !matches!(read(link, rx).await, Ok(1..)) {
            return false;
        }
    }
}

/// Writes the answer; false when the gateway is gone.
async fn answer<L: Link>(world: &World, link: &mut L, scene: &Scene, probe: &Probe) -> bool {
    let rng = Rng::new(world.rng().next());
    let mut tx = TxBuf::new(&BufPool::new());
    let (wire, mut at, mut turn, mut chars) = (&scene.wire[..scene.sends()], 0, 0, 0);
    while at < wire.len() {
        let next = scene.played.words_at.get(turn).map(|end| scene.at[*end]);
        let most = match next.filter(|_| scene.fate == Fate::Step) {
            Some(end) => end - at,
            None => wire.len() - at,
        };
        let len = rng.cut(most).max(most.min(wire.len() / 50)).min(8 << 10);
        tx.put(&wire[at..at + len]);
        if flush(link, &mut tx).await.is_err() {
            return false;
        }
        at += len;
        scene.written.set(at);
        probe.look();
        if scene.fate == Fate::Step && Some(at) == next {
            chars += scene.answer.words[turn].chars().count();
            turn += 1;
            let until = world.now() + WORD_MAX;
            while scene.heard.get() < chars {
                assert!(world.now() < until, "word {turn} is held back");
                world.sleep(Duration::from_millis(1)).await;
            }
        } else if scene.pause_ms > 0 && rng.chance(300) {
            let pause = rng.range(0, scene.pause_ms);
            world.sleep(Duration::from_millis(pause)).await;
        }
    }
    true
}

/// Asks for a stream.
async fn ask<L: Link>(link: &mut L, front: Tongue) {
    let (path, body) = match front {
        Tongue::Chat => (
            "/v1/chat/completions",
            r#"{"model":"m","stream":true,"messages":[{"role":"user","content":"x"}]}"#,
        ),
        _ => (
            "/v1/messages",
            r#"{"model":"m","max_tokens":99,"stream":true,
               "messages":[{"role":"user","content":"x"}]}"#,
        ),
    };
    let (mut tx, length) = (TxBuf::new(&BufPool::new()), body.len());
    let head = format!("POST {path} HTTP/1.1\r\nhost: g\r\ncontent-type: application/json\r\n");
    tx.put(format!("{head}content-length: {length}\r\n\r\n{body}").as_bytes());
    flush(link, &mut tx).await.unwrap();
}

/// Asks for a stream, and reads until it ends or the client leaves.
async fn client(world: &World, at: SocketAddr, front: Tongue, scene: &Scene, probe: &Probe) {
    let rng = Rng::new(world.rng().next());
    let mut link = world.connect(at).await.unwrap();
    ask(&mut link, front).await;
    let mut rx = RxBuf::new(&BufPool::new());
    let (mut is_due, mut heard) = (false, Heard::default());
    loop {
        let reply = is_due.then(|| http::message(&scene.got.borrow(), true, false));
        if let Some(reply) = reply.flatten() {
            if reply.status() == 200 {
                heard.more(front, &reply.body); // L1: in order so far
                scene.heard.set(heard.text.chars().count());
            }
            let is_whole = reply.is_whole;
            *scene.reply.borrow_mut() = Some(reply);
            if is_whole {
                return;
            }
        }
        if scene
            .leaves
            .is_some_and(|at| scene.got.borrow().len() >= at)
        {
            if rng.chance(500) {
                link.reset();
            }
            return;
        }
        if scene.read_pause_ms > 0 && rng.chance(200) {
            let pause = rng.range(0, scene.read_pause_ms);
            world.sleep(Duration::from_millis(pause)).await;
        }
        if !matches!(read(&mut link, &mut rx).await, Ok(1..)) {
            return;
        }
        let mut got = scene.got.borrow_mut();
        let before = got.len().saturating_sub(3);
        got.extend_from_slice(rx.data());
        rx.clear();
        // an event has ended, a head, or the body; errors are short
        let new = &got[before..];
        is_due = memchr::memmem::find(new, b"\n\n").is_some()
            || memchr::memmem::find(new, b"\r\n\r\n").is_some()
            || !got.starts_with(b"HTTP/1.1 200 ");
        drop(got);
        probe.look();
    }
}

/// How an exchange came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    Complete,
    Broken,
    Refused,
    Left,
}

/// L1 and L2.
fn judge(front: Tongue, scene: &Scene) -> Outcome {
    let reply = scene.reply.borrow();
    let is_whole = reply.as_ref().is_some_and(|reply| reply.is_whole);
    if scene.leaves.is_some() && !is_whole {
        return Outcome::Left;
    }
    let reply = reply.as_ref().unwrap();
    assert!(is_whole, "the reply is cut");
    let (can, is_due) = scene.can_be_whole();
    let (least, most) = scene.words();
    if reply.status() != 200 {
        let body: Value = serde_json::from_slice(&reply.body).unwrap();
        assert!(body["error"].is_object(), "{body}");
        assert!(!is_due, "whole, and refused: {body}");
        let can_lose = matches!(scene.fate, Fate::Reset(_));
        assert!(can_lose || least == 0, "{least} words came: {body}");
        return Outcome::Refused;
    }
    let heard: Heard = hear(front, &reply.body);
    assert_eq!(heard.rest, 0, "half an event at the end");
    assert!(heard.is_complete != heard.is_error, "{heard:?}");
    let text = |words: usize| scene.answer.words[..words].concat();
    let call = scene.answer.call.as_ref().map(|pieces| pieces.concat());
    let arguments = call.clone().unwrap_or_default();
    if heard.is_complete {
        assert!(can, "ends as complete: {heard:?}");
        assert_eq!(heard.text, text(scene.answer.words.len()));
        assert_eq!(heard.arguments, arguments);
        assert_eq!(heard.calls, usize::from(call.is_some()));
        return Outcome::Complete;
    }
    assert!(!is_due, "whole, and broken: {heard:?}");
    assert!(arguments.starts_with(&heard.arguments), "{heard:?}");
    let words = if let Fate::Reset(_) = scene.fate {
        0..=most
    } else {
        least..=most
    };
    let said = words.clone().any(|words| text(words) == heard.text);
    assert!(said, "not {words:?} words: {heard:?}");
    Outcome::Broken
}

/// L6.
fn receipt(scene: &Scene, outcome: Outcome, receipts: &[Value]) {
    let reply = scene.reply.borrow();
    let Some(reply) = reply.as_ref() else {
        return; // who left before the head does not know its name
    };
    let id = reply.field("x-request-id").unwrap();
    let mut with = receipts.iter().filter(|receipt| receipt["id"] == id);
    let (receipt, other) = (with.next().unwrap(), with.next());
    assert!(other.is_none(), "two receipts: {receipt}");
    let (end, fault) = (receipt["end"].as_str().unwrap(), receipt["fault"] == "-");
    match outcome {
        Outcome::Complete => {
            assert_eq!((end, fault), ("done", true), "{receipt}");
            if scene.can_be_whole().1 {
                let tokens = (&receipt["tokens_in"], &receipt["tokens_out"]);
                assert_eq!(tokens, (&3.into(), &5.into()), "{receipt}");
            }
        }
        Outcome::Broken | Outcome::Refused => {
            assert_eq!((end, fault), ("error", false), "{receipt}");
        }
        // It may have been done, or broken, before the client's end was seen.
        Outcome::Left => {
            let is_over = scene.written.get() == scene.sends();
            assert!(end == "cancelled" || is_over, "{receipt}");
            assert!(end != "done" || scene.can_be_whole().0, "{receipt}");
        }
    }
}

/// The gateway's configuration for a provider of `tongue`.
fn config(tongue: Tongue) -> String {
    let (dialect, path) = match tongue {
        Tongue::Chat => ("openai", "/v1"),
        Tongue::Anthropic => ("anthropic", "/v1"),
        Tongue::Bedrock => ("bedrock", ""),
    };
    format!(
        "[server]\nlisten = [\"127.0.0.1:8080\"]\n[retry]\nattempts_max = 1\n\
         [breaker]\nmode = \"off\"\n\
         [timeouts]\nconnect = \"1s\"\nfirst_token = \"20s\"\nidle = \"20s\"\ntotal = \"300s\"\n\
         [providers.p]\ndialect = \"{dialect}\"\nbase_url = \"http://127.0.0.1:7000{path}\"\n\
         pool = {{ idle = \"5s\", idle_max = 2 }}\n\
         [models.m]\ntargets = [ {{ provider = \"p\", model = \"up\" }} ]\n"
    )
}

/// How often each pair came to each outcome.
type Tally = RefCell<BTreeMap<(usize, Outcome), u64>>;

/// Plays a world and checks every law; gives the most that was lent.
fn perform(world: &World, pair: usize, scenes: Vec<Scene>, tally: &Tally) -> usize {
    let (front, tongue) = PAIRS[pair];
    let (shard, gateway, lines) = stage(world, &config(tongue));
    let scenes: Vec<_> = scenes.into_iter().map(Rc::new).collect();
    let probe = Rc::new(Probe(Rc::clone(&shard), Cell::default()));
    let connections = serve(world, &scenes, &probe);
    let (host, all, look) = (world.clone(), scenes.clone(), Rc::clone(&probe));
    let count = Rc::clone(&connections);
    let done = world.run(Duration::from_secs(2000), async move {
        let mut is_kept = false;
        for scene in &all {
            let before = count.get();
            client(&host, gateway, front, scene, &look).await;
            let is_left = scene.leaves.is_some();
            if scene.reply.borrow().is_some() {
                assert_eq!(count.get() - before, usize::from(!is_kept), "L5: {scene:?}");
            }
            host.sleep(Duration::from_millis(2500)).await;
            let upstream = &look.0.snapshot().upstreams[0];
            let idle = upstream.pool.idle();
            let is_clean = scene.can_be_whole().1 && scene.framing != Framing::Close;
            assert!(
                is_left || idle == usize::from(is_clean),
                "L5: {idle} {scene:?}"
            );
            assert!(idle == 0 || is_clean, "L5: {idle} {scene:?}");
            is_kept = idle == 1;
        }
        host.sleep(Duration::from_secs(30)).await;
    });
    assert_eq!(done, Ok(()), "something hangs: {world:?}");
    let lines = lines.try_iter().map(|entry| match entry {
        Entry::Lines(lines) => lines,
        Entry::Flush(_) => panic!("nobody asked for it"),
    });
    let lines: String = lines.collect();
    let receipts: Vec<_> = lines
        .lines()
        .map(|l| serde_json::from_str(l).unwrap())
        .collect();
    for scene in &scenes {
        let outcome = judge(front, scene);
        receipt(scene, outcome, &receipts);
        *tally.borrow_mut().entry((pair, outcome)).or_default() += 1;
    }
    law::shard_rests(world, &shard);
    world.end();
    assert_eq!(world.tasks(), 0);
    probe.1.get()
}

/// Goal: L1 to L6 at every seed, for each pair.
#[test]
fn every_translated_stream_is_exact_or_honest() {
    let (tally, most) = (Tally::default(), Cell::new(0));
    for_every_seed("every_translated_stream_is_exact_or_honest", |seed| {
        for (pair, (_, tongue)) in PAIRS.into_iter().enumerate() {
            let rng = Rng::new(seed.wrapping_mul(7919) + pair as u64);
            let mut faults = Faults::rough(&rng, 200);
            faults.buffer = (faults.buffer.0.max(64), faults.buffer.1.max(64));
            let world = World::new(seed, faults);
            let scenes = vec![Scene::random(&rng, tongue), Scene::random(&rng, tongue)];
            let lent = perform(&world, pair, scenes, &tally);
            assert!(lent <= LENT_MAX, "{lent} bytes are lent");
            most.set(most.get().max(lent));
        }
    });
    if std::env::var("SIM_SEED").is_err() {
        let tally = tally.borrow();
        assert!(
            tally.len() == 12 && tally.values().all(|n| *n >= 10),
            "{tally:?}"
        );
    }
}

/// Goal: L4. Method: 4 MiB of words to a client that reads nothing for 15 s, then all of it.
#[test]
fn a_slow_client_holds_back_a_translated_stream() {
    for (pair, (front, tongue)) in PAIRS.into_iter().enumerate() {
        let world = World::new(1, Faults::NONE);
        let rng = Rng::new(2);
        let words = vec!["é\"w".repeat(300); 3000];
        let answer = Answer { words, call: None };
        let played = play(tongue, &answer);
        let (wire, at) = framed(&rng, tongue, Framing::Length, &played.body);
        let scene = Scene {
            answer,
            fate: Fate::Whole,
            framing: Framing::Length,
            ..Scene::random(&rng, tongue)
        };
        let scene = Rc::new(Scene {
            played,
            wire,
            at,
            leaves: None,
            pause_ms: 0,
            ..scene
        });
        let (shard, gateway, _lines) = stage(&world, &config(tongue));
        let probe = Rc::new(Probe(Rc::clone(&shard), Cell::default()));
        drop(serve(&world, std::slice::from_ref(&scene), &probe));
        let (host, mine, look) = (world.clone(), Rc::clone(&scene), Rc::clone(&probe));
        let done = world.run(Duration::from_secs(60), async move {
            let mut link = host.connect(gateway).await.unwrap();
            ask(&mut link, front).await;
            host.sleep(Duration::from_secs(15)).await;
            // what two links hold, and what the shard does
            let held = mine.written.get();
            assert!(
                (1..=LENT_MAX + (192 << 10)).contains(&held),
                "{held} bytes were taken"
            );
            let mut rx = RxBuf::new(&BufPool::new());
            while !matches!(http::message(&mine.got.borrow(), true, false), Some(m) if m.is_whole) {
                for _ in 0..100 {
                    let len = mine.got.borrow().len();
                    if mine.got.borrow().ends_with(b"0\r\n\r\n") {
                        break;
                    }
                    assert!(matches!(read(&mut link, &mut rx).await, Ok(1..)), "{len}");
                    mine.got.borrow_mut().extend_from_slice(rx.data());
                    rx.clear();
                    look.look();
                }
            }
        });
        assert_eq!(done, Ok(()));
        let reply = http::message(&scene.got.borrow(), true, false).unwrap();
        let heard = hear(front, &reply.body);
        assert!(
            heard.is_complete && heard.text == scene.answer.words.concat(),
            "pair {pair}"
        );
        let lent = probe.1.get();
        assert!(lent <= LENT_MAX, "{lent} bytes are lent");
        world.end();
    }
}
