//! The configuration as the program uses it: checked, complete, immutable.
//!
//! ```text
//!   TOML text ──check──► Config ──Arc──► every shard
//!                          │
//!                          └──print──► TOML text with every default filled in
//! ```
//!
//! Invariants
//! - C1 Every index (`Target::provider`, `Fallback::model`) is in range: `check`
//!   builds them, nobody else does.
//! - C2 `models` holds the entries of `[models]` in the order of the file, then one implicit
//!   entry per provider for names of the form `provider/model`.
//! - C3 No secret is ever shown: see [`Secret`].
//!
//! Every default stands in [`defaults`] and nowhere else.

use super::abilities::Overrides;
use super::aws::Signer;
pub use super::balance::{Rate, Strategy};
pub use super::cache::{
    Cache, Caching, Embedder, Mode, Replay, Scope, Semantic, Temperature, Threshold,
};
pub use super::flavour::Flavour;
pub use super::hedge::{After, Hedge};
pub use super::reasons::{Reason, Reasons};
pub use super::secret::{Key, Secret, SecretRef};
use super::tls::{ProviderTls, ServerTls};
use crate::dialect::abilities;
use crate::dialect::model::Dialect as Spoken;
use crate::stats::receipt::Try;
use ahash::AHashMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

pub mod defaults;

/// A checked configuration. Shared as `Arc<Config>`, never changed.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Where to listen, on how many shards.
    pub server: Server,
    /// What may be held at once.
    pub limits: Limits,
    /// How long to wait. A model may have its own: [`Model::timeouts`].
    pub timeouts: Timeouts,
    /// Who may ask. Empty = anybody; then every listen address is loopback.
    pub keys: Vec<Key>,
    /// Whom to ask, in the order of the file.
    pub providers: Vec<Provider>,
    /// The `[models]` entries in the order of the file, then one implicit entry per provider (C2).
    pub models: Vec<Model>,
    /// How often to try.
    pub retry: Retry,
    /// When a target is left alone.
    pub breaker: Breaker,
    /// How shards tell each other of targets.
    pub gossip: Gossip,
    /// Which answers are kept. A model may have its own: [`Model::cache`].
    pub cache: Cache,
    /// `stream.keepalive`: [`Model::keepalive`] of models without their own.
    pub keepalive: Option<Duration>,
    pub(super) names: Names,
}

/// Where names lead.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Names {
    /// Exact names of `[models]`, without `*`.
    pub(super) models: AHashMap<String, usize>,
    /// Providers by name.
    pub(super) providers: AHashMap<String, usize>,
    /// `[models."*"]`.
    pub(super) catch_all: Option<usize>,
    /// How many of `Config::models` stand in the file.
    pub(super) listed: usize,
}

/// What the name in a request leads to.
#[derive(Clone, Copy, Debug)]
pub struct Found<'a> {
    /// Index into [`Config::models`].
    pub index: usize,
    /// The model.
    pub model: &'a Model,
    /// The name that goes upstream for a target without a `model` of its own: what was
    /// asked for, without `provider/` when that led here.
    pub forwarded: &'a str,
}

impl Config {
    /// The model that `asked` names: the entry of that very name, else `provider/model`,
    /// else `[models."*"]`. `None`: 404.
    pub fn find<'a>(&'a self, asked: &'a str) -> Option<Found<'a>> {
        let (index, forwarded) = self.names.find(asked)?;
        let model = self.models.get(index)?;
        Some(Found {
            index,
            model,
            forwarded,
        })
    }

