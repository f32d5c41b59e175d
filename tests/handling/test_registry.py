"""Handlers: how they are declared, found, described, and what is wrong with a bad one."""

import asyncio
import itertools
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, Field, ValidationError

from raytasks import Context, RetryPolicy, handler
from raytasks.handling.declaration import HandlerSpec, handler_of
from raytasks.handling.registry import Registry
from raytasks.model.errors import HandlerError
from raytasks.model.handler_info import HandlerKind

_NUMBERS = itertools.count()


class Payload(BaseModel):
    text: str = Field(min_length=1)


@handler("plain", retry=RetryPolicy(max_attempts=5), timeout=60)
def plain(payload: Payload, context: Context) -> str:
    """Return the text."""
    return payload.text


@handler("warm", actors=(1, 2), ray_options={"num_gpus": 1})
class Warm:
    """Keeps a model."""

    def __call__(self, payload: Payload) -> str:
        return payload.text


@handler("later")
async def later(payload: Payload) -> str:
    return payload.text


@handler("anything")
def anything(payload, context):  # type: ignore[no-untyped-def]
    return payload


def declare(target: Any = None, task_type: str = "short", **options: Any) -> HandlerSpec:
    """Declare a handler; without a target, a plain function."""

    def short(payload: dict[str, Any]) -> None: ...

    target = short if target is None else target
    handler(task_type, **options)(target)
    return handler_of(target)


@pytest.fixture
def write_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[dict[str, str]], str]]:
    """Write a package of handler modules that can be imported, and return its name."""
    before = set(sys.modules)

    def write(files: dict[str, str]) -> str:
        name = f"handlers_of_a_test_{next(_NUMBERS)}"
        for file, source in {"__init__.py": "", **files}.items():
            path = tmp_path / name / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(source)
        return name

    monkeypatch.syspath_prepend(str(tmp_path))
    yield write
    for name in set(sys.modules) - before:
        if name.startswith("handlers_of_a_test_"):
            del sys.modules[name]


def source_of(*task_types: str) -> str:
    return "from raytasks import handler\n" + "".join(
        f"@handler({task_type!r})\ndef f{i}(payload: dict): ...\n"
        for i, task_type in enumerate(task_types)
    )


