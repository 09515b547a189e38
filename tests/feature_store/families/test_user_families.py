from __future__ import annotations

import itertools
from collections.abc import Callable
from math import log1p

import pytest

from feature_store import decay
from feature_store.families import update
from feature_store.families.category_affinity import CATEGORY_AFFINITY, affinities
from feature_store.families.counts_and_rates import COUNTS_AND_RATES
from feature_store.families.ratings import RATINGS
from feature_store.families.recency import RECENCY
from feature_store.families.session_shape import SESSION_SHAPE
from feature_store.user_state import ItemInfo, UserState
from streamer.events import Event

MakeEvent = Callable[..., Event]
NOW_MS = 1_700_000_000_000


def _user(**given: object) -> UserState:
    return UserState(user_id="u", session_number=1, **given)  # type: ignore[arg-type]


def test_a_rate_halves_in_its_half_life(make_event: MakeEvent) -> None:
    state = _user()
    for _ in range(6):
        COUNTS_AND_RATES.update(state, make_event(action="purchase", event_time_ms=NOW_MS), None)
    later = COUNTS_AND_RATES.value(state, NOW_MS + decay.HOUR_MS)
    assert later["rate_buy_1h"] == pytest.approx(log1p(3) / 2)
    assert later["rate_buy_1d"] == pytest.approx(log1p(6 * 2 ** (-1 / 24)) / 2)
    assert later["rate_look_1h"] == 0


def test_rates_do_not_depend_on_the_order_of_arrival(make_event: MakeEvent) -> None:
    times = [NOW_MS, NOW_MS + 9_000, NOW_MS + 5 * decay.HOUR_MS]
    read = []
    for order in itertools.permutations(times):
        state = _user()
        for time_ms in order:
            COUNTS_AND_RATES.update(state, make_event(event_time_ms=time_ms), None)
        read.append(COUNTS_AND_RATES.value(state, NOW_MS + decay.DAY_MS)["rate_look_1d"])
    assert read == pytest.approx([read[0]] * len(read))


@pytest.mark.parametrize(("events", "new"), [(0, 1.0), (4, 1.0), (5, 0.0), (900, 0.0)])
def test_a_user_is_new_below_five_events(events: int, new: float) -> None:
    assert COUNTS_AND_RATES.value(_user(total_events=events), NOW_MS)["new_user"] == new


def test_the_gap_grows_with_the_clock_and_ignores_late_events(make_event: MakeEvent) -> None:
    state = _user()
    RECENCY.update(state, make_event(event_time_ms=NOW_MS), None)
    RECENCY.update(state, make_event(event_time_ms=NOW_MS - decay.DAY_MS), None)
    read = RECENCY.value(state, NOW_MS + 60_000)
    assert read["log_since_last"] == pytest.approx(log1p(60) / 6)
    assert read["log_tenure"] == pytest.approx(log1p(86_460) / 6)
    assert read["log_usual_gap"] == 0


def test_the_usual_gap_follows_the_gaps(make_event: MakeEvent) -> None:
    state = _user()
    for number in range(60):
        RECENCY.update(state, make_event(event_time_ms=NOW_MS + number * 10_000), None)
    assert RECENCY.value(state, NOW_MS)["log_usual_gap"] == pytest.approx(log1p(10) / 6)


def test_ratings_have_a_level_and_a_last_deviation(make_event: MakeEvent) -> None:
    state = _user()
    for index, stars in enumerate([2.0, 4.0, 2.0, 4.0]):
        RATINGS.update(state, make_event(action="rating", value=stars, event_time_ms=NOW_MS + index), None)
    RATINGS.update(state, make_event(action="rating", value=1.0, event_time_ms=NOW_MS - 1), None)
    read = RATINGS.value(state, NOW_MS)
    assert read["rating_mean"] == pytest.approx(log1p(2.6) / 2)
    assert read["rating_last_deviation"] == pytest.approx(1.4 / 1.2)


def test_durations_and_prices_are_no_ratings(make_event: MakeEvent) -> None:
    state = _user()
    for action, value in [
        ("play", 300.0),
        ("purchase", 19.9),
        ("rating", None),
        ("rating", float("nan")),
        ("rating", 1e300),
    ]:
        RATINGS.update(state, make_event(action=action, value=value), None)
    assert RATINGS.value(state, NOW_MS) == {"rating_mean": 0.0, "rating_last_deviation": 0.0}


def test_the_session_ages_with_the_clock() -> None:
    state = _user(session_length=2, session_started_ms=NOW_MS)
    early, late = (SESSION_SHAPE.value(state, NOW_MS + ms)["log_session_seconds"] for ms in (1_000, 100_000))
    assert 0 < early < late


def test_a_new_session_forgets_the_categories_of_the_last(make_event: MakeEvent) -> None:
    state = _user()
    CATEGORY_AFFINITY.update(state, make_event(), ItemInfo(item_id="i", categories=["War"]))
    assert set(affinities(state, NOW_MS)) == {"War"}
    state.session_number = 2
    assert affinities(state, NOW_MS) == {}
    CATEGORY_AFFINITY.update(state, make_event(), ItemInfo(item_id="i", categories=["Drama"]))
    assert set(affinities(state, NOW_MS)) == {"Drama"}


def test_concentration_tells_one_intent_from_browsing(make_event: MakeEvent) -> None:
    focused, browsing = _user(), _user()
    for number in range(8):
        CATEGORY_AFFINITY.update(focused, make_event(), ItemInfo(item_id="i", categories=["War"]))
        CATEGORY_AFFINITY.update(browsing, make_event(), ItemInfo(item_id="i", categories=[f"c{number}"]))
    assert CATEGORY_AFFINITY.value(focused, NOW_MS)["session_concentration"] == pytest.approx(1)
    assert CATEGORY_AFFINITY.value(browsing, NOW_MS)["session_concentration"] == pytest.approx(1 / 8)


def test_a_rejection_counts_against_a_category(make_event: MakeEvent) -> None:
    state = _user()
    CATEGORY_AFFINITY.update(state, make_event(action="skip"), ItemInfo(item_id="i", categories=["War"]))
    assert affinities(state, NOW_MS)["War"] < 0
    assert CATEGORY_AFFINITY.value(state, NOW_MS)["session_concentration"] == 0


def test_the_number_of_categories_is_bounded_and_the_strongest_stay(make_event: MakeEvent) -> None:
    state = _user()
    for _ in range(5):
        CATEGORY_AFFINITY.update(state, make_event(action="purchase"), ItemInfo(item_id="i", categories=["War"]))
    for number in range(500):
        CATEGORY_AFFINITY.update(state, make_event(), ItemInfo(item_id="i", categories=[f"c{number}", "a@", "@"]))
    assert len(affinities(state, NOW_MS)) == 32
    assert "War" in affinities(state, NOW_MS)
    assert len(state.families["category_affinity"]) == 65


def test_a_late_event_of_an_earlier_session_leaves_the_session_alone(make_event: MakeEvent) -> None:
    state = _user(session_started_ms=NOW_MS)
    late = make_event(event_time_ms=NOW_MS - 1)
    CATEGORY_AFFINITY.update(state, late, ItemInfo(item_id="i", categories=["War"]))
    assert affinities(state, NOW_MS) == {}


def test_impressions_and_unknown_items_are_harmless(make_event: MakeEvent) -> None:
    state = _user()
    update(state, make_event(type="impression", item_id=None, action=None, items=["a"]), None)
    assert state.families == {}
    update(state, make_event(), None)
    assert affinities(state, NOW_MS) == {}
