"""Processes many items at once, spread over the cluster as Ray remote tasks."""

import time
from collections.abc import Iterator
from dataclasses import asdict
from itertools import islice
from typing import Annotated, Any, TypedDict

from pydantic import BaseModel, ConfigDict, Field, JsonValue
from pydantic_core import to_json

from raytasks import Context, PermanentError, RetryPolicy, handler
from raytasks.builtin._batch_operations import (
    ChunkResult,
    Operation,
    default_operation,
    process_chunk,
)
from raytasks.builtin._batch_summary import summarize
from raytasks.builtin._demonstration import demonstration_delay

_LARGEST_BATCH = 100_000
_SAMPLE = 10
_MIN_CHUNK = 25
_LARGEST_CHUNK = 5_000
_USUAL_CHUNKS = 32
_IN_FLIGHT = 16
"""Maximum number of chunks in progress: enough for a few nodes, and a bound on memory."""
_WAIT_SECONDS = 0.2
"""How often the handler checks whether it should stop, in seconds, while chunks are in progress."""
_DELAY_AN_ITEM_SECONDS = 0.1
_MAX_DELAY_SECONDS = 10.0

Chunk = tuple[int, list[JsonValue]]


class BatchPayload(BaseModel):
    """The items, and what to do with each of them."""

    model_config = ConfigDict(extra="forbid")

    data: Annotated[list[JsonValue], Field(min_length=1, max_length=_LARGEST_BATCH)]
    operation: Annotated[
        Operation | None,
        Field(
            description="By default the first item decides: statistics for a number, normalize "
            "for a string, hash for anything else."
        ),
    ] = None
    fail_on_error: Annotated[
        bool, Field(description="Fail the whole task if any item cannot be processed.")
    ] = False


class BatchResult(TypedDict):
    """The result of the batch. `processed_count` and `failed_count` add up to its size."""

    operation: str
    processed_count: int
    failed_count: int
    failures: list[dict[str, Any]]
    sample: list[JsonValue]
    results_url: str | None
    statistics: dict[str, JsonValue]
    duration_seconds: float


@handler(
    "batch_processing",
    retry=RetryPolicy(max_attempts=3),
    timeout=300,
    isolated=True,
    # The handler only waits for its chunks, and they need the CPUs.
    ray_options={"num_cpus": 0},
)
def process(payload: BatchPayload, context: Context) -> BatchResult:
    """Do one operation with each item, in chunks that run across the Ray cluster.

    `normalize` (strings: NFKC, casefolded, white space tidied), `statistics` (of numbers), `hash`
    (SHA-256 of each item's canonical JSON) or `deduplicate` (keeps the first of equal items). A bad
    item does not stop the others: `failures` lists the first 100, with reasons. With
    `fail_on_error` the task fails for good instead.

    `sample` is the first ten results, in the order of the items. If there are more, the JSON file
    at `results_url` has them all. For `statistics` there is no such file: its result is the
    figures.
    """
    started = time.monotonic()
    data = payload.data
    operation = payload.operation or default_operation(data[0])
    delay = min(len(data) * _DELAY_AN_ITEM_SECONDS, _MAX_DELAY_SECONDS)
    demonstration_delay(context, delay)

    finished: list[ChunkResult] = []
    done = 0
    for result in _run(operation, _chunks(data), context):
        finished.append(result)
        done += len(result.outputs)
        context.progress(done / len(data), f"{done} of {len(data)} items")

    summary = summarize(operation, data, finished)
    if payload.fail_on_error and summary.failures:
        first = summary.failures[0]
        raise PermanentError(
            f"item {first.index} cannot be processed: {first.error} "
            f"({summary.failed_count} of {len(data)} items failed)"
        )
    return {
        "operation": operation.value,
        "processed_count": len(data) - summary.failed_count,
        "failed_count": summary.failed_count,
        "failures": [asdict(failure) for failure in summary.failures],
        "sample": summary.outputs[:_SAMPLE],
        "results_url": _save_results(operation, summary.outputs, context),
        "statistics": summary.statistics,
        "duration_seconds": round(time.monotonic() - started, 3),
    }


def _chunks(data: list[JsonValue]) -> Iterator[Chunk]:
    size = -(-len(data) // _USUAL_CHUNKS)
    size = max(_MIN_CHUNK, min(size, _LARGEST_CHUNK))
    return ((start, data[start : start + size]) for start in range(0, len(data), size))


def _run(operation: Operation, chunks: Iterator[Chunk], context: Context) -> Iterator[ChunkResult]:
    import ray  # handler modules must import fast

    if ray.is_initialized():
        yield from _run_in_cluster(operation, chunks, context)
        return
    for start, items in chunks:
        context.raise_if_cancelled()
        yield process_chunk(operation, start, items)


def _run_in_cluster(
    operation: Operation, chunks: Iterator[Chunk], context: Context
) -> Iterator[ChunkResult]:
    """Yield the chunks' results as they come. Raises Ray's own errors if a chunk is lost."""
    import ray

    remote: Any = ray.remote(num_cpus=1)(process_chunk)
    numbered = enumerate(chunks)
    under_way: list[Any] = []

    def start_some(most: int) -> None:
        for number, (start, items) in islice(numbered, most):
            name = f"batch_processing:{context.task_id}:chunk-{number}"
            under_way.append(remote.options(name=name).remote(operation, start, items))

    try:
        start_some(_IN_FLIGHT)
        while under_way:
            context.raise_if_cancelled()
            ready, under_way[:] = ray.wait(under_way, timeout=_WAIT_SECONDS)
            start_some(len(ready))
            yield from ray.get(ready)
    finally:
        # Left early: cancelled, or a chunk was lost. The chunks that still run are of no use.
        for ref in under_way:
            ray.cancel(ref)


def _save_results(operation: Operation, outputs: list[JsonValue], context: Context) -> str | None:
    if operation is Operation.STATISTICS or len(outputs) <= _SAMPLE or context.artifacts is None:
        return None
    return context.save_artifact("results.json", to_json(outputs))
