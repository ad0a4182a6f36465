//! Tells a whole response, as its provider said it, in the events of a stream.
//!
//! ```text
//!   {"output":[{"type":"message",…},{"type":"web_search_call",…}],…}
//!       └► created, in_progress
//!          output_item.added  content_part.added  output_text.delta …  .done …  output_item.done
//!          output_item.added  output_item.done       (what only Responses knows comes as a whole)
//!          completed, with the response word for word
//! ```
//!
//! For clients of the same dialect: nothing of the body is lost, be it unknown, since every item
//! and the response are told as they were. The events by which tools of the provider tell how
//! far they are are not made up.
//!
//! Invariants
//! - I1 `sequence_number` counts every event from 0.
//! - I2 The deltas of a text together are the text; where its probabilities are told, a delta is
//!   one token, with its own.
//!
//! Source: OpenAI API reference, "Streaming events".

use super::error;
use crate::base::bytes::TxBuf;
use crate::dialect::fold::Unfoldable;
use crate::dialect::tree::{some, string};
use crate::dialect::unfold::piece;
use crate::wire::json::write::put_inside;
use serde_json::{Map, Value, json};
use std::collections::VecDeque;

type Object = Map<String, Value>;

/// What is told next.
#[derive(Debug)]
enum Line {
    /// An event with these members.
    Whole(&'static str, Object),
    /// A text in deltas.
    Text {
        name: &'static str,
        members: Object,
        text: String,
        at: usize,
        /// The probabilities of its tokens.
        tokens: VecDeque<Value>,
    },
}

/// A response on its way.
#[derive(Debug)]
pub struct Recite {
    response: Object,
    lines: VecDeque<Line>,
    /// The next item; behind the last comes the end.
    item: usize,
    is_over: bool,
    sequence: u64,
}

impl Recite {
    /// Of the plain `body` of a provider.
    ///
    /// # Errors
    /// It is no response that has come to its end.
    pub fn new(body: &[u8]) -> Result<Self, Unfoldable> {
        let value = serde_json::from_slice(body).map_err(|_| Unfoldable::Garbled)?;
        let Value::Object(response) = value else {
            return Err(Unfoldable::Garbled);
        };
        match string(&response, "status") {
            _ if some(&response, "error").is_some() => return Err(Unfoldable::Failed),
            Some("completed" | "complete" | "incomplete") => {}
            Some(_) => return Err(Unfoldable::Failed),
            None => return Err(Unfoldable::Garbled),
        }
        let items = response.get("output").and_then(Value::as_array);
        if !items.is_some_and(|items| items.iter().all(Value::is_object)) {
            return Err(Unfoldable::Garbled);
        }
        let mut begun = response.clone();
        for (key, value) in [
            ("status", json!("in_progress")),
            ("output", json!([])),
            ("usage", Value::Null),
            ("incomplete_details", Value::Null),
            ("completed_at", Value::Null),
            ("output_text", json!("")),
        ] {
            if let Some(member) = begun.get_mut(key) {
                *member = value;
            }
        }
        let begun = members(&[("response", Value::Object(begun))]);
        let lines = ["response.created", "response.in_progress"];
        Ok(Self {
            lines: lines.map(|name| Line::Whole(name, begun.clone())).into(),
            response,
            item: 0,
            is_over: false,
            sequence: 0,
        })
    }

    /// Appends the next event; how many bytes of text, thinking or arguments it tells. `None`:
    /// there is none any more.
    pub fn next(&mut self, tx: &mut TxBuf) -> Option<usize> {
        if self.lines.is_empty() {
            self.more()?;
        }
        let mut told = 0;
        let is_told = match self.lines.front_mut()? {
            Line::Whole(name, members) => {
                put(tx, name, self.sequence, members, |_| {});
                true
            }
            Line::Text {
                name,
                members,
                text,
                at,
                tokens,
            } => {
                let rest = text.get(*at..).unwrap_or_default();
                let token = tokens.pop_front();
                told = match &token {
                    Some(token) => token_text(token).len(),
                    None => piece(rest),
                };
                let piece = rest.get(..told).unwrap_or(rest);
                put(tx, name, self.sequence, members, |tx| {
                    tx.put(b",\"delta\":\"");
                    put_inside(tx, piece);
                    tx.put(b"\"");
                    if *name == TEXT.0 {
                        let list: Vec<Value> = token.into_iter().collect();
                        tx.put(b",\"logprobs\":");
                        tx.put(Value::Array(list).to_string().as_bytes());
                    }
                });
                *at += piece.len();
                *at >= text.len()
            }
        };
        self.sequence += 1; // I1
        if is_told {
            self.lines.pop_front();
        }
        Some(told)
    }

