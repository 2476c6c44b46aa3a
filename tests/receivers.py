"""Who deliveries go to: a web server that remembers, and what the documentation tells receivers to do."""

import re
import ssl
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

DOCS = Path(__file__).parents[1] / "docs" / "schedules.md"


def load_documented_check():
    """Return `is_genuine` as docs/schedules.md has it."""
    (code,) = re.findall(r"^```python\n(.*?)^```", DOCS.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    defined = {}
    exec(compile(code, DOCS.name, "exec"), defined)  # noqa: S102 - our own documentation
    return defined["is_genuine"]


class Receiver:
    """A web server on the loopback: it keeps what it gets, and answers by `answer(number of the request)`.

    Args:
        answer: Returns a status, or a function that is given the handler and writes what it likes.
        certificate: A trustme certificate: https.
    """

    def __init__(self, answer=lambda _number: 204, certificate=None):
        self.requests = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.requests.append((self.path, dict(self.headers), body))
                said = answer(len(receiver.requests))
                if callable(said):
                    said(self)
                    return
                self.send_response(said)
                if 300 <= said < 400:
                    self.send_header("Location", "http://127.0.0.1:9/elsewhere")
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_arguments):
                return None

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.scheme = "http"
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            certificate.configure_cert(context)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
            self.scheme = "https"
        self.port = self._server.server_address[1]

    def url(self, host="127.0.0.1", path="/hook"):
        return f"{self.scheme}://{host}:{self.port}{path}"

    @contextmanager
    def listening(self):
        thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            thread.join()
            self._server.server_close()
