"""Limits as documents: bounds in force, use, and the fullest keys."""

from raytasks.model.controls import Limit
from raytasks.model.handler_info import HandlerInfo, HandlerKind
from raytasks.model.steering import LimitSetting, Steering
from raytasks.protocol import codec
from raytasks.protocol.queries import LimitList
from raytasks.tracker.limit_view import MAX_KEYS, KeyUse, LimitUse, limit_documents


def info(task_type: str, *limits: Limit) -> HandlerInfo:
    return HandlerInfo(task_type, HandlerKind.FUNCTION, (0, 0), limits=limits)


SMTP = Limit("smtp", running=5)
BY_ACCOUNT = Limit("account", rate=3, by="/account")
INFOS = [info("mail", SMTP, BY_ACCOUNT), info("letter", SMTP), info("none")]


def test_each_limit_is_told_once_with_its_types_and_its_use() -> None:
    keys = [KeyUse("shop", number, number, 0, 1.5) for number in range(MAX_KEYS + 5)]
    uses = {"smtp": LimitUse(running=2, waiting=7), "account": LimitUse(fullest=keys)}
    account, smtp = limit_documents(INFOS, Steering(), uses.__getitem__)
    assert (smtp["name"], smtp["types"]) == ("smtp", ["letter", "mail"])
    assert (smtp["running"], smtp["waiting"], smtp["tokens"]) == (2, 7, None)
    assert smtp["in_force"] == smtp["declared"]
    assert (account["keyed"], account["declared"]["burst"]) == (True, 3)
    assert [item["value"] for item in account["fullest"]] == list(range(MAX_KEYS))


def test_what_is_set_is_in_force_where_it_is_declared() -> None:
    settings = [
        LimitSetting(name, None, 2.0, 60.0, None, changed_at=0.0, by="anna")
        for name in ("fax", "smtp")
    ]
    steering = Steering().changed(settings, 0.0)
    _, fax, smtp = limit_documents(INFOS, steering, lambda _: LimitUse())
    bounds = {"running": None, "rate": 2.0, "per_seconds": 60.0, "burst": 1}
    assert smtp["in_force"] == bounds
    assert smtp["override"] == {**bounds, "changed_at": "1970-01-01T00:00:00Z", "by": "anna"}
    assert (fax["declared"], fax["in_force"], fax["types"]) == (None, None, [])


def test_any_value_passes_between_processes() -> None:
    values: list[str | int | bool | None] = ["", "a", True, None, -5, 2**63 - 1, 2**63, -(2**200)]
    use = LimitUse(fullest=[KeyUse("shop", value, 1, 0, None) for value in values])
    found = limit_documents(INFOS, Steering(), lambda _: use)
    assert codec.answer_of(LimitList(), codec.encode(found)) == found
    shown = [item["value"] for item in found[0]["fullest"]]
    assert shown == [*values[:-2], str(2**63), str(-(2**200))]
