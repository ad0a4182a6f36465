//! Writes a stream as `OpenAI` itself writes it.
//!
//! ```text
//!   Begin         {"delta":{"role":"assistant","content":""}}
//!   Text          {"delta":{"content":"…"}}
//!   Thinking      {"delta":{"reasoning_content":"…"}}
//!   Open(Call)    {"delta":{"tool_calls":[{"index":0,"id":…,"type":"function",…}]}}
//!   Text (call)   {"delta":{"tool_calls":[{"index":0,"function":{"arguments":"…"}}]}}
//!   Stop          {"delta":{},"finish_reason":"stop"}
//!   End           the usage chunk, if it is wanted;  [DONE]
//! ```
//!
//! Invariants
//! - I1 Id, model and time are the same in every chunk.
//! - I2 Calls are numbered 0, 1, 2, … in their order; one without arguments gets `{}`.
//! - I3 One finish reason, whatever comes; none of a stream that has none goes without.
//! - I4 No allocation per step, but for the one that begins.
//!
//! Source: OpenAI API reference, `chat.completion.chunk`; protocols.md, 2.3.

use super::super::error;
use super::super::kept::{Stretch, chars, put_detail, put_extra};
use super::super::usage::members;
use super::super::{ID_PREFIX, stop, usage};
use crate::base::bytes::TxBuf;
use crate::dialect::model::{Dialect, Names, Open, Step, Stop, Text, Tokens};
use crate::wire::json::cursor::Cursor;
use crate::wire::json::write::{put_inside, put_string};

/// The block that is open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Now {
    #[default]
    Nothing,
    Text,
    Thinking,
    Refusal,
    Call {
        is_custom: bool,
        has_arguments: bool,
    },
}

/// Writes a stream.
#[derive(Debug, Default)]
pub struct Writer {
    /// The beginning of every chunk, up to its choices; empty before the first.
    head: Vec<u8>,
    now: Now,
    calls: u64,
    /// Citations and details of thinking so far.
    cited: u64,
    details: u64,
    /// The block of thinking that is or was open.
    thought: Stretch,
    has_finish: bool,
    usage: Option<Tokens>,
}

impl Writer {
    /// At the start of a stream.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends what `step` is in Chat.
    pub fn write(&mut self, step: &Step<'_>, names: &Names<'_>, tx: &mut TxBuf) {
        if self.head.is_empty() && !matches!(step, Step::Error(_)) {
            let id = match step {
                Step::Begin { id, .. } => *id,
                _ => Text::EMPTY,
            };
            self.begin(id, names, tx);
        }
        match step {
            Step::Open(open) => self.open(open, names, tx),
            Step::Text(text) => self.text(*text, names, tx),
            Step::Opaque(dialect, raw) => self.opaque(*dialect, raw, names, tx),
            Step::Citation(Dialect::Chat, raw) => {
                let index = self.cited;
                self.cited += 1;
                self.chunk(names, tx, |tx| put_item(tx, "annotations", raw, index));
            }
            Step::Begin { .. } | Step::Citation(..) => {}
            Step::Close => self.close(names, tx),
            Step::Usage(tokens) => self.usage = Some(*tokens),
            Step::Stop(why, _) => self.finish(*why, names, tx),
            Step::Error(refused) => error::put_event(tx, &error::told(refused)),
            Step::End => self.end(names, tx),
        }
    }

    fn begin(&mut self, id: Text<'_>, names: &Names<'_>, tx: &mut TxBuf) {
        // The head is made once, in the send buffer, and copied from there (I1).
        let start = tx.len();
        tx.put(b"data: {\"id\":\"");
        put_id(tx, ID_PREFIX, id, names);
        tx.put(b"\",\"object\":\"chat.completion.chunk\",\"created\":");
        tx.put_decimal(names.created);
        tx.put(b",\"model\":\"");
        put_inside(tx, names.model);
        tx.put(b"\",\"choices\":[");
        self.head = tx.unsent().get(start..).unwrap_or_default().to_vec();
        tx.put(b"{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"}");
        put_tail(tx, names);
    }