    /// The lines of the next item, or of the end; `None`: that has been told.
    fn more(&mut self) -> Option<()> {
        if self.is_over {
            return None;
        }
        let items = self.response.get("output").and_then(Value::as_array)?;
        let Some(item) = items.get(self.item).and_then(Value::as_object) else {
            self.is_over = true;
            let name = match string(&self.response, "status") {
                Some("incomplete") => "response.incomplete",
                _ => "response.completed",
            };
            let response = Value::Object(std::mem::take(&mut self.response));
            let end = members(&[("response", response)]);
            self.lines.push_back(Line::Whole(name, end));
            return Some(());
        };
        let at = self.item;
        self.item += 1;
        tell_item(item, at, &mut self.lines);
        Some(())
    }
}

/// The delta, the end, and the member that holds the whole of a text.
type Events = (&'static str, &'static str, &'static str);

const TEXT: Events = (
    "response.output_text.delta",
    "response.output_text.done",
    "text",
);
const REFUSAL: Events = ("response.refusal.delta", "response.refusal.done", "refusal");
const SUMMARY: Events = (
    "response.reasoning_summary_text.delta",
    "response.reasoning_summary_text.done",
    "text",
);
const THOUGHT: Events = (
    "response.reasoning_text.delta",
    "response.reasoning_text.done",
    "text",
);
const ARGUMENTS: Events = (
    "response.function_call_arguments.delta",
    "response.function_call_arguments.done",
    "arguments",
);
const INPUT: Events = (
    "response.custom_tool_call_input.delta",
    "response.custom_tool_call_input.done",
    "input",
);

fn members(list: &[(&str, Value)]) -> Object {
    let own = list
        .iter()
        .map(|(key, value)| ((*key).to_owned(), value.clone()));
    own.collect()
}

fn tell_item(item: &Object, at: usize, lines: &mut VecDeque<Line>) {
    let id = item.get("id").cloned().unwrap_or_else(|| json!(""));
    let place = members(&[("item_id", id), ("output_index", json!(at))]);
    let mut begun = item.clone();
    for (key, value) in [
        ("status", json!("in_progress")),
        ("content", json!([])),
        ("summary", json!([])),
        ("arguments", json!("")),
        ("input", json!("")),
        ("result", Value::Null), // an image
    ] {
        let is_own = match string(item, "type") {
            Some("message" | "reasoning" | "function_call" | "custom_tool_call") => true,
            _ => matches!(key, "status" | "result"),
        };
        if let Some(member) = begun.get_mut(key).filter(|_| is_own) {
            *member = value;
        }
    }
    let whole = |item: &Object| {
        members(&[
            ("output_index", json!(at)),
            ("item", Value::Object(item.clone())),
        ])
    };
    lines.push_back(Line::Whole("response.output_item.added", whole(&begun)));
    match string(item, "type") {
        Some("message") => tell_parts(item, "content", &place, lines),
        Some("reasoning") => {
            tell_parts(item, "summary", &place, lines);
            tell_parts(item, "content", &place, lines);
        }
        Some("function_call") => tell_text(ARGUMENTS, item, &place, lines),
        Some("custom_tool_call") => tell_text(INPUT, item, &place, lines),
        _ => {}
    }
    lines.push_back(Line::Whole("response.output_item.done", whole(item)));
}

/// The parts of a message, of a summary, or of thinking.
fn tell_parts(item: &Object, list: &str, place: &Object, lines: &mut VecDeque<Line>) {
    let parts = item.get(list).and_then(Value::as_array);
    let parts = parts.into_iter().flatten().filter_map(Value::as_object);
    for (index, part) in parts.enumerate() {
        let is_summary = list == "summary";
        let (added, done, key) = if is_summary {
            (
                "response.reasoning_summary_part.added",
                "response.reasoning_summary_part.done",
                "summary_index",
            )
        } else {
            (
                "response.content_part.added",
                "response.content_part.done",
                "content_index",
            )
        };
        let mut place = place.clone();
        place.insert(key.to_owned(), json!(index));
        let mut begun = part.clone();
        for (key, value) in [
            ("text", json!("")),
            ("refusal", json!("")),
            ("annotations", json!([])),
            ("logprobs", json!([])),
        ] {
            if let Some(member) = begun.get_mut(key) {
                *member = value;
            }
        }
        let with = |part: &Object| {
            let mut place = place.clone();
            place.insert("part".to_owned(), Value::Object(part.clone()));
            place
        };
        lines.push_back(Line::Whole(added, with(&begun)));
        match string(part, "type") {
            Some("output_text") => tell_text(TEXT, part, &place, lines),
            Some("refusal") => tell_text(REFUSAL, part, &place, lines),
            Some("reasoning_text") => tell_text(THOUGHT, part, &place, lines),
            _ if is_summary => tell_text(SUMMARY, part, &place, lines),
            _ => {}
        }
        lines.push_back(Line::Whole(done, with(part)));
    }
}

/// A text in deltas, its annotations, and the whole of it.
fn tell_text(
    (delta, done, key): Events,
    part: &Object,
    place: &Object,
    lines: &mut VecDeque<Line>,
) {
    let text = string(part, key).unwrap_or_default();
    let list = |key: &str| part.get(key).and_then(Value::as_array);
    if !text.is_empty() {
        lines.push_back(Line::Text {
            name: delta,
            members: place.clone(),
            text: text.to_owned(),
            at: 0,
            tokens: list("logprobs")
                .map(|list| tokens(text, list))
                .unwrap_or_default(),
        });
    }
    for (index, annotation) in list("annotations").into_iter().flatten().enumerate() {
        let mut place = place.clone();
        place.insert("annotation_index".to_owned(), json!(index));
        place.insert("annotation".to_owned(), annotation.clone());
        let name = "response.output_text.annotation.added";
        lines.push_back(Line::Whole(name, place));
    }
    let mut whole = place.clone();
    whole.insert(key.to_owned(), json!(text));
    if key == "arguments"
        && let Some(name) = part.get("name")
    {
        whole.insert("name".to_owned(), name.clone());
    }
    if delta == TEXT.0 {
        let probabilities = list("logprobs").cloned().unwrap_or_default();
        whole.insert("logprobs".to_owned(), Value::Array(probabilities));
    }
    lines.push_back(Line::Whole(done, whole));
}

fn token_text(token: &Value) -> &str {
    token
        .get("token")
        .and_then(Value::as_str)
        .unwrap_or_default()
}

/// The probabilities of a text's tokens, if these are the text (I2); a token may be a part of a
/// character, and then they are told at the end only.
fn tokens(text: &str, list: &[Value]) -> VecDeque<Value> {
    let said: String = list.iter().map(token_text).collect();
    let is_text = said == text && list.iter().all(|token| !token_text(token).is_empty());
    if is_text {
        list.iter().cloned().collect()
    } else {
        VecDeque::new()
    }
}

fn put(tx: &mut TxBuf, name: &str, sequence: u64, members: &Object, more: impl FnOnce(&mut TxBuf)) {
    error::put_start(tx, name, sequence);
    for (key, value) in members {
        tx.put(b",\"");
        tx.put(key.as_bytes());
        tx.put(b"\":");
        tx.put(value.to_string().as_bytes());
    }
    more(tx);
    tx.put(b"}\n\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::bufpool::BufPool;
    use crate::dialect::model::{Dialect, Open, Step};
    use crate::dialect::responses::stream::Reader;
    use crate::wire::sse::reader::Reader as Lines;
    use Unfoldable::{Failed, Garbled};

    /// The events of a response: names and data.
    fn events(response: &Value) -> Vec<(String, Value)> {
        let mut tx = TxBuf::new(&BufPool::new());
        let mut recite = Recite::new(response.to_string().as_bytes()).unwrap();
        while recite.next(&mut tx).is_some() {}
        assert_eq!(recite.next(&mut tx), None);
        let mut out = Vec::new();
        let fed = Lines::default().feed(tx.unsent(), |event| {
            let name = String::from_utf8(event.event.to_vec()).unwrap();
            out.push((name, serde_json::from_slice(event.data).unwrap()));
        });
        fed.unwrap();
        out
    }

    #[expect(clippy::too_many_lines, reason = "one response with everything in it")]
    /// Goal: every item and part is told in the events that clients put together: what begins is
    /// empty, the deltas are the text, the end is as it was. Method: all kinds of them.
    #[test]
    fn all_kinds_of_items_are_told() {
        let token = |text: &str| json!({"token": text, "logprob": -0.5, "bytes": [1]});
        let response = json!({
            "id": "resp_1", "status": "completed", "error": null, "model": "m",
            "output": [
                {"id": "rs_1", "type": "reasoning", "encrypted_content": "x",
                 "summary": [{"type": "summary_text", "text": "short"}],
                 "content": [{"type": "reasoning_text", "text": "long"}]},
                {"id": "ws_1", "type": "web_search_call", "status": "completed", "action": {"q": 1}},
                {"id": "msg_1", "type": "message", "status": "completed", "role": "assistant",
                 "content": [
                    {"type": "output_text", "text": "Hi, \"you\"", "new": 7,
                     "annotations": [{"type": "url_citation", "url": "u"}],
                     "logprobs": [token("Hi,"), token(" \"you"), token("\"")]},
                    {"type": "refusal", "refusal": "No."}]},
                {"id": "fc_1", "type": "function_call", "call_id": "c", "name": "f",
                 "arguments": "{\"a\":1}", "status": "completed"},
                {"id": "ct_1", "type": "custom_tool_call", "call_id": "d", "name": "g", "input": "x"}
            ],
            "usage": {"input_tokens": 1, "output_tokens": 2, "total_tokens": 3}
        });
        let events = events(&response);
        for (at, (name, data)) in events.iter().enumerate() {
            assert_eq!(
                (&data["sequence_number"], &data["type"]),
                (&json!(at), &json!(name))
            );
        }
        let of = |name: &str| -> Vec<&Value> {
            let named = events.iter().filter(|event| event.0 == name);
            named.map(|event| &event.1).collect()
        };
        assert_eq!(of("response.created")[0]["response"]["output"], json!([]));
        assert_eq!(
            of("response.created")[0]["response"]["status"],
            "in_progress"
        );
        assert_eq!(of("response.completed")[0]["response"], response);
        let (added, done) = (
            of("response.output_item.added"),
            of("response.output_item.done"),
        );
        for (at, item) in response["output"].as_array().unwrap().iter().enumerate() {
            assert_eq!(done[at]["item"], *item);
            assert_eq!(added[at]["item"]["id"], item["id"]);
            assert_eq!(added[at]["output_index"], at);
        }
        assert_eq!(added[2]["item"]["content"], json!([]));
        assert_eq!(added[3]["item"]["arguments"], "");
        assert_eq!(added[1]["item"]["action"], json!({"q": 1}));
        // A delta is a token, with what is told of it.
        let deltas = of("response.output_text.delta");
        let told: Vec<&str> = deltas
            .iter()
            .map(|it| it["delta"].as_str().unwrap())
            .collect();
        assert_eq!(told, ["Hi,", " \"you", "\""]);
        assert_eq!(deltas[1]["logprobs"], json!([token(" \"you")]));
        assert_eq!(
            of("response.output_text.done")[0]["logprobs"]
                .as_array()
                .unwrap()
                .len(),
            3
        );
        assert_eq!(of("response.content_part.done")[1]["part"]["new"], 7);
        assert_eq!(of("response.refusal.delta")[0]["delta"], "No.");
        assert_eq!(of("response.refusal.delta")[0]["content_index"], 1);
        assert_eq!(
            of("response.reasoning_summary_text.delta")[0]["summary_index"],
            0
        );
        assert_eq!(of("response.reasoning_text.delta")[0]["delta"], "long");
        assert_eq!(
            of("response.function_call_arguments.done")[0]["arguments"],
            "{\"a\":1}"
        );
        assert_eq!(of("response.custom_tool_call_input.delta")[0]["delta"], "x");
        let annotation = &of("response.output_text.annotation.added")[0]["annotation"];
        assert_eq!(annotation["url"], "u");
        // The gateway's own reader understands it.
        let (mut reader, mut calls, mut has_ended) = (Reader::new(), 0, false);
        for (name, data) in &events {
            let data = data.to_string();
            let read = reader.read(
                Some(name.as_bytes()),
                data.as_bytes(),
                &mut |step| match step {
                    Step::Open(Open::Call { .. }) => calls += 1,
                    Step::Opaque(dialect, _) => assert_eq!(dialect, Dialect::Responses),
                    Step::End => has_ended = true,
                    _ => {}
                },
            );
            read.unwrap();
        }
        assert_eq!((calls, has_ended), (2, true));
    }

    /// Goal: what is no whole response is not told; one that is incomplete ends as it did.
    #[test]
    fn only_what_has_ended_is_told() {
        let of = |body: Value| Recite::new(body.to_string().as_bytes()).map(|_| ());
        for (body, want) in [
            (json!([]), Garbled),
            (json!({"status": "completed"}), Garbled),
            (json!({"output": []}), Garbled),
            (json!({"status": "completed", "output": [1]}), Garbled),
            (json!({"status": "failed", "output": []}), Failed),
            (json!({"status": "in_progress", "output": []}), Failed),
            (
                json!({"status": "completed", "output": [], "error": {"code": "x"}}),
                Failed,
            ),
        ] {
            assert_eq!(of(body), Err(want));
        }
        let incomplete = json!({"status": "incomplete", "output": [], "incomplete_details":
            {"reason": "max_output_tokens"}});
        let events = events(&incomplete);
        assert_eq!(events.last().unwrap().0, "response.incomplete");
        assert_eq!(events.last().unwrap().1["response"], incomplete);
    }
}
