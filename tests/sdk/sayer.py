"""A provider that says what it is told to, whatever was asked: the model's name decides."""

import json
import re
import time
import urllib.parse

from listening import Listening

IN_PATH = re.compile(r"/(?:models|model)/([^/:?]+)[:/]")


class Sayer(Listening):
    """`says`: model → (status, headers, body); `asked`: the models in the order of the requests. What has
    `late` in its name is said after 600 ms."""

    def __init__(self, says: dict):
        self.asked: list[str] = []
        self.says = says
        super().__init__()

    def _answer(self, handler):
        body = handler.rfile.read(int(handler.headers["content-length"]))
        found = IN_PATH.search(handler.path)
        model = urllib.parse.unquote(found[1]) if found else json.loads(body)["model"]
        self.asked.append(model)
        if "late" in model:
            time.sleep(0.6)
        status, headers, said = self.says[model]
        said = said if isinstance(said, bytes) else json.dumps(said).encode()
        fields = {"content-type": "application/json", "content-length": str(len(said)), **headers}
        head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        handler.wfile.write(f"HTTP/1.1 {status} Said\r\n{head}\r\n".encode() + said)  # in one piece
