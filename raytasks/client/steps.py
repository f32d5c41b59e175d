"""The steps of an operation, which a client carries out."""

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

import httpx

from raytasks.client.requests import Call


@dataclass(frozen=True)
class Rest:
    """A step of an operation: wait for some seconds."""

    seconds: float


T = TypeVar("T")
Step: TypeAlias = Call | Rest
Steps: TypeAlias = Generator[Step, Any, T]
Answer: TypeAlias = httpx.Response | httpx.RequestError | None
