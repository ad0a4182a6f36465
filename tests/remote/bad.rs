//! Servers that a test plays: what they send is cut anywhere, is no reply, is nobody's reply, or
//! never ends.

use super::*;
use shardgate::stats::remote::{Event, Get};
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};

/// How a played server answers one command, after those that make a connection ready.
type Play = fn(u64, &str) -> Vec<u8>;

/// The name of the command at the beginning of `data`, and its length; `None` when it is not all
/// there.
fn command(data: &[u8]) -> Option<(String, usize)> {
    let mut scanner = shardgate::cache::remote::resp::Scanner::default();
    let len = scanner.push(data).unwrap()?;
    let reply = shardgate::cache::remote::resp::read(&data[..len]).unwrap();
    let name = reply.list().unwrap()[0].bytes().unwrap().to_vec();
    Some((String::from_utf8(name).unwrap(), len))
}

/// Listens, and answers by `play` in pieces of `step` bytes; an empty answer ends the connection.
/// Its threads end with their connections, the first one with the process.
fn play(step: usize, play: Play) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let at = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for (number, link) in (1..).zip(listener.incoming()) {
            // A peer that has gone already is no trouble.
            std::thread::spawn(move || serve(link.unwrap(), number * 1000, (step, play)).ok());
        }
    });
    at
}

fn serve(mut link: TcpStream, mut count: u64, (step, play): (usize, Play)) -> io::Result<()> {
    link.set_nodelay(true)?;
    let (mut data, mut piece) = (Vec::new(), [0; 4096]);
    loop {
        let got = link.read(&mut piece)?;
        if got == 0 {
            return Ok(());
        }
        data.extend_from_slice(&piece[..got]);
        while let Some((name, len)) = command(&data) {
            data.drain(..len);
            count += 1;
            let answer = match name.as_str() {
                "PING" => b"+PONG\r\n".to_vec(),
                name => play(count, name),
            };
            if answer.is_empty() {
                return Ok(());
            }
            let answer = with_port(answer, link.local_addr()?.port());
            for piece in answer.chunks(step) {
                link.write_all(piece)?;
            }
        }
    }
}

/// `answer` with the server's own port where it says PORT.
fn with_port(answer: Vec<u8>, port: u16) -> Vec<u8> {
    match String::from_utf8(answer) {
        Ok(text) => text.replace("PORT", &port.to_string()).into_bytes(),
        Err(binary) => binary.into_bytes(),
    }
}

/// A server that is right, as far as it goes: no generations yet, no entry.
fn right(name: &str) -> Vec<u8> {
    match name {
        "HGET" => b"$1\r\n7\r\n".to_vec(),
        "HGETALL" => b"*4\r\n$1\r\nv\r\n$1\r\n7\r\n$1\r\na\r\n$1\r\n7\r\n".to_vec(),
        "GET" => b"$-1\r\n".to_vec(),
        _ => b"+OK\r\n".to_vec(),
    }
}

/// Looks up until what is counted is so; each look-up must end.
async fn look_until<H: Host>(host: &H, remote: &Remote<H>, what: &str, is_so: impl Fn() -> bool) {
    for n in 0..LOOKS_MAX {
        if is_so() {
            return;
        }
        assert_eq!(got(remote, n.into()).await, None);
        pause(host, 2).await;
    }
    panic!("never: {what}: {:?}", remote.status());
}

/// Goal: a server of the newer protocol, in any pieces, is understood: its maps, nulls, attributes
/// and what it pushes between replies.
#[test]
fn a_server_in_pieces_is_understood() {
    async fn test<H: Host>(host: H) {
        fn newer(_: u64, name: &str) -> Vec<u8> {
            let reply = match name {
                "HGETALL" => b"%2\r\n+v\r\n:7\r\n+a\r\n:7\r\n".to_vec(),
                "HGET" => b"|1\r\n+ttl\r\n:1\r\n:7\r\n".to_vec(),
                "GET" => b"_\r\n".to_vec(),
                other => right(other),
            };
            [b">2\r\n+invalidate\r\n*0\r\n".as_slice(), &reply].concat()
        }
        for step in [1, 2, 3, 7, 1000] {
            let remote = ready(&host, setup(play(step, newer), 1)).await;
            for n in 0..20 {
                assert_eq!(got(&remote, n).await, None);
            }
            let counts = remote.status().total.counts;
            assert_eq!(
                (counts.gets(Get::Miss), counts.events(Event::Broken)),
                (20, 0),
                "{step}"
            );
        }
    }
    on_both!(test);
}

