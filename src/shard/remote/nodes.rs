//! Whom a call goes to: the one server, or a cluster's nodes, by slot.
//!
//! The keeper, a task of its own, keeps the map of a cluster and the generations fresh.

use super::line::{Line, Place};
use super::{Common, Inner, KEEP, WRITE_MAX, Why};
use crate::base::time::Instant;
use crate::cache::remote::generations::VERSION;
use crate::cache::remote::resp::Reply;
use crate::cache::remote::slots::{Map, NODES_MAX, Redirect, redirect, slot};
use crate::host::Host;
use crate::stats::remote::Event;
use futures_lite::FutureExt;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

/// Redirects that one call follows.
const REDIRECTS_MAX: usize = 4;

/// How long a write to a new node waits between looks whether it is connected.
const NODE_PAUSE: Duration = Duration::from_millis(5);

/// Which of a node's two connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// For what somebody waits for: each call has the same, short time.
    Read,
    /// For everything else.
    Write,
}

/// A server.
pub(super) struct Node<H: Host> {
    /// `None`: wherever the configured name leads.
    at: Option<SocketAddr>,
    pub(super) lines: [Rc<Line<H>>; 2],
}

impl<H: Host> Node<H> {
    /// A node, whose lines connect by themselves.
    pub(super) fn start(common: &Rc<Common<H>>, place: Place) -> Self {
        let line = || {
            let line = Rc::new(Line::new(common, place));
            common.host.spawn(Rc::clone(&line).run());
            line
        };
        Self {
            at: place.address(),
            lines: [line(), line()],
        }
    }

    pub(super) fn line(&self, way: Way) -> &Rc<Line<H>> {
        let [reads, writes] = &self.lines;
        match way {
            Way::Read => reads,
            Way::Write => writes,
        }
    }

    pub(super) fn retire(&self) {
        self.lines.iter().for_each(|line| line.retire());
    }
}

impl<H: Host> Inner<H> {
    pub(super) fn retire(&self) {
        self.common.is_retired.set(true);
        self.seed.retire();
        self.nodes.borrow().iter().for_each(Node::retire);
        self.common.hurry();
    }

    /// The line to whoever has `name`.
    pub(super) fn route(&self, name: &[u8], way: Way) -> Rc<Line<H>> {
        let owner = {
            let map = self.map.borrow();
            match map.nodes() {
                [] => None,
                _ => map.owner(slot(name)),
            }
        };
        match owner {
            Some(at) => self.node(at, way),
            None => Rc::clone(self.seed.line(way)),
        }
    }

    /// The line to the node at `at`, which is made when it is new.
    fn node(&self, at: SocketAddr, way: Way) -> Rc<Line<H>> {
        let mut nodes = self.nodes.borrow_mut();
        if let Some(node) = nodes.iter().find(|node| node.at == Some(at)) {
            return Rc::clone(node.line(way));
        }
        let node = Node::start(&self.common, Place::Node(at));
        let line = Rc::clone(node.line(way));
        nodes.push(node);
        line
    }

    /// Follows a redirect; the line to go on with, and whether it is asked for this once only.
    /// `None`: there are too many nodes.
    pub(super) fn follow(&self, to: Redirect, way: Way) -> Option<(Rc<Line<H>>, bool)> {
        self.common.note(Event::Redirected);
        let (at, once) = match to {
            Redirect::Moved(slot, at) => {
                self.wants_map.set(true);
                self.common.hurry();
                if !self.map.borrow_mut().moved(slot, at) {
                    return None;
                }
                (at, false)
            }
            Redirect::Ask(at) => (at, true),
        };
        let known = self.map.borrow().nodes().contains(&at);
        let has_room = self.nodes.borrow().len() < NODES_MAX;
        (known || has_room).then(|| (self.node(at, way), once))
    }

    /// Sends a command to whoever has `name` and follows where that leads. A write waits for a node
    /// that was met just now; a read does not: upstream is sooner.
    pub(super) async fn ask(
        &self,
        (way, name): (Way, &[u8]),
        words: &[&[u8]],
        until: Instant,
    ) -> Result<Reply, Why> {
        let (mut line, mut once) = (self.route(name, way), false);
        for turn in 0..=REDIRECTS_MAX {
            let reply = if turn == 0 && !line.is_new() {
                line.send(words, once, until)?.await?
            } else {
                let late = async {
                    self.common.host.sleep_until(until).await;
                    Err(Why::Late)
                };
                let patient = async {
                    let is_awaited = || !line.is_up() && (turn > 0 || line.is_new());
                    while way == Way::Write && is_awaited() {
                        let later = self.common.host.now() + NODE_PAUSE;
                        self.common.host.sleep_until(later).await;
                    }
                    line.send(words, once, until)?.await
                };
                patient.or(late).await?
            };
            let Some(text) = reply.error() else {
                return Ok(reply);
            };
            let from = line.peer().and_then(|from| redirect(text, from));
            let Some(next) = from.and_then(|to| self.follow(to, way)) else {
                return Err(Why::Refused);
            };
            (line, once) = next;
        }
        Err(Why::Refused)
    }

    /// One round of the keeper.
    async fn keep(&self) {
        let until = self.common.host.now() + WRITE_MAX;
        let is_cluster = !self.map.borrow().nodes().is_empty();
        let is_down = |node: &Node<H>| !node.line(Way::Write).is_up();
        let in_doubt = is_cluster && self.nodes.borrow().iter().any(is_down);
        if self.wants_map.get() || in_doubt {
            self.learn_map(until).await;
        }
        let name = &self.common.names.generations;
        let words: [&[u8]; 3] = [b"HGET", name, VERSION];
        let Ok(version) = self.ask((Way::Write, name), &words, until).await else {
            return;
        };
        let known = self.generations.borrow().as_ref().map(|it| it.version());
        if known.is_none() || version.number() != known {
            drop(self.learn(Way::Write, until).await); // what fails is tried at the next round
        }
    }

    /// Asks whoever is up for the cluster's map; nodes that are not in it are given up.
    async fn learn_map(&self, until: Instant) {
        let line = {
            let nodes = self.nodes.borrow();
            let mut lines = nodes.iter().chain([&self.seed]).map(|n| n.line(Way::Write));
            lines.find(|line| line.is_up()).map(Rc::clone)
        };
        let (Some(line), words) = (line, [b"CLUSTER".as_slice(), b"SLOTS"]) else {
            return;
        };
        let (Ok(waiting), Some(from)) = (line.send(&words, false, until), line.peer()) else {
            return;
        };
        let Some(map) = waiting.await.ok().and_then(|reply| Map::read(&reply, from)) else {
            return;
        };
        self.wants_map.set(false);
        self.nodes.borrow_mut().retain(|node| {
            let stays = node.at.is_some_and(|at| map.nodes().contains(&at));
            if !stays {
                node.retire();
            }
            stays
        });
        for at in map.nodes() {
            self.node(*at, Way::Read);
        }
        *self.map.borrow_mut() = map;
    }
}

/// The keeper: a round each [`KEEP`], or when something calls for one.
pub(super) async fn keep<H: Host>(inner: Rc<Inner<H>>) {
    let common = &inner.common;
    while !common.is_retired.get() {
        inner.keep().await;
        let mut sleep = pin!(common.host.sleep_until(common.host.now() + KEEP));
        poll_fn(|cx| {
            if common.is_hurried.take() || common.is_retired.get() {
                return Poll::Ready(());
            }
            common.keeper.set(Some(cx.waker().clone()));
            sleep.as_mut().poll(cx)
        })
        .await;
    }
}
