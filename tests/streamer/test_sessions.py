from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from feature_store.user_state import UserState
from streamer import sessions
from streamer.events import Event
from streamer.settings import Sessions

START_MS = 1_700_000_000_000
SETTINGS = Sessions(gap_seconds=60, history_limit=5, seen_limit=3)


def click(name: str, seconds: float, session_id: str | None = None, item_id: str | None = None) -> Event:
    return Event(
        event_id=name,
        type="interaction",
        user_id="u",
        item_id=item_id or name,
        action="click",
        event_time_ms=START_MS + int(seconds * 1_000),
        session_id=session_id,
    )


def shown(name: str, seconds: float) -> Event:
    return Event(
        event_id=name,
        type="impression",
        user_id="u",
        impression_id=name,
        items=["a"],
        event_time_ms=START_MS + int(seconds * 1_000),
    )


def run(*events: Event, settings: Sessions = SETTINGS) -> tuple[UserState, list[sessions.Outcome]]:
    state = UserState(user_id="u")
    return state, [sessions.apply(state, event, 1, settings) for event in events]


def test_a_gap_starts_a_session_and_exactly_the_gap_does_not() -> None:
    state, outcomes = run(click("a", 0), click("b", 60), click("c", 120.001))
    assert [outcome.new_session for outcome in outcomes] == [True, False, True]
    assert (state.session_number, state.session_length, state.session_started_ms) == (2, 1, START_MS + 120_001)
    assert [outcome.session_length_before for outcome in outcomes] == [0, 1, 0]


def test_a_given_session_id_rules_over_the_gap() -> None:
    state, outcomes = run(click("a", 0, "s1"), click("b", 500, "s1"), click("c", 501, "s2"))
    assert [outcome.new_session for outcome in outcomes] == [True, False, True]
    assert state.session_id == "s2"


def test_impressions_keep_a_session_open_but_are_no_part_of_its_length() -> None:
    state, outcomes = run(click("a", 0), shown("i", 50), click("b", 100))
    assert [outcome.new_session for outcome in outcomes] == [True, False, False]
    assert (state.session_length, state.total_events, state.item_ids) == (2, 3, ["a", "b"])


def test_a_late_event_is_merged_by_event_time_and_counted() -> None:
    state, outcomes = run(click("a", 0), click("c", 20), click("b", 10))
    assert state.item_ids == ["a", "b", "c"]
    assert outcomes[2].late and outcomes[2].session_length_before == 1
    assert (state.late_events, state.session_length, state.watermark_ms) == (1, 3, START_MS + 20_000)


def test_a_late_event_of_an_earlier_session_leaves_the_current_one_alone() -> None:
    state, outcomes = run(click("a", 0), click("b", 1_000), click("c", 5))
    assert outcomes[2].late and outcomes[2].session_id is None
    assert (state.session_number, state.session_length, state.item_ids) == (2, 1, ["a", "c", "b"])


def test_history_and_seen_items_are_bounded_and_keep_the_latest() -> None:
    state, _ = run(*(click(f"e{n}", n, item_id=f"i{n % 7}") for n in range(20)))
    assert state.item_ids == ["i1", "i2", "i3", "i4", "i5"]
    assert state.seen_item_ids == ["i3", "i4", "i5"]


def test_a_repeated_item_is_seen_once() -> None:
    state, _ = run(click("a", 0, item_id="x"), click("b", 1, item_id="y"), click("c", 2, item_id="x"))
    assert state.seen_item_ids == ["y", "x"]


def test_history_before_leaves_out_what_is_younger() -> None:
    state, _ = run(click("a", 0), click("b", 10))
    assert sessions.history_before(state, START_MS + 9_999).item_ids == ["a"]
    assert sessions.history_before(state, START_MS + 10_000).item_ids == ["a", "b"]


@given(st.lists(st.tuples(st.integers(0, 400), st.booleans()), max_size=40))
def test_order_of_arrival_never_breaks_the_record(arrivals: list[tuple[int, bool]]) -> None:
    events = [
        shown(f"e{n}", seconds) if impression else click(f"e{n}", seconds)
        for n, (seconds, impression) in enumerate(arrivals)
    ]
    state, outcomes = run(*events)
    assert state.event_times_ms == sorted(state.event_times_ms)
    assert len(state.item_ids) == len(state.actions) == len(state.event_times_ms) <= SETTINGS.history_limit
    assert state.total_events == len(events)
    assert state.late_events == sum(outcome.late for outcome in outcomes)
    assert state.session_number == sum(outcome.new_session for outcome in outcomes)
    clicks = sorted(event.event_time_ms for event in events if event.type == "interaction")
    assert state.event_times_ms == clicks[-SETTINGS.history_limit :]
