"""The kinds of faults, and which of them a schedule has: a random subset, each in its own measure.

A subset finds what all of them together hide. Where trackers die all the time, nothing gets
far enough to show what a clock does.
"""

from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum
from random import Random


class Fault(StrEnum):
    """A kind of fault that the simulation injects."""

    CALL_LOST = "call lost"
    CALL_LATE = "call late"
    CALL_DOUBLED = "call doubled"
    CALLS_REORDERED = "calls reordered"
    ANSWER_LOST = "answer lost"
    ANSWER_LATE = "answer late"
    CUT_OFF = "runner cut off"
    CLIENT_GONE = "client hung up"
    FAILS_BEFORE_COMMIT = "store failed before its commit"
    FAILS_AFTER_COMMIT = "store failed after its commit"
    STORE_AWAY = "store away"
    STORE_HANGS = "store hung"
    STORE_READ_ONLY = "store refused writes"
    TRANSACTION_REFUSED = "store refused a transaction"
    COMMAND_REFUSED = "store refused one command"
    OUTCOME_REFUSED = "store refused one outcome"
    CLOCK_OF_TRACKER = "tracker's clock stepped"
    CLOCK_ELSEWHERE = "clock of another process stepped"
    RUNNER_KILLED = "runner killed"
    RUNNER_FROZEN = "runner frozen"
    RUNNER_DOUBLED = "runner doubled"
    RUNNER_GIVEN_UP = "living runner given up"
    TRACKER_KILLED = "tracker killed"
    TRACKER_FROZEN = "tracker frozen"
    TRACKER_DOUBLED = "tracker doubled"
    TRACKER_RIVALLED = "tracker of another owner"
    REPLICA_KILLED = "replica killed"


ON_CALLS = frozenset(
    {
        Fault.CALL_LOST,
        Fault.CALL_LATE,
        Fault.CALL_DOUBLED,
        Fault.CALLS_REORDERED,
        Fault.ANSWER_LOST,
        Fault.ANSWER_LATE,
    }
)
"""Those that meet single calls; each has a probability."""

FORGETTING = frozenset(
    {
        *(Fault.TRACKER_KILLED, Fault.TRACKER_FROZEN),
        *(Fault.TRACKER_DOUBLED, Fault.TRACKER_RIVALLED),
    }
)
"""Faults after which another tracker goes on, without the memory of the one before."""

ON_TRANSACTIONS = frozenset(
    {Fault.FAILS_BEFORE_COMMIT, Fault.FAILS_AFTER_COMMIT, Fault.OUTCOME_REFUSED}
)
"""Those that meet single transactions, or what is in them; each has a probability."""

ON_SUBMISSIONS = frozenset({Fault.CLIENT_GONE, Fault.COMMAND_REFUSED})
"""Those that come with what clients do."""


@dataclass
class Swarm:
    """A schedule's share of each kind: a probability, or how often a minute; and what occurred."""

    rates: dict[Fault, float] = field(default_factory=dict)
    occurred: Counter[Fault] = field(default_factory=Counter)
    active: bool = True

    @classmethod
    def draw(cls, random: Random, without: frozenset[Fault] = frozenset()) -> "Swarm":
        """Draw the faults of a schedule: of some none at all, of few very many."""
        share = random.choice((0.15, 0.35, 0.55, 0.8))
        rates: dict[Fault, float] = {}
        for fault in Fault:
            if random.random() < share:
                strength = random.choice((0.5, 1.0, 1.0, 2.0))
                rates[fault] = strength * _USUAL.get(fault, 8.0)
        for fault in without:
            rates.pop(fault, None)
        return cls(rates)

    def strikes(self, fault: Fault, random: Random) -> bool:
        """Return whether a fault that has a probability occurs now; then it counts."""
        rate = self.rates.get(fault)
        if rate is None or not self.active or random.random() >= rate:
            return False
        self.occurred[fault] += 1
        return True


_USUAL: dict[Fault, float] = {
    **dict.fromkeys(ON_CALLS, 0.06),
    **dict.fromkeys(ON_TRANSACTIONS, 0.1),
    Fault.CLIENT_GONE: 0.15,
    Fault.COMMAND_REFUSED: 0.12,
    Fault.OUTCOME_REFUSED: 0.04,
    **dict.fromkeys(
        (Fault.RUNNER_KILLED, Fault.RUNNER_DOUBLED, Fault.RUNNER_GIVEN_UP, Fault.RUNNER_FROZEN),
        14.0,
    ),
}
"""The usual probability of a fault that meets single calls; of all others: how often a minute."""
