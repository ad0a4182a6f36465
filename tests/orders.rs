//! Reload and drain of a running gateway: the real program, real sockets, real signals.
//!
//! ```text
//!   shardgate load ──► shardgate serve ──► shardgate simulate
//!                       ▲ SIGHUP, POST /api/reload, SIGTERM, SIGINT
//! ```
//!
//! `RELOADS=100` and `DRAINS=10` do so many; without them there are fewer.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may panic"
)]
#![expect(
    clippy::disallowed_methods,
    reason = "processes are waited for in real time"
)]

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// A config with a fault in line 5, column 25, and without providers.
const BAD: &str =
    "[server]\nlisten = [\"127.0.0.1:0\"]\n\n[models.m]\ntargets = [{ provider = \"nobody\" }]\n";

/// How long anything may take that should come at once.
const PATIENCE: Duration = Duration::from_secs(30);

/// A process of the program, ended when the test ends.
struct Process {
    child: Child,
    lines: Receiver<String>,
    seen: Vec<String>,
}

impl Drop for Process {
    fn drop(&mut self) {
        // It has ended already where a test waits for it.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Process {
    fn start(arguments: &[&str], is_stderr: bool) -> Self {
        let (piped, other) = (Stdio::piped(), Stdio::inherit());
        let (out, err) = if is_stderr {
            (Stdio::null(), piped)
        } else {
            (piped, other)
        };
        let mut child = Command::new(env!("CARGO_BIN_EXE_shardgate"))
            .args(arguments)
            .env("ORDERS_KEY", "sk-orders")
            .stdout(out)
            .stderr(err)
            .spawn()
            .unwrap();
        let pipe: Box<dyn Read + Send> = if is_stderr {
            Box::new(child.stderr.take().unwrap())
        } else {
            Box::new(child.stdout.take().unwrap())
        };
        let (sender, lines) = channel();
        drop(thread::spawn(move || {
            for line in BufReader::new(pipe).lines() {
                if sender.send(line.unwrap()).is_err() {
                    return;
                }
            }
        }));
        Self {
            child,
            lines,
            seen: Vec::new(),
        }
    }

    /// The next line that has `what`.
    fn line(&mut self, what: &str) -> String {
        loop {
            let line = self.lines.recv_timeout(PATIENCE);
            let line = line.unwrap_or_else(|_| panic!("no line with {what}: {:?}", self.seen));
            self.seen.push(line.clone());
            if line.contains(what) {
                return line;
            }
        }
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.child.id().try_into().unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// Its exit code.
    fn ended(&mut self, within: Duration) -> i32 {
        let until = Instant::now() + within;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                self.seen.extend(self.lines.iter());
                return status.code().unwrap_or(-1);
            }
            assert!(Instant::now() < until, "it runs on: {:?}", self.seen);
            thread::sleep(Duration::from_millis(10));
        }
    }
}

/// A provider, a gateway before it, and the file of the gateway.
struct Scene {
    provider: String,
    gateway: Process,
    url: String,
    admin: String,
    folder: TempDir,
    _simulated: Process,
}

impl Scene {
    fn new(extra: &str) -> Self {
        let mut simulated = Process::start(
            &["simulate", "--listen", "127.0.0.1:0", "--shards", "1"],
            false,
        );
        let line = simulated.line("listening on ");
        let provider = line.rsplit(' ').next().unwrap().to_owned();
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("gate.toml");
        std::fs::write(&file, config(&provider, 1, extra)).unwrap();
        let path = file.to_str().unwrap();
        let mut gateway = Process::start(&["serve", "--config", path], true);
        let said: Value = serde_json::from_str(&gateway.line("listening on ")).unwrap();
        let said = said["message"].as_str().unwrap().replace([',', ';'], " ");
        let words: Vec<_> = said.split_whitespace().collect();
        let after = |word: &str, by: usize| {
            words[words.iter().position(|w| *w == word).unwrap() + by].to_owned()
        };
        Self {
            url: format!("http://{}", after("on", 1)),
            admin: after("admin", 2),
            provider,
            gateway,
            folder,
            _simulated: simulated,
        }
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("gate.toml")
    }

    fn write(&self, text: &str) {
        std::fs::write(self.file(), text).unwrap();
    }

    fn admin(&self, request: &str) -> (u16, String) {
        ask(&self.admin, request)
    }

    fn status(&self) -> Value {
        let (status, body) = self.admin("GET /api/status");
        assert_eq!(status, 200);
        serde_json::from_str(&body).unwrap()
    }

