"""The picture of a task's states, drawn from the one table of transitions.

`python -m docs.generators.states_picture` writes it to `docs/states.svg`; a test compares the two.
"""

from collections import defaultdict
from pathlib import Path

from raytasks.model.states import TRANSITIONS, State

FILE = Path(__file__).parents[1] / "states.svg"

_WIDTH, _HEIGHT = 116, 40
_CENTRES = {
    None: (40, 190),
    State.PENDING: (190, 190),
    State.RUNNING: (440, 190),
    State.RETRYING: (440, 350),
    State.COMPLETED: (740, 70),
    State.FAILED: (740, 190),
    State.CANCELLED: (740, 350),
}
"""Where each state stands; None is the beginning."""

# How far each arrow bends, where its label stands on it (0 to 1), and how far beside it (x, y).
_BENDS: dict[tuple[State | None, State], tuple[float, float, float, float]] = {
    (None, State.PENDING): (0, 0.45, 0, -8),
    (State.PENDING, State.RUNNING): (-26, 0.5, 0, -8),
    (State.RUNNING, State.PENDING): (-26, 0.5, 0, 17),
    (State.RETRYING, State.RUNNING): (-40, 0.5, -24, 0),
    (State.RUNNING, State.RETRYING): (-40, 0.5, 68, 0),
    (State.RUNNING, State.COMPLETED): (0, 0.5, -26, -8),
    (State.RUNNING, State.FAILED): (0, 0.45, 0, -8),
    (State.RUNNING, State.CANCELLED): (0, 0.7, 26, -6),
    (State.RETRYING, State.CANCELLED): (0, 0.4, 0, -8),
    (State.PENDING, State.FAILED): (-150, 0.3, 0, -6),
    (State.PENDING, State.CANCELLED): (250, 0.5, 0, -8),
    (State.FAILED, State.PENDING): (300, 0.5, 0, -8),
    (State.CANCELLED, State.PENDING): (-420, 0.5, 0, 18),
}

_STYLE = """\
<style>
  svg { background: #fff }
  text { font: 14px system-ui, sans-serif; fill: #1d2733; text-anchor: middle }
  .label { font-size: 12px; fill: #44515f; paint-order: stroke; stroke: #fff; stroke-width: 4px }
  rect { fill: #e8f0fb; stroke: #2f6fbf; stroke-width: 1.5 }
  rect.final { fill: #eef3ee; stroke: #3f7d48 }
  path.arrow { fill: none; stroke: #44515f; stroke-width: 1.3; marker-end: url(#head) }
</style>
<defs><marker id="head" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" markerHeight="7"
 orient="auto-start-reverse"><path d="M0 0 10 5 0 10z" fill="#44515f"/></marker></defs>"""

Point = tuple[float, float]


def picture() -> str:
    """Return the picture as SVG. Raises `KeyError` for a transition that has no place in it."""
    arrows = defaultdict[tuple[State | None, State], list[str]](list)
    for event, row in TRANSITIONS.items():
        for source in sorted(row.sources) or [None]:
            arrows[source, row.target].append(event.value)
    parts = [
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 820 560" role="img"',
        ' aria-label="The states of a task, and what moves it from one to the next">\n',
        _STYLE,
        '\n<circle cx="40" cy="190" r="8" fill="#44515f"/>\n',
    ]
    parts += [_arrow(source, target, events) for (source, target), events in arrows.items()]
    parts += [_box(state) for state in State]
    return "".join([*parts, "</svg>\n"])


def _box(state: State) -> str:
    x, y = _CENTRES[state]
    final = ' class="final"' if state.final else ""
    return (
        f'<rect{final} x="{x - _WIDTH / 2:g}" y="{y - _HEIGHT / 2:g}" width="{_WIDTH}" '
        f'height="{_HEIGHT}" rx="8"/>\n<text x="{x}" y="{y + 5}">{state.value}</text>\n'
    )


def _arrow(source: State | None, target: State, events: list[str]) -> str:
    bend, along, right, down = _BENDS[source, target]
    (x1, y1), (x2, y2) = _CENTRES[source], _CENTRES[target]
    length = ((x2 - x1) ** 2 + (y2 - y1) ** 2) ** 0.5
    across = (-(y2 - y1) / length, (x2 - x1) / length)
    middle = ((x1 + x2) / 2 + across[0] * bend, (y1 + y2) / 2 + across[1] * bend)
    begin, end = _edge(source, middle), _edge(target, middle)
    at = _on_curve(begin, middle, end, along)
    label = ", ".join(event.replace("_", " ") for event in events)
    return (
        f'<path class="arrow" d="M{begin[0]:.0f} {begin[1]:.0f} Q{middle[0]:.0f} {middle[1]:.0f} '
        f'{end[0]:.0f} {end[1]:.0f}"/>\n'
        f'<text class="label" x="{at[0] + right:.0f}" y="{at[1] + down:.0f}">{label}</text>\n'
    )


def _edge(state: State | None, towards: Point) -> Point:
    """Return where a line from the middle of a state leaves its box."""
    x, y = _CENTRES[state]
    dx, dy = towards[0] - x, towards[1] - y
    half = (9, 9) if state is None else (_WIDTH / 2 + 2, _HEIGHT / 2 + 2)
    share = min(half[0] / abs(dx) if dx else 9e9, half[1] / abs(dy) if dy else 9e9)
    return x + dx * share, y + dy * share


def _on_curve(begin: Point, middle: Point, end: Point, along: float) -> Point:
    a, b, c = (1 - along) ** 2, 2 * along * (1 - along), along**2
    return (
        a * begin[0] + b * middle[0] + c * end[0],
        a * begin[1] + b * middle[1] + c * end[1],
    )


if __name__ == "__main__":
    FILE.write_text(picture(), encoding="utf-8")
