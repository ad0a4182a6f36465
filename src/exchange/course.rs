//! The course of an exchange over all its attempts: what stays the same, and whose turn is next.

use super::down::{Down, Wait};
use super::fallback;
use super::reply::Manner;
use super::request::{Request, Wanted};
use super::settle::Settle;
use crate::base::fault::Kind;
use crate::base::span::Span;
use crate::base::time::Instant;
use crate::config::Reason;
use crate::config::model::{Found, Hedge};
use crate::dialect::opening;
use crate::dialect::route::Route;
use crate::dialect::tokens::Weight;
use crate::host::Host;
use crate::policy::breaker::{Outcome, Turn};
use crate::policy::plan::{Plan, Step};
use crate::policy::retry::Hope;
use crate::policy::rotation::Sight;
use crate::policy::targets::Targets;
use crate::shard::Shard;
use crate::shard::snapshot::{Served, Snapshot};
use crate::wire::http1::RequestHead;
use std::cell::Cell;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

/// The name upstream of a target that has none of its own: the one that was asked for
/// ([`Wanted::forwarded`](super::request::Wanted::forwarded)).
pub const AS_ASKED: &str = "";

/// The field by which a client says which conversation its request belongs to.
const SESSION: &[u8] = b"x-shardgate-session";

/// Why a fallback's turn came when a breaker, or several, let nothing through.
const BREAKER_OPEN: &str = "breaker_open";

/// What stays the same over all attempts of an exchange, and is still known when the request
/// itself is gone.
#[derive(Debug)]
pub struct Course<'a, H: Host> {
    /// The shard.
    pub shard: &'a Rc<Shard<H>>,
    /// What the exchange began with.
    pub snapshot: &'a Rc<Snapshot<H::Stream>>,
    /// The end of everything.
    pub total: Instant,
    /// How the reply is framed.
    pub manner: Manner,
    /// The route by which the client came; it is answered in that one's dialect.
    pub route: Route,
    /// A stream was asked for.
    pub is_stream: bool,
    /// The client asked for the usage event itself.
    pub wants_usage: bool,
    /// It asked for one choice.
    pub is_single: bool,
    /// There is no further attempt: what came of the last one is the client's.
    is_last: Cell<bool>,
    /// Bytes of the body, below 4 GiB.
    bytes: u32,
    /// The most tokens that the answer may have, as far as they can be told.
    answer_max: u32,
}

/// How long the beginning of an answer is waited for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Patience {
    /// There is a target that was not asked yet.
    pub has_more: bool,
    /// What the request wants at most, of a stream.
    pub first_token: Option<Duration>,
}

/// What follows an attempt that failed.
#[derive(Clone, Copy, Debug)]
pub enum Another<'a> {
    /// This one.
    Now(Step<'a>),
    /// A target that was asked already, not before then.
    Later(Instant),
}

impl<'a, H: Host> Course<'a, H> {
    /// The course of the request that `down` has; `None` without one.
    pub fn new(
        (shard, snapshot): Served<'a, H>,
        down: &Down<H::Stream>,
        began: Instant,
        manner: Manner,
    ) -> Option<Self> {
        let wanted = down.request.as_ref()?.wanted.as_ref()?;
        let model = snapshot.config.models.get(wanted.model)?;
        let timeout = wanted.wishes.as_ref().and_then(|wishes| wishes.timeout);
        let narrow = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
        Some(Self {
            shard,
            snapshot,
            total: began + timeout.map_or(model.timeouts.total, |it| it.min(model.timeouts.total)),
            manner,
            route: wanted.route,
            is_stream: wanted.ask.stream,
            wants_usage: wanted.ask.wants_usage,
            is_single: wanted.ask.n.is_none_or(|n| n == 1),
            is_last: Cell::new(false),
            bytes: narrow(wanted.body.len() as u64),
            answer_max: narrow(wanted.ask.max_tokens.unwrap_or(0)),
        })
    }