class TestDeclaration:
    def test_what_is_decorated_stays_as_it_was(self) -> None:
        assert plain(Payload(text="a"), Context("1", "plain")) == "a"
        assert Warm()(Payload(text="a")) == "a"
        assert asyncio.run(later(Payload(text="a"))) == "a"

    def test_the_decorator_leaves_what_it_was_told(self) -> None:
        spec = handler_of(plain)
        assert (spec.task_type, spec.target, spec.timeout_seconds) == ("plain", plain, 60)
        assert spec.retry.max_attempts == 5
        assert declare().retry == RetryPolicy()

    @pytest.mark.parametrize(
        ("spec", "kind", "pool"),
        [
            (handler_of(plain), HandlerKind.FUNCTION, "shared"),
            (handler_of(later), HandlerKind.FUNCTION, "shared"),
            (handler_of(Warm), HandlerKind.CLASS, "class.warm"),
            (declare(isolated=True), HandlerKind.REMOTE, "remote"),
            (declare(ray_options={"num_cpus": 2}), HandlerKind.REMOTE, "remote"),
            (declare(ray_options={}), HandlerKind.FUNCTION, "shared"),
        ],
    )
    def test_where_it_runs(self, spec: HandlerSpec, kind: HandlerKind, pool: str) -> None:
        assert (spec.kind, spec.info().pool) == (kind, pool)

    @pytest.mark.parametrize(
        ("target", "wants"), [(plain, True), (anything, True), (later, False), (Warm, False)]
    )
    def test_whether_it_wants_a_context(self, target: Any, wants: bool) -> None:
        assert handler_of(target).wants_context is wants

    def test_actors_are_those_of_classes(self) -> None:
        assert handler_of(Warm).actors == (1, 2)
        assert declare(actors=(3, 4)).actors == (0, 0)

    @pytest.mark.parametrize(
        "task_type", ["", "1a", "_a", "a b", "a/b", "ä", "a\n", "a" * 101, "a,b", "-a"]
    )
    def test_a_bad_task_type_is_refused(self, task_type: str) -> None:
        with pytest.raises(HandlerError, match=r"short: bad task type .*: a letter, then letters"):
            declare(task_type=task_type)

    @pytest.mark.parametrize("task_type", ["a", "text_processing", "A-1.b", "a" * 100])
    def test_a_good_task_type_is_taken(self, task_type: str) -> None:
        assert declare(task_type=task_type).task_type == task_type

    @pytest.mark.parametrize("timeout", [0, -1, float("nan")])
    def test_a_timeout_that_leaves_no_time_is_refused(self, timeout: float) -> None:
        with pytest.raises(HandlerError, match="timeout must be more than 0 seconds"):
            declare(timeout=timeout)

    @pytest.mark.parametrize(
        ("actors", "message"),
        [
            ((2, 1), "0 <= least <= most"),
            ((-1, 1), "0 <= least <= most"),
            ((0, 0), "at least one actor"),
        ],
    )
    def test_actors_that_cannot_be_are_refused(self, actors: tuple[int, int], message: str) -> None:
        class Model:
            def __call__(self, payload: dict[str, Any]) -> None: ...

        with pytest.raises(HandlerError, match=f"Model: actors must .*{message}"):
            declare(Model, actors=actors)

    def test_a_class_cannot_be_isolated(self) -> None:
        class Model:
            def __call__(self, payload: dict[str, Any]) -> None: ...

        with pytest.raises(HandlerError, match=r"Model: .*isolated is for functions"):
            declare(Model, isolated=True)

    def test_a_class_must_be_callable(self) -> None:
        class Model:
            def run(self, payload: dict[str, Any]) -> None: ...

        with pytest.raises(HandlerError, match="Model: a handler class needs a __call__ method"):
            declare(Model)

    def test_a_class_may_inherit_its_call(self) -> None:
        class Model(Warm):
            """Another model."""

        assert declare(Model).kind is HandlerKind.CLASS

    @pytest.mark.parametrize("count", [0, 3])
    def test_another_number_of_parameters_is_refused(self, count: int) -> None:
        targets: dict[int, Any] = {0: lambda: None, 3: lambda a, b, c: None}
        with pytest.raises(HandlerError, match=r"takes \(payload\) or \(payload, context\)"):
            declare(targets[count])

    def test_the_payload_comes_first(self) -> None:
        def swapped(context: Context, payload: Payload) -> None: ...

        with pytest.raises(HandlerError, match="swapped: the payload comes first"):
            declare(swapped).payload  # noqa: B018 - it is made when it is asked for

    def test_what_is_not_decorated_is_no_handler(self) -> None:
        with pytest.raises(HandlerError, match="Payload is not decorated with @handler"):
            handler_of(Payload)

    def test_a_class_does_not_inherit_being_a_handler(self) -> None:
        class Model(Warm):
            """Another model, not declared."""

        assert Registry([handler_of(Warm)]).get("warm") is handler_of(Warm)
        with pytest.raises(HandlerError, match="Model is not decorated"):
            handler_of(Model)


