//! Decides how a request is answered, before anything waits.
//!
//! ```text
//!   head, body ─► route ─► key ─► ask ─► model known? ─► behaviour, layer by layer ─► Plan
//!                  404      401    400        404           400 for a key that is none
//! ```
//!
//! OpenAI's Chat is answered by [`super::answer`] while words are all that is asked for; the
//! other dialects, and Chat when there is more to heed, by [`super::speech`].

use super::answer::{Names, Plain, Script};
use super::ask::{Ask, Coding, Lost, Place, Route, Text, ask, route, unquoted};
use super::behave::{Behaviour, Close, Fate};
use super::provider::Provider;
use super::refusal::{AZURE_LOST, Refusal, html};
use super::speech::Speech;
use super::tongue::{self, Form, Saying};
use super::{cloud, embed, hearing, tale};
use crate::base::bytes::TxBuf;
use crate::dialect::model::embed::Vectors;
use crate::dialect::model::{Dialect, Names as Naming, Request as Asked};
use crate::dialect::route::Route as Spoken;
use crate::dialect::{anthropic, speak};
use crate::wire::http1::{RequestHead, Version, reason};
use std::borrow::Cow;
use std::time::Duration;

/// Fields that change how a request is answered begin so.
const FIELD_PREFIX: &[u8] = b"x-sim-";

/// What is sent.
#[derive(Debug)]
pub(super) enum Reply {
    /// A body of known length.
    Plain {
        /// Status.
        status: u16,
        /// Media type.
        mime: &'static str,
        /// The body.
        body: Plain,
    },
    /// Events of OpenAI's.
    Stream(Script),
    /// Events of any dialect.
    Speech(Box<Saying>),
}

/// How a request is answered.
#[derive(Debug)]
pub(super) struct Plan {
    /// What is sent.
    pub reply: Reply,
    /// When, and what goes wrong.
    pub how: Behaviour,
    /// The dialect of its route, if it has one.
    pub dialect: Option<Dialect>,
    /// Whose heads and errors there are.
    pub manners: Option<Dialect>,
    /// Number of the answer.
    pub id: u64,
    /// Whether the connection closes after it, and how.
    pub close: Close,
    /// The request came over HTTP/1.0.
    pub is_http10: bool,
    /// For 405.
    pub allow: Option<&'static str>,
    /// Whether the request counts; those about the simulator itself do not.
    pub counts: bool,
}

const JSON: &str = "application/json";

/// A refusal, the detail behind its text, and how it is given.
pub(super) type Refused = (Refusal, String);

/// One request, as it was read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Request<'r> {
    /// Its head.
    pub head: &'r RequestHead,
    /// The bytes that the head's positions mean.
    pub bytes: &'r [u8],
    /// Its body.
    pub body: &'r [u8],
    /// When it was read, in seconds since 1970.
    pub seconds: u64,
}

impl Plan {
    /// The plan for `request` at `provider`.
    pub(super) fn of(provider: &Provider, request: Request<'_>) -> Self {
        let mut plan = Self {
            reply: Reply::Plain {
                status: 200,
                mime: JSON,
                body: Plain::default(),
            },
            how: Behaviour::default(),
            dialect: None,
            manners: None,
            id: provider.next_id(),
            close: Close::Never,
            is_http10: request.head.version == Version::Http10,
            allow: None,
            counts: true,
        };
        let path = request.head.path.bytes(request.bytes);
        let query = request.head.query.bytes(request.bytes);
        match route(request.head.method, path, query) {
            Ok(place) => {
                let place = place.by_body(request.body);
                plan.dialect = Some(place.route.dialect());
                plan.manners = Some(place.manners());
                if let Err((refusal, detail)) = plan.decide(provider, request, place) {
                    if !matches!(plan.how.fate, Fate::Status(_)) {
                        plan.how.retry_after = None; // refused for its own fault
                    }
                    plan.how.fate = Fate::Answer;
                    plan.refuse(provider, refusal, &detail);
                }
            }
            Err(lost) => plan.lose(provider, lost),
        }
        plan.close = match plan.how.close {
            Close::Never if !request.head.keep_alive => Close::Announced,
            close => close,
        };
        let is_open = match &plan.reply {
            Reply::Plain { .. } => false,
            Reply::Stream(script) => !script.is_chunked(),
            Reply::Speech(saying) => !saying.is_chunked,
        };
        if is_open {
            plan.close = Close::Announced;
        }
        plan
    }

    fn refuse(&mut self, provider: &Provider, refusal: Refusal, detail: &str) {
        let body = self.error(provider, refusal, detail);
        self.reply = Reply::Plain {
            status: refusal.status,
            mime: JSON,
            body,
        };
    }

