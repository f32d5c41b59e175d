"""Mutants of what people order, of calls that come twice, and of runners that are given up."""

from tests.simulation.mutant import Mutant

MUTANTS_OF_ORDERS = (
    # Namespaces
    Mutant(
        "tasks of other namespaces can be cancelled",
        "raytasks.tracker.acting",
        "        if row is not None and target.namespace in (None, row.namespace):\n",
        "        if row is not None:\n",
    ),
    Mutant(
        "bulk operations take tasks of all namespaces",
        "raytasks.store.task_selection",
        '[tasks.c.namespace == param("namespace")]',
        '[tasks.c.namespace >= param("namespace")]',
    ),
    Mutant(
        "keyed limits count in another namespace",
        "raytasks.tracker.limit_book",
        "running.namespace, running.limit_values)\n        if gates:\n",
        '"default", running.limit_values)\n        if gates:\n',
    ),
    # Pauses
    Mutant(
        "a pause does not hold for a new queue",
        "raytasks.tracker.queue_maker",
        "share, pause is not None)",
        "share, pause is not None and pause.key == ('', ''))",
    ),
    Mutant(
        "a pause is answered while a claim is on its way",
        "raytasks.tracker.steering_writes",
        "        await ticker.wait_for_tick()\n        ticker.wake.set()\n",
        "        ticker.wake.set()\n",
    ),
    Mutant(
        "lost wake-up: the end of a pause",
        "raytasks.tracker.ticker",
        "        due = min(due, self.ledger.lanes.pauses_end_at)\n",
        "",
    ),
    Mutant(
        "a pause of a namespace ends with one of a type",
        "raytasks.model.steering",
        "            if isinstance(change, Removal):\n"
        "                after._of(change.kind).pop(change.key, None)\n",
        "            if isinstance(change, Removal):\n"
        "                after._of(change.kind).pop(change.key, None)\n"
        "                if change.kind is Pause:\n"
        "                    after.pauses.clear()\n",
    ),
    # Replacements
    Mutant(
        "a replacement is answered, and not made",
        "raytasks.tracker.unique_keys",
        "            done.rewrites += part.rewrites\n",
        "            done.rewrites += part.rewrites[1:]\n",
    ),
    Mutant(
        "the first of two replacements wins",
        "raytasks.tracker.unique_keys",
        "    for holder, asked in decision.rewrites:\n",
        "    for holder, asked in reversed(decision.rewrites):\n",
    ),
    Mutant(
        "a repeated request replaces again",
        "raytasks.tracker.unique_keys",
        "    remember_answers(transaction.connection, decision.answers)\n",
        "",
    ),
    Mutant(
        "what was replaced keeps its place in a lane",
        "raytasks.store.transaction",
        "lane_statements.READY_ONES, bound))\n        changed = rewriting",
        "lane_statements.READY_ONES, bound).fetchall()[:0])\n        changed = rewriting",
    ),
    # Deletions
    Mutant(
        "a late copy makes a deleted task again",
        "raytasks.tracker.deleted_tasks",
        "        if not self._until:\n",
        "        if self._until or not self._until:\n",
    ),
    Mutant(
        "a bulk deletion takes what its filter leaves out",
        "raytasks.model.bulk_operations",
        "        return self.tasks.states or self.action.sources\n",
        "        return self.action.sources\n",
    ),
    Mutant(
        "a bulk deletion tells of more than it does",
        "raytasks.store.bulk_steps",
        "            return [head for head in heads if head.task_id in deleted]\n",
        "            return [head for head in heads if deleted] + list(heads[:1])\n",
    ),
    Mutant(
        "what is deleted in bulk stays in the counts of memory",
        "raytasks.tracker.ledger",
        "        self._count(done.counts, done.totals)\n"
        "        self.stats.count(done.counts, done.totals, self._clock())\n"
        "        for task_id in done.marked:\n",
        "        if done.changes or not done.changed:\n"
        "            self._count(done.counts, done.totals)\n"
        "        self.stats.count(done.counts, done.totals, self._clock())\n"
        "        for task_id in done.marked:\n",
    ),
    # Calls that come twice
    Mutant(
        "a retry that comes twice retries twice",
        "raytasks.tracker.acting",
        "            if target.revision in (None, row.revision):\n",
        "            if target.task_id == row.task_id:\n",
    ),
    Mutant(
        "a retry that comes twice is refused",
        "raytasks.tracker.acting",
        "            elif not _came_before(transaction, row, target):\n",
        "            else:\n",
    ),
    # Runners that are given up
    Mutant(
        "last outcomes are not told",
        "raytasks.runner.exchange_loop",
        "            last_outcomes=self._last,\n",
        "",
    ),
)
"""All of them, each with a name that says what goes wrong."""
