"""Nothing declared is dropped in silence, and no parameter gets what it was not meant for."""

import sys
import types
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, Optional, Protocol

import pytest

import raytasks
from raytasks import Context, handler
from raytasks.handling.declaration import handler_of
from raytasks.handling.registry import Registry
from raytasks.model.errors import HandlerError

if TYPE_CHECKING:
    from raytasks import Context as Elsewhere

MODULES = iter(range(1000))


def load(source: str) -> tuple[str, ...]:
    """Run a source as a module, load its handlers, and return their types."""
    name = f"declares_{next(MODULES)}"
    module = types.ModuleType(name)
    sys.modules[name] = module
    code = f"import functools\nfrom raytasks import handler, Context\n{source}"
    exec(compile(code, f"{name}.py", "exec"), module.__dict__)
    try:
        return Registry.load([name]).task_types
    finally:
        del sys.modules[name]


DROPPED = {
    "a loop": "for size in 'ab':\n    @handler(size)\n    def resize(payload): ...\n",
    "a function": "def make(name):\n    @handler(name)\n    def f(payload): ...\nmake('a')\n",
    "a class": "class Mails:\n    @staticmethod\n    @handler('a')\n    def send(payload): ...\n",
    "a deleted name": "@handler('a')\ndef f(payload): ...\ndel f\n",
    "the same name again": "@handler('a')\ndef f(payload): ...\ndef f(payload): ...\n",
    "a decorator without wraps": (
        "def above(f): return lambda payload: None\n@above\n@handler('a')\ndef f(payload): ...\n"
    ),
    "a decorator that returns nothing": (
        "def above(f): pass\n@above\n@handler('a')\ndef f(payload): ...\n"
    ),
    "a dictionary": "ALL = {n: handler(n)(lambda payload: None) for n in 'ab'}\n",
    "a partial above": (
        "@functools.partial(functools.partial, print)\n@handler('a')\ndef f(payload): ...\n"
    ),
}
ABOVE = {
    "wraps": (
        "def above(f):\n    @functools.wraps(f)\n    def g(payload): raise PermissionError\n"
        "    return g\n@above\n@handler('a')\ndef f(payload): ...\n"
    ),
    "a cache": "@functools.lru_cache\n@handler('a')\ndef f(payload): ...\n",
    "a class made again": (
        "import dataclasses\n@dataclasses.dataclass(slots=True)\n@handler('a')\n"
        "class Model:\n    size: int = 1\n    def __call__(self, payload): ...\n"
    ),
}
OTHER = "@handler('other')\ndef other(payload): ...\n"


@pytest.mark.parametrize("source", DROPPED.values(), ids=DROPPED)
def test_what_is_declared_and_not_found_is_an_error(source: str) -> None:
    with pytest.raises(HandlerError, match=r"line \d+: the handler of '[ab]' is declared, but"):
        load(source + OTHER)


@pytest.mark.parametrize("source", ABOVE.values(), ids=ABOVE)
def test_a_decorator_above_is_refused(source: str) -> None:
    with pytest.raises(HandlerError, match=r"stands above @handler\('a'\).*put @handler on top"):
        load(source + OTHER)


def test_so_it_is_by_function() -> None:
    checked = type("Wrapper", (), {"__call__": lambda self, payload: None})()
    checked.__dict__.update(handler("a")(lambda payload: None).__dict__)
    checked.__qualname__ = "checked"
    with pytest.raises(HandlerError, match="another decorator stands above"):
        handler_of(checked)


def test_a_type_of_raytasks_itself_is_refused() -> None:
    with pytest.raises(HandlerError, match=r"'raytasks\.mine': names that begin with 'raytasks\.'"):
        handler("raytasks.mine")(lambda payload: None)
    handler("raytasksmine")(lambda payload: None)


@pytest.mark.parametrize("decorator", ["@handler", "@handler()", "@handler(None)"])
@pytest.mark.parametrize(
    "target",
    [
        "def shout(payload): ...",
        "async def shout(payload): ...",
        "async def shout(payload):\n    yield 1",
        "class shout:\n    def __call__(self, payload): ...",
    ],
)
def test_without_a_type_the_name_is_the_type(decorator: str, target: str) -> None:
    assert load(f"{decorator}\n{target}\n") == ("shout",)


def test_a_bare_handler_that_is_lost_is_an_error() -> None:
    with pytest.raises(HandlerError, match="shout"):
        load("@handler\ndef shout(payload): ...\ndel shout\n")


def test_a_bare_handler_is_checked() -> None:
    with pytest.raises(HandlerError, match="__call__"):
        load("@handler\nclass Shout: ...\n")
    with pytest.raises(HandlerError, match="has no name"):
        load("f = handler(functools.partial(print))\n")


