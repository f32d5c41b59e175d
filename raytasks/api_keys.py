"""API keys: their scopes, and their form in the setting `API_KEYS`."""

import hashlib
import re
import secrets
from dataclasses import dataclass, field
from enum import StrEnum

from raytasks.model.tasks import is_namespace

PREFIX = "rtk_"
"""The prefix of every key, so that people and secret scanners recognize it."""

_RANDOM_BYTES = 32
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_FORM = "NAME:SCOPES:NAMESPACE:HASH"


class Scope(StrEnum):
    """A right that a key gives. None of them includes another one."""

    READ = "read"
    SUBMIT = "submit"
    OPERATE = "operate"


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key as it is stored: its hash, not the key itself."""

    name: str
    scopes: frozenset[Scope]
    namespace: str | None
    digest: str = field(repr=False)

    @property
    def entry(self) -> str:
        """The entry of `API_KEYS` for this key."""
        scopes = "+".join(scope.value for scope in Scope if scope in self.scopes)
        return f"{self.name}:{scopes}:{self.namespace or ''}:{self.digest}"


def new_key() -> str:
    """Return a new random key of 256 bits."""
    return PREFIX + secrets.token_urlsafe(_RANDOM_BYTES)


def digest_of(key: str) -> str:
    """Return the hash of a key, as it is stored: its SHA-256 in hex.

    One round without salt is right here, unlike for passwords. A key has 256 random bits, so nobody
    can guess it, however fast the hash. The hash is computed for every request.
    """
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()


def make_key(
    name: str, scopes: str, namespace: str | None, digest: str, *, separator: str = "+"
) -> ApiKey:
    """Return the key of these parts.

    Raises `ValueError`, which says which part is wrong, and why.
    """
    if not _NAME.fullmatch(name):
        raise ValueError("the name is not 1 to 64 letters, digits, dots, dashes and underscores")
    if namespace and not is_namespace(namespace):
        raise ValueError(
            "the namespace is not 1 to 63 of a-z, 0-9 and dashes; leave it empty for a key of all "
            "namespaces"
        )
    return ApiKey(name, _scopes(scopes, separator), namespace or None, digest)


def parse_keys(text: str) -> tuple[ApiKey, ...]:
    """Return the keys of the setting.

    Raises `ValueError`, which names the bad entry and the fix.

    The error shows no hash, and no text that may be a key in the place of a hash.
    """
    keys: list[ApiKey] = []
    entries = (entry.strip() for entry in text.split(","))
    for number, entry in enumerate((entry for entry in entries if entry), start=1):
        try:
            key = _parse(entry)
        except ValueError as error:
            raise ValueError(f"entry {number}: {error}") from None
        same = next((other for other in keys if other.digest == key.digest), None)
        if same is not None:
            raise ValueError(
                f"entry {number} ({key.name}): it has the hash of {same.name}; remove one of them"
            )
        keys.append(key)
    return tuple(keys)


def _parse(entry: str) -> ApiKey:
    parts = [part.strip() for part in entry.split(":")]
    if len(parts) != 4:
        raise ValueError(
            f"it has {len(parts)} parts and not the four of {_FORM}; 'raytasks keys new' prints one"
        )
    name, scopes, namespace, digest = *parts[:3], parts[3].lower()
    if any(_DIGEST.fullmatch(part.lower()) for part in parts[:3]):
        raise ValueError(f"its hash does not come last; the form is {_FORM}")
    if any(part.startswith(PREFIX) for part in parts):
        raise ValueError(
            "it has a key itself; put the key's hash there, as 'raytasks keys new' prints it, "
            "and take a new key"
        )
    key = make_key(name, scopes, namespace, digest)
    if not _DIGEST.fullmatch(digest):
        raise ValueError(
            f"({name}) the hash is not a hex SHA-256 of 64 digits; 'raytasks keys new' prints one"
        )
    return key


def _scopes(text: str, separator: str) -> frozenset[Scope]:
    known = ", ".join(Scope)
    names = [name.strip() for name in text.split(separator) if name.strip()]
    unknown = [name for name in names if name not in tuple(Scope)]
    if unknown:
        raise ValueError(f"a scope is none of {known}; put {separator!r} between several")
    if not names:
        raise ValueError(f"it has no scope; give {known}, or several with {separator!r} between")
    return frozenset(map(Scope, names))
