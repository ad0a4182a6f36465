//! What an answer says in any dialect: thinking, text, calls, a refusal, and what they cost.
//!
//! ```text
//!   Request, Behaviour ─► parts:  Thinking │ Text lead, words, tail   ─► steps of a stream
//!                                          │ Call pieces …            ─► a whole answer
//!                                          │ Refusal pieces
//! ```
//!
//! Every piece is one content event: pace, faults and token counts go by pieces.
//!
//! Invariants
//! - I1 The same request, behaviour and number give the same answer.
//! - I2 The limit of the request holds for all pieces together; a call that does not fit is
//!   left out, so that arguments are always whole.

use super::answer::Words;
use super::behave::{Behaviour, Finish};
use super::{example, hearing, tale};
use crate::dialect::model::{
    Answer, Block, Call, Choice, Dialect, Format, Opaque, Open, Request, Stop, Text, Tokens, Tool,
    ToolKind,
};
use serde_json::{Value, json};

/// Characters of a piece of arguments, of a document or of a refusal.
const PIECE: usize = 8;

/// After so many words those of the table come round again.
const ROUND: u32 = 4096;

/// What thinking says, piece by piece.
const THOUGHTS: [&str; 8] = [
    "thought 0 ",
    "thought 1 ",
    "thought 2 ",
    "thought 3 ",
    "thought 4 ",
    "thought 5 ",
    "thought 6 ",
    "thought 7 ",
];

/// What a refusal says.
const REFUSAL: &str = "I cannot help with that.";

/// The signature of thoughts and calls, where the dialect has them: a JSON string.
pub(super) const SIGNATURE: &str = "\"c2ltdWxhdGVkLXNpZ25hdHVyZQ==\"";

/// A part of an answer, in pieces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// So many thoughts.
    Thinking(u32),
    /// Text.
    Text {
        /// First these.
        lead: Vec<String>,
        /// Then so many words of the table.
        words: u32,
        /// Last the beginning of a word.
        tail: String,
    },
    /// The model declines.
    Refusal(Vec<String>),
    /// A call of a tool.
    Call {
        /// Its name in the conversation.
        id: String,
        /// The tool.
        name: String,
        /// The arguments.
        pieces: Vec<String>,
        /// The tool takes plain text.
        is_custom: bool,
    },
}

impl Part {
    /// How many pieces it has.
    pub fn len(&self) -> u32 {
        let count = |list: &[String]| u32::try_from(list.len()).unwrap_or(u32::MAX);
        match self {
            Self::Thinking(thoughts) => *thoughts,
            Self::Text { lead, words, tail } => count(lead)
                .saturating_add(*words)
                .saturating_add(u32::from(!tail.is_empty())),
            Self::Refusal(pieces) | Self::Call { pieces, .. } => count(pieces),
        }
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Piece `k`.
    pub fn piece<'p>(&'p self, k: u32, words: &'p Words) -> Text<'p> {
        let at = k as usize;
        match self {
            Self::Thinking(_) => Text::Plain(
                THOUGHTS
                    .get(at % THOUGHTS.len())
                    .copied()
                    .unwrap_or_default(),
            ),
            Self::Text {
                lead,
                words: count,
                tail,
            } => match (lead.get(at), at.checked_sub(lead.len())) {
                (Some(piece), _) => Text::Plain(piece),
                (None, Some(word)) if word < *count as usize => {
                    Text::Escaped(words.word(u32::try_from(word).unwrap_or_default()))
                }
                _ => Text::Plain(tail),
            },
            Self::Refusal(pieces) | Self::Call { pieces, .. } => {
                Text::Plain(pieces.get(at).map_or("", String::as_str))
            }
        }
    }

    /// The step that begins it.
    pub fn open(&self) -> Open<'_> {
        match self {
            Self::Thinking(_) => Open::Thinking,
            Self::Text { .. } => Open::Text,
            Self::Refusal(_) => Open::Refusal,
            Self::Call {
                id,
                name,
                is_custom,
                ..
            } => Open::Call {
                id: Text::Plain(id),
                name: Text::Plain(name),
                is_custom: *is_custom,
            },
        }
    }

    /// Whether `dialect` signs it.
    pub const fn is_signed(&self, dialect: Dialect) -> bool {
        match self {
            Self::Thinking(_) => matches!(dialect, Dialect::Anthropic | Dialect::Bedrock),
            Self::Call { .. } => matches!(dialect, Dialect::Gemini),
            _ => false,
        }
    }

    fn says(&self, words: &Words) -> String {
        let mut text = String::new();
        (0..self.len()).for_each(|k| self.piece(k, words).say(&mut text));
        text
    }

    fn block(&self, dialect: Dialect, words: &Words) -> Block {
        let opaque = self.is_signed(dialect).then(|| Opaque {
            dialect,
            value: Value::from(SIGNATURE.trim_matches('"')),
        });
        let text = self.says(words);
        match self {
            Self::Thinking(_) => Block::Thinking { text, opaque },
            Self::Text { .. } => Block::text(text),
            Self::Refusal(_) => Block::Refusal(text),
            Self::Call {
                id,
                name,
                is_custom,
                ..
            } => Block::Call(Call {
                id: id.clone(),
                name: name.clone(),
                arguments: text,
                is_custom: *is_custom,
                opaque,
            }),
        }
    }