    fn reload(&self) -> (u16, Value) {
        let (status, body) = self.admin("POST /api/reload");
        (status, serde_json::from_str(&body).unwrap())
    }

    /// The sum of a number over the shards.
    fn total(&self, name: &str) -> u64 {
        let status = self.status();
        let shards = status["shards"].as_array().unwrap().iter();
        shards.map(|shard| shard[name].as_u64().unwrap()).sum()
    }

    fn wait_until(&self, what: &str, is_so: impl Fn() -> bool) {
        let until = Instant::now() + PATIENCE;
        while !is_so() {
            let (late, status) = (Instant::now() > until, self.status());
            assert!(!late, "never {what}: {status:#}\n{:?}", self.gateway.seen);
            thread::sleep(Duration::from_millis(10));
        }
    }

    fn load(&self, more: &str) -> Process {
        let arguments = ["load", "--url", &self.url].into_iter();
        let arguments: Vec<_> = arguments.chain(more.split(' ')).collect();
        Process::start(&arguments, false)
    }

    /// The last line of the log: exchanges, receipts, cut.
    fn stopped(&self) -> [u64; 3] {
        let seen = &self.gateway.seen;
        let line = seen.iter().find(|line| line.contains("stopped: ")).unwrap();
        let digits = line.split(|c: char| !c.is_ascii_digit());
        let numbers: Vec<_> = digits.filter_map(|n| n.parse().ok()).collect();
        numbers.try_into().unwrap()
    }
}

/// One request to an address that closes after it: status and body.
fn ask(at: &str, request: &str) -> (u16, String) {
    let mut link = TcpStream::connect(at).unwrap();
    link.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(
        link,
        "{request} HTTP/1.1\r\nhost: t\r\nconnection: close\r\n\r\n"
    )
    .unwrap();
    let mut answer = String::new();
    link.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head[9..12].parse().unwrap(), body.to_owned())
}

/// A good config; each `number` is another one.
fn config(provider: &str, number: usize, extra: &str) -> String {
    let mut text = format!(
        "[server]\nlisten = [\"127.0.0.1:0\"]\nadmin = \"127.0.0.1:0\"\nshards = 2\n{extra}\n\
         [providers.local]\ndialect = \"openai\"\nbase_url = \"http://{provider}/v1\"\n\
         pool = {{ idle = \"{}s\" }}\n",
        20 + number % 3
    );
    // Every other one knows a second provider and asks it for a share.
    let mut targets = format!("{{ provider = \"local\", weight = {} }}", 1 + number % 5);
    if number.is_multiple_of(2) {
        writeln!(
            text,
            "[providers.other-{number}]\ndialect = \"openai\"\nbase_url = \"http://{provider}/v1\""
        )
        .unwrap();
        write!(targets, ", {{ provider = \"other-{number}\" }}").unwrap();
    }
    writeln!(text, "[models.\"*\"]\ntargets = [{targets}]").unwrap();
    text
}

fn count(variable: &str, default: usize) -> usize {
    let given = std::env::var(variable).ok();
    given.map_or(default, |given| given.parse().unwrap())
}

/// One bad reload, then a good one: number 2 makes epoch 2.
fn reload_twice(scene: &Scene, number: usize) {
    scene.write(BAD);
    let (status, body) = scene.reload();
    assert_eq!(
        (status, &body["epoch"]),
        (400, &Value::from(number - 1)),
        "{body}"
    );
    let faults = body["error"]["faults"].as_array().unwrap();
    let fault = faults.last().unwrap();
    let place = (&fault["line"], &fault["column"]);
    assert_eq!(place, (&5.into(), &25.into()), "{body}");
    assert!(fault["file"].as_str().unwrap().ends_with("gate.toml"));
    scene.write(&config(&scene.provider, number, ""));
    let epoch = u64::try_from(number).unwrap();
    if number.is_multiple_of(2) {
        let (status, body) = scene.reload();
        assert_eq!(
            (status, &body["epoch"]),
            (200, &Value::from(epoch)),
            "{body}"
        );
    } else {
        scene.gateway.signal(Signal::HUP);
        scene.wait_until("reloaded", || scene.status()["config"]["epoch"] == epoch);
    }
    let status = scene.status();
    for shard in status["shards"].as_array().unwrap() {
        assert_eq!(shard["epoch"], epoch);
    }
    assert_eq!(status["config"]["last_reload"]["result"], "done");
    assert_eq!(status["config"]["last_error"]["result"], "bad");
}

