//! Steps to events of Responses.
//!
//! ```text
//!   Begin            response.created, response.in_progress
//!   Open(Text)       output_item.added, content_part.added
//!   Text             output_text.delta
//!   Close            output_text.done, content_part.done     (the message stays open: more text
//!   Open(Call)       output_item.done, output_item.added …    may follow)
//!   Stop             output_item.done
//!   End              response.completed | incomplete, with all items again
//! ```
//!
//! Invariants
//! - I1 `sequence_number` counts every event from 0; an item keeps its `id` and its
//!   `output_index` from `added` to the end, the response its `id`.
//! - I2 What must be repeated is kept once, as the JSON texts of the items, and at most
//!   [`REPEAT_MAX`] bytes of it; an answer beyond that fails, it is not cut.
//! - I3 A delta is copied, escapes and all: no allocation but the growth of that text.
//! - I4 Nothing follows an error or the end.
//!
//! Source: OpenAI API reference, "Streaming events"; what the SDK's stream helpers need:
//! protocols.md, 4.3.

use crate::base::bytes::TxBuf;
use crate::dialect::model::{Dialect, Names, Open, Refused, Step, Stop, Text, Tokens};
use crate::dialect::responses::shape::{self, Shape, Status};
use crate::dialect::responses::{error, pack};
use crate::wire::json::write::put_string;

/// The most bytes of an answer that are kept to be repeated at its end. The longest answers
/// of today's models (128 000 tokens) come to about 1 MB.
pub(super) const REPEAT_MAX: usize = 16 << 20;

/// Writes a stream.
#[derive(Debug, Default)]
pub struct Writer {
    /// The next `sequence_number`.
    next: u64,
    id: String,
    has_begun: bool,
    is_over: bool,
    /// The items so far, as JSON texts with commas between them; the last may be unfinished.
    items: Vec<u8>,
    /// Where the last item and the text of its open part begin in `items`.
    item_from: usize,
    text_from: usize,
    /// How many items have begun.
    count: u64,
    item: Item,
    item_id: String,
    /// A block is open.
    is_open: bool,
    /// Parts of the last item that have begun.
    parts: u64,
    /// Citations of the open text, as JSON texts, each on a line; and how many they are.
    citations: Vec<u8>,
    cited: u64,
    /// State of the provider for the last item, as the inside of a string.
    opaque: Vec<u8>,
    usage: Option<Tokens>,
    stop: Stop,
}

/// What the last item is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Item {
    #[default]
    None,
    Text,
    Refusal,
    Thinking,
    Call,
    Custom,
}

impl Item {
    const fn is_message(self) -> bool {
        matches!(self, Self::Text | Self::Refusal)
    }

    const fn is_call(self) -> bool {
        matches!(self, Self::Call | Self::Custom)
    }

    /// The events of its text, and the member that holds the whole of it.
    const fn events(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::Refusal => ("response.refusal.delta", "response.refusal.done", "refusal"),
            Self::Thinking => (
                "response.reasoning_summary_text.delta",
                "response.reasoning_summary_text.done",
                "text",
            ),
            Self::Call => (
                "response.function_call_arguments.delta",
                "response.function_call_arguments.done",
                "arguments",
            ),
            Self::Custom => (
                "response.custom_tool_call_input.delta",
                "response.custom_tool_call_input.done",
                "input",
            ),
            Self::None | Self::Text => (
                "response.output_text.delta",
                "response.output_text.done",
                "text",
            ),
        }
    }
}

impl Writer {
    /// At the start of a stream.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends the events of `step`.
    pub fn write(&mut self, step: &Step<'_>, names: &Names<'_>, tx: &mut TxBuf) {
        if self.is_over {
            return; // I4
        }
        match step {
            Step::Begin { id, .. } => self.begin(*id, names, tx),
            Step::Open(open) => self.open(open, names, tx),
            Step::Text(text) => self.text(*text, names, tx),
            Step::Opaque(dialect, raw) => self.keep_opaque(*dialect, raw, tx),
            Step::Citation(Dialect::Responses, raw) => self.cite(raw, tx),
            Step::Citation(..) => {}
            Step::Close => self.close(names, tx),
            Step::Usage(tokens) => self.usage = Some(*tokens),
            Step::Stop(why, _) => {
                self.begin(Text::EMPTY, names, tx);
                self.close(names, tx);
                self.stop = *why;
                self.finish_item(names, tx);
            }
            Step::Error(refused) => self.fail(refused, names, tx),
            Step::End => self.end(names, tx),
        }
        if self.items.len() > REPEAT_MAX && !self.is_over {
            self.fail_with("server_error", error::TOO_LONG, names, tx); // I2
        }
    }

