"""Settings: where they come from, and one line that names the bad one."""

import os
from pathlib import Path
from typing import Any

import pytest

from raytasks.artifacts.artifact_store import ArtifactStore
from raytasks.settings import Settings, SettingsError, handler_environment, load_settings
from raytasks.store.store import Store

TASK_ID = "0198c1de-0000-7000-8000-000000000001"
ODD_NAMES = [
    "plain",
    "a dir with spaces % # ? é",
    "50%3F",
    "a?b=c&d",
    "100%",
    "%s %(here)s",
    "a::b",
    "file:x",
    "[x]*",
    "a@b:c",
    "ü'\"\\",
]
NAMES = [name.upper() for name in Settings.model_fields]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory and an environment without any of our settings."""
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


class TestSources:
    def test_without_any_the_defaults_count(self, folder: Path) -> None:
        settings = load_settings()
        assert settings.database_url == f"sqlite:///{folder}/tasks.db"
        assert (settings.task_modules, settings.debug) == (("raytasks.builtin",), True)
        assert (settings.redis_url, settings.ray_address) == (None, None)
        assert settings.artifacts_url == f"{folder}/artifacts"

    def test_the_file_counts(self, folder: Path) -> None:
        (folder / ".env").write_text(
            "# ours\nDATABASE_URL=postgresql://u:p@h/n\nMAX_CRASHES = 7\nTASK_MODULES='a, b'\n"
            "UNKNOWN_SETTING=1\n"
        )
        settings = load_settings()
        assert settings.database_url == "postgresql://u:p@h/n"
        assert (settings.max_crashes, settings.task_modules) == (7, ("a", "b"))

    def test_the_environment_wins_over_the_file_and_what_is_given_over_both(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (folder / ".env").write_text("MAX_CRASHES=1\nMAX_BACKLOG=10\nAPI_REPLICAS=2\n")
        monkeypatch.setenv("MAX_CRASHES", "2")
        monkeypatch.setenv("api_replicas", "3")
        settings = load_settings(max_crashes=None, max_backlog=30)
        assert (settings.max_crashes, settings.max_backlog, settings.api_replicas) == (2, 30, 3)

    def test_what_is_empty_is_unset(self, folder: Path) -> None:
        (folder / ".env").write_text("REDIS_URL=\nRAY_ADDRESS=\nWARM_RUNNERS_MAX=\n")
        settings = load_settings()
        assert (settings.redis_url, settings.ray_address) == (None, None)
        assert settings.warm_runners_max is None

    def test_settings_cannot_be_changed(self) -> None:
        with pytest.raises(ValueError, match="frozen"):
            load_settings().debug = False  # type: ignore[misc]

    @pytest.mark.parametrize(
        ("text", "modules"),
        [
            ("a", ("a",)),
            ("a,b.c", ("a", "b.c")),
            (" a , ,b,", ("a", "b")),
            ("", ("raytasks.builtin",)),
            (" , ", ("raytasks.builtin",)),
        ],
    )
    def test_modules_are_parted_by_commas(
        self, text: str, modules: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("TASK_MODULES", text)
        assert load_settings().task_modules == modules

    @pytest.mark.parametrize("own", ["handlers/shout.py", "handlers/__init__.py", "handlers.py"])
    def test_without_a_name_the_folder_handlers_counts(self, folder: Path, own: str) -> None:
        (folder / own).parent.mkdir(exist_ok=True)
        (folder / own).touch()
        assert load_settings().task_modules == ("handlers",)
        assert load_settings(task_modules="a").task_modules == ("a",)

    @pytest.mark.parametrize(
        ("data", "line"),
        [
            ("MAX_CRASHES=7\n# für uns\n".encode("latin-1"), 2),
            ("MAX_CRASHES=7\n".encode("utf-16"), 1),
            (b"NAME=\x80", 1),
        ],
    )
    def test_a_file_in_another_encoding_is_one_line_that_names_it(
        self, folder: Path, data: bytes, line: int
    ) -> None:
        (folder / ".env").write_bytes(data)
        with pytest.raises(SettingsError) as caught:
            load_settings()
        assert str(caught.value) == (
            f"{folder}/.env: line {line} is not UTF-8; save the file in that encoding"
        )

    @pytest.mark.parametrize(
        ("text", "line"),
        [("MAX_CRASHES=7\nthis is no setting\n", 2), ("'A=1\n", 1), ("\n# a\nA='b\n", 3)],
    )
    def test_a_broken_line_is_one_line_that_names_it(
        self, folder: Path, text: str, line: int
    ) -> None:
        (folder / ".env").write_text(text)
        with pytest.raises(SettingsError) as caught:
            load_settings()
        assert str(caught.value) == (
            f"{folder}/.env: line {line} cannot be read; write NAME=value, and # before a comment"
        )

    def test_comments_exports_and_empty_lines_can_be_read(self, folder: Path) -> None:
        (folder / ".env").write_text("# a\n\n  \nexport MAX_CRASHES=7 # b\nA='x\ny'\nALONE\n")
        assert load_settings().max_crashes == 7


class TestBounds:
    """Settings that are a least and a most."""

    def test_the_least_may_not_be_more_than_the_most(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("RAYTASKS_WARM_RUNNERS_MIN", "5")
        monkeypatch.setenv("RAYTASKS_WARM_RUNNERS_MAX", "2")
        with pytest.raises(SettingsError) as caught:
            load_settings()
        assert str(caught.value) == (
            "RAYTASKS_WARM_RUNNERS_MIN (5) must not be more than RAYTASKS_WARM_RUNNERS_MAX (2)"
        )

    def test_they_may_be_equal_and_a_most_may_be_missing(self) -> None:
        assert load_settings(warm_runners_min=5, warm_runners_max=5).warm_runners_max == 5
        assert load_settings(warm_runners_min=5).warm_runners_max is None


class TestSchemaOfTheDatabase:
    """DATABASE_SCHEMA becomes a part of the URL: all that opens the database gets that."""

    @pytest.mark.parametrize(
        ("url", "taken_in"),
        [
            ("postgresql://host/name", "postgresql://host/name?schema=own"),
            (
                "postgresql://host/name?sslmode=require",
                "postgresql://host/name?sslmode=require&schema=own",
            ),
            ("postgresql://host/name?schema=own", "postgresql://host/name?schema=own"),
        ],
    )
    def test_the_url_takes_it_in(self, url: str, taken_in: str) -> None:
        settings = load_settings(database_url=url, database_schema="own")
        assert settings.database_url == taken_in

    def test_an_empty_one_is_none(self, folder: Path) -> None:
        (folder / ".env").write_text("RAYTASKS_DATABASE_SCHEMA=\n")
        assert load_settings(database_url="postgresql://h/n").database_url == "postgresql://h/n"

    @pytest.mark.parametrize(
        ("schema", "url", "message"),
        [
            (
                "own",
                None,
                "RAYTASKS_DATABASE_URL: SQLite has no schemas; leave RAYTASKS_DATABASE_SCHEMA "
                "empty",
            ),
            (
                "own",
                "postgresql://h/n?schema=b",
                "names the schema 'b', and RAYTASKS_DATABASE_SCHEMA 'own'",
            ),
            ("Own", "postgresql://h/n", "DATABASE_SCHEMA: 'Own' is not a name for a schema"),
            ("a;b", "postgresql://h/n", "DATABASE_SCHEMA: 'a;b' is not a name for a schema"),
            ("pg_own", "postgresql://h/n", "'pg_own' belongs to PostgreSQL itself"),
            ("x" * 64, "postgresql://h/n", "is not a name for a schema; use up to 63 of a-z"),
        ],
    )
    def test_one_that_cannot_be_used_is_refused_in_one_line(
        self, schema: str, url: str | None, message: str
    ) -> None:
        with pytest.raises(SettingsError) as caught:
            load_settings(database_url=url, database_schema=schema)
        assert message in str(caught.value)
        assert "\n" not in str(caught.value)


class TestPlaces:
    @pytest.mark.parametrize("name", ODD_NAMES)
    @pytest.mark.parametrize("given", [None, "sqlite:///tasks.db", "sqlite:///./sub/../tasks.db"])
    def test_the_database_is_in_the_working_directory_whatever_its_name(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, given: str | None
    ) -> None:
        place = folder / name
        place.mkdir()
        monkeypatch.chdir(place)
        store = Store(load_settings(database_url=given).database_url)
        store.upgrade()
        store.close()
        assert {file.name for file in place.iterdir()} == {"tasks.db"}
        assert {file.name for file in folder.iterdir()} == {name}

    @pytest.mark.parametrize("name", ODD_NAMES)
    def test_artifacts_are_in_the_working_directory_whatever_its_name(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch, name: str
    ) -> None:
        place = folder / name
        place.mkdir()
        monkeypatch.chdir(place)
        store = ArtifactStore(load_settings().artifacts_url)
        store.save(TASK_ID, "a.txt", b"1")
        assert store.read(TASK_ID, "a.txt") == b"1"
        assert store.list(TASK_ID) == [("a.txt", 1)]
        assert (place / "artifacts" / TASK_ID / "a.txt").read_bytes() == b"1"
        store.remove(TASK_ID)
        assert store.list(TASK_ID) == []

    @pytest.mark.parametrize(
        ("given", "read"),
        [
            ("sqlite:///./tasks.db", "sqlite:///{folder}/tasks.db"),
            ("sqlite:///data/tasks.db", "sqlite:///{folder}/data/tasks.db"),
            ("sqlite:///../tasks.db", "sqlite:///{parent}/tasks.db"),
            ("sqlite:////data/tasks.db", "sqlite:////data/tasks.db"),
            ("sqlite:///:memory:", "sqlite:///:memory:"),
            ("sqlite://", "sqlite://"),
            ("sqlite:///./tasks.db?timeout=3", "sqlite:///{folder}/tasks.db?timeout=3"),
            ("sqlite+pysqlite:///tasks.db", "sqlite+pysqlite:///{folder}/tasks.db"),
            ("postgresql://host/name", "postgresql://host/name"),
        ],
    )
    def test_a_relative_database_file_becomes_absolute(
        self, folder: Path, given: str, read: str
    ) -> None:
        settings = load_settings(database_url=given)
        assert settings.database_url == read.format(folder=folder, parent=folder.parent)

    @pytest.mark.parametrize(
        ("url", "is_file"),
        [("sqlite:///tasks.db", True), ("sqlite+pysqlite:////a.db", True),
         ("postgresql://host/name", False)],
    )  # fmt: skip
    def test_whether_the_tracker_must_be_where_the_file_is(self, url: str, is_file: bool) -> None:
        assert load_settings(database_url=url).uses_sqlite is is_file

    @pytest.mark.parametrize(
        ("given", "read"),
        [
            ("./artifacts", "{folder}/artifacts"),
            ("/data", "/data"),
            ("s3://bucket/prefix", "s3://bucket/prefix"),
        ],
    )
    def test_a_relative_folder_of_artifacts_becomes_absolute(
        self, folder: Path, given: str, read: str
    ) -> None:
        assert load_settings(artifacts_url=given).artifacts_url == read.format(folder=folder)


class TestBadSettings:
    @pytest.mark.parametrize(
        ("name", "value", "message"),
        [
            ("MAX_BACKLOG", "many", "valid integer"),
            ("MAX_BACKLOG", "0", "greater than or equal to 1"),
            ("MAX_CRASHES", "-1", "greater than or equal to 0"),
            ("MAX_PAYLOAD_BYTES", "0", "greater than or equal to 1"),
            ("LEASE_SECONDS", "0.5", "greater than or equal to 1"),
            ("PRIORITY_STEP_SECONDS", "-1", "greater than or equal to 0"),
            ("LISTEN_PORT", "0", "greater than or equal to 1"),
            ("LISTEN_PORT", "65536", "less than or equal to 65535"),
            ("API_REPLICAS", "65", "less than or equal to 64"),
            ("RUNNER_IDLE_SECONDS", "0", "greater than 0"),
            ("WARM_RUNNERS_MAX", "0", "greater than or equal to 1"),
            ("DEBUG", "perhaps", "valid boolean"),
            ("LOG_LEVEL", "loud", "'DEBUG', 'INFO', 'WARNING' or 'ERROR'"),
            ("LOG_FORMAT", "xml", "'text' or 'json'"),
            ("LOG_FILE_BYTES", "10", "greater than or equal to 4096"),
        ],
    )
    def test_one_line_names_it(
        self, name: str, value: str, message: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv(name, value)
        with pytest.raises(SettingsError) as caught:
            load_settings()
        text = str(caught.value)
        assert text.startswith(f"RAYTASKS_{name}: ")
        assert message in text
        assert "\n" not in text

    @pytest.mark.parametrize("name", ["LEASE_SECONDS", "PRIORITY_STEP_SECONDS"])
    @pytest.mark.parametrize("value", ["nan", "inf"])
    def test_what_is_no_number_is_refused(
        self, name: str, value: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv(name, value)
        with pytest.raises(SettingsError, match=f"{name}: .*finite number"):
            load_settings()

    def test_it_is_the_same_for_a_value_that_is_given(self) -> None:
        with pytest.raises(SettingsError, match=r"^RAYTASKS_MAX_CRASHES: "):
            load_settings(max_crashes=-5)


class TestLog:
    @pytest.mark.parametrize(
        ("given", "level"), [("debug", "DEBUG"), ("warn", "WARNING"), ("FATAL", "ERROR")]
    )
    def test_levels_have_one_spelling(
        self, given: str, level: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("RAYTASKS_LOG_LEVEL", given)
        assert load_settings().log_level == level

    def test_the_file_is_where_the_command_was_given(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        assert load_settings(log_file="own.log").log_file == str(tmp_path / "own.log")
        assert load_settings(log_file="").log_file is None


class TestSecret:
    @pytest.mark.parametrize("secret", [{}, {"secret_key": "change-me"}, {"secret_key": ""}])
    def test_the_default_is_refused_when_debug_is_off(self, secret: dict[str, Any]) -> None:
        with pytest.raises(SettingsError, match=r"^RAYTASKS_SECRET_KEY must be set"):
            load_settings(debug=False, **secret)

    def test_one_of_your_own_is_taken(self) -> None:
        assert not load_settings(debug=False, secret_key="q8s7").debug

    def test_with_debug_the_default_will_do(self) -> None:
        assert load_settings(debug=True).secret_key == "change-me"


class TestHandlerEnvironment:
    def test_handlers_get_what_the_file_says_and_the_environment_does_not(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("SHOP_TEST_SET", "environment")
        (folder / ".env").write_text(
            "SHOP_TEST_SET=file\nSHOP_TEST_KEY='se cret'\nSHOP_TEST_EMPTY=\nBARE\n"
        )
        assert handler_environment() == {
            "SHOP_TEST_KEY": "se cret",
            "SHOP_TEST_EMPTY": "",
        }
        assert "SHOP_TEST_KEY" not in os.environ

    def test_handlers_do_not_get_our_own_settings(self, folder: Path) -> None:
        (folder / ".env").write_text("SECRET_KEY=s\ndatabase_url=sqlite://\nDEMO_DELAYS=true\n")
        assert handler_environment() == {"DEMO_DELAYS": "true"}

    def test_without_a_file_there_is_nothing(self) -> None:
        assert handler_environment() == {}


class TestOurNames:
    """`RAYTASKS_NAME` beside plain `NAME`."""

    @pytest.fixture(autouse=True)
    def folder(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
        monkeypatch.chdir(tmp_path)
        for name in ("MAX_CRASHES", "RAYTASKS_MAX_CRASHES", "API_KEYS"):
            monkeypatch.delenv(name, raising=False)
        return tmp_path

    def test_each_setting_has_one(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("RAYTASKS_DATABASE_URL", "postgresql://host/ours")
        monkeypatch.setenv("DATABASE_URL", "postgresql://host/of-another-program")
        monkeypatch.setenv("RAYTASKS_TASK_MODULES", "shop, bank.tasks")
        settings = load_settings()
        assert settings.database_url == "postgresql://host/ours"
        assert settings.task_modules == ("shop", "bank.tasks")

    def test_who_wins(self, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
        file = folder / ".env"
        file.write_text("MAX_CRASHES=4\n")
        assert load_settings().max_crashes == 4
        monkeypatch.setenv("MAX_CRASHES", "5")
        assert load_settings().max_crashes == 5
        file.write_text("MAX_CRASHES=4\nRAYTASKS_MAX_CRASHES=6\n")
        assert load_settings().max_crashes == 6
        monkeypatch.setenv("RAYTASKS_MAX_CRASHES", "7")
        assert load_settings().max_crashes == 7
        assert load_settings(max_crashes=8).max_crashes == 8

    @pytest.mark.parametrize("where", ["environment", ".env"])
    def test_one_that_there_is_not_is_told(
        self, monkeypatch: pytest.MonkeyPatch, folder: Path, where: str
    ) -> None:
        if where == ".env":
            (folder / ".env").write_text("RAYTASKS_MAX_CRASH=1\n")
        else:
            monkeypatch.setenv("RAYTASKS_MAX_CRASH", "1")
        with pytest.raises(SettingsError, match="did you mean RAYTASKS_MAX_CRASHES"):
            load_settings()

    def test_those_of_the_client_are_none_of_ours(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("RAYTASKS_URL", "RAYTASKS_API_KEY", "RAYTASKS_NAMESPACE"):
            monkeypatch.setenv(name, "x")
        load_settings()

    def test_handlers_see_none_of_them(self, folder: Path) -> None:
        (folder / ".env").write_text("RAYTASKS_SECRET_KEY=s\nSECRET_KEY=t\nTOKEN=mine\n")
        assert handler_environment() == {"TOKEN": "mine"}
