"""What real providers have answered, and what a right reader gets from it (`../shared/wire`)."""

import dataclasses
import json
import os
import pathlib
import struct
import zlib

from processes import ROOT

# Which provider speaks a protocol of the manifest, and which fronts speak the same.
DIALECTS = {
    "openai-chat": "chat",
    "openai-responses": "responses",
    "anthropic-messages": "anthropic",
    "gemini": "gemini",
    "gemini-stream": "gemini",
    "cohere-v2": "cohere",
    "bedrock-converse": "bedrock",
    "bedrock-converse-stream": "bedrock",
}
PART = 10_000  # the second part of recording 17 is number 20017


def wire() -> pathlib.Path:
    return pathlib.Path(os.environ.get("SHARDGATE_SHARED") or ROOT / "../shared").resolve() / "wire"


@dataclasses.dataclass
class Recording:
    """One answer with status 200. `pieces` are its events as they went over the wire, or one
    piece with the whole body. A file with several answers behind each other gives `parts`."""

    number: int
    path: str
    protocol: str
    stream: bool
    content_type: str
    pieces: list
    oracle: dict | None
    parts: list = dataclasses.field(default_factory=list)

    @property
    def dialect(self) -> str:
        return DIALECTS[self.protocol]

    @property
    def body(self) -> bytes:
        return b"".join(self.pieces)


@dataclasses.dataclass
class Expected:
    """What the answer says, in the words of `fronts.Answer`. `text` may be its beginning only;
    `length` is the whole's, in characters."""

    text: str
    length: int
    thinking: int
    calls: list
    stop: str | None
    usage: tuple | None
    error: object = None


def frame(headers: dict, payload: bytes) -> bytes:
    """One message of `application/vnd.amazon.eventstream`."""
    head = b"".join(
        bytes([len(name)]) + name.encode() + b"\x07" + struct.pack(">H", len(value)) + value.encode()
        for name, value in headers.items()
    )
    out = struct.pack(">II", 16 + len(head) + len(payload), len(head))
    out += struct.pack(">I", zlib.crc32(out)) + head + payload
    return out + struct.pack(">I", zlib.crc32(out))


def split_sse(body: bytes) -> list:
    """The events of a body, whatever its line ends."""
    pieces, start, at = [], 0, 0
    blank = (b"\r\n\r\n", b"\n\n", b"\r\r")
    while at < len(body):
        end = next((at + len(mark) for mark in blank if body.startswith(mark, at)), None)
        if end is None:
            at += 1
            continue
        pieces.append(body[start:end])
        start = at = end
    return pieces + ([body[start:]] if start < len(body) else [])


def split_frames(body: bytes) -> list:
    pieces, at = [], 0
    while at < len(body):
        size = struct.unpack_from(">I", body, at)[0]
        pieces.append(body[at : at + size])
        at += size
    return pieces


def from_list(body: bytes) -> list:
    """Events of a Gemini stream that was asked for without `alt=sse`: a list of answers, or
    one answer; the gateway never asks so."""
    whole = json.loads(body)
    events = whole if isinstance(whole, list) else [whole]
    return [b"data: " + json.dumps(event).encode() + b"\r\n\r\n" for event in events]


def from_lines(protocol: str, body: bytes) -> list:
    """Events of a `.chunks.txt`, framed again. Of several streams of Responses behind each
    other the last counts, of which the oracle tells."""
    pieces = []
    for line in filter(None, (line.strip() for line in body.split(b"\n"))):
        if protocol == "bedrock-converse-stream":
            ((kind, payload),) = json.loads(line).items()
            headers = {":event-type": kind, ":content-type": "application/json", ":message-type": "event"}
            pieces.append(frame(headers, json.dumps(payload).encode()))
            continue
        name = b""
        if protocol in ("anthropic-messages", "openai-responses", "cohere-v2"):
            mark = line.split(b'"type":', 1)[1].split(b'"', 2)[1] if b'"type":' in line else b"message"
            name = b"event: " + mark + b"\n"
            if protocol == "openai-responses" and mark == b"response.created":
                pieces = []
        pieces.append(name + b"data: " + line + b"\n\n")
    if protocol == "openai-chat":
        pieces.append(b"data: [DONE]\n\n")
    return pieces


def load() -> list:
    """All answers with status 200 of the six dialects; their numbers are lines of the manifest."""
    folder = wire()
    with open(folder / "oracle.jsonl", encoding="utf-8") as lines:
        oracles = {line["path"]: line for line in map(json.loads, lines)}
    out = []
    with open(folder / "manifest.jsonl", encoding="utf-8") as lines:
        for number, line in enumerate(map(json.loads, lines)):
            protocol, path = line["protocol"], line["path"]
            if protocol not in DIALECTS or line["status"] != 200:
                continue
            body = (folder / "recorded" / path).read_bytes()
            stream, kind, pieces = True, "text/event-stream", [body]
            if path.endswith(".chunks.txt"):
                pieces = from_lines(protocol, body)
            elif path.endswith(".sse"):
                pieces = split_sse(body)
            elif path.endswith(".bin"):
                pieces = split_frames(body)
            elif protocol == "gemini-stream":
                pieces = from_list(body)
            else:
                stream, kind = False, "application/json"
            if stream and protocol.startswith("bedrock"):
                kind = "application/vnd.amazon.eventstream"
            one = Recording(number, path, protocol, stream, kind, pieces, oracles.get(path))
            ends = [at + 1 for at, piece in enumerate(pieces) if b"event: message_stop\n" in piece]
            if len(ends) > 1:  # Anthropic: a conversation, whose answers the oracle joins
                one.parts = [
                    dataclasses.replace(one, number=number + PART * nth, pieces=pieces[start:end])
                    for nth, (start, end) in enumerate(zip([0, *ends], ends), 1)
                ]
            out.append(one)
    return out


