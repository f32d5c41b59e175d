"""The registry: the handlers in modules, by task type."""

import difflib
import sys
from collections.abc import Iterable, Sequence
from dataclasses import replace
from types import ModuleType

from raytasks.handling.declaration import HandlerSpec, noted_in, spec_on
from raytasks.handling.declaration_checks import check_together, where
from raytasks.handling.fingerprint import fingerprint
from raytasks.handling.middleware import Middlewares, MiddlewareSpec, middleware_on
from raytasks.handling.modules import import_modules, nothing_found
from raytasks.model.errors import HandlerError
from raytasks.model.handler_info import HandlerInfo


def nearest_of(task_type: str, known: Sequence[str]) -> str | None:
    """Return the known task type with the most similar name, or None."""
    matches = difflib.get_close_matches(task_type, known, n=1)
    return matches[0] if matches else None


class Registry:
    """The handlers of one deployment, by task type.

    `load` collects the specs that `@handler` has left in modules. It refuses a module whose
    declarations are not all found.
    """

    def __init__(self, specs: Iterable[HandlerSpec] = ()) -> None:
        self._specs: dict[str, HandlerSpec] = {}
        self._modules: set[str] = set()
        self.middleware = Middlewares()
        for spec in specs:
            self.add(spec)

    @classmethod
    def load(cls, modules: Iterable[str], folder: str | None = None) -> "Registry":
        """Import modules (of a package, all its modules), and collect their handlers.

        They are searched in `folder` first; see `handling.modules`. Raises `HandlerError` for a
        module that cannot be imported, a type that is declared twice, or no handler at all. It also
        raises it for a handler that was declared but is not found: it would be silently dropped.
        """
        registry = cls()
        names = list(modules)
        copies: list[tuple[ModuleType, str, HandlerSpec]] = []
        registry._modules.update(names)
        others = set(sys.modules)  # of an earlier load: they may declare what is not asked for now
        for module in import_modules(names, folder):
            others.discard(module.__name__)
            for attribute, value in list(vars(module).items()):
                if (layer := middleware_on(value)) is not None:
                    registry.add_middleware(layer)
                spec = spec_on(value)
                if spec is not None and spec.target is value:
                    registry.add(spec)
                elif spec is not None:
                    copies.append((module, attribute, spec))
        registry._check_complete(copies, list(noted_in(names, without=others)))
        if not registry.task_types:
            raise nothing_found(names, folder)
        registry.check_middleware()
        return registry

    def _check_complete(
        self,
        copies: Sequence[tuple[ModuleType, str, HandlerSpec]],
        noted: Sequence[tuple[str, int, HandlerSpec | MiddlewareSpec]],
    ) -> None:
        for module, attribute, spec in copies:  # e.g. of functools.wraps
            if self.get(spec.task_type) is not spec:
                raise HandlerError(
                    f"{module.__name__}.{attribute}: another decorator stands above "
                    f"@handler({spec.task_type!r}), and would never run; put @handler on top"
                )
        for name, line, declared in noted:
            if isinstance(declared, MiddlewareSpec):
                if declared not in self.middleware.specs:
                    raise HandlerError(
                        f"{name}, line {line}: {where(declared.target)} is declared with "
                        "@middleware, but is no name of a module that is loaded; put it at module "
                        "level, with @middleware on top, and import it in a module of handlers"
                    )
                continue
            spec = declared
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
                    f"{where(spec.target)} and {where(found.target)}"
                )

    def add(self, spec: HandlerSpec) -> None:
        """Add a handler.

        Raises `HandlerError` if its type is taken by another, or if a pool or a limit is declared
        in two ways.
        """
        known = self._specs.get(spec.task_type, spec)
        if known is not spec:
            raise HandlerError(
                f"task type {spec.task_type!r} is declared twice: "
                f"{where(known.target)} and {where(spec.target)}"
            )
        check_together(spec, self._specs.values())
        self._specs[spec.task_type] = spec

    def add_middleware(self, spec: MiddlewareSpec) -> None:
        """Add a middleware, if it is not known already."""
        if spec not in self.middleware.specs:
            self.middleware = Middlewares([*self.middleware.specs, spec])

    def check_middleware(self) -> None:
        """Raise `HandlerError` for a middleware that cannot be around one of the handlers."""
        for spec in self._specs.values():
            self.middleware.of(spec)

    def get(self, task_type: str) -> HandlerSpec | None:
        """Return the handler of a task type, or None."""
        return self._specs.get(task_type)

    def require(self, task_type: str) -> HandlerSpec:
        """Return the handler of a task type that must be known. Raises `LookupError`."""
        spec = self.get(task_type)
        if spec is None:
            raise LookupError(f"no handler for {task_type!r}")
        return spec

    @property
    def task_types(self) -> tuple[str, ...]:
        """The known task types, sorted."""
        return tuple(sorted(self._specs))

    def only(self, task_types: Iterable[str]) -> "Registry":
        """Return a registry of only these types. Raises `HandlerError` for an unknown one."""
        missing = [name for name in task_types if name not in self._specs]
        if missing:
            raise HandlerError(f"no handler for {', '.join(missing)}")
        chosen = Registry(self._specs[name] for name in task_types)
        chosen.middleware = self.middleware
        return chosen

    @property
    def is_concurrent(self) -> bool:
        """Whether a runner of these handlers runs several attempts at a time."""
        return any(spec.is_concurrent for spec in self._specs.values())

    def nearest(self, task_type: str) -> str | None:
        """Return the known task type with the most similar name, or None."""
        return nearest_of(task_type, self.task_types)

    def fingerprint(self) -> str:
        """Return a short text that changes when the handlers' code changes.

        It covers the source files of the handlers' modules, and their imports from the handlers'
        packages. See `raytasks.handling.fingerprint`.
        """
        targets = {spec.target.__module__ for spec in self._specs.values()}
        targets |= {spec.target.__module__ for spec in self.middleware.specs}
        return fingerprint(targets | self._modules)

    def infos(self) -> tuple[HandlerInfo, ...]:
        """Return the descriptions of the handlers for the tracker and for clients.

        Raises `HandlerError` for a schedule that cannot work.
        """
        infos = [self._specs[name].info() for name in self.task_types]
        if not any(spec.schedules for spec in self._specs.values()):
            return tuple(infos)
        # Imported late, as it checks submissions with a registry.
        from raytasks.handling.schedule_request import check_distinct, declared_schedules

        specs = list(self._specs.values())
        check_distinct((spec, schedule) for spec in specs for schedule in spec.schedules)
        return tuple(
            replace(info, schedules=declared_schedules(self._specs[info.task_type], self))
            for info in infos
        )
