"""Pools, limits and batches check themselves: each error names the field and the fix."""

import math
from typing import Any

import pytest

from raytasks import Batch, Limit, Pool
from raytasks.model.controls import check_weight, default_burst
from raytasks.model.steering import LimitSetting, Steering

NO_NUMBERS: list[Any] = ["5", None, [5], True, False, math.nan, math.inf, -math.inf]
NO_COUNTS: list[Any] = [0, -1, 1.5, 2.0, 100_001, "5", True, False, [1], math.nan]
BAD_NAMES: list[Any] = ["", "5a", "a b", "a/b", "ä", "a\n", "a" * 64, None, 5, b"a", ["a"]]


class TestPools:
    def test_what_can_be(self) -> None:
        assert Pool("a").runners == (1, 1)
        for runners in ((0, 1), (1, 1), (0, 100_000), [2, 3]):
            assert Pool("mail-2.x_y", runners).runners == runners  # type: ignore[arg-type]

    @pytest.mark.parametrize("name", BAD_NAMES)
    def test_a_bad_name(self, name: Any) -> None:
        with pytest.raises(ValueError, match=r"Pool: bad name .*: a letter, then up to 62"):
            Pool(name)

    @pytest.mark.parametrize("name", ["shared", "concurrent", "remote", "class.mail"])
    def test_the_names_of_raytasks_itself(self, name: str) -> None:
        with pytest.raises(ValueError, match="is one of raytasks' own; take another"):
            Pool(name)

    @pytest.mark.parametrize(
        "runners",
        [
            (0, 0), (2, 1), (-1, 1), (1, 100_001), (1,), (1, 2, 3), 5, None, "12", (1, "2"),
            (1.0, 2), (True, 2), {1, 2}, (1, None), (1, math.inf),
        ],
    )  # fmt: skip
    def test_sizes_that_cannot_be(self, runners: Any) -> None:
        with pytest.raises(ValueError, match=r"Pool 'a': runners must be \(least, most\)"):
            Pool("a", runners)

    @pytest.mark.parametrize("options", [5, "num_gpus=1", [("num_gpus", 1)], {1: 2}, None])
    def test_options_that_are_none(self, options: Any) -> None:
        with pytest.raises(ValueError, match="Pool 'a': ray_options must be a dictionary"):
            Pool("a", ray_options=options)


class TestLimits:
    @pytest.mark.parametrize(
        "bounds",
        [
            {"running": 1}, {"running": 100_000}, {"rate": 0.001}, {"rate": 1e9}, {"rate": 5},
            {"running": 5, "rate": 0.5, "per_seconds": 86_400, "burst": 100_000},
            {"rate": 5, "per_seconds": 0.001}, {"running": 1, "by": "/a"},
            {"running": 1, "by": "/a~1b/~0/0/"}, {"running": 1, "by": "/"},
            {"running": 1, "by": "/a", "ordered": True},
        ],
    )  # fmt: skip
    def test_what_can_be(self, bounds: dict[str, Any]) -> None:
        assert Limit("a", **bounds).name == "a"

    @pytest.mark.parametrize("name", BAD_NAMES)
    def test_a_bad_name(self, name: Any) -> None:
        with pytest.raises(ValueError, match=r"Limit: bad name .*: a letter, then up to 62"):
            Limit(name, running=1)

    def test_one_that_limits_nothing(self) -> None:
        with pytest.raises(ValueError, match="Limit 'a': give running=, rate=, or both"):
            Limit("a")
        with pytest.raises(ValueError, match="give running="):
            Limit("a", by="/account")

    @pytest.mark.parametrize("count", NO_COUNTS)
    def test_counts_that_are_none(self, count: Any) -> None:
        with pytest.raises(ValueError, match="Limit 'a': running must be a whole number from 1"):
            Limit("a", running=count)
        with pytest.raises(ValueError, match="Limit 'a': burst must be a whole number from 1"):
            Limit("a", rate=5, burst=count)

    @pytest.mark.parametrize("number", [0, -1, 0.0009, 1e-300, 1e10, *NO_NUMBERS])
    def test_rates_that_are_none(self, number: Any) -> None:
        if number is not None:  # it means: no rate
            with pytest.raises(ValueError, match="Limit 'a': rate must be"):
                Limit("a", rate=number)
        with pytest.raises(ValueError, match="Limit 'a': per_seconds must be"):
            Limit("a", rate=5, per_seconds=number)

    def test_what_belongs_to_a_rate(self) -> None:
        with pytest.raises(ValueError, match="burst belongs to a rate; give rate= as well"):
            Limit("a", running=5, burst=2)
        with pytest.raises(ValueError, match="per_seconds belongs to a rate; give rate= as well"):
            Limit("a", running=5, per_seconds=60)

    @pytest.mark.parametrize(
        "by", ["account", "", "#/account", "$.account", "/a~2", "/a~", 5, b"/"]
    )
    def test_pointers_that_are_none(self, by: Any) -> None:
        with pytest.raises(ValueError, match=r"Limit 'a': by=.* is no JSON pointer; write it as"):
            Limit("a", running=1, by=by)

    @pytest.mark.parametrize(
        "more", [{"running": 1}, {"running": 2, "by": "/a"}, {"rate": 5, "by": "/a"}]
    )
    def test_what_an_order_needs(self, more: dict[str, Any]) -> None:
        with pytest.raises(ValueError, match="ordered=True needs by= and running=1"):
            Limit("a", ordered=True, **more)

    @pytest.mark.parametrize("ordered", [1, "yes", None])
    def test_an_order_is_a_flag(self, ordered: Any) -> None:
        with pytest.raises(ValueError, match="ordered must be True or False"):
            Limit("a", running=1, by="/a", ordered=ordered)


