"""A handler that fails a few times before it succeeds, to demonstrate retries."""

from pydantic import BaseModel, Field

from raytasks import Context, RetryPolicy, handler


class Payload(BaseModel):
    """How often to fail."""

    fail_times: int = Field(default=2, ge=0, le=10)


@handler("flaky", retry=RetryPolicy(max_attempts=11, initial_delay_seconds=0.7, factor=1.5))
def flaky(payload: Payload, context: Context) -> dict[str, int]:
    """Fail `fail_times` times, then succeed."""
    if context.failures < payload.fail_times:
        raise ConnectionError(f"attempt {context.attempt}: the line is dead, as was asked for")
    return {"succeeded_at_attempt": context.attempt}
