from __future__ import annotations

import pytest

from exporters.keys import Keys, Right

KEYS = Keys(use={"shop": "shop-key", "app": "app-key"}, admin={"operator": "operator-key", "night": "night-key"})


@pytest.mark.parametrize(
    ("given", "name", "right"),
    [
        ("shop-key", "shop", Right.USE),
        ("app-key", "app", Right.USE),
        ("operator-key", "operator", Right.ADMIN),
        ("night-key", "night", Right.ADMIN),
        ("", "", Right.NONE),
        ("shop-ke", "", Right.NONE),
        ("shop-key ", "", Right.NONE),
        ("\udc80é", "", Right.NONE),
    ],
)
def test_a_key_has_its_right_and_its_name(given, name, right):
    caller = KEYS.caller(given)
    assert (caller.name, caller.right) == (name, right)


def test_without_keys_everybody_may_everything_and_with_one_nobody_else_may_anything():
    assert Keys().caller("").right is Right.ADMIN and not Keys().asked_for
    alone = Keys(use={"shop": "k"})
    assert alone.asked_for and alone.caller("").right is Right.NONE and alone.caller("k").right is Right.USE


def test_a_key_that_is_both_administers():
    assert Keys(use={"a": "same"}, admin={"b": "same"}).caller("same").right is Right.ADMIN


def test_every_key_is_compared_whichever_matches(monkeypatch):
    compared = []
    monkeypatch.setattr("exporters.keys.hmac.compare_digest", lambda one, other: compared.append(1) or one == other)
    for given in ("shop-key", "night-key", "nothing"):
        compared.clear()
        KEYS.caller(given)
        assert len(compared) == 4


def test_no_key_is_shown():
    assert "key" not in repr(KEYS)
