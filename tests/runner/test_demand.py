"""Runners that make room for what waits in Ray: the rules, without Ray."""

from dataclasses import replace

import pytest
from msgspec.structs import replace as replace_struct

from raytasks.protocol.messages import Demand
from raytasks.runner.demand import (
    NEVER_FITS,
    NO_RESOURCES,
    NODE_SECONDS,
    NODES_COMING,
    RUNNER_STARTING,
    WAITS_SECONDS,
    FirstCome,
    Holder,
    Node,
    RoomPlan,
    Wait,
    code_of,
    demands_of,
    make_room,
)
from raytasks.runner.on_ray.ray_options import needs_of


def node(free: float, total: float = 6, name: str = "n1", **more: float) -> Node:
    return Node(name, {"CPU": total, **more}, {"CPU": free, **more})


def demand(
    cpus: float, seconds: float = 5, *, count: int = 1, name: str = "big", code: str = NO_RESOURCES,
    **more: float,
) -> Demand:  # fmt: skip
    return Demand(name, {"CPU": cpus, **more}, count, seconds, code)


def warm(*numbers: int, place: str | None = "n1", busy: bool = True) -> list[Holder]:
    return [Holder(f"r{number}", place, {"CPU": 1.0}, busy=busy) for number in numbers]


class TestCodes:
    def test_what_fits_now_is_being_started(self) -> None:
        assert code_of({"CPU": 4}, [node(2), node(4, name="n2")]) == RUNNER_STARTING

    def test_what_would_fit_an_empty_node_waits_for_resources(self) -> None:
        assert code_of({"CPU": 4}, [node(2)]) == NO_RESOURCES

    def test_two_halves_on_two_nodes_are_no_whole(self) -> None:
        nodes = [node(3, total=3), node(3, total=3, name="n2")]
        assert code_of({"CPU": 4}, nodes) == NEVER_FITS

    def test_nodes_that_are_added_may_have_what_no_node_has_free(self) -> None:
        coming = {"gpu": 1}
        assert code_of({"GPU": 1}, [node(6)], coming=coming) == NODES_COMING
        assert code_of({"CPU": 4}, [node(2)], coming=coming) == NODES_COMING
        assert code_of({"CPU": 4}, [node(4)], coming=coming) == RUNNER_STARTING

    def test_who_fits_a_node_of_today_waits_for_added_ones_only_for_a_while(self) -> None:
        late = NODE_SECONDS + 1
        assert code_of({"CPU": 4}, [node(2)], coming={"cpu": 1}, seconds=late) == NO_RESOURCES
        assert code_of({"GPU": 1}, [node(2)], coming={"cpu": 1}, seconds=late) == NODES_COMING

    def test_a_demand_has_the_nodes_that_are_added_for_it(self) -> None:
        waiting = [Wait("a", 2.0), Wait("b", 3.0)]
        needs = {"a": {"GPU": 1.0}, "b": {"CPU": 1.0}}
        b, a = demands_of(waiting, needs, [node(1)], coming={"gpu": 1})
        assert (a.code, a.coming) == (NODES_COMING, {"gpu": 1})
        assert (b.code, b.coming) == (RUNNER_STARTING, {})

    def test_only_nodes_with_the_labels_count(self) -> None:
        near, far = replace(node(0), labels={"zone": "a"}), node(6, name="n2")
        assert code_of({"CPU": 4}, [near, far]) == RUNNER_STARTING
        assert code_of({"CPU": 4}, [near, far], [{"zone": "a"}]) == NO_RESOURCES
        assert code_of({"CPU": 4}, [near, far], [{"zone": "b"}]) == NEVER_FITS
        assert code_of({"CPU": 4}, [near, far], [{"zone": "b"}, {"zone": "!a"}]) == RUNNER_STARTING

    def test_a_demand_has_the_labels_of_its_type(self) -> None:
        waiting, needs = (
            [Wait("near", 2.0), Wait("any", 3.0)],
            {"near": {"CPU": 1}, "any": {"CPU": 1}},
        )
        far = replace(node(1), labels={"zone": "b"})
        anywhere, near = demands_of(waiting, needs, [far], {"near": [{"zone": "a"}]})
        assert (anywhere.selectors, anywhere.code) == ((), RUNNER_STARTING)
        assert (near.selectors, near.code) == ([{"zone": "a"}], NEVER_FITS)

    @pytest.mark.parametrize(
        "options",
        [
            {"num_gpus": 1},
            {"accelerator_type": "A100"},
            {"resources": {"disk": 1}},
            {"memory": 2**50},
        ],
        ids=["gpu", "accelerator", "custom", "memory"],
    )
    def test_all_kinds_of_resources_count(self, options: dict[str, object]) -> None:
        assert code_of(needs_of(options), [node(6)]) == NEVER_FITS

    def test_the_longest_wait_comes_first(self) -> None:
        needs = {"big": {"CPU": 4.0}, "small": {"CPU": 1.0}, "quick": {"CPU": 1.0}}
        waiting = [
            Wait("small", 3.0),
            Wait("big", 9.0),
            Wait("small", 7.0),
            Wait("quick", WAITS_SECONDS / 2),
        ]
        found = demands_of(waiting, needs, [node(2)])
        assert [(item.task_type, item.count, item.seconds, item.code) for item in found] == [
            ("big", 1, 9.0, NO_RESOURCES),
            ("small", 2, 7.0, RUNNER_STARTING),
        ]

    def test_what_asks_for_more_memory_than_others_of_its_type_waits_apart(self) -> None:
        waiting = [Wait("a", 2.0, "t1"), Wait("a", 3.0, "t2", 9.0), Wait("a", 4.0, "t3", 9.0)]
        more, plain = demands_of(waiting, {"a": {"CPU": 1.0, "memory": 4.0}}, [node(6, memory=5.0)])
        assert (plain.code, plain.count, plain.tasks) == (RUNNER_STARTING, 1, [])
        assert (more.code, more.count, more.tasks) == (NEVER_FITS, 2, ["t2", "t3"])
        assert more.resources == {"CPU": 1.0, "memory": 9.0}


