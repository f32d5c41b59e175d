"""Pictures of the page's views in both themes: `python -m tests.web.pictures [FOLDER]`.

They are made of the service that the tests use, into `docs/pictures/` by default.
"""

import io
import sys
import tempfile
from pathlib import Path
from typing import Any

from PIL import Image

from tests.postgres_server import migrate
from tests.web.browsing import Visitor, launched
from tests.web.filled_service import FilledService, filled_service
from tests.web.places import PLACES, place_of

DOCS = Path(__file__).parents[2] / "docs" / "pictures"
SIZE = {"width": 1280, "height": 800}


def save(page: Any, file: Path) -> None:
    """Save a picture of a page, as small as it can be without loss."""
    with Image.open(io.BytesIO(page.screenshot(full_page=True))) as picture:
        picture.convert("RGB").save(file, "WEBP", lossless=True, quality=100, method=4)


def take(visitor: Visitor, filled: FilledService, theme: str, folder: Path) -> None:
    """Take the pictures of all places in a theme, and of the sign-in."""
    options: dict[str, Any] = {"viewport": SIZE, "color_scheme": theme, "device_scale_factor": 1}
    opened = visitor.open(**options)
    for name in PLACES:
        opened.go(place_of(name, filled.tasks))
        opened.settle()
        opened.page.locator(".connection[data-state=live]").wait_for()
        save(opened.page, folder / f"{name}-{theme}.webp")
    locked = visitor.open(key=None, **options)
    locked.page.get_by_label("API key").wait_for()
    save(locked.page, folder / f"sign-in-{theme}.webp")


def main(folder: Path) -> None:
    """Take all pictures into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as place:
        database_url = f"sqlite:///{place}/tasks.db"
        migrate(database_url)
        with filled_service(database_url, Path(place), more=True) as filled, launched() as browser:
            visitor = Visitor(browser, filled.url)
            for theme in ("light", "dark"):
                take(visitor, filled, theme, folder)
            visitor.close()
    print(f"{len(PLACES) + 1} views in two themes: {folder}")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else DOCS)
