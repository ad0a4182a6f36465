//! Delivers a plain answer: held until it is whole, then passed on byte for byte.
//!
//! An answer that breaks off while it is held is another attempt, which the client never
//! notices. One that grows beyond [`HOLD_MAX`] is passed on as it comes; when that breaks
//! off, the client's connection is closed in mid-body, so that nobody takes it for whole.
//!
//! An answer in another dialect than the client's is held whole, whatever its length, and
//! written anew ([`Page`]).

use super::answer::{HOLD_MAX, Incoming, put_answer_head, read_more};
use super::attempt::Answer;
use super::connection::{Next, push};
use super::course::Course;
use super::down::Down;
use super::reply::put_last_event;
use super::request::{Request, asked};
use super::seen::EVENT_MAX;
use super::settle::Settle;
use super::translator::{Naming, usage};
use crate::base::bytes::TxBuf;
use crate::base::fault::Kind;
use crate::dialect::bedrock::error::error_type;
use crate::dialect::model::{Dialect, Refused, Told, Trouble};
use crate::dialect::{anthropic, speak};
use crate::host::{Host, Link};
use crate::policy::breaker::Outcome;
use crate::policy::plan::Step;
use crate::stats::receipt::AttemptEnd;
use crate::wire::http1::{
    END_OF_HEAD, Framing, Known, LAST_CHUNK, put_chunk, put_decimal_field, put_field,
};

/// Delivers `answer`, which has any status that a client may see.
///
/// # Errors
/// A fault before anything went downstream; the attempt may be repeated elsewhere.
pub async fn deliver<H: Host>(
    course: &Course<'_, H>,
    down: &mut Down<H::Stream>,
    settle: &mut Settle<H>,
    step: &Step<'_>,
    answer: &mut Answer<H>,
) -> Result<Next, Kind> {
    let shard = course.shard;
    let is_translated = step.provider.dialect.speaks() != course.route.dialect();
    // The head goes into `tx` as soon as the body is known; its spans point into `rx`, so
    // it is kept aside while the body takes the buffer over.
    let mut parts = (TxBuf::new(&shard.buffers), Incoming::new(&answer.head));
    let (head, body) = &mut parts;
    head.put(answer.rx.data().get(..answer.head.len).unwrap_or_default());
    answer.rx.consume(answer.head.len);
    body.absorb(&mut answer.rx)?;
    while !body.is_done {
        let is_long = body.decoded > HOLD_MAX;
        if is_long && (down.has_begun() || is_translated && body.decoded > EVENT_MAX) {
            return Err(Kind::UpstreamGarbled); // no stream, and no error that could be shown
        }
        if is_long && !is_translated {
            return pass_through(course, down, settle, step, (answer, &mut parts)).await;
        }
        let idle = (shard.host.now() + step.timeouts().idle, Kind::IdleTimeout);
        read_more(course, down, answer, body, idle).await?;
    }
    settle.receipt.upstream += shard.host.now().since(answer.sent);
    let page = judge(course, down, settle, (answer, head.unsent()), step)?;
    if down.has_begun() {
        head.clear();
        return in_band(course, down, settle, step, (answer, page.is_some())).await;
    }
    let status = page.as_ref().map_or(answer.head.status, |page| page.status);
    put_whole(course, down, settle, step, (answer, head.unsent()), page);
    head.clear();
    if answer.is_reusable && !body.has_surplus {
        answer.lease.give_back();
    }
    answer.discard();
    finish(course, down, settle, status).await
}