    fn open(&mut self, open: &Open<'_>, names: &Names<'_>, tx: &mut TxBuf) {
        self.now = match *open {
            Open::Text => Now::Text,
            Open::Thinking => {
                self.thought.start += self.thought.chars;
                self.thought.chars = 0;
                Now::Thinking
            }
            Open::Refusal => Now::Refusal,
            Open::Call {
                id,
                name,
                is_custom,
            } => {
                let index = self.calls;
                self.calls += 1; // I2
                self.chunk(names, tx, |tx| {
                    tx.put(b"\"tool_calls\":[{\"index\":");
                    tx.put_decimal(index);
                    tx.put(b",\"id\":\"");
                    put_call_id(tx, id, names, index);
                    tx.put(if is_custom {
                        b"\",\"type\":\"custom\",\"custom\":{\"name\":\""
                    } else {
                        b"\",\"type\":\"function\",\"function\":{\"name\":\""
                    });
                    name.put_inside(tx);
                    tx.put(if is_custom {
                        b"\",\"input\":\"\"}}]"
                    } else {
                        b"\",\"arguments\":\"\"}}]"
                    });
                });
                Now::Call {
                    is_custom,
                    has_arguments: false,
                }
            }
        };
    }

    fn text(&mut self, text: Text<'_>, names: &Names<'_>, tx: &mut TxBuf) {
        if text.is_empty() {
            return;
        }
        let field: &[u8] = match &mut self.now {
            Now::Thinking => {
                self.thought.chars += chars(text);
                b"\"reasoning_content\":\""
            }
            Now::Refusal => b"\"refusal\":\"",
            Now::Text | Now::Nothing => b"\"content\":\"",
            Now::Call { has_arguments, .. } => {
                *has_arguments = true;
                return self.arguments(text, names, tx);
            }
        };
        self.chunk(names, tx, |tx| {
            tx.put(field);
            text.put_inside(tx);
            tx.put(b"\"");
        });
    }

    fn arguments(&self, text: Text<'_>, names: &Names<'_>, tx: &mut TxBuf) {
        let is_custom = matches!(self.now, Now::Call { is_custom, .. } if is_custom);
        self.chunk(names, tx, |tx| {
            tx.put(b"\"tool_calls\":[{\"index\":");
            tx.put_decimal(self.calls.saturating_sub(1));
            tx.put(if is_custom {
                b",\"custom\":{\"input\":\""
            } else {
                b",\"function\":{\"arguments\":\""
            });
            text.put_inside(tx);
            tx.put(b"\"}}]");
        });
    }

    /// What the provider wants to see again with its thinking or its call.
    fn opaque(&mut self, dialect: Dialect, raw: &[u8], names: &Names<'_>, tx: &mut TxBuf) {
        match self.now {
            Now::Thinking => {
                let index = self.details;
                self.details += 1;
                let stretch = self.thought;
                self.chunk(names, tx, |tx| {
                    if dialect == Dialect::Chat {
                        return put_item(tx, "reasoning_details", raw, index);
                    }
                    tx.put(b"\"reasoning_details\":[");
                    put_detail(tx, dialect, raw, index, stretch);
                    tx.put(b"]");
                });
            }
            Now::Call { is_custom, .. } => self.chunk(names, tx, |tx| {
                tx.put(b"\"tool_calls\":[{\"index\":");
                tx.put_decimal(self.calls.saturating_sub(1));
                if !is_custom {
                    // OpenAI's helper for streams raises without it.
                    tx.put(b",\"function\":{\"arguments\":\"\"}");
                }
                tx.put(b",\"extra_content\":");
                put_extra(tx, dialect, raw);
                tx.put(b"}]");
            }),
            Now::Nothing | Now::Text | Now::Refusal => {}
        }
    }

