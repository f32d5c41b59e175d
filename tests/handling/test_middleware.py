"""Middleware: its declaration, how the registry finds it, and how calls are nested."""

import asyncio
import contextlib
import contextvars
import sys
import textwrap
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from raytasks import Batch, Context, HandlerError, Invocation, Snooze, handler, middleware
from raytasks.handling.declaration import handler_of
from raytasks.handling.middleware import MiddlewareForm, middleware_of
from raytasks.handling.registry import Registry
from raytasks.model.states import OutcomeKind
from raytasks.testing import Queue, run_handler


@handler("plain")
def plain(payload: int) -> int:
    if payload < 0:
        raise ValueError("negative")
    return payload


@handler("plain_yields")
def plain_yields(payload: int) -> Iterator[int]:
    yield from range(payload)


@handler("loop")
async def on_loop(payload: int) -> int:
    await asyncio.sleep(0)
    if payload < 0:
        raise ValueError("negative")
    return payload


@handler("loop_yields")
async def loop_yields(payload: int) -> AsyncIterator[int]:
    for number in range(payload):
        yield number


@handler("class")
class InClass:
    def __call__(self, payload: int, context: Context) -> int:
        return payload


HANDLERS = [plain, plain_yields, on_loop, loop_yields, InClass]
RESULTS = {"plain_yields": [0, 1, 2], "loop_yields": [0, 1, 2]}


def noting(told: list[str], name: str, order: int = 0) -> Any:
    @middleware(order=order)
    def around(invocation: Invocation) -> Iterator[None]:
        told.append(f"{name} before {invocation.task_type} {invocation.payload}")
        try:
            yield
        except ValueError as error:
            told.append(f"{name} {error}")
            raise
        finally:
            told.append(f"{name} after {invocation.context.attempt}")

    return around


