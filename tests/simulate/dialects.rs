//! The other dialects on real sockets, read back by the gateway's own readers: what tests those
//! are recordings and SDKs, so that what they say of a stream can be believed here.

use super::said::Said;
use super::wishes::{Wish, asking, wish};
use super::{PATIENCE, Sim, connect, field, now, sim, start, strict};
use serde_json::{Value, json};
use shardgate::base::fault::Kind;
use shardgate::dialect::model::embed::Embed;
use shardgate::dialect::model::{Dialect, Stop, Trouble};
use shardgate::dialect::speak;
use shardgate::simulate::Config;
use std::io::{Read, Write};

/// An answer, its chunks taken out.
struct Got {
    status: u16,
    head: String,
    body: Vec<u8>,
    /// The framing says that it is whole.
    is_whole: bool,
}

fn send(sim: &Sim, path: &str, fields: &str, body: &Value) -> Got {
    let body = body.to_string();
    let request = format!(
        "POST {path} HTTP/1.1\r\nhost: sim\r\nconnection: close\r\n{fields}content-length: {}\r\n\
         \r\n{body}",
        body.len()
    );
    let mut link = connect(sim);
    link.set_read_timeout(Some(PATIENCE)).unwrap();
    link.write_all(request.as_bytes()).unwrap();
    let mut all = Vec::new();
    drop(link.read_to_end(&mut all)); // a reset ends it as well
    let at = all.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
    let head = String::from_utf8(all[..at].to_vec()).unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let mut rest = &all[at + 4..];
    if field(&head, "transfer-encoding").is_none() {
        let length = field(&head, "content-length").map(|n| n.parse::<usize>().unwrap());
        let is_whole = length.is_none_or(|length| length == rest.len());
        let body = rest.to_vec();
        return Got {
            status,
            head,
            body,
            is_whole,
        };
    }
    let (mut body, mut is_whole) = (Vec::new(), false);
    while let Some(end) = rest.iter().position(|&b| b == b'\n') {
        let row = std::str::from_utf8(&rest[..end]).unwrap().trim();
        let Ok(length) = usize::from_str_radix(row, 16) else {
            break;
        };
        let from = end + 1;
        let Some(data) = rest.get(from..from + length) else {
            break;
        };
        body.extend_from_slice(data);
        rest = &rest[from + length + 2..];
        is_whole = length == 0;
    }
    Got {
        status,
        head,
        body,
        is_whole,
    }
}

fn ask(sim: &Sim, dialect: Dialect, wish: &Wish) -> Got {
    let (path, fields, body) = asking(dialect, wish);
    send(sim, &path, fields, &body)
}

/// What `wish` is answered with in `dialect`, plainly and as a stream: both must be whole.
fn both(dialect: Dialect, wish: &Wish) -> [Said; 2] {
    [false, true].map(|stream| {
        let wish = Wish {
            stream,
            ..wish.clone()
        };
        let got = ask(sim(), dialect, &wish);
        let text = String::from_utf8_lossy(&got.body);
        assert_eq!(got.status, 200, "{dialect:?} {text}");
        assert!(got.is_whole, "{dialect:?} {text}");
        let said = if stream {
            Said::of_stream(dialect, &got.body)
        } else {
            Said::of_answer(speak::answer(dialect, &got.body).unwrap())
        };
        assert_eq!(said.end, Some(Ok(())), "{dialect:?} {text}");
        said
    })
}

/// Goal: words, their number, usage with all its parts, and the end, in every dialect.
#[test]
fn every_dialect_answers_in_words() {
    let keys = "events-3/prompt-tokens-50/cached-tokens-20/written-tokens-10/thinking-2";
    for dialect in Dialect::ALL {
        for said in both(dialect, &wish(keys)) {
            assert_eq!(said.text, "token 0 token 1 token 2 ", "{dialect:?}");
            assert_eq!(said.thinking, "thought 0 thought 1 ", "{dialect:?}");
            assert_eq!(said.stop, Some(Stop::End), "{dialect:?}");
            let usage = said.usage.unwrap();
            assert_eq!(
                (usage.prompt(), usage.answer()),
                (50, 5),
                "{dialect:?} {usage:?}"
            );
            assert_eq!(usage.read, 20, "{dialect:?} {usage:?}");
        }
        for said in both(dialect, &wish("no-usage/events-1")) {
            assert_eq!(said.text, "token 0 ");
            assert!(
                said.usage.is_none_or(|usage| usage.answer() == 0),
                "{dialect:?}"
            );
        }
    }
}

