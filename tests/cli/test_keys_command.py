"""`raytasks keys`: new keys, and secrets of callbacks."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from raytasks.api_keys import PREFIX, Scope, digest_of, parse_keys
from raytasks.handling.callback_secrets import parse_secrets

Run = Callable[..., Any]


def test_it_prints_a_key_and_the_entry_for_it(run: Run) -> None:
    done = run("keys", "new", "--name=ci", "--scopes=read, submit", "--namespace=team-a")
    assert done.code == 0
    key, entry = (line.split()[1] for line in done.out.splitlines())
    assert key.startswith(PREFIX)
    (kept,) = parse_keys(entry)
    assert (kept.name, kept.namespace) == ("ci", "team-a")
    assert kept.scopes == {Scope.READ, Scope.SUBMIT}
    assert kept.digest == digest_of(key)
    assert key not in entry
    assert "not shown again" in done.err
    assert key not in done.err


def test_each_is_another_one_as_json_too(run: Run) -> None:
    made = [json.loads(run("keys", "new", "--name=a", "--json").out) for _ in range(2)]
    assert made[0]["key"] != made[1]["key"]
    for one in made:
        assert one.keys() == {"key", "entry"}
        assert one["entry"] == f"a:read+submit::{digest_of(one['key'])}"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--name=a b"], "the name is not"),
        (["--name=a", "--scopes=write"], "a scope is none of read, submit, operate"),
        (["--name=a", "--scopes="], "it has no scope"),
        (["--name=a", "--namespace=Team"], "the namespace is not"),
    ],
)
def test_what_cannot_be_is_a_2(run: Run, arguments: list[str], said: str) -> None:
    done = run("keys", "new", *arguments)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("error: ")
    assert said in done.err


class TestSecretsOfCallbacks:
    def test_a_secret_and_the_entry_for_it(self, run: Run) -> None:
        done = run("keys", "callback", "--namespace=team-a")
        assert done.code == 0
        secret, entry = (line.split()[1] for line in done.out.splitlines())
        assert parse_secrets(entry) == {"team-a": (secret,)}
        assert "RAYTASKS_CALLBACK_SECRETS" in done.err
        assert secret not in done.err

    def test_each_is_another_one_as_json_too(self, run: Run) -> None:
        made = [json.loads(run("keys", "callback", "--json").out) for _ in range(2)]
        assert made[0]["secret"] != made[1]["secret"]
        assert made[0]["entry"] == f"default={made[0]['secret']}"

    def test_a_bad_namespace(self, run: Run) -> None:
        done = run("keys", "callback", "--namespace=Team")
        assert (done.code, done.out) == (2, "")
        assert "the namespace is not" in done.err
