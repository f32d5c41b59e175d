"""The commands of docs/upgrading.md: back up, upgrade, go back."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from raytasks.settings import Settings
from raytasks.store.store import Store
from tests.making import Tracking
from tests.testing_kit.own_pytest import ROOT
from tests.upgrade.dumped import Content
from tests.upgrade.make_dumps import BINARIES

TEXT = (ROOT / "docs" / "upgrading.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"```sh\n(.*?)```", TEXT, re.S)
RUNS = {"sqlite": (0, 2, 3), "postgresql": (1, 2, 4)}
"""Which of the blocks are for which database, in their order."""


@pytest.mark.timeout(120)
def test_back_up_upgrade_and_go_back(old_url: str, content: Content, tmp_path: Path) -> None:
    def run(block: str) -> str:
        path = [str(Path(sys.executable).parent), str(BINARIES), os.environ["PATH"]]
        environment = {
            **{name: value for name, value in os.environ.items() if "DATABASE_URL" not in name},
            "PATH": os.pathsep.join(path),
            "RAYTASKS_DATABASE_URL": old_url,
        }
        command = ["/bin/sh", "-e", "-c", block]
        return subprocess.check_output(
            command, cwd=tmp_path, env=environment, text=True, timeout=100
        )

    assert len(COMMANDS) == 5
    back_up, upgrade, go_back = (COMMANDS[n] for n in RUNS[old_url.partition(":")[0]])
    before = content.tables()
    run(back_up)
    assert "the database is up to date" in run(upgrade)
    assert content.rows("SELECT version_num FROM alembic_version") != [("0003",)]
    store = Store(old_url)
    Tracking(store).submit(0xFFFF_FFFF, task_type="mail")
    store.close()
    content.close()
    run(go_back)
    assert content.tables() == before


def test_what_it_names_is_there() -> None:
    for name in re.findall(r"RAYTASKS_([A-Z_]+)", TEXT):
        assert name == "NAME" or name.lower() in Settings.model_fields, name
