"""Dialogs: what closes them, and what does not."""

from collections.abc import Callable

from tests.web.browsing import Opened
from tests.web.filled_service import FilledService

Visit = Callable[..., Opened]


def test_a_drag_out_of_a_dialog_keeps_it(visit: Visit, filled: FilledService) -> None:
    opened = visit(f"/tasks/{filled.tasks['later']}")
    page = opened.page
    page.get_by_role("button", name="Change…").click()
    dialog = page.locator("dialog[open]")
    payload = dialog.get_by_label("payload")
    payload.fill('{"script": "carefully typed"}')
    field, frame = payload.bounding_box(), dialog.bounding_box()
    inside = (field["x"] + field["width"] / 2, field["y"] + 10)
    outside = (frame["x"] - 40, field["y"] + 10)
    for start, end in ((inside, outside), (outside, inside)):
        page.mouse.move(*start)
        page.mouse.down()
        page.mouse.move(*end)
        page.mouse.up()
        assert payload.input_value() == '{"script": "carefully typed"}'
    page.mouse.click(*outside)
    dialog.wait_for(state="detached")
