"""The lines of the tracker's log: each attempt, and whatever an operator should know."""

from typing import Any

import pytest
from pydantic_core import to_json

from raytasks.model.handler_info import REMOTE_POOL
from raytasks.model.states import LossCause, OutcomeKind, State
from raytasks.model.task_events import LogLine
from raytasks.observe.log_stream import LogStream
from raytasks.protocol.messages import AttemptLog
from raytasks.protocol.queries import LogLines
from raytasks.protocol.service_log import LogFilter, ServiceLine
from raytasks.store.store import Store
from raytasks.tracker import journal
from raytasks.tracker.core import Tracker
from raytasks.tracker.journal import MAX_SUCCESSES, error_line
from tests.making import new_task, outcome, task_id
from tests.tracking import FaultyStore, ScriptedRunner, let_run, tracker_on, until

ERROR = to_json({"type": "ValueError", "message": "no\n  good", "traceback": "…"}).decode()


@pytest.fixture(autouse=True)
def no_tick_is_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """However busy the machine is, no line tells of a slow tick."""
    monkeypatch.setattr(journal, "SLOW_TICK_SECONDS", 1e9)


async def lines(tracker: Tracker, text: str = "") -> list[ServiceLine]:
    """Return the lines so far whose message has a text."""
    page = await tracker.read(LogLines())
    return [line for line in page.lines if text in line.message]


class TestAttempts:
    @pytest.mark.parametrize(
        ("kind", "level", "words"),
        [
            (OutcomeKind.SUCCEEDED, "INFO", "succeeded"),
            (OutcomeKind.FAILED, "WARNING", "failed"),
            (OutcomeKind.TIMED_OUT, "WARNING", "timed out"),
            (OutcomeKind.OUT_OF_MEMORY, "WARNING", "ran out of memory"),
            (OutcomeKind.SNOOZED, "INFO", "snoozed"),
        ],
    )
    async def test_each_end_is_one_line(
        self, store: Store, kind: OutcomeKind, level: str, words: str
    ) -> None:
        async with tracker_on(store) as tracker:
            await tracker.submit([new_task(1)])
            runner = ScriptedRunner(tracker, name="shared-1")
            [claim] = await runner.claim(host="box", pid=17, node_id="n1")
            error = None if kind in (OutcomeKind.SUCCEEDED, OutcomeKind.SNOOZED) else ERROR
            ended = outcome(claim, kind, started_at=10.0, finished_at=10.25, error=error)
            await runner.exchange([ended], host="box", pid=17, node_id="n1")
            [line] = await lines(tracker, f"attempt 1 of short {words}")
            await runner.hang_up()
        assert line.level == level
        fields = dict(line.fields)
        assert fields.pop("error", None) == (error and "ValueError: no good")
        assert fields.pop("state") in ("COMPLETED", "RETRYING", "PENDING", "FAILED")
        assert fields == {
            "task_id": task_id(1),
            "task_type": "short",
            "namespace": "default",
            "attempt": 1,
            "outcome": kind.value,
            "seconds": 0.25,
            "runner": "shared-1",
            "pool": "shared",
            "host": "box",
            "pid": 17,
            "node": "n1",
        }

    async def test_lost_ones_name_the_runner_that_is_gone(self, store: Store) -> None:
        async with tracker_on(store) as tracker:
            await tracker.submit([new_task(1)])
            runner = ScriptedRunner(tracker, name="shared-1")
            await runner.claim()
            tracker.mark_lost("r1", "its runner's process died: exit code 3")
            await until(tracker, 1, State.RETRYING)
            [gone] = await lines(tracker, "is gone")
            [lost] = await lines(tracker, "was lost")
        assert (gone.level, lost.level) == ("WARNING", "WARNING")
        assert gone.message == "runner shared-1 is gone: its runner's process died: exit code 3"
        assert gone.fields["attempts"] == 1
        assert (lost.fields["runner"], lost.fields["pool"]) == ("shared-1", "shared")
        assert "exit code 3" in str(lost.fields["error"])

    async def test_a_runner_that_was_ended_on_purpose_is_no_warning(self, store: Store) -> None:
        async with tracker_on(store) as tracker:
            ScriptedRunner(tracker, name="shared-1").send(held=())
            await let_run()
            tracker.mark_lost("r1", "its runner was ended", cause=LossCause.OUTSIDE)
            [came] = await lines(tracker, "runner shared-1 is up")
            [gone] = await lines(tracker, "is gone")
        assert (came.level, gone.level) == ("INFO", "INFO")

    async def test_claims_are_debug(self, store: Store) -> None:
        async with tracker_on(store) as tracker:
            tracker.log.level = 10
            await tracker.submit([new_task(1)])
            runner = ScriptedRunner(tracker)
            await runner.claim()
            [line] = await lines(tracker, "was claimed")
        assert (line.level, line.fields["task_id"]) == ("DEBUG", task_id(1))

    async def test_a_late_outcome_is_a_warning(self, store: Store) -> None:
        async with tracker_on(store) as tracker:
            await tracker.submit([new_task(1)])
            runner = ScriptedRunner(tracker)
            [claim] = await runner.claim()
            tracker.mark_lost("r1", "it seemed so")
            await until(tracker, 1, State.RETRYING)
            place = await tracker.read(LogLines())
            await runner.exchange([outcome(claim)])
            page = await tracker.read(LogLines(place.stream, place.last, seconds=10))
        assert "after it was given up" in page.lines[0].message
        assert page.lines[0].fields["outcome"] == "succeeded"

    async def test_the_trace_id_is_that_of_the_submission(self, store: Store) -> None:
        trace = "4bf92f3577b34da6a3ce929d0e0e4736"
        context = to_json({"traceparent": f"00-{trace}-00f067aa0ba902b7-01"}).decode()
        async with tracker_on(store) as tracker:
            await tracker.submit([new_task(1, trace_context=context)])
            runner = ScriptedRunner(tracker)
            [claim] = await runner.claim()
            await runner.exchange([outcome(claim)])
            [line] = await lines(tracker, "succeeded")
        assert line.fields["trace_id"] == trace


