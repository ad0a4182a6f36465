//! What goes on in a world: each actor has its own sockets, its own dice, its own part of the
//! law.
//!
//! ```text
//!   pairs    host ◄─► host, raw ──► host     both ways, cut off, dropped, reset at any step
//!   dials    host ──► raw
//!   crowd    more receives at once than there are blocks; some go in the middle of the burst
//!   churn    many short connections, each dropped somewhere
//!   blocked  a send that the socket cannot take, and what then becomes of either side
//!   nowhere  connects that are refused or never answered
//!   leaving  a listener that goes with an accept in flight and connections in its backlog
//!   breath   tasks that only let others run
//!   watch    blocks of the pool, filled and looked at again: nobody else may write there
//! ```

use crate::edges::{blocked, breath, churn, crowd, leaving, nowhere, watch};
use crate::raw;
use crate::rng::Rng;
use crate::side::{Plan, Side, greet, plans};
use crate::world::{Deed, World, cut_after, within};
use shardgate::host::Host;
use shardgate::host::ring::{Listener, Socket};
use std::cell::RefCell;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Starts one actor.
pub(crate) fn start(world: &World, rng: &Rng) {
    let all = [
        pairs, dials, crowd, churn, blocked, nowhere, leaving, breath, watch,
    ];
    // The first three carry the most.
    let number = if rng.chance(400) {
        rng.index(3)
    } else {
        rng.index(all.len())
    };
    all[number](world, rng);
}

pub(crate) fn micros(rng: &Rng, most: u64) -> Duration {
    Duration::from_micros(rng.range(0, most))
}

pub(crate) fn at_most(most: usize, rng: &Rng) -> usize {
    1 + rng.index(most)
}

/// The connections that one listener is to get.
struct Guests {
    /// The acceptor's plans; none: it has come.
    plans: RefCell<Vec<Option<Plan>>>,
    /// Whose connector has ended; who broke it before it said its name does not come.
    gone: Vec<Arc<AtomicBool>>,
}

impl Guests {
    fn are_due(&self) -> bool {
        let plans = self.plans.borrow();
        let mut due = plans.iter().zip(&self.gone);
        due.any(|(plan, gone)| plan.is_some() && !gone.load(Ordering::SeqCst))
    }
}

/// Sockets that connect to a listener of the host; every one that may not break must be
/// accepted, once, and carry everything.
fn pairs(world: &World, rng: &Rng) {
    let (listener, at) = world.listen(rng);
    let harsh = rng.pick(&[0, 200, 800]);
    let (mut acceptors, mut gone) = (Vec::new(), Vec::new());
    for number in 0..at_most(12, rng) {
        let (near, far) = plans(rng, number, harsh);
        let left = Arc::new(AtomicBool::new(false));
        acceptors.push(Some(far));
        gone.push(Arc::clone(&left));
        if rng.chance(250) {
            let over = Arc::clone(&world.over);
            world.thread(move || {
                let said = raw::connect(at, number, &near, &over);
                left.store(true, Ordering::SeqCst);
                said
            });
        } else {
            let (name, dice) = (near.name.clone(), Rng::new(rng.next()));
            let task = connector(world.clone(), at, number, near, dice);
            world.spawn(name, async move {
                task.await;
                left.store(true, Ordering::SeqCst);
            });
        }
    }
    let plans = RefCell::new(acceptors);
    let task = acceptor(
        world.clone(),
        listener,
        Guests { plans, gone },
        Rng::new(rng.next()),
    );
    world.spawn("accepting pairs".to_owned(), task);
}

/// Connects, now and then only after having given up a few times, and plays its side.
async fn connector(world: World, at: SocketAddr, number: usize, plan: Plan, rng: Rng) {
    world.rest(&rng, Duration::from_millis(3)).await;
    while rng.chance(200) {
        drop(cut_connect(&world, at, &rng).await);
    }
    match world.host.connect(at).await {
        Ok(link) => Side::connector(&world, link, plan, number).play().await,
        Err(error) => world.fault(format!("{}: connect: {error}", plan.name)),
    }
}

/// A connect that is given up, perhaps after it has succeeded.
async fn cut_connect(world: &World, at: SocketAddr, rng: &Rng) -> Option<io::Result<Socket>> {
    let connect = cut_after(rng.range(1, 2), world.host.connect(at));
    let connected = within(world, micros(rng, 500), connect).await.flatten();
    world.count(Deed::ConnectCut, u64::from(connected.is_none()));
    connected
}

/// Accepts until each connection has come that must, giving up now and then.
async fn acceptor(world: World, listener: Listener, guests: Guests, rng: Rng) {
    let guests = Rc::new(guests);
    while guests.are_due() {
        let polls = if rng.chance(500) {
            1 << 30
        } else {
            rng.range(1, 3)
        };
        let accept = cut_after(polls, world.host.accept(&listener));
        let accepted = within(&world, micros(&rng, 3_000), accept).await.flatten();
        let Some(accepted) = accepted else {
            world.count(Deed::AcceptCut, 1);
            world.rest(&rng, Duration::from_millis(1)).await;
            continue;
        };
        match accepted {
            Ok(link) => {
                let task = accepted_one(world.clone(), link, Rc::clone(&guests));
                world.spawn("accepted".to_owned(), task);
            }
            // A connection that was reset while it waited.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => return world.fault(format!("accept: {error}")),
        }
    }
}

async fn accepted_one(world: World, mut link: Socket, guests: Rc<Guests>) {
    let Some((number, rx)) = greet(&world, &mut link).await else {
        return;
    };
    let plan = guests
        .plans
        .borrow_mut()
        .get_mut(number)
        .and_then(Option::take);
    match plan {
        Some(plan) => Side::acceptor(&world, link, plan, rx).play().await,
        None => world.fault(format!("connection {number} came twice, or from nowhere")),
    }
}

/// Plain sockets that the host connects to.
fn dials(world: &World, rng: &Rng) {
    let harsh = rng.pick(&[0, 300, 800]);
    for number in 0..at_most(3, rng) {
        let (near, far) = plans(rng, number, harsh);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let at = listener.local_addr().unwrap();
        let over = Arc::clone(&world.over);
        world.thread(move || raw::accept(&listener, &far, &over));
        let (world2, dice) = (world.clone(), Rng::new(rng.next()));
        world.spawn(near.name.clone(), async move {
            world2.rest(&dice, Duration::from_millis(3)).await;
            match world2.host.connect(at).await {
                Ok(link) => Side::connector(&world2, link, near, number).play().await,
                Err(error) => world2.fault(format!("{}: connect: {error}", near.name)),
            }
        });
    }
}