    /// Ends a text at byte `at` of it.
    fn cut(&mut self, at: usize, table: &Words) {
        let Self::Text { lead, words, tail } = self else {
            return;
        };
        let mut left = at;
        for k in 0..lead.len() {
            let Some(piece) = lead.get_mut(k) else { break };
            if piece.len() >= left {
                piece.truncate(left);
                lead.truncate(k + usize::from(left > 0));
                *words = 0;
                return tail.clear();
            }
            left -= piece.len();
        }
        let mut count = 0;
        while count < *words {
            let word = table.word(count);
            if word.len() > left {
                let begun = word.get(..left).unwrap_or_default();
                *tail = String::from_utf8_lossy(begun).into_owned();
                break;
            }
            (left, count) = (left - word.len(), count + 1);
        }
        *words = count;
    }
}

/// An answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Speech {
    /// What it says.
    pub parts: Vec<Part>,
    /// Why it ends.
    pub stop: Stop,
    /// The client's text at which it ends.
    pub sequence: String,
    /// What it costs, unless nobody is to know.
    pub usage: Option<Tokens>,
    dialect: Dialect,
}

impl Speech {
    /// The answer number `id` to `request` in `dialect`, whose prompt is guessed to have
    /// `prompt` tokens.
    pub fn new(
        (request, dialect): (&Request, Dialect),
        how: &Behaviour,
        (id, prompt): (u64, u32),
        words: &Words,
    ) -> Self {
        let mut parts = Vec::new();
        if how.thinking > 0 {
            parts.push(Part::Thinking(how.thinking));
        }
        let calls = calls(request, dialect, how, id);
        let mut stop = Stop::End;
        if how.refusal {
            parts.push(Part::Refusal(pieces(REFUSAL)));
            if !matches!(dialect, Dialect::Chat | Dialect::Responses) {
                stop = Stop::Filtered; // there it is told by the part alone
            }
        } else if calls.is_empty() {
            parts.push(text(request, dialect, how));
        } else {
            parts.extend(calls);
            stop = Stop::Tool;
        }
        let mut speech = Self {
            parts,
            stop,
            sequence: String::new(),
            usage: None,
            dialect,
        };
        speech.stop_at(&request.sampling.stop, words);
        speech.limit(request.max_tokens);
        match how.finish {
            Finish::Stop => {}
            Finish::Length => speech.stop = Stop::Length,
            Finish::ContentFilter => speech.stop = Stop::Filtered,
            Finish::ToolCalls => speech.stop = Stop::Tool,
        }
        speech.usage = (!how.no_usage).then(|| speech.tokens(how, prompt));
        speech
    }

    /// How many content events it has.
    pub fn len(&self) -> u32 {
        self.parts
            .iter()
            .map(Part::len)
            .fold(0, u32::saturating_add)
    }

    /// Whether it says nothing.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// As a whole answer, with the text made `longer` by so many bytes, or shorter.
    pub fn answer(&self, words: &Words, longer: isize) -> Answer {
        let mut blocks: Vec<_> = self
            .parts
            .iter()
            .filter(|part| !part.is_empty() || matches!(part, Part::Call { .. }))
            .map(|part| part.block(self.dialect, words))
            .collect();
        if longer != 0
            && let Some(Block::Text { text, .. }) = blocks.last_mut()
        {
            let mut bytes = text.len().saturating_add_signed(longer);
            while bytes < text.len() && !text.is_char_boundary(bytes) {
                bytes -= 1;
            }
            text.truncate(bytes);
            let mut k = 0;
            while text.len() < bytes {
                Text::Escaped(words.word(k)).say(text);
                k += 1;
            }
            text.truncate(bytes);
        }
        Answer {
            blocks,
            stop: self.stop,
            sequence: (!self.sequence.is_empty()).then(|| self.sequence.clone()),
            usage: self.usage,
            ..Answer::default()
        }
    }

    /// Ends the text before the first of the client's stop sequences.
    fn stop_at(&mut self, stops: &[String], words: &Words) {
        let stops = || stops.iter().filter(|stop| !stop.is_empty());
        if stops().next().is_none() {
            return;
        }
        for part in &mut self.parts {
            let Part::Text { words: count, .. } = part else {
                continue;
            };
            // The words come round again: two rounds hold all that there is.
            let all = std::mem::replace(count, (*count).min(ROUND * 2));
            let text = part.says(words);
            let first = stops()
                .filter_map(|stop| Some((text.find(stop.as_str())?, stop)))
                .min();
            if let Some((at, stop)) = first {
                part.cut(at, words);
                self.stop = Stop::Sequence;
                self.sequence.clone_from(stop);
            } else if let Part::Text { words: count, .. } = part {
                *count = all;
            }
        }
    }