    fn begin(&mut self, id: Text<'_>, names: &Names<'_>, tx: &mut TxBuf) {
        if self.has_begun {
            return;
        }
        self.has_begun = true;
        self.id = shape::id_of(&id.to_text(), names);
        for event in ["response.created", "response.in_progress"] {
            self.response(event, Status::InProgress, names, tx);
        }
    }

    fn response(&mut self, event: &str, status: Status<'_>, names: &Names<'_>, tx: &mut TxBuf) {
        self.event(event, tx);
        tx.put(b",\"response\":");
        let shape = Shape {
            id: &self.id,
            status,
            output: &self.items,
            usage: self.usage.as_ref(),
        };
        shape::put(tx, &shape, names.created, names.model);
        tx.put(b"}\n\n");
    }

    /// The beginning of an event: its frame, type and number.
    fn event(&mut self, name: &str, tx: &mut TxBuf) {
        error::put_start(tx, name, self.next);
        self.next += 1;
    }

    /// The beginning of an event about the last item.
    fn item_event(&mut self, name: &str, tx: &mut TxBuf) {
        self.event(name, tx);
        tx.put(b",\"item_id\":\"");
        tx.put(self.item_id.as_bytes());
        tx.put(b"\",\"output_index\":");
        tx.put_decimal(self.count.saturating_sub(1));
    }

    /// The beginning of an event about the open part of the last item.
    fn part_event(&mut self, name: &str, tx: &mut TxBuf) {
        self.item_event(name, tx);
        if !self.item.is_call() {
            tx.put(if self.item == Item::Thinking {
                b",\"summary_index\":"
            } else {
                b",\"content_index\":"
            });
            tx.put_decimal(self.parts.saturating_sub(1));
        }
    }

    fn open(&mut self, open: &Open<'_>, names: &Names<'_>, tx: &mut TxBuf) {
        self.begin(Text::EMPTY, names, tx);
        self.close(names, tx);
        let item = match open {
            Open::Text => Item::Text,
            Open::Refusal => Item::Refusal,
            Open::Thinking => Item::Thinking,
            Open::Call {
                is_custom: false, ..
            } => Item::Call,
            Open::Call {
                is_custom: true, ..
            } => Item::Custom,
        };
        if !(item.is_message() && self.item.is_message()) {
            self.finish_item(names, tx);
            self.start_item(item, open, names, tx);
        }
        self.item = item;
        self.is_open = true;
        if item.is_message() {
            self.start_part(tx);
        }
    }

    /// A new item: its `added`, and its beginning among the items.
    fn start_item(&mut self, item: Item, open: &Open<'_>, names: &Names<'_>, tx: &mut TxBuf) {
        let prefix = match item {
            Item::Thinking => "rs",
            Item::Call => "fc",
            Item::Custom => "ctc",
            _ => "msg",
        };
        self.item_id = format!("{prefix}_{}_{}", names.id, self.count);
        self.count += 1;
        self.parts = 0;
        self.item_from = self.items.len();
        if !self.items.is_empty() {
            self.items.push(b',');
        }
        self.event("response.output_item.added", tx);
        tx.put(b",\"output_index\":");
        tx.put_decimal(self.count - 1);
        tx.put(b",\"item\":");
        let from = tx.len();
        tx.put(b"{\"id\":\"");
        tx.put(self.item_id.as_bytes());
        tx.put(match item {
            Item::Thinking => b"\",\"type\":\"reasoning\",\"summary\":[",
            Item::Call => b"\",\"type\":\"function_call\",\"call_id\":\"",
            Item::Custom => b"\",\"type\":\"custom_tool_call\",\"call_id\":\"",
            _ => &b"\",\"type\":\"message\",\"role\":\"assistant\",\"content\":["[..],
        });
        if let Open::Call { id, name, .. } = open {
            if id.is_empty() {
                tx.put(b"call_");
                tx.put(names.id.as_bytes());
                tx.put(b"_");
                tx.put_decimal(self.count - 1);
            } else {
                id.put_inside(tx);
            }
            tx.put(b"\",\"name\":\"");
            name.put_inside(tx);
            let is_custom = item == Item::Custom;
            tx.put(if is_custom {
                b"\",\"input\":\""
            } else {
                b"\",\"arguments\":\""
            });
        }
        keep(&mut self.items, tx, from);
        tx.put(if item.is_call() { b"\"" } else { b"]" });
        tx.put(b",\"status\":\"in_progress\"}}\n\n");
        self.text_from = self.items.len();
    }

