//! A race: a second attempt starts beside a slow one, and the first content wins.
//!
//! ```text
//!   first  ─► ask ─► hold ────────────── nothing yet ──────────────┬─► content? ─► delivered
//!               `after` passes ─► purse, budget, breakers ─► ask ─► hold ─┘  the other: closed
//! ```
//!
//! For models with `hedge` alone. Both attempts are errands ([`Errand`]): each has its own copy of
//! the request, its own connection and timer, and *holds* what arrives, with its framing, until
//! its first content is here (of a plain answer the whole, up to [`HOLD_MAX`]). A copy without
//! framing is looked at as the relay will look at it. So the winner is an answer like any other,
//! and is delivered from its head on.
//!
//! Invariants
//! - G1 One hedge for an attempt at the most; it counts as an attempt, and is paid for from the
//!   model's purse and from the box's retry budget.
//! - G2 None while a breaker of either target or its host is open, half-open or recovering.
//! - G3 When an attempt is delivered, no other one is connected.
//! - G4 Of the two that began each is settled once, also when this is dropped half way.
//! - G5 One of two that fails leaves the other to go on alone; what becomes of that one is what
//!   becomes of the attempt.

use super::answer::{HOLD_MAX, Incoming};
use super::asker::{Asker, Errand};
use super::attempt::{self, Answer, Failed, Refusal, ask_target, refusal};
use super::beside::Beside;
use super::connection::Next;
use super::course::{Course, weight};
use super::down::{Down, Wait};
use super::rewrite::{Form, Rewrite};
use super::seen::{Form as StreamForm, Seen};
use super::settle::Settle;
use super::translator::Naming;
use super::{limits, relay, sending};
use crate::base::bytes::{RxBuf, TxBuf};
use crate::base::fault::Kind;
use crate::base::time::Instant;
use crate::config::model::Hedge;
use crate::host::{Host, Link};
use crate::policy::breaker::Outcome;
use crate::policy::plan::Step;
use crate::stats::receipt::{AttemptEnd, HedgeEnd, RequestId};
use std::cell::Cell;
use std::pin::Pin;
use std::task::{Context, Poll};

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Who {
    First,
    Second,
}

/// An attempt that is under way, until its first content; nothing when it is not, any more.
type Run<F> = Option<Pin<Box<F>>>;

/// The second attempt of a race.
struct Rival<'a, H: Host> {
    step: Step<'a>,
    began: Instant,
    /// The attempt that is not the exchange's: this one, until the first one fails.
    beside: Beside<H>,
    /// What of the request is for the one or the other alone.
    forms: [Form; 2],
    has_failed: bool,
}

/// One attempt, and perhaps another one beside it.
///
/// # Errors
/// As of an attempt alone.
pub async fn attempt<'a, H: Host>(
    course: &Course<'a, H>,
    down: &mut Down<H::Stream>,
    settle: &mut Settle<H>,
    (step, hedge): (&Step<'_>, &Hedge),
) -> Result<Next, Failed<'a>> {
    let shard = course.shard;
    let model = settle.receipt.model.unwrap_or_default();
    let model = course.snapshot.places.model(model);
    if settle.receipt.attempts == 1 {
        shard.hedging.borrow_mut().earn(model, hedge);
    }
    settle.watch();
    let were_sent = [Cell::new(false), Cell::new(false)];
    let [first_sent, second_sent] = &were_sent;
    let Some(errand) = errand(course, down, step, first_sent) else {
        return attempt::attempt(course, down, settle, step).await; // too long to be copied
    };
    let (id, began) = (settle.receipt.id, shard.host.now());
    let mut first = Some(Box::pin(run(course, *step, errand, id)));
    let mut second = None;
    let mut rival: Option<Rival<'a, H>> = None;
    down.arm(due(course, step, hedge, began));
    let (who, outcome, other_runs) = loop {
        let waited = down.wait(|cx| poll(&mut first, &mut second, cx)).await;
        let (who, outcome) = match waited {
            Wait::Done(ended) => ended,
            Wait::Gone => return Err(gone(course, step).into()),
            Wait::Late => {
                down.arm(Instant::FAR); // both have their own ends
                if !shard.is_over() && rival.is_none() {
                    let found = prepare(course, down, settle, (step, model), second_sent);
                    let (found, errand) = found.unzip();
                    rival = found;
                    second = rival
                        .as_ref()
                        .zip(errand)
                        .map(|(rival, errand)| Box::pin(run(course, rival.step, errand, id)));
                }
                continue;
            }
        };
        let other_runs = first.is_some() || second.is_some();
        if !other_runs || is_good(who, &outcome) {
            break (who, outcome, other_runs);
        }
        if let Some(rival) = &mut rival {
            give_up(course, settle, rival, (who, step), &outcome);
        }
    };
    drop((first, second)); // G3
    let Some(rival) = rival else {
        return finish(course, down, settle, step, outcome).await;
    };
    let (winner, loser, was_sent) = match who {
        Who::First => (*step, rival.step, second_sent.get()),
        Who::Second => (rival.step, *step, first_sent.get()),
    };
    let spent = if was_sent { course.prompt(&loser) } else { 0 };
    let spent = other_runs.then_some(spent);
    let winning = (who, is_good(who, &outcome), began);
    conclude(down, settle, rival, winning, spent);
    finish(course, down, settle, &winner, outcome).await
}

