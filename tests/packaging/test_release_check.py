"""Verdicts of `make release-check` on a changelog and a version; the whole is run by hand."""

import pytest

from raytasks import __version__
from tests.release_check import NotReady, check_changelog, check_version

OPEN = "# Changes\n\n## Unreleased\n\n### A heading\n- A change.\n"
RELEASED = "# Changes\n\n## 0.2.0 (2030-01-31)\n- A change.\n\n## 0.1.0 (2029-12-01)\n"


@pytest.mark.parametrize(
    ("text", "version", "final", "said"),
    [
        (OPEN, "0.1.0", False, "unreleased changes"),
        (f"{OPEN}\n{RELEASED}", "0.2.0", False, "unreleased changes"),
        (RELEASED, "0.2.0", False, "begins with 0.2.0"),
        (RELEASED, "0.2.0", True, "begins with 0.2.0"),
    ],
)
def test_a_changelog_that_agrees(text: str, version: str, final: bool, said: str) -> None:
    assert said in check_changelog(text, version, final=final)


@pytest.mark.parametrize(
    ("text", "version", "final", "said"),
    [
        ("", "0.1.0", False, "the newest one of CHANGELOG.md is nothing"),
        (RELEASED, "0.3.0", False, "version 0.3.0, and the newest one of CHANGELOG.md is 0.2.0"),
        (f"{OPEN}\n{RELEASED}", "0.1.0", False, "is 0.2.0; make them agree"),
        (f"{OPEN}\n{RELEASED}", "0.2.0", True, r"must begin with '## 0\.2\.0 \(YYYY-MM-DD\)'"),
        ("## 0.2.0\n", "0.2.0", True, "must begin with"),  # no date
        ("## 0.2.0 (2030-01-31)\n", "0.2.1", True, "must begin with"),
    ],
)
def test_one_that_does_not(text: str, version: str, final: bool, said: str) -> None:
    with pytest.raises(NotReady, match=said):
        check_changelog(text, version, final=final)


def test_the_version_that_is_wanted() -> None:
    assert check_version(None) == check_version(__version__) == f"the version is {__version__}"
    with pytest.raises(NotReady, match=r"has the version .*, not 99\.1; change it there"):
        check_version("99.1")
