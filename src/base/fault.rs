//! What went wrong with an exchange: where, what, whose fault, and whether to try again.
//!
//! One table maps a [`Kind`] to its HTTP status, its stable code and the sentence that a
//! caller reads. No strings are built on the path; what an operator reads (addresses,
//! system errors) is logged where it happens and never reaches a caller.

/// The step of an exchange at which it failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Reading the request head or body.
    Read,
    /// Keys, routes, limits.
    Admit,
    /// Understanding the body.
    Ask,
    /// Choosing targets.
    Plan,
    /// Opening an upstream connection.
    Connect,
    /// Sending the request upstream.
    Send,
    /// Waiting for the answer's head and first content.
    Await,
    /// Passing the answer on.
    Relay,
}

/// Whose fault it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blame {
    /// Whoever sent the request.
    Caller,
    /// This gateway or its configuration.
    Gateway,
    /// The provider.
    Upstream,
}

/// Whether another attempt may help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// Another attempt would fail the same way, or could do the work twice.
    Never,
    /// On a reused connection that gave no byte, the same target at once on a fresh one;
    /// after that as [`Retry::Once`].
    IfReused,
    /// Another target may answer. This one will not before somebody mends it, or has let the
    /// client wait for a whole timeout already.
    Elsewhere,
    /// Another target may answer; this one is asked once more: it may have done the work.
    Once,
    /// Another target may answer, and so may this one after a while: it did nothing.
    Anywhere,
}

