//! A request for a target that speaks another dialect than the client: read once, written anew
//! for each such target.
//!
//! ```text
//!   body ──first need──► Request (kept) ──each target──► body upstream + what was left out
//!                         └ the caller's mistake: 400     └ cannot be honoured: next target
//! ```
//!
//! Invariants
//! - W1 A target of the client's own dialect gets the client's own bytes; nothing here is read.
//!   A cloud gets them in its own form.
//! - W2 What a target cannot honour is never left out in silence: it is another target's turn,
//!   and with none left the client is told the field.

use crate::base::fault::Kind;
use crate::config::Overrides;
use crate::dialect::anthropic::request::Cloud;
use crate::dialect::model::{Dialect, Notes, Request, Told};
use crate::dialect::route::Route;
use crate::dialect::tokens::Weight;
use crate::dialect::{abilities, anthropic, speak, tokens};
use std::fmt::Write as _;

/// What is known of a request beyond its bytes, once a target needed it.
#[derive(Debug, Default)]
pub struct Rewrite {
    request: Option<Request>,
    /// The body for the target whose turn it is.
    pub body: Vec<u8>,
    /// What it weighs, once it was read.
    pub weight: Weight,
    /// What was left out for it: names with commas between them.
    pub dropped: String,
    /// Why there is no body: the field, and the sentence about it.
    refused: Option<(String, String)>,
}

impl Rewrite {
    /// Reads `body`, which came by `route` and asks for `model`.
    ///
    /// # Errors
    /// [`Kind::BadAsk`]; then [`Rewrite::told`] has the field.
    pub fn read(
        &mut self,
        route: Route,
        body: &[u8],
        model: &str,
        stream: bool,
    ) -> Result<(), Kind> {
        if self.request.is_some() {
            return Ok(());
        }
        match speak::ask(route, body, model, stream) {
            Ok(request) => {
                self.weight = tokens::weigh(&request);
                self.request = Some(request);
                Ok(())
            }
            Err(bad) => {
                let text = format!("'{}' {}.", bad.field, bad.wanted);
                self.refused = Some((bad.field, text));
                Err(Kind::BadAsk)
            }
        }
    }

    /// Writes the body for `model`, corrected by `overrides`, at a provider that speaks `dialect`,
    /// or at `cloud`, which speaks Anthropic's.
    ///
    /// # Errors
    /// [`Kind::Unfit`]; then [`Rewrite::told`] has the field.
    pub fn write(
        &mut self,
        (dialect, cloud): (Dialect, Option<Cloud>),
        model: &str,
        overrides: Option<&Overrides>,
    ) -> Result<(), Kind> {
        self.body.clear();
        self.dropped.clear();
        let request = self.request.as_mut().ok_or(Kind::Internal)?;
        model.clone_into(&mut request.model);
        request.wants_usage = true; // the gateway counts; the client gets it if it asked
        let mut notes = Notes::default();
        let mut can = abilities::of(model);
        if let Some(overrides) = overrides {
            overrides.correct(&mut can);
        }
        let written = match cloud {
            Some(cloud) => anthropic::request::write_for(cloud, request, &can, &mut notes),
            None => speak::put_ask(dialect, request, &can, &mut notes),
        };
        match written {
            Ok(body) => {
                self.body = body;
                for name in notes.dropped() {
                    let comma = if self.dropped.is_empty() { "" } else { ", " };
                    // Writing to a string does not fail.
                    _ = write!(self.dropped, "{comma}{name}");
                }
                Ok(())
            }
            Err(unfit) => {
                let text = format!(
                    "'{}' {}; leave it out or ask for another model.",
                    unfit.field, unfit.why
                );
                self.refused = Some((unfit.field.into_owned(), text));
                Err(Kind::Unfit)
            }
        }
    }

    /// The client's own body in the form of `cloud`, which speaks the client's dialect; `betas` is
    /// what its head asks for.
    ///
    /// # Errors
    /// [`Kind::BadJson`].
    pub fn adapt(&mut self, cloud: Cloud, body: &[u8], betas: &[u8]) -> Result<(), Kind> {
        self.dropped.clear();
        self.body = anthropic::cloud::adapt(cloud, body, betas)?;
        Ok(())
    }

    /// What the request weighs; `None` when it was not read.
    pub fn weight(&self) -> Option<Weight> {
        self.request.as_ref().map(|_| self.weight)
    }

    /// No target can honour `field`.
    pub fn refuse(&mut self, field: &str, why: &str) {
        self.refused = Some((field.to_owned(), format!("'{field}' {why}.")));
    }

    /// What the client is told for `kind`: with the field, where there is one.
    pub fn told(&self, kind: Kind) -> Told<'_> {
        let told = Told::of(kind);
        match &self.refused {
            Some((field, text)) if matches!(kind, Kind::BadAsk | Kind::Unfit) => Told {
                message: text,
                param: Some(field),
                ..told
            },
            _ => told,
        }
    }
}
