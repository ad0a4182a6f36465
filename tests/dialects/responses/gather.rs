//! Reads streams and answers, and gathers what they say. A stream whose steps are not balanced
//! panics here.

use serde_json::Value;
use shardgate::base::fault::Kind;
use shardgate::dialect::model::{Answer, Block, Open, Step, Stop, Tokens, Trouble};
use shardgate::dialect::responses::stream::Reader;
use shardgate::wire::sse::{Splitter, frame};

/// What a reader got.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Content {
    pub(super) text: String,
    pub(super) refusal: String,
    pub(super) thinking: String,
    pub(super) calls: Vec<(String, String, String)>,
    /// How many of them are of custom tools.
    pub(super) custom: usize,
    pub(super) stop: Option<Stop>,
    pub(super) usage: Option<Tokens>,
    pub(super) citations: usize,
    pub(super) opaque: usize,
    pub(super) error: Option<Trouble>,
    pub(super) is_whole: bool,
}

/// Takes steps, checks that they are balanced, and gathers what they say.
#[derive(Default)]
pub(super) struct Gather {
    pub(super) got: Content,
    pub(super) begun: bool,
    pub(super) open: Option<char>,
    pub(super) last_thinking: bool,
}

impl Gather {
    pub(super) fn take(&mut self, step: &Step<'_>) {
        assert!(
            !self.got.is_whole && self.got.error.is_none(),
            "{step:?} after the end"
        );
        if let Step::Begin { .. } = step {
            assert!(!self.begun, "begun twice");
            self.begun = true;
            return;
        }
        assert!(
            self.begun || matches!(step, Step::Error(_)),
            "{step:?} before Begin"
        );
        match step {
            Step::Begin { .. } => {}
            Step::Open(open) => {
                assert!(self.open.is_none() && self.got.stop.is_none(), "{step:?}");
                self.open = Some(match open {
                    Open::Text => 't',
                    Open::Thinking => 'k',
                    Open::Refusal => 'r',
                    Open::Call {
                        id,
                        name,
                        is_custom,
                    } => {
                        self.got.custom += usize::from(*is_custom);
                        self.got
                            .calls
                            .push((id.to_text(), name.to_text(), String::new()));
                        'c'
                    }
                });
                if self.open == Some('k') && self.last_thinking {
                    self.got.thinking.push('|');
                }
            }
            Step::Text(text) => match self.open.expect("text outside a block") {
                't' => text.say(&mut self.got.text),
                'k' => text.say(&mut self.got.thinking),
                'r' => text.say(&mut self.got.refusal),
                _ => text.say(&mut self.got.calls.last_mut().unwrap().2),
            },
            Step::Opaque(..) => {
                assert!(self.open.is_some());
                self.got.opaque += 1;
            }
            Step::Citation(_, raw) => {
                assert_eq!(self.open, Some('t'));
                assert!(serde_json::from_slice::<Value>(raw).is_ok());
                self.got.citations += 1;
            }
            Step::Close => assert!(self.open.take().is_some(), "closed twice"),
            Step::Usage(tokens) => self.got.usage = Some(*tokens),
            Step::Stop(why, _) => {
                assert!(self.open.is_none() && self.got.stop.is_none());
                self.got.stop = Some(*why);
            }
            Step::Error(refused) => self.got.error = Some(refused.trouble),
            Step::End => {
                assert!(self.open.is_none() && self.got.stop.is_some());
                self.got.is_whole = true;
            }
        }
    }
}

/// Reads a stream that comes in these pieces.
pub(super) fn read_pieces(pieces: &[&[u8]], each: &mut dyn FnMut(Step<'_>)) -> Result<(), Kind> {
    let (mut splitter, mut reader) = (Splitter::new(), Reader::new());
    let (mut held, mut scratch) = (Vec::new(), Vec::new());
    for piece in pieces {
        let mut rest = *piece;
        while let Some(end) = splitter.next_end(rest) {
            held.extend_from_slice(&rest[..end]);
            rest = &rest[end..];
            let event = frame(&held);
            if let Some(data) = event.data(&mut scratch) {
                reader.read(event.event, data, each)?;
            }
            held.clear();
        }
        held.extend_from_slice(rest);
    }
    reader.end(each)
}

pub(super) fn content(wire: &[u8]) -> (Result<(), Kind>, Content) {
    let mut gather = Gather::default();
    let read = read_pieces(&[wire], &mut |step| gather.take(&step));
    (read, gather.got)
}

pub(super) fn of_answer(answer: &Answer) -> Content {
    let mut got = Content {
        stop: Some(answer.stop),
        usage: answer.usage,
        is_whole: true,
        ..Content::default()
    };
    for block in &answer.blocks {
        match block {
            Block::Text {
                text, citations, ..
            } => {
                got.text.push_str(text);
                let list = citations.as_ref().and_then(Value::as_array);
                got.citations += list.map_or(0, Vec::len);
            }
            Block::Refusal(text) => got.refusal.push_str(text),
            Block::Thinking { text, opaque } => {
                got.thinking.push_str(text);
                got.opaque += usize::from(opaque.is_some());
            }
            Block::Call(call) => {
                got.custom += usize::from(call.is_custom);
                got.calls
                    .push((call.id.clone(), call.name.clone(), call.arguments.clone()));
            }
            _ => {}
        }
    }
    got
}
