"""A provider that breaks the connection itself, in OpenAI's shape and in Anthropic's; plain sockets and threads.

The model's name decides: see `Rude.WAYS`. What only needs an event stream or a status is the simulator's.
"""

import json
import socket
import struct
import threading
import time

TEXT = "All is well."
LONG = {
    "openai": {
        "message": "This model's maximum context length is 8192 tokens. However, your messages resulted in 9001 tokens.",
        "type": "invalid_request_error",
        "param": "messages",
        "code": "context_length_exceeded",
    },
    "anthropic": {"type": "invalid_request_error", "message": "prompt is too long: 210000 tokens > 200000 maximum"},
}
LIMITED = {
    "openai": {"message": "Rate limit reached", "type": "requests", "param": None, "code": "rate_limit_exceeded"},
    "anthropic": {"type": "rate_limit_error", "message": "Number of requests has exceeded your rate limit"},
}
STREAM = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


def whole(shape: str, stream: bool) -> bytes:
    """A good answer."""
    if not stream:
        if shape == "openai":
            message = {"role": "assistant", "content": TEXT}
            said = {"id": "c", "object": "chat.completion", "created": 1, "model": "fine",
                    "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
                    "usage": {"prompt_tokens": 1, "completion_tokens": 3, "total_tokens": 4}}  # fmt: skip
        else:
            said = {"id": "msg", "type": "message", "role": "assistant", "model": "fine", "stop_sequence": None,
                    "content": [{"type": "text", "text": TEXT}], "stop_reason": "end_turn",
                    "usage": {"input_tokens": 1, "output_tokens": 3}}  # fmt: skip
        return page(200, said)
    if shape == "openai":
        frame = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "fine"}
        deltas = [({"role": "assistant", "content": ""}, None), ({"content": TEXT}, None), ({}, "stop")]
        chunks = [{**frame, "choices": [{"index": 0, "delta": d, "finish_reason": why}]} for d, why in deltas]
        events = [f"data: {json.dumps(chunk)}\n\n" for chunk in chunks] + ["data: [DONE]\n\n"]
    else:
        message = {"id": "msg", "type": "message", "role": "assistant", "model": "fine", "content": [],
                   "stop_reason": None, "stop_sequence": None, "usage": {"input_tokens": 1, "output_tokens": 1}}  # fmt: skip
        said = [
            {"type": "message_start", "message": message},
            {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
            {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": TEXT}},
            {"type": "content_block_stop", "index": 0},
            {"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": None},
             "usage": {"output_tokens": 3}},
            {"type": "message_stop"},
        ]  # fmt: skip
        events = [f"event: {one['type']}\ndata: {json.dumps(one)}\n\n" for one in said]
    return STREAM + b"".join(b"%x\r\n%s\r\n" % (len(one), one.encode()) for one in events) + b"0\r\n\r\n"


def page(status: int, said: dict) -> bytes:
    body = json.dumps(said).encode()
    head = f"HTTP/1.1 {status} Said\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    return head.encode() + body


def refusal(shape: str, status: int, errors: dict) -> bytes:
    error = {"error": errors[shape]}
    return page(status, error if shape == "openai" else {"type": "error", **error})


class Rude:
    """Listens until `stop`; `asked` has the models in the order of the requests."""

    def __init__(self):
        self.asked: list[str] = []
        self.open: list[socket.socket] = []
        self.is_over = threading.Event()
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.address = "%s:%d" % self.listener.getsockname()
        threading.Thread(target=self._accept, daemon=True).start()

    def stop(self):
        self.is_over.set()
        self.listener.close()
        for sock in self.open:
            sock.close()

    def _accept(self):
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.open.append(sock)
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock):
        try:
            data = b""
            while True:
                while b"\r\n\r\n" not in data:
                    data += self._some(sock)
                head, _, data = data.partition(b"\r\n\r\n")
                fields = [line.split(b":", 1) for line in head.lower().split(b"\r\n")[1:]]
                length = int(dict(fields)[b"content-length"])
                while len(data) < length:
                    data += self._some(sock)
                body, data = json.loads(data[:length]), data[length:]
                shape = "anthropic" if b"/messages" in head.split(b"\r\n")[0] else "openai"
                self.asked.append(body["model"])
                self.WAYS[body["model"]](self, sock, shape, bool(body.get("stream")))
        except (OSError, EOFError):
            sock.close()

    @staticmethod
    def _some(sock) -> bytes:
        if not (some := sock.recv(65536)):
            raise EOFError
        return some

    def _fine(self, sock, shape, stream):
        sock.sendall(whole(shape, stream))

    def _reset_after_head(self, sock, shape, stream):
        sock.sendall(STREAM if stream else whole(shape, False).partition(b"\r\n\r\n")[0] + b"\r\n\r\n")
        time.sleep(0.05)  # else the reset overtakes the head
        self._reset(sock)

    def _reset(self, sock):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.close()
        raise EOFError

    def _silent(self, sock, shape, stream):
        sock.sendall(STREAM if stream else whole(shape, False).partition(b"\r\n\r\n")[0] + b"\r\n\r\n")
        self._deaf(sock)

    def _deaf(self, sock, *_):
        """Nothing more comes, until the gateway closes."""
        while not self.is_over.is_set():
            self._some(sock)

    def _slow_drip(self, sock, shape, stream):
        self._drip(sock, whole(shape, stream))

    def _slow_body(self, sock, shape, stream):
        head, _, body = whole(shape, stream).partition(b"\r\n\r\n")
        sock.sendall(head + b"\r\n\r\n")
        self._drip(sock, body)

    def _drip(self, sock, data):
        for byte in data:
            sock.sendall(bytes([byte]))
            if self.is_over.wait(0.03):
                raise EOFError

    def _no_sse(self, sock, shape, stream):
        """What a stream is made of is no event, nor is a plain body JSON."""
        garbage = b"<<<<<<<< HEAD\n\ndata: {not json at all\n\ndata data data\n\n"
        if stream:
            sock.sendall(STREAM + b"%x\r\n%s\r\n0\r\n\r\n" % (len(garbage), garbage))
        else:
            head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
            sock.sendall(head % len(garbage) + garbage)

    def _too_long(self, sock, shape, _):
        sock.sendall(refusal(shape, 400, LONG))

    def _limited(self, sock, shape, _):
        sock.sendall(refusal(shape, 429, LIMITED))

    WAYS = {
        "fine": _fine,
        "reset-after-head": _reset_after_head,
        "silent": _silent,
        "deaf": _deaf,
        "slow-drip": _slow_drip,
        "slow-body": _slow_body,
        "no-sse": _no_sse,
        "too-long": _too_long,
        "limited": _limited,
    }
