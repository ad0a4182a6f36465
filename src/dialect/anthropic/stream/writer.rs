//! Writes the events for a client.
//!
//! Invariants
//! - I1 Every event has its `event:` line: the official SDK skips those that have none.
//! - I2 Blocks have the indexes 0, 1, 2 …, do not overlap, and none is empty: a block starts
//!   when there is something in it. A call is something.
//! - I3 `message_delta` is held until `End`: usage may follow the stop, and clients take the
//!   last one. Without `End` neither it nor `message_stop` is written.
//! - I4 No allocation for a delta of text.

use super::super::answer::{REFUSED, put_made_up_id, put_seal, reason_of, with_calls};
use super::super::{error, seal, usage};
use crate::base::bytes::TxBuf;
use crate::dialect::model::{Dialect, Names, Open, Step, Stop, Text, Tokens};
use crate::wire::json::write::{put_inside, put_string};

/// The block that is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Block {
    Text,
    Thinking { is_signed: bool },
    Redacted,
    Call { is_custom: bool, has_text: bool },
}

/// Where the stream is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    #[default]
    Fresh,
    Begun,
    Over,
}

/// Writes steps as events.
#[derive(Debug, Default)]
pub struct Writer {
    phase: Phase,
    /// The index of the next block.
    next: u64,
    /// The open block, and whether its start is written.
    open: Option<(Block, bool)>,
    has_call: bool,
    tokens: Tokens,
    stop: Stop,
    sequence: Option<String>,
}

impl Writer {
    /// At the start of a stream.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends the events that `step` makes, if any.
    pub fn write(&mut self, step: &Step<'_>, names: &Names<'_>, tx: &mut TxBuf) {
        if self.phase == Phase::Over {
            return;
        }
        match step {
            Step::Begin { id, .. } => self.begin(*id, names, tx),
            Step::Open(open) => self.open(*open, names, tx),
            Step::Text(text) => self.text(*text, tx),
            Step::Opaque(dialect, json) => self.opaque(*dialect, json, tx),
            Step::Citation(dialect, json) => self.citation(*dialect, json, tx),
            Step::Close => self.close(tx),
            Step::Usage(tokens) => self.tokens = *tokens,
            Step::Stop(reason, sequence) => {
                self.stop = *reason;
                self.sequence = (!sequence.is_empty()).then(|| sequence.to_text());
            }
            Step::Error(refused) => {
                error::put_refused(tx, refused);
                self.phase = Phase::Over;
            }
            Step::End => self.end(names, tx),
        }
    }

