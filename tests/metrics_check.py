"""Checks of metrics that several tests share: the totals add up, and no counter falls."""

from collections import Counter, defaultdict

from prometheus_client.parser import text_string_to_metric_families

from raytasks.store.store import Store

Series = dict[tuple[str, tuple[tuple[str, str], ...]], float]
"""The samples of a scrape, by name and labels."""


def check_identity(store: Store) -> Counter[tuple[str, str, str]]:
    """Check that what was submitted and retried has finished or is open; return the totals."""
    open_tasks: Counter[tuple[str, str]] = Counter()
    for (space, kind, state), number in store.counts().items():
        if not state.final:
            open_tasks[space, kind] += number
    totals = Counter(store.totals())
    for space, kind in {(space, kind) for space, kind, _ in totals} | open_tasks.keys():
        said = {name: totals[space, kind, name] for name in ("submitted", "retried")}
        finished = sum(
            number
            for (*pair, name), number in totals.items()
            if pair == [space, kind] and name.startswith("finished.")
        )
        assert sum(said.values()) == finished + open_tasks[space, kind], (space, kind, said)
    return totals


def scraped(text: str) -> Series:
    """Return the samples of a scrape. Each series is there once."""
    found: Series = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            key = sample.name, tuple(sorted(sample.labels.items()))
            assert key not in found, key
            found[key] = sample.value
    return found


def is_counter(name: str) -> bool:
    """Return whether the numbers of this name only grow."""
    return name.endswith(("_total", "_bucket", "_count", "_sum"))


def check_no_fall(before: Series, after: Series) -> None:
    """Check that no counter is less than before, or gone."""
    for (name, labels), value in before.items():
        if is_counter(name):
            assert after.get((name, labels), -1.0) >= value, (name, labels, value)


def counters(series: Series) -> Series:
    """Return the counters and histograms of a scrape alone."""
    return {key: value for key, value in series.items() if is_counter(key[0])}


def check_sums(series: Series) -> dict[str, dict[str, float]]:
    """Check that the counters of a scrape add up; return them by type and name."""
    by_type: dict[str, dict[str, float]] = {}
    for (name, labels), value in series.items():
        found = dict(labels)
        if "task_type" not in found:
            continue
        sums = by_type.setdefault(found["task_type"], defaultdict(float))
        if name == "raytasks_tasks" and found["state"] in ("PENDING", "RUNNING", "RETRYING"):
            sums["open"] += value
        elif name.endswith("_total"):
            sums[name.removeprefix("raytasks_").removesuffix("_total")] += value
    for task_type, sums in by_type.items():
        came = sums["tasks_submitted"] + sums["tasks_retried"]
        assert came == sums["tasks_finished"] + sums["open"], (task_type, sums)
    return by_type