class TestRoom:
    def test_nothing_waits(self) -> None:
        assert make_room([], [node(0)], warm(1, 2)) == RoomPlan()

    def test_as_many_leave_as_are_needed(self) -> None:
        plan = make_room([demand(4)], [node(2)], warm(6, 5, 4, 3))
        assert (plan.retire, plan.scarce) == (("r6", "r5"), frozenset({"CPU"}))

    def test_those_that_leave_already_count(self) -> None:
        leaving = [Holder("r9", "n1", {"CPU": 1.0}, leaving=True)]
        assert make_room([demand(4)], [node(2)], [*warm(6, 5), *leaving]).retire == ("r6",)

    def test_idle_ones_leave_first(self) -> None:
        holders = [*warm(6, 5), *warm(4, busy=False)]
        assert make_room([demand(3)], [node(2)], holders).retire == ("r4",)

    def test_what_fits_now_retires_nobody_and_keeps_its_room(self) -> None:
        plan = make_room([demand(2, code=RUNNER_STARTING)], [node(2)], warm(3))
        assert (plan.retire, plan.scarce) == ((), frozenset({"CPU"}))

    def test_nobody_makes_room_while_nodes_are_added(self) -> None:
        waits = demand(4, code=NODES_COMING, seconds=100)
        assert make_room([waits], [node(2)], warm(1, 2, 3, 4)) == RoomPlan()

    def test_what_never_fits_takes_nothing_from_anybody(self) -> None:
        never = demand(64, code=NEVER_FITS, seconds=1000)
        assert make_room([never], [node(2)], warm(6, 5, 4, 3)) == RoomPlan()
        assert make_room([never, demand(3)], [node(2)], warm(6, 5)).retire == ("r6",)

    def test_what_waits_for_a_placement_group_takes_nothing_from_anybody(self) -> None:
        inside = replace_struct(demand(3), placement_group="trainers")
        assert make_room([inside], [node(2)], warm(6, 5)) == RoomPlan()

    def test_nobody_leaves_in_vain(self) -> None:
        """Two processors are taken by others, which no runner can give."""
        assert make_room([demand(6)], [node(0)], warm(6, 5, 4, 3)) == RoomPlan()

    def test_of_two_that_are_too_big_together_the_older_one_comes_first(self) -> None:
        old, young = demand(4, 20, name="old"), demand(5, 10, name="young")
        plan = make_room([young, old], [node(2)], warm(6, 5, 4, 3))
        assert plan.retire == ("r6", "r5")

    def test_it_is_made_on_the_node_that_has_most_already(self) -> None:
        holders = [*warm(1, 2, 3, 4, place="n1"), *warm(5, 6, place="n2")]
        plan = make_room([demand(4)], [node(1), node(3, name="n2")], holders)
        assert len(plan.retire) == 1
        assert plan.retire[0] in ("r5", "r6")

    def test_runners_that_wait_for_a_place_give_up_waiting(self) -> None:
        holders = [*warm(7, place=None), *warm(6, 5)]
        assert set(make_room([demand(3)], [node(2)], holders).retire) == {"r6", "r7"}

    def test_a_runner_that_has_nothing_of_it_stays(self) -> None:
        needs = Demand("gpu", {"GPU": 1.0}, 1, 5.0, NO_RESOURCES)
        place = Node("n1", {"CPU": 6, "GPU": 1}, {"CPU": 2, "GPU": 0})
        holders = [*warm(3), Holder("c2", "n1", {"GPU": 1.0})]
        assert make_room([needs], [place], holders) == RoomPlan(("c2",), frozenset({"GPU"}))

    @pytest.mark.parametrize("name", ["GPU", "memory", "disk"])
    def test_whatever_the_resource(self, name: str) -> None:
        place = Node("n1", {"CPU": 6, name: 4.0}, {"CPU": 6, name: 1.0})
        holders = [Holder(f"c{number}", "n1", {name: 1.0}) for number in (4, 3, 2)]
        needs = Demand("needy", {"CPU": 1.0, name: 3.0}, 1, 5.0, NO_RESOURCES)
        assert make_room([needs], [place], holders).retire == ("c4", "c3")

    def test_room_is_made_on_nodes_with_the_labels(self) -> None:
        places = [node(2), replace(node(2, name="n2"), labels={"zone": "a"})]
        holders = [*warm(6, 5), *warm(4, 3, place="n2")]
        near = replace_struct(demand(3), selectors=[{"zone": "a"}])
        assert make_room([near], places, holders).retire == ("r4",)
        nowhere = replace_struct(near, selectors=[{"zone": "b"}])
        assert make_room([nowhere], places, holders).retire == ()

    def test_each_of_many_of_a_type_counts(self) -> None:
        assert make_room([demand(1, count=3)], [node(1)], warm(6, 5, 4)).retire == ("r6", "r5")

    def test_a_flood_of_remote_tasks_takes_what_pools_can_do_without_and_no_more(self) -> None:
        flood = demand(1, count=1000)
        assert len(make_room([flood], [node(0)], warm(6, 5, 4)).retire) == 3


