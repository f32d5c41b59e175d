"""Runners whose leases end: who is to blame, and when it is decided."""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator

import pytest

from raytasks.model.states import State
from raytasks.runner.on_ray import node_life
from raytasks.testing.clock import FakeClock
from raytasks.tracker.core import Tracker
from tests.making import NOW, new_task
from tests.tracking import LEASE, PATIENCE, FaultyStore, ScriptedRunner, let_run, tracker_on, until


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(NOW)


@pytest.fixture
async def tracker(sqlite_url: str, clock: FakeClock) -> AsyncIterator[Tracker]:
    async with tracker_on(FaultyStore(sqlite_url), clock=clock, max_crashes=3) as tracker:
        yield tracker


def end_lease(tracker: Tracker, clock: FakeClock) -> None:
    clock.advance(LEASE * 1.1)
    tracker.ticker.looked_at = clock()  # it has run all the while
    tracker.ticker.wake.set()


async def silent(tracker: Tracker, clock: FakeClock) -> ScriptedRunner:
    """Return a runner that has claimed a task, and whose lease has ended."""
    runner = ScriptedRunner(tracker)
    await tracker.submit([new_task(1)])
    await runner.claim(node_id="n1")
    end_lease(tracker, clock)
    return runner


@pytest.mark.parametrize(("gone", "crashes"), [(True, 0), (False, 1)])
async def test_a_node_that_is_gone_is_not_the_fault_of_what_ran_there(
    tracker: Tracker, clock: FakeClock, gone: bool, crashes: int
) -> None:
    asked = []

    async def node_died(node_id: str | None) -> bool:
        asked.append(node_id)
        return gone

    tracker.ticker.silence.node_died = node_died
    await silent(tracker, clock)
    assert (await until(tracker, 1, State.RETRYING)).crashes == crashes
    assert asked == ["n1"]


async def test_a_look_that_fails_blames_the_process(tracker: Tracker, clock: FakeClock) -> None:
    async def node_died(node_id: str | None) -> bool:
        raise OSError("no route")

    tracker.ticker.silence.node_died = node_died
    await silent(tracker, clock)
    assert (await until(tracker, 1, State.RETRYING)).crashes == 1


async def test_a_runner_that_calls_while_its_node_is_looked_at_keeps_what_it_has(
    tracker: Tracker, clock: FakeClock
) -> None:
    looking, answer = asyncio.Event(), asyncio.Event()

    async def node_died(node_id: str | None) -> bool:
        looking.set()
        await answer.wait()
        return True

    tracker.ticker.silence.node_died = node_died
    runner = await silent(tracker, clock)
    await asyncio.wait_for(looking.wait(), PATIENCE)
    call = runner.send()
    await let_run()
    answer.set()
    await let_run()
    assert len(tracker.fleet.running) == 1
    call.cancel()
    await runner.hang_up()


class TestPort:
    """Whether the process behind a port reacts."""

    @pytest.fixture
    def server(self) -> Iterator[socket.socket]:
        with socket.create_server(("127.0.0.1", 0)) as server:
            yield server

    def answers(self, server: socket.socket, monkeypatch: pytest.MonkeyPatch) -> bool:
        monkeypatch.setattr(node_life, "_ANSWER_SECONDS", 0.05)
        return node_life._answers(server.getsockname())

    def test_a_frozen_process_takes_connections_and_says_nothing(
        self, server: socket.socket, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert not self.answers(server, monkeypatch)

    def test_nobody_is_there(self, server: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
        address = server.getsockname()
        server.close()
        assert not node_life._answers(address)

    @pytest.mark.parametrize("greets", [True, False])
    async def test_it_greets_or_hangs_up(self, greets: bool) -> None:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readexactly(33)
            if greets:
                writer.write(b"settings")
                await writer.drain()
            writer.close()

        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            address = server.sockets[0].getsockname()
            assert await asyncio.to_thread(node_life._answers, address)
