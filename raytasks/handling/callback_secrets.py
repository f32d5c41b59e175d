"""The secrets that sign callbacks: their form in the setting `CALLBACK_SECRETS`, and signatures.

Both follow Standard Webhooks 1.0.
"""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping, Sequence
from secrets import token_bytes

from raytasks.model.tasks import is_namespace

PREFIX = "whsec_"
"""The prefix of every secret. Base64 of the secret's bytes follows it."""

MIN_BYTES, MAX_BYTES = 24, 64
"""The bounds of a secret, in bytes."""

MAX_SECRETS = 10
"""Maximum number of secrets of a namespace. Two are enough to change one."""

_FORM = "NAMESPACE=whsec_…"


def parse_secrets(text: str) -> Mapping[str, tuple[str, ...]]:
    """Return the secrets by namespace: `a=whsec_… whsec_…,b=whsec_…`.

    Raises `ValueError`, which names the bad entry and the fix, and shows no secret.
    """
    found: dict[str, tuple[str, ...]] = {}
    entries = (entry.strip() for entry in text.split(","))
    for number, entry in enumerate((entry for entry in entries if entry), start=1):
        try:
            namespace, secrets = _parse(entry)
        except ValueError as error:
            raise ValueError(f"entry {number}: {error}") from None
        if namespace in found:
            raise ValueError(
                f"entry {number}: the namespace {namespace} is there twice; write its secrets in "
                "one entry, with spaces between"
            )
        found[namespace] = secrets
    return found


def signature(secrets: Sequence[str], message_id: str, timestamp: int, body: bytes) -> str:
    """Return the value of the header `webhook-signature`: a signature with each secret.

    `timestamp` is in seconds since the epoch.
    """
    signed = f"{message_id}.{timestamp}.".encode() + body
    return " ".join(f"v1,{_sign(secret, signed)}" for secret in secrets)


def _sign(secret: str, signed: bytes) -> str:
    digest = hmac.new(_key(secret), signed, hashlib.sha256).digest()
    return base64.b64encode(digest).decode()


def _parse(entry: str) -> tuple[str, tuple[str, ...]]:
    namespace, mark, rest = entry.partition("=")
    namespace, secrets = namespace.strip(), tuple(rest.split())
    if namespace.startswith(PREFIX) or not mark:
        raise ValueError(f"it does not begin with a namespace; the form is {_FORM}")
    if not is_namespace(namespace):
        raise ValueError("its namespace is not 1 to 63 of a-z, 0-9 and dashes")
    if not 1 <= len(secrets) <= MAX_SECRETS:
        raise ValueError(
            f"({namespace}) it has {len(secrets)} secrets; give 1 to {MAX_SECRETS}, with spaces "
            "between, the newest first"
        )
    for place, secret in enumerate(secrets, start=1):
        try:
            _key(secret)
        except ValueError as error:
            raise ValueError(f"({namespace}) its secret {place} {error}") from None
    return namespace, secrets


def _key(secret: str) -> bytes:
    """Return the bytes of a secret. Raises `ValueError`."""
    if not secret.startswith(PREFIX):
        raise ValueError(f"does not begin with {PREFIX}; make one with 'raytasks keys callback'")
    try:
        key = base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    except (binascii.Error, ValueError):
        raise ValueError(f"is not base64 after {PREFIX}") from None
    if not MIN_BYTES <= len(key) <= MAX_BYTES:
        raise ValueError(f"has {len(key)} bytes; it must have {MIN_BYTES} to {MAX_BYTES}")
    return key


def new_secret() -> str:
    """Return a new random secret of 32 bytes."""
    return PREFIX + base64.b64encode(token_bytes(32)).decode()
