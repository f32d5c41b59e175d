"""The vocabulary of the chaos run: what its tasks do, where they run, and how each may end."""

from collections.abc import Mapping
from enum import StrEnum

from raytasks.model.states import State


class Kind(StrEnum):
    """The kind of a task, by what it does."""

    INSTANT = "instant"
    SLOW = "slow"
    FLAKY = "flaky"  # fails some times, then succeeds
    PERMANENT = "permanent"  # fails for good at once
    EXHAUSTED = "exhausted"  # fails until its attempts are used up
    POISON = "poison"  # kills its own process at each attempt
    CRASH_ONCE = "crash_once"  # kills its own process at the first attempt
    RAY_RETRIES = "ray_retries"  # kills its own process once; Ray's own ring tries again
    CHECKPOINT = "checkpoint"  # goes over shards; may fail or die in the middle
    SNOOZE = "snooze"
    CANCELLED = "cancelled"  # the run cancels it while it waits or runs
    REVIVED = "revived"  # fails for good at its first attempt; the run retries it as a person does
    PROBE = "probe"  # shows that the service works again after a fault


class Place(StrEnum):
    """Where a task runs: the task types of `tests.chaos_handlers`."""

    FUNCTION = "chaos"
    CLASS = "chaos_class"
    REMOTE = "chaos_remote"
    RAY = "chaos_ray_retries"
    LIMITED = "chaos_limited"
    ORDERED = "chaos_ordered"
    RATED = "chaos_rated"


FLOW = frozenset({Place.LIMITED, Place.ORDERED, Place.RATED})
"""The types that have a limit. The first two have it by the group in the payload."""

GROUPS = 6

LIMITED_RUNNING = 2
RATE, BURST = 4.0, 2
"""How many attempts of `Place.RATED` may begin in a second, and how many at once."""


RAY_RETRIED = frozenset({Place.RAY})
"""The types that are declared with Ray's own retries: one attempt may begin more than once."""

ENDS: Mapping[Kind, frozenset[State]] = {
    **dict.fromkeys(Kind, frozenset({State.COMPLETED})),
    Kind.PERMANENT: frozenset({State.FAILED}),
    Kind.EXHAUSTED: frozenset({State.FAILED}),
    Kind.POISON: frozenset({State.FAILED}),
    # It may have been done before the cancel arrived, or the cancel never arrived.
    Kind.CANCELLED: frozenset({State.CANCELLED, State.COMPLETED}),
    # The person's retry may never have arrived.
    Kind.REVIVED: frozenset({State.COMPLETED, State.FAILED}),
}
"""How a task of each kind may end, if nothing is lost or doubled."""
