//! A server that works: entries, purges, announcements, many calls at once, passwords, TLS.

use super::server::Server;
use super::*;
use rcgen::{CertificateParams, KeyPair, SanType};
use shardgate::cache::remote::generations::{FIELDS_MAX, Purge};
use shardgate::cache::remote::names::Names;
use shardgate::shard::remote::news;
use shardgate::stats::remote::{Event, Get, Put};
use shardgate::wire::tls::files;
use std::cell::RefCell;
use std::net::Ipv4Addr;
use std::sync::Arc;

/// Goal: what one box stores another finds, unchanged, with its age and its end, until its time
/// is over; what nobody stored is a miss; what is not ours or not whole is one, too.
#[test]
fn boxes_share_entries() {
    async fn test<H: Host>(host: H) {
        let server = Server::start(&[]);
        let (a, b) = (
            ready(&host, setup(server.at, 1)).await,
            ready(&host, setup(server.at, 2)).await,
        );
        assert_eq!(got(&b, 1).await, None);
        for (n, len) in [(1, 0), (2, 900), (3, 5000), (4, 900_000)] {
            let value = value(n, len);
            let text = value.repeat(if n == 3 { 9 } else { 1 });
            a.put(
                &key(n),
                &text,
                (&[], Duration::from_secs(60)),
                a.generations().as_deref(),
            );
            until(&host, "it is stored", || {
                a.status().total.counts.puts(Put::Done) == n
            })
            .await;
            let found = b.get(&key(n)).await.unwrap();
            assert!(found.payload == text, "{n}: {} bytes", found.payload.len());
            assert!(found.age < Duration::from_secs(30) && found.left > Duration::from_secs(30));
            assert_eq!(found.stamp.tags, []);
        }
        a.put(
            &key(5),
            b"short",
            (&[], Duration::from_secs(1)),
            a.generations().as_deref(),
        );
        until(&host, "it is stored", || {
            a.status().total.counts.puts(Put::Done) == 5
        })
        .await;
        assert_eq!(got(&b, 5).await.unwrap(), b"short");
        pause(&host, 1100).await;
        assert_eq!(got(&b, 5).await, None);
        let names = Names::new("shardgate");
        let name = |n| String::from_utf8(names.entry(&key(n))).unwrap();
        server.order(&["SET", &name(6), "not an envelope"]);
        server.order(&["LPUSH", &name(7), "not even a string"]);
        server.order(&["COPY", &name(2), &name(8)]);
        let before = b.status().total.counts;
        assert_eq!(
            (got(&b, 6).await, got(&b, 7).await, got(&b, 8).await),
            (None, None, None)
        );
        let after = b.status().total.counts;
        assert_eq!(after.gets(Get::Bad) - before.gets(Get::Bad), 2);
        assert_eq!(after.gets(Get::Refused) - before.gets(Get::Refused), 1);
        a.put(
            &key(9),
            &vec![0; 2 << 20],
            (&[], Duration::from_secs(9)),
            a.generations().as_deref(),
        );
        a.put(&key(9), b"", (&[], Duration::from_secs(9)), None);
        assert_eq!(a.status().total.counts.puts(Put::Unfit), 2);
    }
    on_both!(test);
}

