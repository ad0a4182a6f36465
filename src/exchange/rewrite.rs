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

use super::flight::Crowd;
use super::tail::Tail;
use crate::base::fault::Kind;
use crate::config::Overrides;
use crate::dialect::anthropic::request::Cloud;
use crate::dialect::model::embed::Embed;
use crate::dialect::model::{Dialect, Notes, Refused, Request, Told};
use crate::dialect::route::Route;
use crate::dialect::seam::Way;
use crate::dialect::tokens::Weight;
use crate::dialect::{abilities, anthropic, onward, speak, tokens};
use std::fmt::Write as _;
use std::rc::Rc;

/// What is known of a request beyond its bytes, once a target needed it.
#[derive(Debug, Default)]
pub struct Rewrite {
    request: Option<Request>,
    /// The request, when it is one for embeddings.
    pub embed: Option<Embed>,
    /// The target whose turn it is speaks the client's dialect, and yet only chats.
    pub only_chats: bool,
    /// The body for the target whose turn it is.
    pub body: Vec<u8>,
    /// What it weighs, once it was read.
    pub weight: Weight,
    /// What was left out for it: names with commas between them.
    pub dropped: String,
    /// The last bytes of the answer, of embeddings that are too long to be held.
    pub tail: Tail,
    /// What a provider said in a stream, before its content, at the attempt that was last.
    pub said: Option<Box<Refused>>,
    /// Who else waits for what comes of the request, where others may.
    pub crowd: Option<Rc<Crowd>>,
    /// Why there is no body: the field, and the sentence about it.
    refused: Option<(String, String)>,
}

/// What of it is for one target alone, and is needed when that one's answer is delivered.
#[derive(Debug, Default)]
pub struct Form {
    only_chats: bool,
    dropped: String,
}

impl Rewrite {
    /// Takes out what is for the target whose turn it is.
    pub fn take_form(&mut self) -> Form {
        Form {
            only_chats: std::mem::take(&mut self.only_chats),
            dropped: std::mem::take(&mut self.dropped),
        }
    }

    /// It is the turn of the target again that `form` was for.
    pub fn put_form(&mut self, form: Form) {
        (self.only_chats, self.dropped) = (form.only_chats, form.dropped);
    }

    /// The target whose turn it is gets the client's own bytes (W1).
    pub fn pass(&mut self) {
        self.only_chats = false;
        self.body = Vec::new();
        self.dropped.clear();
    }

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
        if self.request.is_some() || self.embed.is_some() {
            return Ok(());
        }
        let read = if route.embeds() {
            speak::embed(route, body, model).map(|embed| {
                self.weight.bytes = embed.inputs.iter().map(|text| text.len() as u64).sum();
                self.embed = Some(embed);
            })
        } else {
            speak::ask(route, body, model, stream).map(|request| {
                self.weight = tokens::weigh(&request);
                self.request = Some(request);
            })
        };
        match read {
            Ok(()) => Ok(()),
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
        let mut notes = Notes::default();
        let written = if let Some(embed) = &mut self.embed {
            model.clone_into(&mut embed.model);
            speak::put_embed(dialect, embed, &mut notes)
        } else {
            let request = self.request.as_mut().ok_or(Kind::Internal)?;
            model.clone_into(&mut request.model);
            request.wants_usage = true; // the gateway counts; the client gets it if it asked
            let mut can = abilities::of(model);
            if let Some(overrides) = overrides {
                overrides.correct(&mut can);
            }
            match cloud {
                Some(cloud) => anthropic::request::write_for(cloud, request, &can, &mut notes),
                None => speak::put_ask(dialect, request, &can, &mut notes),
            }
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

    /// What a client asked for, when it was read.
    pub fn request(&self) -> Option<&Request> {
        self.request.as_ref()
    }

    /// The same as [`Rewrite::write`], for an answer that goes on behind `said` in this `way`.
    ///
    /// # Errors
    /// As there.
    pub fn go_on(
        &mut self,
        (dialect, cloud): (Dialect, Option<Cloud>),
        model: &str,
        overrides: Option<&Overrides>,
        (said, way): (&str, Way),
    ) -> Result<(), Kind> {
        let request = self.request.as_mut().ok_or(Kind::Internal)?;
        let before = onward::go_on(request, said, way);
        let written = self.write((dialect, cloud), model, overrides);
        if let Some(request) = &mut self.request {
            onward::take_back(request, before);
        }
        onward::finish(dialect, way, &mut self.body);
        written
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

    /// No target can honour `field`.
    pub fn refuse(&mut self, field: &str, why: &str) {
        self.refused = Some((field.to_owned(), format!("'{field}' {why}.")));
    }

    /// What the client is told for `kind`: with the field, where there is one.
    pub fn told(&self, kind: Kind) -> Told<'_> {
        let told = Told::of(kind);
        if let (Some(said), Kind::UpstreamError) = (&self.said, kind) {
            return Told::by(said);
        }
        // A model may be at fault that stands in another field than the one of the default.
        let is_field = matches!(
            kind,
            Kind::BadAsk | Kind::Unfit | Kind::NoSuchModel | Kind::ModelForbidden
        );
        match &self.refused {
            Some((field, text)) if is_field => Told {
                message: text,
                param: Some(field),
                ..told
            },
            _ => told,
        }
    }
}
