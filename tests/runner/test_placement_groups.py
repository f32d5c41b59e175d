"""The rules of placement groups, without Ray."""

import pytest

from raytasks.runner.demand import NEVER_FITS, NO_RESOURCES, RUNNER_STARTING, Node, code_of
from raytasks.runner.placement_groups import (
    GROUP_PENDING,
    NO_PLACEMENT_GROUP,
    GroupRequest,
    GroupView,
    blocked_code,
    in_group,
    touched,
    with_groups,
)

ID = "ab01"
GROUP = GroupView(ID, [{"CPU": 1.0}, {"CPU": 2.0, "GPU": 1.0}], ["n1", "n2"])


class TestWhetherATaskCanBeHandedToRay:
    """Ray refuses for ever what fits no bundle, and knows no group that does not exist."""

    @pytest.mark.parametrize(
        ("bundle", "needs", "code"),
        [
            (-1, {"CPU": 1}, None),
            (-1, {"CPU": 2, "GPU": 1}, None),
            (-1, {}, None),
            (-1, {"CPU": 3}, NEVER_FITS),  # no two bundles together
            (0, {"CPU": 1}, None),
            (0, {"CPU": 2}, NEVER_FITS),
            (1, {"CPU": 2}, None),
            (2, {"CPU": 1}, NEVER_FITS),
            (2, {}, NEVER_FITS),
        ],
    )
    def test_by_its_bundles(self, bundle: int, needs: dict[str, float], code: str | None) -> None:
        assert blocked_code(GroupRequest("trainers", bundle), needs, GROUP) == code

    def test_without_the_group(self) -> None:
        assert blocked_code(GroupRequest("trainers"), {"CPU": 1}, None) == NO_PLACEMENT_GROUP

    @pytest.mark.parametrize(("bundle", "code"), [(-1, None), (0, GROUP_PENDING), (1, None)])
    def test_with_a_bundle_that_has_no_node(self, bundle: int, code: str | None) -> None:
        half = GroupView(ID, GROUP.bundles, ["", "n2"])
        assert blocked_code(GroupRequest("trainers", bundle), {"CPU": 1}, half) == code

    def test_only_bundles_that_are_large_enough_count(self) -> None:
        half = GroupView(ID, GROUP.bundles, ["n1", ""])
        assert blocked_code(GroupRequest("trainers"), {"CPU": 2}, half) == GROUP_PENDING


class TestNames:
    """The names that Ray gives the resources of a group."""

    def test_of_any_bundle_and_of_one(self) -> None:
        assert in_group({"CPU": 1, "GPU": 2}, GROUP) == {"CPU_group_ab01": 1, "GPU_group_ab01": 2}
        assert in_group({"CPU": 1}, GROUP, 1) == {"CPU_group_1_ab01": 1}

    @pytest.mark.parametrize(
        ("waits", "other", "meet"),
        [(0, 0, True), (0, 1, False), (0, -1, True), (-1, 0, True), (-1, -1, True)],
    )
    def test_who_may_take_what_another_waits_for(self, waits: int, other: int, meet: bool) -> None:
        taken = touched(["CPU"], GROUP, other)
        assert bool(taken & in_group({"CPU": 1}, GROUP, waits).keys()) is meet

    def test_a_group_shares_nothing_with_plain_tasks_and_other_groups(self) -> None:
        taken = touched(["CPU"], GROUP)
        assert not taken & {"CPU", "CPU_group_ff02", "CPU_group_0_ff02"}


class TestNodes:
    """The resources of a group on its nodes, so that a wait gets the right code."""

    def node(self, name: str, **free: float) -> Node:
        return Node(name, {"CPU": 4.0}, free)

    def test_what_is_in_use_comes_free_again(self) -> None:
        nodes = with_groups([self.node("n1", CPU=0), self.node("n2", CPU=0)], [GROUP])
        assert code_of(in_group({"CPU": 2}, GROUP), nodes) == NO_RESOURCES
        assert code_of(in_group({"CPU": 1}, GROUP, 0), nodes) == NO_RESOURCES
        assert code_of({"CPU": 4}, nodes) == NO_RESOURCES

    def test_what_is_free(self) -> None:
        nodes = with_groups([self.node("n1", CPU_group_ab01=1, CPU_group_0_ab01=1)], [GROUP])
        assert code_of(in_group({"CPU": 1}, GROUP, 0), nodes) == RUNNER_STARTING
        assert code_of(in_group({"CPU": 1}, GROUP), nodes) == RUNNER_STARTING

    def test_a_label_that_no_node_of_the_group_has(self) -> None:
        nodes = with_groups([self.node("n1")], [GROUP])
        needs = in_group({"CPU": 1}, GROUP)
        assert code_of(needs, nodes, [{"zone": "a"}]) == NEVER_FITS

    def test_two_bundles_on_one_node_add_up(self) -> None:
        [node] = with_groups([self.node("n1")], [GroupView(ID, GROUP.bundles, ["n1", "n1"])])
        assert node.total == {
            "CPU": 4.0,
            "CPU_group_ab01": 3.0,
            "CPU_group_0_ab01": 1.0,
            "CPU_group_1_ab01": 2.0,
            "GPU_group_ab01": 1.0,
            "GPU_group_1_ab01": 1.0,
        }

    def test_a_node_that_is_gone_gives_nothing(self) -> None:
        assert with_groups([], [GROUP]) == []
