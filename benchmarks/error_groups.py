"""How soon `/errors` is answered: `python -m benchmarks.error_groups --database postgresql`.

A million tasks are finished, and a tenth of them FAILED, in a hundred groups of type and class of
error. The time is that of the read as a replica makes it, without HTTP. The target is 300 ms for 95
of 100, as it is for the page. It is measured as the tasks were filled in, and after a vacuum.
"""

import argparse
import contextlib
import json
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg

from benchmarks.measures import percentile
from benchmarks.seeds import failing, fill
from benchmarks.servers.postgres import running_postgres
from raytasks.model.tasks import DEFAULT_NAMESPACE
from raytasks.protocol.queries import ErrorList
from raytasks.store.store import Store

TARGET_MS = 300.0


@contextlib.contextmanager
def database(kind: str) -> Iterator[str]:
    """Make a new database, and remove it at the end."""
    if kind == "postgresql":
        with running_postgres() as server:
            yield server.new_database()
    else:
        with tempfile.TemporaryDirectory() as folder:
            yield f"sqlite:///{Path(folder)}/tasks.db"


def asked(url: str, rounds: int) -> dict[str, float]:
    """Ask so many times over one connection; return the milliseconds. The first round is left out.

    It raises `ValueError` if there are no groups.
    """
    store = Store(url)
    took = []
    groups = 0
    for _ in range(rounds + 1):
        begun = time.perf_counter()
        found = store.read(ErrorList(DEFAULT_NAMESPACE, None, time.time()))
        took.append(1000 * (time.perf_counter() - begun))
        groups = len(found.groups)
    store.close()
    if not groups:
        raise ValueError("no task is FAILED")
    took, first = took[1:], took[0]
    return {
        "groups": groups,
        "first": round(first),
        "p50": round(percentile(took, 0.5)),
        "p95": round(percentile(took, 0.95)),
    }


def main() -> None:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--database", choices=("sqlite", "postgresql"), default="postgresql")
    parser.add_argument("--tasks", type=int, default=1_000_000)
    parser.add_argument("--types", type=int, default=20)
    parser.add_argument("--errors", type=int, default=5)
    parser.add_argument("--days", type=float, default=7.0)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--url", help="an empty database to fill; it stays, filled")
    parser.add_argument("--filled", action="store_true", help="the one at the URL is filled")
    given = parser.parse_args()
    with contextlib.nullcontext(given.url) if given.url else database(given.database) as url:
        if not given.filled:
            fill(url, failing(given.tasks, given.types, given.errors, given.days))
        found = {"as it was" if given.filled else "as filled": asked(url, given.rounds)}
        if url.startswith("postgresql"):
            with psycopg.connect(url, autocommit=True) as connection:
                connection.execute("VACUUM ANALYZE tasks")
            found["after a vacuum"] = asked(url, given.rounds)
    slowest = max(part["p95"] for part in found.values())
    verdict = "met" if slowest <= TARGET_MS else "missed"
    print(json.dumps({**found, f"at most {TARGET_MS:g} ms": verdict}, indent=1))


if __name__ == "__main__":
    main()