    /// The index of the model that `name` names and the name to forward, without
    /// `[models."*"]`: for a list of models that somebody writes, where a slip is no name.
    pub fn find_named<'n>(&self, name: &'n str) -> Option<(usize, &'n str)> {
        self.names.find_named(name)
    }

    /// The models that `GET /v1/models` lists: those of the file, without `*`.
    pub fn listed(&self) -> impl Iterator<Item = &Model> {
        self.models
            .iter()
            .take(self.names.listed)
            .filter(|model| model.name != "*")
    }

    /// The entries of `[models]` with `*`, without the implicit ones.
    pub fn written(&self) -> &[Model] {
        self.models.get(..self.names.listed).unwrap_or_default()
    }

    /// The model and the target that an attempt was at.
    pub fn tried(&self, one: &Try) -> Option<(&Model, &Target)> {
        let model = self.models.get(usize::from(one.model))?;
        Some((model, model.targets.get(usize::from(one.place))?))
    }

    /// The name upstream under which a target of the model at `index` is counted: `*` where it
    /// forwards whatever name was asked for.
    pub fn upstream_name<'a>(
        &self,
        (model, index): (&'a Model, usize),
        target: &'a Target,
    ) -> &'a str {
        let is_open = index >= self.names.listed || model.name == "*";
        match &target.model {
            Some(name) => name,
            None if is_open => "*",
            None => &model.name,
        }
    }

    /// The provider of a target.
    pub fn provider(&self, target: &Target) -> Option<&Provider> {
        self.providers.get(target.provider)
    }
}

impl Names {
    /// Index of the model that `asked` names, and the name to forward.
    pub(super) fn find<'n>(&self, asked: &'n str) -> Option<(usize, &'n str)> {
        self.find_named(asked)
            .or_else(|| Some((self.catch_all?, asked)))
    }

    /// The same without `[models."*"]`.
    pub(super) fn find_named<'n>(&self, asked: &'n str) -> Option<(usize, &'n str)> {
        if let Some(&index) = self.models.get(asked) {
            return Some((index, asked));
        }
        let (provider, model) = asked.split_once('/')?;
        let at = self.providers.get(provider)?;
        (!model.is_empty()).then_some((self.listed.checked_add(*at)?, model))
    }
}

/// `[server]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Addresses of the data plane; port 0 takes a free one.
    pub listen: Vec<SocketAddr>,
    /// Address of the admin plane; `None` = `"off"`.
    pub admin: Option<SocketAddr>,
    /// Number of shards; `None` = `"auto"`: one per CPU that the process may run on.
    pub shards: Option<usize>,
    /// How sockets are driven.
    pub sockets: Sockets,
    /// The unix socket on which the listeners are handed to a successor; `None` = `"off"`.
    pub handover: Option<PathBuf>,
    /// The files of the listeners; `None`: they speak plain HTTP.
    pub tls: Option<ServerTls>,
}

/// `server.sockets`: how sockets are driven.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Sockets {
    /// The completion ring where the kernel allows it, else readiness.
    #[default]
    Auto,
    /// A completion ring of the shard's own; no start without it.
    Ring,
    /// Readiness through glommio's ring, plain `recv` and `send`.
    Poll,
}

impl Sockets {
    /// As it is written in the file.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Ring => "ring",
            Self::Poll => "poll",
        }
    }
}

/// `[limits]`. Sizes in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a request head, at most. (Of a provider's head: 64 KiB.)
    pub head_max: usize,
    /// Bytes of a request target, at most.
    pub target_max: usize,
    /// Header fields of a head, at most.
    pub fields_max: usize,
    /// Bytes of a request body, at most.
    pub body_max: usize,
    /// Bytes of request bodies held at once, per box.
    pub bodies_max: usize,
    /// Bytes per second at which a request body must arrive, after [`Timeouts::body`].
    pub body_rate_min: usize,
    /// Exchanges at once, per box; above it requests wait for room.
    pub streams_max: usize,
    /// Requests that may wait for it, per box; above it 503.
    pub queue_max: usize,
    /// How long they wait; then 503.
    pub queue_wait: Duration,
    /// Client connections at once, per box.
    pub connections_max: usize,
}

/// `[timeouts]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// Until the provider has accepted the connection. Also per model.
    pub connect: Duration,
    /// Of a stream: from the request sent to the first content. Also per model.
    pub first_token: Duration,
    /// Between two events of a stream (comments are none), or two reads of a plain answer.
    /// Also per model.
    pub idle: Duration,
    /// Over all attempts of an exchange. Also per model.
    pub total: Duration,
    /// From a request's first byte to the end of its head.
    pub head: Duration,
    /// What a request body may take on top of its size / [`Limits::body_rate_min`].
    pub body: Duration,
    /// How long a client connection may wait for its next request.
    pub keep_alive: Duration,
    /// How long a client may take no byte of its answer.
    pub stall: Duration,
    /// How long running exchanges may go on after SIGTERM.
    pub drain: Duration,
}

