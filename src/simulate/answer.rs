//! The bytes of good answers: plain bodies and the events of streams, in OpenAI's shape.
//!
//! ```text
//!   plain    │ lead {"id":…"content":" │ words … │ tail "},…"usage":{…}} │
//!   event    │ opening data: {"id":…,"choices":[{…"content":" │ word │ closing "}…]}\n\n │
//!              └ once a stream                                  └ from a table  └ once a stream
//! ```
//!
//! Each content event is three copies; nothing is formatted per event.
//!
//! Source: OpenAI API reference, "Chat", "Completions (legacy)", and recorded answers.

use super::ask::Route;
use super::behave::{Behaviour, Tokens};
use crate::base::bytes::TxBuf;
use crate::wire::http1::put_chunk;

/// Different words; word `k` is word `k % WORDS` of the table.
const WORDS: usize = 4096;

/// The end marker of a stream.
pub const DONE: &[u8] = b"data: [DONE]\n\n";

/// The event that `malformed` puts into a stream.
pub const GARBAGE: &[u8] = b"data: {\"id\":\"chatcmpl-\",\"choices\":[{\"delta\":{\"content\n\n";

/// The words of every answer: "token 0 token 1 …".
#[derive(Debug)]
pub struct Words {
    text: Vec<u8>,
    ends: Vec<usize>,
}

impl Default for Words {
    fn default() -> Self {
        let (mut text, mut ends) = (Vec::new(), Vec::with_capacity(WORDS));
        for word in 0..WORDS {
            text.extend_from_slice(format!("token {word} ").as_bytes());
            ends.push(text.len());
        }
        Self { text, ends }
    }
}

impl Words {
    /// Word `k`.
    pub fn word(&self, k: u32) -> &[u8] {
        let at = k as usize % WORDS;
        let end_of = |at: usize| self.ends.get(at).copied().unwrap_or_default();
        let start = at.checked_sub(1).map_or(0, end_of);
        self.text.get(start..end_of(at)).unwrap_or_default()
    }

    /// Bytes of the first `count` words.
    pub fn bytes_of(&self, count: u32) -> usize {
        let (rounds, rest) = (count as usize / WORDS, count as usize % WORDS);
        let rest = rest.checked_sub(1).and_then(|at| self.ends.get(at));
        rounds * self.text.len() + rest.copied().unwrap_or(0)
    }

    /// Appends the first `bytes` bytes of the endless text.
    pub fn put(&self, tx: &mut TxBuf, mut bytes: usize) {
        while bytes > 0 {
            let piece = self.text.get(..bytes).unwrap_or(&self.text);
            tx.put(piece);
            bytes -= piece.len();
        }
    }
}

/// Who answers, in the fields that stand at the start of every answer.
#[derive(Clone, Copy, Debug)]
pub struct Names<'a> {
    /// Chat or completions; decides the shape.
    pub route: Route,
    /// Number of the answer, unique in the process.
    pub id: u64,
    /// Seconds since 1970.
    pub created: u64,
    /// The model as it stands in JSON, inside its quotes.
    pub model: &'a [u8],
}

impl Names<'_> {
    fn is_chat(&self) -> bool {
        self.route == Route::Chat
    }

    fn put(&self, out: &mut Vec<u8>, object: &str) {
        let prefix = if self.is_chat() { "chatcmpl" } else { "cmpl" };
        let (id, created) = (self.id, self.created);
        out.extend_from_slice(
            format!(
                "{{\"id\":\"{prefix}-sim{id:016x}\",\"object\":\"{object}\",\
                 \"created\":{created},\"model\":\""
            )
            .as_bytes(),
        );
        out.extend_from_slice(self.model);
        out.extend_from_slice(b"\",\"system_fingerprint\":\"fp_sim\",\"choices\":");
    }
}

/// A body in three parts, the middle of which is words (or nothing).
#[derive(Debug, Default)]
pub struct Plain {
    /// Before the words.
    pub lead: Vec<u8>,
    /// Bytes of words.
    pub words: usize,
    /// After the words.
    pub tail: Vec<u8>,
}

impl Plain {
    /// A plain chat or text completion.
    pub fn completion(names: &Names<'_>, how: &Behaviour, prompt: u32, words: &Words) -> Self {
        let (object, open) = if names.is_chat() {
            (
                "chat.completion",
                "[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"",
            )
        } else {
            ("text_completion", "[{\"text\":\"")
        };
        let mut lead = Vec::with_capacity(256);
        names.put(&mut lead, object);
        lead.extend_from_slice(open.as_bytes());
        let close = if names.is_chat() {
            "\",\"refusal\":null,\"annotations\":[]},\"logprobs\":null"
        } else {
            "\",\"index\":0,\"logprobs\":null"
        };
        let finish = how.finish.name();
        let mut tail = format!("{close},\"finish_reason\":\"{finish}\"}}]").into_bytes();
        if !how.no_usage {
            tail.extend_from_slice(usage(how, prompt).as_bytes());
        }
        tail.push(b'}');
        let natural = words.bytes_of(how.events);
        let words = match how.bytes {
            0 => natural,
            bytes => (bytes as usize).saturating_sub(lead.len() + tail.len()),
        };
        Self { lead, words, tail }
    }

