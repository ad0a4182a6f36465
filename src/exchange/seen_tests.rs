//! The same becomes of an event however it is recognised.

use super::super::translator::Naming;
use super::*;
use crate::base::bufpool::BufPool;
use crate::base::reel::Reel;
use crate::dialect::route::Route;
use crate::stats::receipt::RequestId;
use crate::wire::http1::{Chunked, HeadLimits, Method, ResponseReader};
use proptest::prelude::*;

const FORM: Form = Form {
    wants_usage: false,
    is_chunked: false,
    is_single: true,
    policy: Policy::Ignored,
};

/// Goal: text that follows something else is not taken for more of what is open, though its
/// event looks like those of the text before. Method: text, a whole call, text; the last one
/// used to be told as more arguments of the call.
#[test]
fn text_behind_a_call_is_no_part_of_it() {
    let naming = Naming {
        id: RequestId::new(1, 2),
        model: "m".into(),
        created: 7,
        wants_usage: false,
    };
    let pool = BufPool::new();
    let translator = Translator::new(Dialect::Chat, Route::Messages, naming, &pool);
    let from = (Dialect::Chat, Wire::Lines);
    let mut seen = Seen::new(from, 0, FORM, Some(Box::new(translator)));
    let event = |delta: &str| {
        format!("data: {{\"choices\":[{{\"index\":0,\"delta\":{{{delta}}}}}]}}\n\n").into_bytes()
    };
    let text = event("\"content\":\"a\"");
    let call = event(
        "\"tool_calls\":[{\"index\":0,\"id\":\"c\",\"function\":{\"name\":\"f\",\"arguments\":\"{}\"}}]",
    );
    let mut scratch = Vec::new();
    for (bytes, like_the_last) in [(&text, 0), (&text, 0), (&text, text.len()), (&call, 0)] {
        assert_eq!(seen.skip(bytes), like_the_last);
        if like_the_last == 0 {
            assert_eq!(seen.judge(bytes, &mut scratch), Fate::Withhold);
        }
    }
    assert_eq!(seen.skip(&text), 0);
    assert_eq!(seen.judge(&text, &mut scratch), Fate::Withhold);
    let out = seen.translator.as_ref().unwrap().tx.unsent();
    let out = String::from_utf8_lossy(out);
    assert_eq!(out.matches("text_delta").count(), 4, "{out}");
    assert_eq!(out.matches("input_json_delta").count(), 1, "{out}");
}

/// A relay of a stream in the client's own dialect.
struct Relay {
    seen: Seen,
    body: Incoming,
    rx: RxBuf,
    tx: TxBuf,
    scratch: RefCell<Vec<u8>>,
}

impl Relay {
    fn new(pool: &BufPool, is_chunked: bool, form: Form) -> Self {
        let framing = if is_chunked {
            "transfer-encoding: chunked\r\n"
        } else {
            ""
        };
        let head = format!("HTTP/1.1 200 OK\r\n{framing}\r\n");
        let mut reader = ResponseReader::new(HeadLimits::RESPONSE, Method::Post);
        let head = reader.push(head.as_bytes()).unwrap().unwrap();
        Self {
            seen: Seen::new((Dialect::Chat, Wire::Lines), 0, form, None),
            body: Incoming::passed_on(&head),
            rx: RxBuf::new(pool),
            tx: TxBuf::new(pool),
            scratch: RefCell::default(),
        }
    }

    /// More came; gives whether its framing is right.
    fn hear(&mut self, bytes: &[u8], alike: Option<Alike>) -> bool {
        self.rx.put(bytes);
        self.body.absorb_alike(&mut self.rx, alike).is_ok()
    }

    /// What came as a chunk that may go on as it is does not.
    fn open(&mut self) {
        if let Some(chunk) = self.body.take_chunk() {
            self.body.open(&mut self.rx, chunk);
        }
    }

    fn digest(&mut self) {
        let Self { rx, body, tx, .. } = self;
        self.seen.digest(&self.scratch, rx, body, tx);
    }

    /// All that is known, and what goes on to the client.
    fn state(&self) -> String {
        let Seen {
            has_content,
            has_finish,
            lf_due,
            has_done,
            fault,
            told,
            usage,
            events,
            ..
        } = &self.seen;
        let told = (has_done, fault, told, usage, events, lf_due);
        let mut out = self.tx.unsent().to_vec();
        if self.seen.form.is_chunked {
            let decoded = Chunked::new().decode(&mut out).unwrap();
            out.truncate(decoded.data);
        }
        let text = String::from_utf8_lossy(&out);
        format!("{has_content} {has_finish} {told:?} {text}")
    }
}