/// Goal: what is no reply ends the connection, and only that: the next one works, nothing hangs,
/// nobody gets what is not his. Method: servers that break the protocol in each of its ways, on
/// every tenth command; look-ups go on until it was noticed several times and works again.
#[test]
fn what_is_no_reply_ends_the_connection() {
    async fn test<H: Host>(host: H) {
        let plays: [(&str, Event, Play); 8] = [
            ("garbage", Event::Broken, |count, name| match count % 10 {
                9 => b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(),
                _ => right(name),
            }),
            ("two for one", Event::Broken, |count, name| {
                match count % 10 {
                    9 => [right(name), b"+OK\r\n".repeat(500)].concat(),
                    _ => right(name),
                }
            }),
            ("too long", Event::Broken, |count, name| match count % 10 {
                9 => b"$999999999\r\n".to_vec(),
                _ => right(name),
            }),
            ("too deep", Event::Broken, |count, name| match count % 10 {
                9 => b"*1\r\n".repeat(10_000),
                _ => right(name),
            }),
            ("no end", Event::Broken, |count, name| match count % 10 {
                9 => b"+".iter().chain(&[b'a'; 9000]).copied().collect(),
                _ => right(name),
            }),
            ("wrong end", Event::Broken, |count, name| match count % 10 {
                9 => b"$2\r\nabcd".to_vec(),
                _ => right(name),
            }),
            ("closed", Event::Closed, |count, name| match count % 10 {
                9 => Vec::new(),
                _ => right(name),
            }),
            ("closed in a reply", Event::Closed, |count, name| {
                match count % 10 {
                    8 => b"$5\r\nab".to_vec(),
                    9 => Vec::new(),
                    _ => right(name),
                }
            }),
        ];
        for (what, event, play_it) in plays {
            let remote = Remote::start(&host, setup(play(1 << 20, play_it), 1)).unwrap();
            let counts = || remote.status().total.counts;
            look_until(&host, &remote, what, || counts().events(event) >= 3).await;
            let misses = counts().gets(Get::Miss);
            look_until(&host, &remote, what, || {
                counts().gets(Get::Miss) > misses + 3
            })
            .await;
            assert!(remote.status().trouble.is_some());
        }
    }
    on_both!(test);
}

/// Goal: replies of another kind than the command's are no hits, and no reason to break off.
#[test]
fn replies_of_another_kind_are_misses() {
    async fn test<H: Host>(host: H) {
        let plays: [(&str, Get, Play); 5] = [
            ("a number", Get::Miss, |_, name| match name {
                "GET" => b":5\r\n".to_vec(),
                name => right(name),
            }),
            ("a list", Get::Miss, |_, name| match name {
                "GET" => b"*1\r\n$1\r\nx\r\n".to_vec(),
                name => right(name),
            }),
            ("bytes", Get::Bad, |_, name| match name {
                "GET" => b"$3\r\nabc\r\n".to_vec(),
                name => right(name),
            }),
            ("it loads", Get::Refused, |_, name| match name {
                "GET" => b"-LOADING Redis is loading the dataset in memory\r\n".to_vec(),
                name => right(name),
            }),
            (
                "a redirect to nowhere",
                Get::Refused,
                |_, name| match name {
                    "GET" => b"-MOVED 99999 nowhere:0\r\n".to_vec(),
                    name => right(name),
                },
            ),
        ];
        for (what, get, play_it) in plays {
            let remote = ready(&host, setup(play(1 << 20, play_it), 1)).await;
            let counts = || remote.status().total.counts;
            look_until(&host, &remote, what, || counts().gets(get) >= 3).await;
            assert_eq!(counts().events(Event::Broken), 0, "{what}");
        }
    }
    on_both!(test);
}

/// Goal: redirects in a circle end. Method: a server that says MOVED to itself, always.
#[test]
fn redirects_in_a_circle_end() {
    async fn test<H: Host>(host: H) {
        fn circle(_: u64, name: &str) -> Vec<u8> {
            match name {
                "GET" => b"-MOVED 5 :PORT\r\n".to_vec(),
                "CLUSTER" => b"-ERR unknown command\r\n".to_vec(),
                name => right(name),
            }
        }
        let at = play(1 << 20, circle);
        let remote = ready(&host, setup(at, 1)).await;
        let counts = || remote.status().total.counts;
        look_until(&host, &remote, "it is refused", || {
            counts().gets(Get::Refused) > 3
        })
        .await;
        let redirected = counts().events(Event::Redirected);
        got(&remote, 1).await;
        assert!(counts().events(Event::Redirected) <= redirected + 5);
    }
    on_both!(test);
}
