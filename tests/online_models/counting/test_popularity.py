from __future__ import annotations

import numpy as np
import pytest
import torch

from online_models import state_tree
from online_models.checks import SIZES, example_batch
from online_models.counting import Popularity

DAY = 86_400.0


def shares(popularity: Popularity, width: int = 10) -> dict[int, float]:
    items, values = popularity.best(0, width)
    return dict(zip(items.tolist(), values.tolist(), strict=True))


def test_shares_halve_with_each_half_life() -> None:
    popularity = Popularity(rows=8, half_life_days=1)
    for row, day in ((2, 0), (2, 0), (3, 1), (4, 2)):  # now: 2·¼, ½, 1
        popularity.observe(row, day * DAY)
    assert shares(popularity) == pytest.approx({4: 0.5, 3: 0.25, 2: 0.25})
    assert list(shares(popularity)) == [4, 2, 3], "equal shares stand in the order of rows"


def test_a_late_event_counts_as_it_would_have_in_time() -> None:
    late, ordered = Popularity(rows=8, half_life_days=1), Popularity(rows=8, half_life_days=1)
    for row, day in ((2, 5), (3, 2), (4, 6)):
        late.observe(row, day * DAY)
    for row, day in ((3, 2), (2, 5), (4, 6)):
        ordered.observe(row, day * DAY)
    assert shares(late) == pytest.approx(shares(ordered))


def test_years_of_events_do_not_overflow() -> None:
    popularity = Popularity(rows=8, half_life_days=1)
    for day in range(0, 4_000, 7):
        popularity.observe(2 + day % 3, 1e9 + day * DAY)
    assert np.isfinite(popularity.counts).all() and sum(shares(popularity).values()) == pytest.approx(1)
    assert list(shares(popularity))[0] == 2 + 3_997 % 3, "the latest event outweighs all before it"
    popularity.observe(5, 1e9 + 1e6 * DAY)
    assert shares(popularity)[5] == pytest.approx(1)


def test_everybody_reads_the_one_list_in_row_0() -> None:
    popularity = Popularity(rows=8, width=2)
    for row in (2, 3, 3, 4, 4, 4):
        popularity.observe(row, 0.0)
    items, values = popularity.lookup(np.array([0, 5]))
    assert items.tolist() == [[4, 3], [4, 3]] and values[0].tolist() == pytest.approx([3 / 6, 2 / 6])
    assert popularity.best(0, 1)[0].tolist() == [4]
    assert popularity.touched() == [0] and popularity.touched() == []


def test_scores_are_shares_and_padding_has_none() -> None:
    popularity, batch = Popularity(rows=SIZES.rows), example_batch(seed=1, examples=2, candidates=3)
    taken = int(batch.candidates.items[0, 0])
    batch.candidates.items[0, 1], batch.candidates.items[0, 2] = 0, 1
    popularity.counts[:2] = 5  # even if somebody counted them
    popularity.observe(taken, 0.0)
    scores = popularity.score(batch.context, batch.candidates)
    assert scores[0].tolist() == pytest.approx([1 / 11, 0, 0])


def test_an_empty_one_has_an_empty_list() -> None:
    popularity = Popularity(rows=8)
    items, values = popularity.lookup(np.array([0]))
    assert items.shape == values.shape == (1, 0)
    batch = example_batch(candidates=2)
    assert torch.equal(Popularity(rows=SIZES.rows).score(batch.context, batch.candidates), torch.zeros(8, 2))


def test_forgetting_takes_an_item_off_the_list() -> None:
    popularity = Popularity(rows=8)
    popularity.observe(2, 0.0)
    popularity.observe(3, 0.0)
    assert set(shares(popularity)) == {2, 3}
    popularity.forget(np.array([2]))
    assert shares(popularity) == {3: 1.0}


def test_state_comes_back() -> None:
    popularity, again = Popularity(rows=8, half_life_days=1), Popularity(rows=8, half_life_days=1)
    again.observe(7, 9e9)
    assert shares(again) == {7: 1.0}
    popularity.observe(2, 1e9)
    state = popularity.state_dict()
    popularity.observe(3, 1e9 + DAY)
    again.load_state_dict(state)
    assert shares(again) == {2: 1.0}
    again.observe(3, 1e9 + DAY)
    assert state_tree.equal(popularity.state_dict(), again.state_dict())
