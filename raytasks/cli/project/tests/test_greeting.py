"""Handlers are tested without Ray and without a service."""

from handlers.greeting import greet

from raytasks.testing import run_handler


def test_it_greets_as_often_as_asked() -> None:
    run = run_handler(greet, {"name": "Ada", "times": 2})
    assert run.outcome == "succeeded"
    assert run.result == ["Hello, Ada!", "Hello, Ada!"]


def test_nobody_is_not_greeted() -> None:
    run = run_handler(greet, {"name": "Ada", "times": 1})
    assert run.progress[-1] == (1.0, "greeted 1 times")
