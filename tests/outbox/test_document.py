"""The blocks of docs/outbox.md, on a real PostgreSQL: each order that they commit is invoiced."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.engine import make_url

from raytasks.client import Client
from raytasks.store.database_url import parse_url
from tests.docs.blocks import ROOT, Block, blocks_of
from tests.local_service import LocalService, served

DOCUMENT = ROOT / "docs" / "outbox.md"
BLOCKS = [block for block in blocks_of(DOCUMENT) if not block.marker]

_PATIENCE = 30.0
_DJANGO = """
import os, sys
sys.path.insert(0, os.getcwd())
from django.conf import settings
settings.configure(DATABASES={"default": {
    "ENGINE": "django.db.backends.postgresql", "NAME": sys.argv[1], "HOST": sys.argv[2],
    "USER": sys.argv[3]}})
import django
django.setup()
from django.db import connection, transaction
from shop.tasks import submit
with transaction.atomic():
    with connection.cursor() as cursor:
        cursor.execute("INSERT INTO orders (order_id) VALUES (23)")
    submit("send_invoice", {"order_id": 23})
"""


@pytest.fixture
def engine(postgres_url: str) -> Iterator[Engine]:
    """The user's engine, and the table of orders."""
    engine = create_engine(parse_url(postgres_url))
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE orders (order_id INTEGER PRIMARY KEY)"))
    yield engine
    engine.dispose()


def run(block: Block, engine: Engine, folder: Path, environment: dict[str, str]) -> None:
    """Run a block in its language."""
    if block.language == "postgresql":
        with engine.begin() as connection:
            connection.exec_driver_sql(block.code)
        return
    arguments = ["-c", block.code]
    if block.file is not None:
        (folder / block.file).parent.mkdir()
        (folder / block.file).write_text(block.code)
        url = make_url(environment["APP_POSTGRES_URL"])
        names = [url.database or "", str(url.query.get("host", url.host)), url.username or ""]
        arguments = ["-c", _DJANGO, *names]
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, f"{block.place}: {done.stderr}"


def test_each_order_is_invoiced(postgres_url: str, engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    service = LocalService(
        postgres_url, tmp_path / "files", task_modules=("tests.outbox_handlers",)
    )
    expected = set(range(17, 26))
    with served(service) as url, Client(url) as client:
        plain = make_url(postgres_url).set(drivername="postgresql")
        environment = os.environ | {
            "APP_DATABASE_URL": parse_url(postgres_url).render_as_string(hide_password=False),
            "APP_POSTGRES_URL": plain.render_as_string(hide_password=False),
            "RAYTASKS_URL": url,
            "PYTHONPATH": str(ROOT),
        }
        for block in BLOCKS:
            run(block, engine, tmp_path, environment)
        with engine.begin() as connection:
            connection.execute(text("INSERT INTO orders (order_id) VALUES (25)"))  # the trigger's
        end = time.monotonic() + _PATIENCE
        done: set[int] = set()
        while done != expected:
            assert time.monotonic() < end, f"these orders were invoiced: {done}"
            page = client.list(state="COMPLETED", limit=100)
            done = {task["result"] for task in page["tasks"]}
            time.sleep(0.05)
        with engine.begin() as connection:
            connection.execute(text("SET LOCAL ROLE shop"))
            connection.execute(text("SELECT raytasks_submit_v1('send_invoice', '{}')"))
            connection.execute(
                text(
                    "INSERT INTO task_outbox VALUES (gen_random_uuid(), 'submit', "
                    "'default', '{}', 0)"
                )
            )
            connection.rollback()
        with engine.connect() as connection, pytest.raises(Exception, match="permission denied"):
            connection.execute(text("SET LOCAL ROLE shop; DELETE FROM task_outbox"))
        with engine.begin() as connection:
            connection.execute(text("DROP OWNED BY shop; DROP ROLE shop"))


def test_the_document_has_a_block_for_each_library() -> None:
    assert [block.language for block in BLOCKS].count("postgresql") == 3
    assert [block.language for block in BLOCKS].count("python") == 6
