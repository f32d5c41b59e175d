"""The effects file: what attempts really did, known outside of SQL.

Each line is one JSON object, appended by one write, so that a killed process leaves whole lines.
"""

import json
import os
import time
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path

VARIABLE = "CHAOS_EFFECTS"
"""The environment variable that tells handlers where the file is."""


class Phase(StrEnum):
    """The step that an attempt has just done."""

    BEGIN = "begin"
    SHARD = "shard"  # begins to work on a shard
    SAVED = "saved"  # its checkpoint was acknowledged: the shards before this one are done
    END = "end"  # is about to return


@dataclass(frozen=True, slots=True)
class Effect:
    """One line. `shard` is where a checkpointing attempt begins, works, or would go on."""

    task_id: str
    task_type: str
    attempt: int
    phase: Phase
    pid: int
    time: float
    shard: int | None = None


def append(effect: Effect) -> None:
    """Write one line, whole or not at all."""
    line = json.dumps(asdict(effect), separators=(",", ":")) + "\n"
    file = os.open(os.environ[VARIABLE], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(file, line.encode())
    finally:
        os.close(file)


def note(
    task_id: str, task_type: str, attempt: int, phase: Phase, shard: int | None = None
) -> None:
    """Note that an attempt, in this process and now, has come to a phase."""
    append(Effect(task_id, task_type, attempt, phase, os.getpid(), time.time(), shard))


class EffectsReader:
    """Reads a file that grows: `effects` is everything so far, after each `read`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0
        self.effects: list[Effect] = []

    def read(self) -> list[Effect]:
        """Take in what was added, and return everything."""
        if self._path.exists():
            with self._path.open("rb") as file:
                file.seek(self._offset)
                added = file.read()
            whole = added[: added.rfind(b"\n") + 1]
            self._offset += len(whole)
            self.effects += [_parsed(line) for line in whole.splitlines()]
        return self.effects


def _parsed(line: bytes) -> Effect:
    fields = json.loads(line)
    return Effect(**{**fields, "phase": Phase(fields["phase"])})
