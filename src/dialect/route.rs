//! The routes of all fronts: which dialect a path speaks, and what its path says.
//!
//! ```text
//!   POST /v1/messages                                  Anthropic, model in the body
//!   POST /v1beta/models/gemini-3-pro:generateContent   Gemini, model and manner in the path
//!        └── prefix ───┘└── model ──┘└── suffix ────┘
//! ```
//!
//! Paths are compared as they came: no dot segments, no second spelling of a route. Only the
//! model's name in a path may have percent escapes, since SDKs write `:` so.
//!
//! Source: the providers' API references; RFC 3986, section 2.1, for the escapes.

use super::model::Dialect;

/// What is asked for, and in which language.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Route {
    /// `/v1/chat/completions`
    Chat,
    /// `/v1/completions`
    Completions,
    /// `/v1/embeddings`
    Embeddings,
    /// `/v1/responses`
    Responses,
    /// `/v1/messages`
    Messages,
    /// `/v1/messages/count_tokens`
    CountTokens,
    /// `/v1beta/models/{model}:generateContent`
    Generate,
    /// `/v1beta/models/{model}:streamGenerateContent`
    StreamGenerate,
    /// `/v1beta/models/{model}:embedContent`
    EmbedContent,
    /// `/v1beta/models/{model}:batchEmbedContents`
    BatchEmbedContents,
    /// `/v2/chat`
    CohereChat,
    /// `/v2/embed`
    CohereEmbed,
    /// `/model/{id}/converse`
    Converse,
    /// `/model/{id}/converse-stream`
    ConverseStream,
    /// `/model/{id}/invoke`: a body of the model's own, of which embeddings are understood.
    Invoke,
}

/// Routes whose whole path is known.
const WHOLE: [(&[u8], Route); 8] = [
    (b"/v1/chat/completions", Route::Chat),
    (b"/v1/messages", Route::Messages),
    (b"/v1/responses", Route::Responses),
    (b"/v1/completions", Route::Completions),
    (b"/v1/embeddings", Route::Embeddings),
    (b"/v1/messages/count_tokens", Route::CountTokens),
    (b"/v2/chat", Route::CohereChat),
    (b"/v2/embed", Route::CohereEmbed),
];

/// Routes with a model's name between two parts.
const NAMING: [(&[u8], &[u8], Route); 11] = [
    (b"/v1beta/models/", b":generateContent", Route::Generate),
    (
        b"/v1beta/models/",
        b":streamGenerateContent",
        Route::StreamGenerate,
    ),
    (b"/v1/models/", b":generateContent", Route::Generate),
    (
        b"/v1/models/",
        b":streamGenerateContent",
        Route::StreamGenerate,
    ),
    (b"/v1beta/models/", b":embedContent", Route::EmbedContent),
    (
        b"/v1beta/models/",
        b":batchEmbedContents",
        Route::BatchEmbedContents,
    ),
    (b"/v1/models/", b":embedContent", Route::EmbedContent),
    (
        b"/v1/models/",
        b":batchEmbedContents",
        Route::BatchEmbedContents,
    ),
    (b"/model/", b"/invoke", Route::Invoke),
    (b"/model/", b"/converse", Route::Converse),
    (b"/model/", b"/converse-stream", Route::ConverseStream),
];

impl Route {
    /// The route of `path`, and the model's name as it stands there (empty when it stands in
    /// the body).
    pub fn find(path: &[u8]) -> Option<(Self, &[u8])> {
        if let Some((_, route)) = WHOLE.iter().find(|(whole, _)| *whole == path) {
            return Some((*route, b""));
        }
        NAMING.iter().find_map(|(prefix, suffix, route)| {
            let name = path.strip_prefix(*prefix)?.strip_suffix(*suffix)?;
            (!name.is_empty()).then_some((*route, name))
        })
    }

    /// The dialect in which it is asked and answered.
    pub const fn dialect(self) -> Dialect {
        match self {
            Self::Chat | Self::Completions | Self::Embeddings => Dialect::Chat,
            Self::Responses => Dialect::Responses,
            Self::Messages | Self::CountTokens => Dialect::Anthropic,
            Self::Generate
            | Self::StreamGenerate
            | Self::EmbedContent
            | Self::BatchEmbedContents => Dialect::Gemini,
            Self::CohereChat | Self::CohereEmbed => Dialect::Cohere,
            Self::Converse | Self::ConverseStream | Self::Invoke => Dialect::Bedrock,
        }
    }

