//! The load generator against small servers of the test's own, on loopback and a free port.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may panic"
)]
#![expect(
    clippy::disallowed_methods,
    reason = "the server's stall is what is measured, so it must take real time"
)]

use clap::Parser;
use shardgate::load::{Args, Plan, Report, measure, run};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

#[derive(Debug, Parser)]
struct Line {
    #[command(flatten)]
    args: Args,
}

fn args(url: &str, line: &str) -> Args {
    let line = ["load", "--url", url].into_iter().chain(line.split(' '));
    Line::try_parse_from(line).unwrap().args
}

fn measured(url: &str, line: &str) -> Report {
    measure(&Plan::new(&args(url, line)).unwrap()).unwrap()
}

/// Reads one request; false when the peer has closed.
fn request(stream: &mut TcpStream) -> bool {
    let (mut bytes, mut block) = (Vec::new(), [0; 4096]);
    loop {
        let whole = memchr::memmem::find(&bytes, b"\r\n\r\n").is_some_and(|end| {
            let head = std::str::from_utf8(&bytes[..end]).unwrap();
            let length = head.split("content-length: ").nth(1).unwrap();
            let length: usize = length.split("\r\n").next().unwrap().parse().unwrap();
            bytes.len() == end + 4 + length
        });
        if whole {
            return true;
        }
        match stream.read(&mut block) {
            Ok(n) if n > 0 => bytes.extend_from_slice(&block[..n]),
            _ => return false,
        }
    }
}

/// Serves each connection on a thread: `answer` gets the stream and the number of the request
/// over all connections, and says whether the connection goes on.
fn serve(answer: impl Fn(&mut TcpStream, usize) -> bool + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (answer, number) = (Arc::new(answer), Arc::new(AtomicUsize::new(0)));
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (answer, number) = (answer.clone(), number.clone());
            thread::spawn(move || {
                let mut stream = stream.unwrap();
                stream.set_nodelay(true).unwrap();
                while request(&mut stream) {
                    if !answer(&mut stream, number.fetch_add(1, Ordering::Relaxed)) {
                        break;
                    }
                }
            });
        }
    });
    url
}

fn plain(stream: &mut TcpStream, status: u16) -> bool {
    let reply = format!("HTTP/1.1 {status} X\r\ncontent-length: 2\r\n\r\nok");
    stream.write_all(reply.as_bytes()).is_ok()
}

fn chunk(stream: &mut TcpStream, event: &str) {
    let chunk = format!("{:x}\r\ndata: {event}\n\n\r\n", event.len() + 8);
    // A test that cuts the stream does not care whether this still went out.
    let _gone = stream.write_all(chunk.as_bytes());
}