/// Goal: calls, by key and by force, with arguments of the schema; their results are told.
#[test]
fn every_dialect_calls_tools_and_tells_their_results() {
    let call = |k: u32| {
        let days = if k < 3 { 3 } else { k };
        (
            "weather".to_owned(),
            json!({"city": format!("city {}", k + 1), "days": days}),
        )
    };
    for dialect in Dialect::ALL {
        let three = Wish {
            tools: true,
            ..wish("tools-3")
        };
        for said in both(dialect, &three) {
            assert_eq!(said.calls, [call(0), call(1), call(2)], "{dialect:?}");
            assert_eq!(
                (said.stop, &*said.text),
                (Some(Stop::Tool), ""),
                "{dialect:?}"
            );
        }
        let offered = Wish {
            tools: true,
            ..wish("events-1")
        };
        let forced = Wish {
            forced: true,
            ..offered.clone()
        };
        let result = Wish {
            result: true,
            ..three.clone()
        };
        for said in both(dialect, &forced) {
            assert_eq!(said.calls, [call(0)], "{dialect:?}");
        }
        for said in both(dialect, &offered) {
            assert_eq!(
                (said.calls.len(), &*said.text),
                (0, "token 0 "),
                "{dialect:?}"
            );
        }
        for said in both(dialect, &result) {
            let text = "The result of weather is: ";
            assert!(said.text.starts_with(text), "{dialect:?} {}", said.text);
            assert!(
                said.text.contains("sunny") && said.calls.is_empty(),
                "{dialect:?}"
            );
        }
    }
}

/// Goal: a document by the schema, an image told of, a refusal, ends at a limit and at a text.
#[test]
fn every_dialect_heeds_what_is_asked_for() {
    for dialect in Dialect::ALL {
        let schema = Wish {
            schema: true,
            ..wish("events-1")
        };
        for said in both(dialect, &schema) {
            let document: Value = serde_json::from_str(&said.text).unwrap();
            assert_eq!(
                document,
                json!({"city": "city 1", "days": 3}),
                "{dialect:?}"
            );
        }
        let image = Wish {
            image: true,
            ..wish("events-1")
        };
        for said in both(dialect, &image) {
            assert_eq!(
                said.text, "I see 1 image: image/png. token 0 ",
                "{dialect:?}"
            );
        }
        let short = Wish {
            max: Some(2),
            ..wish("events-9")
        };
        for said in both(dialect, &short) {
            assert_eq!(said.text, "token 0 token 1 ", "{dialect:?}");
            assert_eq!(said.stop, Some(Stop::Length), "{dialect:?}");
        }
        for said in both(dialect, &wish("refusal")) {
            let text = said.refusal + &said.text;
            assert_eq!(text, "I cannot help with that.", "{dialect:?}");
            assert_eq!(said.stop, Some(Stop::Filtered), "{dialect:?}");
        }
        if dialect == Dialect::Responses {
            continue; // it has no such field
        }
        let stopped = Wish {
            stop: Some("ken 2"),
            ..wish("events-9")
        };
        for said in both(dialect, &stopped) {
            assert_eq!(said.text, "token 0 token 1 to", "{dialect:?}");
            let tells = matches!(dialect, Dialect::Anthropic | Dialect::Cohere);
            let want = if tells { Stop::Sequence } else { Stop::End };
            let stop = said.stop.unwrap();
            assert!(
                stop == want || stop == Stop::Sequence,
                "{dialect:?} {stop:?}"
            );
            assert!(!tells || dialect == Dialect::Cohere || said.sequence == "ken 2");
        }
    }
}

