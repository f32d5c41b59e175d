"""Mutants: the engine with one fault each, as a patch of its source. The simulation must see it."""

from tests.simulation.mutant import Mutant
from tests.simulation.mutants_of_orders import MUTANTS_OF_ORDERS
from tests.simulation.mutants_of_sums import MUTANTS_OF_SUMS

MUTANTS = (
    # Answers
    Mutant(
        "answer before commit",
        "raytasks.tracker.ticker",
        "        self.intake.in_flight = taken.bytes\n",
        "        self.intake.in_flight = taken.bytes\n        taken.succeed({})\n",
    ),
    Mutant(
        "acknowledge before commit",
        "raytasks.tracker.intake",
        "                self._inbox.outcomes.append((running, outcome))\n",
        "                self._inbox.outcomes.append((running, outcome))\n"
        "                runner.acknowledged.append(key)\n",
    ),
    Mutant(
        "checkpoint acknowledged before commit",
        "raytasks.tracker.intake",
        "                self._inbox.reports.append((runner.runner_id, report))\n",
        "                self._inbox.reports.append((runner.runner_id, report))\n"
        "                runner.acknowledged_reports.append(report.number)\n",
    ),
    Mutant(
        "duplicates answered with the wrong id",
        "raytasks.store.idempotency",
        "return Duplicate(found.task_id,",
        "return Duplicate(task.task_id,",
    ),
    Mutant(
        "no duplicates",
        "raytasks.store.idempotency",
        "            taken.add(namespace,",
        "            len(of_it) > 1 and taken.add(namespace,",
    ),
    # Fences
    Mutant(
        "fence without attempt, in memory",
        "raytasks.tracker.fleet",
        "if running is None or running.attempt != attempt or running.runner_id != runner_id:",
        "if running is None:",
    ),
    Mutant(
        "fence without attempt, in what a runner holds",
        "raytasks.tracker.fleet",
        "return held if held is not None and held.attempt == attempt else None",
        "return held",
    ),
    Mutant(
        "fence without attempt, in SQL",
        "raytasks.store.batch_statements",
        'return (tasks.c.task_id == values["task_id"]) & (tasks.c.attempt == values["attempt"])',
        'return tasks.c.task_id == values["task_id"]',
    ),
    Mutant(
        "late outcome of any attempt",
        "raytasks.store.statements",
        '        attempts.c.attempt == param("attempt"),\n'
        '        attempts.c.runner_id == param("runner_id"),\n',
        "",
    ),
    Mutant(
        "epoch not checked",
        "raytasks.store.transaction",
        "fence = Fence(1, lambda",
        'fence = type("Never", (Fence,), {"check": lambda *_: None})(1, lambda',
    ),
    Mutant(
        "epoch not renewed",
        "raytasks.store.batch_statements",
        '        .values(renewed_at=values["renewed_at"])',
        "        .values(renewed_at=tracker_epoch.c.renewed_at)",
    ),
    Mutant(
        "row count not checked",
        "raytasks.store.transaction",
        "return Fence(rows, lambda",
        'return type("Never", (Fence,), {"check": lambda *_: None})(rows, lambda',
    ),
    # Changes by people
    Mutant(
        "a change without its fence",
        "raytasks.tracker.changing",
        "    if task.revision == revision + 1 and changes.is_done_in(task):\n"
        "        return task  # the same call has come before\n"
        "    if task.revision != revision:\n",
        "    if task.revision < revision:\n",
    ),
    Mutant(
        "lanes keep what was changed",
        "raytasks.store.task_changes",
        "        if row.ready:\n            self.ready.remove(row, row.rank)\n",
        "",
    ),
    Mutant(
        "nobody looks when a changed task is due",
        "raytasks.tracker.ledger",
        "        later += done.acted.due\n",
        "",
    ),
    # Runners
    Mutant(
        "lease never ends",
        "raytasks.tracker.fleet",
        "if runner.seen_at + lease_seconds < now]",
        "if runner.seen_at + 1000 * lease_seconds < now]",
    ),
    Mutant(
        "claim batch delivered twice",
        "raytasks.runner.exchange_loop",
        "        if (orders.epoch, orders.batch) > (self._batch_epoch, self._last_batch):\n",
        "        if orders.claims:\n",
    ),
    Mutant(
        "resync ignored",
        "raytasks.runner.exchange_loop",
        "        if orders.resync:\n            self._resync = True\n",
        "",
    ),
    Mutant(
        "runner forgets what it has sent",
        "raytasks.runner.exchange_loop",
        "        box.unacknowledged |= {key_of(item): item for item in outcomes}\n",
        "",
    ),
    Mutant(
        "what a dead runner held is forgotten",
        "raytasks.tracker.blame",
        "        outcomes.append((running, lost))\n",
        "        outcomes.append((running, lost)) if len(begun) < 2 else None\n",
    ),
    Mutant(
        "cancel forgotten at restart",
        "raytasks.tracker.exchanges",
        "                elif running.cancel_requested:\n",
        "                elif running.cancel_requested and False:\n",
    ),
    Mutant(
        "cancel not told to the runner",
        "raytasks.tracker.fleet",
        "            runner.cancels.append((task_id, running.attempt))\n",
        "            pass\n",
    ),
    # Budgets
    Mutant(
        "released attempt charged",
        "raytasks.store.settlement",
        "_CRASHES = frozenset({Event.LOSE, Event.POISON})",
        "_CRASHES = frozenset({Event.LOSE, Event.POISON, Event.RELEASE})",
    ),
    Mutant(
        "snoozed attempt charged",
        "raytasks.store.settlement",
        "_FAILURES = frozenset({Event.FAIL_AND_RETRY, Event.FAIL_FOR_GOOD})",
        "_FAILURES = frozenset({Event.FAIL_AND_RETRY, Event.FAIL_FOR_GOOD, Event.SNOOZE})",
    ),
    Mutant(
        "one attempt too many",
        "raytasks.model.states",
        "standing.failures + 1 < standing.max_attempts",
        "standing.failures < standing.max_attempts",
    ),
    Mutant(
        "cancelled task is retried",
        "raytasks.model.states",
        "    if standing.cancel_requested or kind is OutcomeKind.CANCELLED:\n",
        "    if kind is OutcomeKind.CANCELLED:\n",
    ),
    # Inbox and database
    Mutant(
        "inbox unkeyed",
        "raytasks.tracker.keyed",
        "        lambda item: (item[1].task_id, item[1].attempt),\n"
        "        lambda item: outcome_size(item[1]),\n"
        "        lambda known, _new: known,\n",
        "        lambda item: id(item),\n"
        "        lambda item: outcome_size(item[1]),\n"
        "        lambda known, _new: known,\n",
    ),
    Mutant(
        "put_back drops",
        "raytasks.tracker.inbox",
        "                mine.take_all(again)\n",
        "                pass\n",
    ),
    Mutant(
        "backoff reset by reads",
        "raytasks.tracker.access",
        "        return await self._readers.make(patiently(call), seconds)\n",
        "        result = await self._readers.make(patiently(call), seconds)\n"
        "        self.recovered()\n        return result\n",
    ),
    Mutant(
        "no backoff",
        "raytasks.tracker.access",
        "        self._outages += 1\n",
        "",
    ),
    Mutant(
        "ambiguous commit taken for none",
        "raytasks.tracker.recovery",
        "        if error.in_doubt:\n            await self._memory.reload()\n",
        "",
    ),
    Mutant(
        "refused outcome is dropped",
        "raytasks.tracker.recovery",
        "        self.aside.add(taken, error)\n",
        "",
    ),
    Mutant(
        "pause forgotten at restart",
        "raytasks.tracker.ticker",
        "        self.steering, schedules = await self.access.insist(self.store.settings)\n",
        "        _, schedules = await self.access.insist(self.store.settings)\n",
    ),
    Mutant(
        "what is claimed is not known",
        "raytasks.tracker.ledger",
        "                self.fleet.running[running.task_id] = running\n",
        "                pass\n",
    ),
    # Time
    Mutant(
        "tasks that have become due are forgotten",
        "raytasks.tracker.ledger",
        "        later += [item.run_at for item in done.settled if item.run_at > work.now]\n",
        "",
    ),
    Mutant(
        "delayed tasks run at once",
        "raytasks.store.fresh_tasks",
        "            ready = task.due_at <= self._now\n",
        "            ready = True\n",
    ),
    Mutant(
        "a task that begins at once has not taken the step",
        "raytasks.store.batch_statements",
        '            "revision": _number(1),\n            "ready": false(),\n',
        '            "revision": _number(0),\n            "ready": false(),\n',
    ),
    # Wake-ups
    Mutant(
        "lost wake-up: a runner that dies",
        "raytasks.tracker.losses",
        "        runner.answer()\n        self._wake.set()\n",
        "        runner.answer()\n",
    ),
    Mutant(
        "lost wake-up: outcomes",
        "raytasks.tracker.ticker",
        "        if not self._under_load:\n            self.wake.set()\n",
        "        if not self._under_load:\n            pass\n",
    ),
    Mutant(
        "lost wake-up: those who wait for an end",
        "raytasks.tracker.feed",
        "        if ended:\n            self._wake(FeedPart.ENDS)\n",
        "",
    ),
    Mutant(
        "lost wake-up: resume",
        "raytasks.tracker.steering_writes",
        "        await ticker.wait_for_tick()\n        ticker.wake.set()\n",
        "        await ticker.wait_for_tick()\n",
    ),
    # Feed, bulk operations, coalescer
    Mutant(
        "feed without claims",
        "raytasks.tracker.tick",
        "        done.changes.append(change_of(running, State.RUNNING,",
        "        len((running, State.RUNNING,",
    ),
    Mutant(
        "bulk step repeated",
        "raytasks.store.bulk_steps",
        '"p_cursor": looked_at[-1] if looked_at else operation.cursor,',
        '"p_cursor": operation.cursor,',
    ),
    Mutant(
        "bulk operation forgotten at restart",
        "raytasks.tracker.ticker",
        "        if await self.access.insist(self.store.open_bulks):\n",
        "        if not await self.access.insist(lambda: True):\n",
    ),
    # Limits and lanes
    Mutant(
        "slot not freed when an attempt is lost",
        "raytasks.tracker.claim_book",
        "            limits.ended(running, begun=not matters or",
        "            outcome.kind in CRASHES or limits.ended(running, begun=not matters or",
    ),
    Mutant(
        "what runs is not counted at the start",
        "raytasks.tracker.limit_book",
        "in self._hold(item):\n                gate.running += 1\n",
        "in self._hold(item):\n                gate.running += 0\n",
    ),
    Mutant(
        "parked lane not woken",
        "raytasks.tracker.limit_book",
        "        if gate.parked and gate.room(self._monotonic()) > 0:\n"
        "            self._wake(gate, 1)\n",
        "        if gate.parked and gate.room(self._monotonic()) > 0:\n            pass\n",
    ),
    Mutant(
        "lanes of a failed tick are not put back",
        "raytasks.tracker.claim_book",
        "            if question.has_taken:\n                self.lanes.put_back(question.owner)\n",
        "            pass\n",
    ),
    Mutant(
        "gate forgotten that a lane keeps",
        "raytasks.tracker.lane_gates",
        "            gate.lanes += 1\n",
        "            gate.lanes += 0\n",
    ),
    Mutant(
        "lane not woken when a token comes",
        "raytasks.tracker.limit_book",
        "                self._wake(gate, gate.room(now))\n                self._arm(gate)\n",
        "                self._arm(gate)\n",
    ),
    Mutant(
        "token of a claim not taken",
        "raytasks.tracker.limit_book",
        "            gate.running += 1\n"
        "            if gate.limit.per_second:\n"
        "                gate.take_token(self._monotonic(), (running.task_id, running.attempt))\n",
        "            gate.running += 1\n",
    ),
    Mutant(
        "floor of a lane rises too far",
        "raytasks.tracker.claim_order",
        "    return Finding(rows[-1].rank if next_rank is None else next_rank, left)\n",
        "    return Finding((next_rank or rows[-1].rank) + 5.0, left)\n",
    ),
    Mutant(
        "ordered lane not closed",
        "raytasks.tracker.claim_book",
        "                limits.put_offs.add(running.task_id, item.run_at, gates)\n",
        "                pass\n",
    ),
    Mutant(
        "put-off tasks forgotten at restart",
        "raytasks.tracker.claim_book",
        "                self.put_off(await access.insist(partial(store.put_off, types)))\n",
        "                pass\n",
    ),
    Mutant(
        "lost wake-up: work that no plan has counted on",
        "raytasks.tracker.ticker",
        "        if (self.asked or self.ledger.lanes.has_news) and self.ledger",
        "        if self.asked and self.ledger",
    ),
    # Totals
    Mutant(
        "a retry counts as submitted",
        "raytasks.store.count_changes",
        "            self.totals[namespace, task_type, RETRIED] += n\n",
        "            self.totals[namespace, task_type, SUBMITTED] += n\n",
    ),
    Mutant(
        "pruned tasks are taken from the totals",
        "raytasks.store.count_changes",
        "        self.counts[namespace, task_type, state] -= 1\n",
        "        self.counts[namespace, task_type, state] -= 1\n"
        '        self.totals[namespace, task_type, f"{FINISHED}{state}"] -= 1\n',
    ),
    Mutant(
        "cancels of waiting tasks are not counted",
        "raytasks.store.count_changes",
        "        if target in FINAL:\n",
        "        if target in FINAL and event is not Event.CANCEL:\n",
    ),
    # Unique keys
    Mutant(
        "an attempt that ended keeps its task's key",
        "raytasks.store.transaction",
        " for item in settlements if item.ends_keyed)\n",
        " for item in settlements if item.ends_keyed and not item)\n",
    ),
    Mutant(
        "a held key is taken",
        "raytasks.tracker.unique_keys",
        "    held = holders(transaction.connection, [row.name for row in wanted], now)\n",
        "    held: dict[KeyName, str] = {}\n",
    ),
    Mutant(
        "a retry takes a held key",
        "raytasks.store.unique_rows",
        "        holder = held.setdefault(row.name, row.task_id)\n",
        "        holder = row.task_id\n",
    ),
    Mutant(
        "what has begun expires",
        "raytasks.store.expiry",
        '_IS_DUE = EXPIRING, tasks.c.expires_at <= param("now")\n',
        '_IS_DUE = tasks.c.finished_at.is_(None), tasks.c.expires_at <= param("now") + 30\n',
    ),
    Mutant(
        "coalescer forgets who came meanwhile",
        "raytasks.api.coalescer",
        "        self._calls.discard(call)\n        self._start_calls()\n",
        "        self._calls.discard(call)\n",
    ),
    # Callbacks
    Mutant(
        "no callback of a cancelled task",
        "raytasks.store.transaction",
        "        self.finals.note(row.task_id for row in waiting if row.callback_url is not None)",
        "",
    ),
    Mutant(
        "no callback of an attempt that another tracker has claimed",
        "raytasks.store.store",
        "                    callback_url=callback_url,\n",
        "",
    ),
    # The outbox
    Mutant(
        "rows of the outbox behind the last one",
        "raytasks.tracker.outbox_reader",
        "        entries = self._entries(look.rows, self._handlers, at)\n",
        "        last = getattr(self, 'last', '')\n"
        "        self.last = max(last, look.rows[-1].row_id)\n"
        "        rows = [row for row in look.rows if row.row_id > last]\n"
        "        entries = self._entries(rows, self._handlers, at)\n",
    ),
    Mutant(
        "a row that was taken stays in the outbox",
        "raytasks.store.outbox_rows",
        "    statement = _TAKE.returning(_ID)\n",
        "    statement = select(_ID).where(_THESE)\n",
    ),
    Mutant(
        "a row that does not fit is dropped",
        "raytasks.tracker.outbox_tick",
        "        if entry.refusal is not None:\n",
        "        if entry.refusal is None and duplicate is not None and not duplicate.same:\n",
    ),
    # Schedules
    Mutant(
        "schedule not moved on disk",
        "raytasks.store.schedule_rows",
        "firing for firing in firings if firing.next_at != firing.was",
        "firing for firing in firings if firing.next_at < firing.was",
    ),
    Mutant(
        "schedules forgotten at restart",
        "raytasks.tracker.schedule_book",
        "        self.rows = {row.key: row for row in rows}\n",
        "        self.rows = {row.key: row for row in rows if row.last_for is None}\n",
    ),
    Mutant(
        "a schedule that was changed is due twice",
        "raytasks.tracker.schedule_book",
        "if entry[1] in taken or not self._is_current(entry):",
        "if not self._is_current(entry):",
    ),
    # Two clusters
    Mutant(
        "runners of an earlier cluster get work",
        "raytasks.tracker.predecessors",
        "            capacity=0,\n            capacity_by_type={},\n",
        "",
    ),
    Mutant(
        "runners of two clusters share their names",
        "raytasks.tracker.predecessors",
        '            name=f"{exchange.name}{mark}",\n',
        "",
    ),
    Mutant(
        "what runs in an earlier cluster is lost at once",
        "raytasks.tracker.predecessors",
        "            else:\n                return\n",
        "            else:\n"
        "                for item in self._ticker.ledger.fleet:\n"
        "                    if not item.name:\n"
        "                        self._mark_lost(item.runner_id, '', cause=LossCause.OUTSIDE)\n"
        "                return\n",
    ),
    Mutant(
        "what ran in a cluster that is gone is held for ever",
        "raytasks.tracker.silence",
        "            self._give_up(runner, _GONE, LossCause.OUTSIDE)\n",
        "",
    ),
    *MUTANTS_OF_ORDERS,
    *MUTANTS_OF_SUMS,
)
"""All of them, each with a name that says what goes wrong."""
