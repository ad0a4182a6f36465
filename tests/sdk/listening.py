"""A provider that a test plays itself."""

import http.server
import threading


class Server(http.server.ThreadingHTTPServer):
    # With the library's five, a burst fills the queue; the kernel then drops what asks to connect,
    # and has it asked again a second later: twice is the gateway's whole time to connect.
    request_queue_size = 256


class Listening:
    """Listens on a port of the kernel's choice until `stop`; `_answer` has each POST's handler to answer with."""

    def __init__(self):
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                outer._answer(self)

            def handle(self):
                try:
                    super().handle()
                except ConnectionError:
                    pass  # the gateway ended with connections in its pool

            def log_message(self, *_):
                pass

        self.server = Server(("127.0.0.1", 0), Handler)
        self.address = "%s:%d" % self.server.server_address
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def stop(self):
        self.server.shutdown()
        self.server.server_close()
