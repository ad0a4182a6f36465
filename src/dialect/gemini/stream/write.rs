//! Writes a stream of events.
//!
//! ```text
//!   Text "Hi"      data: {"candidates":[{"content":{"parts":[{"text":"Hi"}],…}}],…}
//!   Open(Call) … Close     held, then one event with the whole functionCall
//!   Usage, Stop    held
//!   End            data: {"candidates":[{…,"finishReason":"STOP"}],"usageMetadata":{…},…}
//! ```
//!
//! Invariants
//! - I1 A text delta costs no allocation.
//! - I2 Without [`Step::End`] no event has a `finishReason`: readers know that the stream broke
//!   off.
//! - I3 A call is held up to [`CALL_MAX`] bytes; a longer one ends the stream with an error.
//!
//! Source: Gemini API reference, `streamGenerateContent`; `python-genai`, `chats.py` (a content
//! without parts makes a chat forget the turn, so every content has a part).

use super::super::answer::put_names;
use super::super::request::args_of;
use super::super::{error, places, stop, usage};
use crate::base::bytes::TxBuf;
use crate::dialect::model::{Dialect, Names, Open, Refused, Step, Stop, Text, Tokens, Trouble};
use crate::wire::json::write::put_string;
use serde_json::{Map, Value};

/// The most bytes of a call's arguments.
const CALL_MAX: usize = 8 << 20;

/// The block that is open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Block {
    #[default]
    Text,
    Thinking,
    Call,
}

/// A call that is coming.
#[derive(Debug, Default)]
struct Call {
    id: String,
    name: String,
    text: String,
    is_custom: bool,
    signature: Vec<u8>,
}

/// Writes a stream.
#[derive(Debug, Default)]
pub struct Writer {
    open: Block,
    call: Call,
    calls: u64,
    stop: Option<Stop>,
    usage: Option<Tokens>,
    /// Where texts come from, by name.
    places: Option<Value>,
    is_over: bool,
}

impl Writer {
    /// At the start of a stream.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends the events that `step` makes.
    pub fn write(&mut self, step: &Step<'_>, names: &Names<'_>, tx: &mut TxBuf) {
        if self.is_over {
            return;
        }
        match step {
            Step::Citation(Dialect::Gemini, raw) => self.place(raw),
            Step::Begin { .. } | Step::Citation(..) => {}
            Step::Open(open) => self.open(open),
            Step::Text(text) => self.text(*text, names, tx),
            Step::Opaque(dialect, raw) => {
                // Only a string can stand where Gemini has its signatures.
                if *dialect == Dialect::Gemini && raw.starts_with(b"\"") {
                    self.opaque(raw, names, tx);
                }
            }
            Step::Close => self.close(names, tx),
            Step::Usage(tokens) => self.usage = Some(*tokens),
            Step::Stop(why, _) => self.stop = Some(*why),
            Step::Error(refused) => {
                self.is_over = true;
                error::put_refused(tx, refused);
            }
            Step::End => self.end(names, tx),
        }
    }

    fn open(&mut self, open: &Open<'_>) {
        self.open = match open {
            Open::Text | Open::Refusal => Block::Text,
            Open::Thinking => Block::Thinking,
            Open::Call {
                id,
                name,
                is_custom,
            } => {
                self.call = Call {
                    id: id.to_text(),
                    name: name.to_text(),
                    is_custom: *is_custom,
                    ..Call::default()
                };
                Block::Call
            }
        };
    }

    fn text(&mut self, text: Text<'_>, names: &Names<'_>, tx: &mut TxBuf) {
        if self.open == Block::Call {
            text.say(&mut self.call.text);
            if self.call.text.len() > CALL_MAX {
                self.is_over = true; // I3
                let refused = Refused {
                    trouble: Trouble::Server,
                    message: "The arguments of a tool call are too long.".to_owned(),
                    param: None,
                    retry_after: None,
                };
                error::put_refused(tx, &refused);
            }
            return;
        }
        if text.is_empty() {
            return;
        }
        begin(tx);
        tx.put(b"{\"text\":\"");
        text.put_inside(tx); // I1
        tx.put(b"\"");
        if self.open == Block::Thinking {
            tx.put(b",\"thought\":true");
        }
        tx.put(b"}");
        finish(tx, names);
    }

    fn opaque(&mut self, raw: &[u8], names: &Names<'_>, tx: &mut TxBuf) {
        if self.open == Block::Call {
            self.call.signature = raw.to_vec();
            return;
        }
        begin(tx);
        tx.put(b"{\"text\":\"\"");
        if self.open == Block::Thinking {
            tx.put(b",\"thought\":true");
        }
        tx.put(b",\"thoughtSignature\":");
        tx.put(raw);
        tx.put(b"}");
        finish(tx, names);
    }

    /// Where a text comes from, which is told at the end.
    fn place(&mut self, raw: &[u8]) {
        if let Ok(place) = serde_json::from_slice(raw) {
            let all = self.places.get_or_insert_with(|| Map::new().into());
            _ = places::add(all, place);
        }
    }

    fn close(&mut self, names: &Names<'_>, tx: &mut TxBuf) {
        if std::mem::take(&mut self.open) != Block::Call {
            return;
        }
        let call = std::mem::take(&mut self.call);
        begin(tx);
        tx.put(b"{\"functionCall\":{\"id\":\"");
        if call.id.is_empty() {
            tx.put(b"call_");
            Text::Plain(names.id).put_inside(tx);
            tx.put(b"_");
            tx.put_decimal(self.calls);
        } else {
            Text::Plain(&call.id).put_inside(tx);
        }
        tx.put(b"\",\"name\":");
        put_string(tx, &call.name);
        tx.put(b",\"args\":");
        tx.put(args_of(&call.text, call.is_custom).to_string().as_bytes());
        tx.put(b"}");
        if !call.signature.is_empty() {
            tx.put(b",\"thoughtSignature\":");
            tx.put(&call.signature);
        }
        tx.put(b"}");
        finish(tx, names);
        self.calls += 1;
    }

    fn end(&mut self, names: &Names<'_>, tx: &mut TxBuf) {
        self.is_over = true;
        begin(tx);
        tx.put(b"{\"text\":\"\"}],\"role\":\"model\"},\"finishReason\":\"");
        tx.put(stop::word(self.stop.unwrap_or_default()).as_bytes());
        tx.put(b"\",\"index\":0");
        let places = self.places.as_ref().and_then(Value::as_object);
        for (name, place) in places.into_iter().flatten() {
            tx.put(b",");
            put_string(tx, name);
            tx.put(b":");
            tx.put(place.to_string().as_bytes());
        }
        tx.put(b"}]");
        if let Some(tokens) = &self.usage {
            tx.put(b",\"usageMetadata\":");
            usage::put(tx, tokens);
        }
        put_names(tx, names);
        tx.put(b"}\n\n");
    }
}

/// An event up to the inside of its list of parts.
fn begin(tx: &mut TxBuf) {
    tx.put(b"data: {\"candidates\":[{\"content\":{\"parts\":[");
}

/// An event from the end of its list of parts.
fn finish(tx: &mut TxBuf, names: &Names<'_>) {
    tx.put(b"],\"role\":\"model\"},\"index\":0}]");
    put_names(tx, names);
    tx.put(b"}\n\n");
}
