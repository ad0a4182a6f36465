//! What must hold of every exchange, and of a shard at rest.

use super::exchange::Scene;
use super::http::{Message, events};
use super::script::{Act, Ask, Exchange, Got, Sort};
use super::world::World;
use serde_json::Value;
use shardgate::exchange::answer::HOLD_MAX;
use shardgate::host::Host;
use shardgate::policy::targets::Targets;
use shardgate::shard::Shard;
use shardgate::shard::log::Entry;
use std::collections::BTreeMap;

/// How soon a provider's connection is closed after its client left, in nanoseconds.
const ABORT_MAX: u64 = 100_000_000;

/// How an exchange came out, to see that every way out is walked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Outcome {
    /// Answered.
    Whole,
    /// A stream that ended with an error.
    Broken,
    /// An error of the gateway's.
    Error,
    /// The client left.
    Left,
    /// The network cut the client's connection.
    Cut,
}

/// What a client's bytes amount to.
#[derive(Debug)]
enum Seen {
    /// The whole of what the act of this turn played.
    Whole(usize),
    /// Some of its events, then an error.
    Broken(usize),
    /// An error of the gateway's own, with its code.
    Error(String),
}

/// Whether what the client got is what was to be sent, or an honest error.
pub(crate) fn judge(scene: &Scene, exchange: &Exchange) -> Result<Outcome, String> {
    let has_resets = scene.world.faults().reset_permille > 0;
    let got = exchange.got.borrow();
    let reply = match got.as_ref() {
        Some(Got::Reply(reply)) if reply.is_whole => reply,
        Some(Got::Left(_)) => return Ok(Outcome::Left),
        Some(Got::Reply(reply)) if is_large(exchange, reply) => return Ok(Outcome::Cut),
        // cut: fine if the client can tell, and if there was a reason
        Some(Got::Reply(_) | Got::Nothing) if has_resets => return Ok(Outcome::Cut),
        other => return Err(format!("no whole reply: {other:?}")),
    };
    let Ask::Chat { .. } = exchange.ask else {
        let want = if exchange.ask == Ask::Models {
            200
        } else {
            400
        };
        let is_right =
            reply.status() == want && serde_json::from_slice::<Value>(&reply.body).is_ok();
        return is_right
            .then_some(Outcome::Whole)
            .ok_or(format!("want {want}: {reply:?}"));
    };
    let seen = read(scene, exchange, reply)?;
    // Of two that run at once the one that is slower goes without a word.
    let may_end = |at: usize| has_resets || exchange.act(at).can_vanish();
    let before = |turn: usize| scene.hedges || (0..turn).all(may_end);
    let others = |turn: usize| (0..scene.targets).all(|at| at == turn || may_end(at));
    let is_lawful = match &seen {
        Seen::Whole(turn) => {
            let act = exchange.act(*turn);
            let is_last = if scene.hedges {
                others(*turn)
            } else {
                turn + 1 >= scene.targets
            };
            let has_more = act.sort == Sort::Busy && !is_last;
            before(*turn) && act.can_be_whole() && (has_resets || !has_more)
        }
        Seen::Broken(turn) => before(*turn) && (has_resets || exchange.act(*turn).can_break()),
        Seen::Error(code) => {
            (0..scene.targets).all(may_end)
                || (scene.cast.has_raced.get() && code == "upstream_malformed")
        }
    };
    let outcome = match seen {
        _ if !is_lawful => return Err(format!("{seen:?} is not among what may happen")),
        Seen::Whole(_) => Outcome::Whole,
        Seen::Broken(_) => Outcome::Broken,
        Seen::Error(_) => Outcome::Error,
    };
    Ok(outcome)
}

/// Whether `reply` is the beginning of a cut answer that was too large to be held.
fn is_large(exchange: &Exchange, reply: &Message) -> bool {
    let act = exchange.act(exchange.served.borrow().len().max(1) - 1);
    let is_cut = act.wire.len() < act.sure_at && act.wire.len() > HOLD_MAX;
    is_cut && !reply.is_whole && act.body.starts_with(&reply.body)
}

