"""Refuses to build raytasks with another raytasks-client than the one of its own version."""

from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class SameVersion(BuildHookInterface):  # type: ignore[type-arg]
    """Compares the pinned version of raytasks-client with the version of `raytasks/__init__.py`."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Raise `ValueError` where the two versions differ; hatchling then builds nothing."""
        wanted = f"raytasks-client=={self.metadata.version}"
        if wanted not in self.metadata.core.dependencies:
            raise ValueError(
                f"pyproject.toml: the dependencies must have {wanted!r}, as raytasks/__init__.py "
                f"has the version {self.metadata.version}"
            )
