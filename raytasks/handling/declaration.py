"""The declaration of a handler: the decorator, and the spec that it leaves for the registry.

The decorator leaves a `HandlerSpec` on its function or class. It also leaves a note in the module
that is being imported, so that no declaration is silently dropped. Pydantic is imported only when a
payload is checked, or its schema is needed.
"""

import inspect
import sys
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar, overload

from raytasks.handling.context import Context
from raytasks.handling.declaration_checks import (
    OF_TASKS_ONLY,
    check,
    check_limit_places,
    listed,
    schedules_of,
    type_of,
    where,
)
from raytasks.handling.signatures import annotation_of, item_of, parameters_of
from raytasks.model.controls import Batch, Limit, Pool
from raytasks.model.errors import HandlerError
from raytasks.model.handler_info import HandlerInfo, HandlerKind
from raytasks.model.retry import RetryPolicy
from raytasks.model.schedule_specs import Schedule

if TYPE_CHECKING:
    from pydantic import TypeAdapter

    from raytasks.model.hidden import Mask

_SPEC_ATTRIBUTE = "__raytasks_handler__"
_NOTES = "__raytasks_declared__"
Target = TypeVar("Target", bound=Callable[..., Any])
OnFailure: TypeAlias = Callable[[Any, Any, Context], object]
"""Called with the payload, the error and the context of a task that has failed for good."""


@dataclass(frozen=True, eq=False)
class HandlerSpec:
    """One task type: the user's code, and how to run it."""

    task_type: str
    target: Callable[..., Any]
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    timeout_seconds: float | None = None
    actors: tuple[int, int] = (0, 0)
    isolated: bool = False
    ray_options: Mapping[str, Any] = field(default_factory=dict)
    redact: tuple[str, ...] = ()
    pool: Pool | None = None
    concurrency: int = 1
    batch: Batch | None = None
    limits: tuple[Limit, ...] = ()
    weight: float = 1.0
    on_failure: OnFailure | None = None
    schedules: tuple[Schedule, ...] = ()

    @property
    def kind(self) -> HandlerKind:
        """The place where the attempts of this handler run."""
        if inspect.isclass(self.target):
            return HandlerKind.CLASS
        return HandlerKind.REMOTE if self.isolated or self.ray_options else HandlerKind.FUNCTION

    @cached_property
    def payload(self) -> "TypeAdapter[Any]":
        """The payload's type. It checks a submission, and makes the handler's argument.

        Of a handler of batches, it is the type of one payload.
        Raises `HandlerError` for an annotation that cannot be checked.
        """
        from pydantic import TypeAdapter

        try:
            return TypeAdapter(self._payload_annotation())
        except Exception as error:
            raise HandlerError(
                f"{where(self.target)}: the payload's annotation cannot be used: "
                f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
            ) from error

    @cached_property
    def payload_schema(self) -> dict[str, Any]:
        """The JSON schema of the payload. Nobody may change it."""
        return self.payload.json_schema()

    @cached_property
    def checks_by_user_code(self) -> bool:
        """Whether the check of a payload may run the user's code, and so take any time."""
        from raytasks.handling.payload_checks import runs_user_code

        return runs_user_code(self.payload)

    @cached_property
    def mask(self) -> "Mask | None":
        """The mask of the payload's secret parts, which nobody is shown; None if there are none."""
        from raytasks.model.hidden import Mask, mask_of

        try:
            mask = mask_of(self._payload_annotation())
        except Exception:  # a payload that cannot be understood is not shown
            return Mask(hides=True)
        return None if mask.is_empty else mask

    @cached_property
    def redaction(self) -> "Mask | None":
        """The mask of all that only operators are shown, and of the secret parts; or None."""
        from raytasks.model.hidden import Mask, mask_of_pointers

        if not self.redact:
            return self.mask
        named = mask_of_pointers(self.redact)
        return named if self.mask is None else Mask(options=[self.mask, named])

    def mask_for(self, *, operates: bool) -> "Mask | None":
        """Return the mask of the payload for a caller who operates, or does not; None: no mask."""
        return self.mask if operates else self.redaction

    @cached_property
    def wants_context(self) -> bool:
        """Whether the second argument is a `Context`, or a list of them for a batch."""
        return self._parameters()[1]

    @property
    def is_concurrent(self) -> bool:
        """Whether a runner runs several attempts of this handler at a time."""
        return self.concurrency > 1 or self.batch is not None

    @cached_property
    def is_async(self) -> bool:
        """Whether the handler is an `async` function, generator or `__call__`."""
        target = self.target.__call__ if inspect.isclass(self.target) else self.target
        return inspect.iscoroutinefunction(target) or inspect.isasyncgenfunction(target)

    @property
    def slots(self) -> int:
        """How many attempts of this handler a concurrent runner runs at a time."""
        return self.concurrency * (1 if self.batch is None else self.batch.size)

    def _parameters(self) -> tuple[str, bool]:
        return parameters_of(self.target, batch=self.batch is not None)

    def _payload_annotation(self) -> Any:
        annotation = annotation_of(self.target, self._parameters()[0])
        return annotation if self.batch is None else item_of(annotation)

    def info(self) -> HandlerInfo:
        """Return the description of this handler for the tracker and for clients."""
        options = dict(self.ray_options)
        if self.pool is not None:
            options = dict(self.pool.ray_options)
        # Options of remote tasks stay with the handler: they may name the user's exceptions.
        of_actors = {name: value for name, value in options.items() if name not in OF_TASKS_ONLY}
        in_actors = self.kind is HandlerKind.CLASS or self.pool is not None
        check_limit_places(self)
        return HandlerInfo(
            task_type=self.task_type,
            kind=self.kind,
            actors=self.actors,
            ray_options=of_actors if in_actors else {},
            runtime_env=dict(options.get("runtime_env") or {}),
            own_pool=self.pool,
            concurrency=self.concurrency,
            batch=self.batch,
            limits=tuple(sorted(self.limits, key=lambda limit: limit.name)),
            weight=self.weight,
            max_attempts=self.retry.max_attempts,
            timeout_seconds=self.timeout_seconds,
            heeds_memory=self.retry.heeds_memory,
            description={
                "task_type": self.task_type,
                "description": inspect.getdoc(self.target) or "",
                "payload_schema": self.payload_schema,
                "kind": self.kind.value,
                "timeout_seconds": self.timeout_seconds,
                "retry": _describe_retry(self.retry),
                "actors": list(self.actors) if self.kind is HandlerKind.CLASS else None,
                "pool": None if self.pool is None else self.pool.name,
                "concurrency": self.concurrency,
                "batch": self.batch and {"size": self.batch.size, "seconds": self.batch.seconds},
                "limits": [asdict(limit) for limit in self.limits],
                "weight": self.weight,
                "ray_options": {name: _describe(value) for name, value in options.items()},
            },
        )


