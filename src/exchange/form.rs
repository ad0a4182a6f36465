//! The request in the form of the target whose turn it is.

use super::count;
use super::course::{AS_ASKED, Course};
use super::down::Down;
use crate::base::fault::Kind;
use crate::config::Overrides;
use crate::dialect::anthropic::request::holds_sealed_thinking;
use crate::dialect::model::Dialect;
use crate::dialect::route::Route;
use crate::dialect::{abilities, gemini, speak};
use crate::host::Host;
use crate::policy::plan::Step;

impl<H: Host> Course<'_, H> {
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
    pub fn overrides(&self, step: &Step<'_>) -> Option<&Overrides> {
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
}
