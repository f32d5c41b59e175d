"""When a cluster counts as silent, and when its silence proves nothing."""

from raytasks.tracker.signs_of_life import SignsOfLife

LEASE = 10.0


def looks(signs: SignsOfLife, first: float, last: float, sign: str = "same") -> list[str]:
    """Look each second, and return who is silent after the last look."""
    for now in range(int(first), int(last) + 1):
        signs.look(now, {"a": sign})
    return signs.silent(last)


def test_who_says_nothing_new_for_a_lease_is_silent() -> None:
    signs = SignsOfLife(LEASE)
    assert looks(signs, 0, 10) == []
    assert looks(signs, 11, 11) == ["a"]
    assert signs.seen_at("a") == 0


def test_a_new_sign_ends_the_silence() -> None:
    signs = SignsOfLife(LEASE)
    looks(signs, 0, 9)
    assert looks(signs, 10, 20, "another") == []
    assert looks(signs, 21, 21, "another") == ["a"]


def test_a_look_after_half_a_lease_without_one_proves_nothing() -> None:
    signs = SignsOfLife(LEASE)
    looks(signs, 0, 9)
    assert looks(signs, 15, 25) == []
    assert looks(signs, 26, 26) == ["a"]


def test_an_outage_between_two_looks_proves_nothing() -> None:
    signs = SignsOfLife(LEASE)
    looks(signs, 0, 9)
    signs.missed()
    assert looks(signs, 10, 20) == []


def test_who_is_no_longer_there_is_forgotten() -> None:
    signs = SignsOfLife(LEASE)
    looks(signs, 0, 9)
    signs.look(10, {"b": "sign"})
    assert looks(signs, 11, 12) == []
    assert signs.seen_at("a") == 11
