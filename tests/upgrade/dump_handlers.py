"""The handlers of the tasks in the dumps. They are the same to 0.1.0 and to today's version."""

from pydantic import BaseModel

from raytasks import Context, RetryPolicy, handler


class Order(BaseModel):
    """The payload of each of the tasks."""

    order: int
    note: str = ""


POLICY = RetryPolicy(max_attempts=3, initial_delay_seconds=60, max_delay_seconds=60)


@handler("mail", retry=POLICY)
def mail(payload: Order, context: Context) -> dict[str, int]:
    """Return the number of the order."""
    return {"order": payload.order}


@handler("report", retry=POLICY, timeout=600)
def report(payload: Order, context: Context) -> dict[str, int]:
    """Return the number of the order, and where an earlier attempt had come to."""
    return {"order": payload.order, "from": (context.last_checkpoint or {}).get("page", 0)}
