"""The callables of a process's handlers: functions, and the loaded instances of classes."""

import threading
from collections.abc import Callable
from typing import Any

from raytasks.handling.declaration import HandlerSpec
from raytasks.handling.registry import Registry
from raytasks.model.handler_info import HandlerKind
from raytasks.runner.home import Home


class HandlerInstances:
    """One instance of each class handler of a registry. All methods are safe in any thread."""

    def __init__(self, registry: Registry, home: Home) -> None:
        self._registry = registry
        self._home = home
        self._instances: dict[str, Any] = {}
        self._lock = threading.RLock()

    def of(self, spec: HandlerSpec) -> Callable[..., Any]:
        """Return the function, or the instance of the class, which is made at its first use.

        Raises what the class raises when it is instantiated.
        """
        if spec.kind is not HandlerKind.CLASS:
            return spec.target
        if spec.task_type not in self._instances:
            with self._lock:
                if spec.task_type not in self._instances:
                    self._instances[spec.task_type] = self._made(spec)
        instance: Callable[..., Any] = self._instances[spec.task_type]
        return instance

    def load(self) -> None:
        """Make all instances. An attempt repeats a failure, and reports it."""
        for task_type in self._registry.task_types:
            try:
                self.of(self._registry.require(task_type))
            except BaseException:  # noqa: S112 - the first attempt reports it, with its traceback
                continue

    def _made(self, spec: HandlerSpec) -> Any:
        try:
            instance = spec.target()
        except BaseException as error:
            self._home.leave_if_copy(error)
            raise
        self._home.leave_if_copy()
        return instance
