"""The outbox in the test kit: what a test's own connection commits runs when the test says so."""

from sqlalchemy import create_engine
from sqlalchemy.orm import Session

from raytasks import handler, outbox
from raytasks.outbox import nudges
from raytasks.testing import Queue


@handler("invoice")
def invoice(payload: int) -> int:
    """Return its payload."""
    return payload


def test_what_is_committed_runs(monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(nudges.Nudger, "nudge", lambda _: 1 / 0)
    with Queue([invoice]) as queue:
        engine = create_engine(queue.database_url)
        with Session(engine) as session, session.begin():
            kept = outbox.submit(session, invoice, 7)
        with Session(engine) as session:
            dropped = outbox.submit(session, invoice, 8)
            session.rollback()
        [run] = queue.run_until_idle()
        assert (run.task_id, run.result) == (kept, 7)
        assert queue.get(kept)["state"] == "COMPLETED"
        assert queue.http.get(f"/tasks/{dropped}").status_code == 404
        engine.dispose()