@pytest.mark.parametrize("task_type", ["5", "b'shout'", "['shout']", "True", "{}"])
def test_a_type_that_is_no_text_is_refused(task_type: str) -> None:
    with pytest.raises(HandlerError, match=r"shout: the task type must be a text, not"):
        load(f"@handler({task_type})\ndef shout(payload): ...\n")


def test_a_type_twice_in_one_module_is_refused() -> None:
    twice = "@handler('a')\ndef f(payload): ...\n@handler('a')\ndef f(payload): return 2\n"
    with pytest.raises(HandlerError, match="line 3: task type 'a' is declared twice"):
        load(twice)


FOUND = {
    "a factory with names": (
        "def make(name):\n    @handler(name)\n    def f(payload): ...\n    return f\n"
        "one = make('a')\ntwo = make('b')\n"
    ),
    "a loop with names": (
        "for n in 'ab':\n    globals()['f_' + n] = handler(n)(lambda payload: None)\n"
    ),
    "a decorator below": (
        "def below(f):\n    @functools.wraps(f)\n    def g(payload): return f(payload)\n"
        "    return g\n@handler('a')\n@below\ndef f(payload): ...\n@handler('b')\n@below\n"
        "def g(payload): ...\n"
    ),
    "two names": "@handler('a')\ndef f(payload): ...\ng = f\n@handler('b')\ndef h(payload): ...\n",
    "a wrapped one beside it": (
        "@handler('a')\ndef f(payload): ...\n@functools.wraps(f)\ndef g(payload): ...\n"
        "@handler('b')\ndef h(payload): ...\n"
    ),
    "the same lines again": (
        "for again in range(2):\n    @handler('a')\n    def f(payload): ...\n"
        "@handler('b')\ndef h(payload): ...\n"
    ),
}


@pytest.mark.parametrize("source", FOUND.values(), ids=FOUND)
def test_what_has_a_name_is_found(source: str) -> None:
    assert load(source) == ("a", "b")


def test_a_proxy_without_anything_behind_it_is_no_handler() -> None:
    proxy = (
        "class Proxy:\n    @property\n    def __dict__(self): raise RuntimeError('no request')\n"
        "request = Proxy()\n"
    )
    assert load(proxy + OTHER) == ("other",)


class Sends(Protocol):
    """A context of a user's own tests."""

    def progress(self, fraction: float) -> None: ...


class Mine(Context):
    """A context of a user's own making."""


def bare(payload, context): ...  # type: ignore[no-untyped-def]
def named(payload: dict, context: Any) -> None: ...
def like(payload: Any, context: Sends) -> None: ...
def annotated(payload: Any, anything: Context) -> None: ...
def module(payload: Any, anything: raytasks.Context) -> None: ...
def optional(payload: Any, anything: Optional[Context] = None) -> None: ...  # noqa: UP045
def union(payload: Any, anything: Context | None = None) -> None: ...
def noted(payload: Any, anything: Annotated[Context, "note"]) -> None: ...
def text(payload: Any, anything: "Context") -> None: ...
def checked(payload: Any, anything: "Elsewhere.Context") -> None: ...  # type: ignore[name-defined]
def checked_or_none(payload: Any, anything: "raytasks.Context | None") -> None: ...
def own(payload: Any, anything: Mine) -> None: ...


@pytest.mark.parametrize(
    "target",
    [bare, named, like, annotated, module, optional, union, noted, text, checked, checked_or_none,
     own],
)  # fmt: skip
def test_a_second_parameter_is_the_context(target: Callable[..., Any]) -> None:
    assert handler_of(handler("a")(target)).wants_context


def flag(payload: Any, dry_run: bool = False) -> None: ...
def number(payload: Any, size: int) -> None: ...
def untyped(payload, ctx): ...  # type: ignore[no-untyped-def]
def of_a_loop(payload: Any, size: Any = 3) -> None: ...
def called_so(payload: Any, context: str = "") -> None: ...
def called_so_too(payload: Any, context: dict[str, Any]) -> None: ...
def keyword(payload: Any, *, dry_run: bool = False) -> None: ...
def keyword_context(payload: Any, *, context: Context) -> None: ...
def keyword_payload(*, payload: Any) -> None: ...
def many(*payloads: Any) -> None: ...
def more(payload: Any, *others: Any) -> None: ...
def named_more(payload: Any, **options: Any) -> None: ...
def third(payload: Any, context: Context, dry_run: bool = False) -> None: ...
def none() -> None: ...
def first(context: Context) -> None: ...


class Method:
    """A class whose call takes an option."""

    def __call__(self, payload: Any, dry_run: bool = False) -> None: ...


@pytest.mark.parametrize(
    "target",
    [flag, number, untyped, of_a_loop, called_so, called_so_too, keyword, keyword_context,
     keyword_payload, many, more, named_more, third, none, first, Method],
)  # fmt: skip
def test_any_other_parameter_is_refused(target: Callable[..., Any]) -> None:
    with pytest.raises(HandlerError, match=r"context|Context"):
        handler("a")(target)
