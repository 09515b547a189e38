from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from feature_store.user_state import UserState
from feature_store.vectors import user_vector
from streamer.server_sessions import session_of, settled_ms

DAY_MS = 86_400_000


@given(st.integers(0, 1_000 * DAY_MS), st.integers(0, 10 * DAY_MS))
def test_the_moment_is_not_later_than_now_and_close_to_it(age_ms: int, further_ms: int) -> None:
    last_ms = 1_700_000_000_000
    moment_ms = settled_ms(last_ms + age_ms, last_ms)
    assert last_ms <= moment_ms <= last_ms + age_ms
    assert age_ms - (moment_ms - last_ms) <= max(256, age_ms / 32)
    assert settled_ms(last_ms + age_ms + further_ms, last_ms) >= moment_ms, "time does not go backwards"


def test_before_the_last_event_the_moment_is_the_one_asked_for() -> None:
    assert settled_ms(500, 1_000) == 500


def test_features_are_those_of_the_moment_that_the_session_names() -> None:
    state = UserState(user_id="u", item_ids=["a"], actions=["view"], event_times_ms=[1_000], watermark_ms=1_000)
    session = session_of(state, 1_000 + 3_600_000)
    assert session.moment_ms is not None and session.moment_ms < 1_000 + 3_600_000
    assert session.features.tolist() == user_vector(state, session.moment_ms).tolist()
    assert session_of(state, 1_000 + 3_600_100).features.tolist() == session.features.tolist()
