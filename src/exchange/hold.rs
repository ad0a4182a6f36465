//! An attempt of a race, up to its first content: what arrives is held as it came.
//!
//! ```text
//!   connection ─► answer.rx [ head, body in its framing ] ─────────► relay, plain: as if new
//!                    └─► copy, framing off ─► looked at ─► content? an error? broken?
//! ```
//!
//! A stream is looked at by what the relay looks at it with; of a plain answer the whole is
//! waited for, up to [`HOLD_MAX`], and errors are told by what they say.
//!
//! Invariants
//! - O1 Nothing of the answer is consumed: who delivers it finds it from its head on.
//! - O2 What is held is an answer, or known not to be one: a winner does not turn out to be an
//!   error that the relay or [`super::plain`] would have gone on from.

use super::answer::{HOLD_MAX, Incoming, patience};
use super::asker::{Asker, Errand};
use super::attempt::{Refusal, ask_target, hear_out, refusal};
use super::course::{Course, first_token};
use super::down::Wait;
use super::lease::Answer;
use super::seen::{Form, Policy, Seen};
use super::translator::Naming;
use super::{limits, plain, relay};
use crate::base::bytes::{RxBuf, TxBuf};
use crate::base::fault::Kind;
use crate::base::time::Instant;
use crate::config::Reason;
use crate::dialect::model::Trouble;
use crate::dialect::speak;
use crate::host::Host;
use crate::policy::plan::Step;
use crate::policy::reason;
use crate::policy::retry::Hope;
use crate::stats::receipt::RequestId;
use crate::wire::http1::Known;

/// An answer of which enough is here.
#[derive(Debug)]
pub struct Held<H: Host> {
    /// It.
    pub answer: Answer<H>,
    /// What it is, by its status and by what it says.
    pub refusal: Refusal,
    /// Its status, or the one that it should have.
    pub status: u16,
    /// Of a refusal, whether its target is worth asking again.
    pub hope: Hope,
}

/// Asks the target of `step`, and holds its answer until its first content. `is_translated`
/// for the client, who knows the exchange as `id`.
///
/// # Errors
/// What went wrong before that.
pub async fn ask<H: Host>(
    course: &Course<'_, H>,
    step: Step<'_>,
    (mut errand, is_translated): (Errand<'_>, bool),
    id: RequestId,
) -> Result<Held<H>, Kind> {
    let mut answer = ask_target(course, &mut errand, &step).await?;
    errand.drop_request();
    let status = answer.head.status;
    let mut found = (refusal(status), status, Hope::None);
    match found.0 {
        Refusal::None if course.is_stream && relay::is_stream(&answer, step.provider) => {
            let seen = watch(course, &step, is_translated, id);
            hold_stream(course, &mut errand, &step, (&mut answer, seen)).await?;
        }
        Refusal::None | Refusal::Caller => {
            let body = hold_plain(course, &mut errand, &step, &mut answer).await?;
            found = judge(course, &step, &answer, body.as_ref().map(RxBuf::data))?;
        }
        Refusal::Retriable | Refusal::Key | Refusal::Nonsense => {
            found.2 = hear_out(course, &mut errand, &step, &mut answer).await;
        }
    }
    let (refusal, status, hope) = found;
    Ok(Held {
        answer,
        refusal,
        status,
        hope,
    })
}

/// What looks at a stream as the relay will.
fn watch<H: Host>(
    course: &Course<'_, H>,
    step: &Step<'_>,
    is_translated: bool,
    id: RequestId,
) -> Seen {
    let form = Form {
        wants_usage: course.wants_usage,
        is_chunked: false,
        is_single: course.is_single,
        policy: Policy::Ignored, // the relay looks
    };
    let wire = relay::wire(step.provider);
    let from = step.provider.dialect.speaks();
    let naming = || Naming::new(course, id, "");
    let translator = relay::translator(course, step, (is_translated, None), naming);
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
    let patience = Asker::<H>::patience(errand, course);
    let until = first_token(course, patience, step, answer.sent);
    loop {
        seen.digest(&shard.scratch, &mut copy, &mut body, &mut tx);
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

/// Reads the plain `answer` until it is here as a whole, and gives its body; `None`: it is too
/// long to be held.
async fn hold_plain<H: Host>(
    course: &Course<'_, H>,
    errand: &mut Errand<'_>,
    step: &Step<'_>,
    answer: &mut Answer<H>,
) -> Result<Option<RxBuf>, Kind> {
    let mut body = Incoming::new(&answer.head);
    let mut copy = copied(course, answer);
    body.absorb(&mut copy)?;
    while !body.is_done {
        if copy.len() > HOLD_MAX {
            return Ok(None);
        }
        let late = patience(course, errand, step, answer.sent);
        read(course, errand, (answer, &mut copy), &mut body, late).await?;
    }
    Ok(Some(copy))
}

/// What a plain answer is, and the status that it should have (O2).
fn judge<H: Host>(
    course: &Course<'_, H>,
    step: &Step<'_>,
    answer: &Answer<H>,
    body: Option<&[u8]>,
) -> Result<(Refusal, u16, Hope), Kind> {
    let status = answer.head.status;
    let as_it_says = (refusal(status), status, Hope::None);
    let coding = answer.head.known(Known::ContentEncoding);
    let Some(body) = body.filter(|_| coding.is_none()) else {
        return Ok(as_it_says);
    };
    if status < 400 {
        let facts = speak::look_at_answer(step.provider.dialect.speaks(), body);
        if !facts.is_json_object() {
            return Err(Kind::UpstreamGarbled);
        }
        if facts.has_result || !facts.has_error {
            return Ok(as_it_says);
        }
    }
    let refused = plain::refusal(step, status, body);
    let hope = limits::heed_words(course, step, &refused);
    let trouble = refused.trouble;
    let refusal = match reason::of_refusal(status, trouble) {
        _ if trouble == Trouble::Auth => Refusal::Key,
        None | Some(Reason::ContextLength | Reason::ContentPolicy) => Refusal::Caller,
        Some(_) => Refusal::Retriable,
    };
    Ok((refusal, trouble.status_for(status), hope))
}

/// What has come of the body of `answer`.
fn copied<H: Host>(course: &Course<'_, H>, answer: &Answer<H>) -> RxBuf {
    let mut copy = RxBuf::new(&course.shard.buffers);
    copy.put(answer.rx.data().get(answer.head.len..).unwrap_or_default());
    copy
}

/// Reads once more, into the answer as it comes (O1) and without its framing into `copy`.
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
