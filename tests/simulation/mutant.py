"""A mutant: the engine with one fault, as a patch of its source."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Mutant:
    """A fault: in `module`, `old` becomes `new`. `old` is there just once."""

    name: str
    module: str
    old: str
    new: str

    def patched(self, source: str) -> str:
        """Return the source with the fault. Raises `ValueError` where it does not fit any more."""
        if source.count(self.old) != 1:
            raise ValueError(f"{self.name}: {source.count(self.old)} places in {self.module}")
        return source.replace(self.old, self.new)
