from __future__ import annotations

import numpy as np
import pytest

from online_models import state_tree
from online_models.foundation.histories import HistoryStore


def filled(counts: dict[str, int], **sizes: int) -> HistoryStore:
    store = HistoryStore(**sizes)
    for user, count in counts.items():
        for event in range(count):
            store.append(user, 10 + event, 1 + event % 3, 100.0 * event, 1.0)
    return store


def test_windows_are_right_aligned_and_as_wide_as_the_longest() -> None:
    store = filled({"a": 5, "b": 2})
    found = store.cut(["b", "a"], np.array([0, 1]), 3)
    assert found.items.tolist() == [[0, 10, 11], [11, 12, 13]]
    assert found.times_seconds.tolist() == [[0, 0, 100], [100, 200, 300]]
    assert found.target_weights.tolist() == [[0, 0, 1], [0, 1, 1]]  # the first of a window has none before it
    assert found.asked_seconds.tolist() == [100.0, 400.0]  # when the next event came, or the newest did


def test_only_fresh_events_are_targets_where_asked() -> None:
    store = filled({"a": 6})
    store.learnt()
    store.append("a", 50, 1, 900.0)
    store.append("a", 51, 1, 901.0)
    window = store.cut(["a", "a"], np.array([4, 4]), 4, only_fresh=np.array([True, False]))
    assert window.items.tolist()[0] == [14, 15, 50, 51]
    assert window.target_weights.tolist() == [[0, 0, 1, 1], [0, 1, 1, 1]]
    early = store.cut(["a"], np.array([0]), 4, only_fresh=np.array([True]))
    assert not early.target_weights.any()


def test_memory_is_bounded_and_the_newest_stay() -> None:
    store = filled({"a": 5_000}, most_events=100)
    assert 100 <= store.lengths(["a"])[0] <= 200
    assert store.cut(["a"], store.lengths(["a"]) - 3, 3).items.tolist() == [[5_007, 5_008, 5_009]]
    crowd = filled({f"u{number}": 2 for number in range(50)}, most_users=10)
    assert len(crowd) == 10 and "u49" in crowd and "u0" not in crowd
    assert len(crowd.fresh_users()) == 10


def test_rows_of_items_that_left_become_unknown() -> None:
    store = filled({"a": 4})
    store.forget_rows([11, 13])
    assert store.cut(["a"], np.array([0]), 4).items.tolist() == [[10, 1, 12, 1]]


def test_resume_is_exact() -> None:
    store, resumed = filled({"a": 9, "b": 3}, most_events=4), HistoryStore(most_events=4)
    store.learnt()
    store.append("b", 70, 2, 5.0)
    resumed.load_state_dict(state_tree.unpack(*state_tree.pack(store.state_dict())))
    for one in (store, resumed):
        for event in range(20):
            one.append("a", event, 1, float(event))
    assert state_tree.equal(store.state_dict(), resumed.state_dict())
    assert resumed.fresh_users() == ["b", "a"]
    assert resumed.numbers(["a", "b"]).tolist() == [0, 1]


def test_an_empty_store_resumes() -> None:
    resumed = HistoryStore()
    resumed.load_state_dict(HistoryStore().state_dict())
    assert len(resumed) == 0


def test_bad_sizes_are_named() -> None:
    with pytest.raises(ValueError, match="most_events is 1"):
        HistoryStore(most_events=1)
