"""The signature of a handler: the parameter for the payload, and the one for the context."""

import inspect
import types
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

from raytasks.handling.context import Context

CONTEXT_NAME = "context"
"""The name of a second parameter without annotation that asks for the context."""

CONTEXTS_NAME = "contexts"
"""The same for a handler of batches: it gets the list of its attempts' contexts."""


class SignatureError(ValueError):
    """A handler cannot be called by raytasks. The text says why, and the fix."""


def parameters_of(target: Callable[..., Any], *, batch: bool = False) -> tuple[str, bool]:
    """Return the name of the payload's parameter, and whether there is one for the context.

    For a class, its `__call__` counts. With `batch`, they are the parameters for the lists of
    payloads and of contexts. Raises `SignatureError` for any other parameter: nobody knows what its
    author wants in it.
    """
    parameters = _declared(target)
    takes = "(payloads) or (payloads, contexts)" if batch else "(payload) or (payload, context)"
    if not parameters:
        raise SignatureError(f"it takes {takes}; it has no parameter")
    payload, *others = parameters
    for parameter in parameters:
        if parameter.kind not in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD):
            raise SignatureError(f"it takes {takes}; {str(parameter)!r} cannot be filled")
    if len(others) > 1:
        raise SignatureError(f"it takes {takes}; nothing fills {others[1].name!r}")
    hints = _hints_of(target)
    if batch:
        _check_batch(payload, others, hints)
        return payload.name, bool(others)
    if _is_context(hints.get(payload.name, payload.annotation)):
        raise SignatureError("the payload comes first, then the context")
    if others and not _asks_for_context(others[0], hints):
        raise SignatureError(
            f"the second parameter gets the Context; {others[0].name!r} seems to be something "
            f"else. Annotate it with raytasks.Context or call it {CONTEXT_NAME!r}; options belong "
            "into the payload"
        )
    return payload.name, bool(others)


def item_of(annotation: Any) -> Any:
    """Return the type of one payload, of the annotation of a list of them; `Any` if it is open.

    Raises `SignatureError` for an annotation that is no list.
    """
    if get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    if annotation in (Any, object, list, Sequence):
        return Any
    if get_origin(annotation) in (list, Sequence) and len(get_args(annotation)) == 1:
        return get_args(annotation)[0]
    raise SignatureError(
        f"a handler of batches gets a list of payloads, not {annotation!r}; annotate it as "
        "list[Model]"
    )


def annotation_of(target: Callable[..., Any], name: str) -> Any:
    """Return the annotation of a parameter; `Any` if there is none.

    Raises the error of an annotation that cannot be resolved.
    """
    return get_type_hints(_callee(target), include_extras=True).get(name, Any)


def _check_batch(
    payloads: inspect.Parameter, others: list[inspect.Parameter], hints: dict[str, Any]
) -> None:
    if payloads.name in hints:
        item_of(hints[payloads.name])
    for parameter in others:
        annotation = hints.get(parameter.name, parameter.annotation)
        is_open = annotation in (parameter.empty, Any, object, list, Sequence)
        named = is_open and parameter.name == CONTEXTS_NAME
        if not (named or _is_contexts(annotation)):
            raise SignatureError(
                f"the second parameter of a handler of batches gets the list of contexts; "
                f"{parameter.name!r} seems to be something else. Annotate it with "
                f"list[raytasks.Context] or call it {CONTEXTS_NAME!r}"
            )


def _is_contexts(annotation: Any) -> bool:
    if isinstance(annotation, str):
        name, bracket, inner = annotation.partition("[")
        return name.strip() in ("list", "Sequence") and bool(bracket) and "Context" in inner
    if get_origin(annotation) not in (list, Sequence):
        return False
    return any(map(_is_context, get_args(annotation)))


def _callee(target: Callable[..., Any]) -> Any:
    return target.__call__ if inspect.isclass(target) else target


def _declared(target: Callable[..., Any]) -> list[inspect.Parameter]:
    parameters = list(inspect.signature(_callee(target)).parameters.values())
    return parameters[1:] if inspect.isclass(target) else parameters


def _hints_of(target: Callable[..., Any]) -> dict[str, Any]:
    try:
        return get_type_hints(_callee(target), include_extras=True)
    except Exception:  # e.g. a name that only a type checker imports; use the text
        return {}


def _asks_for_context(parameter: inspect.Parameter, hints: dict[str, Any]) -> bool:
    annotation = hints.get(parameter.name, parameter.annotation)
    if annotation is parameter.empty or annotation is Any or annotation is object:
        return parameter.name == CONTEXT_NAME
    return _is_context(annotation) or (
        # A protocol of the user's own, so that tests can pass another object.
        parameter.name == CONTEXT_NAME and getattr(annotation, "_is_protocol", False) is True
    )


def _is_context(annotation: Any) -> bool:
    """Return whether an annotation is `Context`, also as text, optional or annotated."""
    if isinstance(annotation, str):
        choices = (choice.strip() for choice in annotation.split("|"))
        return any(choice.rpartition(".")[2] == Context.__name__ for choice in choices)
    origin = get_origin(annotation)
    if origin is Annotated or origin is Union or isinstance(annotation, types.UnionType):
        return any(map(_is_context, get_args(annotation)))
    return inspect.isclass(annotation) and issubclass(annotation, Context)
