"""The tokens of a bucket that may come back, as their attempts may not have begun. No I/O."""

Borrower = tuple[str, int]
"""A task's id and the number of the attempt."""

_MOST_PEAKS = 256


class TokenLoans:
    """The worth of each token that may come back.

    Without the attempt that took it, the bucket would have been higher by one, but never more than
    full: what runs over is lost. So a token is worth the least room that the bucket has had since,
    and at most one.

    `_peaks` are the levels just before a token was taken, in the order of time. Each is lower than
    the one before it: of the others none can be the highest since any moment.
    """

    __slots__ = ("_peaks", "_taken")

    def __init__(self) -> None:
        self._taken: dict[Borrower, float] = {}
        self._peaks: list[tuple[float, float]] = []

    def take(self, borrower: Borrower | None, now: float, level: float) -> None:
        """Note that a token is taken, of as many; without a borrower it cannot come back."""
        if self._taken:
            self._note(now, level)
        if borrower is not None:
            self._taken[borrower] = now

    def end(self, borrower: Borrower) -> None:
        """Forget a token whose attempt has begun."""
        self._taken.pop(borrower, None)
        if not self._taken:
            self._peaks.clear()

    def give_back(self, borrower: Borrower, now: float, level: float, burst: int) -> float:
        """Return what a token is worth that comes back to so many, from 0 to 1.

        It is nothing if nobody knows when the token was taken.
        """
        taken_at = self._taken.pop(borrower, None)
        if taken_at is None:
            return 0.0
        self._note(now, level)
        since = [peak for peak in self._peaks if peak[0] > taken_at]
        highest = since[0][1] if since else level
        worth = max(0.0, min(1.0, burst - highest))
        before = self._peaks[: len(self._peaks) - len(since)]
        self._peaks = [peak for peak in before if peak[1] > highest + worth]
        self._peaks += [(at, peak + worth) for at, peak in since]
        if not self._taken:
            self._peaks.clear()
        return worth

    def _note(self, at: float, level: float) -> None:
        peaks = self._peaks
        while peaks and peaks[-1][1] <= level:
            peaks.pop()
        if peaks and peaks[-1][0] == at:
            return  # who has borrowed before has met the higher one
        peaks.append((at, level))
        if len(peaks) > _MOST_PEAKS:  # of each two the older one counts as late as the other
            pairs = zip(peaks[:-1:2], peaks[1::2], strict=True)
            self._peaks = [(later[0], earlier[1]) for earlier, later in pairs] + peaks[-1:]