    fn error(&self, provider: &Provider, refusal: Refusal, detail: &str) -> Plain {
        match self.manners {
            None | Some(Dialect::Chat) => Plain::of(refusal.body(detail)),
            Some(dialect) => {
                let message = refusal.message(detail);
                let wait = self.how.retry_after;
                let mut tx = TxBuf::new(&provider.pool);
                tongue::put_error(&mut tx, dialect, &refusal.told(&message), wait);
                Plain::of(tx.unsent())
            }
        }
    }

    fn lose(&mut self, provider: &Provider, lost: Lost) {
        match lost {
            Lost::Path => self.refuse(
                provider,
                Refusal::saying(404, "unknown_url", "Unknown request URL."),
                "",
            ),
            Lost::Method(allow) => {
                self.allow = Some(allow);
                self.refuse(
                    provider,
                    Refusal::saying(
                        405,
                        "method_not_supported",
                        "Not allowed to use this method.",
                    ),
                    "",
                );
            }
            Lost::ApiVersion => {
                self.reply = Reply::Plain {
                    status: 404,
                    mime: JSON,
                    body: Plain::of(AZURE_LOST),
                };
            }
        }
    }

    fn decide(
        &mut self,
        provider: &Provider,
        request: Request<'_>,
        place: Place<'_>,
    ) -> Result<(), Refused> {
        let body = match place.route {
            Route::Stats => Some(provider.stats.json()),
            Route::Reset => {
                provider.stats.reset();
                Some("{}".to_owned())
            }
            _ => None,
        };
        if let Some(body) = body {
            self.counts = false;
            self.say(body);
            return Ok(());
        }
        let key = provider.config.api_key.as_deref();
        if !key.is_none_or(|key| tongue::has_key(place, request.head, request.bytes, key)) {
            return refused(tongue::bad_key(place), "");
        }
        if let Some(refusal) = tongue::missing(place, request.head, request.bytes) {
            return refused(refusal, "");
        }
        match place.route {
            Route::Models => self.say(models(provider)),
            Route::Model => {
                let id = unquoted(place.name);
                if !provider.config.knows(&id) {
                    return refused(Refusal::of(404), &format!("Model: '{id}'"));
                }
                self.say(model(&id));
            }
            _ => return self.complete(provider, request, place),
        }
        Ok(())
    }

    fn say(&mut self, body: String) {
        self.reply = Reply::Plain {
            status: 200,
            mime: JSON,
            body: Plain::of(body),
        };
    }

    fn complete(
        &mut self,
        provider: &Provider,
        request: Request<'_>,
        place: Place<'_>,
    ) -> Result<(), Refused> {
        let Some(ask) = ask(request.body) else {
            return refused(
                Refusal::bad(
                    "invalid_json",
                    "We could not parse the JSON body of your request.",
                ),
                "",
            );
        };
        let (name, raw) = model_of(&ask, request.body, place)?;
        if !provider.config.knows(&name) {
            return refused(Refusal::of(404), &format!("Model: '{name}'"));
        }
        if let Route::Spoken(route) = place.route {
            if route.embeds() {
                return self.embed(provider, request, route, &name);
            }
            let body = cloud::owners_body(place, request.body, &name)?;
            let asked = asked(route, &body, &name, ask.stream)?;
            self.how = behaviour(provider, request, asked.user.as_deref(), &name)?;
            self.throw(provider);
            let query = request.head.query.bytes(request.bytes);
            let form = tongue::form_of(place.cloud, route, query);
            return self.speak(provider, request, (route, &asked, form), &name);
        }
        let user = ask.user.and_then(|user| user.says(request.body));
        self.how = behaviour(provider, request, user.as_deref(), &name)?;
        if !ask.has_prompt {
            return refused(
                Refusal::bad("missing_required_parameter", "Missing required parameter:"),
                "'messages', 'prompt' or 'input'",
            );
        }
        self.throw(provider);
        let is_rich = ask.is_rich || ask.limit.is_some_and(|limit| limit < self.how.events);
        if place.route == Route::Chat && (is_rich || self.how.is_rich()) {
            let asked = asked(Spoken::Chat, request.body, &name, ask.stream)?;
            let chat = (Spoken::Chat, &asked, Form::Own);
            return self.speak(provider, request, chat, &name);
        }
        self.script(provider, request, &ask, place.route, &raw)
    }

    /// Lets the dice decide about the fault.
    fn throw(&mut self, provider: &Provider) {
        if let Some(ppm) = self.how.fail_ppm
            && !provider.throw(ppm)
        {
            self.how.fate = Fate::Answer;
        }
    }

