"""The checks of a handler's declaration: each error names the handler, and the fix."""

import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from raytasks.handling.signatures import SignatureError, parameters_of
from raytasks.model.controls import MAX_SLOTS, Batch, Limit, Pool, check_weight
from raytasks.model.errors import HandlerError
from raytasks.model.handler_info import HandlerKind
from raytasks.model.schedule_specs import Schedule
from raytasks.model.task_filter import RESERVED, is_reserved

if TYPE_CHECKING:
    from raytasks.handling.declaration import HandlerSpec

TASK_TYPE = "[A-Za-z][A-Za-z0-9_.-]{0,99}"
"""The form of a task type's name, as a regular expression."""

OF_TASKS_ONLY = ("max_retries", "retry_exceptions")
"""Ray options that actors do not have."""

GROUP_OPTIONS = (
    "placement_group",
    "placement_group_bundle_index",
    "placement_group_capture_child_tasks",
)
"""The options of remote tasks that run in a placement group.

They are its name, the bundle's index, and whether the handler's own Ray tasks run there as well.
"""

_TASK_TYPE = re.compile(TASK_TYPE)


def check(spec: "HandlerSpec") -> None:
    """Refuse a declaration that cannot work. Raises `HandlerError`."""
    name = where(spec.target)
    if not _TASK_TYPE.fullmatch(spec.task_type):
        raise HandlerError(
            f"{name}: bad task type {spec.task_type!r}: a letter, then letters, digits, . _ -"
        )
    if is_reserved(spec.task_type):
        raise HandlerError(
            f"{name}: bad task type {spec.task_type!r}: names that begin with {RESERVED!r} "
            "belong to raytasks itself"
        )
    if spec.timeout_seconds is not None and not spec.timeout_seconds > 0:
        raise HandlerError(f"{name}: timeout must be more than 0 seconds")
    least, most = spec.actors
    if (spec.kind is HandlerKind.CLASS and not 0 <= least <= most) or most < 0:
        raise HandlerError(f"{name}: actors must be (least, most), 0 <= least <= most")
    if spec.kind is HandlerKind.CLASS and most < 1:
        raise HandlerError(f"{name}: actors must allow at least one actor")
    if spec.kind is HandlerKind.CLASS and spec.isolated:
        raise HandlerError(f"{name}: a class runs in actors of its own; isolated is for functions")
    if inspect.isclass(spec.target) and not _defines_call(spec.target):
        raise HandlerError(f"{name}: a handler class needs a __call__ method")
    for text in spec.redact:
        if not isinstance(text, str) or (text and not text.startswith("/")):
            raise HandlerError(
                f"{name}: redact: {text!r} is no JSON pointer, such as '/card' or '/items/*/code'"
            )
    _check_flow(spec, name)
    if spec.on_failure is not None:
        _check_on_failure(spec.on_failure, name)
    try:
        parameters_of(spec.target, batch=spec.batch is not None)
    except SignatureError as error:
        raise HandlerError(f"{name}: {error}") from None


def type_of(task_type: Any, target: Any) -> str:
    """Return the task type of a declaration; without one, the name of its function or class.

    Raises `HandlerError` if the type is no text, or if there is no name.
    """
    if not callable(target):
        raise HandlerError(f"@handler is for a function or a class, not {target!r:.200}")
    found = getattr(target, "__name__", None) if task_type is None else task_type
    if isinstance(found, str):
        return found
    if task_type is None:
        raise HandlerError(f"{target!r:.200} has no name; write @handler('its_type')")
    raise HandlerError(f"{where(target)}: the task type must be a text, not {task_type!r:.200}")


def _check_on_failure(hook: Any, name: str) -> None:
    try:
        inspect.signature(hook).bind(None, None, None)
    except (TypeError, ValueError):
        raise HandlerError(
            f"{name}: on_failure must be a function of (payload, error, context), not {hook!r:.200}"
        ) from None


def listed(limits: Any, target: Callable[..., Any]) -> tuple[Limit, ...]:
    """Return the limits of a declaration: one, or several. Raises `HandlerError`."""
    if isinstance(limits, Limit):
        return (limits,)
    if isinstance(limits, str | bytes) or not isinstance(limits, Iterable):
        raise HandlerError(
            f"{where(target)}: limits must be a list of raytasks.Limit, not {limits!r}"
        )
    return tuple(limits)


