"""Limits, pools, batches, concurrency and weights of `@handler`: what cannot work is refused."""

import math
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import BaseModel, SecretStr

from raytasks import Batch, Limit, Pool, RetryPolicy, handler
from raytasks.handling.declaration import handler_of
from raytasks.handling.registry import Registry
from raytasks.model.errors import HandlerError

MAIL = Pool("mail", (1, 4))
GROUP = {"placement_group": "trainers"}
BUNDLE = "placement_group_bundle_index"
MORE, ELSEWHERE = RetryPolicy(memory_factor=2, max_memory=800), RetryPolicy(other_node=True)


def plain(payload: dict[str, Any]) -> None:
    """A handler that is a function."""


class Loaded:
    """A handler that is a class."""

    def __call__(self, payload: dict[str, Any]) -> None:
        """Do nothing."""


class Many:
    """A handler of batches that is a class."""

    def __call__(self, payloads: list[dict[str, Any]]) -> list[None]:
        """Return nothing for each."""
        return [None] * len(payloads)


def declare(target: Callable[..., Any] = plain, task_type: str = "a", **options: Any) -> Any:
    """Declare a copy of a handler, and return its spec."""
    copy: Any = (
        type("Copy", (target,), dict(vars(target)))
        if isinstance(target, type)
        else lambda payload: None
    )
    return handler_of(handler(task_type, **options)(copy))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"concurrency": 0}, "concurrency must be a whole number from 1 to 100000, not 0"),
        ({"concurrency": -1}, "concurrency must be a whole number"),
        ({"concurrency": 1.5}, "concurrency must be a whole number"),
        ({"concurrency": "5"}, "concurrency must be a whole number"),
        ({"concurrency": True}, "concurrency must be a whole number"),
        ({"concurrency": None}, "concurrency must be a whole number"),
        ({"concurrency": 100_001}, "concurrency must be a whole number"),
        ({"pool": "mail"}, "pool must be a raytasks.Pool, not 'mail'"),
        ({"pool": ("mail", (1, 4))}, "pool must be a raytasks.Pool"),
        ({"batch": 5}, "batch must be a raytasks.Batch, not 5"),
        ({"batch": (5, 0.1)}, "batch must be a raytasks.Batch"),
        ({"limits": 5}, "limits must be a list of raytasks.Limit, not 5"),
        ({"limits": None}, "limits must be a list of raytasks.Limit, not None"),
        ({"limits": "smtp"}, "limits must be a list of raytasks.Limit, not 'smtp'"),
        ({"limits": ["smtp"]}, "limits must be raytasks.Limit, not 'smtp'"),
        ({"limits": {"smtp": 5}}, "limits must be raytasks.Limit, not 'smtp'"),
        ({"limits": [Limit("a", running=1), Limit("a", rate=5)]}, "must have different names"),
        ({"weight": 0}, "weight must be from 0.001 to 1000, not 0"),
        ({"weight": -1}, "weight must be from 0.001"),
        ({"weight": 1001}, "weight must be from 0.001"),
        ({"weight": "2"}, "weight must be a finite number"),
        ({"weight": math.nan}, "weight must be a finite number"),
        ({"weight": True}, "weight must be a finite number"),
        ({"ray_options": {"max_concurrency": 5}}, "write concurrency="),
        ({"pool": Pool("a", ray_options={"max_concurrency": 5})}, "write concurrency="),
        ({"pool": MAIL, "ray_options": {"num_gpus": 1}}, "move ray_options to its Pool"),
        ({"pool": MAIL, "isolated": True}, "leave out pool or isolated"),
        ({"pool": Pool("a", ray_options={"max_retries": 3})}, "max_retries is an option of remote"),
        ({"pool": Pool("a", ray_options={"retry_exceptions": True})}, "retry_exceptions is an"),
        ({"isolated": True, "concurrency": 2}, "concurrency and batch are for runners"),
        ({"isolated": True, "batch": Batch(5)}, "concurrency and batch are for runners"),
        ({"ray_options": {"num_gpus": 1}, "concurrency": 2}, "name a Pool with these ray_options"),
        ({"ray_options": {"num_gpus": 1}, "batch": Batch(5)}, "name a Pool with these ray_options"),
        ({"pool": Pool("a", ray_options=GROUP)}, "of remote tasks, not of a pool's actors; use it"),
        ({"ray_options": {"placement_group": ""}}, "name of a placement group, such as 'trainers'"),
        ({"ray_options": {"placement_group": 5}}, "not 5; a group object goes into scheduling_st"),
        ({"ray_options": {BUNDLE: 0}}, "name of a placement group, such as 'trainers', not None"),
        ({"ray_options": {**GROUP, BUNDLE: "0"}}, "must be a whole number, not '0'"),
        ({"ray_options": {**GROUP, BUNDLE: True}}, "must be a whole number, not True"),
        ({"ray_options": {**GROUP, BUNDLE: -2}}, "must be 0 or more, or -1 for any bundle, not -2"),
        (
            {"ray_options": {**GROUP, "placement_group_capture_child_tasks": 1}},
            "placement_group_capture_child_tasks must be True or False, not 1",
        ),
        ({"ray_options": {**GROUP, "scheduling_strategy": "SPREAD"}}, "exclude each other"),
        ({"retry": MORE}, "memory_factor is for attempts that are Ray remote tasks of their own"),
        ({"retry": ELSEWHERE, "pool": MAIL}, "other_node is for attempts that are Ray remote tas"),
        ({"retry": MORE, "isolated": True}, "as ray_options={'memory': ...}"),
        ({"retry": MORE, "ray_options": {"num_cpus": 2}}, "say it in bytes, as ray_options"),
        ({"retry": MORE, "ray_options": {"memory": 800}}, "(800) must be more than the memory in"),
        ({"retry": ELSEWHERE, "ray_options": GROUP}, "other_node cannot go with placement_group"),
        ({"retry": MORE, "ray_options": {**GROUP, "memory": 5}}, "memory_factor cannot go with"),
        ({"retry": ELSEWHERE, "ray_options": {"scheduling_strategy": object()}}, "leave out one"),
    ],
)
def test_what_cannot_work_is_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(HandlerError) as caught:
        declare(**options)
    assert words in str(caught.value)
    assert __name__ in str(caught.value)  # the handler is named


