"""The version of the messages between our processes, and which others are understood.

Every exchange, and every call over the socket, carries two numbers: the sender's version, and the
oldest version that it understands. So both sides can tell, also the older one, whether they
understand each other. Unknown fields are skipped and missing ones have defaults (see `codec`), so
most changes need no new version.
"""

from raytasks.model.tasks import OtherProtocol

PROTOCOL = 1
"""The version of this code's messages. It grows when an older process would misread them."""

NEEDS = 0
"""The oldest version that this code understands; 0: messages that carry none (up to 0.5)."""

FIX = "end the service ('raytasks stop'), and start it with one version (docs/upgrading.md)"


def is_too_old(protocol: int) -> bool:
    """Return whether this code does not understand messages of a version."""
    return protocol < NEEDS


def is_too_new(needs: int) -> bool:
    """Return whether a process that needs a version does not understand this code."""
    return needs > PROTOCOL


def check(protocol: int, needs: int) -> None:
    """Raise `OtherProtocol` if a process of these versions is not understood here."""
    if is_too_old(protocol) or is_too_new(needs):
        raise OtherProtocol(difference("the caller", protocol, needs))


def difference(who: str, protocol: int, needs: int) -> str:
    """Return what is different, and the fix, in one line."""
    theirs = f"{who} speaks version {protocol} of the messages"
    if is_too_new(needs):
        return f"{theirs}, which needs {needs}, and this process {PROTOCOL}: {FIX}"
    return f"{theirs}, and this process understands {NEEDS} to {PROTOCOL}: {FIX}"
