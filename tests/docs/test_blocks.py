"""Every code block of the documents runs, or says why it does not."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.blocks import DOCUMENTS, NOT_RUN, ROOT, UNTIL_STOPPED, blocks_of
from tests.docs.running import run_all, session_in
from tests.forked_python import forked_commands
from tests.local_service import LocalService, served

TUTORIAL = ROOT / "docs" / "tutorial.md"
ELSEWHERE = (TUTORIAL, ROOT / "docs" / "outbox.md")

HERE = [document for document in DOCUMENTS if document not in ELSEWHERE and blocks_of(document)]
"""The documents whose blocks run in this process. The tutorial runs in the cluster, and the guide
of the outbox on PostgreSQL: `tests/outbox`."""


@pytest.fixture(name="url", scope="module")
def service_url(tmp_path_factory: pytest.TempPathFactory, sqlite_template: Path) -> Iterator[str]:
    """The URL of a service with the built-in task types that need no Ray."""
    folder = tmp_path_factory.mktemp("service")
    database = folder / "tasks.db"
    database.write_bytes(sqlite_template.read_bytes())
    modules = ("raytasks.builtin.text_processing",)
    service = LocalService(f"sqlite:///{database}", folder, task_modules=modules)
    with served(service) as url:
        yield url


@pytest.fixture(name="commands", scope="module")
def forked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of commands that need not import what others have imported."""
    with forked_commands(tmp_path_factory.mktemp("commands")) as folder:
        yield folder


@pytest.mark.parametrize("document", HERE, ids=lambda file: file.relative_to(ROOT).as_posix())
def test_the_blocks_run(document: Path, tmp_path: Path, url: str, commands: Path) -> None:
    blocks = [block for block in blocks_of(document) if not block.marker]
    with session_in(tmp_path / "project", url, commands) as session:
        run_all(session, blocks)


def test_what_does_not_run_says_why() -> None:
    found = {
        (block.document.relative_to(ROOT).as_posix(), block.code.splitlines()[0]): block.reason
        for document in DOCUMENTS
        for block in blocks_of(document)
        if block.marker == NOT_RUN
        and document.name != "upgrading.md"  # which has a test of its own
    }
    assert all(reason for reason in found.values())
    assert set(found) == {
        ("README.md", "make demo    # the service on this machine, and one real task of each"
                      " type, start to end"),
        ("README.md", ".venv/bin/raytasks demo --break"),
        ("README.md", "1,000 tasks, and SIGKILL for these while they ran:"),
        ("README.md", "raytasks init shop && cd shop     # a handler, its test, settings"),
        ("docs/callbacks.md", "raytasks submit text_processing '{\"text\": \"Hello\"}'"
                              " --callback https://example.com/hook"),
        ("docs/coming-from.md", "@app.task(bind=True, autoretry_for=(ConnectionError,),"
                                " retry_backoff=True, max_retries=4)"),
        ("docs/deployment.md", "FROM raytasks:0.6.0"),
        ("docs/handlers.md", "import ray"),
        ("docs/deployment.md", "RAY_AUTH_MODE=token ray job submit --address http://HOST:8265"
                               " -- python driver.py"),
        ("docs/deployment.md", "# in the foreground, with the log; Ctrl-C ends it in order"),
        ("docs/deployment.md", "cd deploy/kuberay"),
        ("docs/deployment.md", "cp deploy/compose/example.env deploy/.env    # and set what it"
                               " says"),
        ("docs/deployment.md", "docker build --file deploy/Dockerfile --tag raytasks:0.6.0 ."),
        ("docs/deployment.md", "ray get-auth-token --generate"),
        ("docs/flow.md", "raytasks limits set smtp --running 5 --rate 100/60s"),
        ("docs/flow.md", "raytasks submit send_mail '{\"account\": \"a-17\"}'"
                         " --limit-value account=a-17-bulk"),
        ("docs/database.md", "RAYTASKS_DATABASE_URL='postgresql://raytasks@db1,db2/tasks"
                             "?target_session_attrs=read-write'"),
        ("docs/database.md", "def include_name(name, type_, parent_names):"),
        ("docs/database.md", "pg_restore --no-owner --exit-on-error"
                             " --dbname=postgresql://raytasks@db.example.com/tasks tasks.dump"),
        ("docs/database.md", "raytasks db upgrade --sql > upgrade.sql"),
        ("docs/database.md", "rm -f tasks.db tasks.db-wal tasks.db-shm"),
        ("docs/operation.md", "raytasks up --address HOST:6379"),
        ("docs/operation.md", "raytasks worker --address HOST:6379"),
        ("docs/operation.md", "RAYTASKS_API_REPLICAS=2 RAYTASKS_LISTEN_PORT=8001 raytasks up"),
        ("docs/operation.md", "server {"),
        ("docs/performance.md", 'make bench ROUNDS=5 ONLY="ray.tasks sqlite.drain sqlite.submission'
                                " sqlite.single sqlite.end_to_end sqlite.listener \\"),
        ("docs/performance.md", "make bench          # raytasks beside its baselines; writes"
                                " benchmarks/results/"),
        ("docs/releasing.md", ".venv/bin/uv build --no-build-isolation --out-dir dist client"),
        ("docs/releasing.md", "make release-check"),
        ("docs/schedules.md", "raytasks schedules"),
        ("docs/start.md", ".venv/bin/raytasks demo --break"),
        ("docs/start.md", "make demo"),
        ("docs/start.md", "make install"),
        ("docs/start.md", "python3 -m pip wheel --no-deps -w dist . ./client"),
        ("docs/tutorial.md", "mkdir -p ~/.ray"),
    }  # fmt: skip


def test_only_the_tutorial_has_blocks_that_go_on() -> None:
    going_on = {
        document
        for document in DOCUMENTS
        for block in blocks_of(document)
        if block.marker == UNTIL_STOPPED
    }
    assert going_on == {TUTORIAL}
