"""The trial of a build in the cluster: one Ray task for each different runtime environment."""

import asyncio
import contextlib
import logging
from typing import Any

import ray
from ray.exceptions import (
    RayError,
    RayTaskError,
    RuntimeEnvSetupError,
    TaskUnschedulableError,
    WorkerCrashedError,
)

from raytasks.model.lines import named_line
from raytasks.pools.handlers_version import HandlersVersion
from raytasks.pools.inspection import Expected, inspect, place

log = logging.getLogger(__name__)

TRIAL_SECONDS = 120.0
"""How long the trial of a build may take, in all its environments together."""

_NAME = "raytasks.trial"


async def try_version(version: HandlersVersion, seconds: float = TRIAL_SECONDS) -> str | None:
    """Import a build's modules in each runtime environment of its handlers.

    Returns the fault and its place as one line, or None if there is none. Raises errors that only
    mean an outage of Ray itself.
    """
    expected = Expected(
        version.settings.task_modules,
        version.task_types,
        version.fingerprint,
        version.folder,
    )
    environments = version.runtime_envs()
    tries = [
        asyncio.ensure_future(_try_in(environment, expected, seconds))
        for environment in environments
    ]
    try:
        for number, attempt in enumerate(asyncio.as_completed(tries), 1):
            wrong = await attempt
            log.info("trial %d of %d: %s", number, len(tries), wrong or "passed")
            if wrong is not None:
                return wrong
    finally:
        for attempt in tries:
            attempt.cancel()
        await asyncio.gather(*tries, return_exceptions=True)
    return None


async def _try_in(environment: dict[str, Any], expected: Expected, seconds: float) -> str | None:
    where = _described(environment)
    try:
        ref = _LOOK.options(runtime_env=environment, name=_NAME).remote(expected)
    except Exception as error:
        return f"{where} cannot be made: {named_line(error)}"
    try:
        async with asyncio.timeout(seconds):
            wrong, there = await ref
            return None if wrong is None else f"{wrong} ({where}; {there})"
    except TimeoutError:
        return f"the import of {', '.join(expected.modules)} did not end in {seconds:g} s ({where})"
    except RuntimeEnvSetupError as error:
        return f"{where} cannot be made: {named_line(error)}"
    except WorkerCrashedError as error:
        return (
            f"the process died at the import of {', '.join(expected.modules)}: "
            f"{_death(error)} ({where})"
        )
    except (RayTaskError, TaskUnschedulableError) as error:
        return f"the trial failed: {named_line(error)} ({where})"
    finally:
        with contextlib.suppress(RayError, ValueError, TypeError):
            ray.cancel(ref, force=True)


def _look(expected: Expected) -> tuple[str | None, str]:
    """Inspect the build, in a fresh process of the cluster; return the fault or None, and where."""
    return inspect(expected), place()


# Only one call for each process: one that has imported a build must not be used for anything else.
_LOOK = ray.remote(num_cpus=0, max_calls=1, max_retries=0)(_look)


def _described(environment: dict[str, Any]) -> str:
    own = {name: value for name, value in environment.items() if name != "env_vars"}
    return f"in the runtime environment {own}"[:200] if own else "in a process of the cluster"


def _death(error: WorkerCrashedError) -> str:
    return named_line(error).partition(" Some common causes")[0]