class TestPayload:
    @pytest.mark.parametrize("target", [plain, later, Warm])
    def test_it_is_checked_by_its_annotation(self, target: Any) -> None:
        adapter = handler_of(target).payload
        assert adapter.validate_json('{"text": "a"}') == Payload(text="a")
        with pytest.raises(ValidationError):
            adapter.validate_json('{"text": ""}')

    def test_without_an_annotation_everything_is_taken(self) -> None:
        adapter = handler_of(anything).payload
        for value in (None, 1, [1], {"a": [None]}):
            assert adapter.validate_python(value) == value

    def test_an_annotation_may_be_a_text(self, write_package: Callable[..., str]) -> None:
        name = write_package(
            {
                "deferred.py": (
                    "from __future__ import annotations\n"
                    "from pydantic import BaseModel\n"
                    "from raytasks import Context, handler\n"
                    "class Payload(BaseModel):\n    number: int\n"
                    "@handler('function')\n"
                    "def function(payload: Payload, context: Context) -> dict: ...\n"
                    "@handler('class')\n"
                    "class Class:\n    def __call__(self, payload: Payload) -> dict: ...\n"
                )
            }
        )
        registry = Registry.load([name])
        for task_type in ("function", "class"):
            spec = registry.get(task_type)
            assert spec is not None
            assert spec.payload.validate_python({"number": "3"}).number == 3

    @pytest.mark.parametrize("annotation", ["Nowhere", asyncio.Queue, "a b"])
    def test_an_annotation_that_cannot_be_checked_is_named(self, annotation: Any) -> None:
        def takes(payload): ...  # type: ignore[no-untyped-def]

        takes.__annotations__["payload"] = annotation
        with pytest.raises(HandlerError, match="takes: the payload's annotation cannot be used: "):
            declare(takes).payload  # noqa: B018 - it is made when it is asked for

    @pytest.mark.parametrize("annotation", [int, list[int], dict[str, float], int | None])
    def test_it_may_be_any_type(self, annotation: Any) -> None:
        def takes(payload): ...  # type: ignore[no-untyped-def]

        takes.__annotations__["payload"] = annotation
        assert declare(takes).payload.json_schema()


class TestDiscovery:
    def test_all_modules_of_a_package_are_searched_but_private_ones(
        self, write_package: Callable[..., str]
    ) -> None:
        name = write_package(
            {
                "__init__.py": source_of("of_the_package"),
                "one.py": source_of("a", "b"),
                "deep/__init__.py": "",
                "deep/two.py": source_of("c"),
                "_private.py": source_of("hidden"),
                "_broken.py": "1 / 0",
                "none.py": "value = 1\n",
            }
        )
        assert Registry.load([name]).task_types == ("a", "b", "c", "of_the_package")
        assert Registry.load([f"{name}.one"]).task_types == ("a", "b")

    def test_a_handler_that_is_imported_elsewhere_counts_once(
        self, write_package: Callable[..., str]
    ) -> None:
        name = write_package({"one.py": source_of("a"), "two.py": "from .one import f0\n"})
        assert Registry.load([name, f"{name}.one"]).task_types == ("a",)

    def test_a_type_that_is_declared_twice_is_refused(
        self, write_package: Callable[..., str]
    ) -> None:
        name = write_package({"one.py": source_of("a"), "two.py": source_of("a")})
        with pytest.raises(HandlerError) as caught:
            Registry.load([name])
        assert str(caught.value) == (
            f"task type 'a' is declared twice: {name}.one.f0 and {name}.two.f0"
        )

    @pytest.mark.parametrize(
        ("source", "message"),
        [
            ("import nothing_like_it\n", "module '{}.bad' needs 'nothing_like_it', not installed"),
            ("1 / 0\n", "module '{}.bad' failed to import: ZeroDivisionError: division by zero"),
            ("def f(:\n", "module '{}.bad' failed to import: SyntaxError: "),
            (
                "from raytasks import handler\n@handler('bad type')\ndef f(payload): ...\n",
                "{}.bad.f: bad task type 'bad type'",
            ),
        ],
    )
    def test_a_module_that_cannot_be_imported_is_named(
        self, write_package: Callable[..., str], source: str, message: str
    ) -> None:
        name = write_package({"bad.py": source})
        with pytest.raises(HandlerError) as caught:
            Registry.load([name])
        assert message.format(name) in str(caught.value)

    def test_a_module_that_is_not_there_is_named(self, write_package: Callable[..., str]) -> None:
        name = write_package({})
        for missing in ("no_such_handlers", f"{name}.missing", "no_such_handlers.deep"):
            with pytest.raises(HandlerError, match=f"handler module '{missing}' not found"):
                Registry.load([missing])

    def test_no_handler_at_all_is_an_error(self, write_package: Callable[..., str]) -> None:
        name = write_package({"none.py": "value = 1\n"})
        with pytest.raises(HandlerError, match=f"no handler found in {name}, {name}.none"):
            Registry.load([name, f"{name}.none"])
        with pytest.raises(HandlerError, match="no handler found in no modules at all"):
            Registry.load([])

    def test_the_built_in_handlers_load(self) -> None:
        built_in = Registry.load(["raytasks.builtin"])
        assert built_in.task_types == (
            "ai_summarization", "batch_processing", "image_processing", "text_processing"
        )  # fmt: skip
        assert Registry.load(["handlers"]).infos() == built_in.infos()

    def test_the_fingerprint_of_the_built_in_ones_is_that_of_their_code_alone(self) -> None:
        registry = Registry.load(["raytasks.builtin.text_processing"])
        before = registry.fingerprint()
        sys.modules["raytasks.more"] = sys.modules["raytasks.handling.registry"]
        try:
            assert registry.fingerprint() == before
        finally:
            del sys.modules["raytasks.more"]


