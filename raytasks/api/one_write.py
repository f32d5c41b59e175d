"""An answer in one write to its connection.

The HTTP server writes the head of an answer at once, and its body after it. That is one more call
of the system for each answer here, and one more read for the balancer or client that gets it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from starlette.types import Send


@contextmanager
def in_one_write(send: Send) -> Iterator[None]:
    """Hold back the head of the answer that is sent in this block until its body is there.

    It works with uvicorn, whose `send` belongs to an object with the connection's transport. With
    any other `send`, nothing changes.
    """
    answer: Any = getattr(send, "__self__", None)
    transport = getattr(answer, "transport", None)
    if transport is None:
        yield
        return
    answer.transport = held = _Held(transport)
    try:
        yield
    finally:
        held.flush()
        answer.transport = transport


class _Held:
    """A transport whose first write waits for the second."""

    def __init__(self, transport: Any) -> None:
        self._transport = transport
        self._first: bytes | None = None
        self._holds = True

    def write(self, data: bytes) -> None:
        """Write the first data and the second together, and what follows at once."""
        if self._holds:
            self._holds, self._first = False, data
        elif self._first is None:
            self._transport.write(data)
        else:
            first, self._first = self._first, None
            self._transport.write(first + data)

    def flush(self) -> None:
        """Write what is still held."""
        if self._first is not None:
            first, self._first = self._first, None
            self._transport.write(first)

    def close(self) -> None:
        """Write what is still held, and close the connection."""
        self.flush()
        self._transport.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)
