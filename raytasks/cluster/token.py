"""Ray's own token: only its holders may connect to the cluster, and so run code in it.

Ray looks for it in `RAY_AUTH_TOKEN`, in the file that `RAY_AUTH_TOKEN_PATH` names, and in
`~/.ray/auth_token`. Whether Ray asks for it is set by `RAY_AUTH_MODE`. A user's own value is kept.
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
    """Return whether a cluster that is started here asks for the token.

    It does unless the user turns it off.
    """
    return os.environ.get(MODE, "token").lower() == "token"


def has_token() -> bool:
    """Return whether this machine has a token."""
    return bool(os.environ.get(TOKEN)) or token_file().is_file()


def make_token() -> None:
    """Make a token where Ray looks for it, if there is none. Only its owner can read it.

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
            # The file appears whole or not at all. If another process has made one meanwhile, that
            # one counts.
            with contextlib.suppress(FileExistsError):
                os.link(written, file)
        finally:
            os.unlink(written)
    elif _PATH not in os.environ and file.stat().st_mode & _OTHERS_MAY:
        file.chmod(0o600)  # `ray.init` makes it readable for everybody


def use_token() -> None:
    """Make this process send its token, if it has one, to the clusters that it connects to.

    Ray itself does this only for a driver that gives no address, and finds its cluster by itself.
    """
    if not is_wanted() or not has_token():
        return
    from ray._raylet import Config  # type: ignore[attr-defined] # it is there

    os.environ[MODE] = "token"
    # As Ray does it. Ray has read the variable at its import, maybe before `raytasks up` set it.
    Config.initialize("")
