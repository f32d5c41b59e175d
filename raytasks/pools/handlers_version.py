"""One build of the handlers, as a deployer brings it: data only, none of the user's code."""

import hashlib
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from raytasks.model.tasks import HandlerInfo
from raytasks.runner.plan import GENERATION_VARIABLE
from raytasks.settings import Settings

_OF_RUNNERS = (
    "task_modules",
    "artifacts_url",
    "runner_max_tasks",
    "runner_max_memory_bytes",
    "offload_bytes",
    "max_result_bytes",
)
"""The settings that a runner gets when it is made: others need other runners."""

TRACKERS_OWN = (
    "database_url",
    "lease_seconds",
    "retention_seconds",
    "priority_step_seconds",
)
"""The settings of the tracker that stay those of its first start."""


@dataclass(frozen=True)
class HandlersVersion:
    """What a deployer brings: the handlers, and the settings that their runners get.

    Each build has a random `token` of its own. `fingerprint` is that of the handlers' code;
    `environment` is what the handlers find in the environment. `folder` is the deployer's working
    directory, in which the handlers' modules are looked for first, wherever they are imported.
    """

    token: str
    fingerprint: str
    handlers: tuple[HandlerInfo, ...]
    settings: Settings
    environment: dict[str, str] = field(default_factory=dict)
    folder: str | None = None

    @property
    def generation(self) -> str:
        """What the runners of this build are called by: another one where they must be others."""
        settings = [str(getattr(self.settings, name)) for name in _OF_RUNNERS]
        environment = sorted(self.environment.items())
        text = json.dumps([self.fingerprint, self.folder, settings, environment])
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    @property
    def task_types(self) -> tuple[str, ...]:
        """The task types that have a handler."""
        return tuple(info.task_type for info in self.handlers)

    def runtime_envs(self) -> list[dict[str, Any]]:
        """Return the different runtime environments in which handlers run, the plain one first.

        Each is complete, and marked by the token: no process that has loaded other code fits it.
        """
        found: list[dict[str, Any]] = []
        for own in ({}, *(info.runtime_env for info in self.handlers)):
            completed = self._completed(own)
            if completed not in found:
                found.append(completed)
        return found

    def _completed(self, own: Mapping[str, Any]) -> dict[str, Any]:
        variables = {**self.environment, **(own.get("env_vars") or {})}
        variables[GENERATION_VARIABLE] = f"{self.generation}/{self.token}"
        return {**own, "env_vars": variables}


def new_token() -> str:
    """Return the token of a new build."""
    return secrets.token_hex(16)


def differing_settings(first: Settings, later: Settings) -> list[str]:
    """Return the names of the settings that a deploy would change and cannot."""
    return [name.upper() for name in TRACKERS_OWN if getattr(first, name) != getattr(later, name)]