    /// When a second attempt starts beside a slow one, for the model of this index.
    pub fn hedge(&self, asked: Option<usize>) -> Option<&'a Hedge> {
        let model = self.snapshot.config.models.get(asked?)?;
        let hedge = model.hedge.as_ref();
        hedge.filter(|_| self.route != Route::CountTokens)
    }

    /// The next target of the plan.
    pub fn following(&self, down: &mut Down<H::Stream>) -> Option<Step<'a>> {
        self.take_turn(down, false)
    }

    /// The same, of those only of which nothing is in doubt if `only_calm`.
    fn take_turn(&self, down: &mut Down<H::Stream>, only_calm: bool) -> Option<Step<'a>> {
        let config = &self.snapshot.config;
        let step = self.with_plan(down, |plan, found, sight| {
            sight.only_calm = only_calm;
            let mut rotations = self.snapshot.rotations.borrow_mut();
            plan.next(config, &mut rotations, found, sight)
        });
        step.map(|step| self.taken(down, step))
    }

    /// Calls `with` with the plan, whose model it is for, and what decisions go by.
    fn with_plan<T>(
        &self,
        down: &mut Down<H::Stream>,
        with: impl FnOnce(&mut Plan, &Found<'a>, &mut Sight<'_>) -> Option<T>,
    ) -> Option<T> {
        let config = &self.snapshot.config;
        let Down { request, rx, .. } = down;
        let Request { head, wanted, .. } = request.as_deref_mut()?;
        let Wanted {
            plan,
            body,
            ask,
            model,
            forwarded,
            wishes,
            ..
        } = wanted.as_mut()?;
        let messages = ask.messages();
        let wishes = wishes.as_deref();
        let found = Found {
            index: *model,
            model: config.models.get(*model)?,
            forwarded: AS_ASKED,
        };
        let data = rx.data();
        let conversation = || conversation(head, data, (*body, messages));
        let now = self.shard.host.lately();
        self.shard.with_turn(now, |targets, turn| {
            let mut sight = Sight {
                targets,
                turn,
                places: &self.snapshot.places,
                bytes: self.bytes.into(),
                answer_max: self.answer_max.into(),
                asked: wishes.map_or(&**forwarded, |wishes| &wishes.asked),
                fallbacks: wishes.and_then(|wishes| wishes.fallbacks.as_deref()),
                only_calm: false,
                conversation: &conversation,
            };
            with(plan, &found, &mut sight)
        })
    }

    /// A step was taken from the plan: if that claimed a probe the others hear of it at once.
    fn taken(&self, down: &mut Down<H::Stream>, step: Step<'a>) -> Step<'a> {
        if step.permits.is_probe() {
            self.shard.gossip_now();
        }
        let wanted = down.request.as_mut().and_then(|it| it.wanted.as_mut());
        if let Some(wanted) = wanted
            && let Some(wishes) = wanted.wishes.as_deref()
            && let Some(name) = wishes.forwarded(wanted.plan.last_turn())
            && *name != *wanted.forwarded
        {
            wanted.forwarded = name.into();
        }
        step
    }

    /// How long the answer to the request of `down` is waited for.
    pub fn patience(&self, down: &Down<H::Stream>) -> Patience {
        let wanted = down.request.as_ref().and_then(|it| it.wanted.as_ref());
        let wishes = wanted.and_then(|wanted| wanted.wishes.as_ref());
        Patience {
            has_more: !self.is_stream && self.has_more(down),
            first_token: wishes.and_then(|wishes| wishes.first_token),
        }
    }

    /// Whatever comes next is what the client gets.
    pub fn be_last(&self) {
        self.is_last.set(true);
    }

    /// Whether there is a target that was not asked yet.
    pub fn has_more(&self, down: &Down<H::Stream>) -> bool {
        let config = &self.snapshot.config;
        let request = down.request.as_ref();
        let wanted = request.and_then(|request| request.wanted.as_ref());
        wanted.is_some_and(|wanted| {
            let model = config.models.get(wanted.model);
            let found = model.map(|model| Found {
                index: wanted.model,
                model,
                forwarded: AS_ASKED,
            });
            let wishes = wanted.wishes.as_ref();
            let named = wishes.and_then(|wishes| wishes.fallbacks.as_deref());
            let has_more = |found| wanted.plan.has_more(config, &found, named);
            !self.is_last.get() && found.is_some_and(has_more)
        })
    }

    /// What to do after an attempt at `step` that failed for this reason: another target, or one
    /// of those again, if the budget allows it. Who was told once that there is nothing more is
    /// told so for good.
    pub fn another(
        &self,
        down: &mut Down<H::Stream>,
        step: &Step<'_>,
        (reason, hope): (Reason, Hope),
    ) -> Option<Another<'a>> {
        fallback::note(down, step, reason);
        if self.is_last.get() {
            return None;
        }
        let another = self.within_budget(|| {
            plan(down)?.failed(hope);
            let following = self.following(down).map(Another::Now);
            following.or_else(|| self.later(down).map(Another::Later))
        });
        self.is_last.set(another.is_none());
        another
    }

    /// When a target is worth asking again.
    fn later(&self, down: &mut Down<H::Stream>) -> Option<Instant> {
        let config = &self.snapshot.config;
        let at = self.with_plan(down, |plan, found, sight| plan.later(config, found, sight));
        at.filter(|at| *at < self.total)
    }

    /// The target of `another`, once its time has come.
    ///
    /// # Errors
    /// [`Kind::ClientGone`], [`Kind::ShutDown`].
    pub async fn turn_of(
        &self,
        down: &mut Down<H::Stream>,
        another: Another<'a>,
    ) -> Result<Step<'a>, Kind> {
        let at = match another {
            Another::Now(step) => return Ok(step),
            Another::Later(at) => at,
        };
        down.arm(at);
        let wait = down.wait(|_| Poll::<()>::Pending).await;
        if self.shard.is_over() {
            return Err(Kind::ShutDown);
        }
        if matches!(wait, Wait::Gone) {
            return Err(Kind::ClientGone);
        }
        let config = &self.snapshot.config;
        let step = self.with_plan(down, |plan, found, sight| plan.again(config, found, sight));
        step.map(|step| self.taken(down, step))
            .ok_or(Kind::Internal)
    }

    /// The target for a second attempt beside the one under way, with the request in its form;
    /// paid for from the budget. Without one the plan stays as it is.
    pub fn rival(&self, down: &mut Down<H::Stream>, settle: &Settle<H>) -> Option<Step<'a>> {
        let before = *plan(down)?;
        if self.is_last.get() || before.left() == 0 {
            return None;
        }
        let step = self.within_budget(|| {
            loop {
                let step = self.take_turn(down, true)?;
                if self.prepare(down, &step).is_ok() {
                    return Some(step);
                }
                settle.pass_over(&step);
                plan(down)?.not_made();
            }
        });
        if step.is_none() {
            *plan(down)? = before;
        }
        step
    }

    /// Whether an answer that was refused for its content is worth another model.
    pub fn minds_content(&self, settle: &Settle<H>) -> bool {
        let model = settle.asked();
        model.is_some_and(|model| model.fallback_on.has(Reason::ContentPolicy))
    }

    /// One of two attempts that run at once failed: `is_second` of them, or the other.
    pub fn failed_beside(&self, down: &mut Down<H::Stream>, is_second: bool, hope: Hope) {
        let Some(plan) = plan(down) else {
            return;
        };
        if !is_second {
            plan.change_places();
        }
        plan.failed(hope);
        if !is_second {
            plan.change_places();
        }
    }

    /// Of two attempts that ran at once the first is the one that goes on.
    pub fn change_places(&self, down: &mut Down<H::Stream>) {
        if let Some(plan) = plan(down) {
            plan.change_places();
        }
    }

    /// Whether nothing of the target of `step` is in doubt, nor of its host.
    pub fn is_calm(&self, step: &Step<'_>) -> bool {
        let (model, place) = (step.model_index, step.target_index);
        let places = &self.snapshot.places;
        let (target, host) = (places.target(model, place), places.host(model, place));
        let now = self.shard.host.now();
        let is_calm = |targets: &mut Targets, turn: &Turn<'_>| {
            targets.is_calm(target, turn) && targets.is_calm(host, turn)
        };
        !step.permits.is_probe() && self.shard.with_turn(now, is_calm)
    }

    /// What `following` gives, paid for from the budget.
    fn within_budget<T>(&self, following: impl FnOnce() -> Option<T>) -> Option<T> {
        let Some(percent) = self.snapshot.config.retry.budget_percent else {
            return following();
        };
        let shard = self.shard;
        let mut budget = shard.budget.get();
        let exchanges = shard.counters.borrow().exchanges;
        let now = shard.host.now();
        let has_one = budget.has_one(percent, (exchanges, shard.shards), now);
        let further = has_one.then(following).flatten();
        if further.is_some() {
            budget.spend();
        }
        shard.budget.set(budget);
        shard.counters.borrow_mut().budget_spent += u64::from(!has_one);
        further
    }

    /// Why none of the targets of the model that was asked for was tried.
    pub fn passed_over(&self, settle: &Settle<H>) -> &'static str {
        let Some(asked) = settle.receipt.model() else {
            return BREAKER_OPEN;
        };
        let model = self.snapshot.config.models.get(asked);
        let count = model.map_or(0, |model| model.targets.len());
        let is_cooling = |targets: &mut Targets, turn: &Turn<'_>| {
            let target = |place| self.snapshot.places.target(asked, place);
            (0..count).all(|place| targets.is_cooling(target(place), turn))
        };
        if self.shard.with_turn(self.shard.host.now(), is_cooling) {
            "cooling"
        } else {
            BREAKER_OPEN
        }
    }

    /// A fallback's turn begins, for the reason `why`.
    pub fn count_fallback(&self, settle: &Settle<H>, step: &Step<'_>, why: &'static str) {
        let Some(from) = settle.receipt.model() else {
            return;
        };
        let mut counters = self.shard.counters.borrow_mut();
        let places = &self.snapshot.places;
        let key = (places.model(from), places.model(step.model_index), why);
        *counters.fallbacks.entry(key).or_default() += 1;
    }

    /// Estimate of the tokens that an attempt takes: of the body, as this target's usage has
    /// taught, and what the answer may have.
    pub fn tokens(&self, step: &Step<'_>) -> u64 {
        self.prompt(step).saturating_add(self.answer_max.into())
    }

    /// The same of the prompt alone.
    pub fn prompt(&self, step: &Step<'_>) -> u64 {
        let places = &self.snapshot.places;
        let target = places.target(step.model_index, step.target_index);
        self.shard
            .targets
            .borrow()
            .estimate(target, self.bytes.into())
    }

    /// What connecting to the host of `step` came to: it goes for all targets there.
    pub fn connected(&self, step: &Step<'_>, outcome: Outcome) {
        let places = &self.snapshot.places;
        let Some(host) = places.host(step.model_index, step.target_index) else {
            return;
        };
        let said = (step.permits.host, outcome);
        let now = self.shard.host.now();
        let changed = self
            .shard
            .with_turn(now, |targets, turn| targets.judge(host, said, turn));
        if changed {
            self.shard.gossip_now();
        }
    }

    /// The provider of `step` wants its target to be left alone for `wait`.
    pub fn cool(&self, step: &Step<'_>, wait: Duration) {
        let places = &self.snapshot.places;
        let target = places.target(step.model_index, step.target_index);
        self.cool_all(target.into_iter(), wait);
    }

    /// Nothing goes to the provider of `step` with its key for `wait`.
    pub fn cool_provider(&self, step: &Step<'_>, wait: Duration) {
        let models = self.snapshot.config.models.iter().enumerate();
        let targets = models.flat_map(|(index, model)| {
            let targets = model.targets.iter().enumerate();
            let of_it = targets.filter(|(_, target)| target.provider == step.provider_index);
            of_it.filter_map(move |(place, _)| self.snapshot.places.target(index, place))
        });
        self.cool_all(targets, wait);
    }

    fn cool_all(&self, targets: impl Iterator<Item = usize>, wait: Duration) {
        let now = self.shard.host.now();
        let mut is_news = false;
        for target in targets {
            let mut known = self.shard.targets.borrow_mut();
            is_news |= known.cool(target, now + wait, now);
        }
        if is_news {
            self.shard.gossip_now();
        } else {
            self.shard.gossip_soon();
        }
    }

    /// Shard and snapshot.
    pub fn served(&self) -> Served<'a, H> {
        (self.shard, self.snapshot)
    }

    /// What a passed deadline means: the shard's end, the one over everything, or `kind`.
    pub fn late(&self, kind: Kind) -> Kind {
        if self.shard.is_over() {
            Kind::ShutDown
        } else if self.shard.host.now() >= self.total {
            Kind::TotalTimeout
        } else {
            kind
        }
    }
}

