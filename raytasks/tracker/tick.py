"""The tick: one transaction that takes in everything that has gathered, and claims due tasks.

It runs in the store's thread and knows no calls and no futures: data in, data out.
"""

import math
import time
from collections.abc import Callable, Collection, Container, Mapping, Sequence
from dataclasses import dataclass, field

from msgspec.structs import replace

from raytasks.model.states import WAITING, Event, State
from raytasks.model.tasks import Accepted, NewTask, Running, Task
from raytasks.model.trace_context import trace_id_of
from raytasks.protocol.messages import AttemptLog, Claim, Outcome, Report, StateChange
from raytasks.store import expiry
from raytasks.store.act_rows import write_audit
from raytasks.store.candidates import Candidate, locked_among
from raytasks.store.count_changes import Counted, Total
from raytasks.store.expiry import ExpiringRow
from raytasks.store.finals import call_back
from raytasks.store.lane_rows import ReadyChange
from raytasks.store.memory_rows import nodes_short_of_memory
from raytasks.store.proving import touch_tasks
from raytasks.store.queue_reads import next_due
from raytasks.store.schedule_rows import Fired, Firing, fire
from raytasks.store.settlement import Settlement
from raytasks.store.stats_rows import StatsWrite, write_stats
from raytasks.store.store import Store
from raytasks.store.transaction import Transaction
from raytasks.tracker.acting import Acted, Target, act, change_of, expired, inserted
from raytasks.tracker.changing import change, delete
from raytasks.tracker.claim_order import ClaimPlan, Finding, findings, offered
from raytasks.tracker.outbox_intake import OutboxEntry
from raytasks.tracker.outbox_tick import end_unfit, take_rows
from raytasks.tracker.renewing import Renewal, renew_values
from raytasks.tracker.schedule_book import audit_of
from raytasks.tracker.settling import settlement_of
from raytasks.tracker.sharing import CapacityRequest, share_out
from raytasks.tracker.unique_keys import carry_out, decide_in


@dataclass
class TickInput:
    """The input of a tick. Outcomes to settle come with the tracker's view of their attempts.

    The `plan` says what is to be claimed for the `requests`. A task of the `ordered_types` keeps
    its rank when it is to run again. Attempts of the `memory_types` are told where earlier ones of
    the task ran out of memory.

    Tasks of the types in `renewals` get their limit values again when they wait again.

    With `renew` the epoch is renewed, not only locked. With `prove`, which is for an outage, it
    fails unless tasks can be written. With `fold` the steps of the counts are folded; see
    `store.count_steps`.

    With `careful` it waits only briefly for locks, and passes locked tasks over; see `lock_care`.

    `ahead` is the lead of the order of tasks over `now`, in seconds; see `tracker.order`.
    """

    now: float
    epoch: int
    max_crashes: int
    submissions: Sequence[NewTask] = ()
    reports: Sequence[Report] = ()
    logs: Sequence[AttemptLog] = ()
    outcomes: Sequence[tuple[Running, Outcome]] = ()
    late: Sequence[tuple[str, Outcome]] = ()
    cancels: Sequence[Target] = ()
    retries: Sequence[Target] = ()
    changes: Sequence[Target] = ()
    deletes: Sequence[Target] = ()
    prunings: Sequence[tuple[Sequence[str], float]] = ()
    promote: bool = False
    expire: bool = False
    renew: bool = True
    prove: bool = False
    fold: bool = False
    careful: bool = False
    requests: Sequence[CapacityRequest] = ()
    durations: Mapping[str, float] = field(default_factory=dict)
    plan: ClaimPlan | None = None
    ordered_types: Container[str] = ()
    memory_types: Container[str] = ()
    renewals: Mapping[str, Renewal] = field(default_factory=dict)
    skip_known: bool = False
    ahead: float = 0.0
    stats: StatsWrite | None = None
    firings: Sequence[Firing] = ()
    outbox: Sequence[OutboxEntry] = ()
    monotonic: Callable[[], float] = time.monotonic

    @property
    def begins_new(self) -> bool:
        """Whether its new tasks are all that can be claimed by the plan; see `ClaimPlan.is_new`."""
        return (
            self.plan is not None
            and self.plan.is_new
            and bool(self.plan.questions)
            and not (self.promote or self.expire or self.skip_known or self.firings or self.outbox)
            and not (self.cancels or self.retries or self.changes or self.deletes)
        )

    @property
    def fresh(self) -> Sequence[NewTask]:
        """The new tasks: those that were submitted, those of schedules, and those of the outbox."""
        if not (self.firings or self.outbox):
            return self.submissions
        fired = (task for firing in self.firings for task in firing.tasks)
        handed = (entry.task for entry in self.outbox if entry.refusal is None)
        return [*self.submissions, *fired, *handed]


