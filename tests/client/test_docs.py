"""The examples of docs/client.md run, on a service that the test plays."""

import functools
import re
from pathlib import Path

import httpx
import pytest

import raytasks.client
from tests.played_service import play

TEXT = (Path(__file__).parents[2] / "docs" / "client.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)


@pytest.mark.parametrize(
    ("number", "says"),
    [
        (0, ["{'words': 4}", "COMPLETED"]),
        (1, ["3"]),
        (2, ["id"]),
        (3, ["COMPLETED 1", "INFO counting", "0.5 half"]),
        (4, ["some changes were missed: list again", "id"]),
        (5, ["id None", "3", "2 of 3", "0.25"]),
    ],
)
def test_it_runs(
    number: int,
    says: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name in ("Client", "AsyncClient"):
        kind = getattr(raytasks.client, name)
        client = functools.partial(kind, transport=httpx.MockTransport(play))
        monkeypatch.setattr(raytasks.client, name, client)
    exec(compile(EXAMPLES[number], f"example {number}", "exec"), {})
    assert capsys.readouterr().out.splitlines() == says


def test_each_example_is_run() -> None:
    assert len(EXAMPLES) == 6
    for name in raytasks.client.__all__:
        kind = getattr(raytasks.client, name)
        if isinstance(kind, type) and issubclass(kind, raytasks.client.ApiError):
            assert f"`{name}`" in TEXT
