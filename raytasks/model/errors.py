"""The errors for drivers and for authors of handlers that do not concern the state of a task."""

from collections.abc import Sequence
from dataclasses import dataclass

from raytasks.model.tasks import RaytasksError

_SHOWN_ERRORS = 10


class HandlerError(RaytasksError):
    """A handler or a handler module is declared wrongly. The text says which one and how."""


class NoService(RaytasksError):
    """No raytasks service runs in the Ray cluster that this driver is connected to."""


@dataclass(frozen=True)
class FieldError:
    """The fault of one field. `pointer` is a JSON pointer (RFC 6901) into the request."""

    pointer: str
    message: str


class InvalidSubmission(RaytasksError):
    """A submission that cannot be accepted.

    The `detail` is the fault in general, the `errors` name the fields, and the text has both.
    """

    def __init__(self, detail: str, errors: Sequence[FieldError] = ()) -> None:
        super().__init__(detail)
        self.detail = detail
        self.errors = tuple(errors)

    def __str__(self) -> str:
        shown = [
            f"{error.pointer or '/'}: {error.message}" for error in self.errors[:_SHOWN_ERRORS]
        ]
        if len(self.errors) > _SHOWN_ERRORS:
            shown.append(f"and {len(self.errors) - _SHOWN_ERRORS} more")
        return f"{self.detail}: {'; '.join(shown)}" if shown else self.detail
