//! What a client has of a streamed answer, so that another model can go on with it.
//!
//! ```text
//!   first attempt    Begin Open(Text) Text Text ✂            said: "…", a text block is open
//!   the next one     Begin Open(Thinking) … Close Open(Text) Text Text Close Usage Stop End
//!   what passes                                        Seam ─► Text Text Close Usage Stop End
//! ```
//!
//! Steps go through here on their way to the one writer that lives over all attempts, so that
//! ids, indices and framing run on.
//!
//! Invariants
//! - I1 What passes of all attempts together is balanced, as if one model had said it.
//! - I2 Nobody goes on behind a call of a tool, a refusal or the reason for the end, nor within
//!   thinking, nor with more than [`SAID_MAX`] bytes: those are not even kept.
//! - I3 Usage that passes is that of all attempts; what nobody told is estimated, and marked.

use super::model::{Open, Step, Text, Tokens};
use super::seam::{Diverged, Seam, Way};
use super::tokens;
use crate::wire::json::scan::unescape_into;
use crate::wire::json::write::is_plain;
use serde_json::Value;

/// Most bytes of an answer that another model goes on with.
pub const SAID_MAX: usize = 1 << 20;

/// The block that is open at the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Block {
    Text,
    Other,
}

/// How far an attempt is that goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Nothing of it was said.
    Fresh,
    /// It thinks, which is nobody's business: the client has seen the thoughts before.
    Thinking,
    /// It is in its first block of text.
    Text,
    /// Behind that everything passes.
    Free,
}

#[derive(Debug)]
struct Joint {
    seam: Seam,
    phase: Phase,
}

/// What a client has, and what may pass of an attempt that goes on with it.
#[derive(Debug, Default)]
pub struct Trail {
    /// The text, as the inside of a JSON string.
    said: Vec<u8>,
    open: Option<Block>,
    /// Nobody goes on with it (I2).
    is_over: bool,
    /// Bytes that the attempt under way has said, thinking and all.
    made: u64,
    /// What it told of its usage.
    told: Option<Tokens>,
    /// What those before it cost.
    spent: Tokens,
    /// Some of that is an estimate.
    is_estimated: bool,
    joint: Option<Box<Joint>>,
}

