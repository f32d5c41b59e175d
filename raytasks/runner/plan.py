"""What a runner is told when it is made: plain data that travels to its process."""

from dataclasses import dataclass, field
from typing import Any

from raytasks.registry import Registry


@dataclass(frozen=True)
class RunnerPlan:
    """How a runner of a pool is to work.

    `modules` are imported in its process to find the handlers of `task_types`. `environment` is
    what the handlers find in the environment, also in Ray remote tasks. Memory is in bytes.
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

    @property
    def runtime_env(self) -> dict[str, Any]:
        """The runtime environment of the runner's process, and of the remote tasks it starts.

        It differs by generation, so that no process that has loaded older code is used again.
        """
        return {"env_vars": {**self.environment, "RAYTASKS_GENERATION": self.generation}}

    def registry(self) -> Registry:
        """Import the modules, and return the handlers of this pool. Raises `HandlerError`."""
        return Registry.load(self.modules).only(self.task_types)