/// The client went away.
fn gone<H: Host>(course: &Course<'_, H>, step: &Step<'_>) -> Kind {
    if step.permits.host.is_probe() {
        course.connected(step, Outcome::Neutral);
    }
    Kind::ClientGone
}

/// The race is over, which began at `began`: `who` is what the attempt is now. The other one, if
/// it still ran, spent tokens on its prompt.
fn conclude<L: Link, H: Host<Stream = L>>(
    down: &mut Down<L>,
    settle: &mut Settle<H>,
    rival: Rival<'_, H>,
    (who, is_good, began): (Who, bool, Instant),
    spent: Option<u64>,
) {
    let mut beside = rival.beside;
    if let Some(tokens) = spent {
        if who == Who::Second {
            beside.change_places(settle);
        }
        beside.lose(settle, tokens);
    }
    let end = match who {
        Who::First if rival.has_failed => HedgeEnd::Failed,
        Who::First => HedgeEnd::Lost,
        Who::Second if is_good => HedgeEnd::Won,
        Who::Second => HedgeEnd::Failed,
    };
    beside.hedged(settle, end);
    if who == Who::Second {
        // The provider that was waited for until then was the other one.
        settle.receipt.upstream += rival.began.since(began);
    }
    let [first, second] = rival.forms;
    if let Some(rewrite) = rewrite(down) {
        rewrite.put_form(if who == Who::First { first } else { second });
    }
    settle.weight = weight(down);
}

/// When the attempt at the target of `step`, which began at `began`, gets company.
fn due<H: Host>(course: &Course<'_, H>, step: &Step<'_>, hedge: &Hedge, began: Instant) -> Instant {
    let places = &course.snapshot.places;
    let target = places.target(step.model_index, step.target_index);
    let after = target.and_then(|target| {
        let hedging = course.shard.hedging.borrow();
        hedging.after(hedge, (target, course.is_stream))
    });
    after.map_or(Instant::FAR, |after| began + after)
}

fn poll<F, T>(
    first: &mut Run<F>,
    second: &mut Run<F>,
    cx: &mut Context<'_>,
) -> Poll<(Who, Result<T, Kind>)>
where
    F: Future<Output = Result<T, Kind>>,
{
    for (who, place) in [(Who::First, first), (Who::Second, second)] {
        if let Some(run) = place
            && let Poll::Ready(outcome) = run.as_mut().poll(cx)
        {
            *place = None;
            return Poll::Ready((who, outcome));
        }
    }
    Poll::Pending
}

/// A request for the target of `step` on its way; `None` when it is too long for that.
fn errand<'r, H: Host>(
    course: &Course<'_, H>,
    down: &Down<H::Stream>,
    step: &Step<'_>,
    was_sent: &'r Cell<bool>,
) -> Option<(Errand<'r>, bool)> {
    let request = sending::copy(course, down, step)?;
    let timer = course.shard.deadlines.timer();
    let is_translated = course.is_translated(down, step);
    Some((Errand::new(request, timer, was_sent), is_translated))
}