class TestRegistry:
    @pytest.fixture
    def registry(self) -> Registry:
        return Registry([handler_of(plain), handler_of(Warm), handler_of(later)])

    @pytest.mark.parametrize(
        ("asked", "nearest"),
        [("plan", "plain"), ("Plain", "plain"), ("wram", "warm"), ("zzzzzz", None), ("", None)],
    )
    def test_the_nearest_name_is_found(
        self, registry: Registry, asked: str, nearest: str | None
    ) -> None:
        assert registry.get(asked) is None
        assert registry.nearest(asked) == nearest

    def test_a_part_of_it(self, registry: Registry) -> None:
        assert registry.only(["warm", "plain"]).task_types == ("plain", "warm")
        with pytest.raises(HandlerError, match="no handler for x, y"):
            registry.only(["x", "plain", "y"])

    def test_the_fingerprint_changes_with_the_code(
        self, write_package: Callable[..., str], tmp_path: Path
    ) -> None:
        name = write_package({"one.py": source_of("a"), "_helper.py": "VALUE = 1\n"})
        registry = Registry.load([name])
        __import__(f"{name}._helper")
        before = registry.fingerprint()
        assert registry.fingerprint() == before
        (tmp_path / name / "_helper.py").write_text("VALUE = 2\n")
        assert registry.fingerprint() != before

    def test_what_is_told_of_a_handler(self) -> None:
        info = handler_of(Warm).info()
        assert (info.task_type, info.actors, info.ray_options) == ("warm", (1, 2), {"num_gpus": 1})
        assert info.description == {
            "task_type": "warm",
            "description": "Keeps a model.",
            "payload_schema": Payload.model_json_schema(),
            "kind": "class",
            "timeout_seconds": None,
            "retry": {
                "max_attempts": 3,
                "initial_delay_seconds": 1.0,
                "factor": 2.0,
                "max_delay_seconds": 300.0,
                "jitter": 0.1,
                "never_retry": [],
                "retry_on": None,
                "memory_factor": 1.0,
                "max_memory": None,
                "other_node": False,
            },
            "actors": [1, 2],
            "pool": None,
            "concurrency": 1,
            "batch": None,
            "limits": [],
            "weight": 1.0,
            "ray_options": {"num_gpus": 1},
        }

    def test_the_options_of_remote_tasks_stay_with_the_handler(self) -> None:
        spec = declare(
            retry=RetryPolicy(never_retry=(KeyError,), retry_on=(ValueError,)),
            ray_options={
                "num_cpus": 2,
                "retry_exceptions": [ValueError],
                "runtime_env": {"env_vars": {"TOKEN": "secret"}, "pip": ["a"]},
                "scheduling_strategy": object(),
            },
        )
        info = spec.info()
        assert info.ray_options == {}
        assert info.description["ray_options"] == {
            "num_cpus": 2,
            "retry_exceptions": ["ValueError"],
            "runtime_env": {"pip": ["a"]},
            "scheduling_strategy": "object",
        }
        retry = info.description["retry"]
        assert isinstance(retry, dict)
        assert (retry["never_retry"], retry["retry_on"]) == (["KeyError"], ["ValueError"])
        assert "secret" not in str(info)


def test_what_an_earlier_load_has_imported_does_not_count() -> None:
    """In one process: a module that packages skip, by its name; and then its package."""
    assert Registry.load(["raytasks.builtin._order"]).task_types == ("order",)
    assert "order" not in Registry.load(["raytasks.builtin"]).task_types
