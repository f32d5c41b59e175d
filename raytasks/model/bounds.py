"""The bounds of requests that clients and service share: sizes in bytes, times in seconds."""

MAX_KEY = 255
"""The longest idempotency key, in characters of printable ASCII."""

MAX_MANY_KEY = 240
"""The longest key for any number of tasks: the number of each batch is added to it."""

MAX_IN_BATCH = 1000
"""How many tasks one request can submit, all or none."""

MAX_LISTED = 500
"""How many tasks one page of a list has."""

MAX_WAIT_SECONDS = 60.0
"""How long one request may wait for the end of a task."""

MAX_URL = 2048
"""The longest URL of a callback, in characters."""

NAMESPACE = r"[a-z0-9][a-z0-9-]{0,62}"
"""The regular expression for the whole name of a namespace."""


def is_idempotency_key(key: object, longest: int = MAX_KEY) -> bool:
    """Return whether a key is 1 to `longest` printable ASCII characters, no space at either end.

    HTTP drops such spaces, so the key would be another one.
    """
    if not isinstance(key, str) or not 1 <= len(key) <= longest:
        return False
    return key.isascii() and key.isprintable() and key == key.strip(" ")
