"""Reigns, calls and answers compared with a model, over random histories of some clusters."""

import tempfile
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from raytasks.store import outpost_rows as rows
from raytasks.store.outpost_rows import OutpostAnswer, OutpostCall, Reign
from raytasks.store.outpost_tables import outpost_answers, outpost_calls, reigns
from raytasks.store.store import Store
from raytasks.store.transaction import Superseded
from tests.making import NOW
from tests.postgres_server import migrate

OWNERS = st.sampled_from("abc")
PICKS = st.sets(st.integers(0, 7), max_size=4)
"""Which calls of a seat, by their places; 7 is one that there never was."""

LIVES = st.integers(1, 2)
"""The lives of a cluster's process: each has a seat of its own."""


@dataclass
class Tracker:
    """A tracker that has reigned; its epoch stays its own when another one has taken over."""

    owner: str
    epoch: int


class OutpostMachine(RuleBasedStateMachine):
    """Clusters take over, give signs of life, call and answer; `url` is their database."""

    url = ""

    def __init__(self) -> None:
        super().__init__()
        self.store = Store(self.url)
        with self.store.writing_own() as connection:
            for table in (reigns, outpost_calls, outpost_answers):
                connection.execute(table.delete())
        self.first = self.store.begin_epoch(NOW, "nobody")
        self.reigns = {"nobody": Reign("nobody", self.first, "", None, 0)}
        self.trackers: list[Tracker] = []
        self.calls: dict[str, dict[int, OutpostCall]] = {}
        self.answers: dict[str, dict[int, OutpostAnswer]] = {}
        self.numbers: Counter[str] = Counter()

    def teardown(self) -> None:
        self.store.close()

    @rule(owner=OWNERS, alone=st.booleans())
    def take_over(self, owner: str, alone: bool) -> None:
        epoch = self.store.begin_epoch(NOW, owner, host=f"host of {owner}", alone=alone)
        assert epoch == self.first + len(self.trackers) + 1
        self.trackers.append(Tracker(owner, epoch))
        if alone:
            self.forgotten(list(self.reigns))
        self.reigns[owner] = Reign(owner, epoch, f"host of {owner}", None, 0)

    @precondition(lambda self: self.trackers)
    @rule(number=st.integers(0, 9), life=LIVES)
    def give_a_sign_of_life(self, number: int, life: int) -> None:
        self.beat(number, life)

    def beat(self, number: int, life: int) -> str:
        """Have a cluster that once reigned give a sign of life, and return its seat."""
        owner = self.trackers[number % len(self.trackers)].owner
        epoch = max(one.epoch for one in self.trackers if one.owner == owner)
        mine = Reign(owner, epoch, f"host of {owner}", f"{owner}{life}", 0)
        with self.store.writing_own() as connection:
            rows.beat(connection, mine, NOW)
        before = self.reigns.get(owner, mine)  # it comes back if it was forgotten
        self.reigns[owner] = replace(before, seat=mine.seat, beat=before.beat + 1)
        return f"{owner}{life}"

    def picked(self, seat: str, picks: set[int]) -> set[int]:
        """Return the numbers of calls of a seat, answered or not."""
        known = sorted({*self.calls.get(seat, {}), *self.answers.get(seat, {})})
        return {known[pick % len(known)] if known and pick < 7 else 10**9 for pick in picks}

    @precondition(lambda self: self.trackers)
    @rule(number=st.integers(0, 9), life=LIVES, count=st.integers(0, 3), picks=PICKS)
    def call(self, number: int, life: int, count: int, picks: set[int]) -> None:
        seat = self.beat(number, life)
        over, first = self.picked(seat, picks), self.numbers[seat] + 1
        made = [
            OutpostCall(seat, place, "submit", b"\x00%d" % place, protocol=place % 3)
            for place in range(first, first + count)
        ]
        self.numbers[seat] += count
        with self.store.writing_own() as connection:
            rows.call(connection, seat, made, sorted(over))
        for known in (self.calls, self.answers):
            for place in over:
                known.get(seat, {}).pop(place, None)
        self.calls.setdefault(seat, {}).update((item.number, item) for item in made)

    @precondition(lambda self: any(self.calls.values()))
    @rule(
        back=st.sampled_from([0, 0, 1]), number=st.integers(0, 9), picks=PICKS, fails=st.booleans()
    )
    def answer(self, back: int, number: int, picks: set[int], fails: bool) -> None:
        seats = sorted(seat for seat, calls in self.calls.items() if calls)
        seat = seats[number % len(seats)]
        numbers = self.picked(seat, picks)
        tracker = self.trackers[max(0, len(self.trackers) - 1 - back)]
        given = [
            OutpostAnswer(seat, place, None, "BacklogFull", "full")
            if fails
            else OutpostAnswer(seat, place, b"\xff%d" % place)
            for place in sorted(numbers)
        ]

        def write() -> None:
            with self.store.transaction(now=NOW) as transaction:
                transaction.renew(tracker.epoch)
                rows.answer(transaction.connection, given)

        if tracker is not self.trackers[-1]:
            with pytest.raises(Superseded):
                write()
            return
        write()
        for item in given:  # who has no answer to wait for gets none
            if self.calls.get(seat, {}).pop(item.number, None):
                self.answers.setdefault(seat, {})[item.number] = item

    @rule(owners=st.sets(OWNERS))
    def forget(self, owners: set[str]) -> None:
        with self.store.writing_own() as connection:
            rows.forget_reigns(connection, sorted(owners))
        self.forgotten(sorted(owners))

    def forgotten(self, owners: list[str]) -> None:
        """Take reigns out of the model, and what no seat needs any more."""
        for owner in owners:
            self.reigns.pop(owner, None)
        seats = {reign.seat for reign in self.reigns.values()}
        for known in (self.calls, self.answers):
            for seat in list(known):
                if seat not in seats:
                    del known[seat]

    @invariant()
    def all_is_as_the_model_says(self) -> None:
        present = sorted(self.reigns.values(), key=lambda reign: (reign.epoch, reign.owner))
        with self.store.reading() as connection:
            for seat in (f"{owner}{life}" for owner in "abc" for life in (1, 2)):
                calls = self.calls.get(seat, {})
                assert rows.read_calls(connection, seat, 0) == list(calls.values())
                half = self.numbers[seat] // 2
                later = [item for item in calls.values() if item.number > half]
                assert rows.read_calls(connection, seat, half) == later
                view = rows.read_view(connection, seat)
                told = self.answers.get(seat, {})
                assert view.answers == [told[number] for number in sorted(told)]
                assert view.reigns == present
                if self.trackers:
                    assert view.owner == self.trackers[-1].owner


def run(url: str, *, examples: int) -> None:
    machine = type("Machine", (OutpostMachine,), {"url": url})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_sqlite_agrees_with_the_model() -> None:
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{Path(folder, 'tasks.db')}"
        migrate(url)
        run(url, examples=15)


def test_postgresql_agrees_with_the_model(postgres_url: str) -> None:
    run(postgres_url, examples=5)
