"""Dockerfiles, read as far as ours needs it: instructions, stages, and the variables they set."""

import json
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCKERFILE = ROOT / "deploy" / "Dockerfile"


@dataclass(frozen=True)
class Step:
    """An instruction: its name in capitals, its options (`--from=build`), and the rest."""

    name: str
    options: dict[str, str]
    rest: str


@dataclass
class Stage:
    """A stage: its base image, its name (may be empty), and its steps after `FROM`."""

    base: str
    name: str
    steps: list[Step] = field(default_factory=list)

    def environment(self) -> dict[str, str]:
        """Return what its `ENV` steps set."""
        found: dict[str, str] = {}
        for step in self.steps:
            if step.name == "ENV":
                found |= dict(part.split("=", 1) for part in shlex.split(step.rest))
        return found

    def command(self) -> list[str]:
        """Return the image's CMD, which must be in JSON."""
        found: list[str] = json.loads(self.last("CMD"))
        return found

    def health_check(self) -> list[str]:
        """Return the command of the image's HEALTHCHECK, which must be in JSON."""
        found: list[str] = json.loads(self.last("HEALTHCHECK").partition("CMD ")[2])
        return found

    def last(self, name: str) -> str:
        """Return the rest of its last step of this name."""
        return [step.rest for step in self.steps if step.name == name][-1]


def stages(text: str) -> list[Stage]:
    """Return the stages of a Dockerfile, in order. Raises `ValueError` for a line outside one."""
    found: list[Stage] = []
    for step in _steps(text):
        if step.name == "FROM":
            base, _, name = re.sub(r"\s+as\s+", " AS ", step.rest, flags=re.I).partition(" AS ")
            found.append(Stage(base, name))
        elif not found:
            raise ValueError(f"{step.name} comes before FROM")
        else:
            found[-1].steps.append(step)
    return found


def _steps(text: str) -> Iterator[Step]:
    lines = (line for line in text.splitlines() if line.strip() and not line.startswith("#"))
    for line in re.sub(r"\\\n", " ", "\n".join(lines)).splitlines():
        name, _, rest = line.strip().partition(" ")
        options = {}
        while found := re.match(r"--([\w-]+)=(\S+)\s+", rest):
            options[found[1]] = found[2]
            rest = rest[found.end() :]
        yield Step(name.upper(), options, " ".join(rest.split()))
