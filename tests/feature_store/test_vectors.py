from __future__ import annotations

from collections.abc import Callable

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from feature_store.families import update
from feature_store.families.actions import GROUPS
from feature_store.item_state import ItemState
from feature_store.rows import pack, unpack_user
from feature_store.user_state import ItemInfo, UserState
from feature_store.vectors import ITEM_NAMES, NAMES, item_vector, user_vector
from streamer.events import Event

START_MS = 1_700_000_000_000
YEAR_MS = 365 * 86_400_000
MakeUser = Callable[..., UserState]

_events = st.lists(
    st.tuples(
        st.integers(0, YEAR_MS),
        st.sampled_from(["view", "rating", "purchase", "skip", "play", "never seen before", None]),
        st.one_of(st.none(), st.floats(allow_nan=True, allow_infinity=True)),
        st.lists(st.sampled_from("abcdef@"), max_size=4),
    ),
    max_size=25,
)


def _apply(state: UserState, steps: list[tuple[int, str | None, float | None, list[str]]]) -> None:
    for offset_ms, action, value, categories in steps:
        time_ms = START_MS + offset_ms
        event = Event(
            event_id="e",
            type="interaction",
            user_id="u",
            item_id="i",
            action=action,
            value=value,
            event_time_ms=time_ms,
        )
        update(state, event, ItemInfo(item_id="i", categories=categories))


def test_names_are_unique_and_the_first_entry_is_the_bias() -> None:
    assert len(set(NAMES)) == len(NAMES) and len(set(ITEM_NAMES)) == len(ITEM_NAMES)
    assert NAMES[:2] == ("bias", "new_user")
    assert all(f"rate_{group}_1h" in NAMES for group in GROUPS)


@given(_events, st.integers(0, 2 * YEAR_MS))
def test_vectors_are_finite_and_small(
    steps: list[tuple[int, str | None, float | None, list[str]]], now_offset_ms: int
) -> None:
    state = UserState(user_id="u", session_number=1)
    _apply(state, steps)
    vector = user_vector(state, START_MS + now_offset_ms)
    assert vector.shape == (len(NAMES),) and vector.dtype == np.float32
    assert vector[0] == 1 and np.isfinite(vector).all() and (np.abs(vector) <= 4).all()


@given(_events)
def test_reading_is_pure_and_survives_packing(steps: list[tuple[int, str | None, float | None, list[str]]]) -> None:
    state = UserState(user_id="u", session_number=1)
    _apply(state, steps)
    before = pack(state)
    first = user_vector(state, START_MS + YEAR_MS)
    assert pack(state) == before
    np.testing.assert_array_equal(user_vector(unpack_user(before), START_MS + YEAR_MS), first)


def test_a_clock_behind_the_record_is_harmless(make_user: MakeUser) -> None:
    assert np.isfinite(user_vector(make_user("u", 9), 0)).all()


def test_an_item_never_met_reads_as_zeros() -> None:
    assert not item_vector(ItemState(item_id="i"), START_MS).any()
