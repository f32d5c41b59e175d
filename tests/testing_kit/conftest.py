"""A queue of the test kit over the kit's own handlers."""

from collections.abc import Iterator

import pytest

from raytasks.testing import Queue


@pytest.fixture
def queue() -> Iterator[Queue]:
    with Queue(["tests.testing_kit.kit_handlers"]) as queue:
        yield queue
