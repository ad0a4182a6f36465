//! The reading side of a connection over bytes in memory: requests, one after another.

use shardgate::wire::http1::{
    Chunked, Framing, HeadLimits, Known, Method, RequestHead, RequestReader,
};

/// A body limit as an exchange has it: what announces more is refused with 413.
const BODY_MAX: u64 = 64 << 20;

/// One request as it was understood.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Message {
    pub(super) method: Method,
    pub(super) target: Vec<u8>,
    pub(super) fields: Vec<(Vec<u8>, Vec<u8>)>,
    pub(super) framing: Framing,
    pub(super) body: Vec<u8>,
}

/// How a connection stands after some bytes.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum End {
    /// Between two messages.
    Clean,
    /// In the middle of one.
    Incomplete,
    /// Closed as the last message asked.
    Closed,
    /// Refused, with the status and the reason.
    Refused(u16, String),
}

enum Part {
    Head(RequestReader),
    Length(u64),
    Chunked(Chunked),
    Over(End),
}

/// The reading side of a connection, over bytes that are given piece by piece.
struct Connection {
    buf: Vec<u8>,
    part: Part,
    keep_alive: bool,
    pub(super) messages: Vec<Message>,
}

impl Connection {
    fn new() -> Self {
        Self {
            buf: Vec::new(),
            part: Part::Head(RequestReader::new(HeadLimits::REQUEST)),
            keep_alive: true,
            messages: Vec::new(),
        }
    }

    fn feed(&mut self, piece: &[u8]) {
        self.buf.extend_from_slice(piece);
        while self.step() {}
    }

    /// Goes one step on; whether there was enough for it.
    fn step(&mut self) -> bool {
        match &mut self.part {
            Part::Over(_) => false,
            Part::Head(reader) => match reader.push(&self.buf) {
                Ok(None) => false,
                Ok(Some(head)) => {
                    self.begin(&head);
                    true
                }
                Err(error) => self.refuse(error.kind().status(), error.to_string()),
            },
            Part::Length(left) => {
                let n = usize::try_from(*left).unwrap().min(self.buf.len());
                self.messages
                    .last_mut()
                    .unwrap()
                    .body
                    .extend(self.buf.drain(..n));
                *left -= n as u64;
                *left == 0 && self.finish()
            }
            Part::Chunked(decoder) => match decoder.decode(&mut self.buf) {
                Ok(got) => {
                    self.messages
                        .last_mut()
                        .unwrap()
                        .body
                        .extend(&self.buf[..got.data]);
                    self.buf.drain(..got.used);
                    got.done && self.finish()
                }
                Err(error) => self.refuse(error.kind().status(), error.to_string()),
            },
        }
    }

    fn begin(&mut self, head: &RequestHead) {
        self.keep_alive = head.keep_alive;
        self.messages.push(message(head, &self.buf));
        self.part = match head.framing {
            Framing::Length(length) if length > BODY_MAX => {
                self.messages.pop();
                Part::Over(End::Refused(
                    413,
                    format!("expected at most {BODY_MAX} bytes"),
                ))
            }
            Framing::Length(length) => Part::Length(length),
            Framing::Chunked if head.known(Known::Trailer).is_some() => {
                Part::Chunked(Chunked::new())
            }
            Framing::Chunked => Part::Chunked(Chunked::without_trailers()),
            Framing::None => Part::Length(0),
            Framing::UntilClose => panic!("a request that never ends"),
        };
        self.buf.drain(..head.len);
    }

    fn finish(&mut self) -> bool {
        self.part = if self.keep_alive {
            Part::Head(RequestReader::new(HeadLimits::REQUEST))
        } else {
            Part::Over(End::Closed)
        };
        true
    }

    fn refuse(&mut self, status: u16, text: String) -> bool {
        if !matches!(self.part, Part::Head(_)) {
            self.messages.pop(); // refused within its body
        }
        self.part = Part::Over(End::Refused(status, text));
        false
    }

    fn end(mut self) -> (Vec<Message>, End) {
        let end = match self.part {
            Part::Over(end) => end,
            Part::Head(_) if self.buf.is_empty() => End::Clean,
            Part::Head(_) => End::Incomplete,
            Part::Length(_) | Part::Chunked(_) => {
                self.messages.pop();
                End::Incomplete
            }
        };
        (self.messages, end)
    }
}

fn message(head: &RequestHead, buf: &[u8]) -> Message {
    let owned = |(name, value): (&[u8], &[u8])| (name.to_vec(), value.to_vec());
    Message {
        method: head.method,
        target: head.target.bytes(buf).to_vec(),
        fields: head.fields(buf).map(owned).collect(),
        framing: head.framing,
        body: Vec::new(),
    }
}

pub(super) fn read(pieces: &[&[u8]]) -> (Vec<Message>, End) {
    let mut connection = Connection::new();
    for piece in pieces {
        connection.feed(piece);
    }
    connection.end()
}
