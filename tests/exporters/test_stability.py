from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporters.stability import ShownLists, steadied

SCORES = st.lists(st.integers(0, 50).map(lambda value: value / 10), min_size=1, max_size=20)


def held(scores: list[float], previous: list[int], count: int, margin: float) -> list[int]:
    return steadied(np.array(scores), previous, count, margin).tolist()


def test_an_item_keeps_its_place_against_a_slightly_better_one() -> None:
    assert held([1.0, 1.05, 0.0], [0, 1, 2], 3, 0.1) == [0, 1, 2]


def test_a_clearly_better_one_takes_its_place() -> None:
    assert held([1.0, 1.2, 0.0], [0, 1, 2], 3, 0.1) == [1, 0, 2]


def test_a_newcomer_displaces_what_it_beats_by_the_margin_and_nothing_else() -> None:
    # item 3 is new: 0.15 above item 1, 0.05 above item 0
    assert held([2.00, 1.90, 1.00, 2.05], [0, 1, 2], 3, 0.1) == [0, 3, 1]


def test_a_newcomer_must_beat_the_last_item_to_come_in() -> None:
    assert held([2.0, 1.0, 1.05], [0, 1], 2, 0.1) == [0, 1]
    assert held([2.0, 1.0, 1.15], [0, 1], 2, 0.1) == [0, 2]


def test_it_passes_an_item_it_does_not_beat_to_reach_one_it_beats() -> None:
    assert held([1.00, 1.04, 1.08], [0, 1, 2], 3, 0.05) == [2, 0, 1]


def test_a_shorter_list_before_is_filled_up() -> None:
    assert held([0.0, 3.0, 2.0, 1.0], [0], 3, 0.5) == [1, 2, 3]
    assert held([2.9, 3.0, 2.0, 1.0], [0], 3, 0.5) == [0, 1, 2]


@given(SCORES, st.randoms(), st.integers(1, 10))
def test_without_a_margin_it_is_the_ranking(scores: list[float], random, count: int) -> None:
    previous = random.sample(range(len(scores)), random.randint(0, len(scores)))
    found = held(scores, previous, count, 0.0)
    assert [scores[place] for place in found] == sorted(scores, reverse=True)[:count]


@given(SCORES, st.randoms(), st.integers(1, 10), st.integers(1, 20).map(lambda value: value / 10))
def test_no_item_stands_above_one_that_beats_it_by_the_margin(
    scores: list[float], random, count: int, margin: float
) -> None:
    previous = random.sample(range(len(scores)), random.randint(0, min(len(scores), count)))
    found = held(scores, previous, count, margin)
    assert len(found) == len(set(found)) == min(count, len(scores))
    rest = [place for place in range(len(scores)) if place not in found]
    for above, place in enumerate(found):
        for other in [*found[above + 1 :], *rest]:
            assert scores[other] <= scores[place] + margin + 1e-9


def test_a_negative_margin_is_refused() -> None:
    with pytest.raises(ValueError, match="give 0"):
        held([1.0], [], 1, -0.1)


def test_lists_belong_to_a_session_and_a_surface() -> None:
    shown = ShownLists()
    assert shown.put("u", "home", "s1", ("a", "b")) is None
    assert shown.get("u", "home", "s1") == ("a", "b")
    assert shown.get("u", "home", "s2") == shown.get("u", "cart", "s1") == shown.get("v", "home", "s1") == ()
    assert shown.put("u", "home", "s2", ("a", "b")) is None, "another session begins anew"
    assert shown.put("u", "home", "s2", ("a", "b")) == 1.0


def test_memory_is_bounded() -> None:
    shown = ShownLists(users=2)
    for user in "abc":
        shown.put(user, "home", "s", ("x",))
    assert [shown.get(user, "home", "s") for user in "abc"] == [(), ("x",), ("x",)]