/// Goal: faults in mid-stream are what they say, and are seen as such by the readers.
#[test]
fn every_dialect_has_every_fault() {
    for dialect in Dialect::ALL {
        let of = |keys: &str| {
            let wish = Wish {
                stream: true,
                ..wish(keys)
            };
            let got = ask(sim(), dialect, &wish);
            assert_eq!(got.status, 200);
            (Said::of_stream(dialect, &got.body), got.is_whole)
        };
        // Thinking makes Chat speak like the others.
        for keys in ["events-9/thinking-1/cut-4", "events-9/thinking-1/reset-4"] {
            let (said, is_whole) = of(keys);
            assert_eq!(said.text, "token 0 token 1 token 2 ", "{dialect:?}");
            assert_eq!((said.end, is_whole), (Some(Err(Kind::UpstreamCut)), false));
        }
        let (said, is_whole) = of("events-9/thinking-1/error-event-3");
        assert_eq!(
            (&*said.text, is_whole),
            ("token 0 token 1 ", true),
            "{dialect:?}"
        );
        assert_eq!(said.error, Some(Trouble::Server), "{dialect:?}");
        let (said, is_whole) = of("events-9/thinking-1/malformed-3");
        assert_eq!(
            (&*said.text, is_whole),
            ("token 0 token 1 ", true),
            "{dialect:?}"
        );
        assert_eq!(said.end, Some(Err(Kind::UpstreamGarbled)), "{dialect:?}");
        let (said, is_whole) = of("events-2/thinking-1/no-done");
        assert_eq!(
            (&*said.text, is_whole),
            ("token 0 token 1 ", true),
            "{dialect:?}"
        );
        let is_open = matches!(dialect, Dialect::Chat);
        assert!(
            is_open || said.end == Some(Err(Kind::UpstreamCut)),
            "{dialect:?} {said:?}"
        );
        let (said, is_whole) = of("events-9/thinking-1/bad-chunk-3");
        assert_eq!(
            (&*said.text, is_whole),
            ("token 0 token 1 ", false),
            "{dialect:?}"
        );
    }
}

/// Goal: the pace is that of the keys, over thoughts and words alike.
#[test]
fn every_dialect_is_paced() {
    for dialect in Dialect::ALL {
        let begun = now();
        let wish = Wish {
            stream: true,
            ..wish("ttft-20ms/rate-200/events-3/thinking-2")
        };
        let got = ask(sim(), dialect, &wish);
        assert_eq!(Said::of_stream(dialect, &got.body).end, Some(Ok(())));
        assert!(begun.elapsed().as_millis() >= 40, "{dialect:?}");
    }
}

