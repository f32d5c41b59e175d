"""The person who runs this process, as the audit names them."""

import getpass
import socket


def person_here() -> str:
    """Return `user@host` of this process."""
    try:
        user = getpass.getuser()
    except (OSError, KeyError):  # a container may have no name for its user
        user = "somebody"
    return f"{user}@{socket.gethostname()}"[:128]
