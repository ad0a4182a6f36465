//! A cluster of three: entries are where they belong, and are found while they move.

use super::server::{Server, nap};
use super::*;
use shardgate::cache::remote::generations::Purge;
use shardgate::cache::remote::names::Names;
use shardgate::cache::remote::slots::slot;
use shardgate::stats::remote::{Event, Get, Put};

/// The last slot of each node.
const LAST: [u16; 3] = [5460, 10_922, 16_383];

/// Entries.
const ENTRIES: u64 = 60;

struct Cluster(Vec<Server>);

/// A server that may be a node, and its other port.
struct Node(Server, u16);

impl Cluster {
    /// Three masters that know each other and have a third of the slots each.
    fn start() -> Self {
        let args = ["--cluster-enabled", "yes", "--cluster-node-timeout", "2000"];
        let nodes: Vec<_> = (0..3).map(|_| node(&args)).collect();
        let mut first = 0;
        let (port, bus) = (nodes[0].0.at.port().to_string(), nodes[0].1.to_string());
        for (Node(node, _), last) in nodes.iter().zip(LAST) {
            node.order(&[
                "CLUSTER",
                "ADDSLOTSRANGE",
                &first.to_string(),
                &last.to_string(),
            ]);
            first = last + 1;
            node.order(&["CLUSTER", "MEET", "127.0.0.1", &port, &bus]);
        }
        let cluster = Self(nodes.into_iter().map(|node| node.0).collect());
        for _ in 0..LOOKS_MAX {
            if cluster.0.iter().all(is_whole) {
                return cluster;
            }
            nap(10);
        }
        panic!("the cluster does not come together");
    }

    fn id(&self, node: usize) -> String {
        let reply = self.0[node].order(&["CLUSTER", "MYID"]);
        String::from_utf8(reply.bytes().unwrap().to_vec()).unwrap()
    }

    fn owner(slot: u16) -> usize {
        LAST.iter().position(|last| slot <= *last).unwrap()
    }

    /// Slot `slot` begins to move.
    fn open(&self, slot: u16, from: usize, to: usize) {
        let slot = slot.to_string();
        let (source, target) = (self.id(from), self.id(to));
        self.0[to].order(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &source]);
        self.0[from].order(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &target]);
    }

    /// An entry moves.
    fn migrate(&self, name: &str, from: usize, to: usize) {
        let port = self.0[to].at.port().to_string();
        self.0[from].order(&["MIGRATE", "127.0.0.1", &port, name, "0", "5000"]);
    }

    /// Slot `slot` has moved.
    fn close(&self, slot: u16, to: usize) {
        let (slot, target) = (slot.to_string(), self.id(to));
        for node in [to, 0, 1, 2] {
            self.0[node].order(&["CLUSTER", "SETSLOT", &slot, "NODE", &target]);
        }
    }
}

fn node(args: &[&str]) -> Node {
    let bus = server::free_port();
    let text = bus.to_string();
    let args = [args, &["--cluster-port", &text]].concat();
    Node(Server::start(&args), bus)
}

fn is_whole(node: &Server) -> bool {
    let info = node.order(&["CLUSTER", "INFO"]);
    let info = String::from_utf8(info.bytes().unwrap().to_vec()).unwrap();
    info.contains("cluster_state:ok") && info.contains("cluster_known_nodes:3")
}

fn name(n: u64) -> String {
    String::from_utf8(Names::new("shardgate").entry(&key(n))).unwrap()
}

async fn counts_hits<H: Host>(remote: &Remote<H>) -> u64 {
    let mut hits = 0;
    for n in 0..ENTRIES {
        hits += u64::from(got(remote, n).await.is_some_and(|got| got == value(n, 50)));
    }
    hits
}

/// Puts everything, one a millisecond, and waits for none.
async fn put_all<H: Host>(host: &H, remote: &Remote<H>) {
    for n in 0..ENTRIES {
        begin_put(remote, (n, &[]), remote.generations().as_deref());
        pause(host, 1).await;
    }
}

/// Looks everything up until all of it is found.
async fn all_hit<H: Host>(host: &H, remote: &Remote<H>, what: &str) {
    let mut hits = 0;
    for _ in 0..100 {
        hits = counts_hits(remote).await;
        if hits == ENTRIES {
            return;
        }
        pause(host, 50).await;
    }
    panic!("{what}: {hits} of {ENTRIES}: {:?}", remote.status());
}

