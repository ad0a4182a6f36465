//! The course of an exchange over all its attempts: what stays the same, whose turn is next, and
//! the request in the form of that target.

use super::attempt::Failed;
use super::count;
use super::down::Down;
use super::fallback;
use super::reply::Manner;
use super::request::{Request, Wanted};
use super::settle::Settle;
use crate::base::fault::Kind;
use crate::base::span::Span;
use crate::base::time::Instant;
use crate::config::model::Found;
use crate::config::{Overrides, Reason};
use crate::dialect::anthropic::request::holds_sealed_thinking;
use crate::dialect::model::{Dialect, Trouble};
use crate::dialect::opening;
use crate::dialect::route::Route;
use crate::dialect::tokens::Weight;
use crate::dialect::{abilities, gemini, speak};
use crate::host::Host;
use crate::policy::breaker::Outcome;
use crate::policy::plan::Step;
use crate::policy::rotation::Sight;
use crate::shard::Shard;
use crate::shard::snapshot::{Served, Snapshot};
use crate::wire::http1::RequestHead;
use std::cell::Cell;
use std::fmt;
use std::rc::Rc;
use std::time::Duration;

/// The name upstream of a target that has none of its own: the one that was asked for
/// ([`Wanted::forwarded`](super::request::Wanted::forwarded)).
pub const AS_ASKED: &str = "";

/// The field by which a client says which conversation its request belongs to.
const SESSION: &[u8] = b"x-shardgate-session";

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
    /// The next attempt, when it was chosen before this one was given up.
    ahead: Ahead<'a>,
}

/// A step that was chosen early.
struct Ahead<'a>(Cell<Option<Box<Step<'a>>>>);

