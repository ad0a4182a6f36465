//! The simulated provider on real sockets: each fault is what it says, byte by byte.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may panic"
)]

#[path = "simulate/dialects.rs"]
mod dialects;
#[path = "simulate/said.rs"]
mod said;
#[path = "simulate/wishes.rs"]
mod wishes;

use shardgate::simulate::{Config, Simulation, Stats};
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime};

/// Long enough for a machine with a full load, short enough to end a hanging test.
const PATIENCE: Duration = Duration::from_secs(20);

struct Sim {
    at: SocketAddr,
    stats: Arc<Stats>,
}

fn start(config: Config) -> Sim {
    let mut config = config;
    config.listen = vec!["127.0.0.1:0".parse().unwrap()];
    let mut simulation = Simulation::start(vec![config], &[None]).unwrap();
    Sim {
        at: simulation.addresses[0][0],
        stats: simulation.stats.remove(0),
    }
}

/// One provider for all tests that need nothing special.
fn sim() -> &'static Sim {
    static SIM: OnceLock<Sim> = OnceLock::new();
    SIM.get_or_init(|| start(Config::default()))
}

fn connect(sim: &Sim) -> TcpStream {
    let link = TcpStream::connect(sim.at).unwrap();
    link.set_read_timeout(Some(PATIENCE)).unwrap();
    link
}

fn request(path: &str, fields: &str, body: &str) -> String {
    let length = body.len();
    let fields = format!("{fields}content-length: {length}\r\n");
    format!("POST {path} HTTP/1.1\r\nhost: sim\r\n{fields}\r\n{body}")
}

fn chat(model: &str, more: &str) -> String {
    let body = format!("{{\"model\":\"{model}\",\"messages\":[]{more}}}");
    request("/v1/chat/completions", "", &body)
}

fn streamed(model: &str) -> String {
    chat(model, ",\"stream\":true")
}

/// What comes until the end of the connection, and how it ended.
fn all(link: &mut TcpStream) -> (String, Option<ErrorKind>) {
    let (mut bytes, mut block) = (Vec::new(), [0; 4096]);
    loop {
        match link.read(&mut block) {
            Ok(0) => return (String::from_utf8(bytes).unwrap(), None),
            Ok(got) => bytes.extend_from_slice(&block[..got]),
            Err(error) => return (String::from_utf8(bytes).unwrap(), Some(error.kind())),
        }
    }
}

/// Sends one request on a connection of its own, and gives all that comes back.
fn ask(sim: &Sim, request: &str) -> (String, Option<ErrorKind>) {
    let mut link = connect(sim);
    link.write_all(request.as_bytes()).unwrap();
    one(&mut link)
}

/// Reads to the end of one answer, which need not be the end of the connection.
fn one(link: &mut TcpStream) -> (String, Option<ErrorKind>) {
    let (mut text, mut block) = (String::new(), [0; 4096]);
    loop {
        let got = match link.read(&mut block) {
            Ok(0) => return (text, None),
            Ok(got) => got,
            Err(error) => return (text, Some(error.kind())),
        };
        text.push_str(std::str::from_utf8(&block[..got]).unwrap());
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        let length = field(head, "content-length").and_then(|n| n.parse::<usize>().ok());
        let is_whole = match length {
            Some(length) => body.len() >= length,
            None => body.ends_with("\r\n0\r\n\r\n"),
        };
        if is_whole && field(head, "connection").is_none() {
            return (text, None);
        }
    }
}
fn field<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines()
        .filter_map(|line| line.split_once(": "))
        .find(|(key, _)| *key == name)
        .map(|(_, value)| value)
}

fn body(answer: &str) -> &str {
    answer.split_once("\r\n\r\n").map_or("", |(_, body)| body)
}

fn json(answer: &str) -> serde_json::Value {
    serde_json::from_str(body(answer)).unwrap()
}

/// Takes the chunk framing out, which must be right; `None` when it does not end.
fn unchunked(answer: &str) -> Option<String> {
    let (mut rest, mut out) = (body(answer), String::new());
    loop {
        let (size, after) = rest.split_once("\r\n")?;
        let size = usize::from_str_radix(size, 16).ok()?;
        let (data, after) = after.split_at_checked(size)?;
        rest = after.strip_prefix("\r\n")?;
        if size == 0 {
            return rest.is_empty().then_some(out);
        }
        out.push_str(data);
    }
}

fn words(text: &str) -> usize {
    text.matches("token ").count()
}