/// A refusal for a stream whose head went out is its last event, in the provider's words.
///
/// # Errors
/// It is no refusal, and no stream either.
async fn in_band<H: Host>(
    course: &Course<'_, H>,
    down: &mut Down<H::Stream>,
    settle: &mut Settle<H>,
    step: &Step<'_>,
    (answer, is_replaced): (&mut Answer<H>, bool),
) -> Result<Next, Kind> {
    if answer.head.status < 400 {
        return Err(Kind::UpstreamGarbled);
    }
    let manner = course.manner.closing(course.manner.is_http10);
    let (front, spoken) = (course.route.dialect(), step.provider.dialect.speaks());
    put_last_event(&mut down.tx, manner, |tx| {
        let is_page = is_replaced && front == spoken && step.provider.cloud().is_none();
        if is_page {
            return speak::put_error_event(front, &Told::of(Kind::UpstreamError), tx);
        }
        if is_replaced || front != Dialect::Chat {
            let refused = refusal(step, answer.head.status, answer.rx.data());
            return speak::put_error_event(front, &Told::by(&refused), tx);
        }
        // An event's data is made of lines.
        for line in answer.rx.data().split(|byte| matches!(byte, b'\n' | b'\r')) {
            tx.put(b"data: ");
            tx.put(line);
            tx.put(b"\n");
        }
        tx.put(b"\n");
    });
    let outcome = Outcome::of_status(answer.head.status);
    settle.end_attempt(AttemptEnd::Refused, outcome);
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

/// Sends the last bytes and settles.
async fn finish<H: Host>(
    course: &Course<'_, H>,
    down: &mut Down<H::Stream>,
    settle: &mut Settle<H>,
    status: u16,
) -> Result<Next, Kind> {
    let is_answer = status < 400;
    let end = if is_answer {
        AttemptEnd::Done
    } else {
        AttemptEnd::Refused
    };
    settle.end_attempt(end, Outcome::of_status(status));
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

/// What the client gets instead of the provider's body.
struct Page {
    status: u16,
    body: TxBuf,
    /// Seconds to wait.
    retry_after: Option<u64>,
    /// By which Amazon's SDKs choose their exception.
    error_type: Option<&'static str>,
}

/// Whether a whole body is what it claims to be, and what the client gets in its place: when
/// it is an error page that is no JSON, and when the client speaks another dialect.
fn judge<H: Host>(
    course: &Course<'_, H>,
    down: &Down<H::Stream>,
    settle: &mut Settle<H>,
    (answer, head): (&Answer<H>, &[u8]),
    step: &Step<'_>,
) -> Result<Option<Page>, Kind> {
    let (front, spoken) = (course.route.dialect(), step.provider.dialect.speaks());
    let coding = answer
        .head
        .known(Known::ContentEncoding)
        .map(|span| span.bytes(head));
    let is_coded = coding
        .is_some_and(|coding| !coding.is_empty() && !coding.eq_ignore_ascii_case(b"identity"));
    let (body, status) = (answer.rx.data(), answer.head.status);
    let mut page = Page {
        status,
        body: TxBuf::new(&course.shard.buffers),
        retry_after: None,
        error_type: None,
    };
    // A cloud's errors are its own, whoever's dialect it carries.
    if spoken != front || status >= 400 && step.provider.cloud().is_some() {
        if is_coded {
            return Err(Kind::UpstreamGarbled); // coded although not asked for
        }
        if status >= 400 {
            let refused = refusal(step, status, body);
            let told = Told::by(&refused);
            page.status = match (front, told.status) {
                (Dialect::Anthropic, 503) => 529, // Anthropic's own status for it
                _ => told.status,
            };
            page.retry_after = refused.retry_after.map(|wait| wait.as_secs().max(1));
            page.error_type = (front == Dialect::Bedrock).then(|| error_type(&told));
            speak::put_error(front, &told, &mut page.body);
            return Ok(Some(page));
        }
        let found = speak::answer(spoken, body)?;
        settle.receipt.usage = found.usage.as_ref().map(usage);
        let naming = Naming::new(course, settle.receipt.id, &asked(down));
        speak::put_answer(course.route, &found, &naming.names(), &mut page.body);
        return Ok(Some(page));
    }
    if is_coded {
        return Ok(None); // passed on as it is, with its name
    }
    let facts = speak::look_at_answer(spoken, body);
    if status >= 400 {
        if facts.is_json_object() {
            return Ok(None);
        }
        let told = Told {
            status,
            trouble: Trouble::of_status(status),
            code: "upstream_error_page",
            message: "The provider answered with an error that is not in its API's form; see \
                      the status.",
            param: None,
        };
        speak::put_error(front, &told, &mut page.body);
        return Ok(Some(page));
    }
    if !facts.is_json_object() {
        return Err(Kind::UpstreamGarbled);
    }
    if facts.has_error && !facts.has_result {
        return Err(Kind::UpstreamError);
    }
    settle.receipt.usage = facts.usage;
    Ok(None)
}

/// What the provider of `step` says with an error.
fn refusal(step: &Step<'_>, status: u16, body: &[u8]) -> Refused {
    match step.provider.cloud() {
        Some(cloud) => anthropic::cloud::refusal(cloud, status, body),
        None => speak::refusal(step.provider.dialect.speaks(), status, body),
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
        put_field(tx, b"x-amzn-errortype", name.as_bytes());
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
    put_field(tx, b"content-type", media.unwrap_or(b"application/json"));
    if let Some(coding) = answer.head.known(Known::ContentEncoding) {
        put_field(tx, b"content-encoding", coding.bytes(head));
    }
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
    settle.receipt.upstream += shard.host.now().since(answer.sent);
    let is_open = is_http10 && !matches!(answer.head.framing, Framing::Length(_));
    let manner = course.manner.closing(is_open);
    let tx = &mut down.tx;
    let manner = (answer.head.status, "", manner);
    put_answer_head(tx, course, settle, step, (answer, head.unsent()), manner);
    put_type(&mut down.tx, answer, head.unsent());
    head.clear();
    let is_chunked = match answer.head.framing {
        Framing::Length(length) => {
            put_decimal_field(&mut down.tx, "content-length", length);
            false
        }
        _ if is_http10 => false,
        _ => {
            down.tx.put(b"transfer-encoding: chunked\r\n");
            true
        }
    };
    down.tx.put(END_OF_HEAD);
    loop {
        let data = answer.rx.data();
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
        let idle = (shard.host.now() + step.timeouts().idle, Kind::IdleTimeout);
        if let Err(kind) = read_more(course, down, answer, body, idle).await {
            settle.end_attempt(AttemptEnd::Cut, Outcome::of_fault(kind, true));
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
    let next = finish(course, down, settle, status).await?;
    Ok(if is_delimited { next } else { Next::Linger })
}