    /// A body without words.
    pub fn of(body: impl Into<Vec<u8>>) -> Self {
        Self {
            lead: body.into(),
            ..Self::default()
        }
    }

    /// Length in bytes.
    pub fn len(&self) -> usize {
        self.lead.len() + self.words + self.tail.len()
    }

    /// Whether there is no byte in it.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Breaks its JSON off.
    pub fn break_off(&mut self) {
        self.tail.clear();
        if self.words == 0 {
            self.lead.pop();
        }
    }

    /// Appends it to what is sent.
    pub fn put(&self, tx: &mut TxBuf, words: &Words) {
        tx.reserve(self.len());
        tx.put(&self.lead);
        words.put(tx, self.words);
        tx.put(&self.tail);
    }
}

/// The member `usage` with a comma before it.
fn usage(how: &Behaviour, prompt: u32) -> String {
    let Tokens {
        cached, reasoning, ..
    } = how.tokens;
    let prompt = how.tokens.prompt.unwrap_or(prompt);
    let completion = how.tokens.completion.unwrap_or(how.events);
    let total = u64::from(prompt) + u64::from(completion);
    format!(
        ",\"usage\":{{\"prompt_tokens\":{prompt},\"completion_tokens\":{completion},\
         \"total_tokens\":{total},\"prompt_tokens_details\":{{\"cached_tokens\":{cached}}},\
         \"completion_tokens_details\":{{\"reasoning_tokens\":{reasoning}}}}}"
    )
}

/// The events of one stream.
#[derive(Debug)]
pub struct Script {
    /// `data: {…"choices":` and then a content event's start, up to the word.
    opening: Vec<u8>,
    /// How much of `opening` every event shares.
    shared: usize,
    /// A content event's end.
    closing: Vec<u8>,
    is_chat: bool,
    asks_usage: bool,
    usage: String,
    finish: &'static str,
    chunked: bool,
}

impl Script {
    /// The events of an answer by `names`; chunked when `chunked`, else bare until the close.
    pub fn new(
        names: &Names<'_>,
        how: &Behaviour,
        prompt: u32,
        asks_usage: bool,
        chunked: bool,
    ) -> Self {
        let (object, open, close) = if names.is_chat() {
            (
                "chat.completion.chunk",
                "[{\"index\":0,\"delta\":{\"content\":\"",
                "\"},\"logprobs\":null,\"finish_reason\":null}]",
            )
        } else {
            (
                "text_completion",
                "[{\"text\":\"",
                "\",\"index\":0,\"logprobs\":null,\"finish_reason\":null}]",
            )
        };
        let asks_usage = asks_usage && !how.no_usage;
        let mut opening = Vec::with_capacity(256);
        opening.extend_from_slice(b"data: ");
        names.put(&mut opening, object);
        let shared = opening.len();
        opening.extend_from_slice(open.as_bytes());
        Self {
            shared,
            opening,
            closing: [close, end_of_event(asks_usage)].concat().into_bytes(),
            is_chat: names.is_chat(),
            asks_usage,
            usage: usage(how, prompt),
            finish: how.finish.name(),
            chunked,
        }
    }

    /// Whether the body is chunked.
    pub fn is_chunked(&self) -> bool {
        self.chunked
    }

    /// Appends content event `k`.
    pub fn put_word(&self, tx: &mut TxBuf, word: &[u8]) {
        self.put(tx, &[&self.opening, word, &self.closing]);
    }

    /// Appends the opening event with the role; text completions have none.
    pub fn put_role(&self, tx: &mut TxBuf) {
        if self.is_chat {
            self.put_event(
                tx,
                "[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\",\
                 \"refusal\":null},\"logprobs\":null,\"finish_reason\":null}]",
            );
        }
    }

    /// Appends the event with the reason of the end.
    pub fn put_finish(&self, tx: &mut TxBuf) {
        let finish = self.finish;
        let choice = if self.is_chat {
            format!(
                "[{{\"index\":0,\"delta\":{{}},\"logprobs\":null,\"finish_reason\":\"{finish}\"}}]"
            )
        } else {
            format!(
                "[{{\"text\":\"\",\"index\":0,\"logprobs\":null,\"finish_reason\":\"{finish}\"}}]"
            )
        };
        self.put_event(tx, &choice);
    }

    /// Appends the event with the usage, when it was asked for.
    pub fn put_usage(&self, tx: &mut TxBuf) {
        if self.asks_usage {
            let shared = self.opening.get(..self.shared).unwrap_or_default();
            self.put(tx, &[shared, b"[]", self.usage.as_bytes(), b"}\n\n"]);
        }
    }