/// Two boxes that each know another node's address, with all entries stored.
async fn boxes<H: Host>(host: &H, cluster: &Cluster) -> (Rc<Remote<H>>, Rc<Remote<H>>) {
    let start =
        |node: usize, seed| Rc::new(Remote::start(host, setup(cluster.0[node].at, seed)).unwrap());
    let (a, b) = (start(0, 1), start(2, 2));
    until(host, "both know the generations", || {
        a.generations().is_some() && b.generations().is_some()
    })
    .await;
    for n in 0..ENTRIES {
        put(host, &a, n, &[b"x"]).await;
    }
    until(host, "the map is known", || {
        a.status().total.lines == (8, 8)
    })
    .await;
    (a, b)
}

/// Goal: with any one node's address, entries go to their nodes and are found there, purges hold;
/// a node that dies takes its own entries only, and when it is back it is used again.
#[test]
fn entries_are_where_they_belong() {
    async fn test<H: Host>(host: H) {
        let mut cluster = Cluster::start();
        let (a, b) = boxes(&host, &cluster).await;
        assert!(a.status().total.counts.events(Event::Redirected) > 0);
        all_hit(&host, &a, "after storing").await;
        all_hit(&host, &b, "at the other box").await;
        for node in &cluster.0 {
            let size = node.order(&["DBSIZE"]).number().unwrap();
            assert!((5..=40).contains(&size), "{size}");
        }

        a.purge(Purge::Key(&key(1))).await.unwrap();
        assert_eq!(got(&b, 1).await, None);
        put(&host, &a, 1, &[b"x"]).await;
        all_hit(&host, &b, "purged and stored again").await;

        // A node that has not the generations dies.
        let home = Cluster::owner(slot(b"shardgate:v1:gen"));
        let dies = (home + 1) % 3;
        cluster.0[dies].kill();
        for _ in 0..3 {
            counts_hits(&a).await;
        }
        cluster.0[dies].restart();
        until(&host, "it is back", || is_whole(&cluster.0[dies])).await;
        put_all(&host, &a).await;
        let stored = || a.status().total.counts.puts(Put::Done) > 2 * ENTRIES;
        until(&host, "all are stored again", stored).await;
        all_hit(&host, &a, "after a death").await;
        say(&format!("{:?}", a.status().total.counts));
        assert_eq!(a.status().total.counts.gets(Get::Bad), 0);
    }
    on_both!(test);
}

/// Goal: what is stored while the nodes that a redirect named are being connected is not lost.
/// Method: the nodes but the one whose address is known answer nothing for 300 ms.
#[test]
fn entries_wait_for_nodes_that_are_new() {
    async fn test<H: Host>(host: H) {
        let cluster = Cluster::start();
        let a = Remote::start(&host, setup(cluster.0[0].at, 1)).unwrap();
        until(&host, "the generations are known", || {
            a.generations().is_some()
        })
        .await;
        let home = Cluster::owner(slot(b"shardgate:v1:gen"));
        for (at, node) in cluster.0.iter().enumerate() {
            if at != 0 && at != home {
                node.order(&["CLIENT", "PAUSE", "300"]);
            }
        }
        put_all(&host, &a).await;
        until(&host, "it is known what became of each", || {
            ended(&a) == ENTRIES
        })
        .await;
        let status = a.status();
        assert_eq!(status.total.counts.puts(Put::Done), ENTRIES, "{status:?}");
    }
    on_both!(test);
}

/// Goal: while a slot is on its way both halves of it are found (ASK); after it they are found
/// without a redirect more (MOVED, and the map).
#[test]
fn entries_are_found_while_they_move() {
    async fn test<H: Host>(host: H) {
        let cluster = Cluster::start();
        let (a, b) = boxes(&host, &cluster).await;
        let of = slot(name(0).as_bytes());
        let from = Cluster::owner(of);
        let to = (from + 1) % 3;
        cluster.open(of, from, to);
        all_hit(&host, &a, "the slot is open, the entry where it was").await;
        let before = a.status().total.counts;
        cluster.migrate(&name(0), from, to);
        all_hit(&host, &a, "the entry has moved, the slot has not").await;
        let asked = a.status().total.counts.events(Event::Redirected);
        assert!(asked > before.events(Event::Redirected), "ASK");
        put(&host, &a, 0, &[]).await;
        assert_eq!(
            cluster.0[to]
                .ask_after(&["ASKING"], &["EXISTS", &name(0)])
                .number(),
            Some(1)
        );
        cluster.close(of, to);
        all_hit(&host, &a, "the slot has moved").await;
        all_hit(&host, &b, "the slot has moved, at the other box").await;
        pause(&host, 1500).await;
        let before = a.status().total.counts.events(Event::Redirected);
        all_hit(&host, &a, "later").await;
        assert_eq!(
            a.status().total.counts.events(Event::Redirected),
            before,
            "it is known now"
        );
    }
    on_both!(test);
}
