"""A provider that says what it is told to, whatever was asked: the model's name decides."""

import http.server
import json
import re
import threading
import time
import urllib.parse

IN_PATH = re.compile(r"/(?:models|model)/([^/:?]+)[:/]")


class Sayer:
    """`says`: model → (status, headers, body); `asked`: the models in the order of the requests. What has
    `late` in its name is said after 600 ms."""

    def __init__(self, says: dict):
        self.asked: list[str] = []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"]))
                found = IN_PATH.search(self.path)
                model = urllib.parse.unquote(found[1]) if found else json.loads(body)["model"]
                outer.asked.append(model)
                if "late" in model:
                    time.sleep(0.6)
                status, headers, said = says[model]
                said = said if isinstance(said, bytes) else json.dumps(said).encode()
                fields = {"content-type": "application/json", "content-length": str(len(said)), **headers}
                head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
                self.wfile.write(f"HTTP/1.1 {status} Said\r\n{head}\r\n".encode() + said)  # in one piece

            def handle(self):
                try:
                    super().handle()
                except ConnectionError:
                    pass  # the gateway ended with connections in its pool

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = "%s:%d" % self.server.server_address
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def stop(self):
        self.server.shutdown()
        self.server.server_close()