/// Goal: T3. Method: two boxes; what one purges (a key, a tag, everything) the other does not give
/// in its very next look-up, what was not purged it does; an answer that was under way over a purge
/// is not given when it is stored after it; a flush ends everything and is not the end.
#[test]
fn what_is_purged_is_not_given() {
    async fn test<H: Host>(host: H) {
        let server = Server::start(&[]);
        let (a, b) = (
            ready(&host, setup(server.at, 1)).await,
            ready(&host, setup(server.at, 2)).await,
        );
        let under_way = a.generations();
        for n in 1..=4 {
            put(&host, &a, n, if n < 3 { &[b"x", b"y"] } else { &[b"y"] }).await;
        }
        for (what, left) in [
            (Purge::Key(&key(1)), vec![2, 3, 4]),
            (Purge::Tag(b"x"), vec![3, 4]),
            (Purge::Tag(b"none"), vec![3, 4]),
            (Purge::All, vec![]),
        ] {
            a.purge(what).await.unwrap();
            for n in 1..=4 {
                let is_there = got(&b, n).await.is_some();
                assert_eq!(is_there, left.contains(&n), "{n} after {what:?}");
            }
            // The entry that the purge was of, made before it and stored after it.
            put_as(&host, &a, (1, &[b"x"]), under_way.as_deref()).await;
            assert_eq!(got(&b, 1).await, None, "after {what:?}");
        }
        put(&host, &a, 1, &[b"x"]).await;
        assert!(got(&b, 1).await.is_some());
        assert!(b.status().total.counts.gets(Get::Purged) > 0);
        // What survives while the generations are lost is not given: they come back higher.
        let before = b.generations().unwrap().version();
        server.order(&["DEL", "shardgate:v1:gen"]);
        assert_eq!(got(&b, 1).await, None);
        assert!(b.generations().unwrap().version() > before);
        server.order(&["FLUSHALL"]);
        assert_eq!(got(&b, 1).await, None);
        until(&host, "both have learnt", || {
            let version = |it: &Remote<H>| it.generations().map(|known| known.version());
            version(&a) == version(&b)
        })
        .await;
        put(&host, &a, 1, &[]).await;
        assert!(got(&b, 1).await.is_some());
        // So many purges that counting one more would be too much: everything is purged.
        for chunk in (0..FIELDS_MAX).collect::<Vec<_>>().chunks(512) {
            let mut words = vec!["HSET".to_owned(), "shardgate:v1:gen".to_owned()];
            words.extend(
                chunk
                    .iter()
                    .flat_map(|n| [format!("tfill{n}"), "1".to_owned()]),
            );
            server.order(&words.iter().map(String::as_str).collect::<Vec<_>>());
        }
        assert!(got(&b, 1).await.is_some());
        a.purge(Purge::Tag(b"one more")).await.unwrap();
        assert_eq!(got(&b, 1).await, None);
        assert_eq!(
            server.order(&["HLEN", "shardgate:v1:gen"]).number(),
            Some(2)
        );
    }
    on_both!(test);
}

/// Goal: an idle box learns of a purge by itself, for what it keeps in its own memory.
#[test]
fn an_idle_box_learns_of_a_purge() {
    async fn test<H: Host>(host: H) {
        let server = Server::start(&[]);
        let (a, b) = (
            ready(&host, setup(server.at, 1)).await,
            ready(&host, setup(server.at, 2)).await,
        );
        let stamp = b.generations().unwrap().stamp(&key(1), &[b"x"]).unwrap();
        a.purge(Purge::Tag(b"x")).await.unwrap();
        assert!(!a.generations().unwrap().admits(&key(1), &stamp));
        until(&host, "b knows", || {
            !b.generations().unwrap().admits(&key(1), &stamp)
        })
        .await;
    }
    on_both!(test);
}

/// Goal: what a box announces the others hear, once, in order, and it does not hear itself; who
/// begins later gets what there is; nothing of it is lost over a connection that breaks.
#[test]
fn boxes_hear_each_other() {
    async fn test<H: Host>(host: H) {
        let server = Server::start(&[]);
        let (a, b) = (
            ready(&host, setup(server.at, 1)).await,
            ready(&host, setup(server.at, 2)).await,
        );
        let heard: [Rc<RefCell<Vec<String>>>; 3] = Default::default();
        let listen = |remote: &Remote<H>, to: &Rc<RefCell<Vec<String>>>| {
            let to = Rc::clone(to);
            let hear = move |news: &[u8]| {
                to.borrow_mut()
                    .push(String::from_utf8(news.to_vec()).unwrap());
                None
            };
            news::listen(remote, Box::new(hear))
        };
        host.spawn(listen(&a, &heard[0]));
        host.spawn(listen(&b, &heard[1]));
        let news = |n| format!("entry {n}");
        let tell = async |range: std::ops::Range<u64>| {
            for n in range {
                let done = a.status().total.counts.told(Put::Done);
                a.announce(news(n).as_bytes());
                until(&host, "it is told", || {
                    a.status().total.counts.told(Put::Done) > done
                })
                .await;
            }
        };
        tell(0..100).await;
        until(&host, "b hears all", || heard[1].borrow().len() == 100).await;
        server.order(&["CLIENT", "KILL", "TYPE", "normal"]);
        until(&host, "both are back", || {
            let is_back = |it: &Remote<H>| {
                let total = it.status().total;
                total.counts.events(Event::Closed) >= 2 && total.lines == (2, 2)
            };
            is_back(&a) && is_back(&b)
        })
        .await;
        host.spawn(listen(&b, &heard[2]));
        tell(100..150).await;
        for to in &heard[1..] {
            until(&host, "b hears all", || to.borrow().len() == 150).await;
            assert_eq!(*to.borrow(), (0..150).map(news).collect::<Vec<_>>());
        }
        assert!(heard[0].borrow().is_empty(), "a hears itself");
    }
    on_both!(test);
}