/// Goal: a plain answer, on a connection that serves several; two requests in one write are
/// answered in order.
#[test]
fn plain_answers_keep_their_connection() {
    let mut link = connect(sim());
    let two = chat("sim/events-3", "") + &chat("sim/events-4/close", "");
    link.write_all(two.as_bytes()).unwrap();
    let (text, end) = all(&mut link);
    assert_eq!(end, None);
    let second = text.rfind("HTTP/1.1 200 OK").unwrap();
    let (first, second) = text.split_at(second);
    assert_eq!(
        json(first)["choices"][0]["message"]["content"],
        "token 0 token 1 token 2 "
    );
    assert_eq!(json(first)["model"], "sim/events-3");
    assert_eq!(json(second)["usage"]["completion_tokens"], 4);
    assert_eq!(field(second, "connection"), Some("close"));
    assert_eq!(field(first, "connection"), None);
}

/// Goal: a stream is as OpenAI's: role, content, finish, usage only when asked for, [DONE].
#[test]
fn a_stream_is_as_openai_sends_it() {
    for (more, events) in [
        (",\"stream\":true", 3 + 2),
        (
            ",\"stream\":true,\"stream_options\":{\"include_usage\":true}",
            3 + 3,
        ),
    ] {
        let (text, _) = ask(sim(), &chat("sim/events-3", more));
        assert!(
            field(&text, "content-type")
                .unwrap()
                .starts_with("text/event-stream")
        );
        let stream = unchunked(&text).unwrap();
        let mut data: Vec<_> = stream.split_terminator("\n\n").collect();
        assert_eq!(data.pop(), Some("data: [DONE]"));
        assert_eq!(data.len(), events, "{stream}");
        let data: Vec<serde_json::Value> = data
            .iter()
            .map(|event| serde_json::from_str(event.strip_prefix("data: ").unwrap()).unwrap())
            .collect();
        assert_eq!(data[0]["choices"][0]["delta"]["role"], "assistant");
        assert_eq!(data[3]["choices"][0]["delta"]["content"], "token 2 ");
        assert_eq!(data[4]["choices"][0]["finish_reason"], "stop");
        assert_eq!(data.get(5).is_some(), events == 6);
        assert!(
            data.get(5)
                .is_none_or(|last| last["usage"]["completion_tokens"] == 3)
        );
    }
}

/// Goal: events come no earlier than they are due.
#[test]
fn a_stream_is_paced() {
    let begun = now();
    let (text, _) = ask(sim(), &streamed("sim/ttft-60ms/rate-100/events-5"));
    assert_eq!(words(&unchunked(&text).unwrap()), 5);
    assert!(begun.elapsed() >= Duration::from_millis(100));
}

#[expect(clippy::disallowed_methods, reason = "real sockets run on real time")]
fn now() -> Instant {
    Instant::now()
}

/// Goal: every status is given in OpenAI's shape, with the fields that go with it.
#[test]
fn statuses_come_in_openais_shape() {
    for status in [400, 401, 404, 429, 500, 503, 529] {
        let (text, end) = ask(sim(), &streamed(&format!("sim/status-{status}")));
        assert!(text.starts_with(&format!("HTTP/1.1 {status} ")), "{text}");
        assert!(json(&text)["error"]["message"].is_string());
        assert_eq!(field(&text, "retry-after").is_some(), status == 429);
        assert!(field(&text, "x-ratelimit-remaining-requests").is_some());
        assert_eq!(end, None);
    }
    let (text, _) = ask(sim(), &chat("sim/status-503/retry-after-2500ms", ""));
    assert_eq!(field(&text, "retry-after"), Some("3"));
    assert_eq!(field(&text, "retry-after-ms"), Some("2500"));
    let (text, _) = ask(sim(), &chat("sim/html-502", ""));
    assert!(text.starts_with("HTTP/1.1 502 ") && text.contains("<html>"));
}

