"""The types of handlers, for type checkers: a call with a payload of another type is refused.

`@handler` returns what it decorates, so a type checker knows the type of the payload. A name of a
task type takes any payload.
"""

from collections.abc import Callable
from typing import Any, Protocol, TypeAlias, TypeVar

from raytasks.handling.context import Context

Payload = TypeVar("Payload")
Taken = TypeVar("Taken", contravariant=True)


class OfPayload(Protocol[Taken]):
    """An instance of a handler class that takes the payload alone."""

    def __call__(self, payload: Taken, /) -> Any:
        """Run one task, and return its result."""


class OfPayloadAndContext(Protocol[Taken]):
    """An instance of a handler class that takes the payload and the context."""

    def __call__(self, payload: Taken, context: Context, /) -> Any:
        """Run one task, and return its result."""


class OfBatch(Protocol[Payload]):
    """A handler of batches, or an instance of such a class, without contexts."""

    def __call__(self, payloads: list[Payload], /) -> Any:
        """Run the tasks of a batch, and return the list of their results."""


class OfBatchAndContexts(Protocol[Payload]):
    """A handler of batches, or an instance of such a class, with contexts."""

    def __call__(self, payloads: list[Payload], contexts: list[Context], /) -> Any:
        """Run the tasks of a batch, and return the list of their results."""


HandlerFor: TypeAlias = (
    Callable[[Payload], Any]
    | Callable[[Payload, Context], Any]
    | OfBatch[Payload]
    | OfBatchAndContexts[Payload]
    | type[OfPayload[Payload]]
    | type[OfPayloadAndContext[Payload]]
    | type[OfBatch[Payload]]
    | type[OfBatchAndContexts[Payload]]
)
"""A function or class with `@handler` whose tasks have payloads of this type.

The type of a function does not tell whether it takes batches. So a handler that takes `list[Model]`
is submitted with a `Model` or with a list.
"""

Called: TypeAlias = str | HandlerFor[Payload]
"""The first argument of a submission: the name of a task type, or its function or class."""
