"""The report of the benchmarks: what is computed from the numbers, and how it is told."""

import json
from pathlib import Path

import pytest

from benchmarks import report
from benchmarks.measures import Summary, curve, percentile, summaries
from benchmarks.peers.best import best_of
from benchmarks.pictures import growth_points
from benchmarks.plan import GROUPS
from benchmarks.sizes import FULL
from benchmarks.targets import TARGETS, Target, judge

RATIO = Target("fast", "ours", 2.0, True, "×", over="theirs")


@pytest.mark.parametrize(("share", "expected"), [(0.0, 1.0), (0.5, 2.5), (0.9, 3.7), (1.0, 4.0)])
def test_percentile_lies_between_the_nearest_values(share: float, expected: float) -> None:
    assert percentile([4.0, 1.0, 3.0, 2.0], share) == pytest.approx(expected)


def test_percentile_of_nothing_is_an_error() -> None:
    with pytest.raises(ValueError, match="no values"):
        percentile([], 0.5)


def test_curve_is_in_milliseconds_and_never_falls() -> None:
    points = curve([0.004, 0.001, 0.002, 0.003])
    assert [share for share, _ in points] == sorted(share for share, _ in points)
    assert [ms for _, ms in points] == sorted(ms for _, ms in points)
    assert 1.0 <= points[0][1] <= points[-1][1] <= 4.0


def test_summaries_are_of_the_rounds_that_have_the_number() -> None:
    found = summaries([{"a": 1.0}, {"a": 3.0, "b": 5.0}, {"a": 2.0}])
    assert found == {"a": Summary(2.0, 1.0, 3.0, 3), "b": Summary(5.0, 5.0, 5.0, 1)}
    assert found["a"].spread == pytest.approx(1.0)
    assert Summary(0.0, 0.0, 0.0, 1).spread == 0.0


def test_a_ratio_is_taken_within_each_round() -> None:
    rounds = [
        {"ours": 30.0, "theirs": 10.0},  # 3
        {"ours": 10.0, "theirs": 10.0},  # 1
        {"ours": 100.0, "theirs": 40.0},  # 2.5; by the medians of each it would be 3
    ]
    [judgement] = judge([RATIO], rounds)
    assert judgement.seen == Summary(2.5, 1.0, 3.0, 3)
    assert judgement.verdict == "met"


@pytest.mark.parametrize(
    ("target", "verdict"),
    [
        (RATIO, "missed"),
        (Target("quick", "ours", 15.0, False), "met"),
        (Target("quick", "ours", 14.9, False), "missed"),
        (Target("near", "ours", 5.0, False, beyond="theirs"), "met"),
        (Target("near", "ours", 4.9, False, beyond="theirs"), "missed"),
        (Target("unknown", "other", 1.0, True), "not measured"),
        (Target("unknown", "ours", 1.0, True, over="other"), "not measured"),
        (Target("of nothing", "ours", 1.0, True, over="zero"), "not measured"),
    ],
)
def test_verdict(target: Target, verdict: str) -> None:
    [judgement] = judge([target], [{"ours": 15.0, "theirs": 10.0, "zero": 0.0}])
    assert judgement.verdict == verdict


@pytest.mark.parametrize(
    ("value", "text"), [(1234567.8, "1,234,568"), (99.94, "99.9"), (6.0, "6.00"), (-0.5, "-0.50")]
)
def test_numbers_as_a_person_reads_them(value: float, text: str) -> None:
    assert report.number(value) == text


def test_the_table_of_targets() -> None:
    unknown = Target("slow", "other", 50.0, False, "ms")
    lines = report.target_table(judge([RATIO, unknown], [{"ours": 5.0, "theirs": 2.0}]))
    assert lines[2:] == [
        "| fast | ≥ 2.00 × | 2.50 (2.50 to 2.50) | met |",
        "| slow | ≤ 50.0 ms | – | not measured |",
    ]


def test_the_table_of_numbers() -> None:
    lines = report.number_table(summaries([{"a.b": 1.0}, {"a.b": 2.0}]))
    assert lines[2:] == ["| `a.b` | 1.50 | 1.00 | 2.00 | 67% |"]


def test_the_report_is_written_as_text_and_as_data(tmp_path: Path) -> None:
    rounds = [{"ours": 5.0, "theirs": 2.0}]
    judgements = judge([RATIO], rounds)
    text = report.document("A run", {"processors": 2}, judgements, rounds, quick=True)
    data = report.record({"processors": 2}, judgements, rounds, {"ours": [(0.5, 1.0)]})
    report.write(tmp_path / "results", "bench", text, data)
    written = (tmp_path / "results" / "bench.md").read_text()
    assert written.startswith("# A run\n")
    assert "mean nothing" in written
    assert "| fast |" in written
    read = json.loads((tmp_path / "results" / "bench.json").read_text())
    assert read["targets"][0]["seen"] == 2.5
    assert read["rounds"] == rounds
    assert read["curves"] == {"ours": [[0.5, 1.0]]}


def test_growth_is_in_the_order_of_the_sizes() -> None:
    rounds = [{"growth.10000.per_second": 2.0, "growth.1000.per_second": 1.0, "growth.x": 3.0}]
    points = growth_points(summaries(rounds), "per_second")
    assert [(size, summary.median) for size, summary in points] == [(1000, 1.0), (10000, 2.0)]


def test_the_best_peer_is_the_best_of_each_number() -> None:
    numbers = {
        "a.drain.per_second": 10.0,
        "b.drain.per_second": 20.0,
        "a.single.p50_ms": 3.0,
        "b.single.p50_ms": 4.0,
        "raytasks.drain.per_second": 99.0,
    }
    assert best_of(numbers, ["a", "b"]) == {
        "best_peer.drain.per_second": 20.0,
        "best_peer.single.p50_ms": 3.0,
    }


def test_what_targets_are_judged_by_is_measured() -> None:
    groups = {group.name for group in GROUPS}
    for target in TARGETS:
        for name in filter(None, (target.name, target.over, target.beyond)):
            group, scenario, *_ = name.split(".")
            assert group in groups, name
            if group == "growth":
                assert int(scenario) in FULL.growth
            if scenario in ("submission", "noop"):
                assert int(name.split(".")[2]) in FULL.connections
