"""The settings of people in the database."""

import pytest

from raytasks.model.acts import ActionName, NewAudit
from raytasks.model.steering import (
    LimitSetting,
    NamespaceSetting,
    Pause,
    PoolSetting,
    Removal,
    Setting,
    Steering,
)
from raytasks.protocol.queries import AuditList
from raytasks.store.store import Store
from raytasks.store.transaction import Superseded

LIMIT = LimitSetting("smtp", 20, 500.0, 60.0, 30, changed_at=5.0, by="anna")
POOL = PoolSetting("mail", 0, 4, changed_at=5.0, by="anna")
SHARE = NamespaceSetting("shop", 2.5, 1000, changed_at=5.0, by="ben")
PAUSE = Pause("shop", "send_mail", since=5.0, until=100.0, by="ben")
ALL = Pause("", "", since=6.0, until=None, by="carl", drain=True)


@pytest.fixture
def epoch(store: Store) -> int:
    """The epoch of a tracker that has taken over."""
    return store.begin_epoch(1.0, "owner")


def test_what_is_set_is_read_as_it_was_written(store: Store, epoch: int) -> None:
    assert store.steering() == Steering()
    store.steer(epoch, [LIMIT, POOL, SHARE, PAUSE, ALL], [], 5.0)
    assert store.steering() == Steering(
        {"smtp": LIMIT}, {"mail": POOL}, {"shop": SHARE}, {PAUSE.key: PAUSE, ("", ""): ALL}
    )


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (LIMIT, LimitSetting("smtp", None, 1.5, 1.0, None, changed_at=9.0, by="dora")),
        (POOL, PoolSetting("mail", 1, 1, changed_at=9.0, by="dora")),
        (SHARE, NamespaceSetting("shop", 1.0, None, changed_at=9.0, by="dora")),
        (PAUSE, Pause("shop", "send_mail", since=9.0, until=None, by="dora")),
    ],
)
def test_a_later_setting_takes_the_place_of_the_earlier_one(
    store: Store, epoch: int, before: Setting, after: Setting
) -> None:
    store.steer(epoch, [before], [], 5.0)
    store.steer(epoch, [after], [], 9.0)
    assert store.steering() == Steering().changed([after], 9.0)


@pytest.mark.parametrize(
    ("setting", "removal"),
    [
        (LIMIT, Removal(LimitSetting, "smtp")),
        (POOL, Removal(PoolSetting, "mail")),
        (SHARE, Removal(NamespaceSetting, "shop")),
        (PAUSE, Removal(Pause, ("shop", "send_mail"))),
    ],
)
def test_a_removed_setting_is_gone_and_others_stay(
    store: Store, epoch: int, setting: Setting, removal: Removal
) -> None:
    everything: list[Setting] = [LIMIT, POOL, SHARE, PAUSE, ALL]
    store.steer(epoch, everything, [], 5.0)
    store.steer(epoch, [removal], [], 6.0)
    others = [item for item in everything if item != setting]
    assert store.steering() == Steering().changed(others, 6.0)


def test_pauses_that_have_ended_leave_with_the_next_change(store: Store, epoch: int) -> None:
    store.steer(epoch, [PAUSE, ALL], [], 5.0)
    store.steer(epoch, [LIMIT], [], 99.9)
    assert set(store.steering().pauses) == {PAUSE.key, ALL.key}
    store.steer(epoch, [POOL], [], 100.0)
    assert set(store.steering().pauses) == {ALL.key}


def test_the_act_is_stored_together_with_the_setting(store: Store, epoch: int) -> None:
    act = NewAudit("anna", ActionName.SET_LIMIT, target="smtp", details={"running": 20})
    told = store.steer(epoch, [LIMIT], [act], 5.0)
    assert store.read(AuditList()).entries == told
    assert [(item.action, item.target, item.by) for item in told] == [("set_limit", "smtp", "anna")]


def test_an_earlier_tracker_sets_nothing(store: Store, epoch: int) -> None:
    store.begin_epoch(2.0, "other")
    act = NewAudit("anna", ActionName.SET_LIMIT, target="smtp")
    with pytest.raises(Superseded):
        store.steer(epoch, [LIMIT], [act], 5.0)
    assert store.steering() == Steering()
    assert not store.read(AuditList()).entries
