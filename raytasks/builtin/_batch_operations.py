"""The operations of `batch_processing`, chunk by chunk. Pure functions, without Ray.

`process_chunk` is what runs in the cluster: any Ray worker that can import this module can run it.
"""

import hashlib
import json
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum

from pydantic import JsonValue

LARGEST_NUMBER = 1e300
"""Numbers further from 0 are refused, so that the sums of a whole batch fit a float."""

LARGEST_FAILURES = 100
"""Maximum number of failures that are described in full. The others are only counted."""

_HALF_A_CHARACTER = "it holds half a character (a lone surrogate)"


class Operation(StrEnum):
    """The operation that is done to each item."""

    NORMALIZE = "normalize"
    STATISTICS = "statistics"
    HASH = "hash"
    DEDUPLICATE = "deduplicate"


class ItemError(Exception):
    """One item cannot be processed. The text says why, and becomes part of the result."""


@dataclass(frozen=True)
class Failure:
    """An item that could not be processed: its index in the whole batch, and why."""

    index: int
    error: str


@dataclass
class ChunkResult:
    """The result of one chunk: `outputs` has an entry for each item, None where it failed.

    `failures` holds only the first failures; `failed_count` counts them all.
    """

    start: int
    outputs: list[JsonValue] = field(default_factory=list)
    failed: list[bool] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)

    @property
    def failed_count(self) -> int:
        """How many items of the chunk failed."""
        return sum(self.failed)


def process_chunk(operation: Operation, start: int, items: list[JsonValue]) -> ChunkResult:
    """Process the items of one chunk. Its first item has the index `start` in the batch.

    A bad item is noted as a failure and does not stop the others.
    """
    result = ChunkResult(start)
    process_item = _OPERATIONS[operation]
    for index, item in enumerate(items, start):
        output: JsonValue = None
        error: str | None = None
        try:
            output = process_item(item)
        except ItemError as caught:
            error = str(caught)
        result.outputs.append(output)
        result.failed.append(error is not None)
        if error is not None and len(result.failures) < LARGEST_FAILURES:
            result.failures.append(Failure(index, error))
    return result


def default_operation(first: JsonValue) -> Operation:
    """Return the operation for a batch that names none. Its first item decides."""
    if isinstance(first, int | float) and not isinstance(first, bool):
        return Operation.STATISTICS
    return Operation.NORMALIZE if isinstance(first, str) else Operation.HASH


def normalize(item: JsonValue) -> str:
    """Return a string in NFKC, casefolded, trimmed, its runs of white space made one space.

    Normalizing twice changes nothing more. Raises `ItemError` if the item is no string.
    """
    if not isinstance(item, str):
        raise ItemError(f"a string is needed, not {_kind(item)}")
    if any("\ud800" <= character <= "\udfff" for character in item):
        raise ItemError(_HALF_A_CHARACTER)
    # Casefolding can undo NFKC, and NFKC can make new capitals: Unicode's own caseless matching
    # (D146) does both twice.
    text = unicodedata.normalize("NFD", item)
    for _ in range(2):
        text = unicodedata.normalize("NFKC", text.casefold())
    return " ".join(text.split())


def check_number(item: JsonValue) -> int | float:
    """Return a finite number. Raises `ItemError` for anything else, also for true and false."""
    if isinstance(item, bool) or not isinstance(item, int | float):
        raise ItemError(f"a number is needed, not {_kind(item)}")
    if not abs(item) <= LARGEST_NUMBER:  # written so that NaN is refused too
        raise ItemError("a finite number from -1e300 to 1e300 is needed")
    return item


def hash_item(item: JsonValue) -> str:
    """Return the SHA-256 of the item's canonical JSON, in lower-case hex. Raises `ItemError`."""
    return hashlib.sha256(canonical_json(item)).hexdigest()


def canonical_json(item: JsonValue) -> bytes:
    """Return the item as JSON with sorted keys and no spaces, in UTF-8.

    Numbers are written as Python writes them, so 1 and 1.0 differ. Raises `ItemError` for what JSON
    cannot hold: NaN, infinities, lone surrogates, nesting that is too deep.
    """
    try:
        text = json.dumps(
            item, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
        )
        return text.encode()
    except UnicodeEncodeError:
        raise ItemError(_HALF_A_CHARACTER) from None
    except ValueError:
        raise ItemError("it holds a number that JSON cannot (NaN, infinite or too long)") from None
    except RecursionError:
        raise ItemError("it is nested too deeply") from None


_OPERATIONS: dict[Operation, Callable[[JsonValue], JsonValue]] = {
    Operation.NORMALIZE: normalize,
    Operation.STATISTICS: check_number,
    Operation.HASH: hash_item,
    # Which items are the first of their kind is known only when all chunks are back.
    Operation.DEDUPLICATE: hash_item,
}


def _kind(item: JsonValue) -> str:
    match item:
        case None:
            return "null"
        case bool():
            return "true" if item else "false"
        case str():
            return "a string"
        case dict():
            return "an object"
        case list():
            return "a list"
        case _:
            return "a number"
