//! What a bare proxy costs on each host: one connection in, one connection out, CPU
//! microseconds per request.
//!
//! ```text
//!   this process, CPU 1          child process, CPU 0
//!   load  ──── 500 bytes ─────►  proxy ──── 500 bytes ────► origin (CPU 1)
//!         ◄─── 1,000 bytes ────        ◄─── 1,000 bytes ───
//! ```
//!
//! `ring_proxy bench [seconds] [rounds] [connections…]` measures all hosts in turn, several
//! times, and prints medians, the ratios to the first one pair by pair. `PROXIES`, a list of
//! `name=address=pid` with commas between, adds proxies that run already (their upstream is
//! 127.0.0.1:19100, and they must send `Host: bench` on, so that lengths stay the same);
//! `ONLY`, a list of names, leaves the others out.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::indexing_slicing,
    clippy::cast_precision_loss,
    reason = "a measuring program may stop at any fault, and prints what it measured"
)]

use shardgate::base::bufpool::BufPool;
use shardgate::base::bytes::{RxBuf, TxBuf};
use shardgate::host::ring::Ring;
use shardgate::host::uring::Uring;
use shardgate::host::{Host, clock, flush, launch, read};
use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::rc::Rc;
use std::time::Duration;

const REQUEST: usize = 500;
const REPLY: usize = 1_000;

fn message(first: &str, size: usize) -> Vec<u8> {
    let head = format!("{first}\r\nHost: bench\r\nContent-Length: ");
    let body = size - head.len() - 3 - 4;
    let mut bytes = format!("{head}{body}\r\n\r\n").into_bytes();
    bytes.resize(size, b'x');
    bytes
}

/// Moves `size` bytes from one link to the other as they come.
async fn forward<L: shardgate::host::Link>(
    from: &mut L,
    to: &mut L,
    rx: &mut RxBuf,
    tx: &mut TxBuf,
    size: usize,
) -> bool {
    let mut left = size;
    while left > 0 {
        match read(from, rx).await {
            Ok(0) | Err(_) => return false,
            Ok(got) => left -= got,
        }
        tx.put(rx.data());
        rx.clear();
        if flush(to, tx).await.is_err() {
            return false;
        }
    }
    true
}

async fn proxy<H: Host>(host: H, at: SocketAddr, to: SocketAddr) {
    let pool = BufPool::new();
    let listener = host.listen(at).unwrap();
    loop {
        let mut down = host.accept(&listener).await.unwrap();
        let (host2, pool) = (host.clone(), pool.clone());
        host.spawn(async move {
            let mut up = host2.connect(to).await.unwrap();
            let (mut rx, mut tx) = (RxBuf::new(&pool), TxBuf::new(&pool));
            while forward(&mut down, &mut up, &mut rx, &mut tx, REQUEST).await
                && forward(&mut up, &mut down, &mut rx, &mut tx, REPLY).await
            {}
        });
    }
}

async fn origin<H: Host>(host: H, at: SocketAddr) {
    let pool = BufPool::new();
    let listener = host.listen(at).unwrap();
    let reply = Rc::new(message("HTTP/1.1 200 OK", REPLY));
    loop {
        let mut link = host.accept(&listener).await.unwrap();
        let (pool, reply) = (pool.clone(), Rc::clone(&reply));
        host.spawn(async move {
            let (mut rx, mut tx) = (RxBuf::new(&pool), TxBuf::new(&pool));
            loop {
                while rx.len() < REQUEST {
                    if !matches!(read(&mut link, &mut rx).await, Ok(1..)) {
                        return;
                    }
                }
                rx.consume(REQUEST);
                tx.put(&reply);
                if flush(&mut link, &mut tx).await.is_err() {
                    return;
                }
            }
        });
    }
}

#[derive(Default)]
struct Tally {
    running: Cell<bool>,
    done: Cell<u64>,
    nanos: RefCell<Vec<u64>>,
    open: Cell<usize>,
}

async fn client<H: Host>(host: H, to: SocketAddr, tally: Rc<Tally>) {
    let pool = BufPool::new();
    let request = message("POST / HTTP/1.1", REQUEST);
    let mut link = host.connect(to).await.unwrap();
    tally.open.set(tally.open.get() + 1);
    let (mut rx, mut tx) = (RxBuf::new(&pool), TxBuf::new(&pool));
    while tally.running.get() {
        let began = clock::now();
        tx.put(&request);
        flush(&mut link, &mut tx).await.unwrap();
        let mut expected = REPLY;
        while rx.len() < expected {
            assert!(read(&mut link, &mut rx).await.unwrap() > 0);
            // Another proxy may add fields: take the length from the reply.
            if let Some(end) = rx.data().windows(4).position(|w| w == b"\r\n\r\n") {
                expected = end + 4 + REPLY
                    - message("HTTP/1.1 200 OK", REPLY)
                        .windows(4)
                        .position(|w| w == b"\r\n\r\n")
                        .unwrap()
                    - 4;
            }
        }
        rx.clear();
        tally.done.set(tally.done.get() + 1);
        tally
            .nanos
            .borrow_mut()
            .push(u64::try_from(clock::now().since(began).as_nanos()).unwrap());
    }
    tally.open.set(tally.open.get() - 1);
}

