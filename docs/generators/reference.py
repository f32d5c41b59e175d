"""The pages of the reference: from the OpenAPI document, the commands, the settings, the names."""

from pathlib import Path

from docs.generators import commands, http_api, names, settings


def write(folder: Path) -> None:
    """Write the pages into a folder. A page that is as it was keeps its time, for fast builds."""
    folder.mkdir(exist_ok=True)
    pages = {
        "http.md": http_api.page(),
        "cli.md": commands.page(),
        "settings.md": settings.page(),
        "python.md": names.page(),
    }
    for name, text in pages.items():
        file = folder / name
        if not file.exists() or file.read_text(encoding="utf-8") != text:
            file.write_text(text, encoding="utf-8")
