"""The person who runs this process, as the audit names them."""

import getpass
import socket
from functools import cache


@cache
def person_here() -> str:
    """Return `user@host` of this process. It is looked up once, as each submission asks for it."""
    try:
        user = getpass.getuser()
    except (OSError, KeyError):  # a container may have no name for its user
        user = "somebody"
    return f"{user}@{socket.gethostname()}"[:128]
