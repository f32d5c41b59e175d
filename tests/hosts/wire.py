"""A slow and lossy wire: it stands in for `tc netem`, which not every kernel has.

It passes frames between a host's veth and a tap in the bridge, late or not at all.
"""

import array
import fcntl
import heapq
import itertools
import os
import random
import select
import socket
import struct
import threading
import time
from types import TracebackType
from typing import Any, Self

_TUNSETIFF = 0x400454CA
_TAP_WITHOUT_HEADER = 0x0002 | 0x1000
_SIOCETHTOOL = 0x8946
_OFFLOADS = (0x17, 0x1F, 0x24, 0x2C)  # checksums, segments (TSO, GSO), and joined ones (GRO)
_ALL_PROTOCOLS = 3
_FRAME_BYTES = 65_536

Late = tuple[float, int, bytes, bool]


class Wire:
    """A wire with a delay each way in seconds, and a share of frames that are lost each way.

    `heard` and `hears` are whether frames leave the host, and reach it. As a context it carries
    frames until its end.
    """

    def __init__(
        self, veth: str, tap: str, *, delay: float = 0.0, loss: float = 0.0, seed: int = 1
    ) -> None:
        self.heard = True
        self.hears = True
        self.lost = 0
        self.carried = 0
        self._delay = delay
        self._loss = loss
        self._source = random.Random(seed)
        self._numbers = itertools.count()
        self._late: list[Late] = []
        self._host = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ALL_PROTOCOLS))
        self._host.bind((veth, _ALL_PROTOCOLS))
        self._tap = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
        fcntl.ioctl(
            self._tap, _TUNSETIFF, struct.pack("16sH22x", tap.encode(), _TAP_WITHOUT_HEADER)
        )
        self._ended, self._end = os.pipe()
        self._thread = threading.Thread(target=self._carry, name=f"wire of {veth}")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        os.close(self._end)
        self._thread.join()
        self._host.close()
        os.close(self._tap)
        os.close(self._ended)

    def _carry(self) -> None:
        while True:
            left = self._late[0][0] - time.monotonic() if self._late else None
            wait = None if left is None else max(0.0, left)
            ends: list[Any] = [self._host, self._tap, self._ended]
            ready, _, _ = select.select(ends, [], [], wait)
            if self._ended in ready:
                return
            if self._host in ready:
                frame, sender = self._host.recvfrom(_FRAME_BYTES)
                if sender[2] != socket.PACKET_OUTGOING:
                    self._take(frame, outward=True, passes=self.heard)
            if self._tap in ready:
                self._take(os.read(self._tap, _FRAME_BYTES), outward=False, passes=self.hears)
            while self._late and self._late[0][0] <= time.monotonic():
                _, _, frame, outward = heapq.heappop(self._late)
                self._pass_on(frame, outward=outward)

    def _take(self, frame: bytes, *, outward: bool, passes: bool) -> None:
        if not passes or self._source.random() < self._loss:
            self.lost += 1
            return
        due = time.monotonic() + self._delay
        heapq.heappush(self._late, (due, next(self._numbers), frame, outward))

    def _pass_on(self, frame: bytes, *, outward: bool) -> None:
        try:
            if outward:
                os.write(self._tap, frame)
            else:
                self._host.send(frame)
        except OSError:  # a queue is full, as on a wire that is too narrow
            self.lost += 1
        else:
            self.carried += 1


def send_whole_frames(interface: str) -> None:
    """Have an interface of this namespace send frames that are whole: no offloads.

    Raises `OSError`.
    """
    with socket.socket() as asking:
        for command in _OFFLOADS:
            value = array.array("I", [command, 0])
            request = struct.pack("16sP16x", interface.encode(), value.buffer_info()[0])
            fcntl.ioctl(asking, _SIOCETHTOOL, request)


if __name__ == "__main__":
    send_whole_frames("eth0")