macro_rules! kinds {
    ($(
        $(#[$doc:meta])*
        $name:ident = $status:literal $code:literal $blame:ident $retry:ident $text:literal;
    )*) => {
        /// What went wrong.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Kind {
            $($(#[$doc])* $name,)*
        }

        impl Kind {
            /// Every kind, for tables and metrics.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The HTTP status a caller sees.
            pub const fn status(self) -> u16 {
                match self { $(Self::$name => $status,)* }
            }

            /// The stable, machine-readable code: error body, metric label, access log.
            pub const fn code(self) -> &'static str {
                match self { $(Self::$name => $code,)* }
            }

            /// Whose fault it is.
            pub const fn blame(self) -> Blame {
                match self { $(Self::$name => Blame::$blame,)* }
            }

            /// Whether another attempt may help.
            pub const fn retry(self) -> Retry {
                match self { $(Self::$name => Retry::$retry,)* }
            }

            /// The sentence for the caller: what is wrong and what to do.
            pub const fn text(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

kinds! {
    /// The request is not well-formed HTTP/1.1.
    BadRequest = 400 "bad_request" Caller Never "The request is not well-formed HTTP/1.1; correct the client or proxy that sent it.";
    /// HTTP where TLS is spoken.
    PlainHttp = 400 "plain_http" Caller Never "This port speaks TLS; use an https:// URL.";
    /// The body is not JSON.
    BadJson = 400 "invalid_json" Caller Never "The request body is not valid JSON in UTF-8; correct it and send it again.";
    /// A key that decides the routing occurs twice.
    DuplicateKey = 400 "duplicate_key" Caller Never "The request body names 'model', 'messages', 'stream', 'fallbacks' or a token limit twice; send each once.";
    /// Deeper than the limit.
    TooDeep = 400 "nesting_too_deep" Caller Never "The request body is nested too deeply; flatten it.";
    /// The model is missing.
    NoModel = 400 "missing_model" Caller Never "The request body has no 'model'; name the model to ask.";
    /// The model is no name.
    BadModel = 400 "invalid_model" Caller Never "'model' must be a string of 1 to 256 letters, digits and . _ : / @ - without '..'.";
    /// A field has the wrong type.
    BadField = 400 "invalid_field" Caller Never "'stream' must be true or false and 'stream_options' an object; correct the field.";
    /// A field breaks the dialect; the answer names it.
    BadAsk = 400 "invalid_request" Caller Never "A field of the request body is not as the API wants it; correct it.";
    /// No target can honour a field; the answer names it.
    Unfit = 400 "unsupported_field" Caller Elsewhere "A field of the request cannot be honoured by any target of this model; leave it out or ask for another model.";
    /// No key, or a wrong one.
    BadKey = 401 "invalid_api_key" Caller Never "The API key is missing or not known to this gateway; check the Authorization header.";
    /// An access key's signature that is none.
    BadSignature = 403 "invalid_signature" Caller Never "The request's signature is not the one of its access key; check the secret access key, the clock (15 minutes off at most) and that nothing changes the request on its way.";
    /// The key may not use this model.
    ModelForbidden = 403 "model_not_allowed" Caller Never "This API key may not use this model; ask the gateway's operator to allow it.";
    /// No such model.
    NoSuchModel = 404 "model_not_found" Caller Never "The gateway knows no model of this name; GET /v1/models lists the names.";
    /// No such route.
    NoSuchRoute = 404 "route_not_found" Caller Never "The gateway has no such route; check the path.";
    /// The route exists, with another method.
    BadMethod = 405 "method_not_allowed" Caller Never "This route takes another method; see the Allow header.";
    /// The client sends too slowly.
    SlowClient = 408 "client_too_slow" Caller Never "The request did not arrive in time; send it faster or in smaller parts.";
    /// The body is larger than the limit.
    BodyTooLarge = 413 "body_too_large" Caller Never "The request body is larger than the gateway allows; send less.";
    /// The target is longer than the limit.
    TargetTooLong = 414 "uri_too_long" Caller Never "The request target is too long; shorten it.";
    /// The body has a type or coding that is not taken.
    BadMediaType = 415 "unsupported_media_type" Caller Never "The body must be application/json without a content coding.";
    /// An expectation other than 100-continue.
    BadExpectation = 417 "expectation_failed" Caller Never "The only expectation the gateway meets is 100-continue.";
    /// The head is larger than the limit.
    HeadTooLarge = 431 "head_too_large" Caller Never "The request head is too large; send fewer or shorter header fields.";
    /// The client went away; logged only.
    ClientGone = 499 "client_gone" Caller Never "The client closed the connection.";
    /// Our own mistake.
    Internal = 500 "internal_error" Gateway Never "The gateway failed on this request; the operator's log has the details.";
    /// A method or transfer coding that does not exist here.
    NotImplemented = 501 "not_implemented" Caller Never "The gateway does not implement this method or transfer coding.";
    /// Not connected.
    ConnectFailed = 502 "upstream_connect_failed" Upstream Anywhere "The provider could not be reached; try again later.";
    /// The provider's name does not resolve.
    NoAddress = 502 "upstream_no_address" Upstream Anywhere "The provider's name does not resolve; try again later.";
    /// The provider's certificate is over.
    CertificateExpired = 502 "upstream_certificate_expired" Upstream Elsewhere "The provider's TLS certificate has expired, so nothing was sent to it; the provider must renew it.";
    /// The provider's certificate has not begun.
    CertificateNotYetValid = 502 "upstream_certificate_not_yet_valid" Upstream Elsewhere "The provider's TLS certificate is not valid yet, so nothing was sent to it; check the clocks of the provider and the gateway.";
    /// The provider's certificate is somebody else's.
    CertificateWrongHost = 502 "upstream_certificate_wrong_host" Upstream Elsewhere "The provider's TLS certificate is for another host, so nothing was sent to it; the operator must check base_url.";
    /// The provider's certificate is its own issuer.
    CertificateSelfSigned = 502 "upstream_certificate_self_signed" Upstream Elsewhere "The provider's TLS certificate is self-signed, so nothing was sent to it; the operator must name its authority with tls.ca.";
    /// Nobody trusted has issued the provider's certificate.
    CertificateUnknownIssuer = 502 "upstream_certificate_unknown_issuer" Upstream Elsewhere "The provider's TLS certificate comes from an authority that the gateway does not trust, so nothing was sent to it; the operator must name the authority with tls.ca.";
    /// The provider's certificate has a short key or an old signature.
    CertificateWeak = 502 "upstream_certificate_weak" Upstream Elsewhere "The provider's TLS certificate has a weak key or signature, so nothing was sent to it; the provider must replace it.";
    /// The provider's certificate has another fault.
    CertificateInvalid = 502 "upstream_certificate_invalid" Upstream Elsewhere "The provider's TLS certificate cannot be accepted, so nothing was sent to it; the provider must replace it.";
    /// The provider has TLS 1.1 or older only.
    TlsVersion = 502 "upstream_tls_version" Upstream Elsewhere "The provider speaks neither TLS 1.2 nor 1.3, so nothing was sent to it; the provider must be upgraded.";
    /// Another failure of the handshake.
    TlsFailed = 502 "upstream_tls_failed" Upstream Elsewhere "The TLS handshake with the provider failed, so nothing was sent to it; check that its port speaks TLS, or try again later.";
    /// The connection ended before the answer's head.
    UpstreamClosed = 502 "upstream_closed" Upstream IfReused "The provider closed the connection before it answered; try again.";
    /// The answer's head is broken.
    UpstreamBadHead = 502 "upstream_malformed" Upstream Elsewhere "The provider's answer is not well-formed HTTP; try again.";
    /// The body broke off or its framing is broken.
    UpstreamCut = 502 "upstream_cut" Upstream Elsewhere "The provider's answer broke off; what came before is incomplete.";
    /// The stream holds something that is no event of the dialect.
    UpstreamGarbled = 502 "upstream_garbled" Upstream Elsewhere "The provider's answer is garbled; what came before is incomplete.";
    /// A status that is no answer to a chat request (204, 3xx, …).
    UpstreamBadStatus = 502 "upstream_bad_status" Upstream Elsewhere "The provider answered with a status that carries no answer.";
    /// The provider refused the gateway's own key.
    UpstreamRefusedKey = 502 "upstream_refused_key" Gateway Elsewhere "The provider refused the gateway's credentials; the operator must renew them.";
    /// The provider sent an error inside a stream before any content.
    UpstreamError = 502 "upstream_error" Upstream Anywhere "The provider reported an error instead of an answer; try again.";
    /// Too much at once.
    Overloaded = 503 "overloaded" Gateway Never "The gateway is at its limit; try again after the time in Retry-After.";
    /// Going down.
    Draining = 503 "draining" Gateway Never "The gateway is shutting down; try again on another connection.";
    /// The gateway went down before the answer was complete.
    ShutDown = 503 "shut_down" Gateway Never "The gateway was shut down before the answer was complete; send the request again on another connection.";
    /// Connect timeout.
    ConnectTimeout = 504 "upstream_connect_timeout" Upstream Elsewhere "The provider did not accept a connection in time; try again later.";
    /// No first content in time.
    FirstTokenTimeout = 504 "upstream_first_token_timeout" Upstream Elsewhere "The provider sent no first token in time; try again later.";
    /// Silence in mid-answer.
    IdleTimeout = 504 "upstream_idle_timeout" Upstream Elsewhere "The provider fell silent in the middle of its answer; what came before is incomplete.";
    /// `only-if-cached`, and nothing is stored (RFC 9111, 5.2.1.7).
    NotCached = 504 "not_cached" Gateway Never "There is no stored answer to this request, and it asked for nothing else; leave only-if-cached out.";
    /// The deadline over everything.
    TotalTimeout = 504 "deadline_exceeded" Upstream Never "The request took longer than its deadline; what came before is incomplete.";
    /// HTTP version.
    BadVersion = 505 "http_version_not_supported" Caller Never "The gateway speaks HTTP/1.1 and HTTP/1.0 only.";
}

/// What went wrong, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// At which step.
    pub stage: Stage,
    /// What.
    pub kind: Kind,
}

impl Fault {
    /// The fault `kind` at `stage`.
    pub const fn new(stage: Stage, kind: Kind) -> Self {
        Self { stage, kind }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: the table is sane. Method: every row's code is unique, its status is an error,
    /// and the blame fits the status class.
    #[test]
    fn every_kind_has_its_own_code_and_an_error_status() {
        let mut codes: Vec<_> = Kind::ALL.iter().map(|k| k.code()).collect();
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), Kind::ALL.len());
        for kind in Kind::ALL {
            assert!((400..600).contains(&kind.status()), "{kind:?}");
            if kind.status() == 502 || kind.status() == 504 {
                assert_ne!(kind.blame(), Blame::Caller, "{kind:?}");
            }
        }
    }
}
