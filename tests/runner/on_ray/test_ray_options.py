"""The Ray options of handlers: checked at deployment, completed for runners and remote tasks."""

from collections.abc import Callable
from typing import Any

import pytest

from raytasks import PermanentError, Pool, RetryAfter, handler
from raytasks.handling.declaration import handler_of
from raytasks.handling.registry import Registry
from raytasks.model.errors import HandlerError
from raytasks.runner.on_ray.groups import strategy_of
from raytasks.runner.on_ray.ray_options import (
    actor_options,
    check_ray_options,
    remote_options,
    resources_of,
    selectors_of,
)
from raytasks.runner.on_ray.remote_attempt import may_ray_retry
from raytasks.runner.placement_groups import GroupRequest, GroupView
from raytasks.runner.plan import RunnerPlan


def plan(**changes: Any) -> RunnerPlan:
    values: dict[str, Any] = {
        "name": "runner.x.1@g", "pool": "x", "generation": "g", "task_types": (), "modules": (),
        "artifacts_url": "", "max_tasks": 1, "max_memory_bytes": 1,
    }  # fmt: skip
    return RunnerPlan(**values | changes)


def registry_of(*, is_class: bool = False, **options: Any) -> Registry:
    @handler("function", ray_options=options)
    def function(payload: dict) -> None:
        """Do nothing."""

    @handler("class", ray_options=options)
    class Class:
        def __call__(self, payload: dict) -> None:
            """Do nothing."""

    return Registry([handler_of(Class if is_class else function)])


@pytest.mark.parametrize("is_class", [False, True])
@pytest.mark.parametrize(
    "options",
    [
        {"num_cpu": 1},
        {"num_cpus": -1},
        {"memory": "much"},
        {"resources": {"CPU": 1}},
        {"runtime_env": {"env_vars": {"A": 1}}},
        {"label_selector": {"zone": "in("}},
        {"label_selector": {"zone": 1}},
        {"label_selector": {"zone": "a"}, "fallback_strategy": [{"num_cpus": 1}]},
    ],
)
def test_bad_options_are_refused_before_anything_is_deployed(
    options: dict[str, Any], is_class: bool
) -> None:
    with pytest.raises(HandlerError, match=r"^(function|class): ray_options cannot be used: "):
        check_ray_options(registry_of(is_class=is_class, **options))


@pytest.mark.parametrize("is_class", [False, True])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"num_cpus": 0.5, "num_gpus": 1, "resources": {"disk": 1}},
        {"max_retries": 2, "retry_exceptions": [OSError]},
        {"max_retries": -1, "retry_exceptions": True},
        {"runtime_env": {"env_vars": {"A": "1"}}, "memory": 10**9},
    ],
)
def test_good_options_are_taken(options: dict[str, Any], is_class: bool) -> None:
    check_ray_options(registry_of(is_class=is_class, **options))


def in_pool(**options: Any) -> Registry:
    @handler("pooled", pool=Pool("gpu", (0, 2), options))
    async def pooled(payload: dict) -> None:
        """Do nothing."""

    return Registry([handler_of(pooled)])


@pytest.mark.parametrize(
    "options", [{"num_cpu": 1}, {"num_gpus": -1}, {"runtime_env": {"env_vars": {"A": 1}}}]
)
def test_bad_options_of_a_pool_are_refused(options: dict[str, Any]) -> None:
    message = r"^pooled: the pool 'gpu': ray_options cannot be used: "
    with pytest.raises(HandlerError, match=message):
        check_ray_options(in_pool(**options))


def test_the_options_of_a_pool_are_those_of_its_actors() -> None:
    env = {"env_vars": {"A": "1"}}
    registry = in_pool(num_cpus=0.5, num_gpus=1, runtime_env=env)
    check_ray_options(registry)
    [info] = registry.infos()
    options = actor_options(info, plan(), basic=False)
    assert (options["num_cpus"], options["num_gpus"]) == (0.5, 1)
    assert options["runtime_env"]["env_vars"]["A"] == "1"
    assert info.runtime_env == env  # a version is tried there


def test_ray_may_retry_once_more_than_the_handler_says() -> None:
    assert remote_options({}, plan())["max_retries"] == 1
    assert remote_options({"max_retries": 2}, plan())["max_retries"] == 3
    assert remote_options({"max_retries": -1}, plan())["max_retries"] == -1


def test_the_environment_of_a_handler_comes_before_ours() -> None:
    ours = plan(environment={"A": "ours", "B": "ours"})
    own = {"runtime_env": {"env_vars": {"A": "own"}, "pip": ["x"]}}
    merged = remote_options(own, ours)["runtime_env"]
    assert merged["pip"] == ["x"]
    assert merged["env_vars"] == {"A": "own", "B": "ours", "RAYTASKS_GENERATION": "g"}