/// Goal: N1. Method: what cannot be heeded at first is heard again, and what comes behind it waits;
/// what cannot be heeded at all is given up and counted.
#[test]
fn what_is_not_heeded_is_heard_again() {
    async fn test<H: Host>(host: H) {
        let server = Server::start(&[]);
        let (a, b) = (
            ready(&host, setup(server.at, 1)).await,
            ready(&host, setup(server.at, 2)).await,
        );
        let heard: Rc<RefCell<Vec<u8>>> = Rc::default();
        let to = Rc::clone(&heard);
        let hear = move |news: &[u8]| {
            let (number, to) = (news[0], Rc::clone(&to));
            Some(Box::pin(async move {
                let is_first = !to.borrow().contains(&number);
                to.borrow_mut().push(number);
                number != 8 && (number != 3 || !is_first)
            }) as news::Heeding)
        };
        host.spawn(news::listen(&b, Box::new(hear)));
        for number in 0..12 {
            a.announce(&[number]);
        }
        until(&host, "the last is heard", || heard.borrow().contains(&11)).await;
        let eights = std::iter::repeat_n(8, 8);
        let wanted = [0, 1, 2, 3, 3, 4, 5, 6, 7].into_iter().chain(eights);
        let wanted: Vec<_> = wanted.chain([9, 10, 11]).collect();
        assert_eq!(*heard.borrow(), wanted);
        until(&host, "it is counted", || {
            b.status().total.counts.events(Event::Heard) == 11
        })
        .await;
        assert_eq!(b.status().total.counts.events(Event::Missed), 1);
    }
    on_both!(test);
}

/// Goal: what is stored and told is there when it is heard of, and is fetched by who hears; what is
/// withdrawn is not there any more; what the server did not take is not told.
#[test]
fn what_is_told_is_there() {
    async fn test<H: Host>(host: H) {
        let server = Server::start(&[]);
        let (a, b) = (
            ready(&host, setup(server.at, 1)).await,
            ready(&host, setup(server.at, 2)).await,
        );
        let heard: Rc<RefCell<Vec<_>>> = Rc::default();
        let (to, by) = (Rc::clone(&heard), Rc::clone(&b));
        let hear = move |news: &[u8]| {
            let (to, by, n) = (Rc::clone(&to), Rc::clone(&by), u64::from(news[0]));
            Some(Box::pin(async move {
                let found = by.fetch(&key(n)).await;
                to.borrow_mut()
                    .push((n, found.map(|found| found.payload.len())));
                true
            }) as news::Heeding)
        };
        host.spawn(news::listen(&b, Box::new(hear)));
        let ttl = Duration::from_secs(60);
        let known = a.generations();
        for n in 1..=9 {
            let len = usize::try_from(n).unwrap() * 20_000;
            let then = (known.as_deref(), Some([u8::try_from(n).unwrap()]));
            let then = (then.0, then.1.as_ref().map(<[u8; 1]>::as_slice));
            a.put_and_tell(&key(n), &value(n, len), (&[], ttl), then);
        }
        let too_long = vec![0; 2 << 20];
        a.put_and_tell(
            &key(10),
            &too_long,
            (&[], ttl),
            (known.as_deref(), Some(&[10])),
        );
        until(&host, "all are heard", || heard.borrow().len() == 9).await;
        a.withdraw(&key(3), &[3]);
        until(&host, "that it is gone, too", || heard.borrow().len() == 10).await;
        let mut wanted: Vec<_> = (1..=9)
            .map(|n| (n, Ok(usize::try_from(n).unwrap() * 20_000)))
            .collect();
        wanted.push((3, Err(Get::Miss)));
        assert_eq!(*heard.borrow(), wanted);
        let counts = b.status().total.counts;
        assert!(
            Get::ALL.iter().all(|what| counts.gets(*what) == 0),
            "{counts:?}"
        );
    }
    on_both!(test);
}

