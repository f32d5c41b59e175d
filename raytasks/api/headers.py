"""The headers of a request, as the server gives them to an ASGI app."""

from starlette.types import Scope


def header_values(scope: Scope, name: bytes) -> list[str]:
    """Return the values of a header, by its lower-case name; empty if there is none."""
    return [value.decode("latin-1") for key, value in scope["headers"] if key == name]


def first_value(scope: Scope, name: bytes) -> str | None:
    """Return the first value of a header; None if there is none."""
    for key, value in scope["headers"]:
        if key == name:
            text: str = value.decode("latin-1")
            return text
    return None
