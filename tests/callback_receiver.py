"""A receiver of callbacks for tests: a real HTTP server that answers as it is told."""

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from standardwebhooks import Webhook

Answer = tuple[int, dict[str, str], bytes]
"""A status, headers and a body."""


class Receiver:
    """The callbacks that came in, and the next answer. By default each callback is accepted.

    - `bodies`: the verified bodies, in order. `ids` are their `webhook-id`.
    - `answer`: makes the answer to a request from its number (from 0) and its path.
    """

    def __init__(self, secret: str) -> None:
        self._webhook = Webhook(secret)
        self.bodies: list[Any] = []
        self.ids: list[str] = []
        self.faults: list[str] = []
        self.answer: Callable[[int, str], Answer] = lambda _number, _path: (204, {}, b"")
        self.changed = threading.Condition()
        self.url = ""

    @property
    def parents(self) -> Counter[str]:
        """How often each task has been told of."""
        return Counter(body["data"]["task_id"] for body in self.bodies)

    def take(self, path: str, headers: dict[str, str], content: bytes) -> Answer:
        """Verify a callback with the reference library, and keep it."""
        with self.changed:
            try:
                self.bodies.append(self._webhook.verify(content, headers))
            except Exception as error:
                self.faults.append(repr(error))
            self.ids.append(headers["webhook-id"])
            answer = self.answer(len(self.ids) - 1, path)
            self.changed.notify_all()
        return answer

    def wait_for(self, done: Callable[[], bool], seconds: float = 120.0) -> None:
        """Wait until something has come in. Raises `AssertionError` after the time."""
        with self.changed:
            assert self.changed.wait_for(done, seconds), (len(self.ids), self.faults)


@contextmanager
def receiving(secret: str) -> Iterator[Receiver]:
    """Run a receiver on this machine."""
    receiver = Receiver(secret)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            content = self.rfile.read(int(self.headers["content-length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            status, more, body = receiver.take(self.path, headers, content)
            self.send_response(status)
            for name, value in {**more, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            with suppress(OSError):  # a long answer is not read to its end
                self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Write nothing."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 1024  # else bursts of connections are reset

    server = Server(("127.0.0.1", 0), Handler)
    receiver.url = f"http://127.0.0.1:{server.server_port}/hook"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