class TestAroundEachKindOfHandler:
    @pytest.mark.parametrize("target", HANDLERS, ids=lambda one: handler_of(one).task_type)
    def test_a_generator_is_around_all(self, target: Callable[..., Any]) -> None:
        told: list[str] = []
        name = handler_of(target).task_type
        run = run_handler(target, 3, middleware=[noting(told, "a"), noting(told, "b")])
        assert run.result == RESULTS.get(name, 3)
        assert told == [f"a before {name} 3", f"b before {name} 3", "b after 1", "a after 1"]

    @pytest.mark.parametrize("target", [plain, on_loop])
    def test_it_sees_the_error_of_the_handler(self, target: Callable[..., Any]) -> None:
        told: list[str] = []
        run = run_handler(target, -1, middleware=[noting(told, "a")])
        assert told[1:] == ["a negative", "a after 1"]
        assert run.error is not None
        assert (run.outcome, run.error.message) == (OutcomeKind.FAILED, "negative")

    @pytest.mark.parametrize("target", [plain, on_loop])
    def test_a_generator_cannot_swallow_an_error(self, target: Callable[..., Any]) -> None:
        @middleware
        def swallows(_: Invocation) -> Iterator[None]:
            with contextlib.suppress(ValueError):
                yield

        run = run_handler(target, -1, middleware=[swallows])
        assert run.outcome is OutcomeKind.FAILED
        assert isinstance(run.exception, ValueError)

    def test_a_plain_one_makes_the_result(self) -> None:
        @middleware(around="plain")
        def doubles(invocation: Invocation, call_next: Callable[[], Any]) -> Any:
            return 0 if invocation.payload > 5 else call_next() * 2

        assert run_handler(plain, 3, middleware=[doubles]).result == 6
        assert run_handler(plain, 6, middleware=[doubles]).result == 0
        assert run_handler(plain_yields, 2, middleware=[doubles]).result == [0, 1, 0, 1]
        assert run_handler(on_loop, 3, middleware=[doubles]).result == 3

    def test_an_async_one_makes_the_result(self) -> None:
        @middleware(around="async")
        async def doubles(_: Invocation, call_next: Callable[[], Any]) -> Any:
            await asyncio.sleep(0)
            return await call_next() * 2

        assert run_handler(on_loop, 3, middleware=[doubles]).result == 6
        assert run_handler(loop_yields, 2, middleware=[doubles]).result == [0, 1, 0, 1]
        assert run_handler(plain, 3, middleware=[doubles]).result == 3

    @pytest.mark.parametrize("target", [plain, on_loop])
    @pytest.mark.parametrize("when", ["before", "after"])
    def test_its_error_is_the_attempts(self, target: Callable[..., Any], when: str) -> None:
        @middleware
        def breaks(_: Invocation) -> Iterator[None]:
            if when == "before":
                raise Snooze(5)
            yield
            raise Snooze(5)

        run = run_handler(target, 3, middleware=[breaks])
        assert (run.outcome, run.delay_seconds) == (OutcomeKind.SNOOZED, 5)

    @pytest.mark.parametrize("kind", ["plain", "loop"])
    def test_the_handler_sees_its_context_variables(self, kind: str) -> None:
        session = contextvars.ContextVar("session", default="none")

        @middleware
        def opens(_: Invocation) -> Iterator[None]:
            token = session.set("open")
            yield
            session.reset(token)

        @handler("plain_reads")
        def plain_reads(_: int) -> str:
            return session.get()

        @handler("loop_reads")
        async def loop_reads(_: int) -> str:
            await asyncio.sleep(0)
            return session.get()

        target = plain_reads if kind == "plain" else loop_reads
        assert run_handler(target, 1, middleware=[opens]).result == "open"
        assert session.get() == "none"

    def test_the_smallest_order_is_the_outermost(self) -> None:
        told: list[str] = []
        layers = [noting(told, "c", 5), noting(told, "b"), noting(told, "a", -1)]
        run_handler(plain, 3, middleware=layers)
        assert [line[0] for line in told] == ["a", "b", "c", "c", "b", "a"]

    def test_a_batch_is_one_call(self) -> None:
        seen: list[Invocation] = []

        @middleware
        def sees(invocation: Invocation) -> Iterator[None]:
            seen.append(invocation)
            yield

        @handler("batch", batch=Batch(8))
        def batch(payloads: list[int]) -> list[int]:
            return payloads

        assert run_handler(batch, 3, middleware=[sees]).result == 3
        assert [(one.payload, len(one.contexts)) for one in seen] == [([3], 1)]


class TestDeclaration:
    def test_the_function_stays_as_it_was(self) -> None:
        def around(_: Invocation) -> Iterator[None]:
            yield

        assert middleware(around) is around
        assert middleware_of(around).form is MiddlewareForm.GENERATOR
        with pytest.raises(HandlerError, match="plain is not decorated with @middleware"):
            middleware_of(plain)

    def test_bad_forms_are_refused(self) -> None:
        def one(_: Any) -> None: ...

        def two(_: Any, __: Any) -> Iterator[None]:
            yield

        async def several(_: Any) -> AsyncIterator[None]:
            yield

        def fine(_: Any) -> Iterator[None]:
            yield

        for bad, told in [
            (one, r"takes \(invocation, call_next\); one that yields takes \(invocation\)"),
            (two, r"middleware of this form takes \(invocation\)"),
            (several, "an async generator cannot be middleware"),
            (InClass, "@middleware stands on a function, not on <class"),
            (3, "@middleware stands on a function, not on 3"),
        ]:
            with pytest.raises(HandlerError, match=told):
                middleware(bad)  # type: ignore[call-overload]
        with pytest.raises(HandlerError, match="around must be 'all', 'plain' or 'async', not 'x'"):
            middleware(around="x")(fine)  # type: ignore[call-overload]
        with pytest.raises(HandlerError, match=r"order must be a whole number, not 1\.5"):
            middleware(order=1.5)(fine)  # type: ignore[call-overload]

    def test_one_that_cannot_be_around_a_handler_is_refused(self) -> None:
        @middleware
        def for_plain(_: Invocation, call_next: Callable[[], Any]) -> Any:
            return call_next()

        @middleware
        async def for_async(_: Invocation, call_next: Callable[[], Any]) -> Any:
            return await call_next()

        fix = r"make it a generator function that yields once, or write @middleware\(around='{}'\)"
        told = r"for_plain: a plain middleware with call_next cannot be around the async handler of"
        with pytest.raises(HandlerError, match=f"{told} 'loop'; {fix.format('plain')}"):
            run_handler(on_loop, 3, middleware=[for_plain])
        told = "for_async: an async middleware cannot be around the plain handler of"
        with pytest.raises(HandlerError, match=f"{told} 'plain'; {fix.format('async')}"):
            run_handler(plain, 3, middleware=[for_async])


