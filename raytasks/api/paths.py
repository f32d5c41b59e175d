"""The path of a request below the path at which the service is reached."""

from starlette.types import Scope


def inner_path(scope: Scope) -> str:
    """Return the path without the server's `root_path`, with which it may begin."""
    path: str = scope["path"]
    root: str = scope.get("root_path", "").rstrip("/")
    return path[len(root) :] if root and path.startswith(f"{root}/") else path
