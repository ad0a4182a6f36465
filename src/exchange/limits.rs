//! Heeds what providers say of their limits: who refuses, or says that nothing is left, is left
//! alone by the whole box until its time.
//!
//! ```text
//!   an answer's fields ──► Announced ──► Targets::cool ──► the other shards, at once
//!   a 429's body ──► quota spent? ──► all targets of that provider
//! ```
//!
//! The body of a refusal is looked at where it stands: who delivers it later finds it untouched.

use super::answer::body_so_far;
use super::asker::Asker;
use super::course::Course;
use super::down::Wait;
use super::lease::Answer;
use super::plain;
use crate::dialect::model::{Refused, Trouble};
use crate::host::Host;
use crate::policy::limits::{Announced, REFUSED_WAIT, is_low};
use crate::policy::plan::Step;
use crate::policy::retry::Hope;
use crate::wire::http1::{Framing, ResponseHead};
use std::time::Duration;

/// How long the body of a refusal is waited for: it tells whether a quota is spent.
const BODY_WAIT: Duration = Duration::from_millis(100);

/// Bytes of a refusal that are read for that.
const BODY_MAX: usize = 16 << 10;

/// Whether a field of an answer leads to [`heed`].
pub fn may_matter(name: &[u8], value: &[u8]) -> bool {
    // Most say plenty: a look at the value decides.
    value.len() < 4 && value.iter().all(u8::is_ascii_digit) && is_low(name, value)
}

/// Heeds the head of an answer, which stands at the beginning of `data`.
pub fn heed<H: Host>(
    course: &Course<'_, H>,
    step: &Step<'_>,
    (head, data): (&ResponseHead, &[u8]),
) {
    let wait = announced(course, head, data).verdict(head.status, course.tokens(step));
    if let Some(wait) = wait {
        course.cool(step, wait);
    }
}

fn announced<H: Host>(course: &Course<'_, H>, head: &ResponseHead, data: &[u8]) -> Announced {
    let wall = Duration::from_nanos(course.shard.host.wall_nanos());
    let mut all = Announced::default();
    for (name, value) in head.fields(data) {
        all.note(name, value, wall);
    }
    all
}

/// Heeds a refusal, of a 429 and a 402 the body as well; whether it is worth asking again.
pub async fn hear_out<H: Host>(
    course: &Course<'_, H>,
    asker: &mut impl Asker<H>,
    step: &Step<'_>,
    answer: &mut Answer<H>,
) -> Hope {
    let status = answer.head.status;
    if !matches!(status, 402 | 429) {
        heed(course, step, (&answer.head, answer.rx.data()));
        return match status {
            409 | 501 | 505 => Hope::None, // it would say so again
            _ => Hope::More,
        };
    }
    asker.arm((course.shard.host.now() + BODY_WAIT).min(course.total));
    while !is_here(answer) && answer.rx.len() < answer.head.len + BODY_MAX {
        let Answer { lease, rx, .. } = answer;
        match asker.wait(|cx| lease.poll_read(cx, rx)).await {
            Wait::Done(Ok(1..)) => {}
            _ => break, // what came is what there is
        }
    }
    let mut said = announced(course, &answer.head, answer.rx.data());
    let (body, _) = body_so_far(answer);
    let refused = plain::refusal(step, status, &body);
    said.wait(refused.retry_after);
    let is_spent = refused.trouble == Trouble::Quota || status == 402;
    if is_spent {
        course.cool_provider(step, said.quota());
    } else if let Some(wait) = said.verdict(status, course.tokens(step)) {
        course.cool(step, wait);
    }
    if is_spent { Hope::None } else { Hope::More }
}

/// The gateway's key was refused: with 403 perhaps for this model alone. (402 was heard out.)
pub fn refused_key<H: Host>(course: &Course<'_, H>, step: &Step<'_>, status: u16) {
    match status {
        401 | 407 => course.cool_provider(step, REFUSED_WAIT),
        403 => course.cool(step, REFUSED_WAIT),
        _ => {}
    }
}

/// Heeds an error that was read already: a limit in a 400 or in a 200 is one, too; whether its
/// target is worth asking again.
pub fn heed_words<H: Host>(course: &Course<'_, H>, step: &Step<'_>, refused: &Refused) -> Hope {
    let mut said = Announced::default();
    said.wait(refused.retry_after);
    match refused.trouble {
        Trouble::Quota => course.cool_provider(step, said.quota()),
        Trouble::Auth => course.cool_provider(step, REFUSED_WAIT),
        Trouble::RateLimit => {
            let wait = said.verdict(429, 0);
            course.cool(step, wait.unwrap_or_default());
        }
        _ => {}
    }
    match refused.trouble {
        Trouble::Quota | Trouble::NotFound | Trouble::Permission => Hope::None,
        _ => Hope::More,
    }
}

/// Whether the whole body has come, as far as that can be seen.
fn is_here<H: Host>(answer: &Answer<H>) -> bool {
    let body = answer.rx.data().get(answer.head.len..).unwrap_or_default();
    match answer.head.framing {
        Framing::None => true,
        Framing::Length(length) => body.len() as u64 >= length,
        Framing::Chunked => body.ends_with(b"0\r\n\r\n"),
        Framing::UntilClose => false,
    }
}
