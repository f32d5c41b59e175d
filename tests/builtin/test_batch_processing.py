"""The batch handler: its operations, its failures, and how it spreads chunks over a cluster."""

import hashlib
import json
import math
import statistics
import sys
import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from raytasks import Cancelled, Context, PermanentError
from raytasks.builtin._batch_operations import normalize
from raytasks.builtin._batch_summary import describe
from raytasks.builtin.batch_processing import BatchPayload, BatchResult, process
from raytasks.handling.context import LocalChannel
from raytasks.handling.declaration import handler_of


def run(data: list[Any], context: Context | None = None, **more: Any) -> BatchResult:
    payload = BatchPayload.model_validate({"data": data, **more})
    return process(payload, context or Context("1", "batch_processing"))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda children: (
        st.lists(children, max_size=3) | st.dictionaries(st.text(), children, max_size=3)
    ),
    max_leaves=6,
)


def test_normalize() -> None:
    result = run(["  Ada\t LOVELACE ", "ﬁne", "Ｆｕｌｌ　ｗｉｄｔｈ", "Straße", "plain", "5 ㎒"])
    assert result["operation"] == "normalize"
    assert result["sample"] == ["ada lovelace", "fine", "full width", "strasse", "plain", "5 mhz"]
    assert result["statistics"] == {"changed": 5, "distinct": 6}
    assert (result["processed_count"], result["failed_count"]) == (6, 0)
    assert result["duration_seconds"] >= 0


@given(st.text())
def test_normalizing_twice_changes_nothing(text: str) -> None:
    once = normalize(text)
    assert normalize(once) == once
    assert normalize(text.swapcase()) == normalize(text.swapcase().swapcase().swapcase())
    assert once == " ".join(once.split())


def test_failures_say_which_and_why(context: Context) -> None:
    result = run(["a", 1, None, True, ["x"], {"k": 1}, "half \ud800", " B "], context)
    assert result["failures"] == [
        {"index": 1, "error": "a string is needed, not a number"},
        {"index": 2, "error": "a string is needed, not null"},
        {"index": 3, "error": "a string is needed, not true"},
        {"index": 4, "error": "a string is needed, not a list"},
        {"index": 5, "error": "a string is needed, not an object"},
        {"index": 6, "error": "it holds half a character (a lone surrogate)"},
    ]
    assert result["sample"] == ["a", "b"]
    assert (result["processed_count"], result["failed_count"]) == (2, 6)


def test_many_failures_are_counted_and_the_first_hundred_described() -> None:
    result = run([*["good"] * 30, *[1] * 5000], operation="normalize")
    assert result["failed_count"] == 5000
    assert [failure["index"] for failure in result["failures"]] == list(range(30, 130))


def test_fail_on_error_names_the_first_failing_item() -> None:
    data = [*["x"] * 60, None, "y", 3]
    with pytest.raises(PermanentError, match=r"^item 60 cannot .*not null \(2 of 63 items failed"):
        run(data, fail_on_error=True)
    assert run(["x"], fail_on_error=True)["processed_count"] == 1


def test_statistics() -> None:
    result = run([3, 1.5, 2, True, "4", 10])
    assert result["operation"] == "statistics"
    assert result["failed_count"] == 2, "true and text are no numbers"
    assert result["sample"] == [3, 1.5, 2, 10]
    assert result["statistics"] == {
        "count": 4,
        "sum": 16.5,
        "min": 1.5,
        "max": 10,
        "mean": 4.125,
        "median": 2.5,
        "stdev": pytest.approx(statistics.stdev([3, 1.5, 2, 10])),
        "percentiles": pytest.approx(
            {"p5": 1.575, "p25": 1.875, "p75": 4.75, "p90": 7.9, "p95": 8.95, "p99": 9.79}
        ),
    }


def test_statistics_are_exact_where_floats_are_not() -> None:
    assert run([1e16, 1.0, -1e16])["statistics"]["sum"] == 1.0
    assert run([0.1] * 10)["statistics"]["mean"] == 0.1
    assert run([1e9 + 4, 1e9 + 7, 1e9 + 13, 1e9 + 16])["statistics"]["stdev"] == math.sqrt(30)
    assert run([2**70, 1])["statistics"]["sum"] == 2**70 + 1
    assert run([1e300, -1e300])["statistics"]["stdev"] == pytest.approx(math.sqrt(2) * 1e300)


