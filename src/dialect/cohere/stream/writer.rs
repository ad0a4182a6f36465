//! Steps → Cohere's events.
//!
//! ```text
//!   Open(Text)  ─► content-start {index:0}      Open(Call) ─► tool-call-start {index:0}
//!   Text        ─► content-delta {index:0}      Text       ─► tool-call-delta {index:0}
//!   Close       ─► content-end   {index:0}      Close      ─► tool-call-end   {index:0}
//!   Usage, Stop ─► (held)                       End        ─► message-end
//! ```
//!
//! Contents, calls and citations are counted apart, each from 0, as Cohere does. Text before a
//! call is content, not a plan: whether a call follows is not known while it is written.
//!
//! Invariants
//! - I1 Every event is whole; starts and ends are balanced whatever comes.
//! - I2 Nothing is allocated for text; but for that of custom tools, which goes through two
//!   layers of escapes and which no client of this dialect can ask for.
//! - I3 `message-end` comes once, at [`Step::End`] or [`Step::Error`]; nothing follows it.
//!
//! Source: `cohere` 7.3.1, `V2ChatStreamResponse`; recordings.

use super::super::answer::{finish, is_own_id};
use super::super::error::put_end;
use super::super::usage;
use crate::base::bytes::TxBuf;
use crate::dialect::model::{Dialect, Names, Open, Refused, Step, Stop, Text, Tokens, Trouble};
use crate::wire::json::write::{put_inside, put_string};

/// What kind of block is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sort {
    Text,
    Thinking,
    Call { is_custom: bool },
}

/// Writes a stream.
#[derive(Debug, Default)]
pub struct Writer {
    has_begun: bool,
    has_ended: bool,
    open: Option<Sort>,
    /// The open call has said something.
    has_said: bool,
    contents: u64,
    calls: u64,
    citations: u64,
    usage: Option<Tokens>,
    stop: Option<Stop>,
}

impl Writer {
    /// At the start of a stream.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends the events that say `step`.
    pub fn write(&mut self, step: &Step<'_>, names: &Names<'_>, tx: &mut TxBuf) {
        if self.has_ended {
            return; // I3
        }
        match step {
            Step::Begin { id, .. } => self.begin(*id, names, tx),
            Step::Open(open) => {
                self.begin(Text::EMPTY, names, tx);
                self.close(tx);
                self.open(open, names, tx);
            }
            Step::Text(text) if !text.is_empty() => {
                if self.open.is_none() {
                    self.begin(Text::EMPTY, names, tx);
                    self.open(&Open::Text, names, tx);
                }
                self.text(*text, tx);
            }
            Step::Citation(Dialect::Cohere, citation) => self.cite(citation, tx),
            Step::Close => self.close(tx),
            Step::Usage(tokens) => self.usage = Some(*tokens),
            Step::Stop(why, _) => self.stop = Some(*why),
            Step::Error(refused) => {
                self.has_ended = true;
                put_end(tx, refused.trouble, words(refused));
            }
            Step::End => {
                self.begin(Text::EMPTY, names, tx);
                self.close(tx);
                self.end(tx);
            }
            Step::Text(_) | Step::Opaque(..) | Step::Citation(..) => {}
        }
    }

    fn begin(&mut self, id: Text<'_>, names: &Names<'_>, tx: &mut TxBuf) {
        if std::mem::replace(&mut self.has_begun, true) {
            return;
        }
        tx.put(b"event: message-start\ndata: {\"id\":\"");
        let own = match id {
            Text::Escaped(raw) => raw,
            Text::Plain(text) => text.as_bytes(),
        };
        if is_own_id(own) {
            tx.put(own);
        } else {
            put_inside(tx, names.id);
        }
        tx.put(b"\",\"type\":\"message-start\",\"delta\":{\"message\":{\"role\":\"assistant\",");
        tx.put(b"\"content\":[],\"tool_plan\":\"\",\"tool_calls\":[],\"citations\":[]}}}\n\n");
    }