def schedules_of(schedules: Any, target: Callable[..., Any]) -> tuple[Schedule, ...]:
    """Return the schedules of a declaration: one, or several. Raises `HandlerError`."""
    found = (schedules,) if isinstance(schedules, Schedule) else schedules
    if isinstance(found, str | bytes) or not isinstance(found, Iterable):
        raise HandlerError(
            f"{where(target)}: schedules must be a list of raytasks.Schedule, not {schedules!r}"
        )
    found = tuple(found)
    for schedule in found:
        if not isinstance(schedule, Schedule):
            raise HandlerError(
                f"{where(target)}: schedules must be raytasks.Schedule, not {schedule!r}"
            )
    keys = [(schedule.namespace, schedule.name) for schedule in found]
    if len(set(keys)) < len(keys):
        names = [schedule.name for schedule in found]
        raise HandlerError(f"{where(target)}: schedules must have different names, not {names}")
    return found


def check_limit_places(spec: "HandlerSpec") -> None:
    """Refuse a limit by a part of the payload that is kept secret. Raises `HandlerError`.

    The values of limits are shown, and so they must not be secret.
    """
    mask = spec.redaction
    for limit in spec.limits:
        if mask is None or limit.by is None:
            continue
        place = [part.replace("~1", "/").replace("~0", "~") for part in limit.by.split("/")[1:]]
        if mask.covers(place):
            raise HandlerError(
                f"{where(spec.target)}: the limit {limit.name!r} is by {limit.by!r}, which is kept "
                "secret, and the values of limits are shown; limit by another part of the payload"
            )


def check_together(spec: "HandlerSpec", others: Iterable["HandlerSpec"]) -> None:
    """Refuse a pool or a limit that has the name of another one. Raises `HandlerError`.

    Types share a pool or a limit by its name, so they must declare it alike; only the place of a
    limit's value may differ.
    """
    for other in others:
        one, two = spec.pool, other.pool
        if one is not None and two is not None and one.name == two.name and one != two:
            raise HandlerError(
                f"{where(spec.target)}: the pool {one.name!r} differs from that of "
                f"{where(other.target)}; make one Pool, and name it at both"
            )
        for limit in spec.limits:
            for known in other.limits:
                if limit.name == known.name and not _is_alike(limit, known):
                    raise HandlerError(
                        f"{where(spec.target)}: the limit {limit.name!r} differs from that of "
                        f"{where(other.target)}; only by= may differ between types"
                    )


def _is_alike(one: Limit, other: Limit) -> bool:
    same = replace(one, by=other.by, ordered=other.ordered) == other
    return same and (one.by is None) == (other.by is None) and one.ordered == other.ordered


def _check_flow(spec: "HandlerSpec", name: str) -> None:
    most = spec.concurrency
    if not isinstance(most, int) or isinstance(most, bool) or not 1 <= most <= MAX_SLOTS:
        raise HandlerError(
            f"{name}: concurrency must be a whole number from 1 to {MAX_SLOTS}, not {most!r}"
        )
    for field, value, kind in (("pool", spec.pool, Pool), ("batch", spec.batch, Batch)):
        if value is not None and not isinstance(value, kind):
            raise HandlerError(f"{name}: {field} must be a raytasks.{kind.__name__}, not {value!r}")
    for limit in spec.limits:
        if not isinstance(limit, Limit):
            raise HandlerError(f"{name}: limits must be raytasks.Limit, not {limit!r}")
    names = [limit.name for limit in spec.limits]
    if len(set(names)) < len(names):
        raise HandlerError(f"{name}: limits must have different names, not {names}")
    try:
        check_weight("weight", spec.weight)
    except ValueError as error:
        raise HandlerError(f"{name}: {error}") from None
    _check_place(spec, name)


