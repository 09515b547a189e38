from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from online_models.evaluation.interactions import Interactions
from online_models.recommenders.item_facts import FACTS, ItemFacts

YEAR = 365.25 * 86_400


def catalogue() -> Interactions:
    """Rows 2 and 3 share a category; row 4 has two; row 5 none and no date."""
    nothing = np.zeros(0)
    return Interactions(
        users=nothing.astype(np.int64),
        items=nothing.astype(np.int64),
        times_seconds=nothing,
        actions=nothing.astype(np.int64),
        values=nothing.astype(np.float32),
        tested=nothing.astype(bool),
        rows=6,
        user_count=1,
        item_categories=[(), (), (0,), (0,), (0, 1), ()],
        item_published_seconds=np.array([np.nan, np.nan, 10, 20, 40, np.nan]) * YEAR,
    )


def test_categories_and_years_by_hand() -> None:
    facts = ItemFacts(6, catalogue())
    found = facts.of(np.array([3, 4, 5]), np.array([2, 4]), now_seconds=0.0)
    assert found.shape == (3, FACTS)
    assert found[:, 3].tolist() == [1.0, 1.0, 0.0], "share of what the newest item, 4, has"
    assert found[:, 4].tolist() == pytest.approx([0.75, 0.5, 0.0]), "the history likes the first three times as much"
    assert found[:, 5].tolist() == pytest.approx([0.5, 1.5, 0.0]), "from the mean, year 25, in decades"
    assert found[:, 6].tolist() == pytest.approx([-0.5, 1.5, 0.0])


def test_an_empty_history_and_an_unknown_catalogue_say_nothing() -> None:
    for facts in (ItemFacts(6, catalogue()), ItemFacts(6)):
        found = facts.of(np.array([2, 5]), np.zeros(0, np.int64), now_seconds=5.0)
        assert not found.any()


def test_counts_and_times_follow_the_stream() -> None:
    facts = ItemFacts(6)
    for time in (10.0, 20.0):
        facts.observe(2, time)
    found = facts.of(np.array([2, 3]), np.array([3]), now_seconds=50.0)
    assert found[0, :3].tolist() == pytest.approx([np.log(3) / 8, np.log(41) / 15, np.log(31) / 15])
    assert not found[1].any()


def test_fitting_is_observing_everything() -> None:
    log = catalogue()
    columns = {"users": np.zeros(4, np.int64), "items": np.array([2, 3, 2, 4]), "actions": np.ones(4, np.int64)}
    log = replace(
        log,
        **columns,
        times_seconds=np.array([1.0, 2, 3, 4]),
        values=np.zeros(4, np.float32),
        tested=np.ones(4, bool),
    )
    fitted, observed = ItemFacts(6), ItemFacts(6)
    fitted.fit(log)
    for item, time in zip(log.items.tolist(), log.times_seconds.tolist(), strict=True):
        observed.observe(item, time)
    for name in ("counts", "first_seconds", "last_seconds"):
        np.testing.assert_array_equal(getattr(fitted, name), getattr(observed, name))