    /// A new part of the last item.
    fn start_part(&mut self, tx: &mut TxBuf) {
        self.parts += 1;
        if self.parts > 1 {
            self.items.push(b',');
        }
        let (name, start, end) = match self.item {
            Item::Thinking => (
                "response.reasoning_summary_part.added",
                &b"{\"type\":\"summary_text\",\"text\":\""[..],
                &b"\"}"[..],
            ),
            Item::Refusal => (
                "response.content_part.added",
                &b"{\"type\":\"refusal\",\"refusal\":\""[..],
                &b"\"}"[..],
            ),
            _ => (
                "response.content_part.added",
                &b"{\"type\":\"output_text\",\"text\":\""[..],
                &b"\",\"annotations\":[],\"logprobs\":[]}"[..],
            ),
        };
        self.part_event(name, tx);
        tx.put(b",\"part\":");
        tx.put(start);
        tx.put(end);
        tx.put(b"}\n\n");
        self.items.extend_from_slice(start);
        self.text_from = self.items.len();
    }

    fn text(&mut self, text: Text<'_>, names: &Names<'_>, tx: &mut TxBuf) {
        if text.is_empty() {
            return;
        }
        if !self.is_open {
            self.open(&Open::Text, names, tx);
        }
        if self.item == Item::Thinking && self.parts == 0 {
            self.start_part(tx);
        }
        self.part_event(self.item.events().0, tx);
        tx.put(b",\"delta\":\"");
        let from = tx.len();
        text.put_inside(tx);
        keep(&mut self.items, tx, from);
        tx.put(if self.item == Item::Text {
            b"\",\"logprobs\":[]}\n\n"
        } else {
            b"\"}\n\n"
        });
    }

    /// Keeps what the provider wants to see again with the open block.
    fn keep_opaque(&mut self, dialect: Dialect, raw: &[u8], tx: &mut TxBuf) {
        if !self.is_open || self.item.is_message() {
            return; // Text has no place for it, and no provider that must see it again.
        }
        let Ok(raw) = std::str::from_utf8(raw) else {
            return;
        };
        self.opaque.clear();
        // The buffer to be sent serves as the place where the string is escaped; nothing of
        // it is sent.
        let mut room = TxBuf::new(tx.pool());
        if dialect == Dialect::Responses {
            let item: Option<serde_json::Value> = serde_json::from_str(raw).ok();
            let text = item
                .as_ref()
                .and_then(|item| item.get("encrypted_content")?.as_str());
            Text::Plain(text.unwrap_or_default()).put_inside(&mut room);
        } else {
            for piece in pack::prefix(dialect, self.item.is_call()) {
                room.put(piece.as_bytes());
            }
            Text::Plain(raw).put_inside(&mut room);
        }
        self.opaque.extend_from_slice(room.unsent());
    }

    fn cite(&mut self, raw: &[u8], tx: &mut TxBuf) {
        if !self.is_open || self.item != Item::Text {
            return;
        }
        self.part_event("response.output_text.annotation.added", tx);
        tx.put(b",\"annotation_index\":");
        tx.put_decimal(self.cited);
        self.cited += 1;
        tx.put(b",\"annotation\":");
        let from = tx.len();
        put_line(tx, raw);
        keep(&mut self.citations, tx, from);
        self.citations.push(b'\n');
        tx.put(b"}\n\n");
    }

    /// Ends the open block. A message stays open, for more text may follow.
    fn close(&mut self, names: &Names<'_>, tx: &mut TxBuf) {
        if !self.is_open {
            return;
        }
        if self.item == Item::Call && self.items.len() == self.text_from {
            self.text(Text::Plain("{}"), names, tx); // A tool without arguments.
        }
        self.is_open = false;
        if self.item == Item::Thinking && self.parts == 0 {
            return;
        }
        let (_, done, member) = self.item.events();
        self.part_event(done, tx);
        tx.put(b",\"");
        tx.put(member.as_bytes());
        tx.put(b"\":\"");
        tx.put(self.items.get(self.text_from..).unwrap_or_default());
        tx.put(if self.item == Item::Text {
            b"\",\"logprobs\":[]}\n\n"
        } else {
            b"\"}\n\n"
        });
        self.items.push(b'"');
        if self.item.is_call() {
            return;
        }
        self.end_part(tx);
    }