impl fmt::Debug for Ahead<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ahead").finish_non_exhaustive()
    }
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
            ahead: Ahead(Cell::new(None)),
        })
    }

    /// The next target of the plan.
    pub fn following(&self, down: &mut Down<H::Stream>) -> Option<Step<'a>> {
        let config = &self.snapshot.config;
        let Down { request, rx, .. } = down;
        let Request { head, wanted } = request.as_deref_mut()?;
        let Wanted {
            plan,
            body,
            model,
            forwarded,
            wishes,
            ..
        } = wanted.as_mut()?;
        let wishes = wishes.as_deref();
        let found = Found {
            index: *model,
            model: config.models.get(*model)?,
            forwarded: AS_ASKED,
        };
        let data = rx.data();
        let conversation = || conversation(head, data, *body);
        let now = self.shard.host.now();
        let mut rotations = self.snapshot.rotations.borrow_mut();
        let step = self.shard.with_turn(now, |targets, turn| {
            let mut sight = Sight {
                targets,
                turn,
                places: &self.snapshot.places,
                bytes: self.bytes.into(),
                answer_max: self.answer_max.into(),
                asked: wishes.map_or(forwarded, |wishes| &wishes.asked),
                fallbacks: wishes.and_then(|wishes| wishes.fallbacks.as_deref()),
                conversation: &conversation,
            };
            plan.next(config, &mut rotations, &found, &mut sight)
        });
        if step.is_some_and(|step| step.permits.is_probe()) {
            self.shard.gossip_now();
        }
        if let Some(name) = wishes.and_then(|wishes| wishes.forwarded(plan.last_turn()))
            && name != &**forwarded
        {
            *forwarded = name.into();
        }
        step
    }

    /// The next target of the plan, after an attempt at `step` that failed for this reason: if the
    /// budget allows one more. Who was told once that there is none is told so for good.
    pub fn another(
        &self,
        down: &mut Down<H::Stream>,
        step: &Step<'_>,
        reason: Reason,
    ) -> Option<Step<'a>> {
        fallback::note(down, step, reason);
        if self.is_last.get() {
            return None;
        }
        let step = self.within_budget(|| self.following(down));
        self.is_last.set(step.is_none());
        step
    }

    /// Whether an answer that was refused for its content is worth another model.
    pub fn minds_content(&self, settle: &Settle<H>) -> bool {
        let models = &self.snapshot.config.models;
        let model = settle.receipt.model.and_then(|index| models.get(index));
        model.is_some_and(|model| model.fallback_on.has(Reason::ContentPolicy))
    }

    /// Whether there is another target, which is kept until [`Course::refused`] asks for it.
    pub fn looks_ahead(&self, down: &mut Down<H::Stream>, step: &Step<'_>, reason: Reason) -> bool {
        let another = self.another(down, step, reason);
        let has_one = another.is_some();
        self.ahead.0.set(another.map(Box::new));
        has_one
    }

    /// What an attempt that ended with `kind` failed of: a refusal for its content when there is
    /// a target ahead.
    pub fn refused(&self, kind: Kind) -> Failed<'a> {
        let status = Trouble::ContentPolicy.status();
        let ahead = self.ahead.0.take();
        ahead.map_or(Failed::Fault(kind), |step| Failed::Refused(status, *step))
    }

    /// What `following` gives, paid for from the budget.
    fn within_budget(&self, following: impl FnOnce() -> Option<Step<'a>>) -> Option<Step<'a>> {
        let Some(percent) = self.snapshot.config.retry.budget_percent else {
            return following();
        };
        let shard = self.shard;
        let mut budget = shard.budget.get();
        let exchanges = shard.counters.borrow().exchanges;
        let now = shard.host.now();
        let has_one = budget.has_one(percent, (exchanges, shard.shards), now);
        let step = has_one.then(following).flatten();
        if step.is_some() {
            budget.spend();
        }
        shard.budget.set(budget);
        shard.counters.borrow_mut().budget_spent += u64::from(!has_one);
        step
    }

    /// Puts the request into the form of the target of `step`, if that speaks another dialect
    /// than the client.
    ///
    /// # Errors
    /// [`Kind::Unfit`]: this target cannot honour it. [`Kind::BadAsk`]: nobody could.
    pub fn prepare(&self, down: &mut Down<H::Stream>, step: &Step<'_>) -> Result<(), Kind> {
        let Down { request, rx, .. } = down;
        let request = request.as_deref_mut().ok_or(Kind::Internal)?;
        let wanted = request.wanted.as_mut().ok_or(Kind::Internal)?;
        let spoken = step.provider.dialect.speaks();
        let body = wanted.body.bytes(rx.data());
        // What this gateway sealed no provider can open.
        let is_sealed = spoken == Dialect::Anthropic && holds_sealed_thinking(body);
        let model = match step.upstream_model {
            AS_ASKED => &*wanted.forwarded,
            model => model,
        };
        let only_chats = self.only_chats(step, model);
        let cloud = step.provider.cloud();
        // A flavour has no embeddings under these URLs.
        let is_plain = match step.provider.flavour {
            None => true,
            Some(_) => cloud.is_none() && !self.route.embeds(),
        };
        if spoken == self.route.dialect() && !is_sealed && !only_chats && is_plain {
            if let Some(rewrite) = &mut wanted.rewrite {
                rewrite.pass();
            }
            // Gemini wants the model of the path in the body again.
            if self.route.embeds()
                && spoken == Dialect::Gemini
                && let Some(renamed) = gemini::embed::rename(body, model)
            {
                wanted.rewrite.get_or_insert_default().body = renamed;
            }
            return Ok(());
        }
        let rewrite = wanted.rewrite.get_or_insert_default();
        rewrite.only_chats = only_chats;
        if self.route.embeds() && (!speak::embeds(spoken) || !is_plain) {
            rewrite.refuse(
                "model",
                "has no target that makes embeddings through this API",
            );
            return Err(Kind::Unfit);
        }
        if let Some(cloud) = cloud.filter(|_| self.route == Route::Messages && !is_sealed) {
            let fields = request.head.fields(rx.data());
            let betas = fields.filter(|(name, _)| name.eq_ignore_ascii_case(b"anthropic-beta"));
            let betas: Vec<_> = betas.map(|(_, value)| value).collect();
            return rewrite.adapt(cloud, body, &betas.join(&b','));
        }
        rewrite.read(self.route, body, model, self.is_stream)?;
        if count::is_ours(self, step) {
            return Ok(()); // counted here
        }
        rewrite.write((spoken, cloud), model, self.overrides(step))
    }

    /// What the configuration says of the model of `step`.
    fn overrides(&self, step: &Step<'_>) -> Option<&Overrides> {
        let model = self.snapshot.config.models.get(step.model_index)?;
        model.targets.get(step.target_index)?.abilities.as_deref()
    }

    /// Whether `/v1/completions` is asked of a model of `OpenAI`'s that only chats.
    fn only_chats(&self, step: &Step<'_>, model: &str) -> bool {
        self.route == Route::Completions && step.provider.dialect.speaks() == Dialect::Chat && {
            let mut can = abilities::of(model);
            if let Some(overrides) = self.overrides(step) {
                overrides.correct(&mut can);
            }
            !can.completions
        }
    }

    /// Whether what the target of `step` answers is put into another form for the client.
    pub fn is_translated<L>(&self, down: &Down<L>, step: &Step<'_>) -> bool {
        let request = down.request.as_ref();
        let rewrite = request.and_then(|request| request.wanted.as_ref()?.rewrite.as_ref());
        step.provider.dialect.speaks() != self.route.dialect()
            || rewrite.is_some_and(|rewrite| rewrite.only_chats)
    }

    /// A fallback's turn begins, for the reason `why`.
    pub fn count_fallback(&self, settle: &Settle<H>, step: &Step<'_>, why: &'static str) {
        let Some(from) = settle.receipt.model else {
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
        let places = &self.snapshot.places;
        let target = places.target(step.model_index, step.target_index);
        let bytes = u64::from(self.bytes);
        let prompt = self.shard.targets.borrow().estimate(target, bytes);
        prompt.saturating_add(self.answer_max.into())
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

/// Which conversation a request goes on with: the session that the client names, else by how
/// the conversation begins.
fn conversation(head: &RequestHead, data: &[u8], body: Span) -> u64 {
    let mut fields = head.fields(data);
    let named = fields.find(|(name, _)| name.eq_ignore_ascii_case(SESSION));
    match named {
        Some((_, session)) if !session.is_empty() => opening::session(session),
        _ => opening::key(body.bytes(data)),
    }
}

/// When an answer that was asked for at `sent` must have begun (I2 of `attempt`).
pub fn first_token<H: Host>(
    course: &Course<'_, H>,
    down: &Down<H::Stream>,
    step: &Step<'_>,
    sent: Instant,
) -> Instant {
    if course.is_stream {
        let wanted = down.request.as_ref().and_then(|it| it.wanted.as_ref());
        let wishes = wanted.and_then(|wanted| wanted.wishes.as_ref());
        let wish = wishes.and_then(|wishes| wishes.first_token);
        let longest = step.timeouts().first_token;
        (sent + wish.map_or(longest, |wish| wish.min(longest))).min(course.total)
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