    /// Makes what a fate says that comes instead of an answer; whether there is one.
    fn fail(&mut self) -> Result<bool, Refused> {
        match self.how.fate {
            Fate::Status(status) => {
                // Bedrock says nothing of the time unless it is told to.
                let is_told = self.manners != Some(Dialect::Bedrock);
                if status == 429 && is_told && self.how.retry_after.is_none() {
                    self.how.retry_after = Some(Duration::from_secs(1));
                }
                return refused(Refusal::of(status), "");
            }
            Fate::Html(status) => {
                self.reply = Reply::Plain {
                    status,
                    mime: "text/html",
                    body: Plain::of(html(status, reason(status))),
                };
                return Ok(true);
            }
            _ => self.how.retry_after = None,
        }
        Ok(false)
    }

    /// Makes what the fate says, or an answer in any dialect to what came by `route`.
    fn speak(
        &mut self,
        provider: &Provider,
        request: Request<'_>,
        (route, asked, form): (Spoken, &Asked, Form),
        model: &str,
    ) -> Result<(), Refused> {
        if self.how.no_prefill && tale::is_prefilled(asked) {
            let refusal = Refusal::bad("invalid_value", "This model does not support prefill:");
            return refused(refusal, "the conversation must end with a user message.");
        }
        if tale::goes_on(asked, route.dialect(), &self.how) && !self.how.relapse {
            self.how.fate = Fate::Answer;
        }
        if self.fail()? {
            return Ok(());
        }
        let prompt = u32::try_from(request.body.len() / 4).unwrap_or(u32::MAX);
        if route == Spoken::CountTokens {
            let tokens = self.how.tokens.prompt.unwrap_or(prompt);
            let mut tx = TxBuf::new(&provider.pool);
            anthropic::count::write(&mut tx, tokens.into());
            self.reply = Reply::Plain {
                status: 200,
                mime: JSON,
                body: Plain::of(tx.unsent()),
            };
            return Ok(());
        }
        let (how, words) = (&self.how, &provider.words);
        let speech = Speech::new((asked, route.dialect()), how, (self.id, prompt), words);
        let saying = Saying {
            speech,
            route,
            id: format!("sim{:016x}", self.id),
            model: model.to_owned(),
            created: request.seconds,
            wants_usage: asked.wants_usage,
            is_chunked: !self.is_http10,
            form,
        };
        if route.streams().unwrap_or(asked.stream) {
            self.reply = Reply::Speech(Box::new(saying));
            return Ok(());
        }
        let mut body = match self.how.fate {
            Fate::ErrorEvent(_) => self.error(provider, Refusal::of(500), ""),
            _ => Plain::of(saying.whole(&provider.pool, words, how.bytes)),
        };
        if let Fate::Malformed(_) = self.how.fate {
            body.break_off();
        }
        self.reply = Reply::Plain {
            status: 200,
            mime: JSON,
            body,
        };
        Ok(())
    }

    /// Makes what the fate says, or the vectors that are asked for by `route`.
    fn embed(
        &mut self,
        provider: &Provider,
        request: Request<'_>,
        route: Spoken,
        model: &str,
    ) -> Result<(), Refused> {
        let refusal = Refusal::bad("invalid_value", "The request is not valid:");
        let asked = speak::embed(route, request.body, model)
            .map_err(|bad| (refusal, format!("'{}' {}.", bad.field, bad.wanted)))?;
        self.how = behaviour(provider, request, asked.user.as_deref(), model)?;
        self.throw(provider);
        if self.fail()? {
            return Ok(());
        }
        let how = &self.how;
        let dims = asked
            .dimensions
            .map_or(Some(how.dims), |dims| u32::try_from(dims).ok());
        let inputs = asked.inputs.len();
        let texts = if how.by_text {
            asked.inputs.as_slice()
        } else {
            &[]
        };
        let found = dims.and_then(|dims| provider.vectors((inputs, texts), (dims, Coding::Float)));
        let Some(found) = found else {
            let refusal = Refusal::bad("invalid_value", "Too many inputs or dimensions.");
            return refused(refusal, "");
        };
        let prompt = u32::try_from(request.body.len() / 4).unwrap_or(u32::MAX);
        let vectors = Vectors {
            values: found.iter().map(|one| Cow::Borrowed(&**one)).collect(),
            tokens: Some(how.tokens.prompt.unwrap_or(prompt).into()),
        };
        let id = format!("sim{:016x}", self.id);
        let names = Naming {
            id: &id,
            model,
            created: request.seconds,
            wants_usage: true,
        };
        let mut tx = TxBuf::new(&provider.pool);
        speak::put_vectors(route, &vectors, &asked, &names, &mut tx);
        let mut body = match self.how.fate {
            Fate::ErrorEvent(_) => self.error(provider, Refusal::of(500), ""),
            _ => Plain::of(tx.unsent()),
        };
        if let Fate::Malformed(_) = self.how.fate {
            body.break_off();
        }
        self.reply = Reply::Plain {
            status: 200,
            mime: JSON,
            body,
        };
        Ok(())
    }

