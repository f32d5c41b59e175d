"""The documents name only files, settings, states and exceptions that exist."""

import re
from types import ModuleType

import pytest

import raytasks.client
from docs.generators import commands, http_api, settings
from docs.generators.states_picture import FILE, picture
from raytasks.model.states import State
from raytasks.settings import _OTHERS, PREFIX, Settings
from tests.docs.blocks import DOCUMENTS, ROOT, blocks_of

PROSE = {document.relative_to(ROOT).as_posix(): document.read_text() for document in DOCUMENTS}
PLACES = (ROOT, ROOT / "raytasks", ROOT / "docs")


def plain_names(text: str) -> list[str]:
    """Return the settings that a text names without our prefix."""
    # RAY_ADDRESS is Ray's own name, and DEBUG a level of the log, too.
    names = {*Settings.model_fields} - {"ray_address", "debug"}
    return [
        name for name in names if re.search(rf"(?<![A-Za-z_]){name.upper()}(?![A-Za-z_])", text)
    ]


@pytest.mark.parametrize("document", PROSE)
def test_files_that_are_named_exist(document: str) -> None:
    written = {block.file for name in DOCUMENTS for block in blocks_of(name)}
    named = set(re.findall(r"`([\w./]+/[\w.]+\.(?:py|md|txt))`", PROSE[document]))
    of_projects = {"handlers/greeting.py", *written}
    for name in named - of_projects:
        assert any((place / name).exists() for place in PLACES), name


@pytest.mark.parametrize("document", PROSE)
def test_settings_are_written_in_one_form(document: str) -> None:
    known = {PREFIX + name.upper() for name in Settings.model_fields}
    found = set(re.findall(r"RAYTASKS_[A-Z_]+[A-Z]", PROSE[document]))
    assert found <= known | _OTHERS | {"RAYTASKS_NAME"}
    assert plain_names(PROSE[document]) == []


@pytest.mark.parametrize("made", [commands, http_api, settings], ids=lambda made: made.__name__)
def test_the_reference_writes_settings_in_one_form(made: ModuleType) -> None:
    assert plain_names(made.page()) == []


def test_the_picture_of_the_states_is_that_of_the_code() -> None:
    assert FILE.read_text() == picture(), "draw it: python -m docs.generators.states_picture"
    assert all(f">{state.value}<" in picture() for state in State)


def test_each_error_of_the_api_is_named() -> None:
    for name in raytasks.client.__all__:
        kind = getattr(raytasks.client, name)
        if isinstance(kind, type) and issubclass(kind, raytasks.client.ApiError):
            assert f"`{name}`" in PROSE["docs/client.md"]
