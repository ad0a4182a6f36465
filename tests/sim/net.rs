//! The network of a world: listeners, links of two bounded pipes, FIN and RST told apart.
//!
//! ```text
//!   end 0 (who connected)                                 end 1 (who accepted)
//!     write ──► pipe 0 [ arrived | under way ] cap bytes ──► read
//!      read ◄── pipe 1 [ under way | arrived ] cap bytes ◄── write
//! ```
//!
//! Invariants
//! - I1 A pipe holds at most `cap` bytes, under way and unread together: writers wait.
//! - I2 What one end sent arrives in order: bytes, then FIN or RST.
//! - I3 Closing with unread bytes, or getting bytes when closed, answers with RST, as
//!   Linux does; closing otherwise sends FIN. What arrived before a reset is still read
//!   unless the world says that resets eat.
//! - I4 [`Net::open`] counts ends that are not closed: at rest a leak shows.

use super::world::{Event, World};
use shardgate::base::bufpool::{BLOCK, Block};
use shardgate::base::bytes::{RxBuf, TxBuf};
use shardgate::host::{Host, Link};
use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// How an address answers who connects to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Door {
    /// Accepts when somebody listens, refuses otherwise.
    Normal,
    /// Refuses although somebody listens.
    Refuses,
    /// Never answers.
    Swallows,
    /// Answers after so long.
    Slow(Duration),
}

/// One direction of a link.
struct Pipe {
    bytes: VecDeque<u8>,
    arrived: usize,
    cap: usize,
    /// When the last of what was sent arrives; nothing overtakes it (I2).
    last_at: u64,
    fin_sent: bool,
    fin_arrived: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

/// What a world remembers of one end of a link, for the laws.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct End {
    /// When it was closed, in nanoseconds.
    pub(crate) closed_at: Option<u64>,
    /// When it first could know that the other end closes or resets.
    pub(crate) told_at: Option<u64>,
    error: Option<io::ErrorKind>,
    has_ring: bool,
}

/// A link that exists or existed.
pub(crate) struct Conn {
    pipes: [Pipe; 2],
    /// The end that connected and the end that accepted.
    pub(crate) ends: [End; 2],
    /// The network itself reset it.
    pub(crate) was_hit: bool,
}

/// The queue behind a bound address.
#[derive(Default)]
struct Queue {
    links: VecDeque<SimLink>,
    waker: Option<Waker>,
}

/// All links and listeners of a world.
#[derive(Default)]
pub(crate) struct Net {
    /// Every link there ever was, by number.
    pub(crate) conns: Vec<Conn>,
    listeners: BTreeMap<SocketAddr, Vec<Rc<RefCell<Queue>>>>,
    doors: BTreeMap<SocketAddr, Door>,
    ports: u16,
}

impl Net {
    /// Ends of links that are not closed.
    pub(crate) fn open(&self) -> usize {
        let ends = self.conns.iter().flat_map(|c| &c.ends);
        ends.filter(|e| e.closed_at.is_none()).count()
    }

    /// Whether somebody listens at `at`.
    pub(crate) fn is_bound(&self, at: SocketAddr) -> bool {
        self.listeners.get(&at).is_some_and(|all| !all.is_empty())
    }

    /// How `at` answers from now on.
    pub(crate) fn set_door(&mut self, at: SocketAddr, door: Door) {
        self.doors.insert(at, door);
    }

    /// Takes what waits to be accepted, so that it can be closed.
    pub(crate) fn take_listeners(&mut self) -> Vec<SimLink> {
        let queues = std::mem::take(&mut self.listeners).into_values().flatten();
        queues
            .flat_map(|q| std::mem::take(&mut q.borrow_mut().links))
            .collect()
    }

    fn fresh_port(&mut self) -> u16 {
        self.ports += 1;
        40_000 + self.ports % 20_000
    }
}

/// A bound address; several may share one, as with `SO_REUSEPORT`.
pub(crate) struct SimListener {
    world: World,
    addr: SocketAddr,
    queue: Rc<RefCell<Queue>>,
}

impl SimListener {
    /// Where it is bound.
    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }
}

impl Drop for SimListener {
    fn drop(&mut self) {
        if let Some(all) = self.world.net().borrow_mut().listeners.get_mut(&self.addr) {
            all.retain(|q| !Rc::ptr_eq(q, &self.queue));
        }
        let waiting = std::mem::take(&mut self.queue.borrow_mut().links);
        for link in &waiting {
            link.world.reset_from(link.conn, link.end);
        }
        drop(waiting);
    }
}