@dataclass
class TickResult:
    """The result of a tick. What people did to tasks is in `acted`.

    Submissions that were not stored are in `duplicates`, by id. The `changes` are in order. If the
    tick looked for the next due time, it is in `next_due`; the same for `next_expiry`. The flag
    `cut` says that more could have been claimed at once. The `waits` are the seconds for which
    claimed tasks had been due. The `ready_changes` are by lane. The `findings` are those of the
    plan's questions. The schedules that fired are in `fired`. The tasks of the outbox that this
    tick had to store are in `handed`, and the ids of rows that others have locked in `locked`. The
    ids of tasks that others have locked are in `passed_over`. All prunings took `pruning_seconds`.
    The suspects that no runner took are in `apart`; see `Shares`.
    """

    duplicates: Accepted = field(default_factory=Accepted)
    settled: list[Settlement] = field(default_factory=list)
    claimed: list[tuple[Running, Claim]] = field(default_factory=list)
    acted: Acted = field(default_factory=Acted)
    counts: Mapping[Counted, int] = field(default_factory=dict)
    totals: Mapping[Total, int] = field(default_factory=dict)
    changes: list[StateChange] = field(default_factory=list)
    next_due: float | None = None
    next_expiry: float | None = None
    cut: bool = False
    waits: list[tuple[Running, float]] = field(default_factory=list)
    ready_changes: list[ReadyChange] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    fired: list[Fired] = field(default_factory=list)
    pruning_seconds: float = 0.0
    handed: list[NewTask] = field(default_factory=list)
    apart: Mapping[str, float] = field(default_factory=dict)
    locked: Container[str] = ()
    passed_over: Collection[str] = ()


def run_tick(store: Store, work: TickInput) -> TickResult:
    """Do the work in one transaction. Raises `Superseded`, `FenceBroken`, `StoreUnavailable`."""
    done = TickResult()
    with store.transaction(now=work.now) as transaction:
        transaction.ahead = work.ahead
        transaction.renew(work.epoch, only_lock=not work.renew, briefly=work.careful)
        if work.prove:
            touch_tasks(transaction.connection)
        _submit(transaction, work, done)
        transaction.report(work.reports)
        transaction.log(work.logs)
        _settle(transaction, work, done)
        transaction.note_late(work.late)
        if work.prunings:
            _prune(transaction, work, done)
        change(transaction, work.changes, work.now, done.acted, work.ordered_types)
        act(transaction, work.cancels, work.retries, work.now, done.acted)
        if work.renewals:
            _renew_values(transaction, work, done)
        done.changes += done.acted.changes
        if runs := [item for item in done.fired if item.firing.by is not None and item.tasks]:
            audit, acts = done.acted.audit, [audit_of(item.firing) for item in runs]
            audit += write_audit(transaction.connection, acts, work.now, len(audit))
        if work.expire:
            _expire(transaction, expiry.due(transaction.connection, work.now), work.now, done)
            done.next_expiry = expiry.next_expiry(transaction.connection)
        _call_back(transaction, work.now, done)
        delete(transaction, work.deletes, work.now, done.acted)
        if work.promote:
            transaction.promote()
            done.next_due = next_due(transaction.connection)
        _claim(transaction, work, done)
        _call_back(transaction, work.now, done)  # of those that expired before their claim
        if work.stats is not None:
            write_stats(transaction, work.stats)
        done.counts, done.totals = transaction.finish(), transaction.totals
        if work.fold:
            transaction.fold_counts()
        done.ready_changes = transaction.ready_changes
    return done


