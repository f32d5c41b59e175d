"""The files beside the code say what the code says."""

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import ray
import yaml
from dotenv import dotenv_values

from raytasks.settings import PREFIX, Settings

ROOT = Path(__file__).parents[2]


def test_every_setting_is_in_the_example_with_its_default() -> None:
    example = dotenv_values(ROOT / ".env.example")
    for name in Settings.model_fields:
        assert PREFIX + name.upper() in example, name
        assert name.upper() not in example, name
    given: dict[str, Any] = {
        name.removeprefix(PREFIX).lower(): value for name, value in example.items() if value != ""
    }
    read = Settings(_env_file=None, **given)
    default = Settings(_env_file=None)
    assert read == default


def test_cluster_file_is_one_for_rays_launcher() -> None:
    schema = json.loads((Path(ray.__file__).parent / "autoscaler" / "ray-schema.json").read_text())
    jsonschema.validate(yaml.safe_load((ROOT / "cluster.yaml").read_text()), schema)


def test_the_readme_names_the_versions_of_ray_that_the_package_takes() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    [wanted] = [item for item in project["dependencies"] if item.startswith("ray[serve]")]
    bounds = re.fullmatch(r"ray\[serve\]>=2\.(\d+),<2\.(\d+)", wanted)
    assert bounds is not None
    *first, last = (f"2.{minor}" for minor in range(int(bounds[1]), int(bounds[2])))
    readme = " ".join((ROOT / "README.md").read_text().split())
    assert f"It works with Ray {', '.join(first)} and {last}." in readme