    fn open(&mut self, open: &Open<'_>, names: &Names<'_>, tx: &mut TxBuf) {
        self.has_said = false;
        let (sort, content) = match open {
            Open::Text | Open::Refusal => (Sort::Text, &br#"{"type":"text","text":""}"#[..]),
            Open::Thinking => (Sort::Thinking, &br#"{"type":"thinking","thinking":""}"#[..]),
            Open::Call {
                id,
                name,
                is_custom,
            } => {
                self.open_call(*id, *name, names, tx);
                let is_custom = *is_custom;
                self.open = Some(Sort::Call { is_custom });
                return;
            }
        };
        self.open = Some(sort);
        self.put_head(b"content-start", tx);
        tx.put(b",\"delta\":{\"message\":{\"content\":");
        tx.put(content);
        tx.put(b"}}}\n\n");
    }

    fn open_call(&mut self, id: Text<'_>, name: Text<'_>, names: &Names<'_>, tx: &mut TxBuf) {
        put_start(tx, b"tool-call-start", self.calls);
        tx.put(b",\"delta\":{\"message\":{\"tool_calls\":{\"id\":\"");
        if id.is_empty() {
            tx.put(b"call_");
            put_inside(tx, names.id);
            tx.put(b"_");
            tx.put_decimal(self.calls);
        } else {
            id.put_inside(tx);
        }
        tx.put(b"\",\"type\":\"function\",\"function\":{\"name\":\"");
        name.put_inside(tx);
        tx.put(b"\",\"arguments\":\"\"}}}}}\n\n");
    }

    fn text(&mut self, text: Text<'_>, tx: &mut TxBuf) {
        match self.open {
            None => {}
            Some(Sort::Call { is_custom: false }) => {
                self.put_arguments(tx, |tx| text.put_inside(tx));
            }
            Some(Sort::Call { is_custom: true }) => {
                let is_first = !self.has_said;
                self.put_arguments(tx, |tx| {
                    tx.put(if is_first { br#"{\"input\":\""# } else { b"" });
                    put_twice(tx, text);
                });
            }
            Some(sort) => {
                self.put_head(b"content-delta", tx);
                tx.put(b",\"delta\":{\"message\":{\"content\":{");
                tx.put(match sort {
                    Sort::Thinking => b"\"thinking\":\"",
                    _ => &b"\"text\":\""[..],
                });
                text.put_inside(tx);
                tx.put(b"\"}}}}\n\n");
            }
        }
        self.has_said = true;
    }

    /// A delta of arguments, the inside of whose string `put` appends.
    fn put_arguments(&self, tx: &mut TxBuf, put: impl FnOnce(&mut TxBuf)) {
        self.put_head(b"tool-call-delta", tx);
        tx.put(b",\"delta\":{\"message\":{\"tool_calls\":{\"function\":{\"arguments\":\"");
        put(tx);
        tx.put(b"\"}}}}}\n\n");
    }

    fn cite(&mut self, citation: &[u8], tx: &mut TxBuf) {
        if !matches!(self.open, Some(Sort::Text)) {
            return;
        }
        put_start(tx, b"citation-start", self.citations);
        tx.put(b",\"delta\":{\"message\":{\"citations\":");
        tx.put(citation);
        tx.put(b"}}}\n\n");
        put_start(tx, b"citation-end", self.citations);
        tx.put(b"}\n\n");
        self.citations += 1;
    }

    fn close(&mut self, tx: &mut TxBuf) {
        match self.open {
            None => return,
            Some(Sort::Call { is_custom }) => {
                match (is_custom, self.has_said) {
                    (false, true) => {}
                    (false, false) => self.put_arguments(tx, |tx| tx.put(b"{}")),
                    (true, true) => self.put_arguments(tx, |tx| tx.put(br#"\"}"#)),
                    (true, false) => {
                        self.put_arguments(tx, |tx| tx.put(br#"{\"input\":\"\"}"#));
                    }
                }
                self.put_head(b"tool-call-end", tx);
                self.calls += 1;
            }
            Some(_) => {
                self.put_head(b"content-end", tx);
                self.contents += 1;
            }
        }
        tx.put(b"}\n\n");
        self.open = None;
    }

    fn end(&mut self, tx: &mut TxBuf) {
        self.has_ended = true;
        tx.put(
            b"event: message-end\ndata: {\"type\":\"message-end\",\"delta\":{\"finish_reason\":",
        );
        put_string(tx, finish(self.stop.unwrap_or_default()));
        if let Some(tokens) = &self.usage {
            tx.put(b",\"usage\":");
            usage::put(tx, tokens);
        }
        tx.put(b"}}\n\n");
    }

    /// The beginning of an event about the open block.
    fn put_head(&self, name: &[u8], tx: &mut TxBuf) {
        let index = match self.open {
            Some(Sort::Call { .. }) => self.calls,
            _ => self.contents,
        };
        put_start(tx, name, index);
    }
}

/// The beginning of an event up to its index.
fn put_start(tx: &mut TxBuf, name: &[u8], index: u64) {
    tx.put(b"event: ");
    tx.put(name);
    tx.put(b"\ndata: {\"type\":\"");
    tx.put(name);
    tx.put(b"\",\"index\":");
    tx.put_decimal(index);
}

/// Text as the inside of a JSON string that stands in a JSON string.
fn put_twice(tx: &mut TxBuf, text: Text<'_>) {
    let once = match text {
        Text::Escaped(raw) => String::from_utf8_lossy(raw).into_owned(),
        Text::Plain(text) => {
            let quoted = serde_json::Value::from(text).to_string();
            let inside = quoted
                .strip_prefix('"')
                .and_then(|rest| rest.strip_suffix('"'));
            inside.unwrap_or_default().to_owned()
        }
    };
    put_inside(tx, &once);
}

/// What a client may read of a provider's words.
fn words(refused: &Refused) -> &str {
    match refused.trouble {
        Trouble::Auth => "The provider refused the gateway's credentials.",
        _ if refused.message.is_empty() => "The provider could not complete the answer.",
        _ => &refused.message,
    }
}
