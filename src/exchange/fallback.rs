//! What an attempt came to, for who is asked next: by what the provider says, wherever it says it.
//!
//! ```text
//!   status ≥ 400, body here ──┐
//!   status ≥ 400, body read ──┼─► policy::reason ─► Plan ─► the next target, or none
//!   error event, stop for ────┤                               └► the client gets these words
//!   content, in a stream      │
//!   a fault ──────────────────┘
//! ```
//!
//! Invariants
//! - K1 A mistake of the caller's is asked of nobody else, also when it is told inside a 200.
//! - K2 What a provider told in a stream before its content is the client's when nobody else
//!   answers: with its words and the status that goes with them.

use super::answer::body_so_far;
use super::attempt::Failed;
use super::course::{AS_ASKED, Course};
use super::down::Down;
use super::lease::Answer;
use super::limits;
use super::plain;
use super::seen::{Policy, Seen};
use super::settle::Settle;
use crate::base::fault::Kind;
use crate::config::Reason;
use crate::dialect::filtered;
use crate::dialect::model::{Refused, Trouble};
use crate::host::Host;
use crate::policy::breaker::Outcome;
use crate::policy::plan::Step;
use crate::policy::reason;
use crate::policy::retry::Hope;
use crate::stats::receipt::{AttemptEnd, Why};

/// Why an answer with a status that says "elsewhere" is a refusal: by its words, as far as they
/// are here already. A provider in trouble is not waited for.
pub fn reason_so_far<H: Host>(answer: &Answer<H>, step: &Step<'_>) -> Reason {
    let status = answer.head.status;
    let (body, is_whole) = body_so_far(answer);
    let trouble = if is_whole && !body.is_empty() {
        plain::refusal(step, status, &body).trouble
    } else {
        Trouble::of_status(status)
    };
    reason::of_refusal(status, trouble).unwrap_or(Reason::Error)
}

/// Whether the whole `answer`, which was `refused` in these words if it is an error, is left for
/// another target.
///
/// # Errors
/// It is.
pub fn leave<'a, H: Host>(
    course: &Course<'a, H>,
    down: &mut Down<H::Stream>,
    settle: &Settle<H>,
    step: &Step<'_>,
    (answer, refused): (&Answer<H>, Option<&Refused>),
) -> Result<(), Failed<'a>> {
    let status = answer.head.status;
    let mut hope = Hope::None;
    let reason = match refused {
        Some(refused) => {
            hope = limits::heed_words(course, step, refused);
            if refused.trouble == Trouble::Auth {
                return Err(Kind::UpstreamRefusedKey.into());
            }
            reason::of_refusal(status, refused.trouble)
        }
        None if status < 400 && course.minds_content(settle) => {
            let spoken = step.provider.dialect.speaks();
            let is_filtered = filtered::is_all(spoken, answer.rx.data());
            is_filtered.then_some(Reason::ContentPolicy)
        }
        None => None,
    };
    let another = reason.and_then(|reason| course.another(down, step, (reason, hope)));
    let Some(another) = another else {
        return Ok(());
    };
    let told = refused.map_or(Trouble::ContentPolicy, |refused| refused.trouble);
    Err(Failed::Refused(told.status_for(status), another))
}

/// Whether a stream that nothing was sent of is left for another target, as it was ended for its
/// content.
///
/// # Errors
/// It is.
pub fn leave_stream<'a, H: Host>(
    course: &Course<'a, H>,
    down: &mut Down<H::Stream>,
    step: &Step<'_>,
    seen: &mut Seen,
) -> Result<(), Failed<'a>> {
    if seen.form.policy != Policy::Broken {
        return Ok(());
    }
    seen.form.policy = Policy::Ignored; // it is asked once
    let why = (Reason::ContentPolicy, Hope::None);
    let Some(another) = course.another(down, step, why) else {
        return Ok(());
    };
    down.tx.clear();
    Err(Failed::Refused(Trouble::ContentPolicy.status(), another))
}

/// A stream was refused before its content, in these words, if there are any. What they say of
/// the target is settled here.
pub fn keep_words<H: Host>(
    course: &Course<'_, H>,
    down: &mut Down<H::Stream>,
    settle: &mut Settle<H>,
    step: &Step<'_>,
    seen: &mut Seen,
) {
    let refused = seen.take_refused(down.tx.unsent());
    if let Some(refused) = &refused {
        limits::heed_words(course, step, refused);
        let status = refused.trouble.status();
        let said = Outcome::of_status(status);
        settle.end_attempt(AttemptEnd::Refused, Why::Status(status), said);
    }
    let wanted = down.request.as_mut().and_then(|it| it.wanted.as_mut());
    if let Some(wanted) = wanted {
        let refused = refused.filter(|refused| refused.trouble != Trouble::Auth);
        wanted.rewrite.get_or_insert_default().said = refused.map(Box::new);
    }
}

/// Why an attempt failed with `kind`; `None`: it is the caller's mistake (K1).
pub fn reason_of<L>(down: &Down<L>, kind: Kind) -> Option<Reason> {
    let wanted = down.request.as_ref().and_then(|it| it.wanted.as_ref());
    let rewrite = wanted.and_then(|wanted| wanted.rewrite.as_ref());
    match rewrite.and_then(|rewrite| rewrite.said.as_ref()) {
        Some(said) if kind == Kind::UpstreamError => reason::of_refusal(200, said.trouble),
        _ => Some(reason::of_fault(kind)),
    }
}

/// Another attempt begins: what was said before is not of it.
pub fn forget<L>(down: &mut Down<L>) {
    let wanted = down.request.as_mut().and_then(|it| it.wanted.as_mut());
    if let Some(rewrite) = wanted.and_then(|wanted| wanted.rewrite.as_mut()) {
        rewrite.said = None;
    }
}

/// Tells the plan of `down` why the attempt at `step` gave nothing.
pub fn note<L>(down: &mut Down<L>, step: &Step<'_>, reason: Reason) {
    let wanted = down.request.as_mut().and_then(|it| it.wanted.as_mut());
    let Some(wanted) = wanted else {
        return;
    };
    let name = match step.upstream_model {
        AS_ASKED => &*wanted.forwarded,
        name => name,
    };
    let target = step.model.targets.get(step.target_index);
    let target = target.filter(|_| reason == Reason::ContextLength);
    let window = target.and_then(|target| target.window(name));
    wanted.plan.fail(reason, window);
}

/// What counts as the reason for a fallback after the refusal that came last.
pub fn why<L>(down: &Down<L>) -> &'static str {
    let wanted = down.request.as_ref().and_then(|it| it.wanted.as_ref());
    match wanted.and_then(|wanted| wanted.plan.reason()) {
        Some(reason @ (Reason::ContextLength | Reason::ContentPolicy)) => reason.name(),
        _ => "refused",
    }
}