    fn end_part(&mut self, tx: &mut TxBuf) {
        if self.item == Item::Text {
            self.items.extend_from_slice(b",\"annotations\":[");
            let citations = self.citations.strip_suffix(b"\n").unwrap_or_default();
            let commas = citations.iter().map(|&b| if b == b'\n' { b',' } else { b });
            self.items.extend(commas);
            self.items.extend_from_slice(b"],\"logprobs\":[]");
            self.citations.clear();
            self.cited = 0;
        }
        self.items.push(b'}');
        let (name, start) = match self.item {
            Item::Thinking => (
                "response.reasoning_summary_part.done",
                "{\"type\":\"summary_text\",\"text\":\"",
            ),
            Item::Refusal => (
                "response.content_part.done",
                "{\"type\":\"refusal\",\"refusal\":\"",
            ),
            _ => (
                "response.content_part.done",
                "{\"type\":\"output_text\",\"text\":\"",
            ),
        };
        self.part_event(name, tx);
        tx.put(b",\"part\":");
        tx.put(start.as_bytes());
        tx.put(self.items.get(self.text_from..).unwrap_or_default());
        tx.put(b"}\n\n");
    }

    /// Ends the last item, if it has not ended. State that belongs to a call follows it.
    fn finish_item(&mut self, names: &Names<'_>, tx: &mut TxBuf) {
        let item = std::mem::take(&mut self.item);
        if item == Item::None {
            return;
        }
        if !item.is_call() {
            self.items.push(b']');
        }
        if item == Item::Thinking && !self.opaque.is_empty() {
            self.items.extend_from_slice(b",\"encrypted_content\":\"");
            self.items.append(&mut self.opaque);
            self.items.push(b'"');
        }
        let is_whole = matches!(Status::of(self.stop), Status::Completed);
        let status = if is_whole { "completed" } else { "incomplete" };
        self.items.extend_from_slice(b",\"status\":\"");
        self.items.extend_from_slice(status.as_bytes());
        self.items.extend_from_slice(b"\"}");
        self.event("response.output_item.done", tx);
        tx.put(b",\"output_index\":");
        tx.put_decimal(self.count.saturating_sub(1));
        tx.put(b",\"item\":");
        let whole = self.items.get(self.item_from..).unwrap_or_default();
        tx.put(whole.strip_prefix(b",").unwrap_or(whole));
        tx.put(b"}\n\n");
        self.item_from = self.items.len();
        if item.is_call() && !self.opaque.is_empty() {
            self.start_item(Item::Thinking, &Open::Thinking, names, tx);
            self.item = Item::Thinking;
            self.finish_item(names, tx);
        }
        self.opaque.clear();
    }

    fn end(&mut self, names: &Names<'_>, tx: &mut TxBuf) {
        self.begin(Text::EMPTY, names, tx);
        self.close(names, tx);
        self.finish_item(names, tx);
        self.is_over = true;
        let status = Status::of(self.stop);
        let event = match status {
            Status::Incomplete(_) => "response.incomplete",
            Status::Failed { .. } => "response.failed",
            _ => "response.completed",
        };
        self.response(event, status, names, tx);
    }

    fn fail(&mut self, refused: &Refused, names: &Names<'_>, tx: &mut TxBuf) {
        let message = error::message_of(refused);
        self.fail_with(error::code_of(refused.trouble), message, names, tx);
    }

    fn fail_with(&mut self, code: &str, message: &str, names: &Names<'_>, tx: &mut TxBuf) {
        self.begin(Text::EMPTY, names, tx);
        self.is_over = true;
        if self.item != Item::None {
            self.items.truncate(self.item_from); // Only whole items are repeated.
        }
        self.event("error", tx);
        tx.put(b",\"error\":{\"type\":");
        put_string(tx, code);
        tx.put(b",\"code\":");
        put_string(tx, code);
        tx.put(b",\"message\":");
        put_string(tx, message);
        tx.put(b",\"param\":null}}\n\n");
        self.response(
            "response.failed",
            Status::Failed { code, message },
            names,
            tx,
        );
    }
}

/// Appends to `out` what was put into `tx` from `from` on.
fn keep(out: &mut Vec<u8>, tx: &TxBuf, from: usize) {
    out.extend_from_slice(tx.unsent().get(from..).unwrap_or_default());
}

/// Appends a JSON text as one line: line breaks between its values become spaces.
fn put_line(tx: &mut TxBuf, raw: &[u8]) {
    let mut lines = raw.split(|&b| b == b'\n' || b == b'\r');
    tx.put(lines.next().unwrap_or_default());
    for line in lines {
        tx.put(b" ");
        tx.put(line);
    }
}
