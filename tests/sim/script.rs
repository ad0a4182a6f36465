//! What the simulated world plays to the gateway: exchanges, and what each attempt meets.
//!
//! ```text
//!   Exchange 7 ── "user":"x7" in its body ──► a provider looks it up ──► acts[0], acts[1], …
//! ```
//!
//! An [`Act`] is the bytes that a provider writes for one request it got, and how it goes
//! on then. From its offsets follows what the client may see.

use super::rng::Rng;
use std::cell::{Cell, RefCell};

/// What a provider does once it has written its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Then {
    /// Waits for the next request on the connection.
    Keep,
    /// Closes with FIN.
    Close,
    /// Resets.
    Reset,
    /// Says nothing more until the gateway closes.
    Stall,
    /// Some time later sends bytes that nobody asked for.
    Late,
    /// Some time later closes the idle connection.
    Leave,
}

/// What an act is, where the bytes do not say it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sort {
    /// An answer, perhaps cut.
    Answer,
    /// An error status that another target may do better than.
    Busy,
    /// An error status that is the caller's own.
    Refusal,
    /// Bytes that are no answer, or a stream that turns into nonsense.
    Broken,
}

/// What a provider plays to one request.
#[derive(Clone, Debug)]
pub(crate) struct Act {
    /// What it is.
    pub(crate) sort: Sort,
    /// The bytes that it writes.
    pub(crate) wire: Vec<u8>,
    /// How it goes on.
    pub(crate) then: Then,
    /// It pauses up to so many milliseconds between pieces.
    pub(crate) pause_ms: u64,
    /// From so many bytes of `wire` on, the client may have seen something of it.
    pub(crate) content_at: usize,
    /// From so many bytes of `wire` on, it may count as a whole answer.
    pub(crate) whole_at: usize,
    /// From so many bytes of `wire` on, it is one.
    pub(crate) sure_at: usize,
    /// Its status.
    pub(crate) status: u16,
    /// What a client must get: the body, or the stream's events.
    pub(crate) body: Vec<u8>,
    /// Whether the body is a stream.
    pub(crate) is_stream: bool,
}

impl Act {
    /// It may be delivered whole.
    pub(crate) fn can_be_whole(&self) -> bool {
        self.sort != Sort::Broken && self.wire.len() >= self.whole_at
    }

    /// It may fail before the client has seen anything of it.
    pub(crate) fn can_vanish(&self) -> bool {
        let is_cut = self.wire.len() < self.content_at.min(self.sure_at);
        is_cut || self.then == Then::Reset || self.sort == Sort::Broken || self.sort == Sort::Busy
    }

    /// It may break off after the client has seen some of it.
    pub(crate) fn can_break(&self) -> bool {
        let is_short = self.wire.len() < self.sure_at || self.then == Then::Reset;
        self.is_stream
            && self.wire.len() >= self.content_at
            && (is_short || self.sort == Sort::Broken)
    }
}

/// How a client goes away in the middle.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Abort {
    /// After it has sent so many bytes of the request; `None`: see `read`.
    pub(crate) sent: Option<usize>,
    /// After it has read so many bytes of the reply.
    pub(crate) read: usize,
    /// With RST instead of FIN.
    pub(crate) is_reset: bool,
}

/// What a request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ask {
    /// A chat, as a stream or not.
    Chat { stream: bool, wants_usage: bool },
    /// A body that is not JSON.
    Nonsense,
    /// The list of models.
    Models,
}

/// One request that a provider got.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Served {
    /// The provider's connection.
    pub(crate) conn: usize,
    /// When it had written everything, in nanoseconds.
    pub(crate) written_at: Option<u64>,
}

/// What a client got.
#[derive(Clone, Debug)]
pub(crate) enum Got {
    /// A reply; perhaps cut.
    Reply(super::http::Message),
    /// The connection ended before a reply's head.
    Nothing,
    /// The client went away itself, on this connection.
    Left(usize),
}

/// One exchange, and what came of it.
#[derive(Debug)]
pub(crate) struct Exchange {
    /// Its number.
    pub(crate) id: usize,
    /// What is asked.
    pub(crate) ask: Ask,
    /// Bytes of the prompt.
    pub(crate) prompt: String,
    /// What providers play, one for each request they get; the last one repeats.
    pub(crate) acts: Vec<Act>,
    /// How the client leaves, if it does.
    pub(crate) abort: Option<Abort>,
    /// The next act.
    pub(crate) turn: Cell<usize>,
    /// The requests that providers got.
    pub(crate) served: RefCell<Vec<Served>>,
    /// What the client got.
    pub(crate) got: RefCell<Option<Got>>,
}