/// CPU nanoseconds of all threads of a process.
fn cpu_nanos(pid: u32) -> u64 {
    std::fs::read_dir(format!("/proc/{pid}/task"))
        .unwrap()
        .filter_map(|task| std::fs::read_to_string(task.unwrap().path().join("schedstat")).ok())
        .filter_map(|line| line.split(' ').next().and_then(|n| n.parse::<u64>().ok()))
        .sum()
}

struct Proxy {
    name: String,
    at: SocketAddr,
    pid: u32,
    child: Option<Child>,
}

fn children(to: SocketAddr) -> Vec<Proxy> {
    let mut port = 19_100;
    let own = ["glommio", "ring"].map(|name| {
        port += 1;
        let at: SocketAddr = ([127, 0, 0, 1], port).into();
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["proxy", name, &at.to_string(), &to.to_string()])
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let pid = child.id();
        Proxy {
            name: name.to_owned(),
            at,
            pid,
            child: Some(child),
        }
    });
    let others = std::env::var("PROXIES").unwrap_or_default();
    let others = others
        .split(',')
        .filter(|text| !text.is_empty())
        .map(|text| {
            let parts: Vec<_> = text.split('=').collect();
            Proxy {
                name: parts[0].to_owned(),
                at: parts[1].parse().unwrap(),
                pid: parts[2].parse().unwrap(),
                child: None,
            }
        });
    let only = std::env::var("ONLY").unwrap_or_default();
    let mut all: Vec<Proxy> = own.into_iter().chain(others).collect();
    if !only.is_empty() {
        all.retain_mut(|proxy| {
            let keep = only.split(',').any(|name| name == proxy.name);
            if !keep && let Some(child) = &mut proxy.child {
                child.kill().unwrap();
            }
            keep
        });
    }
    all
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// One window: CPU µs per request, requests per second, p50 in µs.
async fn window<H: Host>(host: &H, proxy: &Proxy, connections: usize, seconds: f64) -> [f64; 3] {
    let tally = Rc::new(Tally::default());
    tally.running.set(true);
    for _ in 0..connections {
        host.spawn(client(host.clone(), proxy.at, Rc::clone(&tally)));
    }
    host.sleep_until(host.now() + Duration::from_millis(300))
        .await;
    let (cpu, done, began) = (cpu_nanos(proxy.pid), tally.done.get(), host.now());
    tally.nanos.borrow_mut().clear();
    host.sleep_until(host.now() + Duration::from_secs_f64(seconds))
        .await;
    let cpu = cpu_nanos(proxy.pid) - cpu;
    let done = (tally.done.get() - done) as f64;
    let took = host.now().since(began).as_secs_f64();
    let p50 = median(tally.nanos.borrow().iter().map(|&n| n as f64).collect());
    tally.running.set(false);
    while tally.open.get() > 0 {
        host.sleep_until(host.now() + Duration::from_millis(5))
            .await;
    }
    [cpu as f64 / 1e3 / done, done / took, p50 / 1e3]
}

async fn bench(arguments: Vec<String>) {
    let number = |at: usize, or: usize| arguments.get(at).map_or(or, |n| n.parse().unwrap());
    let (seconds, rounds) = (number(0, 2), number(1, 3));
    let mut connections: Vec<usize> = arguments
        .iter()
        .skip(2)
        .map(|n| n.parse().unwrap())
        .collect();
    if connections.is_empty() {
        connections = vec![1, 8, 64, 256];
    }
    let host = Ring::start().unwrap();
    let to: SocketAddr = ([127, 0, 0, 1], 19_100).into();
    host.spawn(origin(host.clone(), to));
    let mut proxies = children(to);
    host.sleep_until(host.now() + Duration::from_millis(500))
        .await;
    println!("connections  host        cpu µs/req   ratio    req/s   p50 µs");
    for count in connections {
        let mut all = vec![Vec::new(); proxies.len()];
        for _ in 0..rounds {
            for (proxy, results) in proxies.iter().zip(&mut all) {
                results.push(window(&host, proxy, count, seconds as f64).await);
            }
        }
        for (proxy, results) in proxies.iter().zip(&all) {
            let column = |i: usize| median(results.iter().map(|r| r[i]).collect());
            let ratio = median(
                results
                    .iter()
                    .zip(&all[0])
                    .map(|(a, b)| a[0] / b[0])
                    .collect(),
            );
            println!(
                "{count:>11}  {:<10} {:>10.2} {ratio:>8.2} {:>8.0} {:>8.0}",
                proxy.name,
                column(0),
                column(1),
                column(2)
            );
        }
    }
    for proxy in &mut proxies {
        if let Some(child) = &mut proxy.child {
            child.kill().unwrap();
        }
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let role = arguments.first().map_or("bench", String::as_str).to_owned();
    let cpu = usize::from(role != "proxy");
    let running = launch::start("bench", Some(cpu), move || async move {
        if role != "proxy" {
            return bench(arguments.into_iter().skip(1).collect()).await;
        }
        let (at, to) = (arguments[2].parse().unwrap(), arguments[3].parse().unwrap());
        match arguments[1].as_str() {
            "glommio" => proxy(Uring, at, to).await,
            _ => proxy(Ring::start().unwrap(), at, to).await,
        }
    });
    running.unwrap().join().unwrap();
}
