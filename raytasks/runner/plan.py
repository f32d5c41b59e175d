"""The plan of a runner: plain data that its process gets when it is made."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from raytasks.artifacts.large_values import MAX_RESULT_BYTES, OFFLOAD_BYTES
from raytasks.handling.registry import Registry
from raytasks.observe.traces import TraceParenting

GENERATION_VARIABLE = "RAYTASKS_GENERATION"


@dataclass(frozen=True)
class RunnerPlan:
    """The settings of one runner of a pool.

    The runner imports `modules` to find the handlers of `task_types`, and looks in `folder` first.
    The handlers get the variables of `environment`, also in Ray remote tasks. Memory is in bytes.
    """

    name: str
    pool: str
    generation: str
    task_types: tuple[str, ...]
    modules: tuple[str, ...]
    artifacts_url: str
    max_tasks: int
    max_memory_bytes: int
    environment: dict[str, str] = field(default_factory=dict)
    offload_bytes: int = OFFLOAD_BYTES
    max_result_bytes: int = MAX_RESULT_BYTES
    folder: str | None = None
    trace_parenting: TraceParenting = TraceParenting.LINK
    callback_secrets: Mapping[str, tuple[str, ...]] | None = field(default=None, repr=False)
    callback_allowed_hosts: tuple[str, ...] = ()

    def for_callbacks(
        self, secrets: Mapping[str, tuple[str, ...]], allowed_hosts: tuple[str, ...]
    ) -> "RunnerPlan":
        """Return the plan of a runner that delivers callbacks, signed with these secrets."""
        return replace(self, callback_secrets=dict(secrets), callback_allowed_hosts=allowed_hosts)

    def actor_environment(self, own: Mapping[str, Any] | None) -> dict[str, Any] | None:
        """Return the runtime environment of the runner's own process; None if it needs none.

        A process without one starts in about half the time: for the others Ray starts Python twice.
        None is needed to keep code versions apart, as Ray gives each named actor a new process.
        `RunnerActor` checks that.
        """
        return self.runtime_env(own) if own or self.environment else None

    def runtime_env(self, own: Mapping[str, Any] | None) -> dict[str, Any]:
        """Return the runtime environment of a process that runs a handler: `own`, completed.

        It differs by generation, so that no process with older code is used again. Variables of the
        handler's own environment take precedence.
        """
        completed = dict(own or {})
        ours = {**self.environment, GENERATION_VARIABLE: self.generation}
        completed["env_vars"] = {**ours, **(completed.get("env_vars") or {})}
        return completed

    def registry(self) -> Registry:
        """Import the modules, and return the handlers of this pool. Raises `HandlerError`.

        A runner that delivers callbacks imports none: no code of the user is beside the secrets.
        """
        if self.callback_secrets is not None:
            # Imported late: other runners start without an HTTP client.
            from raytasks.handling.callback_delivery import callback_spec

            return Registry([callback_spec(self.callback_secrets, self.callback_allowed_hosts)])
        return Registry.load(self.modules, self.folder).only(self.task_types)