/// Where steps go.
type Each<'e> = &'e mut dyn FnMut(&Step<'_>);

impl Trail {
    /// At the beginning of an answer.
    pub fn new() -> Self {
        Self::default()
    }

    /// What another model may go on with; `None` when it may not.
    pub fn said(&self) -> Option<String> {
        if self.is_over || self.open == Some(Block::Other) || self.said.is_empty() {
            return None;
        }
        let mut bytes = Vec::with_capacity(self.said.len());
        let is_text = unescape_into(&self.said, &mut bytes);
        String::from_utf8(bytes).ok().filter(|_| is_text)
    }

    /// The attempt that comes next goes on behind `said`, as [`Trail::said`] gave it.
    pub fn go_on(&mut self, said: String, way: Way) {
        (self.made, self.told) = (0, None); // of one that came to nothing
        self.joint = Some(Box::new(Joint {
            seam: Seam::new(said, way),
            phase: Phase::Fresh,
        }));
    }

    /// Whether the attempt under way goes on with others.
    pub fn is_joined(&self) -> bool {
        self.joint.is_some()
    }

    /// Whether pieces of text pass as they come.
    pub fn is_free(&self) -> bool {
        let joint = self.joint.as_ref();
        joint.is_none_or(|joint| match joint.phase {
            Phase::Fresh | Phase::Thinking => false,
            Phase::Text => joint.seam.is_through(),
            Phase::Free => true,
        })
    }

    /// The attempt under way is over, of which the prompt is guessed to have `prompt` tokens.
    pub fn end_attempt(&mut self, prompt: u64) {
        // Who was cut off told of the answer what there was of it at that time, if anything.
        let made = tokens::of_bytes(self.made);
        let mut one = self.told.take().unwrap_or_default();
        self.is_estimated |= one.prompt() == 0 || one.answer() < made;
        if one.prompt() == 0 {
            one.fresh = prompt;
        }
        one.output = one.output.max(made.saturating_sub(one.thinking));
        self.spent = sum(self.spent, one);
        self.made = 0;
    }

    /// What all attempts cost, the last one a whole one whose prompt is guessed to have `prompt`
    /// tokens, and whether some of that is an estimate (I3).
    pub fn cost(&self, prompt: u64) -> (Tokens, bool) {
        let (one, is_guess) = match self.told {
            Some(told) => (told, false),
            None if self.made == 0 => (Tokens::default(), false),
            None => {
                let guess = Tokens {
                    fresh: prompt,
                    output: tokens::of_bytes(self.made),
                    ..Tokens::default()
                };
                (guess, true)
            }
        };
        (sum(self.spent, one), self.is_estimated || is_guess)
    }

    /// Takes the next step of the attempt under way; `each` gets what passes.
    ///
    /// # Errors
    /// [`Diverged`].
    pub fn pass(&mut self, step: &Step<'_>, each: Each<'_>) -> Result<(), Diverged> {
        if let Step::Text(text) = step {
            self.made = self.made.saturating_add(length(*text));
        }
        if let Step::Usage(tokens) = step {
            self.told = Some(*tokens);
            let all = sum(self.spent, *tokens);
            each(&Step::Usage(all));
            return Ok(());
        }
        match self.joint.take() {
            None => self.put(step, each),
            Some(mut joint) => {
                let joined = self.join(&mut joint, step, each);
                self.joint = Some(joint);
                joined?;
            }
        }
        Ok(())
    }

    /// The same for an attempt that goes on.
    fn join(&mut self, joint: &mut Joint, step: &Step<'_>, each: Each<'_>) -> Result<(), Diverged> {
        match (joint.phase, step) {
            (Phase::Free, _) | (Phase::Text, Step::Citation(..) | Step::Opaque(..)) => {
                self.put(step, each);
            }
            (Phase::Fresh, Step::Open(Open::Thinking)) => joint.phase = Phase::Thinking,
            (Phase::Thinking, Step::Close) => joint.phase = Phase::Fresh,
            (Phase::Fresh, Step::Open(Open::Text)) => {
                joint.phase = Phase::Text;
                if self.open != Some(Block::Text) {
                    self.put(step, each);
                }
            }
            (Phase::Fresh, Step::Open(_) | Step::Stop(..) | Step::End) => {
                joint.phase = Phase::Free;
                if self.open.is_some() {
                    self.put(&Step::Close, each);
                }
                self.put(step, each);
            }
            (Phase::Text, Step::Text(text)) => {
                let pass = &mut |text: Text<'_>| self.put(&Step::Text(text), each);
                joint.seam.push(*text, pass)?;
            }
            (Phase::Text, _) => {
                let pass = &mut |text: Text<'_>| self.put(&Step::Text(text), each);
                joint.seam.end(pass)?;
                joint.phase = Phase::Free;
                self.put(step, each);
            }
            (Phase::Fresh | Phase::Thinking, _) => {}
        }
        Ok(())
    }

    /// Passes a step, and keeps what the client has then.
    fn put(&mut self, step: &Step<'_>, each: Each<'_>) {
        match step {
            Step::Open(Open::Text) => self.open = Some(Block::Text),
            Step::Open(Open::Thinking) => self.open = Some(Block::Other),
            Step::Text(text) if self.open == Some(Block::Text) && !self.is_over => {
                keep(&mut self.said, *text);
                self.is_over = self.said.len() > SAID_MAX;
            }
            Step::Close => self.open = None,
            Step::Open(_) | Step::Stop(..) | Step::End => self.is_over = true,
            _ => {}
        }
        if self.is_over && !self.said.is_empty() {
            self.said = Vec::new(); // I2
        }
        each(step);
    }
}

/// Appends a text as the inside of a JSON string.
fn keep(said: &mut Vec<u8>, text: Text<'_>) {
    match text {
        Text::Escaped(raw) => said.extend_from_slice(raw),
        Text::Plain(plain) if is_plain(plain) => {
            said.extend_from_slice(plain.as_bytes());
        }
        Text::Plain(plain) => {
            let json = Value::from(plain).to_string();
            let inside = json.as_bytes().get(1..json.len().saturating_sub(1));
            said.extend_from_slice(inside.unwrap_or_default());
        }
    }
}

fn length(text: Text<'_>) -> u64 {
    match text {
        Text::Escaped(raw) => raw.len() as u64,
        Text::Plain(plain) => plain.len() as u64,
    }
}

fn sum(a: Tokens, b: Tokens) -> Tokens {
    Tokens {
        fresh: a.fresh.saturating_add(b.fresh),
        read: a.read.saturating_add(b.read),
        write: a.write.saturating_add(b.write),
        write_1h: a.write_1h.saturating_add(b.write_1h),
        output: a.output.saturating_add(b.output),
        thinking: a.thinking.saturating_add(b.thinking),
    }
}

#[cfg(test)]
#[path = "trail_tests.rs"]
mod tests;
