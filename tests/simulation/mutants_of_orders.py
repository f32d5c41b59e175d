"""Mutants of namespaces, and of what people order: pauses, replacements, deletions in bulk."""

from tests.simulation.mutant import Mutant

MUTANTS_OF_ORDERS = (
    # Namespaces
    Mutant(
        "namespaces take no turns",
        "raytasks.tracker.claim_plan",
        "                space_time += asked * seconds / space.weight\n",
        "",
    ),
    Mutant(
        "retried tasks go to the default namespace's lane",
        "raytasks.store.transaction",
        '                "p_lane": lane_of(namespace, None),\n',
        '                "p_lane": lane_of("default", None),\n',
    ),
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
        "item.namespace, item.limit_values):\n                gate.running += 1\n",
        '"default", item.limit_values):\n                gate.running += 1\n',
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
        "    remember_answers(transaction.connection, new, decision.duplicates)\n",
        "",
    ),
    Mutant(
        "what was replaced keeps its place in a lane",
        "raytasks.store.transaction",
        "lane_statements.READY_ONES, bound))\n        changed = rewriting",
        "lane_statements.READY_ONES, bound).fetchall()[:0])\n        changed = rewriting",
    ),
    Mutant(
        "what has begun is replaced",
        "raytasks.store.rewriting",
        "        tasks.c.state == State.PENDING.value,\n        tasks.c.attempt == 0,\n",
        "        tasks.c.finished_at.is_(None),\n",
    ),
    Mutant(
        "a replacement is refused though nothing has begun",
        "raytasks.tracker.unique_keys",
        "(task.state is not State.PENDING or task.attempt > 0)",
        "(task.state is not State.PENDING or task.revision > 0)",
    ),
    # Deletions in bulk
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
    Mutant(
        "a bulk deletion ends at a step that has nothing to delete",
        "raytasks.tracker.bulk_turns",
        "        finished_at = now if len(looked_at) < limit else None\n",
        "        finished_at = now if len(looked_at) < limit or not changed else None\n",
    ),
)
"""All of them, each with a name that says what goes wrong."""
