//! One door to the six dialects: which reader and which writer it is.
//!
//! ```text
//!   Reader / Writer   a stream's, chosen once for an attempt, one match a step
//!   ask, …            the same for what is read or written whole
//!   embed, …          the same for embeddings
//! ```

use super::model::embed::{Embed, Vectors};
use super::model::{
    Abilities, About, Answer, BadAsk, Dialect, Names, Notes, Refused, Request, Step, Told, Unfit,
};
use super::openai::answer::AnswerFacts;
use super::openai::chunk::ChunkFacts;
use super::route::Route;
use super::{anthropic, bedrock, chat, cohere, gemini, openai, responses};
use crate::base::bytes::TxBuf;
use crate::base::fault::Kind;

/// Calls the function of the same name in the dialect's own module.
macro_rules! each {
    ($dialect:expr, $module:ident :: $function:ident ( $($given:expr),* )) => {
        match $dialect {
            Dialect::Chat => chat::$module::$function($($given),*),
            Dialect::Responses => responses::$module::$function($($given),*),
            Dialect::Anthropic => anthropic::$module::$function($($given),*),
            Dialect::Gemini => gemini::$module::$function($($given),*),
            Dialect::Cohere => cohere::$module::$function($($given),*),
            Dialect::Bedrock => bedrock::$module::$function($($given),*),
        }
    };
}

/// Reads a request that came by `route`. `model` and `stream` are what the routing found; where
/// the body says them too they are the same.
///
/// # Errors
/// The field that breaks the dialect.
pub fn ask(route: Route, body: &[u8], model: &str, stream: bool) -> Result<Request, BadAsk> {
    match route {
        Route::Completions => chat::completions::read(body),
        Route::CountTokens => anthropic::count::read(body),
        _ => match route.dialect() {
            Dialect::Chat => chat::request::read(body),
            Dialect::Responses => responses::request::read(body),
            Dialect::Anthropic => anthropic::request::read(body),
            Dialect::Cohere => cohere::request::read(body),
            Dialect::Gemini => gemini::request::read(body, model, stream),
            Dialect::Bedrock => bedrock::request::read(body, model, stream),
        },
    }
}

/// Writes a request for a target that speaks `dialect`.
///
/// # Errors
/// The field that this target cannot honour.
pub fn put_ask(
    dialect: Dialect,
    request: &Request,
    abilities: &Abilities,
    notes: &mut Notes,
) -> Result<Vec<u8>, Unfit> {
    each!(dialect, request::write(request, abilities, notes))
}

/// Reads a whole answer.
///
/// # Errors
/// [`Kind::UpstreamGarbled`]: it is none. [`Kind::UpstreamError`]: it is an error in a 200.
pub fn answer(dialect: Dialect, body: &[u8]) -> Result<Answer, Kind> {
    each!(dialect, answer::read(body))
}

/// Writes a whole answer to what came by `route`.
pub fn put_answer(route: Route, answer: &Answer, names: &Names<'_>, tx: &mut TxBuf) {
    if route == Route::Completions {
        return chat::completions::write(answer, names, tx);
    }
    each!(route.dialect(), answer::write(answer, names, tx));
}

/// Whether there are embeddings in `dialect`.
pub const fn embeds(dialect: Dialect) -> bool {
    !matches!(dialect, Dialect::Responses | Dialect::Anthropic)
}

/// Reads a request for embeddings that came by `route` and asks for `model`.
///
/// # Errors
/// The field that breaks the dialect.
pub fn embed(route: Route, body: &[u8], model: &str) -> Result<Embed, BadAsk> {
    match route {
        Route::EmbedContent => gemini::embed::read(body, model),
        Route::BatchEmbedContents => gemini::embed::read_batch(body, model),
        Route::CohereEmbed => cohere::embed::read(body),
        Route::Invoke => bedrock::embed::read(body, model),
        _ => chat::embed::read(body),
    }
}

/// Writes a request for embeddings for a target that speaks `dialect`.
///
/// # Errors
/// The field that this target cannot honour.
pub fn put_embed(dialect: Dialect, embed: &Embed, notes: &mut Notes) -> Result<Vec<u8>, Unfit> {
    match dialect {
        Dialect::Gemini => gemini::embed::write(embed, notes),
        Dialect::Cohere => cohere::embed::write(embed, notes),
        Dialect::Bedrock => bedrock::embed::write(embed, notes),
        Dialect::Chat | Dialect::Responses | Dialect::Anthropic => chat::embed::write(embed, notes),
    }
}

