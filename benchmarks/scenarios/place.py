"""Where a scenario works."""

from dataclasses import dataclass
from pathlib import Path

from benchmarks.seeds import Seeds
from benchmarks.sizes import Sizes


@dataclass(frozen=True)
class Place:
    """A folder of its own, how much to measure, and databases to begin with."""

    folder: Path
    sizes: Sizes
    seeds: Seeds
