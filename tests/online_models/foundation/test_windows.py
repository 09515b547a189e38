from __future__ import annotations

import numpy as np
import pytest

from online_models.foundation.windows import Mixed, Sliding, all_sliding, fixed_latest, hashed, mixed

USERS = np.arange(5)
LENGTHS = np.array([3, 10, 11, 500, 2_000])


def test_the_control_takes_the_newest_window_in_every_epoch() -> None:
    rule = fixed_latest(10)
    for epoch in range(4):
        assert rule.starts(USERS, LENGTHS, epoch).tolist() == [0, 0, 1, 490, 1_990]


def test_sliding_by_hand() -> None:
    rule = Sliding(length=4, stride=3, seed=2)
    user, events = np.array([9]), np.array([10])
    offset = int(hashed(user, 2)[0] % 7)  # a window may begin at 0 .. 6
    assert [int(rule.starts(user, events, epoch)[0]) for epoch in range(5)] == [
        (offset + 3 * epoch) % 7 for epoch in range(5)
    ]


@pytest.mark.parametrize("rule", [fixed_latest(10), all_sliding(10), mixed(500, 10), mixed(1_000, 10)])
def test_windows_lie_inside_the_history(rule: Sliding | Mixed) -> None:
    for epoch in range(200):
        starts = rule.starts(USERS, LENGTHS, epoch)
        assert (starts >= 0).all()
        assert (starts + np.minimum(LENGTHS, 10) <= LENGTHS).all()


def test_all_sliding_shows_every_event() -> None:
    rule, seen = all_sliding(10), np.zeros(500, bool)
    for epoch in range(150):
        start = int(rule.starts(np.array([3]), np.array([500]), epoch)[0])
        seen[start : start + 10] = True
    assert seen.all()


def test_mixed_alternates_and_stays_within_the_recent_events() -> None:
    rule = mixed(500, 10)
    fixed = [rule.is_fixed(epoch) for epoch in range(10)]
    assert fixed == [False, True] * 5
    starts = np.array([rule.starts(np.array([4]), np.array([2_000]), epoch)[0] for epoch in range(300)])
    assert (starts[1::2] == 1_990).all()
    assert starts[::2].min() >= 1_500 and len(np.unique(starts[::2])) > 50
    assert starts[::2].min() < 1_520  # and it does reach back so far


@pytest.mark.parametrize(("share", "expected"), [(0.0, 0), (0.25, 25), (1.0, 100)])
def test_share_of_fixed_epochs(share: float, expected: int) -> None:
    rule = Mixed(10, 500, fixed_share=share)
    assert sum(rule.is_fixed(epoch) for epoch in range(100)) == expected


def test_offsets_differ_between_users_and_repeat() -> None:
    rule = all_sliding(10)
    many, lengths = np.arange(1_000), np.full(1_000, 110)
    starts = rule.starts(many, lengths, 0)
    assert (starts == rule.starts(many, lengths, 0)).all()
    assert np.bincount(starts, minlength=101).max() < 30  # about 10 each


def test_bad_sizes_are_named() -> None:
    with pytest.raises(ValueError, match="at least 2 events"):
        Sliding(length=1)
    with pytest.raises(ValueError, match="recent is 5, length 10"):
        Sliding(length=10, recent=5)
    with pytest.raises(ValueError, match="between 0 and 1"):
        Mixed(10, 500, fixed_share=1.5)
