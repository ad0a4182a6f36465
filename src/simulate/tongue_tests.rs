//! Tests of what differs between the dialects.

use super::*;

/// Goal: a head has the fields of its dialect, and says when to come back where that is said.
#[test]
fn heads_are_those_of_their_dialect() {
    use super::super::behave::Close;
    use super::super::provider::Frame;
    let fields = |dialect, status| {
        let head = Head {
            status,
            dialect,
            mime: "",
            id: 7,
            framing: Frame::Length(0),
            close: Close::Never,
            is_http10: false,
            retry_after: Some(Duration::from_millis(1500)),
            allow: None,
        };
        let mut tx = TxBuf::new(&BufPool::new());
        put_fields(&mut tx, &head);
        String::from_utf8(tx.unsent().to_vec()).unwrap()
    };
    for (dialect, status, has, lacks) in [
        (Dialect::Chat, 429, "retry-after-ms: 1500\r\n", "9999"),
        (
            Dialect::Responses,
            200,
            "x-request-id: req_sim7\r\n",
            "amzn",
        ),
        (
            Dialect::Anthropic,
            429,
            "retry-after: 2\r\n",
            "retry-after-ms",
        ),
        (
            Dialect::Anthropic,
            200,
            "request-id: req_sim7\r\n",
            "x-request-id",
        ),
        (Dialect::Gemini, 429, "x-gemini", "retry-after"),
        (Dialect::Cohere, 429, "retry-after: 2\r\n", "x-ratelimit"),
        (
            Dialect::Bedrock,
            503,
            "x-amzn-errortype: ServiceUnavailableException:",
            "openai",
        ),
        (
            Dialect::Bedrock,
            200,
            "x-amzn-requestid: sim7\r\n",
            "errortype",
        ),
    ] {
        let fields = fields(dialect, status);
        assert!(
            fields.contains(has) && !fields.contains(lacks),
            "{dialect:?} {fields}"
        );
        assert!(fields.lines().all(|line| line.contains(": ")), "{fields}");
    }
}

/// Goal: garbage has the frame of an event, so that only what is in it cannot be read.
#[test]
fn garbage_is_framed() {
    for dialect in Dialect::ALL {
        let mut tx = TxBuf::new(&BufPool::new());
        put_garbage(&mut tx, dialect);
        let bytes = tx.unsent();
        let json = if dialect == Dialect::Bedrock {
            eventstream::frame(bytes).unwrap().payload.to_vec()
        } else {
            let text = std::str::from_utf8(bytes).unwrap();
            let data = text.strip_suffix("\n\n").unwrap().lines().last().unwrap();
            data.strip_prefix("data: ").unwrap().as_bytes().to_vec()
        };
        assert!(
            serde_json::from_slice::<serde_json::Value>(&json).is_err(),
            "{dialect:?}"
        );
    }
}

/// Goal: who asks for events gets them, at Gemini's alone by a word in the query.
#[test]
fn only_gemini_has_lists() {
    for (cloud, route, query, want) in [
        (None, Route::StreamGenerate, &b"key=k"[..], Form::List),
        (Some(Cloud::Vertex), Route::StreamGenerate, b"", Form::List),
        (None, Route::StreamGenerate, b"key=k&alt=sse", Form::Own),
        (None, Route::Generate, b"", Form::Own),
        (None, Route::ConverseStream, b"", Form::Own),
        (Some(Cloud::Bedrock), Route::Messages, b"", Form::Wrapped),
    ] {
        assert_eq!(form_of(cloud, route, query), want, "{route:?}");
    }
}
