"""`raytasks demo --break`: what it counts, on a real API. A test of `tests/cluster` kills."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from starlette.types import ASGIApp, Receive, Scope, Send

from raytasks.cli import demo, demo_break, demo_kills
from raytasks.cli.demo_break import (
    MODULES,
    Account,
    LiveCount,
    Plan,
    break_service,
    read_metrics,
    result_of,
)
from raytasks.cli.demo_kills import Kill
from raytasks.client import Client, Invalid
from tests.local_service import LocalService, served

KILLS = tuple(Kill(what, (1,), 1.25, "it was back") for what in ("a", "b", "c"))


class LosesAnswers:
    """The API behind a proxy that loses every seventh answer to a submission."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self.lost = self._submissions = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        submission = scope["type"] == "http" and scope["method"] == "POST"
        self._submissions += submission
        if not submission or self._submissions % 7:
            await self._app(scope, receive, send)
            return
        self.lost += 1

        async def forget(_: Any) -> None: ...

        await self._app(scope, receive, forget)
        headers = [(b"content-type", b"text/plain"), (b"content-length", b"0")]
        await send({"type": "http.response.start", "status": 502, "headers": headers})
        await send({"type": "http.response.body"})


@pytest.fixture
def proxy(sqlite_url: str, tmp_path: Path) -> Iterator[tuple[str, LosesAnswers]]:
    """The URL of a service that takes orders, and the proxy before it."""
    service = LocalService(sqlite_url, tmp_path, task_modules=MODULES)
    app = service.app = LosesAnswers(service.app)
    with served(service) as url:
        yield url, app


def test_each_task_is_there_once_though_answers_are_lost(
    proxy: tuple[str, LosesAnswers], monkeypatch: pytest.MonkeyPatch
) -> None:
    url, app = proxy
    kills = iter(KILLS)

    async def kill(_: Any) -> Kill:
        return next(kills)

    for name in ("runner", "tracker", "api"):
        monkeypatch.setattr(demo_kills.Killer, name, kill)
    account = break_service(url, 0, Plan(tasks=40, per_second=200.0, kills_at=(5, 10, 20)))
    assert app.lost > 5
    assert account.good
    assert account.kills == KILLS
    assert (account.accepted, account.completed) == (40, 40)
    assert (account.twice, account.lost, account.surplus) == ((), 0, 0)
    assert account.lines[-1].startswith("accepted 40, completed 40, run twice 0, lost 0 (in ")
    with Client(url) as client:
        metrics = client.metrics()
    count = LiveCount()
    read_metrics(metrics, count)
    assert (count.completed, count.run_again, count.failed) == (40, 0, 0)


def test_a_refusal_ends_it(
    proxy: tuple[str, LosesAnswers], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo_break, "TASK_TYPE", "another")
    with pytest.raises(Invalid, match="another"):
        break_service(proxy[0], 0, Plan(tasks=40))


def test_it_ends_if_nothing_advances(
    proxy: tuple[str, LosesAnswers], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo_break, "_STILL_SECONDS", 0.3)
    account = break_service(proxy[0], 0, Plan(tasks=2, per_second=0.001))
    assert (account.accepted, account.missing, account.kills) == (0, 2, ())
    assert not account.good


def test_its_metrics_are_read_by_type_and_end() -> None:
    lines = [
        f'raytasks_tasks_finished_total{{namespace="default",task_type="{kind}",state="{state}"}} 3'
        for kind in ("order", "other")
        for state in ("COMPLETED", "FAILED", "CANCELLED")
    ]
    lines += [
        f'raytasks_attempts_total{{namespace="default",task_type="order",outcome="{outcome}"}} 2'
        for outcome in ("lost", "released", "succeeded")
    ]
    count = LiveCount({"id": 1})
    read_metrics("\n".join(lines) + "\n", count)
    assert count.numbers == {"accepted": 1, "completed": 3, "run twice": 2, "lost": 6}


