"""One build of the handlers, as a deployer brings it. Data only, none of the user's code."""

import hashlib
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from raytasks.model.handler_info import HandlerInfo
from raytasks.model.schedule_specs import ScheduleKey
from raytasks.runner.plan import GENERATION_VARIABLE
from raytasks.settings import Settings

_OF_RUNNERS = (
    "task_modules",
    "artifacts_url",
    "runner_max_tasks",
    "runner_max_memory_bytes",
    "offload_bytes",
    "max_result_bytes",
    "callback_secrets",
    "callback_allowed_hosts",
)
"""The settings that a runner gets when it is made: other values need new runners."""

TRACKERS_OWN = (
    "database_url",
    "lease_seconds",
    "retention_seconds",
    "priority_step_seconds",
)
"""The settings of the tracker that keep the values of its first start."""


_DIGEST = 12  # characters


@dataclass(frozen=True)
class HandlersVersion:
    """One build of the handlers, and the settings that their runners get.

    - `token`: random, and unique to the build.
    - `fingerprint`: of the handlers' code.
    - `environment`: the environment variables of the handlers.
    - `folder`: the deployer's working directory. Every process that imports the handlers' modules
      looks there first.
    """

    token: str
    fingerprint: str
    handlers: tuple[HandlerInfo, ...]
    settings: Settings
    environment: dict[str, str] = field(default_factory=dict)
    folder: str | None = None

    @property
    def generation(self) -> str:
        """The generation in the runners' names. Builds that need new runners have another one."""
        settings = [str(getattr(self.settings, name)) for name in _OF_RUNNERS]
        environment = sorted(self.environment.items())
        text = json.dumps([self.fingerprint, self.folder, settings, environment])
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    @property
    def task_types(self) -> tuple[str, ...]:
        """The task types that have a handler."""
        return tuple(info.task_type for info in self.handlers)

    @property
    def schedule_keys(self) -> frozenset[ScheduleKey]:
        """The schedules that its handlers declare."""
        return frozenset(schedule.key for info in self.handlers for schedule in info.schedules)

    @property
    def all_handlers(self) -> tuple[HandlerInfo, ...]:
        """Its handlers, and those of raytasks itself."""
        # Imported late: the trial of a version needs no HTTP client.
        from raytasks.handling.callback_delivery import callback_info

        return (*self.handlers, callback_info())

    @property
    def declarations(self) -> dict[str, str]:
        """A digest of each handler's declaration, by task type.

        Neither the handler's code nor its environment variables are in it.
        """
        return {info.task_type: _digest(info) for info in self.all_handlers}

    def runtime_envs(self) -> list[dict[str, Any]]:
        """Return the different runtime environments in which handlers run, the plain one first.

        Each is complete and marked by the token, so that Ray uses no process with other code.
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


def _digest(info: HandlerInfo) -> str:
    runners = info.own_pool and info.own_pool.runners
    declared = [info.description, runners, info.schedules]
    return hashlib.sha256(msgspec.json.encode(declared, enc_hook=str)).hexdigest()[:_DIGEST]


def new_token() -> str:
    """Return the token of a new build."""
    return secrets.token_hex(16)


def differing_settings(first: Settings, later: Settings) -> list[str]:
    """Return the names of the settings that differ and that a deploy cannot change."""
    return [name.upper() for name in TRACKERS_OWN if getattr(first, name) != getattr(later, name)]
