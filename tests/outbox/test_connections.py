"""The submission by a user's own connection: the row is there exactly if the user commits."""

import re
import subprocess
import sys
import uuid
from collections.abc import Iterator
from typing import Any

import msgspec
import psycopg
import pytest
from sqlalchemy import Engine, create_engine, event, text
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session

from raytasks import outbox
from raytasks.client import BadArgument
from raytasks.model.errors import HandlerError, InvalidSubmission
from raytasks.outbox import connections
from raytasks.store.database_url import parse_url
from tests.outbox_handlers import Order, send_invoice

_ROWS = "SELECT id, kind, namespace, document, created_at FROM task_outbox"


@pytest.fixture
def engine(store_url: str) -> Iterator[Engine]:
    """The user's own engine, on the database of raytasks."""
    engine = create_engine(parse_url(store_url))
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE orders (order_id INTEGER PRIMARY KEY)"))
    yield engine
    engine.dispose()


@pytest.fixture
def nudges(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The nudges that would have been sent."""
    sent: list[str] = []
    monkeypatch.setattr(connections, "nudge", lambda: sent.append("nudge"))
    return sent


def rows(engine: Engine) -> dict[str, dict[str, Any]]:
    """Return the committed rows of the outbox by id, with their documents."""
    with engine.connect() as connection:
        found = connection.execute(text(_ROWS)).all()
    return {
        str(row.id): {**row._asdict(), "document": msgspec.json.decode(row.document)}
        for row in found
    }


def plain_url(url: str) -> str:
    return make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)


def test_a_connection_of_sqlalchemy(engine: Engine, nudges: list[str]) -> None:
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO orders VALUES (1)"))
        first = outbox.submit(connection, send_invoice, Order(order_id=1), priority=5)
        assert nudges == []
    assert nudges == ["nudge"]
    with engine.connect() as connection:
        second = outbox.submit(connection, "send_invoice", {"order_id": 2}, namespace="team-a")
        connection.rollback()
        third = outbox.submit(
            connection, "send_invoice", {"order_id": 3}, namespace="team-a", idempotency_key="k"
        )
        connection.commit()
        outbox.submit(connection, "send_invoice", {"order_id": 4})
    found = rows(engine)
    assert found.keys() == {first, third}
    assert second not in found
    assert found[first]["document"] == {
        "task_type": "send_invoice", "payload": {"order_id": 1}, "priority": 5,
    }  # fmt: skip
    assert found[first]["kind"] == "submit"
    assert (found[first]["namespace"], found[third]["namespace"]) == ("default", "team-a")
    assert found[third]["document"]["idempotency_key"] == "k"
    assert nudges == ["nudge", "nudge"]


def test_a_bad_place_for_nudges_is_told_before_the_insert(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAYTASKS_URL", "tasks.example.org:8000")
    with engine.begin() as connection:
        with pytest.raises(BadArgument, match="is not the URL"):
            outbox.submit(connection, "send_invoice", {"order_id": 1})
        connection.execute(text("INSERT INTO orders VALUES (1)"))
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM orders")).scalar() == 1
    assert rows(engine) == {}


def test_no_nudge_can_make_a_commit_fail(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with engine.begin() as connection:
        task_id = outbox.submit(connection, "send_invoice", {"order_id": 1})
        monkeypatch.setenv("RAYTASKS_API_KEY", "with a line end\n")
    assert rows(engine).keys() == {task_id}
    assert "was not nudged" in caplog.text


def test_many_submissions_of_one_connection_are_one_nudge(
    engine: Engine, nudges: list[str]
) -> None:
    with engine.connect() as connection:
        for _ in range(3):
            for _ in range(4):
                outbox.submit(connection, "send_invoice", {"order_id": 1})
            connection.commit()
        connection.execute(text("INSERT INTO orders VALUES (1)"))
        connection.commit()
        outbox.submit(connection, "send_invoice", {"order_id": 1}, nudges=False)
        connection.commit()
    assert nudges == ["nudge"] * 3
    assert len(rows(engine)) == 13


def test_a_session_of_the_orm(engine: Engine, nudges: list[str]) -> None:
    with Session(engine) as session, session.begin():
        session.execute(text("INSERT INTO orders VALUES (1)"))
        kept = outbox.submit(session, send_invoice, Order(order_id=1))
        with session.begin_nested() as savepoint:
            outbox.submit(session, send_invoice, Order(order_id=1))
            savepoint.rollback()
        assert nudges == []
    assert nudges == ["nudge"]
    with Session(engine) as session, session.begin() as transaction:
        outbox.submit(session, send_invoice, Order(order_id=2))
        transaction.rollback()
    assert rows(engine).keys() == {kept}


def raise_rollback(transaction: psycopg.Transaction) -> None:
    """Roll back to the beginning of a transaction within another one."""
    raise psycopg.Rollback(transaction)


def test_a_connection_of_psycopg(postgres_url: str) -> None:
    engine = create_engine(parse_url(postgres_url))
    with psycopg.connect(plain_url(postgres_url)) as connection:
        kept = outbox.submit(connection, "send_invoice", {"order_id": 1})
        with connection.transaction() as inner:
            outbox.submit(connection, "send_invoice", {"order_id": 2})
            raise_rollback(inner)
        with connection.cursor() as cursor:
            also = outbox.submit(cursor, "send_invoice", {"order_id": 3})
    assert rows(engine).keys() == {kept, also}
    engine.dispose()


async def test_async_connections(postgres_url: str) -> None:
    by_alchemy = create_async_engine(parse_url(postgres_url))
    async with by_alchemy.begin() as connection:
        first = await connection.run_sync(outbox.submit, "send_invoice", {"order_id": 1})
    async with AsyncSession(by_alchemy) as session, session.begin():
        second = await session.run_sync(outbox.submit, "send_invoice", {"order_id": 2})
    with pytest.raises(TypeError, match="run_sync"):
        outbox.submit(by_alchemy.connect(), "send_invoice", {})
    await by_alchemy.dispose()
    async with await psycopg.AsyncConnection.connect(plain_url(postgres_url)) as plain:
        task = outbox.prepare("send_invoice", {"order_id": 3})
        await plain.execute(task.sql, task.parameters)
        with pytest.raises(TypeError, match="await"):
            outbox.submit(plain, "send_invoice", {})
    engine = create_engine(parse_url(postgres_url))
    assert rows(engine).keys() == {first, second, task.task_id}
    engine.dispose()


DJANGO = """
import sys
import django
from django.conf import settings
from django.db import connection, transaction

from raytasks import outbox

_, engine, name, host, user = sys.argv
settings.configure(DATABASES={"default": {
    "ENGINE": engine, "NAME": name, "HOST": host, "USER": user}})
django.setup()

def submit(*args, **options):
    task = outbox.prepare(*args, **options)
    with connection.cursor() as cursor:
        cursor.execute(task.sql, task.parameters)
    transaction.on_commit(outbox.nudge)
    return task.task_id

with transaction.atomic():
    print(submit("send_invoice", {"order_id": 1}))
try:
    with transaction.atomic():
        submit("send_invoice", {"order_id": 2})
        raise ZeroDivisionError
except ZeroDivisionError:
    pass
"""


def test_django(store_url: str, engine: Engine) -> None:
    url = make_url(store_url)
    kind = "sqlite3" if url.get_backend_name() == "sqlite" else "postgresql"
    host = str(url.query.get("host", url.host or ""))
    arguments = [f"django.db.backends.{kind}", url.database or "", host, url.username or ""]
    done = subprocess.run(
        [sys.executable, "-c", DJANGO, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert rows(engine).keys() == {done.stdout.strip()}


def test_sql(postgres_url: str) -> None:
    engine = create_engine(parse_url(postgres_url))
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE orders (order_id INTEGER PRIMARY KEY)"))
        first = connection.execute(
            text("""SELECT raytasks_submit_v1('send_invoice', '{"order_id": 1}')""")
        ).scalar()
        connection.execute(
            text("""
                CREATE FUNCTION invoice() RETURNS trigger LANGUAGE plpgsql AS $$
                BEGIN
                  PERFORM raytasks_submit_v1(
                    'send_invoice', jsonb_build_object('order_id', NEW.order_id),
                    '{"priority": 7, "namespace": "team-a", "task_type": "other"}'
                  );
                  RETURN NEW;
                END $$
            """)
        )
        connection.execute(
            text(
                "CREATE TRIGGER invoice AFTER INSERT ON orders FOR EACH ROW "
                "EXECUTE FUNCTION invoice()"
            )
        )
    with engine.connect() as connection:
        connection.execute(text("INSERT INTO orders VALUES (8)"))
        connection.rollback()
        connection.execute(text("SET search_path TO pg_catalog"))
        connection.execute(text("SELECT public.raytasks_submit_v1('send_invoice', 'null')"))
        connection.execute(text("SET search_path TO public"))
        connection.execute(text("INSERT INTO orders VALUES (9)"))
        connection.commit()
    found = rows(engine)
    assert found.pop(str(first))["document"] == {
        "task_type": "send_invoice", "payload": {"order_id": 1},
    }  # fmt: skip
    by_path, by_trigger = sorted(found.values(), key=lambda row: row["namespace"])
    assert by_path["document"]["payload"] is None
    assert by_trigger["namespace"] == "team-a"
    assert by_trigger["document"] == {
        "task_type": "send_invoice", "payload": {"order_id": 9}, "priority": 7,
    }  # fmt: skip
    engine.dispose()


def test_the_ids_are_of_version_7_and_in_order(postgres_url: str) -> None:
    engine = create_engine(parse_url(postgres_url))
    with engine.begin() as connection:
        before = outbox.prepare("send_invoice", None)
        from_sql = connection.execute(
            text("SELECT raytasks_submit_v1('send_invoice', '{}')")
        ).scalar()
        created_at = connection.execute(text("SELECT created_at FROM task_outbox")).scalar()
    engine.dispose()
    assert created_at is not None
    for task_id, at in ((before.task_id, before.created_at), (str(from_sql), created_at)):
        made = uuid.UUID(task_id)
        assert (made.version, made.variant) == (7, uuid.RFC_4122)
        assert abs((made.int >> 80) / 1000 - at) < 1.0
    assert len({outbox.prepare("send_invoice", None).task_id for _ in range(1000)}) == 1000


def test_a_schema_of_its_own(postgres_url: str) -> None:
    engine = create_engine(parse_url(postgres_url))
    with engine.begin() as connection:
        connection.execute(text('CREATE SCHEMA "Jobs"'))
        connection.execute(text('CREATE TABLE "Jobs".task_outbox (LIKE public.task_outbox)'))
        task_id = outbox.submit(connection, "send_invoice", {}, schema="Jobs")
        found = connection.execute(text('SELECT id FROM "Jobs".task_outbox')).scalar()
        assert str(found) == task_id
        assert connection.execute(text("SELECT count(*) FROM task_outbox")).scalar() == 0
    engine.dispose()


@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"),
    [
        (("send_invoice", {1, 2, object()}), {}, BadArgument, "cannot be JSON"),
        (("send_invoice", float("nan")), {}, BadArgument, "cannot be JSON"),
        ((send_invoice, {"order_id": "x"}), {}, InvalidSubmission, "/payload/order_id"),
        ((len, {}), {}, HandlerError, "handler"),
        (("t", {}), {"prio": 1}, BadArgument, "no option 'prio'; the options are: callback_url"),
        (
            ("t", {}),
            {"delay_seconds": 1, "run_at": "2031-01-01T00:00:00Z"},
            BadArgument,
            "not both",
        ),
        (("t", {}), {"namespace": "No Name"}, BadArgument, "name of a namespace"),
        (("t", {}), {"idempotency_key": "é"}, BadArgument, "idempotency key"),
        (("t", {}), {"schema": 'a"b'}, BadArgument, "name of a schema"),
    ],
)
def test_bad_arguments_write_nothing(
    sqlite_url: str, arguments: Any, options: Any, error: type[Exception], message: str
) -> None:
    engine = create_engine(parse_url(sqlite_url))
    with engine.begin() as connection, pytest.raises(error, match=re.escape(message)):
        outbox.submit(connection, *arguments, **options)
    assert rows(engine) == {}
    engine.dispose()


def test_another_connection_is_refused() -> None:
    with pytest.raises(TypeError, match="execute the sql"):
        outbox.submit(object(), "send_invoice", {})


def test_listeners_do_not_grow(sqlite_url: str, nudges: list[str]) -> None:
    engine = create_engine(parse_url(sqlite_url))
    for _ in range(3):
        with engine.begin() as connection:
            outbox.submit(connection, "send_invoice", {})
            outbox.submit(connection, "send_invoice", {})
    assert nudges == ["nudge"] * 3
    assert event.contains(engine, "commit", connections._on_commit)
    assert len(engine.dispatch.commit) == 1
    engine.dispose()


def test_it_needs_no_sqlalchemy_and_no_ray() -> None:
    code = (
        "import sys; from raytasks import outbox; outbox.prepare('t', {}); "
        "print(sorted({'ray', 'sqlalchemy', 'pydantic', 'psycopg'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
