"""Handlers for the tests of a cluster that tell of their middleware, context and files."""

import asyncio
import contextvars
import time
from collections.abc import Iterator

from pydantic import BaseModel

from raytasks import Context, Invocation, PermanentError, handler, middleware

_seen = contextvars.ContextVar("seen", default="no middleware")


class Look(BaseModel):
    """The script of an attempt: it reads a file of the task `other`, fails, or never ends."""

    other: str = ""
    fails: bool = False
    waits: bool = False


@middleware
def notes(invocation: Invocation) -> Iterator[None]:
    """Tell the handler that it is around it."""
    token = _seen.set(f"around {invocation.task_type}")
    yield
    _seen.reset(token)


def keeps(payload: Look, error: Exception, context: Context) -> None:
    """Keep the error as a file."""
    context.save_artifact("failure.txt", f"{error} of {context.tags[0]}".encode())


@handler("look_serial", on_failure=keeps)
def look_serial(payload: Look, context: Context) -> list[str]:
    """Return what there is to see; in the shared pool."""
    if payload.fails:
        raise PermanentError("no luck")
    while payload.waits:
        time.sleep(0.05)
    context.save_artifact("seen.txt", context.task_type.encode())
    read = context.read_artifact("seen.txt", task_id=payload.other or None).decode()
    return [_seen.get(), *context.tags, context.namespace, str(context.priority), read]


@handler("look_remote", isolated=True, on_failure=keeps)
def look_remote(payload: Look, context: Context) -> list[str]:
    """Return the same, in a Ray remote task."""
    return look_serial(payload, context)


@handler("look_loop", concurrency=4, on_failure=keeps)
async def look_loop(payload: Look, context: Context) -> list[str]:
    """Return the same, on an event loop."""
    return await asyncio.to_thread(look_serial, payload, context)


@handler("look_thread", concurrency=4, on_failure=keeps)
def look_thread(payload: Look, context: Context) -> list[str]:
    """Return the same, in a thread beside others."""
    return look_serial(payload, context)
