"""The exceptions that users see: each survives a way to another process, as it was."""

import copy
import importlib
import inspect
import pickle
from collections.abc import Iterator
from typing import Any

import pytest

import raytasks
from raytasks.driver.submit import SubmittedTask
from raytasks.model.errors import FieldError

PUBLIC = ("raytasks", "raytasks.client", "raytasks.testing", "raytasks.outbox")
ARGUMENTS: dict[str, Any] = {
    "args": ("it is so",),
    "message": "it is so",
    "detail": "it is so",
    "limit": "mail",
    "delay_seconds": 2.5,
    "seconds": 2.5,
    "retry_after": 3.0,
    "status": 409,
    "problem": {"title": "Conflict", "task_id": "a", "errors": [{"pointer": "/a"}]},
    "document": {"task_id": "a", "state": "RUNNING"},
    "errors": [FieldError("/payload", "it is bad")],
    "pointers": ["/tasks/0/unique"],
    "task": {"task_id": "a", "error": {"type": "ValueError", "message": "no"}},
    "tasks": [SubmittedTask("a"), SubmittedTask("b", duplicate=True)],
}
"""An argument for each parameter of their constructors."""


def exceptions() -> Iterator[type[BaseException]]:
    """Yield the exceptions that a public module offers, and their subclasses among our own."""
    found: dict[str, type[BaseException]] = {}
    for name in PUBLIC:
        module = importlib.import_module(name)
        for item in (getattr(module, member) for member in module.__all__):
            if inspect.isclass(item) and issubclass(item, BaseException):
                found[item.__qualname__] = item
    yield from (found[name] for name in sorted(found))


def made(kind: type[BaseException]) -> BaseException:
    """Make one with all of its arguments."""
    positional: list[Any] = []
    named: dict[str, Any] = {}
    for parameter in list(inspect.signature(kind.__init__).parameters.values())[1:]:
        value = ARGUMENTS.get(parameter.name)
        match parameter.kind:
            case parameter.VAR_POSITIONAL:
                positional += ARGUMENTS["args"]
            case parameter.VAR_KEYWORD:
                pass
            case parameter.KEYWORD_ONLY:
                named[parameter.name] = value
            case _:
                positional.append(value)
        assert value is not None or parameter.name == "kwargs", f"{kind}: {parameter.name}"
    return kind(*positional, **named)


@pytest.mark.parametrize("kind", [*exceptions()], ids=lambda kind: kind.__name__)
def test_it_can_be_sent_to_another_process(kind: type[BaseException]) -> None:
    error = made(kind)
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        again = pickle.loads(pickle.dumps(error, protocol))
        assert type(again) is kind
        assert str(again) == str(error)
        assert repr(again) == repr(error)
        assert vars(again) == vars(error)
        for name in [name for name in dir(kind) if not name.startswith("_")]:
            if not callable(getattr(error, name)):
                assert getattr(again, name) == getattr(error, name), name
    assert str(copy.copy(error)) == str(error)


def test_they_are_found() -> None:
    names = {kind.__name__ for kind in exceptions()}
    assert {"PartlySubmitted", "ApiError", "WaitTimeout", "NotIdle", "TaskFailed"} <= names
    assert len(names) > 25
    assert raytasks.PartlySubmitted in exceptions()