/// The plan of the request that `down` has.
fn plan<L>(down: &mut Down<L>) -> Option<&mut Plan> {
    let wanted = down.request.as_mut()?.wanted.as_mut()?;
    Some(&mut wanted.plan)
}

/// Which conversation a request goes on with: the session that the client names, else by how
/// the conversation begins.
fn conversation(head: &RequestHead, data: &[u8], (body, messages): (Span, Option<Span>)) -> u64 {
    let named = || {
        let mut fields = head.fields(data);
        fields.find(|(name, _)| name.eq_ignore_ascii_case(SESSION))
    };
    match head.has_wishes.then(named).flatten() {
        Some((_, session)) if !session.is_empty() => opening::session(session),
        _ => opening::key(body.bytes(data), messages),
    }
}

/// When an answer that was asked for at `sent` must have begun (I2 of `attempt`).
pub fn first_token<H: Host>(
    course: &Course<'_, H>,
    patience: Patience,
    step: &Step<'_>,
    sent: Instant,
) -> Instant {
    if course.is_stream {
        let longest = step.timeouts().first_token;
        let longest = patience
            .first_token
            .map_or(longest, |wish| wish.min(longest));
        (sent + longest).min(course.total)
    } else if patience.has_more {
        sent + course.total.since(sent) / 2
    } else {
        course.total
    }
}

/// What the request of `down` weighs, when it was read.
pub fn weight<L>(down: &Down<L>) -> Option<Box<Weight>> {
    let wanted = down.request.as_ref()?.wanted.as_ref()?;
    let rewrite = wanted.rewrite.as_ref()?;
    (rewrite.weight != Weight::default()).then(|| Box::new(rewrite.weight))
}