/// Goal: every status has the dialect's shape and fields; garbage, pages and sizes come too.
#[test]
#[expect(clippy::too_many_lines, reason = "one list of cases")]
fn every_dialect_refuses_in_its_own_shape() {
    let of = |dialect, keys: &str| {
        let got = ask(sim(), dialect, &wish(keys));
        let body: Value = serde_json::from_slice(&got.body).unwrap_or_default();
        (got, body)
    };
    for (dialect, status, pointer, want) in [
        (
            Dialect::Responses,
            429,
            "/error/code",
            "rate_limit_exceeded",
        ),
        (Dialect::Anthropic, 529, "/error/type", "overloaded_error"),
        (
            Dialect::Anthropic,
            401,
            "/error/type",
            "authentication_error",
        ),
        (Dialect::Gemini, 503, "/error/status", "UNAVAILABLE"),
        (Dialect::Gemini, 429, "/error/details/1/retryDelay", "1s"),
        (Dialect::Cohere, 404, "/code", "model_not_found"),
        (
            Dialect::Bedrock,
            400,
            "/message",
            "The request is not valid.",
        ),
    ] {
        let (got, body) = of(dialect, &format!("status-{status}"));
        assert_eq!(got.status, status);
        assert_eq!(
            body.pointer(pointer),
            Some(&json!(want)),
            "{dialect:?} {body}"
        );
    }
    for (dialect, name, want) in [
        (Dialect::Responses, "retry-after-ms", Some("1000")),
        (Dialect::Anthropic, "retry-after", Some("1")),
        (
            Dialect::Anthropic,
            "anthropic-ratelimit-requests-remaining",
            Some("0"),
        ),
        (Dialect::Gemini, "retry-after", None),
        (Dialect::Bedrock, "retry-after", None),
    ] {
        let (got, _) = of(dialect, "status-429");
        assert_eq!(field(&got.head, name), want, "{dialect:?} {}", got.head);
    }
    let (got, _) = of(Dialect::Bedrock, "status-429");
    let name = field(&got.head, "x-amzn-errortype").unwrap();
    assert!(name.starts_with("ThrottlingException:"), "{name}");
    for dialect in Dialect::ALL {
        let (got, _) = of(dialect, "html-502");
        assert!(got.status == 502 && got.body.starts_with(b"<!DOCTYPE"));
        let (_, body) = of(dialect, "malformed");
        assert_eq!(body, Value::Null, "{dialect:?}");
        let (got, body) = of(dialect, "bytes-5000");
        assert!(
            got.body.len() == 5000 && body.is_object(),
            "{dialect:?} {}",
            got.body.len()
        );
        let (got, body) = of(dialect, "cute");
        assert!(
            got.status == 400 && body.to_string().contains("cute"),
            "{dialect:?}"
        );
        let (got, _) = of(dialect, "error-event");
        assert_eq!(
            speak::answer(dialect, &got.body),
            Err(Kind::UpstreamError),
            "{dialect:?}"
        );
    }
}

/// Goal: each dialect's credentials where it has them, and only there.
#[test]
fn every_dialect_has_its_own_credentials() {
    let sim = strict();
    let bearer = "authorization: Bearer sk-sim\r\n";
    let signed = "authorization: AWS4-HMAC-SHA256 Credential=sk-sim/20260101/us-east-1/bedrock/\
        aws4_request, SignedHeaders=host, Signature=00\r\n";
    for (dialect, good, bad, status) in [
        (Dialect::Responses, bearer, "x-api-key: sk-sim\r\n", 401),
        (
            Dialect::Anthropic,
            "x-api-key: sk-sim\r\n",
            "api-key: sk-sim\r\n",
            401,
        ),
        (Dialect::Gemini, "x-goog-api-key: sk-sim\r\n", bearer, 400),
        (Dialect::Cohere, bearer, "x-api-key: sk-sim\r\n", 401),
        (
            Dialect::Bedrock,
            bearer,
            "authorization: Bearer sk\r\n",
            403,
        ),
        (Dialect::Bedrock, signed, "", 403),
    ] {
        let (path, fields, body) = asking(dialect, &wish("events-1"));
        let good = send(&sim, &path, &format!("{fields}{good}"), &body);
        assert_eq!(good.status, 200, "{dialect:?}");
        let bad = send(&sim, &path, &format!("{fields}{bad}"), &body);
        assert_eq!(bad.status, status, "{dialect:?}");
        let refused = speak::refusal(dialect, bad.status, &bad.body);
        assert_eq!(refused.trouble, Trouble::Auth, "{dialect:?}");
    }
    let (path, _, body) = asking(Dialect::Gemini, &wish("events-1"));
    assert_eq!(
        send(&sim, &format!("{path}?key=sk-sim"), "", &body).status,
        200
    );
    let (path, _, body) = asking(Dialect::Anthropic, &wish("events-1"));
    let without = send(&sim, &path, "x-api-key: sk-sim\r\n", &body);
    let said = String::from_utf8(without.body).unwrap();
    assert!(
        without.status == 400 && said.contains("anthropic-version"),
        "{said}"
    );
}