    fn begin(&mut self, id: Text<'_>, names: &Names<'_>, tx: &mut TxBuf) {
        if self.phase != Phase::Fresh {
            return;
        }
        self.phase = Phase::Begun;
        tx.put(b"event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"");
        let raw = match id {
            Text::Escaped(raw) => raw,
            Text::Plain(text) => text.as_bytes(),
        };
        if raw.starts_with(b"msg_") {
            id.put_inside(tx);
        } else {
            tx.put(b"msg_");
            tx.put(names.id.as_bytes());
        }
        tx.put(b"\",\"type\":\"message\",\"role\":\"assistant\",\"model\":");
        put_string(tx, names.model);
        tx.put(b",\"content\":[],\"stop_reason\":null,\"stop_sequence\":null,\"usage\":");
        // The numbers of `message_delta` are the ones that count.
        usage::put(tx, &Tokens::default());
        tx.put(b"}}\n\n");
    }

    fn open(&mut self, open: Open<'_>, names: &Names<'_>, tx: &mut TxBuf) {
        self.begin(Text::EMPTY, names, tx);
        self.close(tx);
        let (id, name, is_custom) = match open {
            Open::Text | Open::Refusal => {
                self.open = Some((Block::Text, false));
                return;
            }
            Open::Thinking => {
                self.open = Some((Block::Thinking { is_signed: false }, false));
                return;
            }
            Open::Call {
                id,
                name,
                is_custom,
            } => (id, name, is_custom),
        };
        self.has_call = true;
        self.put_start(tx);
        tx.put(b"{\"type\":\"tool_use\",\"id\":\"");
        if id.is_empty() {
            put_made_up_id(tx, names, self.next);
        } else {
            id.put_inside(tx);
        }
        tx.put(b"\",\"name\":\"");
        name.put_inside(tx);
        tx.put(b"\",\"input\":{}}}\n\n");
        let call = Block::Call {
            is_custom,
            has_text: false,
        };
        self.open = Some((call, true));
    }

    /// Writes the start of the open block of text or thinking, unless it is there.
    fn start(&mut self, tx: &mut TxBuf) {
        let Some((block, false)) = self.open else {
            return;
        };
        self.put_start(tx);
        tx.put(match block {
            Block::Thinking { .. } => {
                b"{\"type\":\"thinking\",\"thinking\":\"\",\"signature\":\"\"}}\n\n"
            }
            _ => b"{\"type\":\"text\",\"text\":\"\"}}\n\n",
        });
        self.open = Some((block, true));
    }

    fn put_start(&self, tx: &mut TxBuf) {
        tx.put(b"event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":");
        tx.put_decimal(self.next);
        tx.put(b",\"content_block\":");
    }

    /// Writes the beginning of a delta, up to its value; `"}}` and a blank line end it.
    fn put_delta(&self, tx: &mut TxBuf, what: &[u8]) {
        tx.put(b"event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":");
        tx.put_decimal(self.next);
        tx.put(b",\"delta\":{\"type\":\"");
        tx.put(what);
    }

    fn text(&mut self, text: Text<'_>, tx: &mut TxBuf) {
        if text.is_empty() {
            return;
        }
        self.start(tx);
        let what: &[u8] = match &mut self.open {
            Some((Block::Text, _)) => b"text_delta\",\"text\":\"",
            Some((Block::Thinking { .. }, _)) => b"thinking_delta\",\"thinking\":\"",
            Some((
                Block::Call {
                    is_custom,
                    has_text,
                },
                _,
            )) => {
                let is_first = !std::mem::replace(has_text, true);
                if *is_custom {
                    self.custom(text, is_first, tx);
                    return;
                }
                b"input_json_delta\",\"partial_json\":\""
            }
            Some((Block::Redacted, _)) | None => return,
        };
        self.put_delta(tx, what);
        text.put_inside(tx);
        tx.put(b"\"}}\n\n");
    }

    /// A piece of the plain text of a custom tool, within `{"input":"…"}`.
    fn custom(&self, text: Text<'_>, is_first: bool, tx: &mut TxBuf) {
        let json = serde_json::Value::from(text.to_text()).to_string();
        let inside = json
            .get(1..json.len().saturating_sub(1))
            .unwrap_or_default();
        self.put_delta(tx, b"input_json_delta\",\"partial_json\":\"");
        if is_first {
            put_inside(tx, "{\"input\":\"");
        }
        put_inside(tx, inside);
        tx.put(b"\"}}\n\n");
    }

    fn opaque(&mut self, dialect: Dialect, json: &[u8], tx: &mut TxBuf) {
        let Some((Block::Thinking { .. }, is_started)) = self.open else {
            return; // what goes with a call has no slot in this dialect
        };
        let is_own = dialect == Dialect::Anthropic;
        if is_own && json.starts_with(b"{") {
            if is_started {
                self.close(tx);
            }
            self.put_start(tx);
            tx.put(json);
            tx.put(b"}\n\n");
            self.open = Some((Block::Redacted, true));
            return;
        }
        self.start(tx);
        self.put_delta(tx, b"signature_delta\",\"signature\":\"");
        match json
            .strip_prefix(b"\"")
            .and_then(|json| json.strip_suffix(b"\""))
        {
            Some(signature) if is_own => tx.put(signature),
            _ => put_seal(tx, dialect, &String::from_utf8_lossy(json)),
        }
        tx.put(b"\"}}\n\n");
        self.open = Some((Block::Thinking { is_signed: true }, true));
    }

    fn citation(&mut self, dialect: Dialect, json: &[u8], tx: &mut TxBuf) {
        let is_text = matches!(self.open, Some((Block::Text, _)));
        if dialect != Dialect::Anthropic || !is_text {
            return;
        }
        self.start(tx);
        self.put_delta(tx, b"citations_delta\",\"citation\":");
        tx.put(json);
        tx.put(b"}}\n\n");
    }

    fn close(&mut self, tx: &mut TxBuf) {
        let Some((block, true)) = self.open.take() else {
            return; // I2: nothing was in it
        };
        match block {
            Block::Thinking { is_signed: false } => {
                self.put_delta(tx, b"signature_delta\",\"signature\":\"");
                tx.put(seal::UNSIGNED.as_bytes());
                tx.put(b"\"}}\n\n");
            }
            Block::Call {
                is_custom,
                has_text,
            } => {
                let end = match (is_custom, has_text) {
                    (false, true) => "",
                    (false, false) => "{}",
                    (true, true) => "\"}",
                    (true, false) => "{\"input\":\"\"}",
                };
                if !end.is_empty() {
                    self.put_delta(tx, b"input_json_delta\",\"partial_json\":\"");
                    put_inside(tx, end);
                    tx.put(b"\"}}\n\n");
                }
            }
            Block::Text | Block::Thinking { .. } | Block::Redacted => {}
        }
        tx.put(b"event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":");
        tx.put_decimal(self.next);
        tx.put(b"}\n\n");
        self.next += 1;
    }

    fn end(&mut self, names: &Names<'_>, tx: &mut TxBuf) {
        self.begin(Text::EMPTY, names, tx);
        self.close(tx);
        self.phase = Phase::Over;
        let stop = with_calls(self.stop, self.has_call);
        tx.put(b"event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{");
        tx.put(b"\"stop_reason\":\"");
        tx.put(reason_of(stop).as_bytes());
        tx.put(b"\",\"stop_sequence\":");
        match &self.sequence {
            Some(sequence) if stop == Stop::Sequence => put_string(tx, sequence),
            _ => tx.put(b"null"),
        }
        if stop == Stop::Filtered {
            tx.put(REFUSED);
        }
        tx.put(b"},\"usage\":");
        usage::put(tx, &self.tokens);
        tx.put(b"}\n\nevent: message_stop\ndata: {\"type\":\"message_stop\"}\n\n");
    }
}
