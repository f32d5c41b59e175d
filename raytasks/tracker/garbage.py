"""The garbage collector of the tracker's process."""

import gc

_ALLOCATIONS = 20_000
"""How many objects more than before there may be until the young ones are looked through. A tick
makes several for each task, and hardly one of them is in a cycle."""


def keep_present() -> None:
    """Let the garbage collector leave the objects alone that are there now, and look less often.

    Modules and loaded lanes live long. A collection over them takes a tenth of a second and more,
    and the whole tracker stands still meanwhile. Those that nobody refers to any more still go at
    once: only a cycle of them would stay.
    """
    gc.freeze()
    gc.set_threshold(_ALLOCATIONS, 20, 20)
