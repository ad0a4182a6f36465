//! What an answer says, from whatever form it came in, and whether its steps are balanced.

use serde_json::Value;
use shardgate::dialect::model::{Answer, Block, Open, Step, Stop, Tokens, Trouble};

/// What an answer says, from whatever form it came in.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Said {
    pub(super) text: String,
    pub(super) thinking: String,
    pub(super) signatures: Vec<Value>,
    pub(super) citations: usize,
    pub(super) calls: Vec<(String, String, String)>,
    pub(super) stop: Option<(Stop, String)>,
    pub(super) tokens: Option<Tokens>,
    pub(super) is_whole: bool,
    pub(super) error: Option<Trouble>,
}

/// Gathers steps, and panics when they are not balanced.
#[derive(Debug, Default)]
pub(super) struct Gather {
    pub(super) said: Said,
    pub(super) open: Option<&'static str>,
    pub(super) count: usize,
    pub(super) is_over: bool,
}

impl Gather {
    pub(super) fn take(&mut self, step: &Step<'_>) {
        assert!(!self.is_over, "{step:?} after the end");
        let is_begin = matches!(step, Step::Begin { .. });
        assert_eq!(is_begin, self.count == 0, "{step:?} at {}", self.count);
        self.count += 1;
        let said = &mut self.said;
        match step {
            Step::Begin { .. } => {}
            Step::Open(open) => {
                assert!(self.open.is_none() && said.stop.is_none(), "{step:?}");
                self.open = Some(match open {
                    Open::Text | Open::Refusal => "text",
                    Open::Thinking => "thinking",
                    Open::Call { id, name, .. } => {
                        said.calls
                            .push((id.to_text(), name.to_text(), String::new()));
                        "call"
                    }
                });
            }
            Step::Text(text) => match self.open.expect("text within a block") {
                "text" => text.say(&mut said.text),
                "thinking" => text.say(&mut said.thinking),
                _ => text.say(&mut said.calls.last_mut().unwrap().2),
            },
            Step::Opaque(_, json) => {
                assert!(self.open.is_some());
                let value = serde_json::from_slice(json).unwrap_or(Value::Null);
                said.signatures.push(value);
            }
            Step::Citation(..) => {
                assert_eq!(self.open, Some("text"));
                said.citations += 1;
            }
            Step::Close => assert!(self.open.take().is_some()),
            Step::Usage(tokens) => said.tokens = Some(*tokens),
            Step::Stop(reason, at) => {
                assert!(self.open.is_none() && said.stop.is_none());
                said.stop = Some((*reason, at.to_text()));
            }
            Step::Error(refused) => {
                said.error = Some(refused.trouble);
                self.is_over = true;
            }
            Step::End => {
                assert!(self.open.is_none() && said.stop.is_some());
                said.is_whole = true;
                self.is_over = true;
            }
        }
    }
}

/// What a plain answer says.
pub(super) fn said_by(answer: &Answer) -> Said {
    let mut said = Said {
        stop: Some((answer.stop, answer.sequence.clone().unwrap_or_default())),
        tokens: answer.usage,
        is_whole: true,
        ..Said::default()
    };
    for block in &answer.blocks {
        match block {
            Block::Text {
                text, citations, ..
            } => {
                said.text.push_str(text);
                let count = citations.as_ref().and_then(|c| c.as_array().map(Vec::len));
                said.citations += count.unwrap_or(0);
            }
            Block::Refusal(text) => said.text.push_str(text),
            Block::Thinking { text, opaque } => {
                said.thinking.push_str(text);
                said.signatures
                    .extend(opaque.iter().map(|o| o.value.clone()));
            }
            Block::Call(call) => {
                said.calls
                    .push((call.id.clone(), call.name.clone(), call.arguments.clone()));
            }
            _ => {}
        }
    }
    said
}