def _check_place(spec: "HandlerSpec", name: str) -> None:
    """Refuse options that contradict the place where the attempts run."""
    options = spec.ray_options if spec.pool is None else spec.pool.ray_options
    if "max_concurrency" in options:
        raise HandlerError(
            f"{name}: max_concurrency in ray_options has no effect on tasks; write concurrency="
        )
    if spec.pool is not None:
        if is_reserved(spec.pool.name):
            raise HandlerError(
                f"{name}: the pool's name {spec.pool.name!r} begins with {RESERVED!r}, which "
                "belongs to raytasks itself; take another"
            )
        if spec.ray_options:
            raise HandlerError(
                f"{name}: a pool has one set of Ray options; move ray_options to its Pool"
            )
        if spec.isolated:
            raise HandlerError(
                f"{name}: isolated attempts run outside of pools; leave out pool or isolated"
            )
        if found := [option for option in OF_TASKS_ONLY if option in options]:
            raise HandlerError(
                f"{name}: {found[0]} is an option of remote tasks, not of a pool's actors; use "
                "retry=RetryPolicy(...)"
            )
    _check_placement_group(spec, options, name)
    _check_memory(spec, options, name)
    if spec.kind is HandlerKind.REMOTE and (spec.concurrency > 1 or spec.batch is not None):
        raise HandlerError(
            f"{name}: with isolated or ray_options each attempt is a Ray remote task of its own; "
            "concurrency and batch are for runners: name a Pool with these ray_options"
        )


def _check_placement_group(spec: "HandlerSpec", options: Mapping[str, Any], name: str) -> None:
    """Refuse options of placement groups that cannot be used."""
    named = [option for option in GROUP_OPTIONS if option in options]
    if not named:
        return
    if spec.kind is not HandlerKind.REMOTE:
        of = "a class's actors" if spec.pool is None else "a pool's actors"
        raise HandlerError(
            f"{name}: {named[0]} is an option of remote tasks, not of {of}; use it in the "
            "ray_options of a function without a pool, or choose the nodes by label_selector"
        )
    group, bundle, capture = (options.get(option) for option in GROUP_OPTIONS)
    if not isinstance(group, str) or not group:
        raise HandlerError(
            f"{name}: placement_group must be the name of a placement group, such as 'trainers', "
            f"not {group!r}; a group object goes into scheduling_strategy"
        )
    if bundle is not None and (not isinstance(bundle, int) or isinstance(bundle, bool)):
        raise HandlerError(
            f"{name}: placement_group_bundle_index must be a whole number, not {bundle!r}"
        )
    if bundle is not None and bundle < -1:
        raise HandlerError(
            f"{name}: placement_group_bundle_index must be 0 or more, or -1 for any bundle, "
            f"not {bundle}"
        )
    if capture is not None and not isinstance(capture, bool):
        raise HandlerError(
            f"{name}: placement_group_capture_child_tasks must be True or False, not {capture!r}"
        )
    if options.get("scheduling_strategy") is not None:
        raise HandlerError(
            f"{name}: placement_group and scheduling_strategy exclude each other; leave out one"
        )


def _check_memory(spec: "HandlerSpec", options: Mapping[str, Any], name: str) -> None:
    """Refuse a policy for want of memory that could have no effect."""
    policy = spec.retry
    if not policy.heeds_memory:
        return
    which = "memory_factor" if policy.memory_factor > 1 else "other_node"
    if spec.kind is not HandlerKind.REMOTE:
        raise HandlerError(
            f"{name}: {which} is for attempts that are Ray remote tasks of their own: a function "
            "with isolated or ray_options, and without a pool"
        )
    memory = options.get("memory")
    if policy.max_memory is not None and not memory:
        raise HandlerError(
            f"{name}: memory_factor multiplies what the first attempt asks for: say it in bytes, "
            "as ray_options={'memory': ...}"
        )
    if policy.max_memory is not None and memory and policy.max_memory <= memory:
        raise HandlerError(
            f"{name}: max_memory ({policy.max_memory}) must be more than the memory in ray_options "
            f"({memory:g})"
        )
    strategy = options.get("scheduling_strategy")
    if "placement_group" in options or not isinstance(strategy, str | None):
        raise HandlerError(
            f"{name}: {which} cannot go with placement_group or a scheduling_strategy object, "
            "which choose the place of all attempts; leave out one"
        )


def _defines_call(target: type) -> bool:
    # Every class is callable itself. What counts is a `__call__` of its instances.
    return any("__call__" in vars(base) for base in target.__mro__)


def where(target: Callable[..., Any]) -> str:
    """Return the full name of a function or class, for messages."""
    return f"{target.__module__}.{getattr(target, '__qualname__', target)}"