/// A second attempt, if there may be one (G1, G2).
fn prepare<'a, 'r, H: Host>(
    course: &Course<'a, H>,
    down: &mut Down<H::Stream>,
    settle: &mut Settle<H>,
    (step, model): (&Step<'_>, usize),
    was_sent: &'r Cell<bool>,
) -> Option<(Rival<'a, H>, (Errand<'r>, bool))> {
    let shard = course.shard;
    let may = shard.hedging.borrow().has_one(model) && course.is_calm(step);
    let first_form = rewrite(down).map(Rewrite::take_form).unwrap_or_default();
    let rival = may.then(|| course.rival(down, settle)).flatten();
    let prepared = rival.and_then(|step| {
        let errand = errand(course, down, &step, was_sent);
        if errand.is_none() {
            settle.pass_over(&step);
        }
        Some((step, errand?))
    });
    let Some((step, errand)) = prepared else {
        if let Some(rewrite) = rewrite(down) {
            rewrite.put_form(first_form);
        }
        settle.hedged(HedgeEnd::Denied);
        return None;
    };
    let second_form = rewrite(down).map(Rewrite::take_form).unwrap_or_default();
    shard.hedging.borrow_mut().spend(model);
    if step.fallback.is_some() {
        course.count_fallback(settle, &step, "hedge");
    }
    let began = shard.host.now();
    let beside = Beside::begin(shard, settle, (&step, course.tokens(&step)), began);
    let rival = Rival {
        step,
        began,
        beside,
        forms: [first_form, second_form],
        has_failed: false,
    };
    Some((rival, errand))
}

fn rewrite<L>(down: &mut Down<L>) -> Option<&mut Rewrite> {
    let request = down.request.as_mut()?;
    request.wanted.as_mut()?.rewrite.as_deref_mut()
}

/// Whether this ends the race. A refusal that is the caller's fault is believed of the first
/// target: the second one may be another model, with other demands.
fn is_good<H: Host>(who: Who, outcome: &Result<Answer<H>, Kind>) -> bool {
    let Ok(answer) = outcome else {
        return false;
    };
    match refusal(answer.head.status) {
        Refusal::None => true,
        Refusal::Caller => who == Who::First,
        Refusal::Retriable | Refusal::Key | Refusal::Nonsense => false,
    }
}

/// One of the two failed; the other goes on as the attempt (G5).
fn give_up<H: Host>(
    course: &Course<'_, H>,
    settle: &mut Settle<H>,
    rival: &mut Rival<'_, H>,
    (who, first): (Who, &Step<'_>),
    outcome: &Result<Answer<H>, Kind>,
) {
    let step = match who {
        Who::First => first,
        Who::Second => &rival.step,
    };
    let (end, said) = match outcome {
        Ok(answer) => {
            let status = answer.head.status;
            if refusal(status) == Refusal::Key {
                limits::refused_key(course, step, status);
            }
            (AttemptEnd::Refused, Outcome::of_status(status))
        }
        Err(kind) => (AttemptEnd::Failed, Outcome::of_fault(*kind, false)),
    };
    rival.has_failed |= who == Who::Second;
    if who == Who::First {
        rival.beside.change_places(settle);
    }
    rival.beside.end(end, said);
}

/// What is left of the race is an attempt like any other.
async fn finish<'a, H: Host>(
    course: &Course<'a, H>,
    down: &mut Down<H::Stream>,
    settle: &mut Settle<H>,
    step: &Step<'_>,
    outcome: Result<Answer<H>, Kind>,
) -> Result<Next, Failed<'a>> {
    let mut answer = outcome.map_err(Failed::Fault)?;
    let refusal = attempt::judge(course, down, step, &answer)?;
    attempt::deliver(course, down, settle, step, (&mut answer, refusal)).await
}

