"""Fixtures of the handlers' tests: a context that keeps its artifacts in a folder."""

from collections.abc import Callable
from pathlib import Path

import pytest

from raytasks import Context
from raytasks.artifacts.artifact_store import ArtifactStore

TASK_ID = "0198c1de-0000-7000-8000-000000000001"


@pytest.fixture
def context(tmp_path: Path) -> Context:
    """A context like a runner's, for one attempt."""
    return Context(TASK_ID, "test", artifacts=ArtifactStore(str(tmp_path / "artifacts")))


@pytest.fixture
def read_artifact(context: Context) -> Callable[[str], bytes]:
    """Return the bytes behind the URL path that a handler gave."""

    def read(url: str) -> bytes:
        prefix, task_id, name = url.removeprefix("/").split("/")
        assert prefix == "artifacts"
        assert isinstance(context.artifacts, ArtifactStore)
        return context.artifacts.read(task_id, name)

    return read


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The settings of the machine that runs the tests must not matter."""
    for name in (
        "DEMO_DELAYS",
        "FETCH_ALLOWED_HOSTS",
        "IMAGE_FETCH_SECONDS",
        "IMAGE_MAX_BYTES",
        "IMAGE_MAX_PIXELS",
        "SUMMARIZER_API_KEY",
        "SUMMARIZER_MODEL",
        "SUMMARIZER_TIMEOUT_SECONDS",
        "SUMMARIZER_URL",
    ):
        monkeypatch.delenv(name, raising=False)
