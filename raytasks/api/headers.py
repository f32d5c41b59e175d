"""The headers of a request, as the server gives them to an ASGI app."""

from starlette.types import Scope


def header_values(scope: Scope, name: bytes) -> list[str]:
    """Return the values of a header, by its name in small letters; empty if it is not there."""
    return [value.decode("latin-1") for key, value in scope["headers"] if key == name]


def first_value(scope: Scope, name: bytes) -> str | None:
    """Return the value of a header, the first one if there are several; None if there is none."""
    for key, value in scope["headers"]:
        if key == name:
            text: str = value.decode("latin-1")
            return text
    return None