@overload
def handler(task_type: Target, /) -> Target: ...
@overload
def handler(
    task_type: str | None = None,
    *,
    retry: RetryPolicy | None = None,
    timeout: float | None = None,
    actors: tuple[int, int] = (1, 1),
    isolated: bool = False,
    ray_options: Mapping[str, Any] | None = None,
    redact: Sequence[str] = (),
    pool: Pool | None = None,
    concurrency: int = 1,
    batch: Batch | None = None,
    limits: Sequence[Limit] = (),
    weight: float = 1.0,
    on_failure: OnFailure | None = None,
    schedules: Sequence[Schedule] = (),
) -> Callable[[Target], Target]: ...
def handler(
    task_type: Any = None,
    *,
    retry: RetryPolicy | None = None,
    timeout: float | None = None,
    actors: tuple[int, int] = (1, 1),
    isolated: bool = False,
    ray_options: Mapping[str, Any] | None = None,
    redact: Sequence[str] = (),
    pool: Pool | None = None,
    concurrency: int = 1,
    batch: Batch | None = None,
    limits: Sequence[Limit] = (),
    weight: float = 1.0,
    on_failure: OnFailure | None = None,
    schedules: Sequence[Schedule] = (),
) -> Any:
    """Declare a function or a class to be the handler of `task_type`; by default, of its name.

    `@handler` stands above all other decorators, on a function or class at module level.

    A function takes the payload. It takes a `Context` if its second parameter is annotated so, or
    is named `context`. It may be `async`. A class is instantiated once per actor, and the instance
    is called for each task. The minimum and maximum size of its pool are `actors`. The `timeout` of
    each attempt is in seconds.

    `ray_options` are options of `ray.remote`: `num_cpus`, `num_gpus`, `memory`, `resources`,
    `runtime_env`, `max_retries`, `retry_exceptions`, `placement_group` (by its name). With them, or
    with `isolated`, each attempt of a function runs as a separate Ray remote task. For a class,
    they are the options of its actors.

    The parts of payloads that `redact` names are shown only to callers with the scope operate. Each
    is a JSON pointer, such as `/card`; `*` stands for each item of a list or member of an object.

    With `concurrency`, a runner runs that many attempts at a time: those of an async handler on one
    event loop, others in threads. With a `batch`, one call gets the payloads of several attempts.
    The runners are those of the `pool`, if one is named: see `Pool`, `Batch` and `Limit`. The
    `weight` is the share of this type's tasks among the types of its namespace in the same pool.

    When a task has failed for good, `on_failure` is called with its payload, its error and the
    context of its last attempt. It may be `async`. It is called where that attempt ran, at most for
    10 seconds, before the outcome is reported. It is not called for a task that was lost with its
    process, nor for a cancelled one.
    At the times of its `schedules`, the service submits tasks by itself: see `Schedule`.

    The function or class stays unchanged, and can be called directly. Raises `HandlerError` for a
    declaration that cannot work.
    """
    # Without parentheses, the decorator is called with what it decorates.
    bare, named = (task_type, None) if callable(task_type) else (None, task_type)

    def declare(target: Target) -> Target:
        is_class = inspect.isclass(target)
        spec = HandlerSpec(
            task_type=type_of(named, target),
            target=target,
            retry=retry or RetryPolicy(),
            timeout_seconds=timeout,
            actors=actors if is_class else (0, 0),
            isolated=isolated,
            ray_options=dict(ray_options or {}),
            redact=(redact,) if isinstance(redact, str) else tuple(redact),
            pool=pool,
            concurrency=concurrency,
            batch=batch,
            limits=listed(limits, target),
            weight=weight,
            on_failure=on_failure,
            schedules=schedules_of(schedules, target),
        )
        check(spec)
        setattr(target, _SPEC_ATTRIBUTE, spec)
        note(spec.task_type, spec)
        return target

    return declare if bare is None else declare(bare)