def test_a_runner_gets_a_runtime_environment_only_where_it_needs_one() -> None:
    [info] = registry_of(is_class=True).infos()
    assert actor_options(info, plan(), basic=True)["runtime_env"] is None
    [own] = registry_of(is_class=True, runtime_env={"env_vars": {"A": "own"}}).infos()
    ours = {"A": "ours", "B": "ours"}
    for kind, variables in ((info, ours), (own, {"A": "own", "B": "ours"})):
        options = actor_options(kind, plan(environment=ours), basic=True)
        assert options["runtime_env"]["env_vars"] == {**variables, "RAYTASKS_GENERATION": "g"}


def test_only_runners_beyond_the_basic_ones_reserve_a_processor() -> None:
    [info] = registry_of(is_class=True).infos()
    assert actor_options(info, plan(), basic=True)["num_cpus"] == 0
    assert actor_options(info, plan(), basic=False)["num_cpus"] == 1
    [info] = registry_of(is_class=True, num_cpus=2).infos()
    assert actor_options(info, plan(), basic=True)["num_cpus"] == 2


def test_the_resources_that_a_remote_task_takes() -> None:
    assert resources_of({}) == {"CPU": 1}
    assert resources_of({"num_cpus": 0, "resources": {"disk": 2}}) == {"CPU": 0.25, "disk": 2}
    assert resources_of({"num_gpus": 1, "memory": 10}) == {"CPU": 1, "GPU": 1, "memory": 10}


@pytest.mark.parametrize(
    ("options", "error", "number", "retried"),
    [
        ({}, OSError, 0, False),
        ({"max_retries": 2, "retry_exceptions": [OSError]}, OSError, 0, True),
        ({"max_retries": 2, "retry_exceptions": [OSError]}, FileNotFoundError, 1, True),
        ({"max_retries": 2, "retry_exceptions": [OSError]}, OSError, 2, False),
        ({"max_retries": 2, "retry_exceptions": [OSError]}, ValueError, 0, False),
        ({"max_retries": 2, "retry_exceptions": True}, ValueError, 0, True),
        ({"max_retries": 2, "retry_exceptions": True}, PermanentError, 0, False),
        ({"max_retries": 2, "retry_exceptions": True}, lambda: RetryAfter(1), 0, False),
        ({"max_retries": 2, "retry_exceptions": True}, KeyboardInterrupt, 0, False),
        ({"max_retries": 2}, ValueError, 0, False),
        ({"max_retries": -1, "retry_exceptions": True}, ValueError, 99, True),
    ],
)
def test_which_errors_ray_retries_within_the_attempt(
    options: dict[str, Any],
    error: Callable[[], BaseException],
    number: int,
    retried: bool,
) -> None:
    assert may_ray_retry(options, error(), number) is retried


def test_a_placement_group_is_given_to_ray_as_a_strategy() -> None:
    options: dict[str, Any] = {
        "num_cpus": 2,
        "placement_group": "trainers",
        "placement_group_bundle_index": 0,
        "placement_group_capture_child_tasks": True,
    }

    @handler("grouped", ray_options=options)
    def grouped(payload: dict) -> None:
        """Do nothing."""

    registry = Registry([handler_of(grouped)])
    check_ray_options(registry)  # the group need not exist
    group = GroupView("0bed13de76d8a9e1c59708aa84b601000000", [{"CPU": 2.0}], ["n1"])
    strategy = strategy_of(GroupRequest("trainers", 0, True), group)
    completed = remote_options(options, plan(), strategy=strategy)
    assert completed["scheduling_strategy"] is strategy
    assert completed["num_cpus"] == 2
    assert not [name for name in completed if name.startswith("placement_group")]
    assert resources_of(options) == {"CPU": 2.0}
    [info] = registry.infos()
    assert info.description["ray_options"] == options  # as `/task-types` shows them


def test_labels_and_accelerators_are_options_of_both_kinds() -> None:
    options: dict[str, Any] = {
        "accelerator_type": "A100",
        "label_selector": {"zone": "in(a, b)"},
        "fallback_strategy": [{"label_selector": {"zone": "!spot"}}],
    }
    for is_class in (False, True):
        check_ray_options(registry_of(is_class=is_class, **options))
    assert resources_of(options) == {"CPU": 1.0, "accelerator_type:A100": 0.001}
    assert selectors_of(options) == [{"zone": "in(a, b)"}, {"zone": "!spot"}]
    assert selectors_of({"num_cpus": 1}) == []
    assert remote_options(options, plan()).items() >= options.items()
