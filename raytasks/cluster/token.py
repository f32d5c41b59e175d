"""Ray's own token: whoever has it may run code in the cluster, and nobody else may talk to it.

Ray looks for it in `RAY_AUTH_TOKEN`, in the file that `RAY_AUTH_TOKEN_PATH` names, and in
`~/.ray/auth_token`. `RAY_AUTH_MODE` says whether it is asked for; what a user has set there counts.
"""

import contextlib
import os
import secrets
import tempfile
from pathlib import Path

MODE = "RAY_AUTH_MODE"
TOKEN = "RAY_AUTH_TOKEN"  # noqa: S105 - a name
_PATH = "RAY_AUTH_TOKEN_PATH"
_OTHERS_MAY = 0o077


def token_file() -> Path:
    """Return the file in which Ray looks for the token."""
    return Path(os.environ.get(_PATH) or Path.home() / ".ray" / "auth_token")


def is_wanted() -> bool:
    """Return whether a cluster that is started here asks for the token: unless the user says no."""
    return os.environ.get(MODE, "token").lower() == "token"


def has_token() -> bool:
    """Return whether there is one on this machine."""
    return bool(os.environ.get(TOKEN)) or token_file().is_file()


def make_token() -> None:
    """Make a token where Ray looks for it, if there is none yet. Only its owner can read it.

    Raises `OSError`.
    """
    file = token_file()
    if not is_wanted() or os.environ.get(TOKEN):
        return
    if not file.exists():
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        number, written = tempfile.mkstemp(dir=file.parent)  # readable by its owner alone
        try:
            with open(number, "w") as new:
                new.write(secrets.token_hex(32))
            # Whole or not at all; another process may have made one meanwhile, which counts then.
            with contextlib.suppress(FileExistsError):
                os.link(written, file)
        finally:
            os.unlink(written)
    elif _PATH not in os.environ and file.stat().st_mode & _OTHERS_MAY:
        file.chmod(0o600)  # `ray.init` makes it so that everybody can read it


def use_token() -> None:
    """Have this process show the token to the clusters that it talks to, if it has one.

    Ray itself does this for a driver that finds its cluster by itself, but for no address.
    """
    if not is_wanted() or not has_token():
        return
    from ray._raylet import Config  # type: ignore[attr-defined] # it is there

    os.environ[MODE] = "token"
    # As Ray does it. It has read the variable when it was imported, which may have been before
    # `raytasks up` set it.
    Config.initialize("")