def test_numbers_that_are_none() -> None:
    result = run([1, math.nan, math.inf, -math.inf, 10**400])
    assert result["failed_count"] == 4
    assert result["statistics"]["stdev"] is None
    assert result["statistics"]["median"] == 1
    nothing = run([True, False], operation="statistics")["statistics"]
    assert nothing["count"] == 0
    assert nothing["mean"] is None


@given(st.lists(st.integers() | st.floats(-1e300, 1e300), min_size=1))
def test_figures_lie_where_they_must(numbers: list[int | float]) -> None:
    figures: Any = describe([number for number in numbers if abs(number) <= 1e300])
    percentiles = list(figures["percentiles"].values())
    line = [figures["min"], *percentiles[:2], figures["median"], *percentiles[2:], figures["max"]]
    # A figure may be rounded to the float beside a whole number that has none.
    assert list(map(float, line)) == sorted(map(float, line))
    assert float(figures["min"]) <= figures["mean"] <= float(figures["max"])


def test_hash_is_of_canonical_json() -> None:
    data = [{"b": 1, "a": [True, None]}, {"a": [True, None], "b": 1}, "é", 1, 1.0, math.nan]
    result = run(data)
    assert result["operation"] == "hash"
    assert result["sample"][0] == hashlib.sha256(b'{"a":[true,null],"b":1}').hexdigest()
    assert result["sample"][2] == hashlib.sha256('"é"'.encode()).hexdigest()
    assert result["statistics"] == {"distinct": 4}
    assert result["failures"] == [
        {"index": 5, "error": "it holds a number that JSON cannot (NaN, infinite or too long)"}
    ]


def test_deduplicate_keeps_the_first() -> None:
    data = [{"a": 1, "b": 2}, "x", {"b": 2, "a": 1}, "x", "X", 1, True, 1.0, "x"]
    result = run(data, operation="deduplicate")
    assert result["sample"] == [{"a": 1, "b": 2}, "x", "X", 1, True, 1.0]
    assert json.dumps(result["sample"][0]) == '{"a": 1, "b": 2}', "the first, not its equal"
    assert list(map(type, result["sample"])) == [dict, str, str, int, bool, float]
    assert result["statistics"] == {"unique": 6, "duplicates": 3, "most_repeated": 3}
    assert result["processed_count"] == 9


@given(st.lists(json_values, min_size=1, max_size=9).map(lambda items: items * 2))
def test_deduplicate_keeps_one_of_each_in_order(data: list[Any]) -> None:
    def key(item: Any) -> str:
        return json.dumps(item, sort_keys=True)

    data = [item for item in data if "Infinity" not in key(item)] or ["x"]
    result = run(data, operation="deduplicate")
    expected = {key(item): item for item in reversed(data)}
    firsts = sorted(expected, key=[key(item) for item in data].index)
    assert [key(item) for item in result["sample"]] == firsts[:10]
    assert result["statistics"]["unique"] == len(firsts)


def test_order_is_kept_over_chunks_and_all_results_are_in_a_file(
    context: Context, read_artifact: Callable[[str], bytes]
) -> None:
    data = [f"Item {number}" for number in range(10_000)]
    data[5] = 5  # type: ignore[call-overload]
    result = run(data, context)
    expected = [f"item {number}" for number in range(10_000) if number != 5]
    assert result["sample"] == expected[:10]
    assert result["results_url"] is not None
    assert json.loads(read_artifact(result["results_url"])) == expected
    assert run(["few"], context)["results_url"] is None


def test_progress_and_cancelling() -> None:
    class StopHalfWay(LocalChannel):
        told: list[float] = []  # noqa: RUF012 - one test, one instance

        def progress(self, fraction: float | None, message: str | None) -> None:
            assert fraction is not None
            self.told.append(fraction)

        def cancelled(self) -> bool:
            return bool(self.told) and self.told[-1] >= 0.5

    channel = StopHalfWay()
    with pytest.raises(Cancelled):
        run(["x"] * 1000, Context("1", "batch_processing", channel=channel))
    assert channel.told == sorted(channel.told)
    assert 0.5 <= channel.told[-1] < 0.6


