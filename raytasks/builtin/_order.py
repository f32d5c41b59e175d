"""A handler with a little work, to demonstrate that no task is lost: `raytasks demo --break`."""

import time

from pydantic import BaseModel, Field

from raytasks import handler


class Order(BaseModel):
    """The number of an order, and how long it takes to prepare it, in seconds."""

    number: int = Field(ge=1)
    seconds: float = Field(default=0.03, ge=0, le=60)


@handler("order")
def order(payload: Order) -> dict[str, str]:
    """Prepare an order: take its time, and return the name of its invoice."""
    time.sleep(payload.seconds)
    return {"invoice": f"INV-{payload.number:05}"}