class FromTheApi:
    """A client on tasks that the test has made."""

    def __init__(self, *tasks: dict[str, Any]) -> None:
        self._tasks = {task["task_id"]: task for task in tasks}

    async def tasks(self, task_type: str) -> Any:
        assert task_type == "order"
        for task in self._tasks.values():
            yield task

    async def get(self, task_id: str) -> Any:
        return self._tasks[task_id]


def ended(number: int, *outcomes: str, state: str = "COMPLETED", invoice: int = 0) -> Any:
    attempts = [{"outcome": outcome} for outcome in outcomes]
    return {
        "task_id": str(number), "state": state, "attempt": len(outcomes), "attempts": attempts,
        "result": result_of(invoice or number),
    }  # fmt: skip


async def test_what_is_missing_failed_or_wrong_is_lost() -> None:
    api: Any = FromTheApi(
        ended(1, "succeeded"),
        ended(2, "lost", "succeeded"),
        ended(3, "released", "succeeded"),
        ended(4, "lost", "lost", state="FAILED"),
        ended(5, "succeeded", invoice=6),
        ended(7, "succeeded"),
    )
    accepted = {str(number): number for number in range(1, 7)}
    account = await demo_break.account_of(api, accepted, 0, 1.0, KILLS)
    assert (account.accepted, account.completed, account.lost) == (6, 3, 3)
    assert (account.twice, account.surplus) == (("2", "4"), 1)
    assert not account.good


def account(**changes: Any) -> Account:
    numbers: dict[str, Any] = {
        "accepted": 1000, "missing": 0, "completed": 1000, "twice": ("1", "2"), "lost": 0,
        "surplus": 0, "seconds": 24.2, "kills": KILLS,
    }  # fmt: skip
    return Account(**numbers | changes)


class Kept:
    """A service of the demonstration that notes whether it was kept."""

    url = "http://127.0.0.1:1"
    process = SimpleNamespace(pid=4)
    kept = False

    def keep(self) -> None:
        self.kept = True


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> Callable[[Account], Kept]:
    """Have the command show this account; the service is what it would have broken."""
    kept = Kept()

    @contextmanager
    def service(port: int, modules: tuple[str, ...], **settings: str) -> Iterator[Kept]:
        assert (port, modules, settings) == (0, MODULES, demo_break.SETTINGS)
        yield kept

    def show(found: Account) -> Kept:
        monkeypatch.setattr(demo, "demo_service", service)
        monkeypatch.setattr(demo_break, "break_service", lambda url, pid: found)
        return kept

    return show


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({}, 0),
        ({"completed": 999, "lost": 1}, 1),
        ({"surplus": 1}, 1),
        ({"missing": 1}, 1),
        ({"kills": (Kill("the tracker", (2, 3), None, "it was back"),)}, 1),
        ({"kills": (Kill("the runner", (), None, "it was back"),)}, 1),
    ],
)
def test_its_exit_code_says_whether_the_promise_was_kept(
    run: Any, shown: Callable[[Account], Kept], changes: dict[str, Any], code: int
) -> None:
    found = account(**changes)
    shown(found)
    done = run("demo", "--break")
    assert done.code == code
    lines = done.out.splitlines()
    completed = f"completed {found.completed:,}"
    assert lines[-1] == f"accepted 1,000, {completed}, run twice 2, lost {found.lost} (in 24 s)"
    for kill in found.kills:
        assert f"  {kill.line}" in lines


def test_a_service_that_stays_is_shown_with_links(
    run: Any, shown: Callable[[Account], Kept]
) -> None:
    service = shown(account())
    done = run("demo", "--break", "--keep")
    assert done.code == 0
    assert service.kept
    numbers, _, links = done.out.partition("The service stays at http://127.0.0.1:1 until Ctrl-C")
    assert "run twice 2, lost 0" in numbers
    assert "http://127.0.0.1:1/ui/ " in links
    assert "http://127.0.0.1:1/ui/#/tasks/1 " in links