    fn close(&mut self, names: &Names<'_>, tx: &mut TxBuf) {
        let is_bare = matches!(
            self.now,
            Now::Call {
                is_custom: false,
                has_arguments: false
            }
        );
        if is_bare {
            self.arguments(Text::Plain("{}"), names, tx);
        }
        self.now = Now::Nothing;
    }

    fn finish(&mut self, stop: Stop, names: &Names<'_>, tx: &mut TxBuf) {
        if self.has_finish {
            return; // I3
        }
        self.has_finish = true;
        self.close(names, tx);
        tx.put(&self.head);
        tx.put(b"{\"index\":0,\"delta\":{},\"logprobs\":null,\"finish_reason\":\"");
        tx.put(stop::word(stop, self.calls > 0).as_bytes());
        tx.put(b"\"}]");
        put_end(tx, names);
    }

    fn end(&mut self, names: &Names<'_>, tx: &mut TxBuf) {
        self.finish(Stop::End, names, tx);
        if names.wants_usage
            && let Some(tokens) = &self.usage
        {
            tx.put(&self.head);
            tx.put(b"],\"usage\":");
            usage::put(tx, tokens);
            tx.put(b"}\n\n");
        }
        tx.put(b"data: [DONE]\n\n");
    }

    /// A chunk whose delta `put` writes.
    fn chunk(&self, names: &Names<'_>, tx: &mut TxBuf, put: impl FnOnce(&mut TxBuf)) {
        tx.put(&self.head);
        tx.put(b"{\"index\":0,\"delta\":{");
        put(tx);
        tx.put(b"}");
        put_tail(tx, names);
    }
}

/// The member `key`, a list of this one object. An item of a list must have an index, or
/// `openai-python` cannot put the deltas together.
fn put_item(tx: &mut TxBuf, key: &str, raw: &[u8], index: u64) {
    put_string(tx, key);
    tx.put(b":[");
    let mut has_index = false;
    let mut cursor = Cursor::new(raw, 0);
    let read = members(&mut cursor, |cursor, name| {
        has_index |= name == b"index";
        cursor.skip().map(drop)
    });
    match raw.strip_prefix(b"{") {
        Some(rest) if !has_index && read.is_ok() && rest.trim_ascii() != b"}" => {
            tx.put(b"{\"index\":");
            tx.put_decimal(index);
            tx.put(b",");
            tx.put(rest);
        }
        _ => tx.put(raw),
    }
    tx.put(b"]");
}

fn put_tail(tx: &mut TxBuf, names: &Names<'_>) {
    tx.put(b",\"logprobs\":null,\"finish_reason\":null}]");
    put_end(tx, names);
}

fn put_end(tx: &mut TxBuf, names: &Names<'_>) {
    tx.put(if names.wants_usage {
        b",\"usage\":null}\n\n"
    } else {
        b"}\n\n"
    });
}

/// The provider's name for the answer if it has Chat's form, else the gateway's.
pub(in crate::dialect::chat) fn put_id(
    tx: &mut TxBuf,
    prefix: &str,
    id: Text<'_>,
    names: &Names<'_>,
) {
    let raw = match id {
        Text::Escaped(raw) => raw,
        Text::Plain(text) => text.as_bytes(),
    };
    if raw.len() > prefix.len() && raw.starts_with(prefix.as_bytes()) {
        id.put_inside(tx);
    } else {
        tx.put(prefix.as_bytes());
        put_inside(tx, names.id);
    }
}

/// The provider's name for a call, or one that is made up.
pub(in crate::dialect::chat) fn put_call_id(
    tx: &mut TxBuf,
    id: Text<'_>,
    names: &Names<'_>,
    index: u64,
) {
    if id.is_empty() {
        tx.put(b"call_");
        put_inside(tx, names.id);
        tx.put(b"_");
        tx.put_decimal(index);
    } else {
        id.put_inside(tx);
    }
}
