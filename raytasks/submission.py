"""The old module of `raytasks.InvalidSubmission`, until version 0.3."""

import warnings
from typing import Any

import raytasks


def __getattr__(name: str) -> Any:
    """Return the names that version 0.1 had here, with a warning."""
    if name != "InvalidSubmission":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    warnings.warn(
        "import InvalidSubmission from raytasks, not from raytasks.submission",
        DeprecationWarning,
        stacklevel=2,
    )
    return raytasks.InvalidSubmission
