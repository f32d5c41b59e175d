"""The settings of people as documents."""

from typing import Any

from raytasks.model.steering import Pause
from raytasks.model.time_text import rfc3339


def pause_document(pause: Pause) -> dict[str, Any]:
    """Return a pause as `/health` shows it. Without a namespace or a type it holds for all."""
    return {
        "namespace": pause.namespace or None,
        "task_type": pause.task_type or None,
        "since": rfc3339(pause.since),
        "until": rfc3339(pause.until),
        "by": pause.by,
        "drain": pause.drain,
    }
