"""A handler for tests of the outbox: it gives its payload back."""

from pydantic import BaseModel

from raytasks import handler


class Order(BaseModel):
    """An order of a shop."""

    order_id: int


@handler("send_invoice")
def send_invoice(payload: Order) -> int:
    """Return the order's number."""
    return payload.order_id
