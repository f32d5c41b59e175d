"""API keys: how they are made, and how they are read from the setting."""

import hashlib

import pytest

from raytasks.api_keys import PREFIX, ApiKey, Scope, digest_of, make_key, new_key, parse_keys
from raytasks.settings import Settings, SettingsError, load_settings

KEY = "rtk_" + "k" * 43
HASH = hashlib.sha256(KEY.encode()).hexdigest()
OTHER = hashlib.sha256(b"other").hexdigest()
SECRET = "a secret of our own"


@pytest.fixture(autouse=True)
def _folder(tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.chdir(str(tmp_path))


def test_new_keys_are_long_random_and_marked() -> None:
    keys = {new_key() for _ in range(100)}
    assert len(keys) == 100
    for key in keys:
        assert key.startswith(PREFIX)
        assert len(key) == len(PREFIX) + 43


def test_the_hash_is_sha256() -> None:
    assert digest_of(KEY) == HASH
    assert len(digest_of("\udcff")) == 64  # what a header with other bytes is read as


def test_entries_are_read_as_they_are_written() -> None:
    text = f" ci:submit+read:team-a:{HASH} ,, ops : operate::{OTHER.upper()},"
    keys = parse_keys(text)
    assert keys == (
        ApiKey("ci", frozenset({Scope.READ, Scope.SUBMIT}), "team-a", HASH),
        ApiKey("ops", frozenset({Scope.OPERATE}), None, OTHER),
    )
    assert keys[0].entry == f"ci:read+submit:team-a:{HASH}"
    assert parse_keys(",".join(key.entry for key in keys)) == keys
    assert parse_keys("") == ()
    assert HASH not in repr(keys)


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ("ci", "1 parts"),
        (f"ci:read:{HASH}", "3 parts"),
        (f"ci:read:a:b:{HASH}", "5 parts"),
        (f":read::{HASH}", "the name is not"),
        (f"c i:read::{HASH}", "the name is not"),
        (f"{'x' * 65}:read::{HASH}", "the name is not"),
        (f"ci:::{HASH}", "it has no scope; give read, submit, operate"),
        (f"ci:write::{HASH}", "a scope is none of read, submit, operate"),
        (f"ci:read submit::{HASH}", "a scope is none of"),
        (f"ci:READ::{HASH}", "a scope is none of"),
        (f"ci:read:Team:{HASH}", "the namespace is not"),
        (f"ci:read:-a:{HASH}", "the namespace is not"),
        ("ci:read::", "(ci) the hash is not"),
        (f"ci:read::{HASH[:-1]}", "(ci) the hash is not"),
        (f"ci:read::{KEY}", "it has a key itself"),
        (f"{KEY}:read::{HASH}", "it has a key itself"),
        (f"{HASH}:read::ci", "its hash does not come last"),
    ],
)
def test_a_bad_entry_is_named_with_the_fix_and_without_a_secret(
    entry: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("API_KEYS", f"good:read::{OTHER},{entry}")
    with pytest.raises(SettingsError) as caught:
        load_settings()
    text = str(caught.value)
    assert text.startswith("RAYTASKS_API_KEYS: entry 2: ")
    assert said in text
    assert "\n" not in text
    for secret in (KEY, HASH, HASH[:-1], OTHER):
        assert secret not in text


def test_one_hash_cannot_be_two_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("API_KEYS", f"a:read::{HASH},b:operate::{HASH}")
    with pytest.raises(
        SettingsError, match=r"^RAYTASKS_API_KEYS: entry 2 \(b\): it has the hash of a;"
    ):
        load_settings()


def test_a_key_is_made_of_parts() -> None:
    key = make_key("ci", "read,submit", None, HASH, separator=",")
    assert key.entry == f"ci:read+submit::{HASH}"
    with pytest.raises(ValueError, match="a scope is none of"):
        make_key("ci", "read+submit", None, HASH, separator=",")


def test_settings_show_no_secret() -> None:
    settings = load_settings(
        secret_key="hunter2", database_url="postgresql://me:hunter2@h/n",
        redis_url="redis://:hunter2@h:1", api_keys=f"a:read::{HASH}",
    )  # fmt: skip
    assert "hunter2" not in repr(settings)
    assert HASH not in repr(settings)


class TestServed:
    """The rule of what may be served where."""

    KEYS = f"a:read::{HASH}"

    @pytest.mark.parametrize("host", [None, "127.0.0.1", "127.8.9.1", "localhost", "::1"])
    def test_with_debug_no_key_is_needed_on_loopback(self, host: str | None) -> None:
        load_settings().check_served(host)

    @pytest.mark.parametrize(
        "host", ["0.0.0.0", "::", "192.168.1.7", "example.test", "localhost.example.test", ""]
    )
    def test_elsewhere_keys_and_a_secret_are_needed(self, host: str) -> None:
        with pytest.raises(
            SettingsError, match=r"^RAYTASKS_API_KEYS must be set to listen on .*keys new"
        ):
            load_settings(secret_key=SECRET).check_served(host)
        with pytest.raises(SettingsError, match=r"^RAYTASKS_SECRET_KEY must be set"):
            load_settings(api_keys=self.KEYS).check_served(host)
        load_settings(api_keys=self.KEYS, secret_key=SECRET).check_served(host)

    def test_without_debug_keys_are_needed_everywhere(self) -> None:
        with pytest.raises(
            SettingsError,
            match=r"^RAYTASKS_API_KEYS must be set when RAYTASKS_DEBUG is off.*keys n",
        ):
            load_settings(debug=False, secret_key=SECRET).check_served()
        load_settings(debug=False, secret_key=SECRET, api_keys=self.KEYS).check_served("0.0.0.0")

    def test_the_replicas_own_listener_is_held_to_it_too(self) -> None:
        with pytest.raises(
            SettingsError,
            match=r"^RAYTASKS_API_KEYS must be set to listen on 0\.0\.0\.0 "
            r"\(RAYTASKS_LISTEN_HOST\); .*",
        ):
            load_settings(listen_port=8001, listen_host="0.0.0.0").check_served("127.0.0.1")
        load_settings(listen_port=8001).check_served("127.0.0.1")
        load_settings(listen_host="0.0.0.0").check_served("127.0.0.1")  # nobody listens there

    def test_keys_need_a_secret_too_since_it_signs_links(self) -> None:
        with pytest.raises(SettingsError, match=r"^RAYTASKS_SECRET_KEY must be set"):
            load_settings(api_keys=self.KEYS).check_served("127.0.0.1")
