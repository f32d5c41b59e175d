"""Handlers whose tasks show what others do not: hidden fields, files, steady progress."""

import threading
from typing import Any

from pydantic import BaseModel, SecretStr

from raytasks import Context, Limit, PermanentError, RetryPolicy, Schedule, handler


class Card(BaseModel):
    """A payload with secrets: `token` is shown to nobody, `card` to those who operate."""

    user: str
    token: SecretStr
    card: str


@handler("charge_card", redact=["/card"])
def charge_card(payload: Card, context: Context) -> Any:
    """Make two files: one that a browser shows, one that it saves."""
    context.save_artifact("receipt.png", b"\x89PNG\r\n\x1a\n")
    context.save_artifact("lines.csv", b"a,b\n1,2\n")
    return {"user": payload.user}


class Shards(BaseModel):
    """A payload that says how many shards there are."""

    shards: int


GO = threading.Event()
"""Set when `embed_documents` may go on."""


@handler("embed_documents")
def embed_documents(payload: Shards, context: Context) -> Any:
    """Do two fifths of the work, then wait for `GO`."""
    context.log.info("%d shards to embed", payload.shards)
    context.log.warning("shard 2 has 3 documents without text; they are left out")
    context.progress(0.4, f"{payload.shards * 2 // 5} of {payload.shards} shards")
    while not GO.wait(0.02):
        context.raise_if_cancelled()
    return {"shards": payload.shards}


class Invoice(BaseModel):
    """A payload for which nobody may be at home."""

    customer: str
    host: str = "mail.example.org"


BERLIN = Invoice(customer="c-berlin")


@handler(
    "send_invoice",
    limits=[Limit("smtp", running=20, rate=500, per_seconds=60)],
    schedules=[
        Schedule("monthly-invoice", "0 6 1 * *", timezone="Europe/Berlin", payload=BERLIN),
        Schedule("yearly-invoice", "0 6 2 1 *", payload=BERLIN, catch_up="last", overlap="skip"),
    ],
    retry=RetryPolicy(initial_delay_seconds=0.05),
)
def send_invoice(payload: Invoice, context: Context) -> Any:
    """Fail for a host of which nobody has heard."""
    context.log.info("rendering the invoice of %s", payload.customer)
    if payload.host.endswith(".invalid"):
        raise ConnectionError(f"{payload.host} does not answer")
    return {"sent": True}


@handler("transcribe")
def transcribe(payload: dict[str, Any], context: Context) -> Any:
    """Refuse what is no sound."""
    if not payload.get("file", "").endswith(".ogg"):
        raise PermanentError(f"cannot read {payload.get('file')!r}: it is not Ogg")
    return {"words": 1834, "language": "en", "id": payload.get("id")}
