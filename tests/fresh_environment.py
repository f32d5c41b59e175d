"""An installation as users get it: the built packages, each in a fresh environment."""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
_UV = (sys.executable, "-m", "uv")


def build(folder: Path, project: Path) -> "subprocess.CompletedProcess[str]":
    """Build the sdist of a project into a folder, and of the sdist the wheel, as for an index."""
    command = [*_UV, "build", "--no-build-isolation", "--python", sys.executable]
    return subprocess.run(
        [*command, "--out-dir", str(folder), str(project)],
        capture_output=True,
        text=True,
        check=False,
    )


@dataclass(frozen=True)
class Environment:
    """A virtual environment."""

    folder: Path

    @classmethod
    def make(cls, folder: Path) -> "Environment":
        """Make one in which there is nothing, for the same Python."""
        command = [*_UV, "venv", "--quiet", "--python", sys.executable, str(folder)]
        subprocess.run(command, check=True, capture_output=True)
        return cls(folder)

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return self.folder / "bin" / "python"

    @property
    def packages(self) -> Path:
        """Where its packages are."""
        [found] = self.folder.glob("lib/python*/site-packages")
        return found

    def pip(self, *command: str, check: bool = True) -> "subprocess.CompletedProcess[str]":
        """Run `uv pip` for this environment."""
        return subprocess.run(
            [*_UV, "pip", command[0], "--quiet", "--python", str(self.python), *command[1:]],
            capture_output=True,
            text=True,
            check=check,
        )

    def install(self, *what: str) -> None:
        """Install packages, and what they depend on, in the versions of the lock file.

        They come from the cache of uv, or from the index where the cache has them not.
        """
        pinned = ("install", "--constraint", str(ROOT / "requirements.txt"), *what)
        if self.pip(*pinned, "--offline", check=False).returncode:
            self.pip(*pinned)

    def run(self, program: str, *arguments: str, folder: Path | None = None) -> list[str]:
        """Run a program to its good end, and return the lines that it prints."""
        done = subprocess.run(
            [str(self.python), "-c", program, *arguments],
            cwd=folder or self.folder,
            env={"HOME": str(self.folder), "PATH": "/usr/bin:/bin"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout.splitlines()

    def size(self) -> int:
        """Return how many bytes its packages take on the disk."""
        return sum(path.lstat().st_blocks * 512 for path in self.packages.rglob("*"))
