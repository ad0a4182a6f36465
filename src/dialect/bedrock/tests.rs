//! Answers and errors of our own; requests in files of their own.

mod own;
mod requests;

use super::{answer, error};
use crate::base::bufpool::BufPool;
use crate::base::bytes::TxBuf;
use crate::base::fault::Kind;
use crate::dialect::model::{
    Answer, Block, Call, Dialect, Names, Opaque, Stop, Tokens, Told, Trouble,
};
use crate::wire::eventstream::frame;
use serde_json::{Value, json};

const NAMES: Names<'_> = Names {
    id: "n1",
    model: "m",
    created: 0,
    wants_usage: true,
};

fn call(id: &str, name: &str, arguments: &str) -> Block {
    Block::Call(Call {
        id: id.into(),
        name: name.into(),
        arguments: arguments.into(),
        is_custom: false,
        opaque: None,
    })
}

/// Goal: an answer of another provider is a whole Converse answer.
#[test]
fn an_answer_of_another_provider_is_written() {
    let answer = Answer {
        blocks: vec![
            Block::Thinking {
                text: "hm".into(),
                opaque: Some(Opaque {
                    dialect: Dialect::Anthropic,
                    value: json!("theirs"),
                }),
            },
            Block::text("a"),
            call("", "f", "{\"x\":1}"),
        ],
        stop: Stop::Tool,
        usage: Some(Tokens {
            fresh: 1,
            read: 2,
            output: 3,
            ..Tokens::default()
        }),
        origin: Some(Dialect::Anthropic),
        ..Answer::default()
    };
    let mut tx = TxBuf::new(&BufPool::new());
    answer::write(&answer, &NAMES, &mut tx);
    let value: Value = serde_json::from_slice(tx.unsent()).unwrap();
    assert_eq!(
        value,
        json!({
            "output": {"message": {"role": "assistant", "content": [
                {"reasoningContent": {"reasoningText": {"text": "hm"}}},
                {"text": "a"},
                {"toolUse": {"toolUseId": "call_n1_2", "name": "f", "input": {"x": 1}}}]}},
            "stopReason": "tool_use",
            "usage": {"inputTokens": 1, "outputTokens": 3, "totalTokens": 6,
                "cacheReadInputTokens": 2, "cacheWriteInputTokens": 0},
            "metrics": {"latencyMs": 0}
        })
    );
}

/// Goal: what is no answer is garbled, an error inside a 200 is an error.
#[test]
fn what_is_no_answer_is_told_apart() {
    for (body, want) in [
        ("<html>", Kind::UpstreamGarbled),
        ("[]", Kind::UpstreamGarbled),
        ("{}", Kind::UpstreamGarbled),
        (
            r#"{"output":{"message":{"content":"x"}}}"#,
            Kind::UpstreamGarbled,
        ),
        (r#"{"message":"no"}"#, Kind::UpstreamError),
        (
            r#"{"Output":{"__type":"a#UnknownOperationException"}}"#,
            Kind::UpstreamError,
        ),
    ] {
        assert_eq!(answer::read(body.as_bytes()), Err(want), "{body}");
    }
}

/// Goal: errors are classified by type, then by what they say, then by status; credentials are
/// not spoken of.
#[test]
fn errors_are_classified() {
    use Trouble::{
        Auth, ContextLength, Invalid, NotFound, Overloaded, Permission, Quota, RateLimit, Server,
        Timeout, TooLarge,
    };
    for (status, body, want) in [
        (
            400,
            r#"{"message":"The provided model identifier is invalid."}"#,
            NotFound,
        ),
        (
            400,
            r#"{"message":"Input is too long for requested model."}"#,
            ContextLength,
        ),
        (
            400,
            r#"{"message":"prompt is too long: 9 tokens > 8 maximum"}"#,
            ContextLength,
        ),
        (400, r#"{"message":"Malformed input request"}"#, Invalid),
        (
            400,
            r#"{"__type":"ThrottlingException","message":"x"}"#,
            RateLimit,
        ),
        (
            400,
            r#"{"__type":"com.amazon#ExpiredTokenException","message":"x"}"#,
            Auth,
        ),
        (
            400,
            r#"{"__type":"ServiceQuotaExceededException:http://x"}"#,
            Quota,
        ),
        (
            403,
            r#"{"message":"The security token included in the request is invalid."}"#,
            Auth,
        ),
        (
            403,
            r#"{"message":"You don't have access to the model with the specified ID."}"#,
            Permission,
        ),
        (404, "<html>not here</html>", NotFound),
        (408, "{}", Timeout),
        (413, "", TooLarge),
        (424, r#"{"message":"x"}"#, Server),
        (
            429,
            r#"{"message":"Too many tokens, please wait before trying again."}"#,
            RateLimit,
        ),
        (429, r#"{"message":"Too many tokens per day"}"#, Quota),
        (
            429,
            r#"{"message":"Model is not ready for inference."}"#,
            Overloaded,
        ),
        (500, "\u{0}", Server),
        (503, r#"{"Message":"busy"}"#, Overloaded),
    ] {
        let refused = error::read(status, body.as_bytes());
        assert_eq!(refused.trouble, want, "{status} {body}");
        assert!(!refused.message.contains("token included"), "{body}");
        assert!(!refused.message.is_empty());
    }
}

/// Goal: errors are told as the SDKs read them.
#[test]
fn errors_are_told_as_sdks_read_them() {
    let told = |status, trouble| Told {
        status,
        trouble,
        code: "c",
        message: "say \"why\"",
        param: None,
    };
    for (status, trouble, want) in [
        (400, Trouble::Invalid, "ValidationException"),
        (400, Trouble::ContextLength, "ValidationException"),
        (401, Trouble::Auth, "UnrecognizedClientException"),
        (403, Trouble::Permission, "AccessDeniedException"),
        (404, Trouble::NotFound, "ResourceNotFoundException"),
        (429, Trouble::RateLimit, "ThrottlingException"),
        (429, Trouble::Quota, "ServiceQuotaExceededException"),
        (502, Trouble::Server, "InternalServerException"),
        (503, Trouble::Overloaded, "ServiceUnavailableException"),
        (504, Trouble::Timeout, "ModelTimeoutException"),
    ] {
        assert_eq!(error::error_type(&told(status, trouble)), want);
    }
    for (kind, want) in [
        (Kind::BadKey, "UnrecognizedClientException"),
        (Kind::BadSignature, "InvalidSignatureException"),
        (Kind::ModelForbidden, "AccessDeniedException"),
    ] {
        let told = Told {
            status: 403,
            ..Told::of(kind)
        };
        assert_eq!(error::error_type(&told), want);
    }
    let mut tx = TxBuf::new(&BufPool::new());
    error::put_body(&mut tx, &told(400, Trouble::Invalid));
    assert_eq!(tx.unsent(), br#"{"message":"say \"why\""}"#);
    tx.clear();
    error::put_event(&mut tx, &told(503, Trouble::Overloaded));
    let read = frame(tx.unsent()).unwrap();
    assert_eq!(read.name(), Some(&b"serviceUnavailableException"[..]));
    assert_eq!(read.message, Some(&b"exception"[..]));
    assert_eq!(read.payload, br#"{"message":"say \"why\""}"#);
}
