"""The plan of a runner: which handlers it finds, and who gets the secrets of callbacks."""

import base64

from raytasks.model.callbacks import CALLBACK_POOL, CALLBACK_TYPE
from raytasks.pools.handlers_version import HandlersVersion
from raytasks.runner.plan import RunnerPlan
from raytasks.settings import Settings

SECRET = "whsec_" + base64.b64encode(b"s" * 32).decode()


def plan(pool: str) -> RunnerPlan:
    return RunnerPlan(
        name=f"runner.{pool}.1@g",
        pool=pool,
        generation="g",
        task_types=("noop",),
        modules=("tests.scripted",),
        artifacts_url="",
        max_tasks=1,
        max_memory_bytes=1,
    )


def test_a_runner_finds_the_handlers_of_its_types() -> None:
    assert plan("shared").registry().task_types == ("noop",)


def test_a_runner_of_callbacks_imports_no_module_of_the_user() -> None:
    made = plan(CALLBACK_POOL).for_callbacks({"default": (SECRET,)}, ("hooks.internal",))
    assert made.modules == ("tests.scripted",)
    assert made.registry().task_types == (CALLBACK_TYPE,)
    assert SECRET not in repr(made)


def test_other_secrets_make_other_runners_and_are_not_shown() -> None:
    def version(secrets: str) -> HandlersVersion:
        settings = Settings(_env_file=None, callback_secrets=secrets)
        return HandlersVersion("token", "fingerprint", (), settings)

    one, another = version(""), version(f"default={SECRET}")
    assert one.generation != another.generation == version(f"default={SECRET}").generation
    assert SECRET not in repr(another)
    assert [info.task_type for info in one.all_handlers] == [CALLBACK_TYPE]
    assert one.task_types == ()
