"""Settings of the built-in handlers, read from the environment when a handler runs."""

import os

from raytasks import PermanentError

_TRUE = frozenset({"1", "true", "yes", "on"})
_FALSE = frozenset({"", "0", "false", "no", "off"})


class SettingError(PermanentError):
    """A setting in the environment is not valid. The text names it.

    It is permanent, because a retry cannot help until somebody has corrected the setting.
    """


def flag(name: str) -> bool:
    """Return a yes-or-no setting; unset means no. Raises `SettingError` for other words."""
    value = os.environ.get(name, "").strip().lower()
    if value in _TRUE:
        return True
    if value in _FALSE:
        return False
    raise SettingError(f"{name} must be true or false, not {value!r}")


def number(name: str, default: float) -> float:
    """Return a setting that is a number above 0. Raises `SettingError` for anything else."""
    value = os.environ.get(name, "").strip()
    if not value:
        return default
    try:
        parsed = float(value)
    except ValueError:
        parsed = 0.0
    if not 0 < parsed < float("inf"):
        raise SettingError(f"{name} must be a number above 0, not {value!r}")
    return parsed
