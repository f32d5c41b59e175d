"""The verdict on the coverage: what is too little, what the README says, what is left out."""

from typing import Any

from tests.covered import (
    CORE,
    MAX_EXCLUSIONS,
    Share,
    core_of,
    faults_of_core,
    faults_of_exclusions,
    packages,
    table,
)

README = "The tests cover 97 % of the core."


def core(ran: int) -> dict[str, Share]:
    return {package: Share(100, ran) for package in CORE}


def file(there: int, ran: int) -> dict[str, Any]:
    """Return a file of coverage's report: half are lines, half are branches."""
    counts = {"num_statements": there, "num_branches": there}
    return {"summary": {**counts, "covered_lines": ran, "covered_branches": ran}}


def test_files_are_added_up_by_package() -> None:
    found = packages(
        {
            "raytasks/settings.py": file(5, 5),
            "raytasks/store/store.py": file(10, 9),
            "raytasks/store/migrations/versions/one.py": file(10, 10),
            "raytasks/tracker/core.py": file(10, 10),
            "raytasks/tracker/on_ray/actor.py": file(10, 0),
        }
    )
    assert found == {
        "(top)": Share(10, 10),
        "store": Share(40, 38),
        "tracker": Share(20, 20),
        "tracker/on_ray": Share(20, 0),
    }
    assert core_of(found) == Share(60, 58)
    lines = table(found)
    assert lines[2].split() == ["store", "40", "2", "95.0", "%"]
    assert lines[-1].split() == ["all", "90", "22", "75.6", "%"]


def test_enough_is_enough() -> None:
    assert faults_of_core(core(97), README) == []
    assert faults_of_core(core(96), README) == []


def test_too_little_fails() -> None:
    [fault] = faults_of_core(core(94), README.replace("97", "94"))
    assert "94.0 %" in fault


def test_nothing_measured_is_no_good_figure() -> None:
    [fault] = faults_of_core({}, README)
    assert "nothing was measured" in fault


def test_the_figure_of_the_readme_is_there_and_true() -> None:
    [fault] = faults_of_core(core(99), README)
    assert "says 97 %" in fault
    [fault] = faults_of_core(core(97), "The tests cover the core.")
    assert "README.md has no figure" in fault


def test_what_is_left_out_has_a_reason_and_is_seldom() -> None:
    good = "x = 1  # pragma: no cover - another system\n"
    bad = "y = 1\nx = 1  # pragma: no cover\n"
    assert faults_of_exclusions([("a.py", good * (MAX_EXCLUSIONS - 1))]) == []
    assert faults_of_exclusions([("a.py", good), ("b.py", bad)]) == [
        "b.py:2: `no cover` needs a reason after it"
    ]
    [fault] = faults_of_exclusions([("a.py", good * MAX_EXCLUSIONS)])
    assert "fewer than" in fault
