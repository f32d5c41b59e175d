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
)
"""All of them, each with a name that says what goes wrong."""
