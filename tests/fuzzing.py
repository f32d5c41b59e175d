"""Sends a service what its OpenAPI document allows, and what it does not: the answers must fit it.

`python -m tests.fuzzing --examples N --seed S` starts a service for it (`make fuzz` does that).
"""

import argparse
import contextlib
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.errors import Unsatisfiable
from schemathesis.checks import CHECKS, load_all_checks
from schemathesis.generation import GenerationMode

from tests.cluster.conftest import start_service

CHECKED = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "negative_data_rejection",
    "unsupported_method",
)
"""The checks of each answer. Whether good data is accepted is not checked: a payload is `any` in
the document, but must fit the schema of its task type."""

_STREAMS = frozenset({"/tasks/events"})  # never end; they have tests of their own
_MODES = (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)


def operations(url: str) -> Iterator[tuple[str, Callable[[int, int], None]]]:
    """Return the operations of the service at `url`, each with what tries it out.

    That takes a number of examples and a seed, and raises what the checks found.
    """
    load_all_checks()
    schema = schemathesis.openapi.from_url(f"{url}/openapi.json")
    checks = CHECKS.get_by_names(CHECKED)
    for found in schema.get_all_operations():
        operation = found.ok()  # type: ignore[union-attr]
        if operation.path not in _STREAMS:
            yield operation.label, _attack(operation, checks)


def _attack(operation: Any, checks: Any) -> Callable[[int, int], None]:
    def attack(examples: int, number: int) -> None:
        for mode in _MODES:

            @seed(number)
            @settings(
                max_examples=examples,
                deadline=None,
                database=None,
                phases=[Phase.explicit, Phase.generate],
                suppress_health_check=list(HealthCheck),
            )
            @given(case=operation.as_strategy(generation_mode=mode))
            def try_out(case: Any) -> None:
                case.call_and_validate(checks=checks, timeout=30)

            # Of a request without parameters there is no bad form.
            with contextlib.suppress(Unsatisfiable):
                try_out()

    return attack


def main() -> None:
    """Start a service, and fuzz every operation of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--examples", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        service = start_service(Path(folder))
        try:
            for label, attack in operations(service.url):
                print(f"{label}: {arguments.examples} good and bad requests", flush=True)
                attack(arguments.examples, arguments.seed)
        finally:
            service.http.close()
            service.stop()


if __name__ == "__main__":
    main()
