"""Where the values of limits come from, as versions follow each other; and values made again."""

import pytest

from raytasks.model.controls import Limit
from raytasks.model.lane_names import limit_values_again
from raytasks.model.limit_places import MAX_FORMER, LimitPlaces, places_of

FIRST = LimitPlaces({"who": "/a"}, {}, 1.0, moved=True)


def test_the_same_places_change_nothing() -> None:
    assert FIRST.followed_by({"who": "/a"}, 2.0) is FIRST


def test_another_place_is_to_be_moved() -> None:
    assert FIRST.followed_by({"who": "/b"}, 2.0) == ({"who": "/b"}, {"who": ["/a"]}, 2.0, False)


def test_a_place_that_comes_back_is_no_former_one() -> None:
    back = FIRST.followed_by({"who": "/b"}, 2.0).followed_by({"who": "/a"}, 3.0)
    assert back == ({"who": "/a"}, {"who": ["/b"]}, 3.0, False)


def test_the_place_of_a_limit_that_is_gone_is_kept() -> None:
    gone = FIRST.followed_by({}, 2.0)
    assert (gone.present, gone.former, gone.moved) == ({}, {"who": ["/a"]}, False)
    assert gone.renewed == {}
    assert gone.followed_by({"who": "/c", "to": "/to"}, 3.0).renewed == {"who": ["/a"]}


def test_so_many_former_places_are_known() -> None:
    places = FIRST
    for number in range(40):
        places = places.followed_by({"who": f"/{number}"}, 2.0)
    assert places.renewed["who"] == [f"/{38 - n}" for n in range(MAX_FORMER)]


def test_only_keyed_limits_have_places() -> None:
    assert places_of([Limit("all", running=1), Limit("who", running=1, by="/a")]) == {"who": "/a"}


WHO = [Limit("who", running=1, by="/b")]


@pytest.mark.parametrize(
    ("payload", "known", "made"),
    [
        ('{"a":1,"b":2}', '{"who":1}', '{"who":2}'),
        ('{"a":1,"b":2}', '{"who":2}', '{"who":2}'),
        ('{"a":1,"b":2}', '{"who":3}', '{"who":3}'),  # it was given
        ('{"a":true,"b":2}', '{"who":1}', '{"who":1}'),
        ('{"a":1.0,"b":2}', '{"who":1}', '{"who":2}'),
        ('{"a":[],"b":2}', '{"who":null}', '{"who":2}'),
        ('{"c":4,"b":2}', '{"who":4}', '{"who":2}'),
        ('{"a":1}', '{"who":1}', '{"who":null}'),
        ("no JSON", '{"who":1}', '{"who":1}'),
        ('{"a":1,"b":2}', None, '{"who":2}'),
    ],
)
def test_a_value_of_a_former_place_is_found_again(payload: str, known: str, made: str) -> None:
    assert limit_values_again(payload, known, WHO, {"who": ["/a", "/c"]}) == made


def test_without_former_places_no_payload_is_read() -> None:
    assert limit_values_again("no JSON", '{"old":0,"who":1}', WHO) == '{"who":1}'
