"""`raytasks limits`, `pools`, `namespaces`, `pause`, `resume`: what people set at run time."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from raytasks.cli import tables
from tests.local_service import LocalService, served

Run = Callable[..., Any]


@pytest.fixture(scope="module")
def steered_url(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a service whose handlers have limits."""
    folder = tmp_path_factory.mktemp("steered")
    file = shutil.copy(sqlite_template, folder / "tasks.db")
    modules = ("tests.scripted", "tests.flow_handlers", "tests.pool_handlers")
    with served(LocalService(f"sqlite:///{file}", folder, task_modules=modules)) as url:
        yield url


@pytest.fixture
def at(run: Run, steered_url: str, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a command against the service; it must succeed."""
    monkeypatch.setenv("RAYTASKS_URL", steered_url)
    monkeypatch.setattr(tables, "console", Console(width=200, highlight=False))
    return run


def lines(run: Run, *arguments: str) -> list[str]:
    """Run a command that must succeed, and return its words line by line."""
    done = run(*arguments)
    assert done.code == 0, done.err
    return [" ".join(line.split()) for line in done.out.splitlines()]


def document(run: Run, *arguments: str) -> Any:
    """Run a command that must succeed, and return its JSON."""
    done = run(*arguments, "--json")
    assert done.code == 0, done.err
    return json.loads(done.out)


class TestLimits:
    def test_they_are_shown(self, at: Run) -> None:
        head, customer, order, smtp = lines(at, "limits")
        assert head == "LIMIT BOUNDS DECLARED SET BY RUNNING WAITING TYPES"
        assert customer == "customer 2 running for each value 2 running 0 0 mail"
        assert order.startswith("order 1 running for each value")
        bounds = "20 running, 500 in 1 min (8 at once)"
        assert smtp == f"smtp {bounds} {bounds} 0 0 letter, mail"
        assert [limit["name"] for limit in document(at, "limits")["limits"]] == [
            "customer", "order", "smtp",
        ]  # fmt: skip

    def test_bounds_that_are_not_given_stay(self, at: Run) -> None:
        set_to = document(at, "limits", "set", "smtp", "--running", "5")["in_force"]
        assert set_to == {"running": 5, "rate": 500.0, "per_seconds": 60.0, "burst": 8}
        set_to = document(at, "limits", "set", "smtp", "--rate", "100/h")["in_force"]
        assert set_to == {"running": 5, "rate": 100.0, "per_seconds": 3600.0, "burst": 1}
        set_to = document(at, "limits", "set", "smtp", "--burst", "7")["in_force"]
        assert set_to == {"running": 5, "rate": 100.0, "per_seconds": 3600.0, "burst": 7}
        set_to = document(at, "limits", "set", "smtp", "--running", "none")["in_force"]
        assert (set_to["running"], set_to["rate"]) == (None, 100.0)
        assert "100 in 1 h (7 at once)" in lines(at, "limits")[3]
        set_to = document(at, "limits", "set", "smtp", "--running=9", "--rate=none")["in_force"]
        assert set_to == {"running": 9, "rate": None, "per_seconds": None, "burst": None}
        assert document(at, "limits", "clear", "smtp")["override"] is None

    @pytest.mark.parametrize(
        ("arguments", "code", "words"),
        [
            (("smtp",), 2, "give --running, --rate or --burst"),
            (("smtp", "--running", "many"), 2, "--running: 'many' is no whole number"),
            (("smtp", "--running", "-1"), 2, "--running: '-1' is no whole number"),
            (("smtp", "--rate", "fast"), 2, "--rate: 'fast' is no rate; write how many"),
            (("smtp", "--rate", "5/"), 2, "--rate: '5/' is no rate"),
            (("smtp", "--rate", "5/fortnight"), 2, "--rate: 'fortnight' is no duration"),
            (("smtp", "--rate", "5/0s"), 2, "--rate: '0s' is no duration"),
            (("smtp", "--rate", "0"), 3, "/rate"),
            (("smtp", "--running", "0"), 3, "/running"),
            (("customer", "--burst", "3"), 3, "give rate as well"),
            (("smpt", "--running", "3"), 3, "there are: customer, order, smtp"),
            (("order", "--running", "2"), 3, "set running to 1"),
        ],
    )
    def test_what_cannot_be_is_refused(
        self, at: Run, arguments: tuple[str, ...], code: int, words: str
    ) -> None:
        done = at("limits", "set", *arguments)
        assert done.code == code, done.out
        assert words in done.err
        assert all(limit["override"] is None for limit in document(at, "limits")["limits"])


class TestPools:
    def test_sizes_are_set_and_cleared(self, at: Run) -> None:
        found = document(at, "pools", "set", "burst", "1", "9")
        assert (found["declared"], found["override"]["runners"]) == ({"runners": [0, 4]}, [1, 9])
        head, *rows = lines(at, "pools")
        assert head == "POOL RUNNERS MIN-MAX DECLARED SET BY STATES BACKLOG OLDEST DUE TYPES"
        types = "pooled_class, pooled_sleep, pooled_wait"
        assert f"burst 0 0-4 local none 0 {types}" in rows
        assert lines(at, "pools", "clear", "burst")[1] == f"burst 0 0-4 none 0 {types}"
        assert document(at, "pools", "clear", "burst")["override"] is None

    @pytest.mark.parametrize(
        ("arguments", "code", "words"),
        [
            (("burst", "1"), 2, "Missing argument"),
            (("burst", "few", "2"), 2, "should be a valid integer"),
            (("burst", "2", "1"), 3, "/runners"),
            (("burst", "0", "0"), 3, "/runners"),
            (("brust", "0", "1"), 3, "there are: burst"),
            (("remote", "0", "1"), 3, "has no sizes"),
        ],
    )
    def test_what_cannot_be_is_refused(
        self, at: Run, arguments: tuple[str, ...], code: int, words: str
    ) -> None:
        done = at("pools", "set", *arguments)
        assert done.code == code, done.out
        assert words in done.err
        assert all(pool["override"] is None for pool in document(at, "pools")["pools"])


class TestNamespaces:
    def test_a_value_that_is_not_given_stays(self, at: Run) -> None:
        found = document(at, "namespaces", "set", "shop", "--weight", "2.5")
        assert (found["weight"], found["max_backlog"]) == (2.5, None)
        found = document(at, "namespaces", "set", "shop", "--max-backlog", "1000")
        assert (found["weight"], found["max_backlog"]) == (2.5, 1000)
        head, *rows = lines(at, "namespaces")
        assert head == "NAMESPACE WEIGHT MAX BACKLOG TASKS BY STATE"
        assert "shop 2.5 1,000 0" in rows
        found = document(at, "namespaces", "set", "shop", "--max-backlog", "none")
        assert (found["weight"], found["max_backlog"]) == (2.5, None)
        assert lines(at, "namespaces", "clear", "shop")[1] == "shop 1 0"
        assert at("namespaces", "clear", "shop").code == 3

    @pytest.mark.parametrize(
        ("arguments", "code", "words"),
        [
            (("shop",), 2, "give --weight or --max-backlog"),
            (("shop", "--max-backlog", "few"), 2, "--max-backlog: 'few' is no whole number"),
            (("Shop", "--weight", "2"), 2, "'Shop' is not the name of a namespace"),
            (("shop", "--weight", "0"), 3, "/weight"),
        ],
    )
    def test_what_cannot_be_is_refused(
        self, at: Run, arguments: tuple[str, ...], code: int, words: str
    ) -> None:
        done = at("namespaces", "set", *arguments)
        assert done.code == code, done.out
        assert words in done.err


class TestPauses:
    def test_a_pause_and_its_end(self, at: Run) -> None:
        assert lines(at, "pause", "--type", "mail") == [
            "the type mail is paused until it is resumed, by local; 0 wait"
        ]
        first, second = lines(at, "pause", "--type=mail", "--namespace=shop", "--for=10m")
        assert first.startswith("the type mail is paused until it is resumed")
        assert second.startswith("the type mail in the namespace shop is paused until 2")
        assert lines(at, "resume", "--type", "letter") == [
            "there was no such pause", first, second,
        ]  # fmt: skip
        assert lines(at, "resume", "--type", "mail") == [second]
        assert lines(at, "resume", "--type", "mail", "--namespace", "shop") == [
            "tasks are handed out again"
        ]
        [pause] = document(at, "pause")["pauses"]
        assert (pause["task_type"], pause["namespace"]) == (None, None)
        assert document(at, "resume") == {"ended": True, "pauses": []}

    def test_the_namespace_of_the_environment_counts(
        self, at: Run, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("RAYTASKS_NAMESPACE", "shop")
        assert lines(at, "pause")[0].startswith("the namespace shop is paused")
        assert lines(at, "resume", "--namespace", "other")[0] == "there was no such pause"
        assert lines(at, "resume") == ["tasks are handed out again"]

    @pytest.mark.parametrize(
        ("arguments", "code", "words"),
        [
            (("--type", "mial"), 3, "did you mean 'mail'?"),
            (("--namespace", "Shop"), 2, "--namespace: 'Shop' is not the name of a namespace"),
            (("--for", "soon"), 2, "--for: 'soon' is no duration; write it as 90s, 10m, 2h or 1d"),
            (("--for", "0"), 2, "--for: '0' is no duration"),
            (("--for", "-5m"), 2, "--for: '-5m' is no duration"),
            (("--for", "9999d"), 3, "/seconds"),
        ],
    )
    def test_what_cannot_be_is_refused(
        self, at: Run, arguments: tuple[str, ...], code: int, words: str
    ) -> None:
        done = at("pause", *arguments)
        assert done.code == code, done.out
        assert words in done.err


class TestLimitValues:
    def test_a_value_given_replaces_that_in_the_payload(self, at: Run) -> None:
        payload = '{"account": "a"}'
        for text, value in (
            ("b", "b"),
            ("17", 17),
            ("a=b", "a=b"),
            ("true", True),
            ("null", None),
            ("", ""),
            ('"17"', "17"),
            ('"null"', "null"),
        ):
            given = f"customer={text}"
            task_id = at("submit", "mail", payload, "--limit-value", given).out.strip()
            assert document(at, "get", task_id)["limit_values"] == {"customer": value}
        task_id = at("submit", "mail", payload).out.strip()
        assert document(at, "get", task_id)["limit_values"] == {"customer": "a"}

    def test_what_cannot_be_is_refused(self, at: Run) -> None:
        done = at("submit", "mail", "{}", "--limit-value", "customer")
        assert (done.code, "'customer' is not NAME=VALUE" in done.err) == (2, True)
        done = at("submit", "mail", "{}", "--limit-value", "smtp=5")
        assert (done.code, "it has: customer" in done.err) == (3, True)


class TestOptionsBeforeASubCommand:
    @pytest.fixture(autouse=True)
    def _elsewhere(self, at: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("RAYTASKS_URL", "http://127.0.0.1:1")

    def test_they_count_for_it(self, run: Run, steered_url: str) -> None:
        at_url = ("--url", steered_url)
        for words in (
            ("limits", *at_url, "set", "smtp", "--running", "5"),
            ("pools", *at_url, "clear", "burst"),
            ("namespaces", *at_url, "set", "shop", "--weight", "2"),
            ("schedules", *at_url, "list"),
            ("limits", "--url", "http://127.0.0.1:2", "clear", "smtp", *at_url),
        ):
            done = run(*words)
            assert done.code == 0, (words, done.err)
        done = run("limits", *at_url, "--json", "set", "smtp", "--running", "5")
        assert json.loads(done.out)["in_force"]["running"] == 5
        assert run("limits", *at_url, "clear", "smtp").code == 0
        assert run("namespaces", *at_url, "clear", "shop").code == 0

    def test_one_that_it_does_not_have_is_refused(self, run: Run, steered_url: str) -> None:
        done = run("pools", "--url", steered_url, "--namespace", "shop", "set", "burst", "1", "2")
        assert done.code == 2
        assert "--namespace: " in done.err
        assert "pools set does not take it" in done.err
