//! A server that stalls, dies, comes back and forgets, under load.
//!
//! ```text
//!   8 tasks look up, one after the other ──► each look-up's time ──► Times by phase
//!   one task stores                              │
//!                                                └── T1: none is later than its deadline
//! ```

use super::server::Server;
use super::*;
use shardgate::base::time::Instant;
use shardgate::stats::remote::{Event, Get, Put};
use std::cell::RefCell;

/// Keys that are looked up.
const KEYS: u64 = 64;

/// Tasks that look up.
const TASKS: u64 = 8;

/// The deadline of the load's look-ups.
const DEADLINE: Duration = Duration::from_millis(2);

/// How late a look-up may be beyond its deadline on a machine that does other things, too: what
/// waits for nothing of the server's is never as late as the server.
const LATE_MAX: Duration = Duration::from_millis(400);

/// The load and what it has seen.
struct Load<H: Host> {
    host: H,
    remote: Rc<Remote<H>>,
    times: RefCell<Vec<(Instant, Duration, bool)>>,
    is_over: Cell<bool>,
    ended: Ended,
}

impl<H: Host> Load<H> {
    async fn start(host: &H, server: &Server) -> Rc<Self> {
        let lines = format!("url = \"redis://{}\"\ndeadline = \"2ms\"", server.at);
        let setup = setup_for(settings(&lines, &[]), server.at, 7);
        let load = Rc::new(Self {
            host: host.clone(),
            remote: ready(host, setup).await,
            times: RefCell::default(),
            is_over: Cell::new(false),
            ended: Ended::default(),
        });
        for task in 0..TASKS {
            host.spawn(Rc::clone(&load).look_up(task));
        }
        host.spawn(Rc::clone(&load).store());
        load
    }

    async fn look_up(self: Rc<Self>, task: u64) {
        let mut n = task;
        while !self.is_over.get() {
            let began = self.host.now();
            let got = got(&self.remote, n % KEYS).await;
            let took = self.host.now().since(began);
            assert!(
                got.as_ref().is_none_or(|got| *got == value(n % KEYS, 50)),
                "another's"
            );
            self.times.borrow_mut().push((began, took, got.is_some()));
            n += 1;
            pause(&self.host, 1).await;
        }
        self.ended.note();
    }

    async fn store(self: Rc<Self>) {
        let mut n = 0;
        while !self.is_over.get() {
            let known = self.remote.generations();
            begin_put(&self.remote, (n % KEYS, &[]), known.as_deref());
            n += 1;
            pause(&self.host, 1).await;
        }
        self.ended.note();
    }

    /// Waits until look-ups that began from now on hit.
    async fn hits(&self, what: &str) {
        let now = self.host.now();
        let hit = |(began, _, is_hit): &(Instant, Duration, bool)| *is_hit && *began > now;
        until(&self.host, what, || {
            self.times.borrow().iter().filter(|it| hit(it)).count() > 20
        })
        .await;
    }

    /// Says how long the look-ups since `from` took, and asserts T1.
    fn tell(&self, host: &str, phase: &str, from: Instant) {
        let times = self.times.borrow();
        let phase_times = times.iter().filter(|(began, ..)| *began >= from);
        let mut all: Vec<_> = phase_times.clone().map(|(_, took, _)| *took).collect();
        let hits = phase_times.filter(|(.., is_hit)| *is_hit).count();
        all.sort_unstable();
        // By a share in percent.
        let at = |percent: usize| {
            let place = all.len() * percent / 100;
            all.get(place).or(all.last()).copied().unwrap_or_default()
        };
        say(&format!(
            "{host:>5} {phase:<22} {:>6} look-ups, {hits:>6} hits, p50 {:>9.1?} p99 {:>9.1?} max {:>9.1?}",
            all.len(),
            at(50),
            at(99),
            at(100)
        ));
        assert!(at(100) < DEADLINE + LATE_MAX, "{phase}: {:?}", at(100));
    }

    /// A phase: does something, lets the load run for a while, says how it went.
    async fn phase(&self, host: &str, name: &str, millis: u64) {
        let from = self.host.now();
        pause(&self.host, millis).await;
        self.tell(host, name, from);
    }
}

