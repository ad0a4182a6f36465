//! Writes streamed answers, as whole frames.
//!
//! Source: Amazon Bedrock Runtime API, `ConverseStreamOutput`.

use super::super::answer::made_id;
use super::super::error::put_exception;
use super::super::usage;
use crate::base::bytes::TxBuf;
use crate::dialect::model::{Dialect, Names, Open, Step, Stop, Text, Tokens};
use crate::wire::eventstream::put_event;
use crate::wire::json::write::{put_inside, put_string};

/// What is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Block {
    Text,
    Thinking,
    /// Whether anything was said of its arguments.
    Call(bool),
    /// The same, of a tool that takes plain text: it goes into a field of an object.
    Custom,
}

/// Writes the events of one stream.
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent facts of what is on the wire"
)]
#[derive(Debug, Default)]
pub struct Writer {
    begun: bool,
    open: Option<Block>,
    /// Whether the open block has an event on the wire.
    is_told: bool,
    /// The index of the open block, else of the next one.
    index: u64,
    tokens: Option<Tokens>,
    stopped: bool,
    over: bool,
}

/// What stands before and behind the text of a delta.
const TEXT: [&[u8]; 2] = [b"{\"text\":\"", b"\"}"];
const THINKING: [&[u8]; 2] = [b"{\"reasoningContent\":{\"text\":\"", b"\"}}"];
const ARGUMENTS: [&[u8]; 2] = [b"{\"toolUse\":{\"input\":\"", b"\"}}"];

impl Writer {
    /// At the start of a stream.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends the events that say `step`; some steps are held until a later one.
    pub fn write(&mut self, step: &Step<'_>, names: &Names<'_>, tx: &mut TxBuf) {
        if self.over {
            return;
        }
        match step {
            Step::Begin { .. } => self.begin(tx),
            Step::Open(open) => self.open(open, names, tx),
            Step::Text(text) => self.text(*text, tx),
            Step::Opaque(dialect, value) => {
                if *dialect == Dialect::Bedrock && self.open == Some(Block::Thinking) {
                    self.opaque(value, tx);
                }
            }
            Step::Citation(dialect, value) => {
                if *dialect == Dialect::Bedrock && self.open == Some(Block::Text) {
                    self.delta(&[b"{\"citation\":", value, b"}"], tx);
                }
            }
            Step::Close => self.close(tx),
            Step::Usage(tokens) => self.tokens = Some(*tokens),
            Step::Stop(reason, sequence) => self.stop(*reason, *sequence, tx),
            Step::Error(refused) => {
                self.over = true;
                put_exception(tx, refused.trouble, &refused.message);
            }
            Step::End => self.end(tx),
        }
    }

    fn begin(&mut self, tx: &mut TxBuf) {
        if !self.begun {
            self.begun = true;
            put_event(tx, "messageStart", &[b"{\"role\":\"assistant\"}"]);
        }
    }

