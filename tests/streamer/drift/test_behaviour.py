from __future__ import annotations

from typing import Any

import pytest

from online_models import state_tree
from streamer.drift.behaviour import Behaviour
from streamer.examples import Example, History, Position


def example(item_id: str | None, **more: Any) -> Example:
    return Example(
        example_id="x",
        kind="impression" if item_id is None else "interaction",
        source=Position(0, 0),
        user_id="u",
        item_id=item_id,
        event_time_ms=0,
        published_time_ms=0,
        history=History([], [], []),
        session_length=0,
        features=[],
        **more,
    )


def test_a_list_is_answered_or_not() -> None:
    behaviour, shown = Behaviour(), ["a", "b"]
    assert behaviour.read(example("a", slate=shown))["answers"] == 1
    assert behaviour.read(example(None, slate=shown)) == {"answers": 0}
    assert behaviour.read(example("a", slate=shown, action="dislike")) == {"answers": 0}
    assert "answers" not in behaviour.read(example("a")), "no list was shown"


def test_the_place_is_that_in_the_list_that_was_shown() -> None:
    places = [Behaviour().read(example(item, slate=["a", "b", "c", "d"]))["places"] for item in "abd"]
    assert places == [0, 1, 2]
    assert "places" not in Behaviour().read(example("z", slate=["a", "b"]))


def test_surprise_waits_until_enough_is_known_and_then_tells_the_usual_from_the_new() -> None:
    behaviour = Behaviour(items=10)
    assert all("surprise" not in behaviour.read(example("a")) for _ in range(10))
    usual, new = (behaviour.read(example(item))["surprise"] for item in "ab")
    assert usual < 0.2 and new > 4


def test_what_was_usual_long_ago_is_surprising_again() -> None:
    behaviour = Behaviour(items=10)
    for item in "a" * 20 + "b" * 10:
        last = behaviour.read(example(item)).get("surprise")
    assert last is not None and behaviour.read(example("a"))["surprise"] > 4


def test_it_comes_back_from_its_state() -> None:
    behaviour, again = Behaviour(items=4), Behaviour(items=4)
    for item in "abcaab":
        behaviour.read(example(item))
    again.load_state_dict(state_tree.unpack(*state_tree.pack(behaviour.state_dict())))
    for item in "aacb":
        assert behaviour.read(example(item)) == again.read(example(item))


@pytest.mark.parametrize("action", ["skip", "hide"])
def test_a_refusal_teaches_surprise_nothing(action: str) -> None:
    behaviour = Behaviour(items=1)
    behaviour.read(example("a"))
    before = behaviour.state_dict()
    assert behaviour.read(example("b", action=action)) == {} and behaviour.state_dict() == before
