"""The environments of the peers: each has its own, from its pinned requirements."""

import subprocess
import sys
from pathlib import Path

_VENV = ".venv"
_STAMP = ".requirements"


def ready(folder: Path) -> Path:
    """Make a peer's environment unless it is there, and return the folder of its programs."""
    venv = folder / _VENV
    requirements = folder / "requirements.txt"
    stamp = venv / _STAMP
    if not stamp.exists() or stamp.read_text() != requirements.read_text():
        print(f"installing {folder.name} …", flush=True)
        subprocess.run([sys.executable, "-m", "venv", "--clear", venv], check=True)
        python = venv / "bin" / "python"
        subprocess.run([*_installer(python), "-r", requirements], check=True)
        stamp.write_text(requirements.read_text())
    return venv / "bin"


def _installer(python: Path) -> list[str]:
    uv = Path(sys.executable).parent / "uv"
    if uv.exists():
        return [str(uv), "pip", "install", "--quiet", "--python", str(python)]
    return [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