/// Goal: reloads under load break nothing, and a bad config among them each time is refused,
/// says why with its place and changes nothing. Method: an open loop and 200 streams through
/// all of them; by turns over the admin plane and by SIGHUP.
#[test]
fn reloads_under_load_break_nothing() {
    let reloads = count("RELOADS", 10);
    let mut scene = Scene::new("");
    let seconds = 6 + reloads / 5;
    let events = 10 * seconds;
    let mut streams = scene.load(&format!(
        "--streams 200 --duration {seconds}s --ramp 1s --model sim/rate-10/events-{events}"
    ));
    let mut open = scene.load(&format!(
        "--rate 100 --duration {seconds}s --model sim/ttft-5ms/events-5"
    ));
    scene.wait_until("200 streams", || scene.total("streams_open") >= 200);
    for number in 2..reloads + 2 {
        reload_twice(&scene, number);
    }
    assert!(
        scene.total("streams_open") >= 200,
        "all streams lived through all reloads"
    );
    for (name, load) in [("streams", &mut streams), ("open", &mut open)] {
        let code = load.ended(PATIENCE * 4);
        println!("{name}: {}", load.seen.join("\n"));
        assert_eq!(code, 0, "{name} had errors");
    }
    let (_, metrics) = scene.admin("GET /metrics");
    for (result, count) in [("done", reloads), ("bad", reloads), ("refused", 0)] {
        let line = format!("shardgate_reloads_total{{result=\"{result}\"}} {count}\n");
        assert!(metrics.contains(&line), "{line}{metrics}");
    }
    assert!(metrics.contains(&format!("shardgate_config_epoch {}\n", reloads + 1)));
    // Counters went on: nothing began at zero again, and the names stayed.
    let requests = metrics
        .lines()
        .filter(|l| l.starts_with("shardgate_requests_total"));
    let requests: Vec<_> = requests.collect();
    assert_eq!(
        requests.len(),
        1,
        "all of one model and status: {requests:?}"
    );
    scene.gateway.signal(Signal::TERM);
    assert_eq!(scene.gateway.ended(PATIENCE), 0);
    let [exchanges, receipts, cut] = scene.stopped();
    assert_eq!((exchanges, cut), (receipts, 0));
    println!("{reloads} reloads: {exchanges} exchanges, {receipts} receipts, {cut} cut off");
}

