"""A clock that stands still until a test moves it."""


class FakeClock:
    """Call it for the time, in seconds since the epoch; `advance` moves it on."""

    def __init__(self, now: float = 1_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> float:
        """Let `seconds` pass, and return the new time."""
        self.now += seconds
        return self.now