/// Goal: what is announced and not heard is counted: too long, not an announcement, gone before
/// anybody read it. Method: the last two are made by hand.
#[test]
fn what_is_not_heard_is_counted() {
    async fn test<H: Host>(host: H) {
        let server = Server::start(&[]);
        let remote = ready(&host, setup(server.at, 1)).await;
        let heard = Ended::default();
        let hear = heard.clone();
        host.spawn(news::listen(
            &remote,
            Box::new(move |_| {
                hear.note();
                None
            }),
        ));
        remote.announce(&vec![0; 65 << 10]);
        assert_eq!(remote.status().total.counts.told(Put::Unfit), 1);
        server.order(&["XADD", "shardgate:v1:news", "*", "what", "ever"]);
        for number in ["149", "160"] {
            let fields = ["o", "7", "n", number, "d", "text"];
            let words = [["XADD", "shardgate:v1:news", "*"].as_slice(), &fields].concat();
            server.order(&words);
        }
        until(&host, "two are heard", || heard.count() == 2).await;
        let counts = remote.status().total.counts;
        assert_eq!(
            (counts.events(Event::Unread), counts.events(Event::Missed)),
            (1, 10)
        );
    }
    on_both!(test);
}

/// Goal: thousands of calls at once on one connection, each gets its own reply. Method: entries of
/// many sizes, 5,000 look-ups at the same time, a third of them given up on the way.
#[test]
fn thousands_of_calls_share_a_connection() {
    async fn test<H: Host>(host: H) {
        const ENTRIES: u64 = 300;
        const CALLS: u64 = 5000;
        let server = Server::start(&[]);
        let remote = ready(&host, setup(server.at, 1)).await;
        let size = |n: u64| usize::try_from((n * 37) % 3000).unwrap();
        for n in 0..ENTRIES {
            let (ttl, known) = (Duration::from_secs(60), remote.generations());
            remote.put(&key(n), &value(n, size(n)), (&[], ttl), known.as_deref());
        }
        until(&host, "all are stored", || {
            remote.status().total.counts.puts(Put::Done) == ENTRIES
        })
        .await;
        assert_eq!(remote.status().held, 0);
        let (ended, wrong) = (Ended::default(), Ended::default());
        let began = host.now();
        for call in 0..CALLS {
            let (remote, ended, wrong) = (Rc::clone(&remote), ended.clone(), wrong.clone());
            let waiter = host.clone();
            host.spawn(async move {
                let n = call % (2 * ENTRIES);
                let gets = async { Some(got(&remote, n).await) };
                let leaves = async {
                    waiter.breathe().await;
                    None
                };
                let gets_it_all = call % 3 > 0;
                let got = if gets_it_all {
                    gets.await
                } else {
                    futures_lite::future::or(gets, leaves).await
                };
                let want = (n < ENTRIES).then(|| value(n, size(n)));
                if got.is_some_and(|got| got != want && got.is_some()) {
                    wrong.note();
                }
                ended.note();
            });
        }
        until(&host, "all end", || ended.count() == CALLS).await;
        let took = host.now().since(began);
        let counts = remote.status().total.counts;
        say(&format!(
            "{CALLS} calls in {took:?}: {} hits, {} misses, {} late",
            counts.gets(Get::Hit),
            counts.gets(Get::Miss),
            counts.gets(Get::Late)
        ));
        assert_eq!(wrong.count(), 0);
        assert!(counts.gets(Get::Hit) > 0 && counts.gets(Get::Miss) > 0);
        assert_eq!(counts.events(Event::Broken), 0);
        until(&host, "nothing is in flight", || {
            remote.status().in_flight == 0
        })
        .await;
        assert!(got(&remote, 1).await.is_some());
    }
    on_both!(test);
}

/// What the user of a server needs, as the README says.
const COMMANDS: [&str; 11] = [
    "+get", "+set", "+del", "+hget", "+hgetall", "+hsetnx", "+hincrby", "+xadd", "+xread", "+ping",
    "+select",
];