/// The language of a provider, with what goes around it: URLs and credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// `OpenAI` chat completions, as vLLM, Ollama, llama.cpp, Groq, … speak it too.
    OpenAi,
    /// The same bodies with Azure's URLs and its `api-key` header.
    Azure,
    /// `OpenAI` Responses.
    Responses,
    /// Anthropic Messages.
    Anthropic,
    /// Gemini.
    Gemini,
    /// Cohere v2.
    Cohere,
    /// Amazon Bedrock Converse.
    Bedrock,
}

impl Dialect {
    /// As it is written in the file.
    pub const fn name(self) -> &'static str {
        match self {
            Self::OpenAi => "openai",
            Self::Azure => "azure",
            Self::Responses => "responses",
            Self::Anthropic => "anthropic",
            Self::Gemini => "gemini",
            Self::Cohere => "cohere",
            Self::Bedrock => "bedrock",
        }
    }

    /// What its bodies and events are written in.
    pub const fn speaks(self) -> Spoken {
        match self {
            Self::OpenAi | Self::Azure => Spoken::Chat,
            Self::Responses => Spoken::Responses,
            Self::Anthropic => Spoken::Anthropic,
            Self::Gemini => Spoken::Gemini,
            Self::Cohere => Spoken::Cohere,
            Self::Bedrock => Spoken::Bedrock,
        }
    }
}

/// How bytes travel to a provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// Plain TCP.
    Http,
    /// TLS.
    Https,
}

impl Scheme {
    /// The port when the URL names none.
    pub const fn port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }

    /// As it is written in a URL.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

/// The base URL of a provider, in its parts.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct BaseUrl {
    /// How to connect.
    pub scheme: Scheme,
    /// Name or address in lower case; an IPv6 address without brackets.
    pub host: String,
    /// Port; the scheme's own when the URL names none.
    pub port: u16,
    /// Path without a slash at its end; empty or starts with `/`.
    pub path: String,
}

impl BaseUrl {
    /// The value of the `Host` field: IPv6 in brackets, the port only when it is not the
    /// scheme's own.
    pub fn authority(&self) -> String {
        let (open, close) = if self.host.contains(':') {
            ("[", "]")
        } else {
            ("", "")
        };
        if self.port == self.scheme.port() {
            format!("{open}{}{close}", self.host)
        } else {
            format!("{open}{}{close}:{}", self.host, self.port)
        }
    }
}

impl fmt::Display for BaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}://{}{}",
            self.scheme.name(),
            self.authority(),
            self.path
        )
    }
}

/// One of `[providers]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Provider {
    /// Its name in the file.
    pub name: String,
    /// What it speaks.
    pub dialect: Dialect,
    /// What of it is not as the dialect's owner does it.
    pub flavour: Option<Flavour>,
    /// Where it is.
    pub base_url: BaseUrl,
    /// What to authenticate with.
    pub api_key: Option<Secret>,
    /// What to sign requests with instead.
    pub aws: Option<Box<Signer>>,
    /// Azure's `api-version`; `None` for other dialects.
    pub api_version: Option<String>,
    /// How many connections to keep.
    pub pool: Pool,
    /// What goes for its TLS; without meaning when `base_url` is http.
    pub tls: ProviderTls,
}

/// `providers.*.pool`: what each shard keeps of idle connections to a provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pool {
    /// Idle connections per shard, at most; 0 = none is kept.
    pub idle_max: usize,
    /// How long an idle connection is kept.
    pub idle: Duration,
    /// How old a connection may be to be used again.
    pub age_max: Duration,
}