/// One of the events of a stream.
fn event(kind: usize, text: &str) -> String {
    let of = |choice: &str| format!("data: {{\"id\":\"chatcmpl-1\",\"choices\":[{choice}]}}\n\n");
    match kind {
        0..=5 => of(&format!(
            "{{\"index\":0,\"delta\":{{\"content\":\"{text}\"}},\"finish_reason\":null}}"
        )),
        6 => of(&format!(
            "{{\"index\":1,\"delta\":{{\"content\":\"{text}\"}},\"finish_reason\":null}}"
        )),
        7 => of(&format!(
            "{{\"index\":0,\"delta\":{{\"content\":\"{text}\"}},\"finish_reason\":\"stop\"}}"
        )),
        8 => of(&format!(
            "{{\"index\":0,\"delta\":{{\"reasoning\":\"{text}\"}},\"finish_reason\":null}}"
        )),
        9 => format!(": {text}\n\n"),
        10 => format!("id: 7\n{}", event(0, text)),
        11 => format!("{}\r\n", event(0, text)),
        12 => of(&format!(
            "{{\"index\":0,\"delta\":{{\"content\":\"a\"}}}}],\"usage\":{{\"prompt_tokens\":7,\
             \"completion_tokens\":{},\"total_tokens\":9}},\"x\":[",
            text.len()
        )),
        13 => format!("data: {{\"error\":{{\"message\":\"{text}\"}}}}\n\n"),
        14 => event(0, text).replace('\n', "\r\n"),
        15 => event(0, text).replace('\n', "\r"),
        _ => "data: [DONE]\n\n".to_owned(),
    }
}

/// How an event arrives where the body is in chunks.
fn framed(event: &str, how: usize) -> Vec<String> {
    let (size, end) = (format!("{:x}\r\n", event.len()), "\r\n".to_owned());
    let event = event.to_owned();
    match how {
        0..=5 => vec![size + &event + &end],
        6 => vec![size, event + &end],
        7 => vec![size + &event, end],
        8 => vec![size, event, end],
        9 => vec![format!("{:x};a\r\n{event}\r\n", event.len())],
        10 => vec![format!("{:x}\r\n{event}\r\n", event.len() - 2)],
        11 => vec![format!("{:x}\r\n{event}\r\n", event.len() + 2)],
        12 => vec![format!("{:x}\r\n{event}", 2 * event.len()), event + &end],
        15 => vec![size + &event + "XY"],
        16 => vec![size + &event + "\rY"],
        13 => {
            let (one, other) = event.split_at(event.len() / 2);
            let (size, rest) = (one.len(), other.len());
            vec![format!("{size:x}\r\n{one}\r\n{rest:x}\r\n{other}\r\n")]
        }
        _ => vec![size + &event + &end + "2\r", "\n:\n\r\n".to_owned()],
    }
}

fn words() -> impl Strategy<Value = Vec<String>> {
    let word = "[a-z]{0,3}( |\"|\\\\n|\\\\u00e9|)[a-z]{0,40}";
    prop_oneof![
        3 => proptest::collection::vec("[a-z ]{1,9}", 1..9),
        2 => proptest::collection::vec("[ab]", 1..3),
        1 => proptest::collection::vec(word, 1..9),
    ]
}

