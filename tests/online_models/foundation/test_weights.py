from __future__ import annotations

import numpy as np
import pytest

from online_models.foundation.weights import ACTION_WEIGHTS, event_weights
from online_models.vocabulary import ACTIONS, action_row


def test_every_action_has_a_weight() -> None:
    assert set(ACTION_WEIGHTS) == set(ACTIONS)


def test_a_skip_is_never_a_target_and_padding_neither() -> None:
    assert event_weights(np.array([0, action_row("skip")])).tolist() == [0, 0]


def test_longer_plays_count_more_up_to_a_bound() -> None:
    seconds = np.array([0, 5, 30, 60, 120, 600, 1e6, -3], np.float32)
    weights = event_weights(np.full(8, action_row("play")), seconds)
    assert (np.diff(weights[:7]) >= 0).all()
    assert weights[0] == 0.25 and weights[6] == 2 and weights[3] == pytest.approx(1)
    assert weights[7] == 0.25  # a clock that ran backwards


def test_stars_and_prices_are_no_durations() -> None:
    actions = np.array([action_row("rating"), action_row("purchase")])
    assert (event_weights(actions, np.array([5.0, 999.0], np.float32)) == event_weights(actions)).all()