/// One of `[models]`, or the implicit `provider/…` of a provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Model {
    /// The name that clients ask for; `*` for every other name; `provider/*` when implicit.
    pub name: String,
    /// How the targets are ordered.
    pub strategy: Strategy,
    /// Who can answer, at least one.
    pub targets: Vec<Target>,
    /// Which models to ask when all targets failed, in order. Their own fallbacks are not
    /// followed, so two models may stand in for each other.
    pub fallbacks: Vec<Fallback>,
    /// After which failures they are asked, or those that a request names.
    pub fallback_on: Reasons,
    /// The timeouts in force for this model.
    pub timeouts: Timeouts,
    /// After how long a silence a stream gets a comment; `None` = never.
    pub keepalive: Option<Duration>,
    /// When a second attempt starts beside a slow one; `None` = never.
    pub hedge: Option<Hedge>,
    /// `continuation`: a stream that is cut goes on at another target.
    pub continues: bool,
    /// What of its answers is cached.
    pub cache: Caching,
}

/// One way to get an answer for a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Index into [`Config::providers`].
    pub provider: usize,
    /// The name upstream; `None` forwards the one that was asked for.
    pub model: Option<String>,
    /// Share of the requests, 1 to [`defaults::WEIGHT_MAX`].
    pub weight: u32,
    /// Asked only when all of a smaller tier are out or have failed, 1 to
    /// [`defaults::TIER_MAX`].
    pub tier: u32,
    /// What its tokens cost, where the table of models is wrong or silent.
    pub price: Option<Rate>,
    /// What its model can do, where the table of models is wrong or silent.
    pub abilities: Option<Box<Overrides>>,
}

impl Target {
    /// What its tokens cost as a target of the model `asked`, by the file, else by the table
    /// of models; `None` unknown.
    pub fn rate(&self, asked: &str) -> Option<Rate> {
        let name = self.model.as_deref().unwrap_or(asked);
        self.price.or_else(|| Rate::of(&abilities::of(name).price))
    }

    /// The most tokens that its prompts may have as a target of the model `asked`, by the file,
    /// else by the table of models; `None` unknown.
    pub fn window(&self, asked: &str) -> Option<u64> {
        let mut can = abilities::of(self.model.as_deref().unwrap_or(asked));
        if let Some(overrides) = &self.abilities {
            overrides.correct(&mut can);
        }
        can.context
    }
}

/// A model that stands in for another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fallback {
    /// Index into [`Config::models`].
    pub model: usize,
    /// As it is written in the file: a model's name or `provider/model`.
    pub name: String,
    /// The name that goes upstream for a target without a `model` of its own.
    pub forwarded: String,
}

/// `[retry]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    /// Attempts of one exchange, the first one and fallbacks included:
    /// 1 to [`defaults::ATTEMPTS_MAX`].
    pub attempts_max: usize,
    /// Attempts beyond the first ones, in percent of the exchanges of the last ten seconds, per
    /// box; `None`: as many as there may be.
    pub budget_percent: Option<u32>,
    /// `backoff.first`: the longest pause before a target is asked for the second time; twice
    /// as long for each time more.
    pub backoff_first: Duration,
    /// `backoff.max`: the longest pause.
    pub backoff_max: Duration,
    /// The longest wait for a target that was asked already, at a time: a pause, a provider's
    /// `Retry-After`, a breaker; zero: no target is asked twice.
    pub wait_max: Duration,
}

/// `[breaker]`: when a target is left alone, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Breaker {
    /// `mode`: whether there are breakers at all.
    pub is_on: bool,
    /// The time over which attempts and failures are counted.
    pub window: Duration,
    /// `error_rate`, in percent: the share of failures that opens it.
    pub error_percent: u32,
    /// Attempts in the window from which on the share counts.
    pub requests_min: u32,
    /// Failures in a row that open it.
    pub consecutive: u32,
    /// How long it stays open the first time; twice as long after each failed probe.
    pub open: Duration,
    /// The longest time it stays open.
    pub open_max: Duration,
    /// How long after it closed a target gets less than its share; zero: it gets it at once.
    pub ramp: Duration,
}

/// `[gossip]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gossip {
    /// How long a shard gathers changes before it tells the others. A breaker that trips is
    /// told at once.
    pub tick: Duration,
}