def handler_of(target: Callable[..., Any]) -> HandlerSpec:
    """Return the spec that `@handler` left on a function or class. Raises `HandlerError`."""
    spec = spec_on(target)
    if spec is None:
        raise HandlerError(f"{where(target)} is not decorated with @handler")
    if spec.target is not target:
        raise HandlerError(
            f"{where(target)}: another decorator stands above @handler; put @handler on top"
        )
    return spec


def task_type_of(handler_or_name: Callable[..., Any] | str) -> str:
    """Return the task type that a name, or a function or class with `@handler`, stands for.

    Raises `HandlerError` for a function or class without `@handler`.
    """
    if callable(handler_or_name):
        return handler_of(handler_or_name).task_type
    return handler_or_name


def spec_on(value: object) -> HandlerSpec | None:
    """Return the spec on the value itself; None if it has none.

    A class does not inherit a spec.
    """
    try:
        spec = getattr(value, "__dict__", {}).get(_SPEC_ATTRIBUTE)
    except Exception:  # a proxy with nothing behind it yet
        return None
    return spec if isinstance(spec, HandlerSpec) else None


def _describe_retry(policy: RetryPolicy) -> dict[str, object]:
    return {
        "max_attempts": policy.max_attempts,
        "initial_delay_seconds": policy.initial_delay_seconds,
        "factor": policy.factor,
        "max_delay_seconds": policy.max_delay_seconds,
        "jitter": policy.jitter,
        "never_retry": [error.__name__ for error in policy.never_retry],
        "retry_on": policy.retry_on and [error.__name__ for error in policy.retry_on],
        "memory_factor": policy.memory_factor,
        "max_memory": policy.max_memory,
        "other_node": policy.other_node,
    }


def _describe(value: object) -> object:
    """Return a Ray option as JSON can show it. Values of runtime environments stay private."""
    if isinstance(value, bool | int | float | str) or value is None:
        return value
    if isinstance(value, Mapping):
        return {str(key): _describe(item) for key, item in value.items() if key != "env_vars"}
    if isinstance(value, list | tuple | set):
        return [_describe(item) for item in value]
    return getattr(value, "__name__", type(value).__name__)


def note(name: str, declared: object) -> None:
    """Note a declaration in the module that is being imported, also if another module calls it.

    If a reload runs the same line again, the note replaces the earlier one.
    """
    frame = sys._getframe(1)
    while frame.f_code.co_name != "<module>":
        if frame.f_back is None:
            return  # no module is being run: nobody will look for a note
        frame = frame.f_back
    notes = frame.f_globals.setdefault(_NOTES, {})
    notes[name, frame.f_code.co_filename, frame.f_lineno] = declared


def noted_in(names: Iterable[str], without: Container[str] = ()) -> Iterator[tuple[str, int, Any]]:
    """Yield the module, the line and the declaration of each note in these modules.

    Of a package, skipped modules count too, if something has imported them; not those `without`.
    """
    tops = frozenset(names)
    below = tuple(f"{top}." for top in tops)
    for name, module in sorted(sys.modules.items()):
        if (name in tops or name.startswith(below)) and name not in without:
            notes: Mapping[tuple[str, str, int], Any] = getattr(module, "__dict__", {}).get(
                _NOTES, {}
            )
            for (_, _, line), declared in notes.items():
                yield name, line, declared
