//! Decides how a request is answered, before anything waits.
//!
//! ```text
//!   head, body ─► route ─► key ─► ask ─► model known? ─► behaviour, layer by layer ─► Plan
//!                  404      401    400        404           400 for a key that is none
//! ```

use super::answer::{Names, Plain, Script};
use super::ask::{Ask, Lost, Place, Route, ask, route, unquoted};
use super::behave::{Behaviour, Close, Fate};
use super::embed;
use super::provider::Provider;
use super::refusal::{AZURE_LOST, Refusal, html};
use crate::wire::http1::{Known, RequestHead, Version, reason};
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
    /// Events.
    Stream(Script),
}

/// How a request is answered.
#[derive(Debug)]
pub(super) struct Plan {
    /// What is sent.
    pub reply: Reply,
    /// When, and what goes wrong.
    pub how: Behaviour,
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
type Refused = (Refusal, String);

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
                if let Err((refusal, detail)) = plan.decide(provider, request, place) {
                    if !matches!(plan.how.fate, Fate::Status(_)) {
                        plan.how.retry_after = None; // refused for its own fault
                    }
                    plan.how.fate = Fate::Answer;
                    plan.refuse(refusal, &detail);
                }
            }
            Err(lost) => plan.lose(lost),
        }
        plan.close = match plan.how.close {
            Close::Never if !request.head.keep_alive => Close::Announced,
            close => close,
        };
        if let Reply::Stream(script) = &plan.reply
            && !script.is_chunked()
        {
            plan.close = Close::Announced;
        }
        plan
    }

    fn refuse(&mut self, refusal: Refusal, detail: &str) {
        self.reply = Reply::Plain {
            status: refusal.status,
            mime: JSON,
            body: Plain::of(refusal.body(detail)),
        };
    }

    fn lose(&mut self, lost: Lost) {
        match lost {
            Lost::Path => self.refuse(
                Refusal::saying(404, "unknown_url", "Unknown request URL."),
                "",
            ),
            Lost::Method(allow) => {
                self.allow = Some(allow);
                self.refuse(
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
        if !has_key(provider, request) {
            return refused(Refusal::of(401), "");
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
        self.how = behaviour(provider, request, &ask, &name)?;
        if !ask.has_prompt {
            return refused(
                Refusal::bad("missing_required_parameter", "Missing required parameter:"),
                "'messages', 'prompt' or 'input'",
            );
        }
        if let Some(ppm) = self.how.fail_ppm
            && !provider.throw(ppm)
        {
            self.how.fate = Fate::Answer;
        }
        self.script(provider, request, &ask, place.route, &raw)
    }

    /// Makes what the fate and the route say.
    fn script(
        &mut self,
        provider: &Provider,
        request: Request<'_>,
        ask: &Ask,
        route: Route,
        model: &[u8],
    ) -> Result<(), Refused> {
        match self.how.fate {
            Fate::Status(status) => {
                if status == 429 && self.how.retry_after.is_none() {
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
                return Ok(());
            }
            _ => self.how.retry_after = None,
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
            embeddings(provider, ask, &self.how, model, prompt)?
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

fn refused<T>(refusal: Refusal, detail: &str) -> Result<T, Refused> {
    Err((refusal, detail.to_owned()))
}

/// The model's name, and how it stands in JSON.
fn model_of<'b>(
    ask: &Ask,
    body: &'b [u8],
    place: Place<'b>,
) -> Result<(Cow<'b, str>, Cow<'b, [u8]>), Refused> {
    if let Some(text) = ask.model {
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
    ask: &Ask,
    model: &str,
) -> Result<Behaviour, Refused> {
    let not_understood = |why: &super::keys::Refused| {
        let refusal = Refusal::bad("unknown_behaviour", "The simulator does not understand:");
        (refusal, why.to_string())
    };
    let mut how = provider.config.behaviour_for(model);
    how.set_from_name(model).map_err(|e| not_understood(&e))?;
    if let Some(user) = ask.user.and_then(|user| user.says(request.body)) {
        how.set_from_name(&user).map_err(|e| not_understood(&e))?;
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

fn embeddings(
    provider: &Provider,
    ask: &Ask,
    how: &Behaviour,
    model: &[u8],
    tokens: u32,
) -> Result<Plain, Refused> {
    let dims = ask.dims.unwrap_or(how.dims);
    let fits = dims > 0 && dims <= super::keys::DIMS_MAX && ask.inputs <= embed::INPUTS_MAX;
    let tokens = how.tokens.prompt.unwrap_or(tokens);
    fits.then(|| provider.vector(dims, ask.coding))
        .and_then(|vector| embed::body(&vector, ask.inputs, model, tokens))
        .map(Plain::of)
        .ok_or_else(|| {
            let refusal = Refusal::bad("invalid_value", "Too many inputs or dimensions.");
            (refusal, String::new())
        })
}

fn has_key(provider: &Provider, request: Request<'_>) -> bool {
    let Some(key) = provider.config.api_key.as_deref() else {
        return true;
    };
    let field = |name| request.head.known(name).map(|at| at.bytes(request.bytes));
    let bearer = field(Known::Authorization)
        .and_then(|value| value.split_at_checked(b"Bearer ".len()))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case(b"Bearer "))
        .map(|(_, key)| key);
    [bearer, field(Known::ApiKey)].contains(&Some(key.as_bytes()))
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