/// Goal: each fault in mid-stream is what it says. Method: raw bytes and how they end.
#[test]
fn faults_in_mid_stream_are_what_they_say() {
    let (text, end) = ask(sim(), &streamed("sim/events-9/cut-5"));
    assert_eq!((words(&text), end), (5, None));
    assert_eq!(unchunked(&text), None);

    let (text, end) = ask(sim(), &streamed("sim/events-9/reset-5"));
    assert_eq!((words(&text), end), (5, Some(ErrorKind::ConnectionReset)));

    let (text, end) = ask(sim(), &streamed("sim/events-9/bad-chunk-2"));
    assert_eq!((words(&text), end), (2, None));
    assert!(text.contains("\r\nzz\r\n") && unchunked(&text).is_none());

    let (text, _) = ask(sim(), &streamed("sim/events-4/malformed-2"));
    let stream = unchunked(&text).unwrap();
    assert_eq!(words(&stream), 4);
    let broken = |event: &str| {
        let data = event.strip_prefix("data: ").unwrap();
        serde_json::from_str::<serde_json::Value>(data).is_err()
    };
    let events: Vec<_> = stream.split_terminator("\n\n").collect();
    assert_eq!(events.iter().position(|e| broken(e)), Some(3));
    assert_eq!(events.last(), Some(&"data: [DONE]"));

    let (text, _) = ask(sim(), &streamed("sim/events-9/error-event-2"));
    let stream = unchunked(&text).unwrap();
    assert_eq!(words(&stream), 2);
    assert!(stream.contains("data: {\"error\":") && !stream.contains("[DONE]"));

    let (text, _) = ask(sim(), &streamed("sim/events-2/no-done/no-role"));
    let stream = unchunked(&text).unwrap();
    assert!(stream.contains("\"stop\"") && !stream.contains("[DONE]"));
    assert!(!stream.contains("assistant"));
}

/// Goal: each fault before the head, or in a plain body, is what it says.
#[test]
fn faults_without_a_stream_are_what_they_say() {
    assert_eq!(ask(sim(), &chat("sim/cut", "")), (String::new(), None));
    assert_eq!(
        ask(sim(), &chat("sim/reset", "")),
        (String::new(), Some(ErrorKind::ConnectionReset))
    );
    let (text, _) = ask(sim(), &chat("sim/bad-head", ""));
    assert!(text.starts_with("HTTP/1.1 2OO"));
    for (model, want) in [
        ("sim/cut-1", None),
        ("sim/reset-1", Some(ErrorKind::ConnectionReset)),
    ] {
        let (text, end) = ask(sim(), &chat(model, ""));
        let length: usize = field(&text, "content-length").unwrap().parse().unwrap();
        assert_eq!((body(&text).len(), end), (length / 2, want), "{model}");
    }
    let (text, _) = ask(sim(), &chat("sim/malformed", ""));
    assert!(serde_json::from_str::<serde_json::Value>(body(&text)).is_err());
    let (text, _) = ask(sim(), &chat("sim/bytes-70000", ""));
    assert_eq!(body(&text).len(), 70_000);
    assert!(json(&text)["choices"].is_array());
    let (text, end) = ask(sim(), &chat("sim/drip-10us/events-1", ""));
    assert!(json(&text)["choices"].is_array() && end.is_none());
}

/// Goal: a stall sends what came before and then nothing; the connection stays open.
#[test]
fn a_stall_is_silence() {
    let mut link = connect(sim());
    link.write_all(streamed("sim/events-9/stall-2").as_bytes())
        .unwrap();
    link.set_read_timeout(Some(Duration::from_millis(300)))
        .unwrap();
    let (text, end) = all(&mut link);
    assert_eq!(words(&text), 2);
    assert_eq!(end, Some(ErrorKind::WouldBlock));
}

/// Goal: a silent hang-up comes after a whole answer that did not announce it.
#[test]
fn a_hangup_is_not_announced() {
    let mut link = connect(sim());
    link.write_all(chat("sim/hangup", "").as_bytes()).unwrap();
    let (text, end) = all(&mut link);
    assert!(json(&text)["choices"].is_array() && end.is_none());
    assert_eq!(field(&text, "connection"), None);
}

/// Goal: a client that goes away is counted and stamped, while a stream is paced and while
/// an answer waits; nobody else's counters move.
#[test]
fn a_client_that_goes_away_is_seen_at_once() {
    let sim = start(Config::default());
    let unix = || {
        #[expect(
            clippy::disallowed_methods,
            reason = "compared with the simulator's stamp"
        )]
        let now = SystemTime::now();
        u64::try_from(
            now.duration_since(SystemTime::UNIX_EPOCH)
                .unwrap()
                .as_nanos(),
        )
        .unwrap()
    };
    for (count, request) in [
        (1, streamed("sim/rate-1/events-100")),
        (2, chat("sim/ttft-1h", "")),
        (3, streamed("sim/stall")),
    ] {
        let mut link = connect(&sim);
        link.write_all(request.as_bytes()).unwrap();
        await_that(|| sim.stats.sums().requests == count);
        if count == 1 {
            await_that(|| sim.stats.sums().streams_open == 1);
        }
        let gone = unix();
        drop(link);
        await_that(|| sim.stats.sums().cancelled == count);
        let seen = sim.stats.sums().last_cancelled_unix_ns;
        let late = seen.saturating_sub(gone);
        assert!(seen > 0 && late < 2_000_000_000, "{late} ns");
    }
    await_that(|| sim.stats.sums().connections_open == 0);
    let sums = sim.stats.sums();
    assert_eq!(
        (sums.streams_open, sums.streams_done, sums.answered),
        (0, 0, 0)
    );
}

