"""Authentication: API keys, and the scopes and namespaces that a caller has."""

import hmac
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated

from fastapi import Depends, Request
from pydantic import BaseModel, ConfigDict, Field

from raytasks.api.problems import Problem
from raytasks.api_keys import ApiKey, Scope, digest_of
from raytasks.model.bounds import NAMESPACE
from raytasks.model.errors import FieldError
from raytasks.model.tasks import DEFAULT_NAMESPACE, is_namespace

_CHALLENGE = {"WWW-Authenticate": "Bearer"}


@dataclass(frozen=True, slots=True)
class Caller:
    """The sender of a request.

    `namespace` is the one that its key is bound to, None if it is bound to none.
    """

    name: str
    scopes: frozenset[Scope]
    namespace: str | None = None

    def may(self, scope: Scope) -> bool:
        """Return whether the caller has a scope."""
        return scope in self.scopes

    def namespace_for(self, asked: str | None) -> str:
        """Return the namespace that a request works in, by the name that it asks for, or None.

        Raises `Problem`: 403 if the key is bound to another one, 422 for an invalid name.
        """
        if asked is not None and not is_namespace(asked):
            message = "must be 1 to 63 of a-z, 0-9 and dashes, and not begin with a dash"
            raise Problem(
                HTTPStatus.UNPROCESSABLE_ENTITY,
                "the request is not valid",
                [FieldError("?namespace", message)],
            )
        if self.namespace is None:
            return asked or DEFAULT_NAMESPACE
        if asked not in (None, self.namespace):
            raise Problem(
                HTTPStatus.FORBIDDEN,
                f"this key works in the namespace {self.namespace} alone; leave ?namespace= out",
            )
        return self.namespace

    def check(self, scope: Scope) -> None:
        """Refuse the request if the caller lacks a scope that it needs.

        Raises `Problem`: 401 if no key was shown, else 403.
        """
        if self.may(scope):
            return
        if self is STRANGER:
            raise key_missing()
        raise Problem(
            HTTPStatus.FORBIDDEN,
            f"the key {self.name} does not have the scope {scope.value}, which this needs",
        )

    def check_unbound(self) -> None:
        """Refuse a request about the whole service by a key that is bound to a namespace.

        Raises `Problem` 403.
        """
        if self.namespace is not None:
            raise Problem(
                HTTPStatus.FORBIDDEN,
                f"the key {self.name} is bound to the namespace {self.namespace}; use a key "
                "that is bound to none, as this is about the whole service",
            )


STRANGER = Caller("stranger", frozenset())
"""The caller without a key where keys are needed. Only public paths answer."""

LOCAL = Caller("local", frozenset(Scope))
"""The caller on this machine, while no key is needed."""


class Keys:
    """The API keys that are accepted."""

    def __init__(self, keys: Sequence[ApiKey]) -> None:
        self._keys = [
            (key.digest.encode(), Caller(key.name, key.scopes, key.namespace)) for key in keys
        ]

    def __bool__(self) -> bool:
        return bool(self._keys)

    def find(self, key: str) -> Caller | None:
        """Return the caller whose key this is, or None.

        A wrong key takes as long as any other.
        """
        digest = digest_of(key).encode()
        found = None
        for known, caller in self._keys:
            if hmac.compare_digest(known, digest):
                found = caller
        return found

    def caller(self, given: Sequence[str]) -> Caller:
        """Return the sender of a request, by the values of its header `Authorization`.

        Raises `Problem` 401 for a wrong key.
        """
        if not given:
            return STRANGER
        scheme, _, key = given[0].partition(" ")
        if len(given) > 1 or scheme.lower() != "bearer":
            raise Problem(
                HTTPStatus.UNAUTHORIZED,
                "send the API key in one header Authorization: Bearer KEY",
                headers=_CHALLENGE,
            )
        found = self.find(key.strip())
        if found is None:
            raise Problem(
                HTTPStatus.UNAUTHORIZED,
                "this API key is not known here",
                headers={"WWW-Authenticate": 'Bearer error="invalid_token"'},
            )
        return found


def key_missing() -> Problem:
    """Return the problem of a request that needs a key and has none."""
    return Problem(
        HTTPStatus.UNAUTHORIZED,
        "this needs an API key, in the header Authorization: Bearer KEY",
        headers=_CHALLENGE,
    )


class NamespaceQuery(BaseModel):
    """The query of every endpoint that works in a namespace.

    An unknown parameter is an error.
    """

    model_config = ConfigDict(extra="forbid")

    namespace: str | None = Field(
        default=None,
        pattern=f"^{NAMESPACE}$",
        description="Where the tasks are. Default: the namespace of the key, or `default`.",
    )


async def caller_of(request: Request) -> Caller:
    """Return the sender of a request, as the gate has noted it."""
    caller: Caller = request.state.caller
    return caller


def require(scope: Scope) -> Callable[[Request], Awaitable[Caller]]:
    """Return a dependency: the caller, who has this scope. It raises `Problem` 401 or 403."""

    async def check(request: Request) -> Caller:
        caller = await caller_of(request)
        caller.check(scope)
        return caller

    return check


def require_unbound(scope: Scope) -> Callable[[Request], Awaitable[Caller]]:
    """Return a dependency: the caller, who has this scope and is bound to no namespace.

    It raises `Problem` 401 or 403.
    """
    has_scope = require(scope)

    async def check(request: Request) -> Caller:
        caller = await has_scope(request)
        caller.check_unbound()
        return caller

    return check


AnyCaller = Annotated[Caller, Depends(caller_of)]
"""The sender of the request, with or without a key."""

Reader = Annotated[Caller, Depends(require(Scope.READ))]
Submitter = Annotated[Caller, Depends(require(Scope.SUBMIT))]
Operator = Annotated[Caller, Depends(require(Scope.OPERATE))]

ServiceOperator = Annotated[Caller, Depends(require_unbound(Scope.OPERATE))]
"""The sender of a request about the whole service: an operator who is bound to no namespace."""