class TestBatches:
    @pytest.mark.parametrize("size", NO_COUNTS)
    def test_sizes_that_are_none(self, size: Any) -> None:
        with pytest.raises(ValueError, match="Batch: size must be a whole number from 1"):
            Batch(size)

    @pytest.mark.parametrize("seconds", [-0.1, 60.1, *NO_NUMBERS])
    def test_seconds_that_are_none(self, seconds: Any) -> None:
        with pytest.raises(ValueError, match="Batch: seconds must be"):
            Batch(5, seconds)

    def test_what_can_be(self) -> None:
        for seconds in (0, 0.05, 60):
            assert Batch(1, seconds).seconds == seconds


class TestWeights:
    @pytest.mark.parametrize("weight", [0, 0.0009, 1000.1, -1, *NO_NUMBERS])
    def test_weights_that_are_none(self, weight: Any) -> None:
        with pytest.raises(ValueError, match="weight must be"):
            check_weight("weight", weight)

    @pytest.mark.parametrize("weight", [0.001, 1, 1000.0])
    def test_what_can_be(self, weight: float) -> None:
        check_weight("weight", weight)


@pytest.mark.parametrize(
    ("rate", "seconds", "burst"), [(500, 60, 8), (5, 1, 5), (1, 60, 1), (0.5, 1, 1), (3, 0.5, 6)]
)
def test_the_burst_is_what_one_second_allows(rate: float, seconds: float, burst: int) -> None:
    assert default_burst(rate, seconds) == burst


class TestBoundsInForce:
    """The bounds that a person has set replace all those declared."""

    def test_they_replace_the_declared_ones(self) -> None:
        setting = LimitSetting("a", None, 5.0, 60.0, 2, changed_at=1.0, by="anna")
        steering = Steering(limits={"a": setting})
        declared = Limit("a", running=20, by="/account")
        assert steering.bounds_of(declared) == Limit(
            "a", rate=5.0, per_seconds=60.0, burst=2, by="/account"
        )
        assert steering.bounds_of(Limit("b", running=20)) == Limit("b", running=20)

    def test_an_ordered_limit_stays_at_one(self) -> None:
        setting = LimitSetting("a", 9, None, 1.0, None, changed_at=1.0, by="anna")
        declared = Limit("a", running=1, by="/account", ordered=True)
        assert Steering(limits={"a": setting}).bounds_of(declared) == declared
