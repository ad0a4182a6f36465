//! What the client and the provider of the counted exchanges say.

use std::rc::Rc;

/// A request for `model` by `path` with a prompt of `prompt` bytes.
pub(crate) fn request(path: &str, model: &str, stream: bool, prompt: usize) -> Rc<[u8]> {
    let text = "Say it in other words, please. ".repeat(prompt / 31 + 1);
    let limit = if path.ends_with("messages") {
        "\"max_tokens\":4096,"
    } else {
        ""
    };
    let body = format!(
        "{{\"model\":\"{model}\",{limit}\"stream\":{stream},\"temperature\":0.7,\"messages\":[{{\"role\":\"user\",\"content\":\"{}\"}}]}}",
        &text[..prompt]
    );
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: gateway.example:8080\r\n\
         User-Agent: OpenAI/Python 1.99.0\r\nAccept: application/json\r\n\
         Accept-Encoding: gzip, deflate\r\nConnection: keep-alive\r\n\
         Authorization: Bearer sk-0123456789abcdef0123456789abcdef\r\n\
         X-Stainless-Lang: python\r\nX-Stainless-Runtime-Version: 3.11.2\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    (head + &body).into_bytes().into()
}

/// A plain answer of about 600 bytes.
pub(crate) fn plain() -> Rc<[u8]> {
    let body = format!(
        "{{\"id\":\"chatcmpl-0123456789abcdef\",\"object\":\"chat.completion\",\"created\":1767225600,\
         \"model\":\"llama-70b\",\"choices\":[{{\"index\":0,\"message\":{{\"role\":\"assistant\",\
         \"content\":\"{}\"}},\"logprobs\":null,\"finish_reason\":\"stop\"}}],\
         \"usage\":{{\"prompt_tokens\":120,\"completion_tokens\":60,\"total_tokens\":180}}}}",
        "In other words then. ".repeat(15)
    );
    let head = format!(
        "HTTP/1.1 200 OK\r\ndate: Thu, 01 Jan 2026 00:00:00 GMT\r\nserver: uvicorn\r\n\
         content-type: application/json\r\nx-request-id: req-0123456789abcdef\r\n\
         content-length: {}\r\n\r\n",
        body.len()
    );
    (head + &body).into_bytes().into()
}

/// A stream of `events` events of about 250 bytes, each in a chunk of its own, and where
/// each of its chunks ends.
pub(crate) fn stream(events: usize) -> (Rc<[u8]>, Vec<usize>) {
    let mut wire = b"HTTP/1.1 200 OK\r\ndate: Thu, 01 Jan 2026 00:00:00 GMT\r\nserver: uvicorn\r\n\
        content-type: text/event-stream; charset=utf-8\r\nx-request-id: req-0123456789abcdef\r\n\
        transfer-encoding: chunked\r\n\r\n"
        .to_vec();
    let mut ends = vec![wire.len()];
    let mut chunk = |choices: &str, usage: &str| {
        let event = format!(
            "data: {{\"id\":\"chatcmpl-0123456789abcdef0123456789abcdef\",\"object\":\"chat.completion.chunk\",\
             \"created\":1767225600,\"model\":\"llama-70b\",\"choices\":{choices},\"usage\":{usage}}}\n\n"
        );
        wire.extend_from_slice(format!("{:x}\r\n{event}\r\n", event.len()).as_bytes());
        ends.push(wire.len());
    };
    let choice = |delta: &str, finish: &str| {
        format!("[{{\"index\":0,\"delta\":{delta},\"logprobs\":null,\"finish_reason\":{finish}}}]")
    };
    chunk(
        &choice("{\"role\":\"assistant\",\"content\":\"\"}", "null"),
        "null",
    );
    for event in 0..events {
        let word = [" Hello", ",", " world", " of", " streaming"][event % 5];
        chunk(
            &choice(&format!("{{\"content\":\"{word}\"}}"), "null"),
            "null",
        );
    }
    chunk(&choice("{}", "\"stop\""), "null");
    chunk(
        "[]",
        "{\"prompt_tokens\":120,\"completion_tokens\":60,\"total_tokens\":180}",
    );
    wire.extend_from_slice(b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n");
    ends.push(wire.len());
    (wire.into(), ends)
}

/// The same in Anthropic's dialect.
pub(crate) fn messages(events: usize) -> (Rc<[u8]>, Vec<usize>) {
    let mut wire = b"HTTP/1.1 200 OK\r\ndate: Thu, 01 Jan 2026 00:00:00 GMT\r\n\
        content-type: text/event-stream; charset=utf-8\r\nrequest-id: req_0123456789abcdef\r\n\
        transfer-encoding: chunked\r\n\r\n"
        .to_vec();
    let mut ends = vec![wire.len()];
    let mut chunk = |name: &str, rest: &str| {
        let event = format!("event: {name}\ndata: {{\"type\":\"{name}\"{rest}}}\n\n");
        wire.extend_from_slice(format!("{:x}\r\n{event}\r\n", event.len()).as_bytes());
        ends.push(wire.len());
    };
    chunk(
        "message_start",
        ",\"message\":{\"id\":\"msg_0123456789abcdef\",\"type\":\"message\",\"role\":\"assistant\",\
         \"model\":\"claude-opus-5\",\"content\":[],\"stop_reason\":null,\"stop_sequence\":null,\
         \"usage\":{\"input_tokens\":120,\"output_tokens\":1}}",
    );
    let block = ",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"\"}";
    chunk("content_block_start", block);
    for event in 0..events {
        let word = [" Hello", ",", " world", " of", " streaming"][event % 5];
        let delta =
            format!(",\"index\":0,\"delta\":{{\"type\":\"text_delta\",\"text\":\"{word}\"}}");
        chunk("content_block_delta", &delta);
    }
    chunk("content_block_stop", ",\"index\":0");
    chunk(
        "message_delta",
        ",\"delta\":{\"stop_reason\":\"end_turn\",\"stop_sequence\":null},\"usage\":{\"output_tokens\":60}",
    );
    chunk("message_stop", "");
    wire.extend_from_slice(b"0\r\n\r\n");
    ends.push(wire.len());
    (wire.into(), ends)
}
