"""Handlers: the decorator that declares one, and the discovery that finds them in modules.

The decorator leaves a `HandlerSpec` on what it decorates, and a note in the module that is being
run. `Registry.load` collects the specs from the modules that it is told to look in, and refuses a
module that has declared more than is there.
"""

import difflib
import inspect
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from types import ModuleType
from typing import Any, TypeVar

from pydantic import TypeAdapter

from raytasks.handling import declarations
from raytasks.handling.fingerprint import fingerprint
from raytasks.handling.modules import HandlerError, import_modules, nothing_found
from raytasks.handling.payload_checks import runs_user_code
from raytasks.handling.signatures import SignatureError, annotation_of, parameters_of
from raytasks.model.hidden import Mask, mask_of
from raytasks.model.retry import RetryPolicy
from raytasks.model.tasks import HandlerInfo, HandlerKind

_SPEC_ATTRIBUTE = "__raytasks_handler__"
TASK_TYPE = "[A-Za-z][A-Za-z0-9_.-]{0,99}"
"""What the name of a task type is like, as a regular expression."""

OF_TASKS_ONLY = ("max_retries", "retry_exceptions")
"""Ray options that actors do not have."""

_TASK_TYPE = re.compile(TASK_TYPE)

Target = TypeVar("Target", bound=Callable[..., Any])


@dataclass(frozen=True, eq=False)
class HandlerSpec:
    """One task type: the user's code, and how it is to be run."""

    task_type: str
    target: Callable[..., Any]
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    timeout_seconds: float | None = None
    actors: tuple[int, int] = (0, 0)
    isolated: bool = False
    ray_options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def kind(self) -> HandlerKind:
        """Where the attempts of this handler run."""
        if inspect.isclass(self.target):
            return HandlerKind.CLASS
        return HandlerKind.REMOTE if self.isolated or self.ray_options else HandlerKind.FUNCTION

    @cached_property
    def payload(self) -> TypeAdapter[Any]:
        """The payload's type: checks a submission, and makes what the handler gets.

        Raises `HandlerError` for an annotation that cannot be checked.
        """
        try:
            name, _ = parameters_of(self.target)
            return TypeAdapter(annotation_of(self.target, name))
        except Exception as error:
            raise HandlerError(
                f"{_where(self.target)}: the payload's annotation cannot be used: "
                f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
            ) from error

    @cached_property
    def checks_by_user_code(self) -> bool:
        """Whether the check of a payload may run code of its author, and take any time."""
        return runs_user_code(self.payload)

    @cached_property
    def mask(self) -> Mask | None:
        """What of a payload is shown to nobody; None if that is nothing."""
        try:
            mask = mask_of(annotation_of(self.target, parameters_of(self.target)[0]))
        except Exception:  # what is not understood is not shown
            return Mask(hides=True)
        return None if mask.is_empty else mask

    @cached_property
    def wants_context(self) -> bool:
        """Whether the handler takes a `Context` as its second argument."""
        return parameters_of(self.target)[1]

    def info(self) -> HandlerInfo:
        """Return what the tracker and clients may know of this handler."""
        options = dict(self.ray_options)
        # Those of remote tasks stay with the handler: they may name the user's exceptions.
        of_actors = {name: value for name, value in options.items() if name not in OF_TASKS_ONLY}
        return HandlerInfo(
            task_type=self.task_type,
            kind=self.kind,
            actors=self.actors,
            ray_options=of_actors if self.kind is HandlerKind.CLASS else {},
            runtime_env=dict(options.get("runtime_env") or {}),
            description={
                "task_type": self.task_type,
                "description": inspect.getdoc(self.target) or "",
                "payload_schema": self.payload.json_schema(),
                "kind": self.kind.value,
                "timeout_seconds": self.timeout_seconds,
                "retry": _describe_retry(self.retry),
                "actors": list(self.actors) if self.kind is HandlerKind.CLASS else None,
                "ray_options": {name: _describe(value) for name, value in options.items()},
            },
        )