def _renew_values(transaction: Transaction, work: TickInput, done: TickResult) -> None:
    """Give values of the present version to what waits again and was made under another one."""
    since = {name: renewal.since for name, renewal in work.renewals.items()}
    settled = zip(work.outcomes, done.settled, strict=True)
    again: list[Running | Task] = [
        running
        for (running, _), item in settled
        if item.state in WAITING and running.claimed_at <= since.get(running.task_type, -math.inf)
    ]
    again += [
        task
        for task in done.acted.after.values()
        if task.state in WAITING and task.created_at <= since.get(task.task_type, -math.inf)
    ]
    names = renew_values(transaction, work.renewals, again)
    done.acted.after |= transaction.tasks([name for name in names if name in done.acted.after])


def _prune(transaction: Transaction, work: TickInput, done: TickResult) -> None:
    began_at = work.monotonic()
    for task_ids, before in work.prunings:
        transaction.prune(task_ids, before)
    done.pruning_seconds = work.monotonic() - began_at


def _submit(transaction: Transaction, work: TickInput, done: TickResult) -> None:
    new = work.submissions
    entries: list[OutboxEntry] = []
    if work.outbox:
        entries, done.locked = take_rows(transaction, work.outbox)
    if entries:
        done.handed = [entry.task for entry in entries if entry.refusal is None]
        new = [*new, *done.handed]
    asked_for = len(new)
    if work.skip_known:
        known = transaction.tasks([task.task_id for task in new])
        new = [task for task in new if task.task_id not in known]
    taken, decision = transaction.taken_keys(new), None
    done.duplicates.at = work.now if len(new) == asked_for else None
    if taken or any(task.unique_spec is not None for task in new):
        new = list({task.task_id: task for task in new}.values())  # without second copies
        decision = decide_in(transaction, new, taken, work.now)
        if len(new) > len(decision.new) + len(decision.duplicates):  # some were sent again
            done.duplicates.at = None
        new = decision.new
        done.duplicates.update(decision.duplicates)
    if work.firings:
        done.fired = fire(transaction, work.firings, work.now)
        new = [*new, *(task for item in done.fired for task in item.tasks)]
    if work.begins_new and (decision is None or not decision.keys):
        transaction.hold_back(new)
    else:
        transaction.submit(new)
    done.changes += [inserted(task, work.now) for task in new]
    if decision is not None:
        carry_out(transaction, decision, work.now, done.acted)
    if entries:
        done.changes += end_unfit(transaction, entries, done.duplicates, work.now)


def _call_back(transaction: Transaction, now: float, done: TickResult) -> None:
    """Insert the callbacks of the tasks that have ended."""
    done.changes += [inserted(task, now) for task in call_back(transaction)]


def _expire(
    transaction: Transaction, rows: Sequence[ExpiringRow], now: float, done: TickResult
) -> None:
    """Let tasks expire that have never begun."""
    transaction.end(rows, Event.EXPIRE, expiry.EXPIRE)
    done.changes += [expired(row, now) for row in rows]


def _settle(transaction: Transaction, work: TickInput, done: TickResult) -> None:
    large = {report.task_id for report in work.reports if report.checkpoint_ref is not None}
    done.settled = [
        settlement_of(
            replace(running, large_checkpoint=True) if running.task_id in large else running,
            outcome,
            work.max_crashes,
            work.now,
            keeps_rank=running.task_type in work.ordered_types,
        )
        for running, outcome in work.outcomes
    ]
    transaction.settle(done.settled)
    done.changes += [
        change_of(
            running,
            item.state,
            running.attempt,
            running.revision + 1,
            work.now,
            running.cancelled_by if item.event is Event.STOP else None,
        )
        for (running, _), item in zip(work.outcomes, done.settled, strict=True)
    ]