/// Goal: embeddings in all four shapes, in the number and length that is asked for, with their
/// tokens; a broken request and a fault are told in their shape.
#[test]
fn embeddings_come_in_every_shape() {
    let text = json!({"content": {"parts": [{"text": "a"}]}, "outputDimensionality": 4});
    for (dialect, path, body, at, count) in [
        (
            Dialect::Chat,
            "/v1/embeddings",
            json!({"model": "sim/prompt-tokens-7", "input": ["a", "b"], "dimensions": 4}),
            "input",
            2,
        ),
        (
            Dialect::Gemini,
            "/v1beta/models/sim/prompt-tokens-7:batchEmbedContents",
            json!({"requests": [text, text, text]}),
            "requests",
            3,
        ),
        (
            Dialect::Gemini,
            "/v1beta/models/sim/prompt-tokens-7:embedContent",
            text.clone(),
            "content",
            1,
        ),
        (
            Dialect::Cohere,
            "/v2/embed",
            json!({"model": "sim/prompt-tokens-7", "texts": ["a", "b"], "output_dimension": 4,
                "input_type": "clustering"}),
            "texts",
            2,
        ),
        (
            Dialect::Bedrock,
            "/model/sim%2Fprompt-tokens-7/invoke",
            json!({"inputText": "a", "dimensions": 4}),
            "inputText",
            1,
        ),
    ] {
        let embed = Embed {
            inputs: vec![String::new(); count],
            dimensions: Some(4),
            ..Embed::default()
        };
        let got = send(sim(), path, "", &body);
        assert_eq!((got.status, got.is_whole), (200, true), "{path}");
        let vectors = speak::vectors(dialect, &got.body, &embed).unwrap();
        assert_eq!(vectors.tokens, Some(7), "{path}");
        assert_eq!(vectors.values[count - 1], b"[0.5,-0.5,0.5,0.5]".as_slice());
        if dialect != Dialect::Chat {
            let mut broken = body.clone();
            broken[at] = json!(7);
            let refused = send(sim(), path, "", &broken);
            assert_eq!(refused.status, 400, "{path}");
        }
        let fault = send(sim(), path, "x-sim-status: 429\r\n", &body);
        assert_eq!(fault.status, 429, "{path}");
        let refused = speak::refusal(dialect, 429, &fault.body);
        assert_eq!(refused.trouble, Trouble::RateLimit, "{path}");
    }
}

/// Goal: tokens are counted, a list is one document, a broken request is refused with its
/// field, requests count by dialect.
#[test]
fn counts_lists_and_broken_requests_are_answered() {
    let sim = start(Config::default());
    let version = "anthropic-version: 2023-06-01\r\n";
    let (_, _, body) = asking(Dialect::Anthropic, &wish("prompt-tokens-77"));
    let count = send(&sim, "/v1/messages/count_tokens", version, &body);
    assert_eq!(count.body, b"{\"input_tokens\":77}");
    let streamed = Wish {
        stream: true,
        ..wish("events-2/thinking-1")
    };
    let (path, _, body) = asking(Dialect::Gemini, &streamed);
    let list = send(&sim, path.strip_suffix("?alt=sse").unwrap(), "", &body);
    assert!(
        field(&list.head, "content-type")
            .unwrap()
            .starts_with("application/json")
    );
    let list: Value = serde_json::from_slice(&list.body).unwrap();
    assert_eq!(list.as_array().unwrap().len(), 4);
    assert_eq!(list[3]["candidates"][0]["finishReason"], "STOP");
    let broken = json!({"model": "m", "max_tokens": 1, "messages": [{"role": "cat"}]});
    let refused = send(&sim, "/v1/messages", version, &broken);
    let said = String::from_utf8(refused.body).unwrap();
    assert!(
        refused.status == 400 && said.contains("messages[0]"),
        "{said}"
    );
    let sums = sim.stats.sums();
    assert_eq!((sums.requests_anthropic, sums.requests_gemini), (2, 1));
    assert_eq!((sums.requests_openai, sums.requests), (0, 3));
}