    /// Makes what the fate and the route say, in OpenAI's words.
    fn script(
        &mut self,
        provider: &Provider,
        request: Request<'_>,
        ask: &Ask,
        route: Route,
        model: &[u8],
    ) -> Result<(), Refused> {
        if self.fail()? {
            return Ok(());
        }
        let names = Names {
            route,
            id: self.id,
            created: request.seconds,
            model,
        };
        let prompt = u32::try_from(request.body.len() / 4).unwrap_or(u32::MAX);
        if ask.stream && route != Route::Embeddings {
            let chunked = !self.is_http10;
            let script = Script::new(&names, &self.how, prompt, ask.wants_usage, chunked);
            self.reply = Reply::Stream(script);
            return Ok(());
        }
        let mut body = if route == Route::Embeddings {
            embed::answer(provider, (ask, request.body), &self.how, model, prompt)?
        } else {
            Plain::completion(&names, &self.how, prompt, &provider.words)
        };
        match self.how.fate {
            Fate::ErrorEvent(_) => body = Plain::of(Refusal::of(500).body("")),
            Fate::Malformed(_) => body.break_off(),
            _ => {}
        }
        self.reply = Reply::Plain {
            status: 200,
            mime: JSON,
            body,
        };
        Ok(())
    }
}

pub(super) fn refused<T>(refusal: Refusal, detail: &str) -> Result<T, Refused> {
    Err((refusal, detail.to_owned()))
}

/// What is asked for, as the gateway's own reader of the dialect understands it.
fn asked(route: Spoken, body: &[u8], model: &str, stream: bool) -> Result<Asked, Refused> {
    let stream = route.streams().unwrap_or(stream);
    let refusal = Refusal::bad("invalid_value", "The request is not valid:");
    let asked = speak::ask(route, body, model, stream)
        .map_err(|bad| (refusal, format!("'{}' {}.", bad.field, bad.wanted)))?;
    if hearing::has_foreign_state(&asked, route.dialect()) {
        return refused(
            refusal,
            "the signature of a thinking block is none of ours.",
        );
    }
    Ok(asked)
}

/// The model's name, and how it stands in JSON.
fn model_of<'b>(
    ask: &Ask,
    body: &'b [u8],
    place: Place<'b>,
) -> Result<(Cow<'b, str>, Cow<'b, [u8]>), Refused> {
    let in_body = |_: &Text| !place.names_model();
    if let Some(text) = ask.model.filter(in_body) {
        if let Some(name) = text.says(body) {
            return Ok((name, Cow::Borrowed(text.raw(body))));
        }
    } else if !place.name.is_empty() {
        let name = unquoted(place.name);
        let json = serde_json::Value::from(name.as_str()).to_string();
        let raw = json.trim_matches('"').as_bytes().to_vec();
        return Ok((Cow::Owned(name), Cow::Owned(raw)));
    }
    refused(
        Refusal::bad(
            "missing_required_parameter",
            "you must provide a model parameter",
        ),
        "",
    )
}

/// All layers, in the order of [`super::keys`].
fn behaviour(
    provider: &Provider,
    request: Request<'_>,
    user: Option<&str>,
    model: &str,
) -> Result<Behaviour, Refused> {
    let not_understood = |why: &super::keys::Refused| {
        let refusal = Refusal::bad("unknown_behaviour", "The simulator does not understand:");
        (refusal, why.to_string())
    };
    let mut how = provider.config.behaviour_for(model);
    how.set_from_name(model).map_err(|e| not_understood(&e))?;
    if let Some(user) = user {
        how.set_from_name(user).map_err(|e| not_understood(&e))?;
    }
    for (name, value) in request.head.fields(request.bytes) {
        let Some((prefix, key)) = name.split_at_checked(FIELD_PREFIX.len()) else {
            continue;
        };
        if prefix.eq_ignore_ascii_case(FIELD_PREFIX) {
            let key = String::from_utf8_lossy(key).to_ascii_lowercase();
            let value = String::from_utf8_lossy(value);
            how.set(&key, &value).map_err(|e| not_understood(&e))?;
        }
    }
    if how.fail_ppm.is_some() && how.fate == Fate::Answer {
        how.fate = Fate::Status(500);
    }
    Ok(how)
}

fn model(id: &str) -> String {
    let id = serde_json::Value::from(id);
    format!(
        "{{\"id\":{id},\"object\":\"model\",\"created\":1700000000,\
         \"owned_by\":\"shardgate-simulate\"}}"
    )
}

fn models(provider: &Provider) -> String {
    let listed: Vec<_> = provider
        .config
        .models
        .iter()
        .filter(|name| !name.contains('*'))
        .map(|name| model(name))
        .collect();
    format!("{{\"object\":\"list\",\"data\":[{}]}}", listed.join(","))
}
