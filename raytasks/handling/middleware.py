"""Middleware: the user's code around each call of a handler, declared once for all handlers.

The decorator leaves a `MiddlewareSpec` on its function, and a note in the module that is being
imported. The registry collects both, as it does for handlers.
"""

import inspect
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import Any, Literal, TypeVar, overload

from raytasks.handling.context import Context
from raytasks.handling.declaration import HandlerSpec, note
from raytasks.handling.declaration_checks import where
from raytasks.model.errors import HandlerError

_SPEC_ATTRIBUTE = "__raytasks_middleware__"

Target = TypeVar("Target", bound=Callable[..., Any])
Call = Callable[..., Any]
Kind = Literal["all", "plain", "async"]


@dataclass(frozen=True)
class Invocation:
    """One call of a handler, as its middleware sees it.

    The `payload` is what the handler gets: its model, or for a batch the list of them. The
    `contexts` are those of its attempts: one, or several for a batch.
    """

    task_type: str
    payload: Any
    contexts: tuple[Context, ...]

    @property
    def context(self) -> Context:
        """The context of the attempt; of a batch, that of its first attempt."""
        return self.contexts[0]


class MiddlewareForm(StrEnum):
    """The three forms of middleware."""

    GENERATOR = "generator"
    PLAIN = "plain"
    ASYNC = "async"


class Around(StrEnum):
    """The handlers that a middleware is around."""

    ALL = "all"
    PLAIN = "plain"
    ASYNC = "async"


@dataclass(frozen=True, eq=False)
class MiddlewareSpec:
    """One middleware: the user's function, and the handlers that it is around."""

    target: Callable[..., Any]
    form: MiddlewareForm
    around: Around = Around.ALL
    order: int = 0

    def applies_to(self, spec: HandlerSpec) -> bool:
        """Return whether this is around a handler.

        Raises `HandlerError` for a handler that it should be around, and cannot.
        """
        kind = Around.ASYNC if spec.is_async else Around.PLAIN
        if self.around not in (Around.ALL, kind):
            return False
        if self.form in (MiddlewareForm.GENERATOR, kind):
            return True
        raise HandlerError(
            f"{where(self.target)}: {_DESCRIBED[self.form]} cannot be around the {kind} handler of "
            f"{spec.task_type!r}; make it a generator function that yields once, or write "
            f"@middleware(around={self.form.value!r})"
        )


_DESCRIBED = {
    MiddlewareForm.PLAIN: "a plain middleware with call_next",
    MiddlewareForm.ASYNC: "an async middleware",
}


class Middlewares:
    """The middlewares of a registry, in their order: the first is the outermost.

    They are sorted by `order`. Of those with the same one, the first that was added is outermost.
    """

    def __init__(self, specs: Iterable[MiddlewareSpec] = ()) -> None:
        self.specs = tuple(sorted(specs, key=lambda spec: spec.order))
        self._layers: dict[HandlerSpec, tuple[MiddlewareSpec, ...]] = {}

    def of(self, spec: HandlerSpec) -> Sequence[MiddlewareSpec]:
        """Return those around a handler. Raises `HandlerError` for one that cannot be."""
        found = self._layers.get(spec)
        if found is None:
            found = tuple(one for one in self.specs if one.applies_to(spec))
            self._layers[spec] = found
        return found

    def plain(
        self,
        spec: HandlerSpec,
        handler: Call,
        contexts: Sequence[Context],
        collected: Callable[[Any], Any],
    ) -> Call:
        """Return a plain handler with its middlewares around it.

        `collected` makes the result of what the handler returns, such as a generator.
        """

        def call(*arguments: Any) -> Any:
            invocation = Invocation(spec.task_type, arguments[0], tuple(contexts))
            call_next = partial(_call_plain, handler, arguments, collected)
            for one in reversed(self.of(spec)):
                if one.form is MiddlewareForm.GENERATOR:
                    call_next = partial(_within, one.target, invocation, call_next)
                else:
                    call_next = partial(one.target, invocation, call_next)
            return call_next()

        return call

    def asynchronous(
        self,
        spec: HandlerSpec,
        handler: Call,
        contexts: Sequence[Context],
        collect: Callable[[Any], Awaitable[Any]],
    ) -> Call:
        """Return an async handler with its middlewares around it.

        `collect` makes the result of what the handler returns, such as an async generator.
        """

        async def call(*arguments: Any) -> Any:
            invocation = Invocation(spec.task_type, arguments[0], tuple(contexts))
            call_next: Call = partial(_call_async, handler, arguments, collect)
            for one in reversed(self.of(spec)):
                if one.form is MiddlewareForm.GENERATOR:
                    call_next = partial(_within_async, one.target, invocation, call_next)
                else:
                    call_next = partial(one.target, invocation, call_next)
            return await call_next()

        return call


