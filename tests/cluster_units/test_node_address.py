"""The address at which other machines reach the head: `raytasks up --node-address`."""

import pytest

from raytasks.cli import up
from raytasks.cluster import processes as cluster
from raytasks.cluster import token as ray_token
from raytasks.cluster.control_store import ControlStore
from raytasks.cluster.node_resources import NodeResources


def test_the_head_starts_at_the_address(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[tuple[list[str], str]] = []

    def start(command: list[str], address: str, *_others: object) -> cluster.RayProcess:
        started.append((command, address))
        raise cluster.ClusterError("only the command is looked at")

    monkeypatch.setattr(cluster, "_start", start)
    monkeypatch.setattr(ray_token, "make_token", lambda: None)
    with pytest.raises(cluster.ClusterError, match="only the command"):
        cluster.start_head(ControlStore(), resources=NodeResources(address="127.0.0.2"))
    [(command, address)] = started
    assert "--node-ip-address=127.0.0.2" in command
    assert address.startswith("127.0.0.2:")


@pytest.mark.parametrize("address", ["192.0.2.7", "head", "::1", ""])
def test_what_is_no_address_of_this_machine_is_told(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_token, "make_token", lambda: None)
    with pytest.raises(cluster.ClusterError, match=r"--node-address: .* no IPv4 address of this"):
        cluster.start_head(ControlStore(), resources=NodeResources(address=address))


@pytest.mark.parametrize(("address", "alone"), [("127.0.0.1:1", True), ("10.0.0.7:1", False)])
def test_it_is_told_when_nobody_else_can_join(address: str, alone: bool) -> None:
    said = up._how_others_join(address)
    assert said.startswith(f"raytasks worker --address {address}")
    assert ("--node-address" in said) is alone