def handler(
    task_type: str,
    *,
    retry: RetryPolicy | None = None,
    timeout: float | None = None,
    actors: tuple[int, int] = (1, 1),
    isolated: bool = False,
    ray_options: Mapping[str, Any] | None = None,
) -> Callable[[Target], Target]:
    """Declare a function or a class to be the handler of `task_type`.

    `@handler` stands above all other decorators, on what is a name of its module.

    A function takes the payload, and a `Context` if it has a second parameter that is annotated
    so, or named `context`; it may be `async`. A class is made once per actor and called for each
    task; `actors` is the least and the most actors of its pool. `timeout` is in seconds, for each
    attempt. With `isolated`, or with `ray_options` (the options of `ray.remote`: `num_cpus`,
    `num_gpus`, `memory`, `resources`, `runtime_env`, `max_retries`, `retry_exceptions`), each
    attempt of a function runs as a Ray remote task of its own; for a class they are the options
    of its actors.

    What is decorated stays as it was, and can be called directly. Raises `HandlerError` for a
    declaration that cannot work.
    """

    def declare(target: Target) -> Target:
        is_class = inspect.isclass(target)
        spec = HandlerSpec(
            task_type=task_type,
            target=target,
            retry=retry or RetryPolicy(),
            timeout_seconds=timeout,
            actors=actors if is_class else (0, 0),
            isolated=isolated,
            ray_options=dict(ray_options or {}),
        )
        _check(spec)
        setattr(target, _SPEC_ATTRIBUTE, spec)
        declarations.record(task_type, spec)
        return target

    return declare


class Registry:
    """The handlers of one deployment, by task type."""

    def __init__(self, specs: Iterable[HandlerSpec] = ()) -> None:
        self._specs: dict[str, HandlerSpec] = {}
        self._modules: set[str] = set()
        for spec in specs:
            self.add(spec)

    @classmethod
    def load(cls, modules: Iterable[str], folder: str | None = None) -> "Registry":
        """Import modules (of a package, all its modules), and collect their handlers.

        They are looked for in `folder` first; see `handling.modules`. Raises `HandlerError`
        for a module that cannot be imported, a type that is declared twice, no handler at all, or
        one that was declared and is not there: it would be dropped in silence.
        """
        registry = cls()
        names = list(modules)
        copies: list[tuple[ModuleType, str, HandlerSpec]] = []
        registry._modules.update(names)
        for module in import_modules(names, folder):
            for attribute, value in list(vars(module).items()):
                spec = _spec_on(value)
                if spec is not None and spec.target is value:
                    registry.add(spec)
                elif spec is not None:
                    copies.append((module, attribute, spec))
        registry._check_complete(names, copies)
        if not registry.task_types:
            raise nothing_found(names, folder)
        return registry

    def _check_complete(
        self, names: Sequence[str], copies: Sequence[tuple[ModuleType, str, HandlerSpec]]
    ) -> None:
        for module, attribute, spec in copies:  # e.g. of functools.wraps
            if self.get(spec.task_type) is not spec:
                raise HandlerError(
                    f"{module.__name__}.{attribute}: another decorator stands above "
                    f"@handler({spec.task_type!r}), and would never run; put @handler on top"
                )
        for name, line, spec in declarations.noted_in(names):
            found = self.get(spec.task_type)
            if found is None:
                raise HandlerError(
                    f"{name}, line {line}: the handler of {spec.task_type!r} is declared, but "
                    "is no name of a module that is loaded: declared in a loop, a class or a "
                    "function, or replaced by a decorator above @handler. Give each handler a name "
                    "of its own there, as in 'resize_small = make_resizer(\"resize-small\")'"
                )
            if found is not spec:
                raise HandlerError(
                    f"{name}, line {line}: task type {spec.task_type!r} is declared twice: "
                    f"{_where(spec.target)} and {_where(found.target)}"
                )

    def add(self, spec: HandlerSpec) -> None:
        """Add a handler. Raises `HandlerError` if its type is taken by another."""
        known = self._specs.setdefault(spec.task_type, spec)
        if known is not spec:
            raise HandlerError(
                f"task type {spec.task_type!r} is declared twice: "
                f"{_where(known.target)} and {_where(spec.target)}"
            )

    def get(self, task_type: str) -> HandlerSpec | None:
        """Return the handler of a task type, or None."""
        return self._specs.get(task_type)

    def require(self, task_type: str) -> HandlerSpec:
        """Return the handler of a task type that is known to be there. Raises `LookupError`."""
        spec = self.get(task_type)
        if spec is None:
            raise LookupError(f"no handler for {task_type!r}")
        return spec

    @property
    def task_types(self) -> tuple[str, ...]:
        """The known task types, sorted."""
        return tuple(sorted(self._specs))

    def only(self, task_types: Iterable[str]) -> "Registry":
        """Return a registry of just these types. Raises `HandlerError` for one it has not."""
        missing = [name for name in task_types if name not in self._specs]
        if missing:
            raise HandlerError(f"no handler for {', '.join(missing)}")
        return Registry(self._specs[name] for name in task_types)

    def nearest(self, task_type: str) -> str | None:
        """Return the known task type whose name is most like this one, or None."""
        matches = difflib.get_close_matches(task_type, self.task_types, n=1)
        return matches[0] if matches else None

    def fingerprint(self) -> str:
        """Return a short text that is another one when the handlers' code has changed.

        It covers the source files of the handlers' modules, and what these import from the
        packages in which handlers are. See `raytasks.handling.fingerprint`.
        """
        targets = {spec.target.__module__ for spec in self._specs.values()}
        return fingerprint(targets | self._modules)

    def infos(self) -> tuple[HandlerInfo, ...]:
        """Return what the tracker and clients may know of the handlers."""
        return tuple(self._specs[name].info() for name in self.task_types)