def _call_plain(handler: Call, arguments: Sequence[Any], collected: Call) -> Any:
    return collected(handler(*arguments))


async def _call_async(handler: Call, arguments: Sequence[Any], collect: Call) -> Any:
    return await collect(handler(*arguments))


def _within(target: Call, invocation: Invocation, call_next: Call) -> Any:
    with _raising(target, invocation):
        return call_next()


async def _within_async(target: Call, invocation: Invocation, call_next: Call) -> Any:
    with _raising(target, invocation):
        return await call_next()


@contextmanager
def _raising(target: Call, invocation: Invocation) -> Iterator[None]:
    """Run a generator around a block. An error of the block that it swallows is raised again."""
    raised: BaseException | None = None
    with contextmanager(target)(invocation):
        try:
            yield
        except BaseException as error:
            raised = error
            raise
    if raised is not None:
        raise raised


@overload
def middleware(target: Target, /) -> Target: ...


@overload
def middleware(*, around: Kind = "all", order: int = 0) -> Callable[[Target], Target]: ...


def middleware(target: Any = None, /, *, around: Kind = "all", order: int = 0) -> Any:
    """Declare a function to be middleware: it runs around each call of a handler.

    It has one of three forms. Its first parameter is the `Invocation`.

    - A generator function that yields once, for handlers of all kinds. What stands before `yield`
      runs before the handler, the rest after it. An error of the handler is raised at `yield`; it
      cannot be swallowed.
    - A plain function with a second parameter `call_next`, for plain handlers. What it returns is
      the result: it may call `call_next()` and change what that returns.
    - The same as an `async` function, with `await call_next()`, for async handlers.

    With `around="plain"` or `"async"`, it is only around handlers of that kind. The one with the
    smallest `order` is the outermost. Those of the same order are nested as they are found: by
    module, then as they stand there.

    It belongs to the attempt: its time counts, and its error is the attempt's. It stands at module
    level. It stays unchanged, and can be called directly. Raises `HandlerError` for a function of
    no such form.
    """

    def declare(function: Target) -> Target:
        spec = _checked(function, around, order)
        setattr(function, _SPEC_ATTRIBUTE, spec)
        note(f"middleware {where(function)}", spec)
        return function

    return declare if target is None else declare(target)


def middleware_on(value: object) -> MiddlewareSpec | None:
    """Return the spec that `@middleware` left on a function; None if there is none."""
    try:
        spec = getattr(value, "__dict__", {}).get(_SPEC_ATTRIBUTE)
    except Exception:  # a proxy with nothing behind it yet
        return None
    return spec if isinstance(spec, MiddlewareSpec) and spec.target is value else None


def middleware_of(target: Callable[..., Any]) -> MiddlewareSpec:
    """Return the spec that `@middleware` left on a function. Raises `HandlerError`."""
    spec = middleware_on(target)
    if spec is None:
        raise HandlerError(f"{where(target)} is not decorated with @middleware")
    return spec


def _checked(function: Callable[..., Any], around: str, order: int) -> MiddlewareSpec:
    if not callable(function) or inspect.isclass(function) or not hasattr(function, "__module__"):
        raise HandlerError(f"@middleware stands on a function, not on {function!r:.100}")
    name = where(function)
    if around not in [*Around]:
        raise HandlerError(f"{name}: around must be 'all', 'plain' or 'async', not {around!r}")
    if not isinstance(order, int) or isinstance(order, bool):
        raise HandlerError(f"{name}: order must be a whole number, not {order!r}")
    form = MiddlewareForm.PLAIN
    if inspect.isasyncgenfunction(function):
        raise HandlerError(
            f"{name}: an async generator cannot be middleware; write an async function with "
            "(invocation, call_next), or a plain generator"
        )
    if inspect.isgeneratorfunction(function):
        form = MiddlewareForm.GENERATOR
    elif inspect.iscoroutinefunction(function):
        form = MiddlewareForm.ASYNC
    arguments = [None] * (1 if form is MiddlewareForm.GENERATOR else 2)
    try:
        inspect.signature(function).bind(*arguments)
    except TypeError:
        takes = "(invocation)" if form is MiddlewareForm.GENERATOR else "(invocation, call_next)"
        hint = "" if form is MiddlewareForm.GENERATOR else "; one that yields takes (invocation)"
        raise HandlerError(f"{name}: middleware of this form takes {takes}{hint}") from None
    return MiddlewareSpec(function, form, Around(around), order)
