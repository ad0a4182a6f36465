//! Delivers a plain answer: held until it is whole, then passed on byte for byte.
//!
//! An answer that breaks off while it is held is another attempt, which the client never
//! notices. One that grows beyond [`HOLD_MAX`] is passed on as it comes; when that breaks
//! off, the client's connection is closed in mid-body, so that nobody takes it for whole.
//!
//! An answer in another dialect than the client's is held whole, whatever its length, and
//! written anew ([`Page`]).

use super::answer::{HOLD_MAX, Incoming, patience, put_answer_head, read_more, retry_after};
use super::attempt::Failed;
use super::connection::{Next, push};
use super::course::Course;
use super::down::Down;
use super::fallback;
use super::keep;
use super::lease::Answer;
use super::reply::put_last_event;
use super::request::{Request, asked};
use super::rewrite::Rewrite;
use super::seen::EVENT_MAX;
use super::settle::Settle;
use super::tail::Tail;
use super::translator::{Naming, usage};
use crate::base::bytes::TxBuf;
use crate::base::fault::Kind;
use crate::dialect::bedrock::{error::error_type, invoked};
use crate::dialect::model::embed::Embed;
use crate::dialect::model::{About, Dialect, Refused, Told, Trouble};
use crate::dialect::openai::Usage;
use crate::dialect::route::Route;
use crate::dialect::{anthropic, speak};
use crate::host::{Host, Link};
use crate::policy::breaker::Outcome;
use crate::policy::plan::Step;
use crate::stats::receipt::{AttemptEnd, Why};
use crate::wire::http1::{
    END_OF_HEAD, Framing, Known, LAST_CHUNK, put_chunk, put_decimal_field, put_own_field,
};
use std::time::Duration;

/// The longest translated answer with embeddings: some 2000 vectors of 3072 numbers.
const VECTORS_MAX: usize = 128 << 20;

/// Delivers `answer`, which has any status that a client may see.
///
/// # Errors
/// A fault before anything went downstream; the attempt may be repeated elsewhere. A refusal
/// that says so, when there is another target.
pub async fn deliver<'a, H: Host>(
    course: &Course<'a, H>,
    down: &mut Down<H::Stream>,
    settle: &mut Settle<H>,
    step: &Step<'_>,
    answer: &mut Answer<H>,
) -> Result<Next, Failed<'a>> {
    let shard = course.shard;
    let is_translated = course.is_translated(down, step);
    // The head goes into `tx` as soon as the body is known; its spans point into `rx`, so
    // it is kept aside while the body takes the buffer over.
    let mut parts = (TxBuf::new(&shard.buffers), Incoming::new(&answer.head));
    let (head, body) = &mut parts;
    head.put(answer.rx.data().get(..answer.head.len).unwrap_or_default());
    answer.rx.consume(answer.head.len);
    body.absorb(&mut answer.rx)?;
    while !body.is_done {
        let is_long = body.decoded > HOLD_MAX;
        if is_long && (down.has_begun() || is_translated && body.decoded > longest(course.route)) {
            return Err(Kind::UpstreamGarbled.into()); // no stream, and no error that could be shown
        }
        if is_long && !is_translated {
            let passed = pass_through(course, down, settle, step, (answer, &mut parts)).await;
            return Ok(passed?);
        }
        let until = patience(course, down, step, answer.sent);
        read_more(course, down, answer, body, until).await?;
    }
    settle.receipt.upstream += shard.host.now().since(answer.sent);
    let found = judge(
        course,
        down,
        settle,
        (answer, head.unsent()),
        (step, is_translated),
    )
    .inspect_err(|kind| refuse_length(down, *kind))?;
    let refused = match &found {
        Found::Refused(refused) | Found::OwnWords(refused) => Some(refused),
        Found::Answer | Found::Page(_) => None,
    };
    fallback::leave(course, down, settle, step, (answer, refused))?;
    keep::publish(settle);
    if down.has_begun() {
        head.clear();
        let status = put_in_band(course, down, settle, answer, &found)?;
        drop(found);
        return Ok(in_band(course, down, settle, (answer, status)).await?);
    }
    let page = match found {
        Found::Answer | Found::OwnWords(_) => None,
        Found::Page(page) => Some(page),
        Found::Refused(refused) => Some(page_of(course, settle, &refused)),
    };
    let status = page.as_ref().map_or(answer.head.status, |page| page.status);
    put_whole(course, down, settle, step, (answer, head.unsent()), page);
    head.clear();
    if answer.is_reusable && !body.has_surplus {
        answer.lease.give_back();
    }
    answer.discard();
    let statuses = (status, said(answer, status));
    let finished = finish(course, down, settle, statuses).await;
    if status == 200 {
        keep::store(course, settle, step);
    }
    Ok(finished?)
}