    /// Whether the path says that a stream is wanted; `None` where the body does.
    pub const fn streams(self) -> Option<bool> {
        match self {
            Self::Generate | Self::Converse | Self::CountTokens => Some(false),
            Self::StreamGenerate | Self::ConverseStream => Some(true),
            _ if self.embeds() => Some(false),
            _ => None,
        }
    }

    /// Whether it asks for embeddings.
    pub const fn embeds(self) -> bool {
        matches!(
            self,
            Self::Embeddings
                | Self::EmbedContent
                | Self::BatchEmbedContents
                | Self::CohereEmbed
                | Self::Invoke
        )
    }

    /// Whether the model's name stands in the path.
    pub const fn names_model(self) -> bool {
        matches!(self.dialect(), Dialect::Gemini | Dialect::Bedrock)
    }

    /// Whether it asks for an answer in a conversation, which any dialect can give.
    pub const fn is_chat(self) -> bool {
        !self.embeds() && !matches!(self, Self::CountTokens)
    }

    /// The word for it in logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::Completions => "completions",
            Self::Embeddings => "embeddings",
            Self::EmbedContent | Self::BatchEmbedContents => "embed_content",
            Self::CohereEmbed => "cohere_embed",
            Self::Invoke => "invoke",
            Self::Responses => "responses",
            Self::Messages => "messages",
            Self::CountTokens => "count_tokens",
            Self::Generate | Self::StreamGenerate => "generate",
            Self::CohereChat => "cohere_chat",
            Self::Converse | Self::ConverseStream => "converse",
        }
    }
}

/// Appends `text` with its percent escapes resolved to `out`; false when one is broken.
pub fn unescape(text: &[u8], out: &mut Vec<u8>) -> bool {
    let mut rest = text;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let digit = |at| char::from(rest.get(at).copied().unwrap_or_default()).to_digit(16);
        let (Some(high), Some(low)) = (digit(0), digit(1)) else {
            return false;
        };
        out.push(u8::try_from(high << 4 | low).unwrap_or_default());
        rest = rest.get(2..).unwrap_or_default();
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: each route has one path, and the model's name is cut out of it.
    #[test]
    fn paths_name_routes_and_models() {
        let cases: [(&str, Option<(Route, &str)>); 16] = [
            ("/v2/embed", Some((Route::CohereEmbed, ""))),
            (
                "/v1/models/m:embedContent",
                Some((Route::EmbedContent, "m")),
            ),
            (
                "/v1beta/models/m:batchEmbedContents",
                Some((Route::BatchEmbedContents, "m")),
            ),
            ("/model/a%3A0/invoke", Some((Route::Invoke, "a%3A0"))),
            ("/v1/messages", Some((Route::Messages, ""))),
            ("/v1/messages/", None),
            ("/v1/messages/count_tokens", Some((Route::CountTokens, ""))),
            (
                "/v1beta/models/gemini-3-pro:generateContent",
                Some((Route::Generate, "gemini-3-pro")),
            ),
            (
                "/v1beta/models/m:streamGenerateContent",
                Some((Route::StreamGenerate, "m")),
            ),
            ("/v1beta/models/:generateContent", None),
            ("/v1beta/models/m:countTokens", None),
            ("/v1beta/models/m", None),
            (
                "/model/a.b-v1%3A0/converse",
                Some((Route::Converse, "a.b-v1%3A0")),
            ),
            (
                "/model/x/converse-stream",
                Some((Route::ConverseStream, "x")),
            ),
            ("/model/x/invoke-with-response-stream", None),
            ("/v2/chat", Some((Route::CohereChat, ""))),
        ];
        for (path, want) in cases {
            let want = want.map(|(route, name)| (route, name.as_bytes()));
            assert_eq!(Route::find(path.as_bytes()), want, "{path}");
        }
        for (_, route) in WHOLE {
            assert!(!route.names_model());
        }
        for (_, _, route) in NAMING {
            assert!(route.names_model() && route.streams().is_some());
        }
    }

    /// Goal: escapes say what they say, and broken ones are told.
    #[test]
    fn escapes_are_resolved() {
        for (text, want) in [
            ("a%3Ab", Some("a:b")),
            ("%2f", Some("/")),
            ("plain", Some("plain")),
            ("%", None),
            ("%3", None),
            ("%zz", None),
            ("%+1", None),
        ] {
            let mut out = Vec::new();
            let is_whole = unescape(text.as_bytes(), &mut out);
            assert_eq!(is_whole.then_some(&*out), want.map(str::as_bytes), "{text}");
        }
    }
}