proptest! {
    /// Goal: what the tape knows of an event changes nothing but the work. Method: streams with
    /// all that may look like more of the same, in all framings, also wrong ones; a relay that
    /// is not told, one that is, and one that is but lets no chunk go on as it came.
    #[test]
    fn what_a_tape_knows_changes_nothing(
        runs in proptest::collection::vec((0_usize..17, 0_usize..17, words()), 1..9),
        is_chunked in any::<bool>(),
        goes_chunked in any::<bool>(),
        joined in 1_usize..3,
    ) {
        let pool = BufPool::new();
        let form = Form { is_chunked: goes_chunked, ..FORM };
        let [mut untold, mut told, mut opened] =
            [(); 3].map(|()| Relay::new(&pool, is_chunked, form));
        let mut reel = Reel::new(&pool);
        let mut arrivals = Vec::new();
        for (kind, how, words) in &runs {
            for event in words.iter().map(|word| event(*kind, word)) {
                arrivals.extend(if is_chunked { framed(&event, *how) } else { vec![event] });
            }
        }
        for bytes in arrivals.chunks(joined).map(<[String]>::concat) {
            let alike = reel.put(bytes.as_bytes());
            let is_right = untold.hear(bytes.as_bytes(), None);
            prop_assert_eq!(is_right, told.hear(bytes.as_bytes(), alike));
            prop_assert_eq!(is_right, opened.hear(bytes.as_bytes(), alike));
            if !is_right {
                break;
            }
            opened.open();
            if let Some(alike) = opened.body.take_alike() {
                let (line, event) = (usize::from(alike.line), opened.rx.data());
                prop_assert_eq!(event, &bytes.as_bytes()[line..line + event.len()]);
            }
            for relay in [&mut untold, &mut told, &mut opened] {
                relay.digest();
            }
            prop_assert_eq!(told.state(), untold.state());
            prop_assert_eq!(opened.state(), untold.state());
        }
    }
}

/// Goal: the events of an ordinary stream are known by the tape, all but the first ones, and those
/// that come and go as chunks go as they came. Method: sizes with capital letters, which nobody
/// writes here.
#[test]
fn an_ordinary_stream_is_known_by_its_tape() {
    let pool = BufPool::new();
    for (is_chunked, goes_chunked) in [(true, true), (true, false), (false, true)] {
        let form = Form {
            is_chunked: goes_chunked,
            ..FORM
        };
        let [mut relay, mut passing] = [(); 2].map(|()| Relay::new(&pool, is_chunked, form));
        let (mut reel, mut known, mut passed) = (Reel::new(&pool), 0, 0);
        for word in ["a", " blue", ",", " zoo", " of", " 9", ".", " So", " it"] {
            let id = "1".repeat(0xaa - event(0, "").len()); // sizes have a letter
            let event = event(0, word).replace("-1", &format!("-1{id}"));
            let bytes = if is_chunked {
                format!("{:X}\r\n{event}\r\n", event.len())
            } else {
                event
            };
            let alike = reel.put(bytes.as_bytes());
            assert!(relay.hear(bytes.as_bytes(), alike));
            relay.open();
            if let Some(alike) = relay.body.take_alike() {
                known += usize::from(relay.seen.knows(relay.rx.data(), alike));
            }
            relay.digest();
            assert!(passing.hear(bytes.as_bytes(), alike));
            passing.tx.clear();
            passing.digest();
            passed += usize::from(is_chunked && passing.tx.unsent() == bytes.as_bytes());
        }
        assert_eq!((known, relay.seen.events), (7, 9), "{is_chunked}");
        let as_they_came = if is_chunked && goes_chunked { 6 } else { 0 };
        assert_eq!(passed, as_they_came);
    }
}

/// Goal: a chunk goes undecoded only where the tape has compared all of its end, too. Method: the
/// event that all others are compared with comes before the end of its chunk does, so that these
/// ends, or all but the last byte, are what is new in the others; then one that is wrong.
#[test]
fn an_end_of_a_chunk_that_is_new_is_looked_at() {
    let pool = BufPool::new();
    let form = Form {
        is_chunked: true,
        ..FORM
    };
    let id = "1".repeat(64);
    for (base, text, wrong) in [("a", "a", "XY"), ("a", "b", "X\n")] {
        let mut relay = Relay::new(&pool, true, form);
        let mut reel = Reel::new(&pool);
        let [base, text] = [base, text].map(|text| {
            let event = format!("data: {{\"id\":\"{id}\",\"text\":\"{text}\"}}\n\n");
            format!("{:x}\r\n{event}", event.len())
        });
        let whole = text.clone() + "\r\n";
        let arrivals = [base, "\r\n".to_owned(), whole.clone(), whole.clone(), whole];
        for bytes in arrivals.iter().chain([&(text + wrong)]) {
            let alike = reel.put(bytes.as_bytes());
            assert!(relay.hear(bytes.as_bytes(), alike), "{bytes:?}");
            relay.digest();
        }
        assert!(!relay.hear(b"0\r\n\r\n", None), "{wrong:?}");
    }
}
