"""Handlers whose tasks show what others do not: hidden fields, files, steady progress."""

import time
from pathlib import Path
from typing import Any

from pydantic import BaseModel, SecretStr

from raytasks import Context, handler


class Card(BaseModel):
    """A payload with secrets: `token` is shown to nobody, `card` to those who operate."""

    user: str
    token: SecretStr
    card: str


@handler("secretive", redact=["/card"])
def secretive(payload: Card, context: Context) -> Any:
    """Make two files: one that a browser shows, one that it saves."""
    context.save_artifact("dot.png", b"\x89PNG\r\n\x1a\n")
    context.save_artifact("list.csv", b"a,b\n1,2\n")
    return {"user": payload.user}


class Watched(BaseModel):
    """A payload that names the file for which the attempt waits."""

    file: str


@handler("watched")
def watched(payload: Watched, context: Context) -> Any:
    """Report some progress, then wait for a file."""
    context.log.info("began")
    context.log.warning("this takes a while")
    context.progress(0.4, "2 of 5 shards")
    while not Path(payload.file).exists():
        context.raise_if_cancelled()
        time.sleep(0.02)
    return {"shards": 5}
