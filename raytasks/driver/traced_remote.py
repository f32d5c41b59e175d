"""Ray remote functions that carry the trace of their caller along."""

import contextlib
from collections.abc import Callable
from importlib import import_module
from typing import Any, overload

from raytasks.model.trace_context import present_context
from raytasks.observe.traces import flush, within


class TracedRemote:
    """A Ray remote function: its calls continue the trace of the span in which they are made."""

    def __init__(self, function: Callable[..., Any], options: dict[str, Any]) -> None:
        self._function = function
        self._options = options
        self._made: Any = None

    def options(self, **options: Any) -> "TracedRemote":
        """Return the same function with other options of Ray's."""
        return TracedRemote(self._function, {**self._options, **options})

    def remote(self, *arguments: Any, **named: Any) -> Any:
        """Call the function in a Ray remote task, and return the reference to its result."""
        return self._remote().remote(present_context(), *arguments, **named)

    def _remote(self) -> Any:
        if self._made is None:  # once: each one stays in Ray's control store
            import ray  # not earlier: handler modules are imported where Ray is not needed, too

            function = self._function
            name = str(getattr(function, "__qualname__", function))

            def call(context: str | None, *arguments: Any, **named: Any) -> Any:
                # Ray brings the function alone; its module may set up the SDK.
                with contextlib.suppress(ImportError):
                    import_module(function.__module__)
                try:
                    with within(name, context):
                        return function(*arguments, **named)
                finally:
                    flush()

            options = {"name": name, **self._options}
            self._made = ray.remote(call).options(**options)
        return self._made


@overload
def traced_remote(function: Callable[..., Any], /, **options: Any) -> TracedRemote: ...


@overload
def traced_remote(**options: Any) -> Callable[[Callable[..., Any]], TracedRemote]: ...


def traced_remote(function: Callable[..., Any] | None = None, /, **options: Any) -> Any:
    """Make a Ray remote function that continues the trace of its caller, as `ray.remote` makes one.

    Use it as a decorator, or call it with a function. The `options` are those of `ray.remote`. With
    an OpenTelemetry SDK in the processes of the remote tasks, each call is a span. There the
    function's module is imported first, so it may set up the SDK.
    """
    if function is None:
        return lambda given: TracedRemote(given, options)
    return TracedRemote(function, options)