def _let_expire(
    transaction: Transaction, rows: Sequence[Candidate], now: float, done: TickResult
) -> set[str]:
    """Let candidates expire whose time has come, and return their ids: no claim takes them."""
    late = [
        row.task_id
        for row in rows
        if row.expires_at is not None
        and row.expires_at <= now
        and not row.attempt
        and row.task_id not in done.passed_over
    ]
    if late:
        _expire(transaction, expiry.among(transaction.connection, late, now), now, done)
    return set(late)


def _claim(transaction: Transaction, work: TickInput, done: TickResult) -> None:
    plan = work.plan
    if plan is None or not plan.questions:
        return
    rows = transaction.candidates(plan.asks)
    if work.careful and not transaction.fresh:
        done.passed_over = locked_among(transaction.connection, rows)
    late = _let_expire(transaction, rows, work.now, done)
    offer = offered(rows, plan, done.passed_over, work.ordered_types)
    if late:
        offer = [row for row in offer if row.task_id not in late]
    chosen, cut, done.apart = share_out(offer, work.requests, work.durations)
    ids = {row.task_id for row, _ in chosen} | late
    done.findings = findings(rows, plan, ids, len(ids))
    done.cut = cut or plan.more or bool(late)
    chosen = transaction.filled(chosen)
    crashed = [
        row.task_id for row, _ in chosen if row.crashes and row.task_type in work.memory_types
    ]
    short = nodes_short_of_memory(transaction.connection, crashed) if crashed else {}
    later = {request.runner_id for request in work.requests if request.begins_later}
    transaction.claim(chosen, later=later)
    for row, runner_id in chosen:
        attempt = row.attempt + 1
        due_at = transaction.due_at(row)
        # If not, it was released since it became due.
        counts = row.started_at is None or row.started_at <= due_at
        begins_now = runner_id not in later
        running = Running(
            task_id=row.task_id,
            task_type=row.task_type,
            attempt=attempt,
            runner_id=runner_id,
            claimed_at=work.now,
            priority=row.priority,
            failures=row.failures,
            crashes=row.crashes,
            max_attempts=row.max_attempts,
            cancel_requested=bool(row.cancel_requested),
            company=row.company,
            large_checkpoint=row.checkpoint_ref is not None,
            namespace=row.namespace,
            revision=row.revision + 1,
            tags=row.tags,
            waits=not begins_now,
            due_at=due_at - work.ahead if counts and not begins_now else None,
            trace_id=trace_id_of(row.trace_context),
            timeout_seconds=row.timeout_seconds,
            lane=row.lane,
            limit_values=row.limit_values,
            callback_url=row.callback_url,
            rank=row.rank,
            keyed=row.unique_spec is not None,
        )
        claim = Claim(
            task_id=row.task_id,
            task_type=row.task_type,
            attempt=attempt,
            payload=row.payload or "null",
            failures=row.failures,
            max_attempts=row.max_attempts,
            timeout_seconds=row.timeout_seconds,
            checkpoint=row.checkpoint,
            payload_ref=row.payload_ref,
            checkpoint_ref=row.checkpoint_ref,
            trace_context=row.trace_context,
            priority=row.priority,
            tags=row.tags,
            namespace=row.namespace,
            scheduled_for=row.scheduled_for,
            short_on=short.get(row.task_id, ()),
        )
        done.claimed.append((running, claim))
        if counts and begins_now:
            done.waits.append((running, work.now + work.ahead - due_at))
        done.changes.append(change_of(running, State.RUNNING, attempt, running.revision, work.now))
