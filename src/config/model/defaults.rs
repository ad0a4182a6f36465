//! Every default value of the file, and the range of what may be written instead.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

pub(crate) const KIB: usize = 1024;
pub(crate) const MIB: usize = 1024 * KIB;
pub(crate) const GIB: usize = 1024 * MIB;

/// `server.listen`.
pub const LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8080);
/// `server.admin`.
pub const ADMIN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9090);
/// `limits`.
pub const LIMITS: super::Limits = super::Limits {
    head_max: 32 * KIB,
    target_max: 16 * KIB,
    fields_max: 100,
    body_max: 32 * MIB,
    bodies_max: GIB,
    body_rate_min: KIB,
    streams_max: 50_000,
    queue_max: 1024,
    queue_wait: QUEUE_WAIT_MAX,
    connections_max: 100_000,
};
/// Longest `limits.queue_wait`: who waits longer would rather know.
pub const QUEUE_WAIT_MAX: Duration = Duration::from_millis(100);
/// `timeouts`.
pub const TIMEOUTS: super::Timeouts = super::Timeouts {
    connect: Duration::from_secs(2),
    first_token: Duration::from_secs(30),
    idle: Duration::from_secs(60),
    total: Duration::from_secs(600),
    head: Duration::from_secs(10),
    body: Duration::from_secs(30),
    keep_alive: Duration::from_secs(75),
    stall: Duration::from_secs(30),
    drain: Duration::from_secs(600),
};
/// `providers.*.pool`. 25 s: the shortest idle limit of common servers and load balancers
/// is 30 s or more, so the gateway closes first and rarely meets a closing connection.
pub const POOL: super::Pool = super::Pool {
    idle_max: 1024,
    idle: Duration::from_secs(25),
    age_max: Duration::from_secs(600),
};
/// `breaker`. Five in a row as Envoy has it, half of twenty as Hystrix has it, five
/// seconds as Polly has it.
pub const BREAKER: super::Breaker = super::Breaker {
    is_on: true,
    window: Duration::from_secs(10),
    error_percent: 50,
    requests_min: 20,
    consecutive: 5,
    open: Duration::from_secs(5),
    open_max: Duration::from_secs(120),
    ramp: Duration::from_secs(30),
};
/// `cache.memory_max`.
pub const CACHE_MEMORY_MAX: usize = 256 * MIB;
/// `cache`, for models too. Temperature 1 is what a request without one has. An audit of one
/// hit in a hundred costs a hundredth of what the hits save.
pub const CACHING: super::Caching = super::Caching {
    mode: super::Mode::Off,
    ttl: Duration::from_secs(3600),
    scope: super::Scope::Key,
    replay: super::Replay::Fast,
    temperature_max: super::Temperature(1000),
    tool_calls: false,
    entry_max: MIB,
    coalesce: true,
    semantic: super::Semantic {
        threshold: super::Threshold::Auto,
        shadow: false,
        audit_percent: 1,
        embedder: super::Embedder::Builtin,
        temperature_max: super::Temperature(1000),
    },
};
/// `gossip`.
pub const GOSSIP: super::Gossip = super::Gossip {
    tick: Duration::from_millis(50),
};
/// `retry`. 20 % as Finagle and Envoy have it.
pub const RETRY: super::Retry = super::Retry {
    attempts_max: 4,
    budget_percent: Some(20),
    backoff_first: Duration::from_millis(50),
    backoff_max: Duration::from_secs(2),
    wait_max: Duration::from_secs(20),
};
/// `providers.*.api_version`: the last dated release of Azure's API.
pub const AZURE_API_VERSION: &str = "2024-10-21";
/// `models.*.strategy`.
pub const STRATEGY: super::Strategy = super::Strategy::Weighted;
/// `models.*.fallback_on`: what is nobody's opinion, so not the content of a prompt.
pub const FALLBACK_ON: super::Reasons = super::Reasons::NONE
    .with(super::Reason::Error)
    .with(super::Reason::Timeout)
    .with(super::Reason::RateLimit)
    .with(super::Reason::ContextLength);
/// `models.*.targets[].weight`.
pub const WEIGHT: u32 = 1;

/// Attempts of one exchange, at most: the size of a plan.
pub const ATTEMPTS_MAX: usize = 8;
/// How often a target is asked for one exchange, at most (Google, "Site Reliability
/// Engineering", chapter 21: three attempts).
pub const TRIES_MAX: usize = 3;
/// Targets of one model, at most.
pub const TARGETS_MAX: usize = 64;
/// Fallbacks of one model, at most.
pub const FALLBACKS_MAX: usize = 8;
/// Largest tier of a target.
pub const TIER_MAX: u32 = 64;
/// Highest price of a million tokens, in US dollars.
pub const PRICE_MAX: f64 = 100_000.0;
/// Largest weight of a target.
pub const WEIGHT_MAX: u32 = 10_000;
/// Client keys, at most: each request compares its key with all of them.
pub const KEYS_MAX: usize = 4096;
/// Providers, at most.
pub const PROVIDERS_MAX: usize = 256;
/// Models, at most.
pub const MODELS_MAX: usize = 4096;
/// Addresses to listen on, at most.
pub const LISTEN_MAX: usize = 16;
/// Shards, at most.
pub const SHARDS_MAX: usize = 1024;
/// Bytes of a model's name, at most.
pub const MODEL_NAME_MAX: usize = 256;
/// Bytes of a provider's or a key's name, at most.
pub const NAME_MAX: usize = 64;
/// Bytes of a secret, at most.
pub const SECRET_MAX: usize = 8 * KIB;
/// Bytes of a config file, at most.
pub const FILE_MAX: usize = 4 * MIB;