    fn open(&mut self, open: &Open<'_>, names: &Names<'_>, tx: &mut TxBuf) {
        self.begin(tx);
        self.close(tx);
        let Open::Call {
            id,
            name,
            is_custom,
        } = open
        else {
            // These begin with their first delta.
            let is_thinking = matches!(open, Open::Thinking);
            self.open = Some(if is_thinking {
                Block::Thinking
            } else {
                Block::Text
            });
            return;
        };
        let mut body = TxBuf::new(tx.pool());
        body.put(b"{\"contentBlockIndex\":");
        body.put_decimal(self.index);
        body.put(b",\"start\":{\"toolUse\":{\"toolUseId\":");
        if id.is_empty() {
            let nth = usize::try_from(self.index).unwrap_or(usize::MAX);
            put_string(&mut body, &made_id(names, nth));
        } else {
            put_quoted(&mut body, *id);
        }
        body.put(b",\"name\":");
        put_quoted(&mut body, *name);
        body.put(b"}}}");
        put_event(tx, "contentBlockStart", &[body.unsent()]);
        self.is_told = true;
        self.open = Some(if *is_custom {
            Block::Custom
        } else {
            Block::Call(false)
        });
        if *is_custom {
            self.text_delta(ARGUMENTS, Text::Escaped(br#"{\"input\":\""#), tx);
        }
    }

    fn text(&mut self, text: Text<'_>, tx: &mut TxBuf) {
        if text.is_empty() {
            return;
        }
        match self.open {
            Some(Block::Thinking) => self.text_delta(THINKING, text, tx),
            Some(Block::Call(_)) => {
                self.open = Some(Block::Call(true));
                self.text_delta(ARGUMENTS, text, tx);
            }
            Some(Block::Custom) => {
                // A string within a string: the inside is escaped once more.
                let mut inside = TxBuf::new(tx.pool());
                text.put_inside(&mut inside);
                if let Ok(inside) = std::str::from_utf8(inside.unsent()) {
                    self.text_delta(ARGUMENTS, Text::Plain(inside), tx);
                }
            }
            Some(Block::Text) => self.text_delta(TEXT, text, tx),
            None => {
                self.begin(tx);
                self.open = Some(Block::Text);
                self.text_delta(TEXT, text, tx);
            }
        }
    }

    fn text_delta(&mut self, around: [&[u8]; 2], text: Text<'_>, tx: &mut TxBuf) {
        let [before, behind] = around;
        match text {
            Text::Escaped(raw) => self.delta(&[before, raw, behind], tx),
            Text::Plain(text) => {
                let mut inside = TxBuf::new(tx.pool());
                put_inside(&mut inside, text);
                self.delta(&[before, inside.unsent(), behind], tx);
            }
        }
    }

    /// A signature, or what is encrypted.
    fn opaque(&mut self, value: &[u8], tx: &mut TxBuf) {
        if value.starts_with(b"{") {
            self.delta(&[b"{\"reasoningContent\":", value, b"}"], tx);
        } else {
            self.delta(
                &[b"{\"reasoningContent\":{\"signature\":", value, b"}}"],
                tx,
            );
        }
    }

    fn delta(&mut self, parts: &[&[u8]; 3], tx: &mut TxBuf) {
        self.is_told = true;
        let mut digits = itoa::Buffer::new();
        let index = digits.format(self.index).as_bytes();
        let [before, inside, behind] = *parts;
        let all = [
            b"{\"contentBlockIndex\":",
            index,
            b",\"delta\":",
            before,
            inside,
            behind,
            b"}",
        ];
        put_event(tx, "contentBlockDelta", &all);
    }

    fn close(&mut self, tx: &mut TxBuf) {
        match self.open {
            // Clients read the arguments as JSON.
            Some(Block::Call(false)) => self.text_delta(ARGUMENTS, Text::Escaped(b"{}"), tx),
            Some(Block::Custom) => self.text_delta(ARGUMENTS, Text::Escaped(br#"\"}"#), tx),
            _ => {}
        }
        self.open = None;
        if !self.is_told {
            return; // A block of which nothing was said is none.
        }
        let mut digits = itoa::Buffer::new();
        let index = digits.format(self.index).as_bytes();
        put_event(
            tx,
            "contentBlockStop",
            &[b"{\"contentBlockIndex\":", index, b"}"],
        );
        self.is_told = false;
        self.index += 1;
    }

    fn stop(&mut self, stop: Stop, sequence: Text<'_>, tx: &mut TxBuf) {
        if self.stopped {
            return;
        }
        self.begin(tx);
        self.close(tx);
        self.stopped = true;
        let reason = usage::reason(stop).as_bytes();
        if sequence.is_empty() {
            put_event(tx, "messageStop", &[b"{\"stopReason\":\"", reason, b"\"}"]);
            return;
        }
        let mut inside = TxBuf::new(tx.pool());
        sequence.put_inside(&mut inside);
        let before = b"\",\"additionalModelResponseFields\":{\"stop_sequence\":\"";
        let parts = [
            b"{\"stopReason\":\"",
            reason,
            before,
            inside.unsent(),
            b"\"}}",
        ];
        put_event(tx, "messageStop", &parts);
    }

    fn end(&mut self, tx: &mut TxBuf) {
        self.stop(Stop::End, Text::EMPTY, tx);
        self.over = true;
        let mut body = TxBuf::new(tx.pool());
        body.put(b"{\"usage\":");
        // The official SDKs count on it: no counts are zeros.
        usage::put(&mut body, &self.tokens.unwrap_or_default());
        body.put(b",\"metrics\":{\"latencyMs\":0}}");
        put_event(tx, "metadata", &[body.unsent()]);
    }
}

fn put_quoted(tx: &mut TxBuf, text: Text<'_>) {
    tx.put(b"\"");
    text.put_inside(tx);
    tx.put(b"\"");
}