/// Opens a stream and sends `count` events of content, `every` apart.
fn events(stream: &mut TcpStream, count: usize, every: Duration) {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\
                transfer-encoding: chunked\r\n\r\n";
    stream.write_all(head.as_bytes()).unwrap();
    for index in 0..count {
        if index > 0 {
            thread::sleep(every);
        }
        chunk(stream, r#"{"choices":[{"delta":{"content":"word"}}]}"#);
    }
}

fn done(stream: &mut TcpStream) -> bool {
    chunk(stream, "[DONE]");
    stream.write_all(b"0\r\n\r\n").is_ok()
}

/// Goal: no coordinated omission. Method: a server that stalls 400 ms, once, at request 50 of a
/// run with one connection. The closed loop sees one slow request; the open loop at 200/s must
/// see all that were due while it stalled: 400 ms × 200/s = 80 of 200.
#[test]
fn one_stall_shows_in_the_open_loop_and_hides_in_the_closed_loop() {
    let stalls = || {
        serve(|stream, number| {
            if number == 50 {
                thread::sleep(Duration::from_millis(400));
            }
            plain(stream, 200)
        })
    };
    let closed = measured(&stalls(), "-c 1 -n 500");
    assert_eq!((closed.ok, closed.failed), (500, 0));
    let latency = closed.times("latency").unwrap();
    assert!(
        latency.max_us > 399_000.0 && latency.p99_us < 200_000.0,
        "{latency:?}"
    );

    let open = measured(&stalls(), "-c 1 -d 1s --rate 200");
    assert_eq!((open.ok, open.failed), (200, 0));
    let latency = open.times("latency").unwrap();
    assert!(latency.max_us > 399_000.0, "{latency:?}");
    assert!(latency.p75_us > 100_000.0, "{latency:?}"); // 0.25 × 200 of 80 delayed: ≥ 150 ms
    assert!(latency.p90_us > 250_000.0, "{latency:?}");
    let delay = open.times("send_delay").unwrap();
    assert!(delay.max_us > 380_000.0, "{delay:?}");
}

/// Goal: streams are counted whole or cut, with their events. Method: every third stream is
/// closed after three of five events, cleanly as TCP sees it.
#[test]
fn cut_streams_are_counted() {
    let url = serve(|stream, number| {
        if number % 3 == 2 {
            events(stream, 3, Duration::from_millis(1));
            let _gone = stream.shutdown(Shutdown::Both);
            return false;
        }
        events(stream, 5, Duration::from_millis(1));
        done(stream)
    });
    let report = measured(&url, "--streams 9 --ramp 50ms");
    assert_eq!((report.ok, report.failed), (6, 3));
    assert_eq!(report.errors[0].kind, "cut");
    assert_eq!(report.content_events, 6 * 5 + 3 * 3);
    assert_eq!(report.times("gap").unwrap().count, 6 * 4 + 3 * 2);
    assert_eq!(report.times("ttft").unwrap().count, 9);
}

/// Goal: a stream that ends its framing without its end mark, or says itself that it failed,
/// is not a success.
#[test]
fn a_stream_without_its_end_mark_is_no_success() {
    let url = serve(|stream, number| {
        events(stream, 2, Duration::ZERO);
        if number == 0 {
            return stream.write_all(b"0\r\n\r\n").is_ok();
        }
        chunk(stream, r#"{"error":{"message":"upstream failed"}}"#);
        done(stream)
    });
    let report = measured(&url, "-c 1 -n 2 --stream");
    let kinds: Vec<_> = report
        .errors
        .iter()
        .map(|e| (e.kind.as_str(), e.count))
        .collect();
    assert_eq!(kinds, [("cut", 1), ("error event", 1)]);
}

/// Goal: lateness is measured against the pace. Method: events 20 ms apart, one held back for
/// 100 ms.
#[test]
fn a_late_event_shows_as_lateness() {
    let url = serve(|stream, _| {
        events(stream, 4, Duration::from_millis(20));
        thread::sleep(Duration::from_millis(120));
        for _ in 0..4 {
            chunk(stream, r#"{"choices":[{"delta":{"content":"x"}}]}"#);
            thread::sleep(Duration::from_millis(20));
        }
        done(stream)
    });
    let report = measured(&url, "--streams 2 --ramp 1ms --event-interval 20ms");
    assert_eq!((report.ok, report.failed, report.open_peak), (2, 0, 2));
    let late = report.times("lateness").unwrap();
    assert_eq!(late.count, 16);
    assert!((95_000.0..400_000.0).contains(&late.max_us), "{late:?}");
}

/// Goal: each kind of failure has its name.
#[test]
fn failures_are_told_apart() {
    let url = serve(|stream, number| match number {
        0 => plain(stream, 429),
        1 => stream.write_all(b"SMTP hello\r\n").is_err(),
        2 => {
            thread::sleep(Duration::from_millis(700));
            false
        }
        3 => stream
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nok")
            .is_err(),
        _ => plain(stream, 200),
    });
    let report = measured(&url, "-c 1 -n 5 --timeout 200ms");
    let mut kinds: Vec<_> = report.errors.iter().map(|e| e.kind.as_str()).collect();
    kinds.sort_unstable();
    assert_eq!(kinds, ["cut", "malformed", "status 429", "timeout"]);
    assert_eq!(report.ok, 1);

    let closed = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", closed.local_addr().unwrap());
    drop(closed);
    let report = measured(&url, "-c 2 -n 4");
    assert_eq!(
        (report.errors[0].kind.as_str(), report.errors[0].count),
        ("connect", 4)
    );
}

/// Goal: a server that closes idle connections causes no errors. Method: it answers and then
/// closes without saying so.
#[test]
fn a_connection_closed_while_idle_is_no_error() {
    let url = serve(|stream, _| {
        plain(stream, 200);
        false
    });
    let report = measured(&url, "-c 2 -n 20");
    assert_eq!((report.ok, report.failed, report.connects), (20, 0, 20));
}

/// Goal: the files are well-formed and complete. Method: JSON is parsed; the page's tags are
/// matched, and it refers to nothing outside itself.
#[test]
fn json_and_html_are_well_formed() {
    let url = serve(|stream, number| {
        if number == 7 {
            return plain(stream, 503);
        }
        events(stream, 3, Duration::from_millis(2));
        done(stream)
    });
    let folder = tempfile::tempdir().unwrap();
    let (json, html) = (folder.path().join("r.json"), folder.path().join("r.html"));
    let mut args = args(&url, "-c 4 -n 40 --stream --model <&\"m");
    (args.json, args.html) = (Some(json.clone()), Some(html.clone()));
    assert_eq!(run(&args), Err("1 requests failed".into()));

    let report: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(json).unwrap()).unwrap();
    assert_eq!(report["ok"], 39);
    assert_eq!(report["errors"][0]["kind"], "status 503");
    assert_eq!(report["content_events"], 39 * 3);
    let times: Vec<_> = report["times"]
        .as_array()
        .unwrap()
        .iter()
        .map(|t| &t["name"])
        .collect();
    assert_eq!(times, ["latency", "ttft", "gap"]);

    let page = std::fs::read_to_string(html).unwrap();
    assert_eq!(balanced(&page), Ok(3), "three plots");
    for outside in ["http:", "https:", "src=", "<link", "@import", "url("] {
        assert!(!page.contains(outside), "{outside}");
    }
    assert!(page.contains("prefers-color-scheme: dark") && page.contains("&lt;&amp;&quot;m"));
    assert!(!page.contains("NaN") && !page.contains("inf"));
}

/// Whether all tags of `page` are closed in order; the number of plots in it.
fn balanced(page: &str) -> Result<usize, String> {
    let (mut open, mut plots) = (Vec::new(), 0);
    for tag in page.split('<').skip(1) {
        let tag = tag.split('>').next().unwrap();
        let name = tag
            .trim_start_matches('/')
            .split([' ', '/'])
            .next()
            .unwrap();
        if tag.starts_with('/') {
            if open.pop() != Some(name) {
                return Err(format!("</{name}> closes something else"));
            }
        } else if !tag.starts_with('!') && !tag.ends_with('/') {
            open.push(name);
        }
        plots += usize::from(tag.starts_with("svg"));
    }
    if open.is_empty() {
        Ok(plots)
    } else {
        Err(format!("left open: {open:?}"))
    }
}
