//! What an answer said, plain or streamed, as the gateway's own readers hear it.

use serde_json::{Value, json};
use shardgate::base::fault::Kind;
use shardgate::dialect::model::{Answer, Block, Dialect, Open, Step, Stop, Tokens, Trouble};
use shardgate::dialect::speak::Reader;
use shardgate::wire::eventstream;

/// What an answer said, plain or streamed.
#[derive(Debug, Default)]
pub(super) struct Said {
    pub(super) text: String,
    pub(super) thinking: String,
    pub(super) refusal: String,
    /// Names and arguments.
    pub(super) calls: Vec<(String, Value)>,
    pub(super) stop: Option<Stop>,
    pub(super) sequence: String,
    pub(super) usage: Option<Tokens>,
    pub(super) error: Option<Trouble>,
    pub(super) end: Option<Result<(), Kind>>,
}

impl Said {
    pub(super) fn of_answer(answer: Answer) -> Self {
        let mut said = Self {
            stop: Some(answer.stop),
            sequence: answer.sequence.unwrap_or_default(),
            usage: answer.usage,
            end: Some(Ok(())),
            ..Self::default()
        };
        for block in answer.blocks {
            match block {
                Block::Text { text, .. } => said.text.push_str(&text),
                Block::Thinking { text, .. } => said.thinking.push_str(&text),
                Block::Refusal(text) => said.refusal.push_str(&text),
                Block::Call(call) => {
                    let arguments = serde_json::from_str(&call.arguments).unwrap();
                    said.calls.push((call.name, arguments));
                }
                _ => {}
            }
        }
        said
    }

    /// Reads `body` as a stream.
    pub(super) fn of_stream(dialect: Dialect, body: &[u8]) -> Self {
        let mut said = Self::default();
        let mut reader = Reader::new(dialect);
        let mut open = String::new();
        let mut is_call = false;
        let mut take = |said: &mut Self, step: Step<'_>| match step {
            Step::Open(kind) => {
                open = format!("{kind:?}");
                is_call = matches!(kind, Open::Call { .. });
                if let Open::Call { name, .. } = kind {
                    said.calls.push((name.to_text(), json!("")));
                }
            }
            Step::Text(text) if is_call => {
                let arguments = &mut said.calls.last_mut().unwrap().1;
                *arguments = json!(arguments.as_str().unwrap().to_owned() + &text.to_text());
            }
            Step::Text(text) if open == "Thinking" => text.say(&mut said.thinking),
            Step::Text(text) if open == "Refusal" => text.say(&mut said.refusal),
            Step::Text(text) => text.say(&mut said.text),
            Step::Usage(tokens) => said.usage = Some(tokens),
            Step::Stop(stop, sequence) => {
                said.stop = Some(stop);
                said.sequence = sequence.to_text();
            }
            Step::Error(refused) => said.error = Some(refused.trouble),
            _ => {}
        };
        for (event, data) in events(dialect, body) {
            let event = event.as_deref();
            if let Err(kind) = reader.read(event, &data, &mut |step| take(&mut said, step)) {
                said.end = Some(Err(kind));
                return said;
            }
        }
        said.end = Some(reader.end(&mut |step| take(&mut said, step)));
        for (_, arguments) in &mut said.calls {
            *arguments = serde_json::from_str(arguments.as_str().unwrap()).unwrap_or(Value::Null);
        }
        said
    }
}

type Event = (Option<Vec<u8>>, Vec<u8>);

fn events(dialect: Dialect, body: &[u8]) -> Vec<Event> {
    let mut found = Vec::new();
    if dialect == Dialect::Bedrock {
        let (mut ends, mut at) = (Vec::new(), 0);
        let mut splitter = eventstream::Splitter::new(1 << 20);
        splitter.feed(body, |end| ends.push(end)).unwrap();
        for end in ends {
            let frame = eventstream::frame(&body[at..end]).unwrap();
            found.push((frame.name().map(<[u8]>::to_vec), frame.payload.to_vec()));
            at = end;
        }
        return found;
    }
    let text = std::str::from_utf8(body).unwrap();
    for event in text.split_terminator("\n\n") {
        let line = |name: &str| event.lines().find_map(|line| line.strip_prefix(name));
        if let Some(data) = line("data: ") {
            let name = line("event: ").map(|name| name.as_bytes().to_vec());
            found.push((name, data.as_bytes().to_vec()));
        }
    }
    found
}