/// Waits for a listener's next link.
pub(crate) struct Accepting {
    queue: Rc<RefCell<Queue>>,
}

impl Accepting {
    /// The next link of `on`.
    pub(crate) fn new(on: &SimListener) -> Self {
        Self {
            queue: on.queue.clone(),
        }
    }
}

impl Future for Accepting {
    type Output = io::Result<SimLink>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut queue = self.queue.borrow_mut();
        if let Some(link) = queue.links.pop_front() {
            return Poll::Ready(Ok(link));
        }
        queue.waker = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl World {
    /// Binds `at`; port 0 gets a free one.
    pub(crate) fn bind(&self, mut at: SocketAddr) -> SimListener {
        let queue = Rc::new(RefCell::new(Queue::default()));
        let mut net = self.net().borrow_mut();
        if at.port() == 0 {
            let port = net.fresh_port();
            at.set_port(port);
        }
        net.listeners.entry(at).or_default().push(queue.clone());
        SimListener {
            world: self.clone(),
            addr: at,
            queue,
        }
    }

    /// Connects to `to`: half the latency there, half back.
    pub(crate) async fn dial(self, to: SocketAddr) -> io::Result<SimLink> {
        let door = self.net().borrow().doors.get(&to).copied();
        self.sleep(Duration::from_nanos(self.latency())).await;
        match door.unwrap_or(Door::Normal) {
            Door::Swallows => std::future::pending().await,
            Door::Slow(time) => self.sleep(time).await,
            Door::Normal | Door::Refuses => (),
        }
        let queue = match self.net().borrow().listeners.get(&to) {
            Some(all) if !all.is_empty() && door != Some(Door::Refuses) => {
                Some(self.rng().pick_ref(all).clone())
            }
            _ => None,
        };
        let Some(queue) = queue else {
            self.sleep(Duration::from_nanos(self.latency())).await;
            return Err(io::ErrorKind::ConnectionRefused.into());
        };
        let (near, far) = self.pair();
        let waker = {
            let mut queue = queue.borrow_mut();
            queue.links.push_back(far);
            queue.waker.take()
        };
        waker.into_iter().for_each(Waker::wake);
        self.sleep(Duration::from_nanos(self.latency())).await;
        Ok(near)
    }

    fn pair(&self) -> (SimLink, SimLink) {
        let (faults, rng) = (self.faults(), self.rng());
        let mut net = self.net().borrow_mut();
        let conn = net.conns.len();
        let pipe = || {
            let (least, most) = (faults.buffer.0 as u64, faults.buffer.1 as u64);
            let cap = usize::try_from(rng.range(least, most)).unwrap();
            Pipe {
                bytes: VecDeque::with_capacity(cap),
                arrived: 0,
                cap,
                last_at: 0,
                fin_sent: false,
                fin_arrived: false,
                reader: None,
                writer: None,
            }
        };
        let pipes = [pipe(), pipe()];
        let end = || End {
            has_ring: rng.chance(faults.ring_permille),
            ..End::default()
        };
        let ends = [end(), end()];
        net.conns.push(Conn {
            pipes,
            ends,
            was_hit: false,
        });
        let link = |end| SimLink {
            world: self.clone(),
            conn,
            end,
            sending: None,
        };
        (link(0), link(1))
    }

    /// One-way latency of one segment, in nanoseconds.
    fn latency(&self) -> u64 {
        let (faults, rng) = (self.faults(), self.rng());
        let mut nanos = rng.range(faults.latency_us.0 * 1000, faults.latency_us.1 * 1000);
        if rng.chance(faults.stall_permille) {
            nanos += rng.range(0, faults.stall_ms * 1_000_000);
        }
        nanos
    }

    /// Sends `event` down pipe `from`, behind everything that was sent before (I2).
    fn send_event(&self, net: &mut Net, from: usize, conn: usize, event: Event) {
        let pipe = &mut net.conns[conn].pipes[from];
        let at = (self.now().as_nanos() + self.latency()).max(pipe.last_at + 1);
        pipe.last_at = at;
        self.at(at, event);
    }

    /// End `end` of `conn` sends a reset instead of whatever else it had to say.
    pub(crate) fn reset_from(&self, conn: usize, end: usize) {
        let mut net = self.net().borrow_mut();
        net.conns[conn].ends[end].error = Some(io::ErrorKind::ConnectionReset);
        self.send_event(&mut net, end, conn, Event::Reset { conn, to: 1 - end });
    }

    /// Something arrives.
    pub(crate) fn happens(&self, event: Event) {
        let mut net = self.net().borrow_mut();
        let now = self.now().as_nanos();
        match event {
            Event::Wake(..) => unreachable!("the clock's own"),
            Event::Arrive { conn, from, len } => {
                let c = &mut net.conns[conn];
                let reader = c.ends[1 - from];
                let pipe = &mut c.pipes[from];
                if reader.closed_at.is_none() && reader.error.is_none() {
                    pipe.arrived += len;
                    pipe.reader.take().into_iter().for_each(Waker::wake);
                    return;
                }
                let rest = pipe.arrived;
                pipe.bytes.drain(rest..rest + len); // nobody is there to read it
                pipe.writer.take().into_iter().for_each(Waker::wake);
                if reader.closed_at.is_some() && reader.error.is_none() {
                    // I3
                    self.send_event(&mut net, 1 - from, conn, Event::Reset { conn, to: from });
                }
            }
            Event::Fin { conn, from } => {
                let c = &mut net.conns[conn];
                c.pipes[from].fin_arrived = true;
                c.ends[1 - from].told_at.get_or_insert(now);
                c.pipes[from]
                    .reader
                    .take()
                    .into_iter()
                    .for_each(Waker::wake);
            }
            Event::Reset { conn, to } => {
                let c = &mut net.conns[conn];
                c.ends[to].told_at.get_or_insert(now);
                c.ends[to]
                    .error
                    .get_or_insert(io::ErrorKind::ConnectionReset);
                let incoming = &mut c.pipes[1 - to];
                if self.faults().reset_eats {
                    incoming.bytes.drain(..incoming.arrived);
                    incoming.arrived = 0;
                }
                incoming.reader.take().into_iter().for_each(Waker::wake);
                c.pipes[to].writer.take().into_iter().for_each(Waker::wake);
            }
        }
    }
}

/// One end of a link. Dropping it closes it.
pub(crate) struct SimLink {
    world: World,
    conn: usize,
    end: usize,
    /// A ring-like end owns what it sends until it is sent.
    sending: Option<(Block, usize, usize)>,
}

impl std::fmt::Debug for SimLink {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(to, "SimLink({}.{})", self.conn, self.end)
    }
}