/// Reads the vectors that answer `embed`: as many as it has inputs.
///
/// # Errors
/// [`Kind::UpstreamGarbled`]: they are none. [`Kind::UpstreamError`]: it is an error in a 200.
/// [`Kind::Unfit`]: they have another length than was asked for.
pub fn vectors<'a>(dialect: Dialect, body: &'a [u8], embed: &Embed) -> Result<Vectors<'a>, Kind> {
    let found = match dialect {
        Dialect::Gemini => gemini::embed::read_answer(body),
        Dialect::Cohere => cohere::embed::read_answer(body),
        Dialect::Bedrock => bedrock::embed::read_answer(body),
        Dialect::Chat | Dialect::Responses | Dialect::Anthropic => chat::embed::read_answer(body),
    }?;
    if found.values.len() != embed.inputs.len() {
        Err(Kind::UpstreamGarbled)
    } else if found.fit(embed) {
        Ok(found)
    } else {
        Err(Kind::Unfit)
    }
}

/// How many vectors are in `body`, an answer with embeddings in any coding; `None`: it is none.
pub fn count_vectors(dialect: Dialect, body: &[u8]) -> Option<usize> {
    let found = match dialect {
        Dialect::Gemini => gemini::embed::read_answer(body),
        Dialect::Cohere => cohere::embed::read_answer(body),
        Dialect::Bedrock => bedrock::embed::read_answer(body),
        Dialect::Chat | Dialect::Responses | Dialect::Anthropic => {
            return chat::embed::count(body);
        }
    };
    found.ok().map(|found| found.values.len())
}

/// Writes the answer to `embed`, which came by `route`.
pub fn put_vectors(
    route: Route,
    vectors: &Vectors<'_>,
    embed: &Embed,
    names: &Names<'_>,
    tx: &mut TxBuf,
) {
    match route {
        Route::EmbedContent => gemini::embed::write_answer(vectors, false, tx),
        Route::BatchEmbedContents => gemini::embed::write_answer(vectors, true, tx),
        Route::CohereEmbed => cohere::embed::write_answer(vectors, embed, names, tx),
        Route::Invoke => bedrock::embed::write_answer(vectors, tx),
        _ => chat::embed::write_answer(vectors, embed, names, tx),
    }
}

/// Reads the body of a provider's error, whatever it is.
pub fn refusal(dialect: Dialect, status: u16, body: &[u8]) -> Refused {
    each!(dialect, error::read(status, body))
}

/// Writes the body of an error answer.
pub fn put_error(dialect: Dialect, told: &Told<'_>, tx: &mut TxBuf) {
    each!(dialect, error::put_body(tx, told));
}

/// The same, with what the dialect's bodies tell `about` the exchange.
pub fn put_error_about(dialect: Dialect, told: &Told<'_>, about: About<'_>, tx: &mut TxBuf) {
    match dialect {
        Dialect::Anthropic => anthropic::error::put_body_about(tx, told, about.id),
        Dialect::Gemini => gemini::error::put_body_about(tx, told, about.wait),
        _ => put_error(dialect, told, tx),
    }
}

/// Writes what ends a stream that cannot be completed.
pub fn put_error_event(dialect: Dialect, told: &Told<'_>, tx: &mut TxBuf) {
    each!(dialect, error::put_event(tx, told));
}

/// The same, with what the dialect's events tell `about` the exchange.
pub fn put_error_event_about(dialect: Dialect, told: &Told<'_>, about: About<'_>, tx: &mut TxBuf) {
    let start: &[u8] = match dialect {
        Dialect::Anthropic => b"event: error\ndata: ",
        Dialect::Gemini => b"data: ",
        _ => return put_error_event(dialect, told, tx),
    };
    tx.put(start);
    put_error_about(dialect, told, about, tx);
    tx.put(b"\n\n");
}

/// What one event says that passes as it is.
pub fn look(dialect: Dialect, event: Option<&[u8]>, data: &[u8]) -> ChunkFacts {
    match dialect {
        Dialect::Chat => openai::chunk::look(data),
        Dialect::Responses => responses::look::look(event, data),
        Dialect::Anthropic => anthropic::look::look(event, data),
        Dialect::Gemini => gemini::look::look(event, data),
        Dialect::Cohere => cohere::look::look(event, data),
        Dialect::Bedrock => bedrock::look::look(event, data),
    }
}

/// What a whole answer says that passes as it is.
pub fn look_at_answer(dialect: Dialect, body: &[u8]) -> AnswerFacts {
    match dialect {
        Dialect::Chat => openai::answer::answer(body),
        Dialect::Responses => responses::look::answer(body),
        Dialect::Anthropic => anthropic::look::answer(body),
        Dialect::Gemini => gemini::look::answer(body),
        Dialect::Cohere => cohere::look::answer(body),
        Dialect::Bedrock => bedrock::look::answer(body),
    }
}

/// Reads a stream of any dialect.
#[derive(Debug)]
pub enum Reader {
    /// `OpenAI` Chat Completions.
    Chat(chat::stream::Reader),
    /// `OpenAI` Responses.
    Responses(responses::stream::Reader),
    /// Anthropic Messages.
    Anthropic(anthropic::stream::Reader),
    /// Gemini.
    Gemini(gemini::stream::Reader),
    /// Cohere.
    Cohere(cohere::stream::Reader),
    /// Bedrock.
    Bedrock(bedrock::stream::Reader),
}

