"""Runs the simulation on mutants, each in a process of its own: `python -m …mutation [names]`.

The file `caught.json` notes which schedule caught a mutant. That one is tried first, in a process
that has all modules: half a second for each mutant. Where it catches nothing, all schedules are
tried, unless there is `--noted`. With `--note` what catches it now is noted.

This module imports nothing of raytasks, so that a process made from it can patch what it imports.
"""

import argparse
import importlib
import importlib.abc
import importlib.machinery
import json
import multiprocessing
import os
import resource
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from types import CodeType
from typing import Any

from tests.simulation.mutant import Mutant
from tests.simulation.mutants import MUTANTS

MAX_SCHEDULES = 300
"""Within how many schedules each mutant must be caught."""

NOTES = Path(__file__).with_name("caught.json")
"""Which schedule caught each mutant, by its name: where it is stale, only time is lost."""

_FORK = multiprocessing.get_context("fork")

_WARMING = (1, 2, 5)
"""Schedules after which most statements have been prepared."""

_NOTED_SECONDS = 6
"""Processor seconds that a noted schedule may take, where a mutant is tried in the quick way."""

_NEEDED = ("alembic.command", "msgspec", "psycopg", "pydantic", "sqlalchemy", "uuid_utils")


@dataclass(frozen=True)
class Catch:
    """How a mutant was caught: after so many schedules, by which seed, why. None: it was not."""

    name: str
    schedules: int
    seed: int | None
    why: str | None
    seconds: float


class _Patching(importlib.abc.MetaPathFinder):
    """Finds one module with a fault in it."""

    def __init__(self, mutant: Mutant) -> None:
        self._mutant = mutant

    def find_spec(self, name: str, path: Any, target: Any = None) -> Any:
        """Return how the module is loaded."""
        if name != self._mutant.module:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        assert spec is not None
        spec.loader = _Loader(name, str(spec.origin), self._mutant)
        return spec


class _Loader(importlib.machinery.SourceFileLoader):
    def __init__(self, name: str, path: str, mutant: Mutant) -> None:
        super().__init__(name, path)
        self._mutant = mutant

    def get_code(self, fullname: str) -> CodeType:
        """Return the code with the fault; no cache holds it."""
        source = self.get_data(self.path).decode()
        return compile(self._mutant.patched(source), self.path, "exec")


def try_noted(mutant: Mutant) -> Catch:
    """Run the schedule that is noted for a mutant. For a process of its own, with all modules."""
    began = time.process_time()
    # What the parent has computed with the right code may let a fault go round for ever.
    resource.setrlimit(resource.RLIMIT_CPU, (_NOTED_SECONDS, _NOTED_SECONDS))
    if not importlib.import_module("tests.simulation.code_swap").swap(mutant):
        return Catch(mutant.name, 0, None, None, 0.0)
    return _tried(mutant, seeds_for(mutant.name)[:1], began)


def try_mutant(mutant: Mutant, *, noted: bool = False) -> Catch:
    """Run schedules on a mutant until one is broken; only the one that is noted with `noted`.

    For a process that has no raytasks yet.
    """
    loaded = [name for name in sys.modules if name.split(".")[0] == "raytasks"]
    assert not loaded, f"a mutant needs a fresh process: {loaded}"
    began = time.process_time()
    sys.meta_path.insert(0, _Patching(mutant))
    return _tried(mutant, seeds_for(mutant.name)[: 1 if noted else MAX_SCHEDULES], began)


def _tried(mutant: Mutant, seeds: Sequence[int], began: float) -> Catch:
    summary = importlib.import_module("tests.simulation.run").simulate(seeds)
    assert mutant.module in sys.modules, f"{mutant.module} is not a part of the simulation"
    seconds = round(time.process_time() - began, 1)
    if not summary.broken:
        return Catch(mutant.name, summary.schedules, None, None, seconds)
    [verdict] = summary.broken
    return Catch(mutant.name, summary.schedules, verdict.seed, verdict.broken, seconds)


def seeds_for(name: str) -> list[int]:
    """Return the seeds of the schedules for a mutant: the one that is noted comes first."""
    noted = json.loads(NOTES.read_text()).get(name)
    return sorted(range(1, MAX_SCHEDULES + 1), key=lambda seed: (seed != noted, seed))


def try_all(mutants: Sequence[Mutant], processes: int, *, noted: bool = False) -> Iterator[Catch]:
    """Try mutants in several processes; yield first those that the noted schedule has caught."""
    for name in _NEEDED:
        importlib.import_module(name)  # once for all: a process has what its parent has
    left = []
    with ProcessPoolExecutor(1, _FORK) as warm:
        for mutant, catch in zip(
            mutants, warm.submit(_try_all_noted, mutants, processes).result(), strict=True
        ):
            if catch is None or catch.why is None:
                left.append(mutant)
            else:
                yield catch
    with _FORK.Pool(processes, maxtasksperchild=1) as pool:
        yield from pool.imap(partial(try_mutant, noted=noted), left, chunksize=1)


def _try_all_noted(mutants: Sequence[Mutant], processes: int) -> list[Catch | None]:
    """Try the noted schedules; None stands for one that was ended.

    For a process of its own, which has all modules after that.
    """
    importlib.import_module("tests.simulation.run").simulate(_WARMING)
    catches: list[Catch | None] = []
    for place in range(0, len(mutants), processes):
        begun = []
        for mutant in mutants[place : place + processes]:
            reader, writer = _FORK.Pipe(duplex=False)
            _FORK.Process(
                target=lambda writer, mutant: writer.send(try_noted(mutant)), args=(writer, mutant)
            ).start()
            writer.close()
            begun.append(reader)
        for reader in begun:
            with reader:
                try:
                    catches.append(reader.recv())
                except EOFError:
                    catches.append(None)
    return catches


def _send_noted(mutant: Mutant, writer: Connection) -> None:
    writer.send(try_noted(mutant))


def main() -> int:
    """Print a line of JSON for each mutant; return 1 if one was not caught."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="those whose names contain one of these")
    parser.add_argument("--exactly", action="store_true", help="those whose names are just these")
    parser.add_argument("--processes", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--noted", action="store_true", help="only the schedules that are noted")
    parser.add_argument("--note", action="store_true", help="note which schedule catches each")
    asked = parser.parse_args()
    chosen = [
        mutant
        for mutant in MUTANTS
        if not asked.names
        or mutant.name in asked.names
        or (not asked.exactly and any(name in mutant.name for name in asked.names))
    ]
    survivors = 0
    notes = json.loads(NOTES.read_text())
    for catch in try_all(chosen, asked.processes, noted=asked.noted):
        print(json.dumps(asdict(catch)), flush=True)
        survivors += catch.why is None
        notes[catch.name] = catch.seed
    if asked.note:
        known = [mutant.name for mutant in MUTANTS if notes.get(mutant.name)]
        text = json.dumps({name: notes[name] for name in known}, indent=2)
        NOTES.write_text(text + "\n")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