impl std::fmt::Debug for SimListener {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(to, "SimListener({})", self.addr)
    }
}

impl SimLink {
    /// The number of the link, for [`Net::conns`].
    pub(crate) fn conn(&self) -> usize {
        self.conn
    }

    /// Closes with RST.
    pub(crate) fn reset(self) {
        self.world.reset_from(self.conn, self.end);
    }

    /// Puts a part of `bytes` under way: how many, or that it cannot be now.
    fn write(&self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let (world, conn, end) = (&self.world, self.conn, self.end);
        let (faults, rng) = (world.faults(), world.rng());
        let mut net = world.net().borrow_mut();
        let c = &mut net.conns[conn];
        if c.ends[end].error.is_some() || c.pipes[end].fin_sent {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let room = (c.pipes[end].cap - c.pipes[end].bytes.len()).min(bytes.len());
        if room == 0 {
            c.pipes[end].writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        if rng.chance(faults.not_yet_permille) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let len = if faults.short_io { rng.cut(room) } else { room };
        c.pipes[end].bytes.extend(&bytes[..len]);
        if rng.chance(faults.reset_permille) {
            c.was_hit = true;
            world.send_event(&mut net, end, conn, Event::Reset { conn, to: 1 - end });
            world.send_event(&mut net, 1 - end, conn, Event::Reset { conn, to: end });
        }
        world.send_event(
            &mut net,
            end,
            conn,
            Event::Arrive {
                conn,
                from: end,
                len,
            },
        );
        world.note(len as u64);
        Poll::Ready(Ok(len))
    }

    /// Reads what has arrived; on a ring `keep` gets it in a block.
    fn read(
        &mut self,
        cx: &mut Context<'_>,
        rx: &mut RxBuf,
        keep: impl FnOnce(&mut RxBuf, Block, usize),
    ) -> Poll<io::Result<usize>> {
        let (faults, rng) = (self.world.faults(), self.world.rng());
        let mut net = self.world.net().borrow_mut();
        let c = &mut net.conns[self.conn];
        let end = c.ends[self.end];
        let pipe = &mut c.pipes[1 - self.end];
        if pipe.arrived > 0 {
            // Who polls with a waker that wakes nobody asks what is there now. (`will_wake`
            // compares addresses of tables, of which a build that optimises has several.)
            let asks_once = cx.waker().data().is_null();
            if !asks_once && rng.chance(faults.not_yet_permille) {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            let mut own = end.has_ring.then(|| rx.pool().take(BLOCK));
            let to = match &mut own {
                Some(block) => block.bytes_mut(),
                None => rx.space(),
            };
            let most = to.len().min(pipe.arrived);
            let len = if faults.short_io { rng.cut(most) } else { most };
            for (to, byte) in to.iter_mut().zip(pipe.bytes.drain(..len)) {
                *to = byte;
            }
            match own {
                None => rx.commit(len),
                Some(block) => keep(rx, block, len),
            }
            pipe.arrived -= len;
            pipe.writer.take().into_iter().for_each(Waker::wake);
            self.world.note(len as u64);
            return Poll::Ready(Ok(len));
        }
        if let Some(error) = end.error {
            return Poll::Ready(Err(error.into()));
        }
        if pipe.fin_arrived {
            return Poll::Ready(Ok(0));
        }
        pipe.reader = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl Link for SimLink {
    fn poll_read(&mut self, cx: &mut Context<'_>, rx: &mut RxBuf) -> Poll<io::Result<usize>> {
        self.read(cx, rx, RxBuf::take_in)
    }

    fn poll_read_in_place(
        &mut self,
        cx: &mut Context<'_>,
        rx: &mut RxBuf,
    ) -> Poll<io::Result<usize>> {
        self.read(cx, rx, RxBuf::adopt)
    }

    fn try_send(&mut self, parts: &[IoSlice<'_>]) -> usize {
        let mut cx = Context::from_waker(Waker::noop());
        let mut sent = 0;
        for part in parts {
            match self.write(&mut cx, part) {
                Poll::Ready(Ok(len)) if len == part.len() => sent += len,
                Poll::Ready(Ok(len)) => return sent + len,
                _ => break,
            }
        }
        sent
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>, tx: &mut TxBuf) -> Poll<io::Result<()>> {
        let has_ring = self.world.net().borrow().conns[self.conn].ends[self.end].has_ring;
        loop {
            if let Some((block, mut start, stop)) = self.sending.take() {
                while start < stop {
                    match self.write(cx, &block.bytes()[start..stop]) {
                        Poll::Ready(Ok(len)) => start += len,
                        Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                        Poll::Pending => {
                            self.sending = Some((block, start, stop));
                            return Poll::Pending;
                        }
                    }
                }
                continue;
            }
            if tx.is_empty() {
                return Poll::Ready(Ok(()));
            }
            if has_ring {
                self.sending = tx.lend();
                continue;
            }
            match self.write(cx, tx.unsent()) {
                Poll::Ready(Ok(len)) => tx.sent(len),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    fn finish(&mut self) {
        let (conn, end) = (self.conn, self.end);
        let mut net = self.world.net().borrow_mut();
        if !std::mem::replace(&mut net.conns[conn].pipes[end].fin_sent, true) {
            self.world
                .send_event(&mut net, end, conn, Event::Fin { conn, from: end });
        }
    }
}

impl Drop for SimLink {
    fn drop(&mut self) {
        let (conn, end) = (self.conn, self.end);
        let mut net = self.world.net().borrow_mut();
        let c = &mut net.conns[conn];
        c.ends[end].closed_at = Some(self.world.now().as_nanos());
        let incoming = &mut c.pipes[1 - end];
        let unread = std::mem::take(&mut incoming.arrived);
        incoming.bytes.drain(..unread);
        // another task of the same owner may wait on it
        incoming.reader.take().into_iter().for_each(Waker::wake);
        c.pipes[end].writer.take().into_iter().for_each(Waker::wake);
        let is_dead = c.ends[end].error.is_some();
        let has_finished = std::mem::replace(&mut c.pipes[end].fin_sent, true);
        if is_dead {
            return;
        }
        if unread > 0 {
            c.ends[end].error = Some(io::ErrorKind::ConnectionReset);
            self.world
                .send_event(&mut net, end, conn, Event::Reset { conn, to: 1 - end }); // I3
        } else if !has_finished {
            self.world
                .send_event(&mut net, end, conn, Event::Fin { conn, from: end });
        }
    }
}