/// Goal: T1, T2, and that everything comes back by itself. Method: eight tasks look up and one
/// stores without a pause, while the server works, stalls, goes on, is killed, stays away, comes
/// back empty and is flushed. No look-up is late, none gives another's entry; a stalled server
/// is left alone; hits come back each time, and at the end nothing is left.
#[test]
fn no_trouble_of_the_server_is_ours() {
    async fn test<H: Host>(host: H) {
        let name = if std::any::type_name::<H>().contains("Ring") {
            "ring"
        } else {
            "poll"
        };
        let mut server = Server::start(&[]);
        let load = Load::start(&host, &server).await;
        load.hits("hits at first").await;
        load.phase(name, "works", 1000).await;

        server.stall();
        load.phase(name, "stalled: first 100 ms", 100).await;
        let late = load.remote.status().total.counts.gets(Get::Late);
        load.phase(name, "stalled", 900).await;
        // It costs those calls that were on their way when it began, and nobody else.
        assert_eq!(load.remote.status().total.counts.gets(Get::Late), late);
        server.resume();
        load.hits("hits when it goes on").await;
        let counts = load.remote.status().total.counts;
        assert!(
            counts.gets(Get::Open) > counts.gets(Get::Late),
            "{counts:?}"
        );

        server.kill();
        load.phase(name, "killed", 700).await;
        assert_eq!(load.remote.status().total.lines.0, 0);
        server.restart();
        load.hits("hits when it is back, and empty").await;
        load.phase(name, "back", 500).await;

        server.order(&["FLUSHALL"]);
        load.hits("hits after a flush").await;
        server.order(&["CLIENT", "KILL", "TYPE", "normal"]);
        load.hits("hits after connections were closed").await;
        let late = load.remote.status().total.counts.gets(Get::Late);

        // Stalled for longer than a connection may be silent.
        until(&host, "both are connected again", || {
            let (up, all) = load.remote.status().total.lines;
            up == all
        })
        .await;
        server.stall();
        until(&host, "the connections are given up", || {
            load.remote.status().total.counts.events(Event::Stalled) >= 2
        })
        .await;
        load.phase(name, "stalled, given up", 500).await;
        server.resume();
        load.hits("hits when it goes on at last").await;
        let counts = load.remote.status().total.counts;
        say(&format!("{name:>5} {counts:?}"));
        assert!(counts.gets(Get::Late) - late < 60, "{counts:?}");
        assert_eq!(counts.events(Event::Broken), 0, "out of step");
        assert!(counts.puts(Put::Done) > 0);

        load.is_over.set(true);
        until(&host, "the load ends", || load.ended.count() == TASKS + 1).await;
        until(&host, "nothing is on its way", || {
            let status = load.remote.status();
            status.held == 0 && status.in_flight == 0
        })
        .await;
    }
    on_both!(test);
}

/// Goal: a server that is slow each time is left alone, too, and used again when it is not. Method:
/// one that takes longer for a look-up than its deadline, by the clock of the test; then not.
#[test]
fn a_server_that_is_always_slow_is_left_alone() {
    async fn test<H: Host>(host: H) {
        let server = Server::start(&[]);
        let lines = format!("url = \"redis://{}\"\ndeadline = \"20ms\"", server.at);
        let remote = ready(&host, setup_for(settings(&lines, &[]), server.at, 7)).await;
        let counts = || remote.status().total.counts;
        put(&host, &remote, 1, &[]).await;
        while counts().events(Event::Tripped) == 0 {
            server.stall();
            got(&remote, 1).await;
            server.resume();
            let open = counts().gets(Get::Open);
            until(&host, "it owes nothing", || remote.status().in_flight == 0).await;
            assert_eq!(open, 0, "{:?}", counts());
        }
        let late = counts().gets(Get::Late);
        assert!((1..=8).contains(&late), "{late}");
        assert_eq!(remote.status().total.open, 1);
        assert_eq!(got(&remote, 1).await, None);
        assert_eq!(counts().gets(Get::Open), 1);
        for _ in 0..LOOKS_MAX {
            if got(&remote, 1).await.is_some() {
                break;
            }
            pause(&host, 5).await;
        }
        assert!(counts().gets(Get::Hit) > 0 && remote.status().total.open == 0);
    }
    on_both!(test);
}

/// Goal: T5. Method: a remote is dropped while it works, while its server stalls, and while there
/// is none; its buffers come home and its tasks let go of everything, within seconds.
#[test]
fn what_is_dropped_ends() {
    async fn test<H: Host>(host: H) {
        let mut server = Server::start(&[]);
        for step in 0..3 {
            let setup = setup(server.at, step + 1);
            let pool = setup.buffers.clone();
            let remote = ready(&host, setup).await;
            let listening = shardgate::shard::remote::news::listen(&remote, Box::new(|_| None));
            let ended = Ended::default();
            let end = ended.clone();
            host.spawn(async move {
                listening.await;
                end.note();
            });
            let known = remote.generations();
            match step {
                0 => {}
                1 => server.stall(),
                _ => server.kill(),
            }
            for n in 0..100 {
                let ttl = Duration::from_secs(9);
                remote.put(&key(n), &value(n, 9000), (&[], ttl), known.as_deref());
            }
            drop(remote);
            until(&host, "it has let go", || {
                ended.count() == 1 && pool.lent() == 0
            })
            .await;
            if step == 1 {
                server.resume();
            }
        }
    }
    on_both!(test);
}

/// Goal: T4. Method: a server that takes nothing; what is stored meanwhile is bounded, in bytes
/// and in calls, and what found no room is counted.
#[test]
fn what_waits_is_bounded() {
    async fn test<H: Host>(host: H) {
        let server = Server::start(&[]);
        let remote = ready(&host, setup(server.at, 1)).await;
        server.stall();
        let known = remote.generations();
        let text = value(1, 900_000);
        for n in 0..100 {
            remote.put(
                &key(n),
                &text,
                (&[], Duration::from_secs(9)),
                known.as_deref(),
            );
        }
        let status = remote.status();
        assert!(status.held <= shardgate::shard::remote::HELD_MAX && status.held > 0);
        until(&host, "all are accounted for", || ended(&remote) == 100).await;
        let counts = remote.status().total.counts;
        say(&format!("{counts:?}"));
        assert!(counts.puts(Put::Full) >= 50, "{counts:?}");
        assert_eq!(remote.status().held, 0);
        server.resume();
        until(&host, "it takes entries again", || {
            remote.put(
                &key(1),
                b"small",
                (&[], Duration::from_secs(9)),
                known.as_deref(),
            );
            remote.status().total.counts.puts(Put::Done) > counts.puts(Put::Done)
        })
        .await;
    }
    on_both!(test);
}