def test_a_class_is_in_no_placement_group() -> None:
    with pytest.raises(HandlerError, match="of remote tasks, not of a class's actors"):
        declare(Loaded, ray_options=GROUP)


@pytest.mark.parametrize(
    ("target", "options"),
    [
        (plain, {"concurrency": 100, "weight": 2.5, "limits": [Limit("a", running=5)]}),
        (plain, {"limits": Limit("a", running=5)}),
        (plain, {"limits": iter([Limit("a", running=5), Limit("b", running=5)])}),
        (plain, {"pool": MAIL, "batch": Batch(5), "concurrency": 4}),
        (plain, {"pool": Pool("gpu", (0, 2), {"num_gpus": 1})}),
        (plain, {"isolated": True, "limits": [Limit("a", running=5)]}),
        (plain, {"isolated": True, "retry": ELSEWHERE}),
        (plain, {"retry": MORE, "ray_options": {"memory": 100, "scheduling_strategy": "SPREAD"}}),
        (Loaded, {"concurrency": 4, "ray_options": {"num_gpus": 1}}),
        (Many, {"concurrency": 4, "batch": Batch(5), "ray_options": {"num_gpus": 1}}),
        (Loaded, {"pool": MAIL}),
    ],
)
def test_what_works_is_told_to_the_tracker(
    target: Callable[..., Any], options: dict[str, Any]
) -> None:
    spec = declare(target, **options)
    info = spec.info()
    assert info.limits == tuple(sorted(spec.limits, key=lambda limit: limit.name))
    assert info.concurrency == options.get("concurrency", 1)
    assert info.batch == options.get("batch")
    assert info.own_pool == options.get("pool")
    assert info.weight == options.get("weight", 1.0)
    assert info.heeds_memory == ("retry" in options)


SMTP = Limit("smtp", running=5, rate=5, burst=2)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (SMTP, Limit("smtp", running=6, rate=5, burst=2)),
        (SMTP, Limit("smtp", running=5, rate=6, burst=2)),
        (SMTP, Limit("smtp", running=5, rate=5, burst=2, per_seconds=2)),
        (SMTP, Limit("smtp", running=5, rate=5, burst=3)),
        (SMTP, Limit("smtp", running=5, rate=5, burst=2, by="/a")),
        (Limit("o", running=1, by="/a"), Limit("o", running=1, by="/a", ordered=True)),
    ],
)
def test_types_that_share_a_limit_must_declare_it_alike(one: Limit, other: Limit) -> None:
    for first, second in ((one, other), (other, one)):
        registry = Registry()
        registry.add(declare(task_type="first", limits=[first]))
        with pytest.raises(HandlerError, match="only by= may differ between types"):
            registry.add(declare(task_type="second", limits=[second]))
        assert registry.task_types == ("first",)


def test_the_place_of_the_value_may_differ_between_types() -> None:
    registry = Registry()
    for name, place in (("first", "/account"), ("second", "/customer/id")):
        registry.add(declare(task_type=name, limits=[Limit("a", running=1, by=place)]))
    assert registry.task_types == ("first", "second")


@pytest.mark.parametrize(
    "other", [Pool("mail", (1, 5)), Pool("mail", (0, 4)), Pool("mail", (1, 4), {"num_cpus": 1})]
)
def test_types_that_share_a_pool_must_declare_it_alike(other: Pool) -> None:
    registry = Registry()
    registry.add(declare(task_type="first", pool=MAIL))
    with pytest.raises(HandlerError, match="the pool 'mail' differs from that of"):
        registry.add(declare(task_type="second", pool=other))
    registry.add(declare(task_type="third", pool=Pool("mail", (1, 4))))


class Card(BaseModel):
    """A payload with a secret part."""

    number: SecretStr
    account: str


@pytest.mark.parametrize(
    ("by", "redact"),
    [
        ("/number", ()),
        ("/account", ("/account",)),
        ("/account/name", ("/account",)),
        ("/items/0/code", ("/items/*/code",)),
    ],
)
def test_a_limit_by_a_secret_is_refused(by: str, redact: tuple[str, ...]) -> None:
    @handler("charge", redact=redact, limits=[Limit("a", running=1, by=by)])
    def charge(payload: Card) -> None: ...

    with pytest.raises(HandlerError, match="the values of limits are shown; limit by another part"):
        handler_of(charge).info()


def test_a_limit_by_what_is_no_secret_is_taken() -> None:
    @handler("charge", redact=["/items/*/code"], limits=[Limit("a", running=1, by="/account")])
    def charge(payload: Card) -> None: ...

    assert handler_of(charge).info().limits[0].by == "/account"