/// Goal: passwords, users and databases. Method: the right one, a wrong one, none, one of a user
/// of its own; whoever is refused is told so, without the password.
#[test]
fn who_has_the_password_is_let_in() {
    async fn test<H: Host>(host: H) {
        let server = Server::start(&["--requirepass", "hunter2"]);
        let url = format!("url = \"redis://{}/3\"\ndeadline = \"250ms\"", server.at);
        let secrets = [("GOOD", "hunter2"), ("BAD", "hunter3")];
        let with =
            |lines: &str| setup_for(settings(&format!("{url}\n{lines}"), &secrets), server.at, 1);
        let good = ready(&host, with("password = { env = \"GOOD\" }")).await;
        put(&host, &good, 1, &[]).await;
        assert!(got(&good, 1).await.is_some());
        let select = server.ask_after(&["AUTH", "hunter2"], &["SELECT", "3"]);
        assert_eq!(select.error(), None);
        // What the README says that the user needs.
        let mut rule = vec!["ACL", "SETUSER", "team", "on", ">hunter2", "~shardgate:*"];
        rule.extend(COMMANDS);
        assert_eq!(server.ask_after(&["AUTH", "hunter2"], &rule).error(), None);
        let team = with("user = \"team\"\npassword = { env = \"GOOD\" }");
        let team = ready(&host, Setup { seed: 2, ..team }).await;
        assert!(got(&team, 1).await.is_some());
        put(&host, &team, 2, &[b"x"]).await;
        for what in [Purge::Key(&key(1)), Purge::Tag(b"x"), Purge::All] {
            team.purge(what).await.unwrap();
        }
        let heard = Ended::default();
        let hear = heard.clone();
        host.spawn(news::listen(
            &good,
            Box::new(move |_| {
                hear.note();
                None
            }),
        ));
        team.announce(b"news");
        until(&host, "it is heard", || heard.count() == 1).await;
        for (lines, says) in [
            (
                "password = { env = \"BAD\" }",
                "AUTH was refused: WRONGPASS",
            ),
            ("", "SELECT was refused: NOAUTH"),
        ] {
            let remote = Remote::start(&host, with(lines)).unwrap();
            until(&host, "it is in trouble", || {
                remote.status().trouble.is_some()
            })
            .await;
            let status = remote.status();
            let trouble = status.trouble.unwrap();
            assert!(
                trouble.starts_with(says) && !trouble.contains("hunter"),
                "{trouble}"
            );
            assert_eq!(status.total.lines, (0, 2));
            assert_eq!(got(&remote, 1).await, None);
            assert_eq!(remote.status().total.counts.gets(Get::Down), 1);
        }
    }
    on_both!(test);
}

/// Goal: TLS, with the server's certificate verified. Method: a server with a certificate of an
/// authority that is trusted, and a client that does not trust it.
#[test]
fn the_server_is_who_it_should_be() {
    async fn test<H: Host>(host: H) {
        let folder = tempfile::tempdir().unwrap();
        let key_pair = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params
            .subject_alt_names
            .push(SanType::IpAddress(Ipv4Addr::LOCALHOST.into()));
        let cert = params.self_signed(&key_pair).unwrap().pem();
        std::fs::write(folder.path().join("cert.pem"), &cert).unwrap();
        std::fs::write(folder.path().join("key.pem"), key_pair.serialize_pem()).unwrap();
        let tls_port = server::free_port();
        let args = [
            "--tls-port",
            &tls_port.to_string(),
            "--tls-cert-file",
            "cert.pem",
            "--tls-key-file",
            "key.pem",
            "--tls-ca-cert-file",
            "cert.pem",
            "--tls-auth-clients",
            "no",
        ];
        let server = Server::start_in(folder, &args);
        assert!(server.folder().join("cert.pem").exists());
        let at = (Ipv4Addr::LOCALHOST, tls_port).into();
        let trusting = |pem: &str| {
            let roots = files::authorities(files::certificates(pem.as_bytes()).unwrap()).unwrap();
            Some(Arc::new(files::client(&Arc::new(roots)).unwrap()))
        };
        let with = |pem: &str| Setup {
            tls: trusting(pem),
            ..setup_for(
                settings(
                    &format!("url = \"rediss://{at}\"\ndeadline = \"250ms\""),
                    &[],
                ),
                at,
                1,
            )
        };
        let remote = ready(&host, with(&cert)).await;
        for (n, len) in [(1, 10), (2, 200_000)] {
            let (ttl, known) = (Duration::from_secs(60), remote.generations());
            remote.put(&key(n), &value(n, len), (&[], ttl), known.as_deref());
            until(&host, "it is stored", || {
                remote.status().total.counts.puts(Put::Done) == n
            })
            .await;
            assert!(
                got(&remote, n)
                    .await
                    .is_some_and(|got| got == value(n, len))
            );
        }
        let other = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let doubting = Remote::start(&host, with(&other.cert.pem())).unwrap();
        until(&host, "it is in trouble", || {
            doubting.status().trouble.is_some()
        })
        .await;
        let status = doubting.status();
        assert!(
            status.trouble.unwrap().starts_with("no TLS"),
            "{:?}",
            status.total.lines
        );
        assert_eq!(status.total.lines, (0, 2));
    }
    on_both!(test);
}
