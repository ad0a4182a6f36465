//! A race: a second attempt starts beside a slow one, and the first content wins.
//!
//! ```text
//!   first  ─► ask ─► hold ────────────── nothing yet ──────────────┬─► content? ─► delivered
//!               `after` passes ─► purse, budget, breakers ─► ask ─► hold ─┘  the other: closed
//! ```
//!
//! For models with `hedge` alone. Both attempts are errands ([`Errand`]): each has its own copy of
//! the request, its own connection and timer, and holds what arrives until its first content is
//! here ([`super::hold`]). So the winner is an answer like any other, and is delivered from its
//! head on.
//!
//! Invariants
//! - G1 One hedge for an attempt at the most; it counts as an attempt, and is paid for from the
//!   model's purse and from the box's retry budget.
//! - G2 None while a breaker of either target or its host is open, half-open or recovering.
//! - G3 When an attempt is delivered, no other one is connected.
//! - G4 Of the two that began each is settled once, also when this is dropped half way.
//! - G5 One of two that fails leaves the other to go on alone; what becomes of that one is what
//!   becomes of the attempt.

use super::asker::Errand;
use super::attempt::{self, Failed, Refusal};
use super::beside::Beside;
use super::connection::Next;
use super::course::{Course, weight};
use super::down::{Down, Wait};
use super::hold::{self, Held};
use super::rewrite::{Form, Rewrite};
use super::settle::Settle;
use super::{fallback, limits, sending};
use crate::base::fault::Kind;
use crate::base::time::Instant;
use crate::config::Reason;
use crate::config::model::Hedge;
use crate::host::{Host, Link};
use crate::policy::breaker::Outcome;
use crate::policy::plan::Step;
use crate::policy::reason;
use crate::policy::retry::Hope;
use crate::stats::receipt::{AttemptEnd, HedgeEnd, Why};
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
    /// What it got: a refusal that is the caller's fault, if the first one fails as well.
    held: Option<Held<H>>,
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
    let model = settle.receipt.model().unwrap_or_default();
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
    let mut first = Some(Box::pin(hold::ask(course, *step, errand, id)));
    let mut second = None;
    let mut rival: Option<Rival<'a, H>> = None;
    down.arm(due(course, step, hedge, began));
    let (who, outcome, other_runs) = loop {
        let waited = down.wait(|cx| poll(&mut first, &mut second, cx)).await;
        let (who, outcome) = match waited {
            Wait::Done(ended) => ended,
            Wait::Gone => return Err(gone(course, settle, step, rival).into()),
            Wait::Late => {
                down.arm(Instant::FAR); // both have their own ends
                if !shard.is_over() && rival.is_none() {
                    let found = prepare(course, down, settle, (step, model), second_sent);
                    let (found, errand) = found.unzip();
                    rival = found;
                    second = rival
                        .as_ref()
                        .zip(errand)
                        .map(|(rival, errand)| Box::pin(hold::ask(course, rival.step, errand, id)));
                }
                continue;
            }
        };
        let other_runs = first.is_some() || second.is_some();
        let has_other = other_runs || rival.as_ref().is_some_and(|rival| rival.held.is_some());
        if !has_other || is_good(who, &outcome) {
            break (who, outcome, other_runs);
        }
        if let Some(rival) = &mut rival
            && let Some(held) = give_up(course, (down, settle), rival, (who, step), outcome)
        {
            break (Who::Second, Ok(held), false);
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
    if who == Who::First {
        course.change_places(down); // the plan's last step, too
    }
    conclude(down, settle, rival, winning, spent);
    finish(course, down, settle, &winner, outcome).await
}

/// The client went away.
fn gone<H: Host>(
    course: &Course<'_, H>,
    settle: &mut Settle<H>,
    step: &Step<'_>,
    rival: Option<Rival<'_, H>>,
) -> Kind {
    if let Some(mut rival) = rival {
        let beside = &mut rival.beside;
        beside.end(
            settle,
            AttemptEnd::Cancelled,
            Why::Nothing,
            Outcome::Neutral,
        );
    }
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
    if let Some(refused) = rival.held {
        let status = refused.status;
        let (why, said) = (Why::Status(status), Outcome::of_status(status));
        beside.end(settle, AttemptEnd::Refused, why, said);
    }
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
    let request = (request, course.patience(down));
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
        held: None,
    };
    Some((rival, errand))
}

fn rewrite<L>(down: &mut Down<L>) -> Option<&mut Rewrite> {
    let request = down.request.as_mut()?;
    request.wanted.as_mut()?.rewrite.as_deref_mut()
}

/// Whether this ends the race. A refusal that is the caller's fault is believed of the first
/// target: the second one may be another model, with other demands; what it says is held until
/// the first one has failed.
fn is_good<H: Host>(who: Who, outcome: &Result<Held<H>, Kind>) -> bool {
    match outcome.as_ref().map(|held| held.refusal) {
        Ok(Refusal::None) => true,
        Ok(Refusal::Caller) => who == Who::First,
        Ok(Refusal::Retriable | Refusal::Key | Refusal::Nonsense) | Err(_) => false,
    }
}

/// One of the two failed; the other goes on as the attempt (G5). When it is over already, what
/// came of it.
fn give_up<H: Host>(
    course: &Course<'_, H>,
    (down, settle): (&mut Down<H::Stream>, &mut Settle<H>),
    rival: &mut Rival<'_, H>,
    (who, first): (Who, &Step<'_>),
    outcome: Result<Held<H>, Kind>,
) -> Option<Held<H>> {
    rival.has_failed |= who == Who::Second;
    let step = match who {
        Who::First => first,
        Who::Second => &rival.step,
    };
    let reason = match &outcome {
        Ok(held) if held.refusal == Refusal::Retriable => {
            fallback::reason_so_far(&held.answer, step)
        }
        Ok(_) => Reason::Error,
        Err(kind) => reason::of_fault(*kind),
    };
    let (end, why, said, hope) = match outcome {
        Ok(held) if held.refusal == Refusal::Caller => {
            debug_assert_eq!(who, Who::Second, "that of the first one ends the race");
            rival.held = Some(held);
            return None;
        }
        Ok(held) => {
            if held.refusal == Refusal::Key {
                limits::refused_key(course, step, held.status);
            }
            let status = held.status;
            let (why, said) = (Why::Status(status), Outcome::of_status(status));
            (AttemptEnd::Refused, why, said, held.hope)
        }
        Err(kind) => {
            let (why, said) = (Why::Fault(kind), Outcome::of_fault(kind, false));
            (AttemptEnd::Failed, why, said, Hope::after(kind))
        }
    };
    fallback::note(down, step, reason);
    course.failed_beside(down, who == Who::Second, hope);
    if who == Who::First {
        rival.beside.change_places(settle);
    }
    rival.beside.end(settle, end, why, said);
    rival.held.take()
}

/// What is left of the race is an attempt like any other.
async fn finish<'a, H: Host>(
    course: &Course<'a, H>,
    down: &mut Down<H::Stream>,
    settle: &mut Settle<H>,
    step: &Step<'_>,
    outcome: Result<Held<H>, Kind>,
) -> Result<Next, Failed<'a>> {
    let Held {
        mut answer, hope, ..
    } = outcome.map_err(Failed::Fault)?;
    let refusal = attempt::judge(course, down, step, (&answer, hope))?;
    attempt::deliver(course, down, settle, step, (&mut answer, refusal)).await
}
