"""A first handler: one attempt of a task is one call of it."""

from pydantic import BaseModel, Field

from raytasks import Context, RetryPolicy, handler


class Greeting(BaseModel):
    """The payload of a task of the type `greeting`. Any other payload is refused with a 422."""

    name: str = Field(min_length=1)
    times: int = Field(default=1, ge=1, le=1000)


@handler("greeting", retry=RetryPolicy(max_attempts=3), timeout=60)
def greet(greeting: Greeting, context: Context) -> list[str]:
    """Greet somebody, and report the progress."""
    greetings = []
    for number in range(1, greeting.times + 1):
        greetings.append(f"Hello, {greeting.name}!")
        context.progress(number / greeting.times, f"greeted {number} times")
    return greetings
