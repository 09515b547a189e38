from __future__ import annotations

import numpy as np
import pytest

from feature_store import decay
from feature_store.families import update_item
from feature_store.families.ctr import relevance
from feature_store.families.item_age import ITEM_AGE
from feature_store.families.popularity import POPULARITY
from feature_store.families.price import PRICE
from feature_store.item_state import ItemState, Sighting
from feature_store.item_table import ItemTable
from feature_store.position_bias import PositionBias
from feature_store.user_state import ItemInfo

NOW_MS = 1_700_000_000_000


def test_a_steady_item_has_no_trend_and_a_burst_has() -> None:
    steady, burst = ItemState(item_id="s"), ItemState(item_id="b")
    for hour in range(24 * 120):
        update_item(steady, Sighting(event_time_ms=NOW_MS + hour * decay.HOUR_MS, action="view"))
    end_ms = NOW_MS + 24 * 120 * decay.HOUR_MS
    for _ in range(50):
        update_item(burst, Sighting(event_time_ms=end_ms, action="view"))
    assert POPULARITY.value(steady, end_ms)["popularity_trend"] == pytest.approx(0, abs=0.05)
    assert POPULARITY.value(burst, end_ms)["popularity_trend"] > 1.5


def test_exposures_and_rejections_are_no_popularity() -> None:
    state = ItemState(item_id="i")
    update_item(state, Sighting(event_time_ms=NOW_MS, position=0))
    update_item(state, Sighting(event_time_ms=NOW_MS, action="skip"))
    assert not any(POPULARITY.value(state, NOW_MS).values())


def test_publication_wins_over_the_first_sighting() -> None:
    state = ItemState(item_id="i")
    sighting = Sighting(event_time_ms=NOW_MS, action="view")
    update_item(state, sighting)
    assert ITEM_AGE.value(state, NOW_MS)["log_age"] == 0
    update_item(state, sighting, ItemInfo(item_id="i", published_time_ms=NOW_MS - decay.DAY_MS))
    assert ITEM_AGE.value(state, NOW_MS)["log_age"] == pytest.approx(np.log1p(86_400) / 6)


@pytest.mark.parametrize("price", [None, float("nan"), float("inf"), -3.0])
def test_a_price_that_is_none_reads_as_zero(price: float | None) -> None:
    assert PRICE.value(ItemState(item_id="i", price=price), NOW_MS) == {"log_price": 0.0}


def test_the_bias_of_positions_and_the_relevance_of_items_are_told_apart() -> None:
    """Clicks drawn from a position-based model: raw rates are misled by the layout, the estimates are not."""
    generator = np.random.default_rng(3)
    examined = [1.0, 0.6, 0.4, 0.25, 0.15]
    relevant = {"a": 0.10, "b": 0.20, "c": 0.30, "d": 0.40, "e": 0.50}
    table, shown, clicks = ItemTable(), dict.fromkeys(relevant, 0), dict.fromkeys(relevant, 0)
    for _ in range(12_000):
        noise = generator.gumbel(scale=0.3, size=5)
        # the layout prefers bad items: "a" is mostly on top, "e" mostly at the bottom
        slate = sorted(relevant, key=lambda item: relevant[item] * 3 + noise["abcde".index(item)])
        outcomes = [int(generator.random() < examined[k] * relevant[item]) for k, item in enumerate(slate)]
        table.observe_slate(slate, outcomes, NOW_MS)
        for item, outcome in zip(slate, outcomes, strict=True):
            shown[item] += 1
            clicks[item] += outcome
    states = {item: table.get(item) or ItemState(item_id=item) for item in relevant}
    debiased = [relevance(state, NOW_MS) for state in states.values()]
    raw = [clicks[item] / shown[item] for item in relevant]
    truth = np.array(list(relevant.values()))
    assert debiased == sorted(debiased)
    assert np.abs(np.array(debiased) - truth).mean() < 0.5 * np.abs(np.array(raw) - truth).mean()
    assert [table.bias.propensity(k) for k in range(5)] == pytest.approx(examined, abs=0.15)


def test_propensities_stay_in_their_range_at_any_position() -> None:
    bias = PositionBias()
    for position in (0, 3, 50_000):
        bias.update(position, taken=True, relevance=0.5)
        assert 0.02 <= bias.propensity(position) <= 1
    assert len(bias.clicks) == 1_000


def test_the_table_is_bounded_and_forgets_the_longest_untouched() -> None:
    table = ItemTable(capacity=3)
    for item in ["a", "b", "c", "a", "d"]:
        table.observe_interaction(item, "view", NOW_MS)
    assert len(table) == 3 and table.get("b") is None and table.get("a") is not None
    assert {state.item_id for state in table.take_changed()} == {"a", "c", "d"}
    assert table.take_changed() == []


def test_vectors_of_known_and_unknown_items() -> None:
    table = ItemTable()
    table.observe_interaction("a", None, NOW_MS)
    vectors = table.vectors(["a", "nobody's"], NOW_MS)
    assert vectors.shape[0] == 2 and vectors[0].any() and not vectors[1].any()
    assert table.vectors([], NOW_MS).shape == (0, vectors.shape[1])


def test_a_snapshot_goes_back() -> None:
    table, other = ItemTable(), ItemTable()
    table.describe(ItemInfo(item_id="a", title="Alien", price=9.0))
    table.observe_slate(["a", "b"], [0, 1], NOW_MS)
    other.restore(table.states(), table.bias)
    np.testing.assert_array_equal(other.vectors(["a", "b"], NOW_MS), table.vectors(["a", "b"], NOW_MS))
    assert other.take_changed() == []


def test_a_slate_and_its_outcomes_must_match() -> None:
    with pytest.raises(ValueError, match="zip"):
        ItemTable().observe_slate(["a"], [0, 1], NOW_MS)


def test_a_capacity_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        ItemTable(capacity=0)