fn await_that(is_so: impl Fn() -> bool) {
    let begun = now();
    while !is_so() {
        assert!(begun.elapsed() < PATIENCE, "it never came to be");
        std::thread::yield_now();
    }
}

/// Goal: the counters add up and can be set to zero over HTTP.
#[test]
fn counters_are_read_and_reset_over_http() {
    let sim = start(Config::default());
    ask(&sim, &chat("m", ""));
    ask(&sim, &streamed("sim/events-7"));
    ask(&sim, &chat("sim/status-500", ""));
    ask(&sim, &chat("sim/cut", ""));
    let get = "GET /__sim/stats HTTP/1.1\r\nhost: s\r\n\r\n";
    await_that(|| sim.stats.sums().broken == 1);
    let stats = json(&ask(&sim, get).0);
    for (name, want) in [
        ("requests", 4),
        ("answered", 1),
        ("streams_done", 1),
        ("failed", 1),
        ("broken", 1),
        ("cancelled", 0),
        ("events", 7),
    ] {
        assert_eq!(stats[name], want, "{name}: {stats}");
    }
    assert!(stats["cpu_seconds"].as_f64().unwrap() > 0.0);
    ask(&sim, &request("/__sim/reset", "", ""));
    assert_eq!(json(&ask(&sim, get).0)["requests"], 0);
}

/// A provider with a key and one model.
fn strict() -> Sim {
    let mut config = Config::default();
    config.api_key = Some("sk-sim".to_owned());
    config.models = vec!["gpt-4o".to_owned()];
    start(config)
}

const KEY: &str = "authorization: Bearer sk-sim\r\n";