impl Reader {
    /// At the beginning of a stream of `dialect`.
    pub fn new(dialect: Dialect) -> Self {
        match dialect {
            Dialect::Chat => Self::Chat(chat::stream::Reader::new()),
            Dialect::Responses => Self::Responses(responses::stream::Reader::new()),
            Dialect::Anthropic => Self::Anthropic(anthropic::stream::Reader::new()),
            Dialect::Gemini => Self::Gemini(gemini::stream::Reader::new()),
            Dialect::Cohere => Self::Cohere(cohere::stream::Reader::new()),
            Dialect::Bedrock => Self::Bedrock(bedrock::stream::Reader::new()),
        }
    }

    /// Reads one whole event: its name and its data. `each` gets the steps.
    ///
    /// # Errors
    /// [`Kind::UpstreamGarbled`]: it is no event of the dialect.
    pub fn read(
        &mut self,
        event: Option<&[u8]>,
        data: &[u8],
        each: &mut dyn FnMut(Step<'_>),
    ) -> Result<(), Kind> {
        match self {
            Self::Chat(reader) => reader.read(event, data, each),
            Self::Responses(reader) => reader.read(event, data, each),
            Self::Anthropic(reader) => reader.read(event, data, each),
            Self::Gemini(reader) => reader.read(event, data, each),
            Self::Cohere(reader) => reader.read(event, data, each),
            Self::Bedrock(reader) => reader.read(event, data, each),
        }
    }

    /// Whether the provider has said why the answer ended, though the stream has not: the others
    /// say both at once.
    pub fn has_stopped(&self) -> bool {
        match self {
            Self::Chat(reader) => reader.has_stopped(),
            Self::Anthropic(reader) => reader.has_stopped(),
            Self::Gemini(reader) => reader.has_stopped(),
            Self::Bedrock(reader) => reader.has_stopped(),
            Self::Responses(_) | Self::Cohere(_) => false,
        }
    }

    /// Whether a stream that ended said why.
    pub fn has_said_why(&self) -> bool {
        matches!(self, Self::Responses(_) | Self::Cohere(_)) || self.has_stopped()
    }

    /// The body ended. `each` gets the steps that were held.
    ///
    /// # Errors
    /// [`Kind::UpstreamCut`]: the answer is not complete.
    pub fn end(&mut self, each: &mut dyn FnMut(Step<'_>)) -> Result<(), Kind> {
        match self {
            Self::Chat(reader) => reader.end(each),
            Self::Responses(reader) => reader.end(each),
            Self::Anthropic(reader) => reader.end(each),
            Self::Gemini(reader) => reader.end(each),
            Self::Cohere(reader) => reader.end(each),
            Self::Bedrock(reader) => reader.end(each),
        }
    }
}

/// Writes a stream of any dialect.
#[derive(Debug)]
pub enum Writer {
    /// `OpenAI` Chat Completions.
    Chat(chat::stream::Writer),
    /// `OpenAI` Completions.
    Completions(chat::completions::Writer),
    /// `OpenAI` Responses.
    Responses(responses::stream::Writer),
    /// Anthropic Messages.
    Anthropic(anthropic::stream::Writer),
    /// Gemini.
    Gemini(gemini::stream::Writer),
    /// Cohere.
    Cohere(cohere::stream::Writer),
    /// Bedrock.
    Bedrock(bedrock::stream::Writer),
}

impl Writer {
    /// At the beginning of an answer to what came by `route`.
    pub fn new(route: Route) -> Self {
        match route.dialect() {
            Dialect::Chat if route == Route::Completions => {
                Self::Completions(chat::completions::Writer::new())
            }
            Dialect::Chat => Self::Chat(chat::stream::Writer::new()),
            Dialect::Responses => Self::Responses(responses::stream::Writer::new()),
            Dialect::Anthropic => Self::Anthropic(anthropic::stream::Writer::new()),
            Dialect::Gemini => Self::Gemini(gemini::stream::Writer::new()),
            Dialect::Cohere => Self::Cohere(cohere::stream::Writer::new()),
            Dialect::Bedrock => Self::Bedrock(bedrock::stream::Writer::new()),
        }
    }

    /// Appends what `step` says, as whole events.
    pub fn write(&mut self, step: &Step<'_>, names: &Names<'_>, tx: &mut TxBuf) {
        match self {
            Self::Chat(writer) => writer.write(step, names, tx),
            Self::Completions(writer) => writer.write(step, names, tx),
            Self::Responses(writer) => writer.write(step, names, tx),
            Self::Anthropic(writer) => writer.write(step, names, tx),
            Self::Gemini(writer) => writer.write(step, names, tx),
            Self::Cohere(writer) => writer.write(step, names, tx),
            Self::Bedrock(writer) => writer.write(step, names, tx),
        }
    }
}
