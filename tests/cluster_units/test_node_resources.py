"""Resources that a node declares, from the options of `raytasks up` and `raytasks worker`."""

import pytest

from raytasks.cluster.node_resources import (
    NodeResources,
    ResourceError,
    custom_of,
    labels_of,
    memory_of,
)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("1000000", 1_000_000),
        ("500MB", 500_000_000),
        ("8GiB", 8 * 2**30),
        ("1.5 gi", 3 * 2**29),
        ("2k", 2000),
        (None, None),
    ],
)
def test_memory(text: str | None, size: int | None) -> None:
    assert memory_of(text) == size


@pytest.mark.parametrize("text", ["", "much", "-1", "8 TB", "GiB"])
def test_what_is_no_size_is_told(text: str) -> None:
    with pytest.raises(ResourceError, match=r"--memory: .* is no size, such as 8GiB"):
        memory_of(text)


def test_the_address_is_an_option_of_ray() -> None:
    assert NodeResources(address="10.0.0.7").arguments() == ["--node-ip-address=10.0.0.7"]
    assert NodeResources().arguments() == []


def test_resources_and_labels() -> None:
    assert custom_of(["disk=2", " licence = 0.5"]) == {"disk": 2.0, "licence": 0.5}
    assert labels_of("zone=a, disk=ssd,") == {"zone": "a", "disk": "ssd"}
    assert labels_of(None) == {}


@pytest.mark.parametrize("text", ["disk", "disk=much", "="])
def test_what_is_no_resource_is_told(text: str) -> None:
    with pytest.raises(ResourceError, match=r"--resource: .* is not NAME=AMOUNT"):
        custom_of([text])


@pytest.mark.parametrize("text", ["zone", "zone=", "=a"])
def test_what_is_no_label_is_told(text: str) -> None:
    with pytest.raises(ResourceError, match=r"--labels: .* is not NAME=VALUE"):
        labels_of(text)


def test_as_options_of_ray_start() -> None:
    assert NodeResources().arguments() == []
    assert NodeResources(4, 0, 1000, {"disk": 2.0}, {"zone": "a", "disk": "ssd"}).arguments() == [
        "--num-cpus=4",
        "--num-gpus=0",
        "--memory=1000",
        '--resources={"disk": 2.0}',
        "--labels=zone=a,disk=ssd",
    ]