/// Status and error code of an answer.
fn verdict((answer, _): (String, Option<ErrorKind>)) -> (u16, String) {
    let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
    let code = json(&answer)["error"]["code"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    (status, code)
}

/// Goal: keys, unknown models and broken bodies are refused as OpenAI does.
#[test]
fn what_openai_refuses_is_refused() {
    let sim = strict();
    let wrong_key = "authorization: Bearer sk-si\r\n";
    for (fields, body, status, code) in [
        (KEY, "{\"model\":\"gpt-4o\",\"messages\":[]}", 200, ""),
        ("", "{}", 401, "invalid_api_key"),
        (wrong_key, "{}", 401, "invalid_api_key"),
        (
            KEY,
            "{\"model\":\"gpt-5\",\"messages\":[]}",
            404,
            "model_not_found",
        ),
        (KEY, "{\"model\":", 400, "invalid_json"),
        (KEY, "{\"messages\":[]}", 400, "missing_required_parameter"),
        (
            KEY,
            "{\"model\":\"gpt-4o\"}",
            400,
            "missing_required_parameter",
        ),
        (
            KEY,
            "{\"model\":\"sim/cute\",\"messages\":[]}",
            400,
            "unknown_behaviour",
        ),
    ] {
        let got = verdict(ask(&sim, &request("/v1/chat/completions", fields, body)));
        assert_eq!(got, (status, code.to_owned()), "{fields} {body}");
    }
    let post = |path| verdict(ask(&sim, &request(path, KEY, "{}")));
    assert_eq!(post("/v1/chat"), (404, "unknown_url".to_owned()));
    assert_eq!(post("/v1/models"), (405, "method_not_supported".to_owned()));
}

/// Goal: models are listed and named; Azure's form takes the model from the path.
#[test]
fn models_and_deployments_are_found_by_their_path() {
    let sim = strict();
    let get = |path: &str| {
        ask(
            &sim,
            &format!("GET {path} HTTP/1.1\r\nhost: s\r\n{KEY}\r\n"),
        )
    };
    assert_eq!(json(&get("/v1/models").0)["data"][0]["id"], "gpt-4o");
    assert_eq!(json(&get("/v1/models/gpt-4o").0)["object"], "model");
    assert_eq!(verdict(get("/v1/models/gpt-5")).0, 404);
    let azure = "/openai/deployments/gpt-4o/chat/completions";
    let versioned = format!("{azure}?api-version=2024-10-21");
    for (path, status) in [(azure, 404), (versioned.as_str(), 200)] {
        let request = request(path, "api-key: sk-sim\r\n", "{\"messages\":[]}");
        assert_eq!(verdict(ask(&sim, &request)).0, status);
    }
}

/// Goal: header fields and the `user` field reach the keys as well; rules do, by model.
#[test]
fn every_layer_reaches_the_keys() {
    let mut config = Config::default();
    config.add_rule("flaky*", &[("status", "503")]).unwrap();
    let sim = start(config);
    let post = |fields: &str, body: &str| ask(&sim, &request("/chat/completions", fields, body)).0;
    let from_rule = "{\"model\":\"flaky-1\",\"messages\":[]}";
    assert!(post("", from_rule).starts_with("HTTP/1.1 503"));
    let from_field = post("X-Sim-Status: 429\r\n", from_rule);
    assert!(from_field.starts_with("HTTP/1.1 429"));
    let from_user = "{\"model\":\"m\",\"user\":\"sim/events-2\",\"messages\":[]}";
    assert_eq!(words(&post("", from_user)), 2);
    assert!(post("x-sim-nothing: 1\r\n", from_user).starts_with("HTTP/1.1 400"));
}

/// Goal: the dice choose who gets the fault; the others are answered.
#[test]
fn the_dice_choose_who_gets_the_fault() {
    let sim = start(Config::default());
    for _ in 0..40 {
        ask(&sim, &chat("sim/status-503/fail-rate-50", ""));
        ask(&sim, &chat("sim/status-503/fail-rate-0", ""));
    }
    let sums = || sim.stats.sums();
    await_that(|| sums().answered + sums().failed == 80); // counted once it is sent
    let sums = sums();
    assert!((8..=32).contains(&sums.failed), "{}", sums.failed);
}

/// Goal: bodies come chunked, with 100-continue and in pieces; old clients get a stream that
/// ends with the connection; what is no HTTP is refused.
#[test]
fn http_is_spoken_in_all_its_forms() {
    let head = "POST /v1/chat/completions HTTP/1.1\r\nhost: s\r\n";
    let json_body = "{\"model\":\"m\",\"messages\":[]}";
    let chunked = format!(
        "{head}transfer-encoding: chunked\r\n\r\n5\r\n{}\r\n{:x}\r\n{}\r\n0\r\n\r\n",
        &json_body[..5],
        json_body.len() - 5,
        &json_body[5..]
    );
    assert!(json(&ask(sim(), &chunked).0)["choices"].is_array());

    let mut link = connect(sim());
    let length = json_body.len();
    let asking = format!("{head}expect: 100-continue\r\ncontent-length: {length}\r\n\r\n");
    link.write_all(asking.as_bytes()).unwrap();
    let mut go_on = [0; 25];
    link.read_exact(&mut go_on).unwrap();
    assert_eq!(&go_on, b"HTTP/1.1 100 Continue\r\n\r\n");
    link.write_all(json_body.as_bytes()).unwrap();
    assert!(json(&one(&mut link).0)["choices"].is_array());

    let old = streamed("sim/events-2").replace("HTTP/1.1", "HTTP/1.0");
    let mut link = connect(sim());
    link.write_all(old.as_bytes()).unwrap();
    let (text, end) = all(&mut link);
    assert_eq!((field(&text, "transfer-encoding"), end), (None, None));
    assert!(body(&text).starts_with("data: ") && text.ends_with("data: [DONE]\n\n"));

    let mut link = connect(sim());
    link.write_all(b"NO HTTP\r\n\r\n").unwrap();
    link.shutdown(Shutdown::Write).unwrap();
    assert!(all(&mut link).0.starts_with("HTTP/1.1 400"));
}

/// Goal: embeddings as numbers and as base64.
#[test]
fn embeddings_come_in_both_codings() {
    let post = |more: &str| {
        let body = format!("{{\"model\":\"m\",\"input\":[\"a\",\"b\"],\"dimensions\":4{more}}}");
        json(&ask(sim(), &request("/v1/embeddings", "", &body)).0)
    };
    let numbers = post("");
    assert_eq!(numbers["data"][1]["embedding"].as_array().unwrap().len(), 4);
    // Four numbers of 0.5 or -0.5: 0000003f or 000000bf, little-endian.
    let coded = post(",\"encoding_format\":\"base64\"");
    assert_eq!(coded["data"][1]["embedding"], "AAAAPwAAAL8AAAA/AAAAPw==");
}