/// The longest body by `route` that is translated.
const fn longest(route: Route) -> usize {
    if route.embeds() {
        VECTORS_MAX
    } else {
        EVENT_MAX
    }
}

/// Writes a refusal for a stream whose head went out as its last event, in the provider's words;
/// gives the status that it would have had.
///
/// # Errors
/// It is no refusal, and no stream either.
fn put_in_band<H: Host>(
    course: &Course<'_, H>,
    down: &mut Down<H::Stream>,
    settle: &Settle<H>,
    answer: &Answer<H>,
    found: &Found,
) -> Result<u16, Kind> {
    let front = course.route.dialect();
    let mut about = About {
        id: settle.receipt.id.bytes(),
        wait: None,
    };
    let told = match found {
        Found::Refused(refused) | Found::OwnWords(refused) => {
            about.wait = refused.retry_after;
            Told::by(refused)
        }
        _ if answer.head.status >= 400 => Told::of(Kind::UpstreamError),
        _ => return Err(Kind::UpstreamGarbled),
    };
    let manner = course.manner.closing(course.manner.is_http10);
    put_last_event(&mut down.tx, manner, |tx| {
        if front != Dialect::Chat || !matches!(found, Found::OwnWords(_)) {
            return speak::put_error_event_about(front, &told, about, tx);
        }
        // An event's data is made of lines.
        for line in answer.rx.data().split(|byte| matches!(byte, b'\n' | b'\r')) {
            tx.put(b"data: ");
            tx.put(line);
            tx.put(b"\n");
        }
        tx.put(b"\n");
    });
    Ok(told.status)
}

/// Sends it and settles.
async fn in_band<H: Host>(
    course: &Course<'_, H>,
    down: &mut Down<H::Stream>,
    settle: &mut Settle<H>,
    (answer, status): (&mut Answer<H>, u16),
) -> Result<Next, Kind> {
    let manner = course.manner.closing(course.manner.is_http10);
    let why = Why::Status(said(answer, status));
    settle.end_attempt(AttemptEnd::Refused, why, Outcome::of_status(status));
    answer.discard();
    settle.fail(Kind::UpstreamError, 200);
    if push(course.served(), down).await.is_err() {
        return Ok(Next::Close);
    }
    Ok(if manner.closes {
        Next::Linger
    } else {
        Next::KeepAlive
    })
}

/// The provider's own status, of an answer for which the client is told `status`: that of the
/// error, where it came in a 200.
fn said<H: Host>(answer: &Answer<H>, status: u16) -> u16 {
    let own = answer.head.status;
    if own < 400 { status } else { own }
}

/// Sends the last bytes and settles. The provider `said` one status, the client sees another.
pub(super) async fn finish<H: Host>(
    course: &Course<'_, H>,
    down: &mut Down<H::Stream>,
    settle: &mut Settle<H>,
    (status, said): (u16, u16),
) -> Result<Next, Kind> {
    let is_answer = status < 400;
    let (end, why) = if is_answer {
        (AttemptEnd::Done, Why::Nothing)
    } else {
        (AttemptEnd::Refused, Why::Status(said))
    };
    settle.end_attempt(end, why, Outcome::of_status(status));
    if push(course.served(), down).await.is_err() {
        if course.shard.is_over() {
            settle.fail(Kind::ShutDown, status);
        }
        return Ok(Next::Close); // else it settles as cancelled
    }
    settle.receipt.first_content =
        is_answer.then(|| course.shard.host.now().since(settle.receipt.began));
    settle.done(status);
    Ok(if course.manner.closes {
        Next::Linger
    } else {
        Next::KeepAlive
    })
}

