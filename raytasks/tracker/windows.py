"""Sums of tallies over moving windows of time, without state of the tracker."""

from msgspec import msgpack

from raytasks.model.tallies import Tally

SLOT_SECONDS = 5
DAY_STEP = 600
WINDOWS = {"minute": (SLOT_SECONDS, 60), "hour": (60, 3600), "day": (DAY_STEP, 86_400)}
"""Each window by name: its step and its length, in seconds."""

_pack = msgpack.Encoder().encode
_unpack = msgpack.Decoder(Tally).decode


class Window:
    """The sum of the last `seconds`, in slots of `step` seconds; the newest slot is still open.

    The others are kept packed, in a tenth of the memory. Each is needed only once more, to be
    subtracted from the sum.
    """

    def __init__(self, step: int, seconds: int) -> None:
        self._step = step
        self._most = seconds // step
        self._slots: dict[int, bytes] = {}
        self._open = 0
        self._open_slot = Tally()
        self._moved_to = 0
        self.total = Tally()

    def add(self, at: float, tally: Tally) -> None:
        """Add what happened at a time."""
        number = int(at // self._step)
        if number <= self._moved_to - self._most:
            return
        self.total.add(tally)
        if number != self._open:
            self._pack_open()
            packed = self._slots.pop(number, None)
            self._open = number
            self._open_slot = Tally() if packed is None else _unpack(packed)
        self._open_slot.add(tally)

    def absorb(self, other: "Window") -> None:
        """Add the content of another window of the same size."""
        other._pack_open()
        for number, packed in sorted(other._slots.items()):
            self.add(number * self._step, _unpack(packed))

    def move(self, now: float) -> None:
        """Drop the slots before the window."""
        number = int(now // self._step)
        if number != self._moved_to:
            self._moved_to = number
            if self._open_slot and self._open <= number - self._most:
                self._pack_open()
            old = [slot for slot in self._slots if slot <= number - self._most]
            for slot in old:
                packed = self._slots.pop(slot)
                if self._slots or self._open_slot:
                    self.total.add(_unpack(packed), -1)
            if not (self._slots or self._open_slot):
                self.total = Tally()

    def _pack_open(self) -> None:
        if self._open_slot:
            self._slots[self._open] = _pack(self._open_slot)
            self._open_slot = Tally()


class Series:
    """The windows of one namespace and task type; `fresh` is not in them yet.

    - `backlog`: how many of its tasks wait.
    - `backlog_before`: how many waited when `fresh` was begun.
    """

    def __init__(self, now: float, backlog: int = 0) -> None:
        self.fresh = Tally()
        self.backlog = self.backlog_before = backlog
        self.windows = {name: Window(*size) for name, size in WINDOWS.items()}
        self.move(now)

    def gather(self, at: float) -> Tally:
        """Move what is fresh into the windows, as of a time, and return it."""
        tally, self.fresh = self.fresh, Tally()
        self.move(at)
        self.add(at, tally)
        tally.backlog = self.backlog_before, self.backlog
        self.backlog_before = self.backlog
        return tally

    def add(self, at: float, tally: Tally) -> None:
        """Add what happened at a time."""
        for window in self.windows.values():
            window.add(at, tally)

    def absorb(self, other: "Series") -> None:
        """Add the content of another series, which is no longer used."""
        self.fresh.add(other.fresh)
        for name, window in self.windows.items():
            window.absorb(other.windows[name])

    def move(self, now: float) -> None:
        """Drop what is older than the windows."""
        for window in self.windows.values():
            window.move(now)

    @property
    def empty(self) -> bool:
        """Whether nothing has happened for a day."""
        return not (self.fresh or self.windows["day"].total)