def expected(recording: Recording) -> Expected:
    """What the oracle says; for Cohere, of which it says nothing, what the body says."""
    if recording.dialect == "cohere":
        return of_cohere(recording)
    oracle = recording.oracle
    calls = [(tool["name"], tool["args"]) for tool in oracle["tools"]]
    refusal = oracle["refusal"] or ""
    text = oracle["text"] if refusal == "" else oracle["text"] + refusal
    length = oracle["text_len"] + len(refusal)
    finish = oracle["finish"]
    stop = STOPS[recording.dialect](finish, calls, refusal)
    usage = USAGES[recording.dialect](oracle["usage"], recording)
    return Expected(text, length, oracle["reasoning_len"], calls, stop, usage, oracle["error"])


def chat_stop(finish, calls, refusal):
    if finish in ("length", "content_filter"):
        return {"length": "length", "content_filter": "filtered"}[finish]
    return "tool" if calls else "filtered" if refusal else "end"


def responses_stop(finish, calls, refusal):
    return "length" if finish == "incomplete" else "tool" if calls else "end"


def anthropic_stop(finish, calls, refusal):
    return {"tool_use": "tool", "max_tokens": "length", "refusal": "filtered"}.get(finish, "end")


def gemini_stop(finish, calls, refusal):
    if finish in ("SAFETY", "RECITATION") or str(finish).startswith("promptFeedback:"):
        return "filtered"
    return "length" if finish == "MAX_TOKENS" else "tool" if calls else "end"


def bedrock_stop(finish, calls, refusal):
    stops = {"end_turn": "end", "tool_use": "tool", "max_tokens": "length", "guardrail_intervened": "filtered"}
    return stops[finish]


STOPS = {
    "chat": chat_stop,
    "responses": responses_stop,
    "anthropic": anthropic_stop,
    "gemini": gemini_stop,
    "bedrock": bedrock_stop,
}


def chat_usage(usage, recording):
    if not usage or usage.get("prompt_tokens") is None:
        return None
    prompt, answer = usage["prompt_tokens"], usage.get("completion_tokens") or 0
    details = usage.get("prompt_tokens_details") or {}
    places = (details.get("cached_tokens"), usage.get("prompt_cache_hit_tokens"), usage.get("cached_tokens"))
    places += (usage.get("num_cached_tokens"),)
    cached = next((place for place in places if place is not None), 0)
    if recording.path.startswith("xai/"):  # counts thinking apart
        answer += (usage.get("completion_tokens_details") or {}).get("reasoning_tokens") or 0
    return (prompt, answer, min(cached, prompt))


def responses_usage(usage, recording):
    if not usage:
        return None
    cached = (usage.get("input_tokens_details") or {}).get("cached_tokens") or 0
    return (usage["input_tokens"], usage["output_tokens"], cached)


def anthropic_usage(usage, recording):
    read, write = usage.get("cache_read_input_tokens") or 0, usage.get("cache_creation_input_tokens") or 0
    return ((usage.get("input_tokens") or 0) + read + write, usage.get("output_tokens") or 0, read)


def gemini_usage(usage, recording):
    if not usage or (usage.get("totalTokenCount") is None and usage.get("promptTokenCount") is None):
        return None
    of = lambda key: usage.get(key) or 0  # noqa: E731
    prompt = of("promptTokenCount") + of("toolUsePromptTokenCount")
    return (prompt, of("candidatesTokenCount") + of("thoughtsTokenCount"), of("cachedContentTokenCount"))


def bedrock_usage(usage, recording):
    if not usage:
        return None
    read, write = usage.get("cacheReadInputTokens") or 0, usage.get("cacheWriteInputTokens") or 0
    return (usage["inputTokens"] + read + write, usage["outputTokens"], read)


USAGES = {
    "chat": chat_usage,
    "responses": responses_usage,
    "anthropic": anthropic_usage,
    "gemini": gemini_usage,
    "bedrock": bedrock_usage,
}


def of_cohere(recording: Recording) -> Expected:
    text, thinking, calls, reason, usage = "", "", [], None, None
    if recording.stream:
        for piece in recording.pieces:
            event = json.loads(piece.split(b"data: ", 1)[1])
            message = (event.get("delta") or {}).get("message") or {}
            content = message.get("content") or {}
            text += (message.get("tool_plan") or "") + (content.get("text") or "")
            thinking += content.get("thinking") or ""
            call = message.get("tool_calls") or {}
            function = call.get("function") or {}
            if event["type"] == "tool-call-start":
                calls.append([function["name"], ""])
            if function:
                calls[-1][1] += function.get("arguments") or ""
            if event["type"] == "message-end":
                reason, usage = event["delta"]["finish_reason"], event["delta"]["usage"]
    else:
        whole = json.loads(recording.body)
        message, reason, usage = whole["message"], whole["finish_reason"], whole["usage"]
        text = message.get("tool_plan") or ""
        for part in message.get("content") or []:
            text += part.get("text") or ""
            thinking += part.get("thinking") or ""
        for call in message.get("tool_calls") or []:
            calls.append((call["function"]["name"], call["function"]["arguments"]))
    calls = [(name, (json.loads(arguments) if arguments else None) or {}) for name, arguments in calls]
    stop = {"COMPLETE": "end", "MAX_TOKENS": "length", "TOOL_CALL": "tool"}[reason]
    tokens = usage["tokens"]
    counts = (tokens["input_tokens"], tokens["output_tokens"], usage.get("cached_tokens") or 0)
    return Expected(text, len(text), len(thinking), calls, stop, counts)
