"""A provider that speaks Bedrock and verifies every signature with AWS's own signer: botocore
signs what arrived once more, and the result must be the same."""

import hashlib
import json
import struct
import zlib

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from listening import Listening

WORDS = ("Signed ", "and ", "sealed.")
USAGE = {"inputTokens": 3, "outputTokens": 5, "totalTokens": 8}
ANSWER = {
    "output": {"message": {"role": "assistant", "content": [{"text": "".join(WORDS)}]}},
    "stopReason": "end_turn",
    "usage": USAGE,
    "metrics": {"latencyMs": 1},
}


def frame(kind: str, payload: dict) -> bytes:
    """One event in Amazon's binary framing."""
    headers = b""
    for name, value in ((":event-type", kind), (":content-type", "application/json"), (":message-type", "event")):
        headers += bytes([len(name)]) + name.encode() + b"\x07" + struct.pack(">H", len(value)) + value.encode()
    body = json.dumps(payload).encode()
    prelude = struct.pack(">II", 16 + len(headers) + len(body), len(headers))
    start = prelude + struct.pack(">I", zlib.crc32(prelude)) + headers + body
    return start + struct.pack(">I", zlib.crc32(start))


def stream() -> list[bytes]:
    deltas = [("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": word}}) for word in WORDS]
    events = [
        ("messageStart", {"role": "assistant"}),
        *deltas,
        ("contentBlockStop", {"contentBlockIndex": 0}),
        ("messageStop", {"stopReason": "end_turn"}),
        ("metadata", {"usage": USAGE, "metrics": {"latencyMs": 1}}),
    ]
    return [frame(kind, payload) for kind, payload in events]


def authorization_of(credentials, region, path, headers, body) -> str:
    """The whole `Authorization` as botocore writes it for what arrived."""
    named = headers["authorization"].split("SignedHeaders=")[1].split(",")[0].split(";")
    signer = SigV4Auth(credentials, "bedrock", region)
    request = AWSRequest("POST", f"http://{headers['host']}{path}", {name: headers[name] for name in named}, body)
    request.context["timestamp"] = headers["x-amz-date"]
    text = signer.string_to_sign(request, signer.canonical_request(request))
    signer._inject_signature_to_request(request, signer.signature(text, request))
    return request.headers["Authorization"]


INVOKED = {"X-Amzn-Bedrock-Input-Token-Count": "6", "content-type": "application/json"}


def vectors(asked: dict) -> dict:
    """What Titan or Cohere's model answers at Bedrock; the latter tells tokens in the head only."""
    if "texts" in asked:
        return {"id": "x", "embeddings": {"float": [[0.5, -1e-3]] * len(asked["texts"])}}
    return {"embedding": [0.5, -1e-3], "inputTextTokenCount": 2}


class AwsProvider(Listening):
    """Keeps what came as `seen`: path, headers, body, and whether the signature was the right one."""

    def __init__(self, access_key, secret_key, region, token=None):
        self.credentials = Credentials(access_key, secret_key, token)
        self.region = region
        self.seen: list[dict] = []
        super().__init__()

    def _answer(self, handler):
        headers = {name.lower(): value for name, value in handler.headers.items()}
        body = handler.rfile.read(int(headers["content-length"]))
        hashed = hashlib.sha256(body).hexdigest()
        is_good = (
            headers["authorization"] == authorization_of(self.credentials, self.region, handler.path, headers, body)
            and headers["x-amz-content-sha256"] == hashed
            and headers.get("x-amz-security-token") == self.credentials.token
        )
        self.seen.append({"path": handler.path, "headers": headers, "body": body, "is_good": is_good})
        if not is_good:
            answer = b'{"message":"The request signature we calculated does not match."}'
            self._send(handler, 403, answer, {"x-amzn-errortype": "InvalidSignatureException"})
        elif handler.path.endswith("/converse-stream"):
            self._send(handler, 200, b"".join(stream()), {"content-type": "application/vnd.amazon.eventstream"})
        elif handler.path.endswith("/invoke"):
            self._send(handler, 200, json.dumps(vectors(json.loads(body))).encode(), INVOKED)
        else:
            self._send(handler, 200, json.dumps(ANSWER).encode(), {"content-type": "application/json"})

    @staticmethod
    def _send(handler, status, body, headers):
        handler.send_response(status)
        for name, value in {**headers, "content-length": str(len(body))}.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(body)