impl Exchange {
    /// An exchange with random acts.
    pub(crate) fn random(id: usize, rng: &Rng) -> Self {
        let stream = rng.chance(600);
        let ask = match rng.range(0, 19) {
            0 => Ask::Nonsense,
            1 => Ask::Models,
            _ => Ask::Chat {
                stream,
                wants_usage: rng.chance(400),
            },
        };
        let mut acts = Vec::new();
        while acts.is_empty() || (acts.len() < 4 && rng.chance(600)) {
            acts.push(act(rng, ask, id, acts.len()));
        }
        let abort = rng.chance(150).then(|| Abort {
            sent: rng.chance(300).then(|| rng.index(500)),
            read: rng.index(2500),
            is_reset: rng.chance(500),
        });
        let length = rng.pick(&[10, 200, 3000]);
        let prompt = (0..rng.index(length)).map(|i| if i % 9 == 8 { 'é' } else { 'p' });
        Self {
            prompt: prompt.collect(),
            abort,
            ..Self::new(id, ask, acts)
        }
    }

    /// An exchange that meets `acts`.
    pub(crate) fn new(id: usize, ask: Ask, acts: Vec<Act>) -> Self {
        Self {
            id,
            ask,
            prompt: "Hi".to_owned(),
            acts,
            abort: None,
            turn: Cell::new(0),
            served: RefCell::default(),
            got: RefCell::default(),
        }
    }

    /// The body that the client sends.
    pub(crate) fn body(&self) -> String {
        let (id, prompt) = (self.id, &self.prompt);
        match self.ask {
            Ask::Nonsense => "{\"model\":\"m\",\"messages\":[}".to_owned(),
            Ask::Models => String::new(),
            Ask::Chat {
                stream,
                wants_usage,
            } => format!(
                "{{\"model\":\"m\", \"user\":\"x{id}\",\"stream\":{stream}{},\
                 \"messages\":[{{\"role\":\"user\",\"content\":\"{prompt}\"}}]}}",
                match (stream, wants_usage) {
                    (true, true) => ",\"stream_options\":{\"include_usage\":true}",
                    _ => "",
                }
            ),
        }
    }

    /// The act for the next request that a provider gets.
    pub(crate) fn next_act(&self) -> &Act {
        let turn = self.turn.get();
        self.turn.set(turn + 1);
        self.act(turn)
    }

    /// The act of a turn.
    pub(crate) fn act(&self, turn: usize) -> &Act {
        &self.acts[turn.min(self.acts.len() - 1)]
    }
}

/// A random act.
fn act(rng: &Rng, ask: Ask, id: usize, turn: usize) -> Act {
    let name = format!("x{id}-{turn}");
    let mut act = match ask {
        Ask::Chat {
            stream: true,
            wants_usage,
        } => stream(rng, &name, wants_usage),
        _ => plain(rng, &name),
    };
    if rng.chance(300) {
        act.pause_ms = rng.pick(&[1, 100, 700]);
    }
    match rng.range(0, 19) {
        0..=3 => {
            act.wire.truncate(rng.index(act.wire.len()));
            act.then = rng.pick(&[Then::Close, Then::Reset, Then::Stall]);
        }
        4 => act = status(rng.pick(&[500, 503, 429, 529]), Sort::Busy, &name),
        5 => act = status(rng.pick(&[400, 404, 422]), Sort::Refusal, &name),
        6 => {
            act.sort = Sort::Broken;
            act.wire = rng
                .pick(&[&b"SPAM\r\n\r\n"[..], b"\0", b"HTTP/1.1 099 x\r\n\r\n"])
                .to_vec();
        }
        7 if act.then == Then::Keep => act.then = rng.pick(&[Then::Late, Then::Leave]),
        9 if act.then == Then::Keep => act.wire.extend_from_slice(b"and more than that"),
        8 => {
            let hints = b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n";
            act.wire.splice(0..0, hints.iter().copied()).for_each(drop);
            for at in [&mut act.content_at, &mut act.whole_at, &mut act.sure_at] {
                *at += hints.len();
            }
        }
        _ => (),
    }
    if rng.chance(100) && act.then == Then::Keep {
        act.then = Then::Leave;
    }
    act
}

fn head(status: u16, media: &str, framing: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status} X\r\ncontent-type: {media}\r\n{framing}\r\n").into_bytes()
}

fn status(status: u16, sort: Sort, name: &str) -> Act {
    let body = format!("{{\"error\":{{\"message\":\"{name}\",\"type\":\"t\",\"code\":\"c\"}}}}");
    let framing = format!("content-length: {}\r\n", body.len());
    let mut wire = head(status, "application/json", &framing);
    wire.extend_from_slice(body.as_bytes());
    let framed = Framed {
        mark: wire.len(),
        end: wire.len(),
        wire,
        then: Then::Keep,
    };
    Act {
        sort,
        status,
        ..framed.act(body, false)
    }
}

/// A plain answer.
pub(crate) fn plain(rng: &Rng, name: &str) -> Act {
    let length = rng.pick(&[1, 100, 4000]);
    plain_of(rng, name, rng.index(length))
}

/// A plain answer with `length` letters of content.
pub(crate) fn plain_of(rng: &Rng, name: &str, length: usize) -> Act {
    let body = format!(
        "{{\"id\":\"{name}\",\"object\":\"chat.completion\",\"choices\":[{{\"index\":0,\"message\":\
         {{\"role\":\"assistant\",\"content\":\"{}\"}},\"finish_reason\":\"stop\"}}],\
         \"usage\":{{\"prompt_tokens\":3,\"completion_tokens\":5,\"total_tokens\":8}}}}",
        "a".repeat(length)
    );
    let framed = framed(rng, "application/json", body.as_bytes(), body.len());
    let whole = framed.wire.len();
    Act {
        content_at: whole,
        whole_at: whole,
        sure_at: whole,
        ..framed.act(body, false)
    }
}

