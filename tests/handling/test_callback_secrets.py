"""The secrets of callbacks: their setting, and their signatures."""

import base64
from datetime import UTC, datetime

import pytest
from standardwebhooks import Webhook

from raytasks.handling.callback_secrets import new_secret, parse_secrets, signature
from raytasks.settings import Settings, SettingsError, load_settings

A = "whsec_" + base64.b64encode(b"a" * 24).decode()
B = "whsec_" + base64.b64encode(b"b" * 64).decode()


def test_the_setting() -> None:
    assert parse_secrets(f" default={A} {B} ,other = {B},") == {"default": (A, B), "other": (B,)}
    assert parse_secrets("") == {}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (A, "entry 1: it does not begin with a namespace"),
        ("default", "entry 1: it does not begin with a namespace"),
        (f"a={A},Big={A}", "entry 2: its namespace is not 1 to 63"),
        ("a=", r"entry 1: \(a\) it has 0 secrets"),
        (f"a={' '.join([A] * 11)}", "it has 11 secrets"),
        (f"a={A},a={B}", "entry 2: the namespace a is there twice"),
        ("a=c2VjcmV0", "its secret 1 does not begin with whsec_"),
        (f"a={A} whsec_%%%", "its secret 2 is not base64"),
        (f"a={A} whsec_{base64.b64encode(b'c' * 23).decode()}", "has 23 bytes"),
        (f"a=whsec_{base64.b64encode(b'c' * 65).decode()}", "has 65 bytes"),
    ],
)
def test_a_bad_setting_is_named_without_the_secret(text: str, told: str) -> None:
    with pytest.raises(ValueError, match=told) as caught:
        parse_secrets(text)
    assert A.removeprefix("whsec_") not in str(caught.value)


def test_a_secret_is_shown_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAYTASKS_CALLBACK_SECRETS", f"default={A}")
    monkeypatch.setenv("RAYTASKS_CALLBACK_ALLOWED_HOSTS", "hooks.internal, 10.0.0.1:8080")
    settings = load_settings()
    assert settings.callback_secrets == {"default": (A,)}
    assert settings.callback_allowed_hosts == ("hooks.internal", "10.0.0.1:8080")
    assert A not in repr(settings)
    assert settings.callback_terms.namespaces == {"default"}
    monkeypatch.setenv("RAYTASKS_CALLBACK_SECRETS", f"default={A[:-10]}")
    with pytest.raises(SettingsError, match="CALLBACK_SECRETS: entry 1") as caught:
        load_settings()
    assert A[6:-10] not in str(caught.value)
    assert Settings(_env_file=None, callback_secrets="").callback_secrets == {}


def test_signatures_are_those_of_the_reference_library() -> None:
    body, now = b'{"type":"task.completed"}', 1_767_225_600
    at = datetime.fromtimestamp(now, UTC)
    theirs = [Webhook(secret).sign("id", at, body.decode()) for secret in (A, B)]
    assert signature([A, B], "id", now, body) == " ".join(theirs)


def test_a_new_secret() -> None:
    secret = new_secret()
    assert parse_secrets(f"default={secret}") == {"default": (secret,)}
    assert new_secret() != secret