class FakeRay:
    """Stands in for Ray: runs a remote task when it is waited for, the newest first."""

    def __init__(self) -> None:
        self.pending: list[Any] = []
        self.names: list[str] = []
        self.cancelled: list[Any] = []
        self.most_pending = 0
        self.broken: int | None = None

    def is_initialized(self) -> bool:
        return True

    def remote(self, num_cpus: int) -> Callable[[Any], Any]:
        assert num_cpus == 1

        def decorate(function: Any) -> Any:
            return SimpleNamespace(options=lambda name: self._named(function, name))

        return decorate

    def _named(self, function: Any, name: str) -> Any:
        def remote(*args: Any) -> Any:
            ref = SimpleNamespace(run=lambda: function(*args), number=len(self.names))
            self.names.append(name)
            self.pending.append(ref)
            self.most_pending = max(self.most_pending, len(self.pending))
            return ref

        return SimpleNamespace(remote=remote)

    def wait(self, refs: list[Any], timeout: float) -> tuple[list[Any], list[Any]]:
        assert timeout <= 1
        self.pending.remove(refs[-1])
        return [refs[-1]], refs[:-1]

    def get(self, refs: list[Any]) -> list[Any]:
        if any(ref.number == self.broken for ref in refs):
            raise RuntimeError("the worker died")
        return [ref.run() for ref in refs]

    def cancel(self, ref: Any) -> None:
        self.cancelled.append(ref)


@pytest.fixture
def fake_ray(monkeypatch: pytest.MonkeyPatch) -> FakeRay:
    fake = FakeRay()
    monkeypatch.setitem(sys.modules, "ray", fake)
    return fake


def test_chunks_run_as_named_remote_tasks_a_few_at_a_time(fake_ray: FakeRay) -> None:
    data = [f"Item {number}" for number in range(2000)]
    result = run(data, Context("42", "batch_processing"))
    assert result["sample"] == [f"item {number}" for number in range(10)]
    assert result["processed_count"] == 2000
    assert fake_ray.names[3] == "batch_processing:42:chunk-3"
    assert len(set(fake_ray.names)) == 32
    assert fake_ray.most_pending == 16
    assert not fake_ray.cancelled


def test_failures_stay_in_order_when_chunks_do_not(fake_ray: FakeRay) -> None:
    result = run([1] * 2000, operation="normalize")
    assert [failure["index"] for failure in result["failures"]] == list(range(100))


def test_cancelling_cancels_the_chunks_under_way(fake_ray: FakeRay) -> None:
    channel = LocalChannel()
    threshold = threading.Event()

    def progress(fraction: float | None, message: str | None) -> None:
        channel.is_cancelled = True
        threshold.set()

    channel.progress = progress  # type: ignore[method-assign]
    with pytest.raises(Cancelled):
        run(["x"] * 2000, Context("1", "batch_processing", channel=channel))
    assert threshold.is_set()
    assert len(fake_ray.cancelled) == 16


def test_a_lost_chunk_fails_the_attempt_and_stops_the_others(fake_ray: FakeRay) -> None:
    fake_ray.broken = 20
    with pytest.raises(RuntimeError, match="the worker died"):
        run(["x"] * 2000)
    assert fake_ray.cancelled


def test_it_holds_no_cpu_while_it_waits() -> None:
    spec = handler_of(process)
    assert spec.isolated
    assert spec.ray_options == {"num_cpus": 0}


@pytest.mark.parametrize(
    ("payload", "message"),
    [
        ({}, "Field required"),
        ({"data": []}, "at least 1 item"),
        ({"data": [0] * 100_001}, "at most 100000 items"),
        ({"data": "abc"}, "valid list"),
        ({"data": [1], "operation": "explode"}, "'normalize', 'statistics', 'hash' or 'dedup"),
        ({"data": [1], "fail_on_error": "perhaps"}, "valid boolean"),
        ({"data": [1], "mode": "x"}, "Extra inputs"),
        ({"data": [{1, 2}]}, "JSON"),
    ],
)
def test_bad_payloads_are_refused(payload: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        BatchPayload.model_validate(payload)