def handler_of(target: Callable[..., Any]) -> HandlerSpec:
    """Return the spec that `@handler` left on a function or class. Raises `HandlerError`."""
    spec = _spec_on(target)
    if spec is None:
        raise HandlerError(f"{_where(target)} is not decorated with @handler")
    if spec.target is not target:
        raise HandlerError(
            f"{_where(target)}: another decorator stands above @handler; put @handler on top"
        )
    return spec


def _check(spec: HandlerSpec) -> None:
    where = _where(spec.target)
    if not _TASK_TYPE.fullmatch(spec.task_type):
        raise HandlerError(
            f"{where}: bad task type {spec.task_type!r}: a letter, then letters, digits, . _ -"
        )
    if spec.timeout_seconds is not None and not spec.timeout_seconds > 0:
        raise HandlerError(f"{where}: timeout must be more than 0 seconds")
    least, most = spec.actors
    if (spec.kind is HandlerKind.CLASS and not 0 <= least <= most) or most < 0:
        raise HandlerError(f"{where}: actors must be (least, most), 0 <= least <= most")
    if spec.kind is HandlerKind.CLASS and most < 1:
        raise HandlerError(f"{where}: actors must allow at least one actor")
    if spec.kind is HandlerKind.CLASS and spec.isolated:
        raise HandlerError(f"{where}: a class runs in actors of its own; isolated is for functions")
    if inspect.isclass(spec.target) and not _defines_call(spec.target):
        raise HandlerError(f"{where}: a handler class needs a __call__ method")
    try:
        parameters_of(spec.target)
    except SignatureError as error:
        raise HandlerError(f"{where}: {error}") from None


def _defines_call(target: type) -> bool:
    # Every class is callable itself; what counts is a __call__ of its instances.
    return any("__call__" in vars(base) for base in target.__mro__)


def _spec_on(value: object) -> HandlerSpec | None:
    # Its own one: a class does not inherit being a handler.
    try:
        spec = getattr(value, "__dict__", {}).get(_SPEC_ATTRIBUTE)
    except Exception:  # a proxy that has nothing to stand for yet
        return None
    return spec if isinstance(spec, HandlerSpec) else None


def _where(target: Callable[..., Any]) -> str:
    return f"{target.__module__}.{getattr(target, '__qualname__', target)}"


def _describe_retry(policy: RetryPolicy) -> dict[str, object]:
    return {
        "max_attempts": policy.max_attempts,
        "initial_delay_seconds": policy.initial_delay_seconds,
        "factor": policy.factor,
        "max_delay_seconds": policy.max_delay_seconds,
        "jitter": policy.jitter,
        "never_retry": [error.__name__ for error in policy.never_retry],
        "retry_on": policy.retry_on and [error.__name__ for error in policy.retry_on],
    }


def _describe(value: object) -> object:
    """Return a Ray option as JSON can show it; values of runtime environments stay private."""
    if isinstance(value, bool | int | float | str) or value is None:
        return value
    if isinstance(value, Mapping):
        return {str(key): _describe(item) for key, item in value.items() if key != "env_vars"}
    if isinstance(value, list | tuple | set):
        return [_describe(item) for item in value]
    return getattr(value, "__name__", type(value).__name__)
