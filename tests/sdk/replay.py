"""A provider that answers with what was recorded: threads and plain sockets, nothing else.

The name of the model says what is asked for:

    replay-17          recording 17
    replay-17.cut-300  its first 300 bytes; the body ends there as if that were all
    replay-17.drop-300 its first 300 bytes; then the connection is closed
    replay-17.by-5     written in parts of 5 bytes
    anything else      what the provider at `forward` says, asked the same

The model stands in the body or, for Gemini and Bedrock, in the path.
"""

import json
import re
import socket
import threading
import urllib.parse

IN_PATH = re.compile(rb"^POST \S*/(?:models|model)/([^/:? ]+)[:/]")
IN_BODY = re.compile(rb'"model":\s*"([^"]+)"')
WAY = re.compile(r"^replay-(\d+)(?:\.(cut|drop|by)-(\d+))?$")


class Replay:
    """Listens on a port of the kernel's choice until `stop`."""

    def __init__(self, recordings, forward=None):
        every = [part for recording in recordings for part in (recording, *recording.parts)]
        self.recordings = {recording.number: recording for recording in every}
        self.forward = forward
        self.last: dict = {}  # model → (path, headers, body) of its last request
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.address = "%s:%d" % self.listener.getsockname()
        threading.Thread(target=self._accept, daemon=True).start()

    def stop(self):
        self.listener.close()

    def _accept(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection):
        with connection:
            held = b""
            try:
                while True:
                    while b"\r\n\r\n" not in held:
                        held += self._more(connection)
                    head, held = held.split(b"\r\n\r\n", 1)
                    lines = head.split(b"\r\n")
                    fields = (line.split(b":", 1) for line in lines[1:])
                    headers = {name.strip().lower().decode(): value.strip().decode() for name, value in fields}
                    length = int(headers.get("content-length", 0))
                    while len(held) < length:
                        held += self._more(connection)
                    body, held = held[:length], held[length:]
                    if not self._answer(connection, lines[0], headers, body):
                        return
            except (OSError, EOFError):
                return

    @staticmethod
    def _more(connection) -> bytes:
        got = connection.recv(65536)
        if not got:
            raise EOFError
        return got

    def _answer(self, connection, line, headers, body) -> bool:
        """Answers one request; whether the connection goes on."""
        found = IN_PATH.search(line) or IN_BODY.search(body)
        model = urllib.parse.unquote(found[1].decode()) if found else ""
        self.last[model] = (line.split()[1].decode(), headers, body)
        way = WAY.match(model)
        if not way and self.forward:
            return self._pass_on(connection, line, headers, body)
        if not way or int(way[1]) not in self.recordings:
            said = json.dumps({"error": {"message": f"no recording {model!r}"}}).encode()
            connection.sendall(b"HTTP/1.1 404 Not Found\r\ncontent-length: %d\r\n\r\n" % len(said) + said)
            return True
        recording, how = self.recordings[int(way[1])], way[2]
        count = int(way[3] or 0)
        head = f"HTTP/1.1 200 OK\r\ncontent-type: {recording.content_type}\r\n"
        if not recording.stream:
            data = recording.body
            connection.sendall(f"{head}content-length: {len(data)}\r\n\r\n".encode() + data)
            return True
        pieces = recording.pieces
        if how in ("cut", "drop"):
            pieces = [recording.body[:count]]
        elif how == "by":
            pieces = [recording.body[at : at + count] for at in range(0, len(recording.body), count)]
        connection.sendall(f"{head}transfer-encoding: chunked\r\n\r\n".encode())
        chunks = [b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces if piece]
        for written in chunks if how == "by" else [b"".join(chunks)]:
            connection.sendall(written)
        if how == "drop":
            return False
        connection.sendall(b"0\r\n\r\n")
        return True

    def _pass_on(self, connection, line, headers, body) -> bool:
        """Asks `forward`; its answer ends with the connection, which the answer says."""
        host, port = self.forward.rsplit(":", 1)
        headers = {**headers, "connection": "close"}
        head = line + b"\r\n" + b"".join(f"{name}: {value}\r\n".encode() for name, value in headers.items())
        with socket.create_connection((host, int(port))) as upstream:
            upstream.sendall(head + b"\r\n" + body)
            while got := upstream.recv(65536):
                connection.sendall(got)
        return False
