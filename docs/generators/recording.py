"""Records what `raytasks demo` prints, as the picture of a terminal: `make recording`.

The picture holds no font and asks for none: it shows in whatever fixed font the reader has.
"""

import io
import os
import re
import subprocess
import sys
from pathlib import Path

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.text import Text

FILE = Path(__file__).parents[1] / "demo.svg"
WIDTH = 100
_SHOWN = ("flaky", "text_processing")
"""The tasks whose results are shown."""


def record() -> str:
    """Run the demo, and return its picture as SVG. Raises `CalledProcessError` if it fails."""
    done = subprocess.run(  # noqa: S603 - our own command, no shell
        [Path(sys.executable).with_name("raytasks"), "demo"],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "COLUMNS": str(WIDTH)},
    )
    return picture(done.stdout)


def picture(printed: str) -> str:
    """Return the picture of a terminal in which this was printed."""
    console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True)
    for line in shortened(printed.splitlines()):
        console.print(Text.from_ansi(line), no_wrap=True, overflow="ellipsis", crop=True)
    code = re.sub(r"@font-face \{\{.*?\}\}\s*", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)
    return console.export_svg(title="make demo", code_format=code, unique_id="demo")


def shortened(lines: list[str]) -> list[str]:
    """Leave out what is of this machine, and all results but two: it is for one screen."""
    kept, within = [], False
    for line in lines:
        text = re.sub(r"; its log is .*|, id [0-9a-f-]+", "", line)
        within = within or ("╭" in text and not any(name in text for name in _SHOWN))
        if not within and not re.search(r" file +/|/tmp/|dashboard|auth_token|--address", text):
            kept.append(text)
        within = within and "╰" not in text
    return kept


if __name__ == "__main__":
    FILE.write_text(record(), encoding="utf-8")