/// Reads a whole reply to a chat.
fn read(scene: &Scene, exchange: &Exchange, reply: &Message) -> Result<Seen, String> {
    let has_resets = scene.world.faults().reset_permille > 0;
    // Only the last request that a provider got can have been answered, or the one before.
    let served = exchange.served.borrow().len();
    let turns = served.saturating_sub(if scene.hedges { served } else { 1 })..served;
    let acts = turns.rev().map(|turn| (turn, exchange.act(turn)));
    let is_it = |act: &Act| act.status == reply.status() && is_whole(act, &reply.body);
    if let Some((turn, _)) = acts.clone().find(|(_, act)| is_it(act)) {
        return Ok(Seen::Whole(turn));
    }
    if reply.status() != 200 {
        let body: Value = serde_json::from_slice(&reply.body).map_err(|e| e.to_string())?;
        let code = body["error"]["code"]
            .as_str()
            .ok_or("an error without code")?;
        let is_known = [502, 503, 504].contains(&reply.status()) && code.starts_with("upstream_");
        let is_known = is_known || code == "deadline_exceeded";
        return is_known
            .then(|| Seen::Error(code.to_owned()))
            .ok_or(format!("what is {code}?"));
    }
    // A stream that broke: events of one act, then one that says error, and no [DONE].
    let text = String::from_utf8_lossy(&reply.body);
    let text = text.replace("\r\n\rdata: {\"error\"", "\r\n\r\ndata: {\"error\"");
    let parts = events(text.as_bytes());
    let (last, before) = parts.split_last().ok_or("an empty stream")?;
    let data = last.strip_prefix(b"data: ").unwrap_or_default();
    let is_error = serde_json::from_slice::<Value>(data).is_ok_and(|v| v["error"].is_object());
    if !is_error || !last.ends_with(b"\n") && !last.ends_with(b"\n\r") {
        return Err(format!("neither whole nor an error at the end: {text}"));
    }
    if text.contains("[DONE]") && !has_resets {
        return Err(format!("[DONE] in a broken stream: {text}"));
    }
    let has_started = |act: &Act| {
        let whole = events(&act.body);
        !before.is_empty() && before.len() < whole.len() && whole[..before.len()] == *before
    };
    match acts.clone().find(|(_, act)| has_started(act)) {
        Some((turn, _)) => Ok(Seen::Broken(turn)),
        _ => Err(format!("events that nobody played: {text}")),
    }
}

/// Whether `body` is the whole of what `act` played; a stream whose end only the close told
/// may have been completed.
fn is_whole(act: &Act, body: &[u8]) -> bool {
    // A blank line ends with its CR: whether the last LF still comes is all the same.
    let without_lf = act
        .body
        .strip_suffix(b"\r\n\r\n")
        .map(|_| &act.body[..act.body.len() - 1]);
    if act.body == body || without_lf == Some(body) {
        return true;
    }
    let is_open = act.is_stream && act.wire.len() < act.sure_at && act.wire.len() >= act.whole_at;
    let start = body.strip_suffix(b"data: [DONE]\n\n");
    is_open && start.is_some_and(|start| act.body.starts_with(start) && has_finish(start))
}

fn has_finish(events: &[u8]) -> bool {
    String::from_utf8_lossy(events).contains("\"finish_reason\":\"stop\"")
}

/// What was played and what was got, for a failing seed.
pub(crate) fn show(exchange: &Exchange) -> String {
    let acts = exchange.acts.iter().map(|act| {
        let wire = act.wire.escape_ascii().to_string();
        let (sort, then, sent) = (act.sort, act.then, act.wire.len());
        let (content, whole, sure) = (act.content_at, act.whole_at, act.sure_at);
        format!(
            "  {sort:?} {then:?} {sent} bytes, content {content}, whole {whole}..{sure}: {wire}"
        )
    });
    let acts = acts.collect::<Vec<_>>().join("\n");
    let (ask, abort) = (exchange.ask, exchange.abort);
    let (served, got) = (exchange.served.borrow(), exchange.got.borrow());
    let got = match got.as_ref() {
        Some(Got::Reply(reply)) => {
            let (line, fields) = (&reply.line, &reply.fields);
            format!(
                "{line} {fields:?} whole: {}\n{}",
                reply.is_whole,
                reply.body.escape_ascii()
            )
        }
        other => format!("{other:?}"),
    };
    format!("{ask:?} {abort:?}\n{acts}\n  served {served:?}\n  got {got}")
}