    /// Appends any event.
    pub fn put(&self, tx: &mut TxBuf, parts: &[&[u8]]) {
        if self.chunked {
            put_chunk(tx, parts);
        } else {
            for part in parts {
                tx.put(part);
            }
        }
    }

    fn put_event(&self, tx: &mut TxBuf, choices: &str) {
        let shared = self.opening.get(..self.shared).unwrap_or_default();
        let end = end_of_event(self.asks_usage).as_bytes();
        self.put(tx, &[shared, choices.as_bytes(), end]);
    }
}

/// Every event says `"usage":null` when the last one will give it.
const fn end_of_event(asks_usage: bool) -> &'static str {
    if asks_usage {
        ",\"usage\":null}\n\n"
    } else {
        "}\n\n"
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::bufpool::BufPool;
    use serde_json::Value;

    fn names(route: Route) -> Names<'static> {
        Names {
            route,
            id: 7,
            created: 1_700_000_000,
            model: b"m\\/1",
        }
    }

    fn written(write: impl FnOnce(&mut TxBuf)) -> String {
        let mut tx = TxBuf::new(&BufPool::new());
        write(&mut tx);
        String::from_utf8(tx.unsent().to_vec()).unwrap()
    }

    /// Goal: the table gives the same text word by word and as a whole, also past its end.
    #[test]
    fn words_add_up_to_the_text() {
        let words = Words::default();
        let count = 4096 + 5;
        let single: String = (0..count)
            .map(|k| std::str::from_utf8(words.word(k)).unwrap())
            .collect();
        assert_eq!(words.bytes_of(count), single.len());
        assert_eq!(written(|tx| words.put(tx, single.len())), single);
        assert!(single.starts_with("token 0 token 1 "));
        assert!(single.ends_with("token 4095 token 0 token 1 token 2 token 3 token 4 "));
    }

    /// Goal: plain answers are JSON of the size that is asked for, for both routes.
    #[test]
    fn a_plain_answer_has_the_size_that_is_asked_for() {
        let words = Words::default();
        let mut how = Behaviour::default();
        how.set("bytes", "100000").unwrap();
        how.set("completion_tokens", "9").unwrap();
        for (route, text) in [
            (Route::Chat, "/choices/0/message/content"),
            (Route::Completions, "/choices/0/text"),
        ] {
            let plain = Plain::completion(&names(route), &how, 3, &words);
            let body = written(|tx| plain.put(tx, &words));
            assert_eq!((body.len(), plain.len()), (100_000, 100_000));
            let json: Value = serde_json::from_str(&body).unwrap();
            let text = json.pointer(text).unwrap().as_str().unwrap();
            assert!(text.starts_with("token 0 token 1 "));
            assert_eq!(json["usage"]["total_tokens"], 12);
            assert_eq!(json["model"], "m/1");
            let mut plain = plain;
            plain.break_off();
            let body = written(|tx| plain.put(tx, &words));
            assert!(serde_json::from_str::<Value>(&body).is_err());
        }
    }

    /// Goal: every event is one `data:` line of JSON; usage stands only in the last, and
    /// only when asked for.
    #[test]
    fn every_event_is_one_line_of_json() {
        let words = Words::default();
        for (route, asks_usage) in [
            (Route::Chat, true),
            (Route::Chat, false),
            (Route::Completions, true),
        ] {
            let script = Script::new(&names(route), &Behaviour::default(), 5, asks_usage, false);
            let stream = written(|tx| {
                script.put_role(tx);
                script.put_word(tx, words.word(3));
                script.put_finish(tx);
                script.put_usage(tx);
            });
            let events: Vec<Value> = stream
                .split_terminator("\n\n")
                .map(|e| serde_json::from_str(e.strip_prefix("data: ").unwrap()).unwrap())
                .collect();
            let role = usize::from(route == Route::Chat);
            assert_eq!(events.len(), 2 + role + usize::from(asks_usage));
            let first = &events[role]["choices"][0];
            let text = first.pointer("/delta/content").or(first.get("text"));
            assert_eq!(text.unwrap(), "token 3 ");
            assert_eq!(events[role + 1]["choices"][0]["finish_reason"], "stop");
            for event in &events[..events.len() - 1] {
                assert!(event["usage"].is_null());
            }
            let last = events.last().unwrap();
            assert_eq!(last["usage"]["prompt_tokens"].is_u64(), asks_usage);
        }
        let script = Script::new(&names(Route::Chat), &Behaviour::default(), 5, true, true);
        let chunk = written(|tx| script.put_word(tx, b"x"));
        let (size, rest) = chunk.split_once("\r\n").unwrap();
        assert_eq!(usize::from_str_radix(size, 16).unwrap() + 2, rest.len());
    }
}
