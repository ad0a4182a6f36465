//! The simulated provider: a server on loopback that speaks all six dialects and does as it
//! is told.
//!
//! ```text
//!   run (argv) ─► config ─► per shard: serve ─► conn ─► plan (ask, keys, answer, refusal, embed,
//!                             │                  │          speech, hearing, example, tale, tongue)
//!                             │                  └► stream, recite             │
//!                             └ provider: what the shard's connections share ◄─┘  stats
//! ```
//!
//! Routes, below any prefix: `POST …/chat/completions`, `…/completions`, `…/embeddings`,
//! `GET …/models`, `…/models/{id}`; Azure's `/openai/deployments/{model}/chat/completions` with
//! `api-version` and `api-key`; `POST …/responses`; Anthropic's `…/messages` and
//! `…/messages/count_tokens`; Gemini's `…/models/{model}:generateContent` and
//! `:streamGenerateContent`; Cohere's `…/v2/chat`; Bedrock's `…/model/{model}/converse` and
//! `converse-stream`; their embeddings: `:embedContent`, `:batchEmbedContents`, `…/v2/embed`,
//! `…/invoke`. `GET /__sim/stats` gives the counters of [`stats`] as JSON,
//! `POST /__sim/reset` sets them to zero.
//!
//! OpenAI's Chat is written by code of its own ([`answer`]), so that a gateway's codecs are not
//! tested by themselves. The other dialects, and Chat when more than words is asked for, are
//! read and written by `dialect`: what tests those codecs are recordings and the official SDKs.
//!
//! What a request gets is asked for by the keys of [`keys::KEYS`], in the config file, in
//! flags, in the model's name (`sim/ttft-50ms/rate-100/events-20/cut-5`), in the body's
//! `user` field (the same form) or in header fields (`x-sim-ttft: 50ms`).
//!
//! It is meant for tests and benchmarks on one's own machine: it serves whoever connects,
//! has no limit on connections, and believes what it is told.

#![forbid(unsafe_code)]

pub mod answer;
pub mod args;
pub mod ask;
pub mod behave;
mod cloud;
pub mod config;
mod conn;
pub mod embed;
pub mod example;
pub mod hearing;
pub mod keys;
mod plan;
pub mod provider;
mod recite;
pub mod refusal;
pub mod run;
pub mod speech;
pub mod stats;
mod stream;
mod tale;
pub mod tongue;

pub use config::Config;
pub use provider::Provider;
pub use run::{Simulation, run};
pub use stats::Stats;

use crate::host::Host;
use std::rc::Rc;
use std::time::Duration;

/// How long accepting rests after it failed (no descriptors left).
const ACCEPT_REST: Duration = Duration::from_millis(10);

/// Serves `provider` on `listener`, for ever: until the future is dropped or its executor ends.
pub async fn serve<H: Host>(host: H, provider: Rc<Provider>, listener: H::Listener) {
    loop {
        match host.accept(&listener).await {
            Ok(link) => {
                let task = conn::run(host.clone(), Rc::clone(&provider), link);
                host.spawn(task);
            }
            Err(_) => host.sleep_until(host.now() + ACCEPT_REST).await,
        }
    }
}