/// One receipt for each exchange, and it says what the client saw.
pub(crate) fn receipts(scene: &Scene) {
    let mut by_id: BTreeMap<String, Value> = BTreeMap::new();
    let lines = scene.lines.try_iter().map(|entry| match entry {
        Entry::Lines(lines) => lines,
        Entry::Flush(_) => panic!("nobody asked for it"),
    });
    for line in lines.collect::<String>().lines() {
        let receipt: Value = serde_json::from_str(line).unwrap();
        let id = receipt["id"].as_str().unwrap().to_owned();
        assert!(by_id.insert(id, receipt).is_none(), "two receipts: {line}");
    }
    let counters = scene.shard.counters.borrow();
    assert_eq!(counters.receipts, by_id.len() as u64, "each is written");
    assert_eq!(
        counters.receipts, counters.exchanges,
        "each exchange is settled"
    );
    let mut replies = 0;
    for exchange in &scene.cast.all {
        let got = exchange.got.borrow();
        let Some(Got::Reply(reply)) = got.as_ref() else {
            continue;
        };
        let id = reply.field("x-request-id").unwrap();
        let receipt = by_id
            .get(id)
            .unwrap_or_else(|| panic!("no receipt: {reply:?}"));
        replies += 1;
        if !reply.is_whole {
            continue;
        }
        assert_eq!(receipt["status"], reply.status(), "{receipt}");
        let is_done = reply.status() < 400 && !has_error(&reply.body);
        assert_eq!(
            receipt["end"],
            if is_done { "done" } else { "error" },
            "{receipt}"
        );
        assert_eq!(
            receipt["fault"] == "-",
            is_done || is_passed_on(reply),
            "{receipt}"
        );
    }
    assert!(by_id.len() >= replies);
    if scene.world.faults().reset_permille == 0 {
        assert!(
            by_id.len() <= scene.cast.all.len(),
            "no exchange has two receipts"
        );
    }
}

fn has_error(body: &[u8]) -> bool {
    String::from_utf8_lossy(body).contains("data: {\"error\"")
}

/// A provider's error that was passed on as it is.
fn is_passed_on(reply: &Message) -> bool {
    reply.status() >= 400 && reply.field("x-shardgate-code").is_none()
}

/// Whoever left took the provider's work along.
pub(crate) fn leavers(scene: &Scene) {
    let net = scene.world.net().borrow();
    let held = scene.world.faults().stall_ms * 1_000_000;
    for exchange in &scene.cast.all {
        let Some(Got::Left(conn)) = *exchange.got.borrow() else {
            continue;
        };
        let Some(told) = net.conns[conn].ends[1].told_at else {
            continue;
        };
        for served in exchange.served.borrow().iter() {
            if served.written_at.is_some_and(|at| at <= told + held) {
                continue; // the answer was there already
            }
            let closed = net.conns[served.conn].ends[0].closed_at;
            let late = closed.map(|at| at.saturating_sub(told));
            assert!(
                late.is_some_and(|late| late <= ABORT_MAX + held),
                "x{}: closed {late:?} ns after the client left\n{}",
                exchange.id,
                show(exchange)
            );
        }
    }
}

/// Nothing is held by a shard that rests.
pub(crate) fn rest(scene: &Scene) {
    shard_rests(&scene.world, &scene.shard);
}

/// As [`rest`], of a shard in its world.
pub(crate) fn shard_rests(world: &World, shard: &Shard<World>) {
    let counters = shard.counters.borrow();
    assert_eq!(counters.panics, 0, "a task panicked");
    assert_eq!(counters.exchanges_open, 0, "exchanges under way");
    assert_eq!(counters.streams_open, 0, "streams open");
    assert_eq!(counters.connections_open, 0, "client connections open");
    assert_eq!(counters.log_dropped, 0, "log lines lost");
    let now = world.now();
    for (target, cell) in shard.with_turn(now, Targets::cells) {
        assert_eq!(
            (cell.in_flight, cell.tokens),
            (0, 0),
            "in flight at {target}"
        );
    }
    for upstream in &shard.snapshot().upstreams {
        assert_eq!(
            (upstream.pool.leased(), upstream.pool.idle()),
            (0, 0),
            "pools"
        );
    }
    assert_eq!(shard.buffers.lent(), 0, "bytes of buffers lent out");
    assert_eq!(shard.deadlines.len(), 0, "timers");
    assert_eq!(world.net().borrow().open(), 0, "links open");
}
