"""Two no-ops for `benchmarks.far_runner`: one beside the tracker, one on another node."""

from typing import Any

from raytasks import Pool, handler

LABEL, ELSEWHERE = "place", "elsewhere"
NEAR, FAR = "bench_near", "bench_far"


@handler(
    NEAR, pool=Pool("near", runners=(1, 1), ray_options={"label_selector": {LABEL: "!elsewhere"}})
)
def near(payload: dict[str, Any]) -> None:
    """Do nothing, in a runner on the tracker's node."""


# Its first task makes the runner, when the other node is there.
@handler(FAR, pool=Pool("far", runners=(0, 1), ray_options={"label_selector": {LABEL: ELSEWHERE}}))
def far(payload: dict[str, Any]) -> None:
    """Do nothing, in a runner on the other node."""