class TestHandlersLines:
    async def test_they_have_their_task_and_their_own_time_and_level(self, store: Store) -> None:
        async with tracker_on(store) as tracker:
            await tracker.submit([new_task(1)])
            runner = ScriptedRunner(tracker, name="shared-1")
            [claim] = await runner.claim()
            said = [LogLine(1, 12.5, "INFO", "half\nway"), LogLine(2, 13.0, "DEBUG", "secret")]
            await runner.exchange([outcome(claim)], logs=[AttemptLog(claim.task_id, 1, 1, said)])
            [line] = await lines(tracker, "half")
            assert not await lines(tracker, "secret")  # DEBUG is not wanted
        assert (line.at, line.level, line.message) == (12.5, "INFO", "half\nway")
        assert line.fields["logger"] == "raytasks.handlers.short"
        assert (line.fields["task_id"], line.fields["attempt"]) == (task_id(1), 1)


class TestUnderLoad:
    async def test_successes_are_counted_and_failures_are_not_left_out(self, store: Store) -> None:
        number = MAX_SUCCESSES + 60
        async with tracker_on(store) as tracker:
            await tracker.submit([new_task(index) for index in range(number)])
            runner = ScriptedRunner(tracker, pool=REMOTE_POOL)
            claims = await runner.claim()
            ends = [outcome(claim, started_at=1.0, finished_at=1.5) for claim in claims[10:]]
            bad = [outcome(claim, OutcomeKind.FAILED, error=ERROR) for claim in claims[:10]]
            await runner.exchange([*ends, *bad])
            tracker.ticker.journal._summarize()
            ended = await lines(tracker, "succeeded")
            failed = await lines(tracker, "failed")
        single = [line for line in ended if "more attempts" not in line.message]
        [summary] = [line for line in ended if "more attempts" in line.message]
        assert (len(single), len(failed)) == (MAX_SUCCESSES, 10)
        assert summary.message == (
            "50 more attempts of short succeeded; with more than 100 in a second, they have no "
            "line each"
        )
        assert summary.fields == {
            "task_type": "short", "outcome": "succeeded", "count": 50, "seconds": 25.0
        }  # fmt: skip

    async def test_the_summary_comes_without_a_further_attempt(
        self, store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(journal, "MAX_SUCCESSES", 1)
        async with tracker_on(store) as tracker:
            await tracker.submit([new_task(1), new_task(2)])
            runner = ScriptedRunner(tracker, pool=REMOTE_POOL)
            claims = await runner.claim()
            await runner.exchange([outcome(claim) for claim in claims])
            page = await tracker.read(LogLines())
            page = await tracker.read(LogLines(page.stream, page.last, seconds=10))
        assert [line.message[:6] for line in page.lines] == ["1 more"]


class TestTheRest:
    async def test_a_take_over_names_the_epoch(self, store: Store) -> None:
        async with tracker_on(store) as tracker:
            [line] = await lines(tracker, "taken over the database")
        assert line.fields == {"epoch": tracker.ticker.epoch, "running": 0, "waiting": 0}

    async def test_a_slow_tick_is_a_warning(
        self, sqlite_url: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(journal, "SLOW_TICK_SECONDS", 0.0)
        async with tracker_on(FaultyStore(sqlite_url)) as tracker:
            await tracker.submit([new_task(1), new_task(2)])
            found = await lines(tracker, "a tick took")
        assert found[-1].fields["submissions"] == 2

    async def test_a_query_is_filtered_where_the_log_is(self, store: Store) -> None:
        async with tracker_on(store) as tracker:
            tracker.log.write("ERROR", "bad", {"task_type": "mail"})
            page = await tracker.read(LogLines(filter=LogFilter("ERROR", "mail")))
        assert [line.message for line in page.lines] == ["bad"]


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ERROR, "ValueError: no good"),
        (to_json({"type": "E", "message": ""}).decode(), "E"),
        (to_json({"type": "E", "message": "x" * 9999}).decode(), "E: " + "x" * 297),
        ("no JSON", None),
        (None, None),
    ],
)
def test_an_error_is_one_bounded_line(error: str | None, text: str | None) -> None:
    assert error_line(error) == text


def test_the_kept_runners_that_are_gone_are_bounded() -> None:
    from raytasks.tracker.fleet import Fleet, RunnerState

    written = journal.Journal(LogStream(), Fleet(), lambda: 0.0)
    for number in range(journal._MAX_GONE + 5):
        state: Any = RunnerState(f"r{number}", "", "", "", 0.0)
        written.runner_gone(state, "test", LossCause.PROCESS)
    assert len(written._gone) == journal._MAX_GONE
