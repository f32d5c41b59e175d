"""Which version of the handlers is in force: numbers, trials, announcements, restarts. No Ray."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

import pytest

from raytasks.api.announcement import Announcement
from raytasks.model.controls import Pool
from raytasks.model.handler_info import HandlerInfo, HandlerKind
from raytasks.model.schedule_specs import DeclaredSchedule, ScheduleKey, ScheduleSpec
from raytasks.model.tasks import DEFAULT_NAMESPACE, StoreUnavailable
from raytasks.pools import versions as versions_module
from raytasks.pools.handlers_version import HandlersVersion, differing_settings, new_token
from raytasks.pools.versions import Announced, VersionRefused, Versions
from raytasks.settings import Settings
from raytasks.store.store import Store
from raytasks.store.version_rows import VersionState
from raytasks.tracker.version_book import VersionBook
from tests.tracking import FaultyStore, let_run, tracker_on

SETTINGS = Settings(_env_file=None, task_modules=("shop",))


def build(*task_types: str, token: str = "", **settings: object) -> HandlersVersion:
    infos = tuple(HandlerInfo(name, HandlerKind.FUNCTION, (0, 0)) for name in task_types or ("a",))
    changed = SETTINGS.model_copy(update=settings)
    return HandlersVersion(token or new_token(), "f", infos, changed)


@dataclass
class Cluster:
    """A fake cluster: the kept builds, which outlive a tracker, and how its trials end."""

    kept: dict[str, HandlersVersion] = field(default_factory=dict)
    wrong: dict[str, str] = field(default_factory=dict)
    gates: dict[str, asyncio.Event] = field(default_factory=dict)
    tried: list[str] = field(default_factory=list)
    begun: asyncio.Event = field(default_factory=asyncio.Event)
    in_force: list[str] = field(default_factory=list)
    away: bool = False

    async def load(self) -> list[HandlersVersion]:
        if self.away:
            raise OSError("the control store is away")
        return list(self.kept.values())

    async def keep(self, version: HandlersVersion) -> None:
        self.kept[version.token] = version

    async def keep_only(self, token: str) -> None:
        self.kept = {token: self.kept[token]}

    async def trial(self, version: HandlersVersion) -> str | None:
        self.tried.append(version.token)
        self.begun.set()
        if version.token in self.gates:
            await self.gates[version.token].wait()
        return self.wrong.get(version.token)

    def put_in_force(self, version: HandlersVersion) -> None:
        self.in_force.append(version.token)


@pytest.fixture
def cluster() -> Cluster:
    """A cluster in which every build passes."""
    return Cluster()


@asynccontextmanager
async def versions_on(store: Store, cluster: Cluster) -> AsyncIterator[Versions]:
    """The versions as one life of the tracker knows them."""
    async with tracker_on(store) as tracker:
        book = VersionBook(tracker.ticker)
        found = Versions(book, cluster, cluster.trial, cluster.put_in_force)
        await found.restore()
        yield found


async def test_the_newest_that_has_passed_is_in_force(store: Store, cluster: Cluster) -> None:
    cluster.wrong["bad"] = "handler module 'shop' needs 'torch', not installed"
    async with versions_on(store, cluster) as versions:
        first = await versions.deploy(build(token="first"))
        refused = await versions.deploy(build(token="bad"))
        assert (first.number, first.state) == (1, VersionState.PASSED)
        assert (refused.number, refused.state) == (2, VersionState.FAILED)
        assert refused.detail == cluster.wrong["bad"]
        assert versions.row == first
        assert cluster.in_force == ["first"]
        document, reasons = versions.report({})
        assert (document["version"], document["failed"]["version"]) == (1, 2)
        assert [(item["code"], refused.detail in item["message"]) for item in reasons] == [
            ("version_failed", True)
        ]
        await versions.deploy(build(token="good"))
        assert cluster.in_force == ["first", "good"]
        assert versions.report({})[1] == []
        assert list(cluster.kept) == ["good"]


async def test_an_old_replica_does_not_undo_a_deployment(store: Store, cluster: Cluster) -> None:
    old, new = build(token="old"), build(token="new")
    async with versions_on(store, cluster) as versions:
        await versions.deploy(old)
        await versions.deploy(new)
        assert await versions.announce(old) == Announced()
        assert cluster.in_force == ["old", "new"]
    async with versions_on(store, cluster) as versions:  # the tracker has died
        assert cluster.in_force == ["old", "new", "new"]
        await versions.announce(old)
        assert cluster.in_force[-1] == "new"
    assert cluster.tried == ["old", "new"]


async def test_a_refused_build_stays_refused(store: Store, cluster: Cluster) -> None:
    cluster.wrong["bad"] = "wrong"
    async with versions_on(store, cluster) as versions:
        assert await versions.announce(build(token="bad")) == Announced(error="wrong")
    async with versions_on(store, cluster) as versions:
        assert await versions.announce(build(token="bad")) == Announced(error="wrong")
        assert versions.report({})[0]["failed"]["error"] == "wrong"
    assert cluster.tried == ["bad"]
    assert cluster.in_force == []


async def test_a_replica_brings_a_build_that_nobody_knows(store: Store, cluster: Cluster) -> None:
    async with versions_on(store, cluster) as versions:
        assert await versions.announce(build(token="served")) == Announced()
        assert cluster.in_force == ["served"]


async def test_a_slow_trial_holds_up_nobody(
    store: Store, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(versions_module, "_ANNOUNCED_SECONDS", 0.0)
    cluster.gates["slow"] = asyncio.Event()
    slow = build(token="slow")
    async with versions_on(store, cluster) as versions:
        first = asyncio.ensure_future(versions.deploy(slow))
        await cluster.begun.wait()
        assert await versions.announce(slow) == Announced(on_trial=True)
        later = await versions.deploy(build(token="later"))
        cluster.gates["slow"].set()
        row = await first
        assert row.state is VersionState.PASSED
        assert versions.row == later  # it came after
    assert cluster.in_force == ["later"]
    assert cluster.tried == ["slow", "later"]


async def test_a_trial_that_was_cut_off_is_made_again(store: Store, cluster: Cluster) -> None:
    cluster.gates["t"] = asyncio.Event()
    async with versions_on(store, cluster) as versions:
        call = asyncio.ensure_future(versions.deploy(build(token="t")))
        await cluster.begun.wait()
        call.cancel()
    cluster.gates.clear()
    async with versions_on(store, cluster) as versions:  # Ray sends the open call again
        row = await versions.deploy(build(token="t"))
        assert (row.number, row.state) == (1, VersionState.PASSED)
    assert cluster.in_force == ["t"]


async def test_a_build_that_nobody_has_kept_is_taken_from_who_has_it(
    store: Store, cluster: Cluster
) -> None:
    async with versions_on(store, cluster) as versions:
        await versions.deploy(build(token="t"))
    cluster.kept.clear()  # another cluster, on the same database
    async with versions_on(store, cluster) as versions:
        assert versions.row is None
        await versions.announce(build(token="t"))
        assert versions.row is not None
    assert cluster.tried == ["t"]  # type: ignore[unreachable]


async def test_nothing_is_decided_before_it_is_known_what_is_in_force(
    store: Store, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(versions_module, "_LOADED_SECONDS", 0.0)
    monkeypatch.setattr(versions_module, "_RESTORE_SECONDS", 0.0)
    async with tracker_on(store) as tracker:
        versions = Versions(
            VersionBook(tracker.ticker), cluster, cluster.trial, cluster.put_in_force
        )
        cluster.away = True
        restoring = asyncio.ensure_future(versions.restore())
        await let_run()
        with pytest.raises(StoreUnavailable, match="which version is in force"):
            await versions.announce(build())
        cluster.away = False
        await restoring
        await versions.deploy(build(token="t"))
    assert cluster.in_force == ["t"]


async def test_the_database_is_away(store: Store, cluster: Cluster) -> None:
    faulty = FaultyStore(str(store._database.url.render_as_string(hide_password=False)))
    async with versions_on(faulty, cluster) as versions:
        original = faulty.number_version

        def fail(*arguments: object) -> object:
            raise StoreUnavailable("the server is away")

        faulty.number_version = fail  # type: ignore[method-assign, assignment]
        with pytest.raises(StoreUnavailable):
            await versions.deploy(build(token="t"))
        faulty.number_version = original  # type: ignore[method-assign]
        assert (await versions.deploy(build(token="t"))).state is VersionState.PASSED


async def test_what_waits_without_a_handler_is_told(store: Store, cluster: Cluster) -> None:
    async with versions_on(store, cluster) as versions:
        waiting = {"a": 2, "gone": 3}
        assert versions.without_handler(waiting) == {}
        await versions.deploy(build("a", "b"))
        assert versions.without_handler(waiting) == {"gone": 3}
        document, reasons = versions.report(waiting)
        assert document["without_handler"] == {"gone": 3}
        [reason] = reasons
        assert (reason["code"], reason["count"]) == ("no_handler", 3)
        assert "3 tasks of the type gone wait" in reason["message"]


async def test_what_a_deployment_takes_away_is_told(store: Store, cluster: Cluster) -> None:
    spec = ScheduleSpec("a", "null", 3, every_seconds=60)
    schedules = tuple(
        DeclaredSchedule(ScheduleKey(space, "nightly"), spec)
        for space in (DEFAULT_NAMESPACE, "shop")
    )
    first = build("a", "b", "c")
    infos = (replace(first.handlers[0], schedules=schedules), *first.handlers[1:])
    first = replace(first, handlers=infos)
    async with versions_on(store, cluster) as versions:
        answer = versions.answer(await versions.deploy(first), {"b": 2})
        assert (answer.gone_types, answer.gone_schedules) == ((), ())
        later = build("a", "d")
        for _ in range(2):  # Ray may deliver a call twice
            answer = versions.answer(await versions.deploy(later), {"b": 2})
            assert answer.gone_types == ("b", "c")
            assert answer.gone_schedules == ("nightly", "shop/nightly")
            assert answer.without_handler == {"b": 2}
        refused = build("d", token="refused")
        cluster.wrong["refused"] = "broken"
        answer = versions.answer(await versions.deploy(refused), {})
        assert (answer.error, answer.gone_types) == ("broken", ())


class TestBuilds:
    """Generation and runtime environments of a build."""

    def test_other_code_settings_or_environment_need_other_runners(self) -> None:
        one = build()
        assert one.generation == build().generation
        assert one.generation != build(artifacts_url="/elsewhere").generation
        assert one.generation == build(max_backlog=1).generation
        other = HandlersVersion("t", "f", one.handlers, SETTINGS, {"KEY": "value"})
        assert one.generation != other.generation
        assert one.generation != HandlersVersion("t", "f2", one.handlers, SETTINGS).generation

    def test_each_runtime_environment_is_tried_once(self) -> None:
        infos = tuple(
            HandlerInfo(name, HandlerKind.REMOTE, (0, 0), runtime_env=env)
            for name, env in [
                ("a", {}),
                ("b", {"pip": ["x"], "env_vars": {"A": "own"}}),
                ("c", {"pip": ["x"], "env_vars": {"A": "own"}}),
            ]
        )
        made = HandlersVersion("token", "f", infos, SETTINGS, {"A": "ours", "B": "1"})
        plain, own = made.runtime_envs()
        mark = {"RAYTASKS_GENERATION": f"{made.generation}/token"}
        assert plain == {"env_vars": {"A": "ours", "B": "1", **mark}}
        assert own == {"pip": ["x"], "env_vars": {"A": "own", "B": "1", **mark}}

    def test_settings_that_a_deployment_does_not_change(self) -> None:
        later = SETTINGS.model_copy(update={"lease_seconds": 99.0, "max_backlog": 7})
        assert differing_settings(SETTINGS, later) == ["LEASE_SECONDS"]


class TestAnnouncement:
    """A replica of the API, when it starts."""

    @staticmethod
    def answers(*answers: Announced | Exception) -> tuple[Callable[[], object], list[int]]:
        calls: list[int] = []

        async def announce() -> Announced:
            answer = answers[min(len(calls), len(answers) - 1)]
            calls.append(1)
            if isinstance(answer, Exception):
                raise answer
            return answer

        return announce, calls

    async def test_it_waits_for_the_trial(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("raytasks.api.announcement._LOOK_SECONDS", 0.0)
        announce, calls = self.answers(
            Announced(on_trial=True), Announced(on_trial=True), Announced()
        )
        await Announcement(announce).first()  # type: ignore[arg-type]
        assert len(calls) == 3

    async def test_a_refused_one_does_not_start(self) -> None:
        announce, _ = self.answers(Announced(error="handler module 'shop' not found"))
        with pytest.raises(VersionRefused, match="'shop' not found"):
            await Announcement(announce).first()  # type: ignore[arg-type]

    async def test_it_starts_without_tracker_or_database(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        announce, _ = self.answers(StoreUnavailable("away"))
        await Announcement(announce).first()  # type: ignore[arg-type]
        monkeypatch.setattr("raytasks.api.announcement.FIRST_SECONDS", 0.0)

        async def silent() -> Announced:
            await asyncio.Event().wait()
            raise AssertionError

        await Announcement(silent).first()


async def test_what_each_declares_is_stored(store: Store, cluster: Cluster) -> None:
    async with versions_on(store, cluster) as versions:
        await versions.deploy(build("a", "b", token="t1"))
        await versions.deploy(build("a", token="t2", offload_bytes=5000))
    declared = store.version_declarations(10)
    assert {number: set(types) for number, types in declared.items()} == {
        1: {"a", "b", "raytasks.callback"},
        2: {"a", "raytasks.callback"},
    }
    assert declared[1]["a"] == declared[2]["a"]


def test_a_declaration_is_another_one_if_what_is_declared_differs() -> None:
    def digest(**changes: object) -> str:
        info = HandlerInfo("a", HandlerKind.FUNCTION, (0, 0), description={"weight": 1})
        version = HandlersVersion("t", "f", (replace(info, **changes),), SETTINGS)  # type: ignore[arg-type]
        return version.declarations["a"]

    spec = ScheduleSpec("a", "{}", 3, every_seconds=60.0)
    others = [
        digest(description={"weight": 2}),
        digest(own_pool=Pool("p", runners=(1, 2))),
        digest(own_pool=Pool("p", runners=(1, 3))),
        digest(schedules=(DeclaredSchedule(ScheduleKey("default", "s"), spec),)),
    ]
    assert len({digest(), *others}) == 5
    assert digest(runtime_env={"env_vars": {"TOKEN": "secret"}}) == digest()
