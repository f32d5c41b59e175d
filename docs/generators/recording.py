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


def record() -> str:
    """Run the demo, and return its picture as SVG. Raises `CalledProcessError` if it fails."""
    done = subprocess.run(
        [sys.executable, "-m", "raytasks", "demo"],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "COLUMNS": str(WIDTH), "FORCE_COLOR": "1", "TTY_COMPATIBLE": "0"},
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
    """Leave out what is of this machine, or of the start alone."""
    kept = []
    for line in lines:
        text = re.sub(r"; its log is .*|, id [0-9a-f-]+", "", line)
        if not re.search(r" file +/|/tmp/|dashboard", text):
            kept.append(text)
    return kept


if __name__ == "__main__":
    FILE.write_text(record(), encoding="utf-8")