/// What a whole body is.
enum Found {
    /// What the client asked for, as it is.
    Answer,
    /// What the client gets in its place.
    Page(Page),
    /// An error, of which the client is told in its own dialect.
    Refused(Refused),
    /// An error in the client's dialect, which passes as it is.
    OwnWords(Refused),
}

/// What the client gets instead of the provider's body.
struct Page {
    status: u16,
    body: TxBuf,
    /// Seconds to wait.
    retry_after: Option<u64>,
    /// By which Amazon's SDKs choose their exception.
    error_type: Option<&'static str>,
}

/// What a whole body is, whatever it claims to be.
fn judge<H: Host>(
    course: &Course<'_, H>,
    down: &Down<H::Stream>,
    settle: &mut Settle<H>,
    (answer, head): (&Answer<H>, &[u8]),
    (step, is_translated): (&Step<'_>, bool),
) -> Result<Found, Kind> {
    let (front, spoken) = (course.route.dialect(), step.provider.dialect.speaks());
    let coding = answer
        .head
        .known(Known::ContentEncoding)
        .map(|span| span.bytes(head));
    let is_coded = coding
        .is_some_and(|coding| !coding.is_empty() && !coding.eq_ignore_ascii_case(b"identity"));
    let (body, status) = (answer.rx.data(), answer.head.status);
    let refused = || {
        let mut refused = refusal(step, status, body);
        if refused.retry_after.is_none() {
            refused.retry_after = wait_in(course, (answer, head));
        }
        refused
    };
    // A cloud's errors are its own, whoever's dialect it carries.
    if is_translated || status >= 400 && step.provider.cloud().is_some() {
        if is_coded {
            return Err(Kind::UpstreamGarbled); // coded although not asked for
        }
        if status >= 400 {
            return Ok(Found::Refused(refused()));
        }
        let told = in_head(course, spoken, (answer, head));
        let from = (spoken, body, told);
        let mut page = Page::new(course, status);
        settle.receipt.usage = match translate(course, down, settle, from, &mut page.body) {
            Err(Kind::UpstreamError) => return Ok(Found::Refused(refused())),
            usage => usage?,
        };
        return Ok(Found::Page(page));
    }
    if is_coded {
        return Ok(Found::Answer); // passed on as it is, with its name
    }
    let facts = speak::look_at_answer(spoken, body);
    if status >= 400 {
        if facts.is_json_object() {
            return Ok(Found::OwnWords(refused()));
        }
        let told = Told {
            status,
            trouble: Trouble::of_status(status),
            code: "upstream_error_page",
            message: "The provider answered with an error that is not in its API's form; see \
                      the status.",
            param: None,
        };
        let mut page = Page::new(course, status);
        let about = About {
            id: settle.receipt.id.bytes(),
            wait: None,
        };
        speak::put_error_about(front, &told, about, &mut page.body);
        return Ok(Found::Page(page));
    }
    if !facts.is_json_object() {
        return Err(Kind::UpstreamGarbled);
    }
    if !facts.has_result && (facts.has_error || step.provider.cloud().is_some()) {
        return Ok(Found::Refused(refused()));
    }
    let in_head = || in_head(course, spoken, (answer, head));
    settle.receipt.usage = facts.usage.or_else(in_head);
    Ok(Found::Answer)
}

/// When to come back, as a head says it.
fn wait_in<H: Host>(
    course: &Course<'_, H>,
    (answer, head): (&Answer<H>, &[u8]),
) -> Option<Duration> {
    let wait = answer.head.known(Known::RetryAfter)?.bytes(head);
    let seconds = course.shard.host.wall_nanos() / 1_000_000_000;
    retry_after(wait, seconds).map(Duration::from_secs)
}

impl Page {
    fn new<H: Host>(course: &Course<'_, H>, status: u16) -> Self {
        Self {
            status,
            body: TxBuf::new(&course.shard.buffers),
            retry_after: None,
            error_type: None,
        }
    }
}

/// What the client is told of a provider's error.
fn page_of<H: Host>(course: &Course<'_, H>, settle: &Settle<H>, refused: &Refused) -> Page {
    let front = course.route.dialect();
    let told = Told::by(refused);
    let mut page = Page::new(course, told.status);
    if (front, told.status) == (Dialect::Anthropic, 503) {
        page.status = 529; // Anthropic's own status for it
    }
    page.retry_after = refused.retry_after.map(|wait| wait.as_secs().max(1));
    page.error_type = (front == Dialect::Bedrock).then(|| error_type(&told));
    let about = About {
        id: settle.receipt.id.bytes(),
        wait: refused.retry_after,
    };
    speak::put_error_about(front, &told, about, &mut page.body);
    page
}

/// What the provider of `step` says with an error.
pub fn refusal(step: &Step<'_>, status: u16, body: &[u8]) -> Refused {
    match step.provider.cloud() {
        Some(cloud) => anthropic::cloud::refusal(cloud, status, body),
        None => speak::refusal(step.provider.dialect.speaks(), status, body),
    }
}

/// The token counts in the head of an answer, where it may have some.
fn in_head<H: Host>(
    course: &Course<'_, H>,
    spoken: Dialect,
    (answer, head): (&Answer<H>, &[u8]),
) -> Option<Usage> {
    let is_invoked = spoken == Dialect::Bedrock && course.route.embeds();
    is_invoked.then(|| invoked::usage(answer.head.fields(head)))?
}

/// Writes the answer in `body`, which is in the dialect `spoken`, in the client's; gives its
/// token counts. Its head has told `told`.
fn translate<H: Host>(
    course: &Course<'_, H>,
    down: &Down<H::Stream>,
    settle: &Settle<H>,
    (spoken, body, told): (Dialect, &[u8], Option<Usage>),
    tx: &mut TxBuf,
) -> Result<Option<Usage>, Kind> {
    let naming = Naming::new(course, settle.receipt.id, &asked(down));
    let request = down.request.as_ref();
    let rewrite = request.and_then(|request| request.wanted.as_ref()?.rewrite.as_ref());
    if let Some(embed) = rewrite.and_then(|rewrite| rewrite.embed.as_ref()) {
        let mut found = speak::vectors(spoken, body, embed)?;
        found.tokens = found.tokens.or(told.map(|usage| usage.input));
        speak::put_vectors(course.route, &found, embed, &naming.names(), tx);
        return Ok(found.tokens.map(|input| Usage {
            input,
            ..Usage::default()
        }));
    }
    let found = speak::answer(spoken, body)?;
    speak::put_answer(course.route, &found, &naming.names(), tx);
    Ok(found.usage.as_ref().map(usage))
}

/// When vectors came in another length than was asked for, the client is told its field.
fn refuse_length<L>(down: &mut Down<L>, kind: Kind) {
    let request = down.request.as_mut().filter(|_| kind == Kind::Unfit);
    let rewrite = request.and_then(|request| request.wanted.as_mut()?.rewrite.as_mut());
    let name = |rewrite: &Rewrite| rewrite.embed.as_ref().map(Embed::dimensions_name);
    if let Some(rewrite) = rewrite
        && let Some(field) = name(rewrite)
    {
        rewrite.refuse(field, "is not heeded by any target of this model");
    }
}

/// Writes head and body of a whole answer.
fn put_whole<H: Host>(
    course: &Course<'_, H>,
    down: &mut Down<H::Stream>,
    settle: &Settle<H>,
    step: &Step<'_>,
    (answer, head): (&Answer<H>, &[u8]),
    page: Option<Page>,
) {
    let Down { tx, request, .. } = down;
    let dropped = request.as_deref().map_or("", Request::dropped);
    let (status, length) = match &page {
        Some(page) => (page.status, page.body.len()),
        None => (answer.head.status, answer.rx.len()),
    };
    tx.reserve(1024 + length);
    let manner = (status, dropped, course.manner);
    put_answer_head(tx, course, settle, step, (answer, head), manner);
    let Some(page) = page else {
        put_type(tx, answer, head);
        put_decimal_field(tx, "content-length", length as u64);
        tx.put(END_OF_HEAD);
        tx.put(answer.rx.data());
        return;
    };
    if let (Some(seconds), None) = (page.retry_after, answer.head.known(Known::RetryAfter)) {
        put_decimal_field(tx, "retry-after", seconds);
    }
    if let Some(name) = page.error_type {
        put_own_field(tx, "x-amzn-errortype", name.as_bytes());
    }
    tx.put(b"content-type: application/json\r\n");
    put_decimal_field(tx, "content-length", length as u64);
    tx.put(END_OF_HEAD);
    tx.put(page.body.unsent());
}

fn put_type<H: Host>(tx: &mut TxBuf, answer: &Answer<H>, head: &[u8]) {
    let media = answer
        .head
        .known(Known::ContentType)
        .map(|span| span.bytes(head));
    put_own_field(tx, "content-type", media.unwrap_or(b"application/json"));
    if let Some(coding) = answer.head.known(Known::ContentEncoding) {
        put_own_field(tx, "content-encoding", coding.bytes(head));
    }
}

/// Ends the head of an answer that passes as it comes; gives whether it is in chunks.
fn put_framing(tx: &mut TxBuf, framing: &Framing, is_http10: bool) -> bool {
    let is_chunked = match framing {
        Framing::Length(length) => {
            put_decimal_field(tx, "content-length", *length);
            false
        }
        _ if is_http10 => false,
        _ => {
            tx.put(b"transfer-encoding: chunked\r\n");
            true
        }
    };
    tx.put(END_OF_HEAD);
    is_chunked
}

/// Where the end of embeddings that pass is kept: not in the task, which is small.
fn tail(request: &mut Option<Box<Request>>) -> Option<&mut Tail> {
    let wanted = request.as_mut()?.wanted.as_mut()?;
    Some(&mut wanted.rewrite.get_or_insert_default().tail)
}

/// Passes a large answer on as it comes.
async fn pass_through<H: Host>(
    course: &Course<'_, H>,
    down: &mut Down<H::Stream>,
    settle: &mut Settle<H>,
    step: &Step<'_>,
    (answer, (head, body)): (&mut Answer<H>, &mut (TxBuf, Incoming)),
) -> Result<Next, Kind> {
    let shard = course.shard;
    let is_http10 = course.manner.is_http10;
    keep::publish(settle);
    settle.receipt.upstream += shard.host.now().since(answer.sent);
    let is_open = is_http10 && !matches!(answer.head.framing, Framing::Length(_));
    let manner = course.manner.closing(is_open);
    let tx = &mut down.tx;
    let manner = (answer.head.status, "", manner);
    put_answer_head(tx, course, settle, step, (answer, head.unsent()), manner);
    put_type(&mut down.tx, answer, head.unsent());
    settle.receipt.usage = in_head(
        course,
        step.provider.dialect.speaks(),
        (&*answer, head.unsent()),
    );
    head.clear();
    let is_chunked = put_framing(&mut down.tx, &answer.head.framing, is_http10);
    loop {
        let data = answer.rx.data();
        if course.route.embeds()
            && let Some(tail) = tail(&mut down.request)
        {
            tail.keep(data);
        }
        if is_chunked {
            put_chunk(&mut down.tx, &[data]);
        } else {
            down.tx.put(data);
        }
        let passed = body.decoded;
        body.passed(&mut answer.rx, passed);
        if body.is_done {
            break;
        }
        if push(course.served(), down).await.is_err() {
            if shard.is_over() {
                settle.fail(Kind::ShutDown, answer.head.status);
            }
            return Ok(Next::Close);
        }
        let idle = (
            shard.host.lately() + step.timeouts().idle,
            Kind::IdleTimeout,
        );
        if let Err(kind) = read_more(course, down, answer, body, idle).await {
            let said = Outcome::of_fault(kind, true);
            settle.end_attempt(AttemptEnd::Cut, Why::Fault(kind), said);
            settle.fail(kind, answer.head.status);
            // In mid-body, and with a reset, so that nobody takes it for whole: a client that
            // reads up to the close would take FIN for the end.
            down.link.reset();
            return Ok(Next::Close);
        }
    }
    if is_chunked {
        down.tx.put(LAST_CHUNK);
    }
    let status = answer.head.status;
    if answer.is_reusable && !body.has_surplus {
        answer.lease.give_back();
    }
    // Without length and chunks only the close tells the end.
    let is_delimited =
        is_chunked || !is_http10 || matches!(answer.head.framing, Framing::Length(_));
    if course.route.embeds() {
        let tail = tail(&mut down.request);
        let usage = tail.and_then(|tail| tail.usage(course.route.dialect()));
        settle.receipt.usage = usage.or(settle.receipt.usage);
    }
    let next = finish(course, down, settle, (status, status)).await?;
    Ok(if is_delimited { next } else { Next::Linger })
}