class TestFirstCome:
    def test_later_ones_of_other_types_are_held_back(self) -> None:
        rule = FirstCome(after=3, seconds=300)
        assert rule.held_back([demand(4, 2)], 0.0) is None
        assert rule.held_back([demand(4, 4), demand(1, 3, name="small")], 2.0) == (
            "big",
            frozenset({"CPU"}),
        )

    @pytest.mark.parametrize("code", [NEVER_FITS, NODES_COMING, RUNNER_STARTING])
    def test_what_will_not_begin_by_it_or_begins_anyway_holds_nobody_back(self, code: str) -> None:
        assert FirstCome().held_back([demand(4, 100, code=code)], 0.0) is None

    def test_it_is_done_for_a_time_and_left_for_as_long(self) -> None:
        rule = FirstCome(after=3, seconds=300)
        held = [rule.held_back([demand(4, 10)], now) is not None for now in range(0, 1200, 100)]
        assert held == [True, True, True, False, False, False] * 2

    def test_the_next_one_has_a_time_of_its_own(self) -> None:
        rule = FirstCome(after=3, seconds=300)
        rule.held_back([demand(4, 10)], 0.0)
        assert rule.held_back([demand(4, 10, name="other")], 310.0) is not None
        assert rule.held_back([], 320.0) is None