    /// Ends the answer at the client's limit (I2).
    fn limit(&mut self, max: Option<u64>) {
        let max = u32::try_from(max.unwrap_or(u64::MAX)).unwrap_or(u32::MAX);
        if self.len() <= max {
            return;
        }
        let mut left = max;
        let mut kept = Vec::new();
        for mut part in self.parts.drain(..) {
            let len = part.len();
            match &mut part {
                _ if len <= left => {}
                Part::Call { .. } => break,
                Part::Thinking(thoughts) => *thoughts = left,
                Part::Refusal(pieces) => pieces.truncate(left as usize),
                Part::Text { lead, words, tail } => {
                    lead.truncate(left as usize);
                    let led = u32::try_from(lead.len()).unwrap_or(u32::MAX);
                    *words = (*words).min(left - led);
                    tail.clear();
                }
            }
            left -= part.len();
            kept.push(part);
            if left == 0 {
                break;
            }
        }
        self.parts = kept;
        self.stop = Stop::Length;
        self.sequence.clear();
    }

    fn tokens(&self, how: &Behaviour, prompt: u32) -> Tokens {
        let given = how.tokens;
        let thoughts = self.parts.iter().map(|part| match part {
            Part::Thinking(thoughts) => *thoughts,
            _ => 0,
        });
        let thoughts = thoughts.fold(0, u32::saturating_add);
        let thinking = match given.reasoning {
            0 => thoughts,
            given => given,
        };
        let output = match given.completion {
            Some(all) => all.saturating_sub(thinking),
            None => self.len() - thoughts,
        };
        let prompt = given.prompt.unwrap_or(prompt);
        let kept = given.cached.saturating_add(given.written);
        Tokens {
            fresh: prompt.saturating_sub(kept).into(),
            read: given.cached.into(),
            write: given.written.into(),
            write_1h: 0,
            output: output.into(),
            thinking: thinking.into(),
        }
    }
}

fn pieces(text: &str) -> Vec<String> {
    let letters: Vec<char> = text.chars().collect();
    letters
        .chunks(PIECE)
        .map(|piece| piece.iter().collect())
        .collect()
}

/// What is said when nothing is called.
fn text(request: &Request, dialect: Dialect, how: &Behaviour) -> Part {
    let document = match &request.format {
        Format::Text => None,
        Format::Json => Some(json!({"answer": "token 0"})),
        Format::Schema { schema, .. } => Some(example::value(schema, 0)),
    };
    let (lead, words) = match document {
        Some(document) => (pieces(&document.to_string()), 0),
        None if how.recite.is_some() => (tale::tell(request, dialect, how), 0),
        None => (hearing::lead(request), how.events),
    };
    Part::Text {
        lead,
        words,
        tail: String::new(),
    }
}

/// The calls that the request asks for, or the behaviour; none once there are results.
fn calls(request: &Request, dialect: Dialect, how: &Behaviour, id: u64) -> Vec<Part> {
    let is_allowed = |name: &str| match &request.choice {
        Some(Choice::Named(one)) => one == name,
        Some(Choice::Allowed { names, .. }) => names.iter().any(|one| one == name),
        _ => true,
    };
    let offered: Vec<_> = request
        .tools
        .iter()
        .filter(|tool| tool_name(tool).is_some_and(is_allowed))
        .collect();
    let is_forced = match &request.choice {
        Some(Choice::Any | Choice::Named(_)) => true,
        Some(Choice::Allowed { must, .. }) => *must,
        Some(Choice::Never) => return Vec::new(),
        Some(Choice::Auto) | None => false,
    };
    if hearing::has_results(request) {
        return Vec::new();
    }
    let count = how.tools.max(u32::from(is_forced));
    let count = match request.parallel {
        Some(false) => count.min(1),
        _ => count,
    };
    let tools = offered.iter().cycle();
    (0..count)
        .zip(tools)
        .filter_map(|(k, tool)| call(tool, dialect, id, k))
        .collect()
}

fn tool_name(tool: &Tool) -> Option<&str> {
    match &tool.kind {
        ToolKind::Function { name, .. } | ToolKind::Custom { name, .. } => Some(name),
        ToolKind::Foreign { .. } => None,
    }
}

fn call(tool: &Tool, dialect: Dialect, id: u64, k: u32) -> Option<Part> {
    let (text, is_custom) = match &tool.kind {
        ToolKind::Function { schema, .. } => {
            let made = schema.as_ref().map(|schema| example::value(schema, k));
            let made = made.filter(Value::is_object).unwrap_or_else(|| json!({}));
            (made.to_string(), false)
        }
        _ => (format!("token {k}"), true),
    };
    let prefix = match dialect {
        Dialect::Anthropic => "toolu",
        Dialect::Bedrock => "tooluse",
        _ => "call",
    };
    Some(Part::Call {
        id: format!("{prefix}_sim{id:x}n{k}"),
        name: tool_name(tool)?.to_owned(),
        pieces: pieces(&text),
        is_custom,
    })
}

#[cfg(test)]
#[path = "speech_tests.rs"]
mod tests;