/// A framed answer.
struct Framed {
    wire: Vec<u8>,
    /// Where the marked byte of the body ends.
    mark: usize,
    /// Where the body's last byte ends.
    end: usize,
    then: Then,
}

impl Framed {
    fn act(self, body: String, is_stream: bool) -> Act {
        Act {
            sort: Sort::Answer,
            then: self.then,
            pause_ms: 0,
            content_at: self.mark,
            whole_at: self.end,
            sure_at: self.end,
            status: 200,
            wire: self.wire,
            body: body.into_bytes(),
            is_stream,
        }
    }
}

/// Head and body by length, by close or in chunks, with the place behind the first `mark`
/// bytes of the body.
fn framed(rng: &Rng, media: &str, body: &[u8], mark: usize) -> Framed {
    let (fields, then) = match rng.range(0, 3) {
        0 => (format!("content-length: {}\r\n", body.len()), Then::Keep),
        1 => ("connection: close\r\n".to_owned(), Then::Close),
        _ => ("transfer-encoding: chunked\r\n".to_owned(), Then::Keep),
    };
    let mut wire = head(200, media, &fields);
    if !fields.starts_with("transfer") {
        let start = wire.len();
        wire.extend_from_slice(body);
        return Framed {
            mark: start + mark,
            end: wire.len(),
            wire,
            then,
        };
    }
    let (mut at, mut marked) = (0, 0);
    while at < body.len() {
        let size = rng.cut(body.len() - at);
        wire.extend_from_slice(format!("{size:x}\r\n").as_bytes());
        if at < mark && mark <= at + size {
            marked = wire.len() + mark - at;
        }
        wire.extend_from_slice(&body[at..at + size]);
        wire.extend_from_slice(b"\r\n");
        at += size;
    }
    wire.extend_from_slice(b"0\r\n\r\n");
    Framed {
        mark: marked,
        end: wire.len() - b"\r\n0\r\n\r\n".len(),
        wire,
        then,
    }
}

/// A stream; sometimes one that turns into nonsense or reports an error.
pub(crate) fn stream(rng: &Rng, name: &str, wants_usage: bool) -> Act {
    let chunk = |choices: &str, rest: &str| {
        let kind = "\"object\":\"chat.completion.chunk\"";
        format!("data: {{\"id\":\"{name}\",{kind},\"choices\":[{choices}]{rest}}}")
    };
    let delta = |delta: &str, finish: &str| {
        let choice = format!("{{\"index\":0,\"delta\":{{{delta}}},\"finish_reason\":{finish}}}");
        chunk(&choice, "")
    };
    let end = if rng.chance(800) { "\n\n" } else { "\r\n\r\n" };
    let mut lines = vec![(
        delta("\"role\":\"assistant\",\"content\":\"\"", "null"),
        true,
    )];
    let most = rng.pick(&[1, 5, 25]);
    for number in 0..rng.range(1, most) {
        let pad = "w".repeat(rng.index(40));
        lines.push((
            delta(&format!("\"content\":\"{name} {number} {pad}\""), "null"),
            true,
        ));
        if rng.chance(50) {
            lines.push((": ping".to_owned(), true));
        }
    }
    lines.push((delta("", "\"stop\""), true));
    let finish = lines.len();
    let usage = "\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":5,\"total_tokens\":8}";
    lines.push((chunk("", &format!(",{usage}")), wants_usage));
    lines.push(("data: [DONE]".to_owned(), true));
    let mut sort = Sort::Answer;
    if rng.chance(150) {
        sort = Sort::Broken;
        let bad = rng.pick(&NONSENSE);
        lines.insert(rng.index(finish), (bad.to_owned(), false));
    }
    let size = |lines: &[(String, bool)]| lines.iter().map(|(l, _)| l.len() + end.len()).sum();
    let text = |all: bool| -> String {
        let lines = lines.iter().filter(|(_, is_seen)| all || *is_seen);
        lines.flat_map(|(line, _)| [line.as_str(), end]).collect()
    };
    let framed = framed(
        rng,
        "text/event-stream",
        text(true).as_bytes(),
        size(&lines[..2]),
    );
    let tail: usize = size(&lines[finish..]);
    // A body that only the close delimits may end after the finish reason. A blank line of
    // CRLFs may be seen before its last byte.
    let may_lack = if framed.then == Then::Close {
        tail + 3
    } else {
        3
    };
    let act = framed.act(text(false), true);
    Act {
        sort,
        whole_at: act.whole_at - may_lack,
        ..act
    }
}

/// What a stream says when it breaks.
const NONSENSE: [&str; 3] = [
    "data: {\"error\":{\"message\":\"overloaded\",\"type\":\"server_error\"}}",
    "data: {\"id\":",
    "error: {\"code\":500,\"message\":\"slot\"}",
];