/// Goal: a stream that outlives the configuration it began with is served to its end by it,
/// also when its provider is gone from the file; new requests see the new one; secrets are read
/// again. Method: the model is asked for, removed, asked for again.
#[test]
fn a_stream_outlives_its_configuration() {
    let scene = Scene::new("");
    let secret = scene.folder.path().join("secret");
    std::fs::write(&secret, "first-secret").unwrap();
    let keys = format!(
        "[[keys]]\nname = \"k\"\nsecret = {{ file = \"{}\" }}\n",
        secret.display()
    );
    let with_keys = config(&scene.provider, 1, "") + &keys;
    scene.write(&with_keys);
    assert_eq!(scene.reload().0, 200);
    let at = scene.url.strip_prefix("http://").unwrap();
    let request = |key: &str, model: &str| {
        let body = format!(
            "{{\"model\":\"{model}\",\"stream\":true,\"messages\":[{{\"role\":\"user\",\"content\":\"x\"}}]}}"
        );
        let mut link = TcpStream::connect(at).unwrap();
        link.set_read_timeout(Some(PATIENCE)).unwrap();
        write!(
            link,
            "POST /v1/chat/completions HTTP/1.1\r\nhost: t\r\nauthorization: Bearer {key}\r\n\
             content-type: application/json\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )
        .unwrap();
        link
    };
    let all = |mut link: TcpStream| {
        let mut answer = String::new();
        link.read_to_string(&mut answer).unwrap();
        answer
    };
    let held = request("first-secret", "sim/rate-10/events-20");
    scene.wait_until("a stream", || scene.total("streams_open") == 1);
    std::fs::write(&secret, "second-secret").unwrap();
    let gone = with_keys.replace("providers.local", "providers.moved");
    scene.write(&gone.replace("provider = \"local\"", "provider = \"moved\""));
    let (status, body) = scene.reload();
    assert_eq!(status, 200, "{body}");
    assert!(
        body["changes"]
            .as_str()
            .unwrap()
            .contains("1 provider removed"),
        "{body}"
    );
    let refused = all(request("first-secret", "sim/events-2"));
    assert!(refused.starts_with("HTTP/1.1 401"), "{refused}");
    let fresh = all(request("second-secret", "sim/events-2"));
    assert!(fresh.contains("x-shardgate-target: moved\r\n"), "{fresh}");
    let old = all(held);
    assert!(old.contains("x-shardgate-target: local\r\n"), "{old}");
    assert!(
        old.contains("[DONE]") && old.matches("data: ").count() >= 21,
        "{old}"
    );
}

/// Goal: what cannot change while the process runs is refused by name, and nothing changes; the
/// admin plane says how it wants to be asked.
#[test]
fn what_needs_a_restart_is_refused() {
    let mut scene = Scene::new("");
    let other = config(&scene.provider, 1, "").replace("shards = 2", "shards = 1");
    scene.write(&other.replace("listen = [\"127.0.0.1:0\"]", "listen = [\"[::1]:0\"]"));
    let (status, body) = scene.reload();
    let message = body["error"]["message"].as_str().unwrap();
    assert_eq!(status, 409);
    assert!(
        message.contains("server.listen, server.shards"),
        "{message}"
    );
    let said = scene.gateway.line("not reloaded");
    assert!(said.contains("epoch 1 stays in force"), "{said}");
    assert_eq!(scene.admin("GET /api/reload").0, 405);
    std::fs::remove_file(scene.file()).unwrap();
    let (status, body) = scene.reload();
    assert_eq!(status, 400, "{body}");
    assert!(
        body["error"]["message"]
            .as_str()
            .unwrap()
            .contains("cannot be read")
    );
    assert_eq!(scene.status()["config"]["epoch"], 1);
}

/// Goal: SIGTERM lets every stream that fits run to its end; nothing is cut; receipts equal
/// exchanges; the exit code is 0. Method: SIGTERM in the middle of 60 streams, by turns
/// on the ring and by readiness.
#[test]
fn a_drain_completes_every_stream_that_fits() {
    for round in 0..count("DRAINS", 2) {
        let sockets = ["auto", "poll"][round % 2];
        let mut scene = Scene::new(&format!("sockets = \"{sockets}\""));
        let mut streams = scene.load(
            "--streams 60 --requests 60 --ramp 300ms --duration 10s --model sim/rate-20/events-40",
        );
        scene.wait_until("60 streams", || scene.total("streams_open") == 60);
        let at = scene.url.strip_prefix("http://").unwrap().to_owned();
        scene.gateway.signal(Signal::TERM);
        scene.gateway.line("draining");
        scene.wait_until("not ready", || scene.admin("GET /readyz").0 == 503);
        let until = Instant::now() + PATIENCE;
        while TcpStream::connect(&at).is_ok() {
            assert!(Instant::now() < until, "the listeners stay open");
            thread::sleep(Duration::from_millis(10));
        }
        assert!(scene.total("streams_open") > 0, "the streams run on");
        assert_eq!(streams.ended(PATIENCE), 0, "{:?}", streams.seen);
        assert_eq!(scene.gateway.ended(PATIENCE), 0, "{:?}", scene.gateway.seen);
        let [exchanges, receipts, cut] = scene.stopped();
        assert_eq!([exchanges, receipts, cut], [60, 60, 0]);
        println!("drain {round}: {exchanges} exchanges, {receipts} receipts, {cut} cut off");
    }
}

/// A gateway with three streams and a plain request that take a minute; how it ends when `stop`
/// was done to it: what the clients got, and how long it took.
fn cut_off(extra: &str, stop: impl FnOnce(&mut Scene)) -> (Vec<String>, Duration) {
    let mut scene = Scene::new(extra);
    let at = scene.url.strip_prefix("http://").unwrap().to_owned();
    let mut links = Vec::new();
    for stream in [true, true, true, false] {
        let how = if stream {
            "rate-10/events-600"
        } else {
            "ttft-60s"
        };
        let body = format!(
            "{{\"model\":\"sim/{how}\",\"stream\":{stream},\"messages\":[{{\"role\":\"user\",\"content\":\"x\"}}]}}"
        );
        let mut link = TcpStream::connect(&at).unwrap();
        link.set_read_timeout(Some(PATIENCE)).unwrap();
        write!(
            link,
            "POST /v1/chat/completions HTTP/1.1\r\nhost: t\r\ncontent-type: application/json\r\n\
             content-length: {}\r\n\r\n{body}",
            body.len()
        )
        .unwrap();
        links.push(link);
    }
    scene.wait_until("4 exchanges", || scene.total("exchanges_open") == 4);
    let mut first = [0; 1];
    for link in &mut links[..3] {
        assert_eq!(link.read(&mut first).unwrap(), 1, "the stream has begun");
    }
    let began = Instant::now();
    stop(&mut scene);
    let read = |mut link: TcpStream| {
        let mut answer = String::new();
        link.read_to_string(&mut answer).unwrap();
        answer
    };
    let answers = links.into_iter().map(read).collect();
    assert_eq!(scene.gateway.ended(PATIENCE), 1, "{:?}", scene.gateway.seen);
    assert_eq!(scene.stopped(), [4, 4, 4]);
    (answers, began.elapsed())
}

/// Streams end with the error event and their last chunk, without `[DONE]`; plain requests with
/// an error of their own.
fn are_told(answers: &[String]) {
    for answer in &answers[..3] {
        assert!(answer.contains("\"code\":\"shut_down\""), "{answer}");
        assert!(answer.ends_with("\r\n0\r\n\r\n"), "{answer}");
        assert!(!answer.contains("[DONE]"), "{answer}");
    }
    let plain = &answers[3];
    assert!(plain.starts_with("HTTP/1.1 503 "), "{plain}");
    assert!(plain.contains("x-shardgate-code: shut_down\r\n"), "{plain}");
    assert!(plain.contains("connection: close\r\n"), "{plain}");
}

/// Goal: what outlives `timeouts.drain` is told so in its protocol, counted, and the exit code
/// says it.
#[test]
fn what_outlives_the_drain_ends_with_an_error() {
    let extra = "[timeouts]\ndrain = \"700ms\"\ntotal = \"5m\"\nfirst_token = \"2m\"\n";
    let (answers, took) = cut_off(extra, |scene| scene.gateway.signal(Signal::TERM));
    are_told(&answers);
    assert!((700..6000).contains(&took.as_millis()), "{took:?}");
}

/// Goal: a second SIGTERM does not wait for the drain's end.
#[test]
fn a_second_sigterm_hurries() {
    let (answers, took) = cut_off("", |scene| {
        scene.gateway.signal(Signal::TERM);
        scene.gateway.line("draining");
        scene.gateway.signal(Signal::TERM);
    });
    are_told(&answers);
    assert!(took < Duration::from_secs(6), "{took:?}");
}

/// Goal: neither does SIGINT.
#[test]
fn sigint_drains_fast() {
    let (answers, took) = cut_off("", |scene| scene.gateway.signal(Signal::INT));
    are_told(&answers);
    assert!(took < Duration::from_secs(6), "{took:?}");
}

/// Goal: an idle gateway with idle clients ends at once, and they see the end.
#[test]
fn idle_connections_do_not_hold_a_drain_up() {
    let mut scene = Scene::new("");
    let at = scene.url.strip_prefix("http://").unwrap().to_owned();
    let mut links = Vec::new();
    for _ in 0..8 {
        let mut link = TcpStream::connect(&at).unwrap();
        link.set_read_timeout(Some(PATIENCE)).unwrap();
        write!(link, "GET /livez HTTP/1.1\r\nhost: t\r\n\r\n").unwrap();
        let mut block = [0; 1024];
        let got = link.read(&mut block).unwrap();
        assert!(block[..got].starts_with(b"HTTP/1.1 200"));
        links.push(link);
    }
    let began = Instant::now();
    scene.gateway.signal(Signal::TERM);
    assert_eq!(scene.gateway.ended(PATIENCE), 0);
    assert!(
        began.elapsed() < Duration::from_millis(2500),
        "{:?}",
        began.elapsed()
    );
    for mut link in links {
        assert_eq!(link.read(&mut [0; 1]).unwrap_or(0), 0);
    }
    assert_eq!(scene.stopped(), [8, 8, 0]);
}

/// Goal: a name is resolved to all its addresses, and one that refuses is left behind the
/// others. Method: the provider's name is `localhost`, which the hosts file knows.
#[test]
fn a_name_of_the_hosts_file_is_used() {
    let scene = Scene::new("");
    let port = scene.provider.rsplit(':').next().unwrap();
    let named = config(&format!("localhost:{port}"), 1, "");
    scene.write(&named);
    let (status, body) = scene.reload();
    assert_eq!(status, 200, "{body}");
    let mut load = scene.load("--requests 50 --duration 10s --connections 4 --model sim/events-2");
    assert_eq!(load.ended(PATIENCE), 0, "{:?}", load.seen);
    let status = scene.status();
    let pool = &status["shards"][0]["pools"][0];
    assert!(pool["addresses"].as_u64().unwrap() >= 1, "{status:#}");
}
