"""Mutants of what is stored once for many: counts, totals, and the places of attempts."""

from tests.simulation.mutant import Mutant

MUTANTS_OF_SUMS = (
    Mutant(
        "steps of the counts are folded, and stay",
        "raytasks.store.count_steps",
        "_TAKE = delete(count_steps).returning(*count_steps.c)\n",
        "_TAKE = _STEPS\n",
    ),
    Mutant(
        "totals are lost when steps are folded",
        "raytasks.store.count_steps",
        "    _add(direct, batch_statements.ADD_TOTAL, added.items())\n",
        "",
    ),
    Mutant(
        "the same step counts once",
        "raytasks.store.count_steps",
        "counts[namespace, task_type, state] += change * times\n",
        "counts[namespace, task_type, state] += change\n",
    ),
    Mutant(
        "places that were not committed are known",
        "raytasks.store.place_rows",
        "            self.known = {}\n            raise\n",
        "            self.known |= new.stored\n            raise\n",
    ),
    Mutant(
        "a place is that of the node",
        "raytasks.store.place_rows",
        "place = AttemptPlace(attempt.node_id, attempt.worker_id, attempt.host, attempt.pid)\n",
        "place = AttemptPlace(attempt.node_id, attempt.worker_id, attempt.host, attempt.pid)\n"
        "            place = next((p for p in self._known if p.node_id == place.node_id), place)\n",
    ),
)
"""All of them, each with a name that says what goes wrong."""
