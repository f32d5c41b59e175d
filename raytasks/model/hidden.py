"""The hidden fields of payloads: those that their handler keeps secret.

They are stored as they were sent, since the handler needs them. The API shows a mark in their
place. There are two kinds:

- Secrets of the payload's model are shown to nobody. These are `SecretStr`, `SecretBytes` and other
  secrets of pydantic, and fields that the model leaves out of its output (`Field(exclude=True)`).
- What `@handler(redact=[...])` names is shown only to callers with the scope operate.
"""

import dataclasses
import inspect
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from types import UnionType
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from pydantic import AliasChoices, AliasPath, BaseModel, Secret, SecretBytes, SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import from_json, to_json

from raytasks.model.json_places import pointer

MAX_PLACES = 100
"""Maximum number of marks whose places are told."""

MARK = "**********"
"""The mark that is shown in place of a hidden value, the same as pydantic's."""


@dataclass
class Mask:
    """The mask of a JSON value: which parts of it are hidden.

    - `hides`: the whole value is hidden.
    - `names`: the masks of an object's members, by name.
    - `items`: the mask of all other members, and of the items of a list.
    - `options`: masks of the same value, if it can be of several types.
    """

    hides: bool = False
    names: dict[str, "Mask"] = field(default_factory=dict)
    items: "Mask | None" = None
    options: list["Mask"] = field(default_factory=list)

    @property
    def is_empty(self) -> bool:
        """Whether nothing is hidden."""
        return not _hides_anything(self, set())

    def hide(self, text: str) -> "Masked":
        """Return JSON text with marks in place of what is hidden, and where they are."""
        places: list[str] = []
        shown = self.shown(from_json(text), "", places)
        return Masked(to_json(shown).decode(), tuple(dict.fromkeys(places)))

    def shown(self, value: Any, place: str = "", places: list[str] | None = None) -> Any:
        """Return a JSON value with marks in place of what is hidden.

        `place` is the JSON pointer of the value. The pointers of marks are added to `places`.
        """
        if self.hides:
            if value is None:
                return None
            if places is not None and len(places) < MAX_PLACES:
                places.append(place)
            return MARK
        for option in self.options:
            value = option.shown(value, place, places)
        if isinstance(value, dict):
            return {
                name: item
                if (mask := self.names.get(name, self.items)) is None
                else mask.shown(item, place + pointer(name), places)
                for name, item in value.items()
            }
        if isinstance(value, list) and (self.names or self.items is not None):
            return [
                item
                if (mask := self.names.get(str(index), self.items)) is None
                else mask.shown(item, place + pointer(index), places)
                for index, item in enumerate(value)
            ]
        return value

    def covers(self, place: Sequence[str | int]) -> bool:
        """Return whether what is at a place may be hidden, or have something hidden in it.

        The place may also have the names of types, as pydantic's places in unions do.
        """
        if self.hides or any(option.covers(place) for option in self.options):
            return True
        if not place:
            return not self.is_empty
        mask = self.names.get(str(place[0]), self.items)
        if mask is None:
            return len(place) > 1 and self.covers(place[1:])
        return mask.covers(place[1:])


@dataclass(frozen=True)
class Masked:
    """JSON text with marks. `hidden` are the JSON pointers of the marks, some of very many."""

    text: str
    hidden: tuple[str, ...]


def mask_of_pointers(pointers: Iterable[str]) -> Mask:
    """Return the mask of what JSON pointers name; `*` is each item of a list, or each member.

    Raises `ValueError` for a text that is no JSON pointer.
    """
    masks = []
    for text in pointers:
        if text and not text.startswith("/"):
            raise ValueError(f"{text!r} is no JSON pointer: it must be empty, or begin with /")
        mask = Mask(hides=True)
        for part in reversed(text.split("/")[1:]):
            name = part.replace("~1", "/").replace("~0", "~")
            mask = Mask(items=mask) if name == "*" else Mask(names={name: mask})
        masks.append(mask)
    return Mask(options=masks)


def mask_of(annotation: Any) -> Mask:
    """Return the mask of a payload with this annotation."""
    return _mask(annotation, {})


def _mask(annotation: Any, known: dict[Any, Mask]) -> Mask:
    origin = get_origin(annotation) or annotation
    if hasattr(annotation, "__value__"):  # a `type` statement's
        return _mask(annotation.__value__, known)
    if origin is Annotated:
        kind, *notes = get_args(annotation)
        excluded = any(isinstance(note, FieldInfo) and note.exclude for note in notes)
        return Mask(hides=True) if excluded else _mask(kind, known)
    if not inspect.isclass(origin) or origin is UnionType:
        return Mask(options=[_mask(kind, known) for kind in get_args(annotation)])
    if issubclass(origin, SecretStr | SecretBytes | Secret):
        return Mask(hides=True)
    if origin in known:
        return known[origin]
    fields = _fields(origin)
    if not fields:
        inner = [_mask(kind, known) for kind in get_args(annotation)]
        return Mask(items=Mask(options=inner)) if inner else Mask()
    mask = known[origin] = Mask()
    for names, kind, excluded in fields:
        inner_mask = Mask(hides=True) if excluded else _mask(kind, known)
        mask.names.update(dict.fromkeys(names, inner_mask))
    return mask


def _fields(kind: type) -> list[tuple[list[str], Any, bool]]:
    """Return the fields of a class: their possible names, type, and whether they are excluded."""
    if issubclass(kind, BaseModel):
        return [
            (_names(name, info), info.annotation, bool(info.exclude))
            for name, info in kind.model_fields.items()
        ]
    if dataclasses.is_dataclass(kind) or hasattr(kind, "__total__"):  # a TypedDict
        hints = get_type_hints(kind, include_extras=True)
        return [([name], annotation, False) for name, annotation in hints.items()]
    return []


def _names(name: str, info: FieldInfo) -> list[str]:
    """Return the names under which a payload can have a field."""
    found: list[Any] = [name, info.alias]
    alias = info.validation_alias
    found += alias.choices if isinstance(alias, AliasChoices) else [alias]
    names = [part.path[0] if isinstance(part, AliasPath) else part for part in found]
    return [part for part in names if isinstance(part, str)]


def _hides_anything(mask: Mask, seen: set[int]) -> bool:
    if mask.hides:
        return True
    if id(mask) in seen:
        return False
    seen.add(id(mask))
    inner = [*mask.names.values(), *mask.options, *([mask.items] if mask.items else [])]
    return any(_hides_anything(part, seen) for part in inner)
