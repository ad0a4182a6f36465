"""A provider behind TLS that counts what it reads; plain sockets and threads, so that it can misbehave."""

import json
import socket
import ssl
import threading

ANSWER = {
    "id": "x", "object": "chat.completion", "created": 1, "model": "m",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hello"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
}  # fmt: skip


def event(text, finish=None) -> bytes:
    choice = {"index": 0, "delta": {"content": text} if text else {}, "finish_reason": finish}
    chunk = {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}
    return b"data: " + json.dumps(chunk).encode() + b"\n\n"


EVENTS = [event(f"t{n} ") for n in range(8)] + [event(None, "stop"), b"data: [DONE]\n\n"]


class TlsProvider:
    """One certificate, one behaviour.

    `end`: "keep" (framed answers, keep-alive), "notify" (a body framed by the close, after
    `close_notify`), "cut" (the same without it). `deaf`: it accepts and never says a word.
    """

    def __init__(self, cert, key, end="keep", versions=None, deaf=False):
        self.end, self.deaf = end, deaf
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        if versions:
            self.context.set_ciphers("ALL:@SECLEVEL=0")
            self.context.minimum_version, self.context.maximum_version = versions
        else:
            self.context.set_ciphers("DEFAULT:@SECLEVEL=0")  # else it refuses its own weak certificate
        self.context.load_cert_chain(cert, key)
        self.context.set_alpn_protocols(["http/1.1"])
        self.hosts: list = []
        self.context.sni_callback = lambda sock, host, context: self.hosts.append(host)
        self.bytes_read = self.connections = self.resumed = 0
        self.alpn: list = []
        self.open: list[socket.socket] = []
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def stop(self):
        self.listener.close()
        for sock in self.open:
            sock.close()

    def _accept(self):
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            self.connections += 1
            self.open.append(sock)
            if not self.deaf:
                threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock):
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            tls = self.context.wrap_socket(sock, server_side=True)
            self.open.append(tls)
            self.resumed += tls.session_reused
            self.alpn.append(tls.selected_alpn_protocol())
            while self._exchange(tls):
                pass
        except (OSError, ssl.SSLError, ValueError):
            sock.close()

    def _read(self, tls, upto):
        data = b""
        while not upto(data):
            got = tls.recv(65536)
            if not got:
                raise ValueError("gone")
            self.bytes_read += len(got)
            data += got
        return data

    def _exchange(self, tls) -> bool:
        data = self._read(tls, lambda data: b"\r\n\r\n" in data)
        head, body = data.split(b"\r\n\r\n", 1)
        length = int(next(line for line in head.split(b"\r\n") if line.startswith(b"content-length")).split(b":")[1])
        body += self._read(tls, lambda data: len(body) + len(data) >= length)
        stream = json.loads(body).get("stream")
        if self.end != "keep":
            tls.sendall(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n")
            tls.sendall(b"".join(EVENTS[:-1]))
            if self.end == "notify":
                tls.unwrap()
            else:
                tls.shutdown(socket.SHUT_RDWR)  # of the socket: FIN without close_notify
            tls.close()
            return False
        if stream:
            tls.sendall(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
            for one in EVENTS:
                tls.sendall(b"%x\r\n%s\r\n" % (len(one), one))
            tls.sendall(b"0\r\n\r\n")
        else:
            answer = json.dumps(ANSWER).encode()
            head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
            tls.sendall(head % len(answer) + answer)
        return True