MODULE = """
    from raytasks import handler, middleware

    @handler("a")
    def a(payload: int) -> int:
        return payload

    @middleware
    def first(invocation):
        yield

    @middleware
    def second(invocation):
        yield
"""


class TestRegistry:
    @pytest.fixture(autouse=True)
    def _forget(self) -> Iterator[None]:
        known = {*sys.modules}
        yield
        for name in {*sys.modules} - known:
            if name.startswith("own_"):
                del sys.modules[name]

    def load(self, folder: Path, **modules: str) -> Registry:
        for name, code in modules.items():
            (folder / f"{name}.py").write_text(textwrap.dedent(code), encoding="utf-8")
        return Registry.load(list(modules), str(folder))

    def test_it_is_found_as_it_stands(self, tmp_path: Path) -> None:
        again = "from own_one import a, second\nfrom own_one import first\n"
        registry = self.load(tmp_path, own_one=MODULE, own_two=again)
        found = [spec.target.__name__ for spec in registry.middleware.specs]
        assert found == ["first", "second"]
        assert registry.only(["a"]).middleware is registry.middleware

    def test_a_queue_finds_it_in_a_module(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        seen = f"{MODULE}\n    order = []\n".replace(
            "        yield", "        order.append(1)\n        yield"
        )
        (tmp_path / "own_queue.py").write_text(textwrap.dedent(seen), encoding="utf-8")
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "path", [*sys.path])
        with Queue(["own_queue"]) as queue:
            task = queue.submit("a", 3)
            queue.run_due()
            assert task.result == 3
        assert sys.modules["own_queue"].order == [1, 1]

    def test_one_that_is_not_found_is_an_error(self, tmp_path: Path) -> None:
        code = f"{MODULE}\n    del second\n"
        told = r"own_three, line 12: own_three\.second is declared with @middleware, but is no name"
        with pytest.raises(HandlerError, match=told):
            self.load(tmp_path, own_three=code)

    def test_one_that_does_not_fit_is_an_error(self, tmp_path: Path) -> None:
        code = f"""{MODULE}
    @handler("b")
    async def b(payload: int) -> int:
        return payload

    @middleware
    def third(invocation, call_next):
        return call_next()
        """
        with pytest.raises(HandlerError, match="third: a plain middleware with call_next cannot"):
            self.load(tmp_path, own_four=code)

    def test_its_code_changes_the_fingerprint(self, tmp_path: Path) -> None:
        other = "from raytasks import middleware\n@middleware\ndef third(_):\n    yield\n"
        before = self.load(tmp_path, own_five=MODULE)
        (tmp_path / "own_six.py").write_text(other, encoding="utf-8")
        import own_six  # type: ignore[import-not-found]

        plain_print = before.fingerprint()
        before.add_middleware(middleware_of(own_six.third))
        with_third = before.fingerprint()
        assert with_third != plain_print
        (tmp_path / "own_six.py").write_text(f"{other}    print(3)\n", encoding="utf-8")
        assert before.fingerprint() not in (plain_print, with_third)