/// Asks the target of `step`, and holds its answer until its first content.
async fn run<H: Host>(
    course: &Course<'_, H>,
    step: Step<'_>,
    (mut errand, is_translated): (Errand<'_>, bool),
    id: RequestId,
) -> Result<Answer<H>, Kind> {
    let mut answer = ask_target(course, &mut errand, &step).await?;
    errand.drop_request();
    if refusal(answer.head.status) != Refusal::None {
        attempt::hear_out(course, &mut errand, &step, &mut answer).await;
    } else if course.is_stream && relay::is_stream(&answer, step.provider) {
        let seen = watch(course, &step, is_translated, id);
        hold_stream(course, &mut errand, &step, (&mut answer, seen)).await?;
    } else {
        hold_plain(course, &mut errand, &step, &mut answer).await?;
    }
    Ok(answer)
}

/// What looks at a stream as the relay will.
fn watch<H: Host>(
    course: &Course<'_, H>,
    step: &Step<'_>,
    is_translated: bool,
    id: RequestId,
) -> Seen {
    let form = StreamForm {
        wants_usage: course.wants_usage,
        is_chunked: false,
        is_single: course.is_single,
    };
    let wire = relay::wire(step.provider);
    let from = step.provider.dialect.speaks();
    let translator = relay::translator(course, step, is_translated, || Naming::new(course, id, ""));
    Seen::new((from, wire), 0, form, translator)
}

/// Reads the stream `answer` until its first content is here, or its end.
async fn hold_stream<H: Host>(
    course: &Course<'_, H>,
    errand: &mut Errand<'_>,
    step: &Step<'_>,
    (answer, mut seen): (&mut Answer<H>, Seen),
) -> Result<(), Kind> {
    let shard = course.shard;
    let mut tx = TxBuf::new(&shard.buffers);
    let mut body = Incoming::new(&answer.head);
    let mut copy = copied(course, answer);
    body.absorb(&mut copy)?;
    let until = answer.sent + step.timeouts().first_token;
    loop {
        seen.digest(shard, &mut copy, &mut body, &mut tx);
        tx.clear();
        if seen.has_content || answer.rx.len() > answer.head.len + relay::HELD_MAX {
            return Ok(());
        }
        if let Some(fault) = seen.fault {
            return Err(fault);
        }
        if seen.has_done || body.is_done {
            return seen.end(&copy, &mut tx);
        }
        let late = (until, Kind::FirstTokenTimeout);
        read(course, errand, (answer, &mut copy), &mut body, late).await?;
    }
}

/// Reads the plain `answer` until it is here as a whole, or is too long to be held.
async fn hold_plain<H: Host>(
    course: &Course<'_, H>,
    errand: &mut Errand<'_>,
    step: &Step<'_>,
    answer: &mut Answer<H>,
) -> Result<(), Kind> {
    let mut body = Incoming::new(&answer.head);
    let mut copy = copied(course, answer);
    body.absorb(&mut copy)?;
    while !body.is_done && answer.rx.len() <= answer.head.len + HOLD_MAX {
        let decoded = body.decoded;
        body.passed(&mut copy, decoded);
        let until = course.shard.host.now() + step.timeouts().idle;
        let late = (until, Kind::IdleTimeout);
        read(course, errand, (answer, &mut copy), &mut body, late).await?;
    }
    Ok(())
}

/// What has come of the body of `answer`.
fn copied<H: Host>(course: &Course<'_, H>, answer: &Answer<H>) -> RxBuf {
    let mut copy = RxBuf::new(&course.shard.buffers);
    copy.put(answer.rx.data().get(answer.head.len..).unwrap_or_default());
    copy
}

/// Reads once more, into the answer as it comes and without its framing into `copy`.
async fn read<H: Host>(
    course: &Course<'_, H>,
    errand: &mut Errand<'_>,
    (answer, copy): (&mut Answer<H>, &mut RxBuf),
    body: &mut Incoming,
    (until, late): (Instant, Kind),
) -> Result<(), Kind> {
    if body.is_broken() {
        return Err(Kind::UpstreamCut);
    }
    Asker::<H>::arm(errand, until.min(course.total));
    let Answer { lease, rx, .. } = answer;
    let before = rx.len();
    match Asker::<H>::wait(errand, |cx| lease.poll_read(cx, rx)).await {
        Wait::Done(Ok(1..)) => {
            copy.put(rx.data().get(before..).unwrap_or_default());
            body.absorb(copy).map(drop)
        }
        Wait::Done(Ok(_)) => body.end(),
        Wait::Done(Err(_)) => Err(Kind::UpstreamCut),
        Wait::Late => Err(course.late(late)),
        Wait::Gone => Err(Kind::ClientGone),
    }
}
